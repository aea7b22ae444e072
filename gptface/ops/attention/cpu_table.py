"""What ``impl="auto"`` takes on a processor: a table of measured machine classes, and a pure function over it.

Every line says why it stands there. Ratios are time of torch's ``scaled_dot_product_attention`` over that of our
kernels, by ``python -m benchmarks regret`` (amd-zen4, one thread, 2026-11-30) and by the comparison of 2026-11-29 on
two threads of intel-amx, before kernels for its tiles. A line is about what the host knows of a call without looking at
a mask's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from gptface.ops.cpu_class import CLASSES, OTHER
from gptface.ops.registry import Preference

__all__ = ["FEW_QUERIES", "TABLE", "CpuCall", "Line", "preferences"]

FEW_QUERIES = 8
"""Queries up to which the kernels that read a cache as it lies run; ``kFewQueries`` in attention_few.h."""


class CpuCall(NamedTuple):
    """What the host knows of a call.

    Attributes:
        dtype: of query, key and value.
        kind: the mask's: ``"full"``, ``"causal"`` or ``"general"``.
        queries, keys, width: Sq, Skv and D.
        backward: whether gradients may be asked for.
    """

    dtype: torch.dtype
    kind: str
    queries: int
    keys: int
    width: int
    backward: bool


@dataclass(frozen=True)
class Line:
    """A line of the table: the calls it is about, and what they take. A field that is not given means any.

    Attributes:
        implementation, reason: what is taken, and why.
        dtypes: one of these.
        kinds: one of these kinds of mask.
        backward: with gradients, or without.
        most_queries, least_keys, most_keys: bounds, included. Compiled code for lengths that vary guards them.
    """

    implementation: str
    reason: str
    dtypes: tuple[torch.dtype, ...] = ()
    kinds: tuple[str, ...] = ()
    backward: bool | None = None
    most_queries: int | None = None
    least_keys: int | None = None
    most_keys: int | None = None

    def is_about(self, call: CpuCall) -> bool:
        """Whether a call is one of its calls."""
        return (
            (not self.dtypes or call.dtype in self.dtypes)
            and (not self.kinds or call.kind in self.kinds)
            and (self.backward is None or self.backward == call.backward)
            and (self.most_queries is None or call.queries <= self.most_queries)
            and (self.least_keys is None or call.keys >= self.least_keys)
            and (self.most_keys is None or call.keys <= self.most_keys)
        )


_DENSE = ("full", "causal")  # masks that torch's function needs no tensor for
_STEP = Line(
    "cpu",
    "the fastest with few queries: keys and values are read once, as they lie",
    backward=False,
    most_queries=FEW_QUERIES,
)

TABLE: dict[str, tuple[Line, ...]] = {
    "amd-zen4": (
        Line(
            "cpu",
            "the fastest here: 1.1 to 2.4 times SDPA in float32 and 1.7 to 4.4 in bfloat16 on full and causal masks, "
            "more where it skips more",
        ),
    ),
    "intel-amx": (
        _STEP,
        Line(
            "sdpa",
            "its bfloat16 products are tiles: 3.7 times ours forward at S 4096, 1.4 to 2 times at S 144 to 334",
            dtypes=(torch.bfloat16,),
            kinds=_DENSE,
            backward=False,
        ),
        Line(
            "sdpa",
            "its bfloat16 products are tiles: twice our speed at S 4096 with backward; up to S 257 that stumbles",
            dtypes=(torch.bfloat16,),
            kinds=_DENSE,
            backward=True,
            least_keys=258,
        ),
        Line("sdpa", "1.7 times our speed forward at S 36", (torch.float32,), ("full",), False, most_keys=63),
        Line("cpu", "the fastest here: 1.04 to 1.2 times SDPA on short full masks in float32, more where it skips"),
    ),
    "portable": (
        Line(
            "sdpa",
            "the fastest where nothing is hidden: torch has vector instructions, our C++ here has none",
            kinds=("full",),
        ),
        Line("cpu", "it skips what the mask hides"),
    ),
    "other": (
        _STEP,
        Line("sdpa", "not measured on this machine: what torch has, where it needs no dense mask", kinds=_DENSE),
        Line("cpu", "not measured on this machine: it skips what the mask hides and needs no dense mask"),
    ),
}
assert set(TABLE) == {entry.name for entry in CLASSES}

# What is tried where that cannot run a call.
_REST = (
    Preference("cpu", "the fastest implementation that supports these arguments"),
    Preference("sdpa", "the fastest implementation that supports these arguments"),
    Preference("reference", "the only implementation that supports these arguments"),
)


_PREFERENCES = {
    name: tuple((line, (Preference(line.implementation, line.reason), *_REST)) for line in lines)
    for name, lines in TABLE.items()
}


def preferences(machine: str, call: CpuCall) -> tuple[Preference, ...]:
    """What a call takes on a class of machines, best first: the first line about it, then whatever can run it.

    Args:
        machine: name of a class; one that the table does not have is treated with the caution of ``"other"``.
    """
    for line, found in _PREFERENCES.get(machine, _PREFERENCES[OTHER.name]):
        if line.is_about(call):
            return found
    return _REST
