"""Which tiles the lookup kernel runs with: a pure function of the problem over checked-in tables.

One table a GPU architecture, ``tuned/vq_sm_*.json``, and ``tuned/vq_default.json`` for others, like attention's.
``python -m gptface.kernels.tune vq`` rewrites the table of the GPU at hand; nothing is tuned at a call.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptface.kernels.places import read_table

__all__ = [
    "DEPTHS",
    "FEW",
    "MOST_KEPT",
    "PRECISIONS",
    "Configuration",
    "Entry",
    "code_splits",
    "configuration",
    "depth_block",
    "entries",
    "forced",
    "forget",
    "read_entries",
]

PRECISIONS = ("ieee", "tf32x3", "tf32", "bf16")  # how products are taken; "ieee" is float32 without tensor cores
DEPTHS = (32, 64, 128, 256, None)  # vector lengths up to which a line is for; None for any
FEW = 2  # candidates that count as few
MOST_KEPT = 32  # of a row, over all splits: what one program of vq_decide ranks


@dataclass(frozen=True)
class Configuration:
    """Tile shape and what the compiler is told.

    Attributes:
        block_m: rows of a tile.
        block_n: codes of a tile.
        block_k: elements of the vectors that one step multiplies. Where it reaches over a whole vector, the rows of a
            tile are read and moved once, before the loop over codes.
        num_warps: warps of a program.
        num_stages: depth of the software pipeline.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class Entry:
    """A line of a table: the first that fits a problem counts.

    Attributes:
        precision: one of :data:`PRECISIONS`.
        depth: longest vectors that it is for; None for any.
        kept: most candidates a row that it is for; None for any number.
        configuration: what to launch.
    """

    precision: str
    depth: int | None
    kept: int | None
    configuration: Configuration

    def as_json(self) -> dict[str, Any]:
        flat = {"precision": self.precision, "depth": self.depth, "kept": self.kept}
        return {**flat, **asdict(self.configuration)}


def depth_block(block_k: int, width: int) -> int:
    """``block_k``, or the power of two from ``width`` upward (at least 16) where that is less."""
    return min(block_k, max(16, 1 << (width - 1).bit_length()))


@functools.cache
def entries(table: str) -> tuple[Entry, ...]:
    """The lines of ``tuned/vq_<table>.json``: those that this user tuned, else the package's."""
    return read_table("vq", table, read_entries)


def read_entries(path: Path) -> tuple[Entry, ...]:
    """The lines of a table's file."""
    shape = ("block_m", "block_n", "block_k", "num_warps", "num_stages")
    lines = json.loads(path.read_text(encoding="utf-8"))["entries"]
    return tuple(
        Entry(line["precision"], line["depth"], line["kept"], Configuration(*(line[name] for name in shape)))
        for line in lines
    )


def forget() -> None:
    """Read the tables again at the next question."""
    entries.cache_clear()


_forced: list[tuple[Configuration, int]] = []


@contextlib.contextmanager
def forced(chosen: Configuration, splits: int = 1) -> Iterator[None]:
    """Within the block the kernel runs with this and not with the tables': for tests and for tuning."""
    _forced.append((chosen, splits))
    try:
        yield
    finally:
        _forced.pop()


def configuration(table: str, precision: str, width: int, kept: int) -> Configuration:
    """What runs on a GPU of ``table`` for vectors of ``width`` elements and ``kept`` candidates a row."""
    if _forced:
        return _forced[-1][0]
    for entry in entries(table):
        fits = (entry.depth is None or width <= entry.depth) and (entry.kept is None or kept <= entry.kept)
        if entry.precision == precision and fits:
            return entry.configuration
    raise LookupError(f"no configuration in vq_{table}.json for {precision}, width {width}, {kept} candidates")


def code_splits(programs: int, code_tiles: int, kept: int, multiprocessors: int) -> int:
    """Into how many shares the codes are cut, each with programs of its own, so that few rows fill the device.

    Two programs a multiprocessor are wanted; a share keeps at least four tiles, because every share begins with an
    empty selection.
    """
    if _forced:
        return min(_forced[-1][1], max(1, code_tiles))
    wanted = -(-2 * multiprocessors // max(programs, 1))
    return max(1, min(wanted, code_tiles // 4, MOST_KEPT // kept))
