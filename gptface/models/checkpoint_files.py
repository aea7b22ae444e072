"""Tensors out of other people's checkpoint files, without running what a pickle asks for.

A file is known by its content, not by its suffix. ``torch.load(weights_only=True)`` reads it; where a file holds
objects besides tensors (a trainer's callbacks, its hyper-parameters), their classes are replaced by one that keeps
nothing and does nothing, so that the tensors beside them can be had. Functions that such a file names are never found.
"""

from __future__ import annotations

import codecs
import contextlib
import pickle
import re
import sys
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from gptface.errors import InputError

__all__ = ["read_tensors"]

# What people have under a checkpoint's name that is none, by how it begins (in lower case, without leading space).
NOT_CHECKPOINTS = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, which stands for the file; get the file itself by `git lfs pull`, or download it anew",
    ),
    (b"<!doctype", "is a web page, not a checkpoint: the download was answered by a page; download the file itself"),
    (b"<html", "is a web page, not a checkpoint: the download was answered by a page; download the file itself"),
    (b"<?xml", "is an XML document, not a checkpoint, most likely a server's refusal; download the file itself"),
    (b"\x1f\x8b", "is compressed by gzip; unpack it first"),
    (b"\xfd7zxz", "is compressed by xz; unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive; unpack it first"),
    (b"\x89hdf", "is an HDF5 file, as TensorFlow and Keras write it; allowed: a checkpoint of PyTorch"),
    (b"\x93numpy", "is a NumPy array; allowed: a checkpoint of PyTorch"),
)
# Modules of the standard library whose objects trainers keep beside weights, and that are left out unread. Any other
# one that a file names (builtins, os, subprocess) is a way to run code, and such a file is refused as a whole.
HARMLESS_MODULES = {
    "_codecs", "argparse", "collections", "copyreg", "datetime", "decimal", "enum", "functools", "pathlib", "typing",
    "uuid",
}  # fmt: skip
HARMLESS_BUILTINS = {
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set",
    "slice", "str", "tuple",
}  # fmt: skip


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; those of nested dictionaries are named ``outer.inner``.

    Raises:
        InputError: it is missing, no checkpoint (then it is said what it is), damaged, or would run code.
    """
    if not path.is_file():
        raise InputError(f"{path}: is neither a file nor a folder")
    try:
        with path.open("rb") as file:
            head = file.read(512)
        _refuse_what_is_none(path, head)
        found = load_file(path) if _is_safetensors(head) else _unpickled(path)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise InputError(_refusal(path, [named[1]] if named else [])) from error
    except (OSError, RuntimeError, SafetensorError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        # The others are about operands of the unpickler, and say nothing.
        plain = str(error).strip() and isinstance(error, OSError | RuntimeError | SafetensorError)
        reason = str(error).strip().splitlines()[0] if plain else "neither torch.save nor safetensors wrote it"
        raise InputError(f"{path}: cannot be read as a checkpoint: {reason}") from error
    if isinstance(found, _LeftOut):
        raise InputError(
            f"{path}: holds a pickled {type(found).__name__}, not a state dictionary; where the file is trusted, load "
            "it with the code it belongs to and save its weights: torch.save(network.state_dict(), ...)"
        )
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: holds a {type(found).__name__}; allowed: a state dictionary")
    return dict(_flattened(found))


def _flattened(found: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in found.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:5]) + (" …" if len(ordered) > 5 else "")


def _is_safetensors(head: bytes) -> bool:
    """A length (the format allows 100 MB), then a JSON object of that length."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000


def _refuse_what_is_none(path: Path, head: bytes) -> None:
    if not head:
        raise InputError(f"{path}: is empty; the download or the copy did not finish")
    start = head.lstrip().lower()
    for beginning, what in NOT_CHECKPOINTS:
        if start.startswith(beginning):
            raise InputError(f"{path}: {what}")
    if head[257:262] == b"ustar":
        raise InputError(f"{path}: is a tar archive; unpack it first")
    if head.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        raise InputError(f"{path}: ends too early; the download or the copy did not finish")
    with contextlib.suppress(UnicodeDecodeError):
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # whose last letter may be cut
        if all(letter.isprintable() or letter in "\r\n\t" for letter in text):
            raise InputError(
                f"{path}: is a text, not a checkpoint; it begins {text.strip()[:40]!r}. Give the file of weights, or "
                "the folder that holds it"
            )


def _unpickled(path: Path) -> Any:
    if not zipfile.is_zipfile(path):  # as torch.save wrote until 1.6
        return _tensors_and(path, {})
    with zipfile.ZipFile(path) as archive:
        files = archive.namelist()
    if not any(name.endswith("/data.pkl") for name in files):
        raise InputError(f"{path}: is a zip archive that torch.save did not write; unpack it first")
    if any("/code/" in name for name in files):
        raise InputError(
            f"{path}: is a TorchScript archive; where the file is trusted, save its weights: "
            "torch.save(torch.jit.load(...).state_dict(), ...)"
        )
    names = get_unsafe_globals_in_checkpoint(path)  # reads the opcodes, and carries none of them out
    dangerous = sorted(name for name in names if not _is_harmless(name))
    if dangerous:
        raise InputError(_refusal(path, dangerous))
    stand_ins = {name: STAND_INS.get(name) or _left_out(name, _LeftOut) for name in names}
    while True:
        try:
            return _tensors_and(path, stand_ins)
        except pickle.UnpicklingError as error:
            # A class of dictionaries is filled like one; torch fills none but the plain kinds, and says which it was.
            filled = [name for name, kind in stand_ins.items() if f"got {kind}" in str(error)]
            if not filled:
                raise
            stand_ins |= {name: _left_out(name, _LeftOutItems) for name in filled}


def _tensors_and(path: Path, stand_ins: dict[str, Callable[..., Any]]) -> Any:
    """What a file holds, where ``stand_ins``, by the names they answer to, take the place of its objects."""
    allowed: list[Any] = [(stand_in, name) for name, stand_in in stand_ins.items()]
    with warnings.catch_warnings(), safe_globals(allowed):
        warnings.simplefilter("ignore")  # about pickle protocols
        with path.open("rb") as file:  # given the path, torch.load goes by its suffix
            return torch.load(file, map_location="cpu", weights_only=True)


def _is_harmless(name: str) -> bool:
    root, _, rest = name.partition(".")
    root = IMPORT_MAPPING.get(root, root)  # torch.save names some modules as Python 2 did
    if root == "builtins":
        return rest in HARMLESS_BUILTINS
    return root in HARMLESS_MODULES or root not in sys.stdlib_module_names


def _refusal(path: Path, names: list[str]) -> str:
    objects = f" (it names {_listed(names)})" if names else ""
    return (
        f"{path}: is not a file of tensors alone{objects}; unpickling anything else could run code and is refused. "
        "Where the file is trusted, save its state dictionary on its own: torch.save(checkpoint['state_dict'], ...)"
    )


class _LeftOut:
    """Stands for an object that is not read: it takes whatever it is given, and keeps and does nothing."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **options: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _LeftOutItems(_LeftOut):
    """The same for a class of dictionaries."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        return OrderedDict()


def _left_out(name: str, kind: type[_LeftOut]) -> type[_LeftOut]:
    """A class of that name, so that every class of a file stays a key of its own."""
    return type(name.rpartition(".")[2], (kind,), {})


# What is filled after it was made, and must take that.
STAND_INS: dict[str, Callable[..., Any]] = {
    "collections.defaultdict": lambda *arguments: {},
    "collections.deque": lambda *arguments: [],
}
