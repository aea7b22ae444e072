"""A token shard: faces as the codes of an image tokenizer beside their captions, half a kilobyte a face and side.

It is a safetensors file, so that other programs read it too. Of n faces, s sides (2: the mirror image comes second)
and N tokens a picture it holds

    codes        uint16 (n, s, N)
    sample_ids   int64 (n,)        identities, as ``gptface.data.shard_index.key_identity`` gives them
    text         uint8 (bytes,)    the captions of one face after the other in UTF-8, several of one face on lines
    text_ends    int64 (n,)        where the captions of each face end in ``text``
    regions      uint8 (n, s, N)   the facial region of every token; only where each of the faces has a region map

and as ``gptface_tokens`` in its metadata, in JSON, whose codes they are (:class:`TokenFormat`). A face is read by its
place; an open shard holds no more than where the tensors begin.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gptface.data.metadata import without_surrogates
from gptface.data.open_files import open_files
from gptface.data.order import faces_digest
from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = ["LARGEST_CODEBOOK", "TOKEN_SUFFIX", "TokenFormat", "TokenShard", "write_token_shard"]

TOKEN_SUFFIX = ".safetensors"
LARGEST_CODEBOOK = 1 << 16  # codes that uint16 can tell apart
ABOUT = "gptface_tokens"  # one entry of the metadata: their order in the file is another every time
VERSION = 1
DTYPES = {"codes": "U16", "sample_ids": "I64", "text": "U8", "text_ends": "I64", "regions": "U8"}


@dataclass(frozen=True)
class TokenFormat:
    """Whose codes they are.

    Attributes:
        tokenizer: digest of the image tokenizer's configuration and weights.
        grid: (h, w), N = h · w.
        codebook_size: codes are below it.
        image_size: side of the pictures that were encoded, in pixels.
        sides: 2 where the mirror image of every picture was encoded too, else 1.
    """

    tokenizer: str
    grid: tuple[int, int]
    codebook_size: int
    image_size: int
    sides: int


def write_token_shard(
    path: Path,
    form: TokenFormat,
    codes: np.ndarray,
    sample_ids: np.ndarray,
    captions: Sequence[Sequence[str]],
    regions: np.ndarray | None = None,
) -> None:
    """Write a token shard in one step; the same arguments give the same bytes.

    Args:
        codes: uint16 (n, s, N).
        sample_ids: int64 (n,).
        captions: of each face one or more; a line break in one becomes a space.
        regions: uint8 (n, s, N).
    """
    texts = ["\n".join(" ".join(caption.splitlines()) for caption in several) for several in captions]
    encoded = [without_surrogates(text).encode("utf-8") for text in texts]
    tensors = {
        "codes": np.ascontiguousarray(codes, dtype=np.uint16),
        "sample_ids": np.ascontiguousarray(sample_ids, dtype=np.int64),
        "text": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "text_ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
    }
    if regions is not None:
        tensors["regions"] = np.ascontiguousarray(regions, dtype=np.uint8)
    about = {"version": VERSION, "faces": faces_digest(sample_ids), **dataclasses.asdict(form)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, {ABOUT: json.dumps(about)})


class TokenShard:
    """An open token shard; faces are read by their places.

    Raises:
        InputError: it is not there, no token shard, or not whole.

    Attributes:
        path: of the file.
        form: whose codes they are.
        digest: of the faces' identities, in their order (:func:`gptface.data.order.faces_digest`).
        has_regions: whether the region of every token is known.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        self._owner = uuid.uuid4().hex
        try:
            with safe_open(self.path, "numpy") as file:  # sees that the file is as long as its header says
                about = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
            if about.get("version") != VERSION:
                raise InputError(f"{path}: is no token shard; `gptface data encode` writes them")
            height, width = map(int, about["grid"])
            numbers = (int(about[name]) for name in ("codebook_size", "image_size", "sides"))
            self.form = TokenFormat(about["tokenizer"], (height, width), *numbers)
            self.digest = about["faces"]
            self._places, self._count = _places(self.path, self.form)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is not a whole token shard ({type(error).__name__}: {error})") from None
        self.has_regions = "regions" in self._places

    def __len__(self) -> int:
        return self._count

    def sample_id(self, place: int) -> int:
        """Identity of the face at a place."""
        return int(self._row("sample_ids", place, np.dtype(np.int64), 1)[0])

    def captions(self, place: int) -> list[str]:
        """Captions of the face at a place, at least one."""
        first = max(0, place - 1)
        ends = self._row("text_ends", first, np.dtype(np.int64), place - first + 1).tolist()
        begin, end = (0 if place == 0 else ends[0]), ends[-1]
        if not 0 <= begin <= end:
            raise InputError(f"{self.path}: row {place}: captions from {begin} to {end}; the file is damaged")
        return self._read(self._places["text"] + begin, end - begin).decode("utf-8", "replace").split("\n")

    def codes(self, place: int, side: int) -> np.ndarray:
        """Codes of one side of the face at a place: uint16 (N,)."""
        codes = self._side("codes", place, side, np.dtype(np.uint16))
        if int(codes.max()) >= self.form.codebook_size:
            raise InputError(
                f"{self.path}: row {place}: code {codes.max()} of a codebook of {self.form.codebook_size}; "
                "the file is damaged"
            )
        return codes

    def regions(self, place: int, side: int) -> np.ndarray:
        """Facial region of every token of one side of the face at a place: uint8 (N,)."""
        return self._side("regions", place, side, np.dtype(np.uint8))

    def _side(self, name: str, place: int, side: int, kind: np.dtype) -> np.ndarray:
        tokens = self.form.grid[0] * self.form.grid[1]
        return self._row(name, place * self.form.sides + side, kind, 1, tokens)

    def _row(self, name: str, row: int, kind: np.dtype, rows: int, width: int = 1) -> np.ndarray:
        size = kind.itemsize * width
        return np.frombuffer(self._read(self._places[name] + row * size, rows * size), dtype=kind)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return open_files.read(self._owner, self.path, offset, size)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read any more ({error.strerror or error})") from None


def _places(path: str, form: TokenFormat) -> tuple[dict[str, int], int]:
    """Where each tensor begins in the file, and the number of faces; ValueError for tensors of another kind."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    count = int(header["sample_ids"]["shape"][0])
    sides = [count, form.sides, form.grid[0] * form.grid[1]]
    shapes = {
        "codes": sides,
        "sample_ids": [count],
        "text": header["text"]["shape"],
        "text_ends": [count],
        "regions": sides,
    }
    for name, tensor in header.items():
        if tensor["dtype"] != DTYPES.get(name) or tensor["shape"] != shapes[name]:
            raise ValueError(f"{name} is {tensor['dtype']} {tensor['shape']}")
    if missing := sorted(DTYPES.keys() - header.keys() - {"regions"}):
        raise ValueError(f"{missing[0]} is missing")
    return {name: 8 + length + int(tensor["data_offsets"][0]) for name, tensor in header.items()}, count
