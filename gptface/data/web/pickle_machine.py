"""An interpreter of pickles that runs no code of theirs and hands on what it reads batch by batch."""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from gptface.errors import InputError
from gptface.pickled_arrays import ARRAY_CALLABLES

__all__ = ["PickleMachine", "RefersBack"]

KEPT = 32  # characters; shorter texts are referred to again throughout a file (names of encodings, of types)
LONGEST = 1 << 31  # bytes of one value

_STORAGE_TYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip

_STORAGES = frozenset(_STORAGE_TYPES.values())


class RefersBack(InputError):
    """An item uses what a forgotten one did."""


class _Mark:
    """Where a collection begins on the stack."""


_MARK = _Mark()


class _Storage:
    """The numbers behind tensors, by their name in the archive."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name


def _nothing(*_: Any) -> None:
    return None


def _as_list(items: Any = ()) -> list[Any]:
    return list(items)


_PLAIN_CALLABLES: dict[tuple[str, str], Any] = {
    **ARRAY_CALLABLES,
    ("collections", "OrderedDict"): dict,
    ("__builtin__", "set"): _as_list,
    ("builtins", "set"): _as_list,
    ("builtins", "frozenset"): _as_list,
}


class PickleMachine:
    """An interpreter of a pickle's opcodes.

    Args:
        file: at the pickle's start.
        path: what errors call it.
        archive: the zip archive that holds the tensors' numbers, and its top folder.
        on_items: takes the batches of the outermost dictionary's (key, value) pairs or the outermost list's items,
            which are then forgotten.
        on_integers: where given, takes every batch of whole numbers that any list gets.
        keep: whether nothing is forgotten, for files whose items share parts; memory grows with the file.

    Raises:
        RefersBack: by ``run``, where an item needs what was forgotten.
    """

    def __init__(
        self,
        file: IO[bytes],
        path: Path,
        archive: tuple[zipfile.ZipFile, str] | None,
        on_items: Callable[[list[Any]], None] | None,
        on_integers: Callable[[list[int]], None] | None,
        keep: bool = False,
    ) -> None:
        self._keep = keep
        self._read = file.read
        self._line = file.readline
        self._path = path
        self._archive = archive
        self._on_items, self._on_integers = on_items, on_integers
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._passing: list[int] = []  # names in the memo that the next batch takes with it
        self._storages: dict[str, np.ndarray] = {}
        self._root: Any = None

    def run(self) -> Any:
        """The pickle's value, without what was handed on."""
        try:
            return self._run()
        except InputError:
            raise
        except Exception as error:  # a broken pickle fails in any way there is
            raise InputError(
                f"{self._path}: no pickle of arrays that can be read ({type(error).__name__}: {error})"
            ) from None

    def _run(self) -> Any:
        read, stack, push = self._read, self._stack, self._stack.append
        unpack = struct.unpack
        while True:
            code = read(1)
            if code == b"q":
                self._remember(read(1)[0])
            elif code == b"r":
                self._remember(unpack("<I", read(4))[0])
            elif code == b"\x94":
                self._remember(len(self._memo) + self._forgotten)
            elif code == b"h":
                push(self._recall(read(1)[0]))
            elif code == b"j":
                push(self._recall(unpack("<I", read(4))[0]))
            elif code == b"K":
                push(read(1)[0])
            elif code == b"M":
                push(unpack("<H", read(2))[0])
            elif code == b"J":
                push(unpack("<i", read(4))[0])
            elif code == b"\x8a":
                push(int.from_bytes(self._bytes(read(1)[0]), "little", signed=True))
            elif code == b"G":
                push(unpack(">d", read(8))[0])
            elif code == b"(":
                push(_MARK)
            elif code == b"t":
                push(tuple(self._collect()))
            elif code == b"\x85":
                stack[-1:] = [(stack[-1],)]
            elif code == b"\x86":
                stack[-2:] = [tuple(stack[-2:])]
            elif code == b"\x87":
                stack[-3:] = [tuple(stack[-3:])]
            elif code == b")":
                push(())
            elif code == b"X":
                push(str(self._bytes(unpack("<I", read(4))[0]), "utf-8", "surrogatepass"))
            elif code == b"\x8c":
                push(str(self._bytes(read(1)[0]), "utf-8", "surrogatepass"))
            elif code == b"C":
                push(self._bytes(read(1)[0]))
            elif code == b"B":
                push(self._bytes(unpack("<I", read(4))[0]))
            elif code == b"\x8e":
                push(self._bytes(unpack("<Q", read(8))[0]))
            elif code == b"U":
                push(str(self._bytes(read(1)[0]), "latin1"))
            elif code == b"T":
                push(str(self._bytes(unpack("<i", read(4))[0]), "latin1"))
            elif code == b"R":
                arguments = stack.pop()
                stack[-1] = self._call(stack[-1], arguments)
            elif code == b"b":
                state = stack.pop()
                self._build(stack[-1], state)
            elif code == b"]":
                push([])
                self._notice_root()
            elif code == b"}":
                push({})
                self._notice_root()
            elif code == b"\x8f":  # an empty set
                push([])
                self._notice_root()
            elif code in (b"e", b"\x90"):
                items = self._collect()
                self._extend(stack[-1], items)
            elif code == b"a":
                item = stack.pop()
                self._extend(stack[-1], [item])
            elif code == b"u":
                flat = self._collect()
                self._set(stack[-1], list(zip(flat[::2], flat[1::2], strict=True)))
            elif code == b"s":
                value, key = stack.pop(), stack.pop()
                self._set(stack[-1], [(key, value)])
            elif code == b"N":
                push(None)
            elif code == b"\x88":
                push(True)
            elif code == b"\x89":
                push(False)
            elif code == b"c":
                module, name = self._line()[:-1].decode("utf-8"), self._line()[:-1].decode("utf-8")
                push(self._find(module, name))
            elif code == b"\x93":
                name, module = stack.pop(), stack.pop()
                push(self._find(module, name))
            elif code == b"Q":
                stack[-1] = self._persistent(stack[-1])
            elif code == b"\x80":
                read(1)
            elif code == b"\x95":
                read(8)
            elif code == b".":
                return stack.pop()
            elif not code:
                raise EOFError("it ends before its end mark")
            else:
                raise pickle.UnpicklingError(f"opcode {code!r}")

    _forgotten = 0

    def _bytes(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST:
            raise pickle.UnpicklingError(f"a value of {size} bytes")
        data = self._read(size)
        if len(data) != size:
            raise EOFError("it ends within a value")
        return data

    def _remember(self, place: int) -> None:
        value = self._stack[-1]
        self._memo[place] = value
        if isinstance(value, (str, bytes)):
            if len(value) > KEPT:
                self._passing.append(place)
        elif value is not self._root and isinstance(value, (tuple, list, dict, np.ndarray, np.generic)):
            self._passing.append(place)

    def _recall(self, place: int) -> Any:
        try:
            return self._memo[place]
        except KeyError:
            if self._forgotten:
                raise RefersBack(f"{self._path}: an item refers back to one that lies far before") from None
            raise

    def _forget(self) -> None:
        if self._keep:
            return
        for place in self._passing:
            if self._memo.pop(place, None) is not None:
                self._forgotten += 1
        self._passing.clear()
        self._storages.clear()

    def _collect(self) -> list[Any]:
        """What lies on the stack after the last mark."""
        stack = self._stack
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise pickle.UnpicklingError("a collection without a beginning")
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def _notice_root(self) -> None:
        if self._root is None:
            self._root = self._stack[-1]

    def _extend(self, target: Any, items: list[Any]) -> None:
        if not isinstance(target, list):
            raise pickle.UnpicklingError("items of something that is no list")
        if self._on_integers is not None and items and all(type(item) is int for item in items):
            self._on_integers(items)
        elif target is self._root and self._on_items is not None:
            self._on_items(items)
            self._forget()
        else:
            target.extend(items)

    def _set(self, target: Any, pairs: list[tuple[Any, Any]]) -> None:
        if not isinstance(target, dict):
            raise pickle.UnpicklingError("entries of something that is no dictionary")
        if target is self._root and self._on_items is not None:
            self._on_items(pairs)
            self._forget()
        else:
            target.update(pairs)

    def _find(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN_CALLABLES:
            return _PLAIN_CALLABLES[module, name]
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        raise InputError(
            f"{self._path} asks to run {module}.{name}, and a pickle's code is never run; only arrays, tensors and "
            "plain values are read"
        )

    def _call(self, function: Any, arguments: Any) -> Any:
        if not callable(function) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("a call of something that is no function")
        return function(*arguments)

    def _build(self, target: Any, state: Any) -> None:
        if not isinstance(target, (np.ndarray, np.dtype)):
            raise pickle.UnpicklingError("the state of an object that is no array")
        if isinstance(target, np.ndarray) and isinstance(state, tuple) and len(state) == 5:
            dtype, content = state[2], state[4]
            if not isinstance(dtype, np.dtype) or dtype.hasobject:
                raise pickle.UnpicklingError("an array of objects")
            if isinstance(content, str):
                state = (*state[:4], content.encode("latin1"))
        target.__setstate__(state)

    def _persistent(self, wish: Any) -> _Storage:
        if not (isinstance(wish, tuple) and len(wish) == 5 and wish[0] == "storage" and wish[1] in _STORAGES):
            raise pickle.UnpicklingError("a reference to something outside the file")
        return _Storage(wish[1], str(wish[2]))

    def _tensor(self, storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> np.ndarray:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without numbers")
        if self._archive is None:
            raise InputError(f"{self._path} holds tensors in torch's old format; load it and save it again with torch")
        if storage.name not in self._storages:
            archive, folder = self._archive
            self._storages[storage.name] = np.frombuffer(archive.read(f"{folder}/data/{storage.name}"), storage.kind)
        numbers = self._storages[storage.name]
        size, stride = tuple(map(int, size)), tuple(map(int, stride))
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if min((*size, *stride, offset), default=0) < 0 or (math.prod(size) > 0 and last >= len(numbers)):
            raise pickle.UnpicklingError("a tensor that reaches beyond its numbers")
        strides = [step * numbers.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(numbers[offset:], size, strides).copy()
