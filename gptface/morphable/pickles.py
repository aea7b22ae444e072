"""Pickles of arrays, read without executing them: whatever is not an array or a plain value is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gptface.errors import InputError
from gptface.pickled_arrays import ARRAY_CALLABLES

__all__ = ["as_array", "load_pickled_arrays", "load_pickled_npy"]


class _Record:
    """Stands for an object of a class that is not imported: what was stored in it, and nothing that runs."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _SparseRecord(_Record):
    """A ``scipy.sparse`` matrix in compressed columns or rows."""


class _RowRecord(_SparseRecord):
    """Compressed rows."""


class _ChumpyRecord(_Record):
    """A ``chumpy`` array: FLAME's files hold their bases in them."""


def _reconstruct_record(cls: Any, base: Any, state: Any) -> Any:
    if not (isinstance(cls, type) and issubclass(cls, _Record)):
        raise pickle.UnpicklingError("an object that is no array")
    return cls()


# Beside arrays: objects of classes that are not imported.
_ADMITTED: dict[tuple[str, str], Any] = {
    **ARRAY_CALLABLES,
    ("copy_reg", "_reconstructor"): _reconstruct_record,
    ("copyreg", "_reconstructor"): _reconstruct_record,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
}
for _package in ("scipy.sparse.csc", "scipy.sparse._csc"):
    for _kind in ("csc_matrix", "csc_array"):
        _ADMITTED[_package, _kind] = _SparseRecord
for _package in ("scipy.sparse.csr", "scipy.sparse._csr"):
    for _kind in ("csr_matrix", "csr_array"):
        _ADMITTED[_package, _kind] = _RowRecord


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that imports nothing."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return _ChumpyRecord
        raise InputError(
            f"{self.path} asks to run {module}.{name}, and a pickle's code is never run; where the "
            "file is trusted, load it and save its arrays with numpy.savez as an .npz"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise InputError(f"{self.path} refers to objects outside itself; only a pickle of arrays is read")


def _load(file: BinaryIO, path: Path) -> Any:
    try:
        return _ArrayUnpickler(file, path).load()
    except InputError:
        raise
    except Exception as error:  # a broken pickle fails in any way there is
        raise InputError(f"{path} is no pickle of arrays that can be read ({type(error).__name__}: {error})") from None


def load_pickled_arrays(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle; its values may be turned into arrays by :func:`as_array`. No code of it is run.

    Raises:
        InputError: the pickle asks for anything but arrays, is broken, or is no dictionary.
    """
    with path.open("rb") as file:
        value = _load(file, path)
    return _dictionary(value, path)


def load_pickled_npy(path: Path) -> dict[str, Any]:
    """The dictionary in an ``.npy`` that holds one Python object; no code of it is run."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
        except ValueError as error:
            raise InputError(f"{path} is no .npy file ({error})") from None
        if not dtype.hasobject or shape != ():
            raise InputError(f"{path} holds an array; a dictionary of arrays is needed")
        value = _load(file, path)
    return _dictionary(value.item() if isinstance(value, np.ndarray) and value.shape == () else value, path)


def _dictionary(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}; a dictionary of arrays is needed")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): entry for key, entry in value.items()}


def as_array(value: Any, path: Path, name: str) -> np.ndarray:
    """An array out of what :func:`load_pickled_arrays` gave: arrays, chumpy arrays and sparse matrices.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, _ChumpyRecord) and isinstance(value.state, dict):
        inner = value.state.get("x")
        if isinstance(inner, np.ndarray):
            return inner
    if isinstance(value, _SparseRecord) and isinstance(value.state, dict):
        return _dense(value, path, name)
    if isinstance(value, (list, tuple)):
        try:
            return np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            pass
    raise InputError(f"{path}: {name} is no array; save it with numpy.savez as an .npz where it can be loaded")


def _dense(value: _SparseRecord, path: Path, name: str) -> np.ndarray:
    """A sparse matrix, filled in."""
    state = value.state
    try:
        shape = tuple(int(length) for length in state.get("_shape", state.get("shape")))
        data, indices, starts = (np.asarray(state[key]) for key in ("data", "indices", "indptr"))
        runs = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        rows, columns = (runs, indices) if isinstance(value, _RowRecord) else (indices, runs)
        dense = np.zeros(shape)
        np.add.at(dense, (rows, columns), data)
        return dense
    except (KeyError, TypeError, ValueError, IndexError, MemoryError) as error:
        raise InputError(f"{path}: {name} is a sparse matrix that cannot be read ({type(error).__name__})") from None
