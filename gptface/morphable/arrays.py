"""Arrays out of files, checked one by one: what is missing or has another shape is told by name."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gptface.errors import InputError

__all__ = ["array_of", "npz_names", "open_npz"]

_KINDS = {"f": "floating-point numbers", "iu": "whole numbers", "U": "text", "fiu": "numbers"}


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``, read without executing anything in it.

    Raises:
        InputError: no archive of arrays, or one that holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{path} is a single array; a morphable model's .npz holds several by name")
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise InputError(f"{path} is no .npz archive ({error})") from None
    except MemoryError as error:
        raise InputError(f"{path} asks for more memory than there is ({error})") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} holds Python objects, which are not read because that could run code; save plain arrays with "
            "numpy.savez"
        ) from None


def npz_names(path: Path) -> list[str]:
    """Names of the arrays in an ``.npz``, none of which is read; raises as :func:`open_npz`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is no .npz archive ({error})") from None


def array_of(
    file: Mapping[str, Any], path: Path | str, name: str, shape: tuple[int | None, ...], kind: str = "f"
) -> np.ndarray:
    """One array of an opened file.

    Args:
        file: name → array.
        path: for the error.
        name: of the array.
        shape: lengths; ``None`` allows any.
        kind: what it must hold: letters of ``numpy.dtype.kind``.

    Raises:
        InputError: missing, of another shape or kind.
    """
    if name not in file:
        raise InputError(f"{path} is not the morphable model it looks like: it has no {name!r}")
    value = np.asarray(file[name])
    wanted = " × ".join("any" if length is None else str(length) for length in shape)
    fits = value.ndim == len(shape) and all(w is None or w == n for w, n in zip(shape, value.shape, strict=False))
    if not fits:
        given = " × ".join(map(str, value.shape)) or "a single value"
        raise InputError(f"{path}: {name} is {given}; it must be {wanted}")
    if value.dtype.kind not in kind:
        raise InputError(f"{path}: {name} holds {value.dtype}; it must hold {_KINDS.get(kind, kind)}")
    return value
