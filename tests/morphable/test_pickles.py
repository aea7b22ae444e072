"""Pickles: arrays come through, code never runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from gptface.errors import InputError
from gptface.morphable import load_morphable_model
from gptface.morphable.pickles import as_array, load_pickled_arrays, load_pickled_npy


class Runs:
    """An object whose pickle runs a command when it is loaded."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], tuple(self.call[1:])  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.uint32, np.int64, np.float16, bool, ">f8"], ids=lambda kind: np.dtype(kind).str
)
def test_arrays_come_through_every_protocol(tmp_path: Path, protocol: int, dtype: object) -> None:
    value = np.arange(12).reshape(3, 4).astype(dtype)  # type: ignore[call-overload]
    content = {"rows": value, "columns": np.asfortranarray(value), "scalar": value[0, 1], "text": "lbs", "none": None}
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = load_pickled_arrays(path)
    for name in ("rows", "columns"):
        np.testing.assert_array_equal(as_array(read[name], path, name), value)
    assert read["scalar"] == value[0, 1] and read["text"] == "lbs"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch {marker}"),
        (eval, "open({marker!r}, 'w')"),
        (exec, "open({marker!r}, 'w')"),
        (open, "{marker}", "w"),
        (getattr, "x", "upper"),
        (__import__, "antigravity"),
    ],
    ids=lambda call: call[0].__name__,
)
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int, call: tuple) -> None:
    marker = tmp_path / "it-ran"
    arguments = [word.format(marker=str(marker)) for word in call[1:]]
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"v_template": Runs(call[0], *arguments)}, protocol=protocol))
    with pytest.raises(InputError, match=r"numpy\.savez") as told:
        load_morphable_model(path)
    assert "\n" not in str(told.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
        b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        b"cchumpy.ch\nCh.__init__.__globals__\n.",
        b"P1\n.",
        b"\x80\x02",
        b"",
        b"]q\x00.",
    ],
)
def test_crafted_and_broken_pickles_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(raw)
    with pytest.raises(InputError) as told:
        load_morphable_model(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_sparse_matrices_are_filled_in(tmp_path: Path) -> None:
    from scipy import sparse

    dense = np.random.default_rng(0).normal(size=(5, 7)) * (np.random.default_rng(1).random((5, 7)) > 0.6)
    path = tmp_path / "sparse.pkl"
    path.write_bytes(pickle.dumps({"csc": sparse.csc_matrix(dense), "csr": sparse.csr_matrix(dense)}, protocol=2))
    read = load_pickled_arrays(path)
    for name in ("csc", "csr"):
        np.testing.assert_array_equal(as_array(read[name], path, name), dense)


def test_a_sparse_matrix_larger_than_memory_is_refused(tmp_path: Path) -> None:
    from scipy import sparse

    path = tmp_path / "sparse.pkl"
    path.write_bytes(pickle.dumps({"csc": sparse.csc_matrix((2**50, 4))}, protocol=2))
    with pytest.raises(InputError, match="csc is a sparse matrix that cannot be read"):
        as_array(load_pickled_arrays(path)["csc"], path, "csc")


def test_object_in_an_npy_is_read_likewise(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", {"a": np.arange(3)}, allow_pickle=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(load_pickled_npy(tmp_path / "table.npy")["a"], np.arange(3))
    np.save(tmp_path / "code.npy", {"a": Runs(os.system, "true")}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="never run"):
        load_pickled_npy(tmp_path / "code.npy")
    np.save(tmp_path / "plain.npy", np.arange(3))
    with pytest.raises(InputError, match="dictionary"):
        load_pickled_npy(tmp_path / "plain.npy")


def test_npz_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", v_template=np.array([Runs(os.system, "true")], dtype=object))
    with pytest.raises(InputError, match="could run code"):
        load_morphable_model(tmp_path / "model.npz")
