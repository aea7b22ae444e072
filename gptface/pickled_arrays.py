"""What a pickle of arrays may ask for, and nothing that runs: shared by everything that reads such files."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

__all__ = ["ARRAY_CALLABLES"]


def _array(subtype: Any, shape: Any, _: Any) -> np.ndarray:
    if subtype is not np.ndarray:
        raise pickle.UnpicklingError("an array of a class of its own")
    return np.ndarray.__new__(np.ndarray, shape)


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _scalar(dtype: np.dtype, value: bytes = b"") -> Any:
    if dtype.hasobject:
        raise pickle.UnpicklingError("a scalar that is an object")
    raw = value.encode("latin1") if isinstance(value, str) else value
    return np.frombuffer(raw, dtype=dtype, count=1)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "ascii", "utf-8"):
        raise pickle.UnpicklingError(f"text in the encoding {encoding}")
    return text.encode(encoding)


def _no_bytes(*contents: Any) -> bytes:
    """How Python 3 writes ``b""`` for Python 2: the content of an array without elements."""
    if contents:
        raise pickle.UnpicklingError("bytes of an object")
    return b""


ARRAY_CALLABLES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
}
"""Everything that arrays ask for by (module, name), in the spellings of Python 2 and 3 and of NumPy 1 and 2."""
for _core in ("numpy.core", "numpy._core"):
    ARRAY_CALLABLES[f"{_core}.multiarray", "_reconstruct"] = _array
    ARRAY_CALLABLES[f"{_core}.multiarray", "scalar"] = _scalar
    ARRAY_CALLABLES[f"{_core}.numeric", "_frombuffer"] = _from_buffer
