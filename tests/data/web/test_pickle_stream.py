"""Large pickles as a stream: what they hold, what they may not ask for, how little memory they take."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data.web.pickle_stream import stream_integers, stream_items
from gptface.errors import InputError
from tests.data.web.faces_from_the_web import detection

TEXT = st.text("aé☺\n\0", max_size=40)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.integers(0, 2**40), PLAIN, max_size=4), st.integers(2, 5))
def test_plain_values_come_back(tmp_path_factory: Any, value: dict[int, Any], protocol: int) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert dict(stream_items(path)) == value


@pytest.mark.parametrize("zipped", [True, False])
def test_detections_come_back_from_what_torch_saves(tmp_path: Path, zipped: bool) -> None:
    value = {number * 3: [detection(score=number / 2500)] * (number % 3) for number in range(2500)}
    torch.save(value, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = dict(stream_items(tmp_path / "a.pth"))
    assert found.keys() == value.keys()
    for key, faces in value.items():
        assert len(faces) == len(found[key])
        for expected, face in zip(faces, found[key], strict=True):
            assert all(np.array_equal(one, other) for one, other in zip(expected, face, strict=True))


def test_tensors_come_back_in_their_strides(tmp_path: Path) -> None:
    value = {1: torch.arange(12.0).reshape(3, 4).T, 2: torch.arange(6)[2:5], 3: torch.zeros(0, 2)}
    torch.save(value, tmp_path / "a.pth")
    found = dict(stream_items(tmp_path / "a.pth"))
    assert all(np.array_equal(found[key], value[key].numpy()) for key in value)


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2, 3], [4, 2**40, -5]],
        {0: [1, 2, 3], 1: (4, 2**40), 2: {-5}},
        [np.array([1, 2, 3]), np.array([[4, 2**40, -5]])],
        {1, 2, 3, 4, 2**40, -5},
    ],
)
def test_ids_come_back_from_any_nesting(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "ids.pth")
    found = [number for batch in stream_integers(tmp_path / "ids.pth") for number in batch]
    assert sorted(found) == [-5, 1, 2, 3, 4, 2**40]


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def test_nothing_in_a_pickle_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({1: _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"evil.pth asks to run posix.system"):
        list(stream_items(tmp_path / "evil.pth"))
    assert not Path("executed").exists()


def test_a_tensor_beyond_its_numbers_is_refused(tmp_path: Path) -> None:
    torch.save({1: torch.zeros(4)}, tmp_path / "a.pth")
    data = (tmp_path / "a.pth").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(tmp_path / "b.pth", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:4] if name.endswith("/data/0") else content)
    with pytest.raises(InputError, match="reaches beyond its numbers"):
        list(stream_items(tmp_path / "b.pth"))


def test_every_cut_of_a_file_is_one_sentence(tmp_path: Path) -> None:
    whole = pickle.dumps({number: [detection()] for number in range(3)}, protocol=2)
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.pth"):
            list(stream_items(tmp_path / "cut.pth"))


@given(st.binary(max_size=200))
def test_any_bytes_are_one_sentence_or_items(tmp_path_factory: Any, noise: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.pth"
    path.write_bytes(b"\x80\x02}" + noise)
    try:
        list(stream_items(path))
    except InputError as error:
        assert "noise.pth" in str(error)


def test_a_list_where_a_dictionary_belongs_is_named(tmp_path: Path) -> None:
    torch.save([[detection()]], tmp_path / "list.pth")
    with pytest.raises(InputError, match="a dictionary by sample id"):
        list(stream_items(tmp_path / "list.pth"))
    torch.save({1: "text"}, tmp_path / "text.pth")
    with pytest.raises(InputError, match="whole numbers"):
        list(stream_integers(tmp_path / "text.pth"))


def test_items_may_share_parts_with_ones_far_before(tmp_path: Path) -> None:
    shared = [(1.5, 2.5), [3.5]]
    value = {number: [shared, number] for number in range(3500)}
    path = tmp_path / "shared.pkl"
    path.write_bytes(pickle.dumps(value, protocol=4))
    assert list(stream_items(path)) == list(value.items())


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for count in (2000, 6000):
        path = tmp_path / f"{count}.pth"
        path.write_bytes(pickle.dumps({number: [(1.5, [2.5] * 9, number)] for number in range(count)}, protocol=2))
        tracemalloc.start()
        assert sum(1 for _ in stream_items(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
