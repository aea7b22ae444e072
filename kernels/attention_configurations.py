"""Which tiles an attention kernel runs with: a pure function of the problem over checked-in tables.

One table a GPU architecture, ``tuned/attention_sm_*.json``, and one for every other GPU,
``tuned/attention_default.json``, whose configurations stay within 99 KiB of shared memory, the least that any GPU
with compute capability 8.0 or higher grants a block. ``python -m gptface.kernels.tune attention`` rewrites the table
of the GPU at hand; nothing is tuned at a call.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptface.kernels.places import TUNED, read_table

__all__ = [
    "KERNELS", "REPAIR_STAGES", "TUNED", "Configuration", "Entry", "block_d", "configuration", "entries", "forced",
    "forget", "read_entries", "table_name",
]  # fmt: skip

KERNELS = ("forward", "grad_query", "grad_key_value")
# The second pass of attention_containment takes the tiles of the first, so that it adds up in the same order, and no
# memory for a pipeline: it seldom has anything to do.
REPAIR_STAGES = 1
_TABLES = {(8, 0): "sm_80", (9, 0): "sm_90", (10, 0): "sm_100", (10, 3): "sm_100"}


@dataclass(frozen=True)
class Configuration:
    """Tile shape and what the compiler is told of a kernel.

    Attributes:
        block_m: packed rows of a tile.
        block_n: keys of a tile.
        num_warps: warps of a program.
        num_stages: depth of the software pipeline over the tiles of the loop.
        max_registers: that a thread may take, so that more programs share a multiprocessor; None for no limit. Not for
            dropout and not for the second pass, which keep more.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    max_registers: int | None = None


@dataclass(frozen=True)
class Entry:
    """A line of a table: the first that fits a problem counts.

    Attributes:
        kernel: one of :data:`KERNELS`.
        bits: 16 for bfloat16 and float16, 32 for float32.
        block_d: the head dimension, rounded up to a power of two.
        rows: longest sequence (of packed rows; of keys for grad_key_value) that it is for; None for any.
        configuration: what to launch.
    """

    kernel: str
    bits: int
    block_d: int
    rows: int | None
    configuration: Configuration

    def as_json(self) -> dict[str, Any]:
        flat = {"kernel": self.kernel, "bits": self.bits, "block_d": self.block_d, "rows": self.rows}
        chosen = asdict(self.configuration)
        if self.configuration.max_registers is None:
            del chosen["max_registers"]
        return {**flat, **chosen}


def block_d(head_dim: int) -> int:
    """The power of two from ``head_dim`` upward, at least 16: what a tile's row takes."""
    return max(16, 1 << (head_dim - 1).bit_length())


def table_name(capability: tuple[int, int]) -> str:
    """``"sm_90"`` and the like for an architecture that has a table, else ``"default"``."""
    return _TABLES.get(capability, "default")


@functools.cache
def entries(table: str) -> tuple[Entry, ...]:
    """The lines of ``tuned/attention_<table>.json``: those that this user tuned, else the package's."""
    return read_table("attention", table, read_entries)


def read_entries(path: Path) -> tuple[Entry, ...]:
    """The lines of a table's file."""
    lines = json.loads(path.read_text(encoding="utf-8"))["entries"]
    return tuple(
        Entry(
            line["kernel"],
            line["bits"],
            line["block_d"],
            line["rows"],
            Configuration(
                line["block_m"], line["block_n"], line["num_warps"], line["num_stages"], line.get("max_registers")
            ),
        )
        for line in lines
    )


_forced: dict[str, Configuration] = {}


@contextlib.contextmanager
def forced(configurations: Mapping[str, Configuration]) -> Iterator[None]:
    """Within the block, kernels named here run with these and not with the tables': for tests and for tuning."""
    before = dict(_forced)
    _forced.update(configurations)
    try:
        yield
    finally:
        _forced.clear()
        _forced.update(before)


@functools.cache
def _candidates(kernel: str, table: str, bits: int, width: int) -> tuple[Entry, ...]:
    wanted = (kernel, bits, width)
    return tuple(entry for entry in entries(table) if (entry.kernel, entry.bits, entry.block_d) == wanted)


def forget() -> None:
    """Read the tables again at the next question."""
    entries.cache_clear()
    _candidates.cache_clear()


def configuration(kernel: str, table: str, bits: int, head_dim: int, rows: int) -> Configuration:
    """What ``kernel`` runs with on a GPU of ``table`` for elements of ``bits`` bits and sequences of ``rows`` rows."""
    if kernel in _forced:
        return _forced[kernel]
    for entry in _candidates(kernel, table, bits, block_d(head_dim)):
        if entry.rows is None or rows <= entry.rows:
            return entry.configuration
    raise LookupError(f"no configuration of {kernel} in attention_{table}.json for {bits} bits and head {head_dim}")
