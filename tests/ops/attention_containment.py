"""Where a NaN or an infinity of one row may show up: in what sees it, and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.ops import IntervalMask
from tests.ops.attention_cases import GRADIENTS, with_gradients

__all__ = ["INPUTS", "assert_contained"]

INPUTS = ("query", "key", "value", "grad_out")


def _reach(mask: IntervalMask, name: str, row: int) -> dict[str, Tensor]:
    """Which rows of each result a bad ``row`` of input ``name`` may reach: ``(Sq,)`` or ``(Skv,)`` bool.

    A bad query or gradient of the output reaches its own row, and gradients of the keys that it sees. A bad key or
    value reaches every row that sees it, and gradients of the keys that those see.
    """
    visible = mask.to_dense()[0]
    queries = visible[:, row] if name in ("key", "value") else torch.arange(visible.shape[0]) == row
    keys = visible[queries].any(0)
    out = torch.zeros_like(queries) if name == "grad_out" else queries
    return {"out": out, "grad_query": queries, "grad_key": keys, "grad_value": keys}


def assert_contained(
    inputs: tuple[Tensor, ...], mask: IntervalMask, rows: dict[str, int], bad: float, **options: object
) -> None:
    """Put ``bad`` into head 1 of one row of each input in turn: what is out of reach keeps its bits.

    Args:
        inputs: query, key, value and gradient of the output, batch size 1, two heads or more of each.
        rows: the row of each of :data:`INPUTS`; one that sees something, or is seen.
    """
    clean = with_gradients(*inputs, mask, **options)
    shows = {"query": "out", "key": "out", "value": "out", "grad_out": "grad_query"}
    for position, name in enumerate(INPUTS):
        changed = [tensor.clone() for tensor in inputs]
        changed[position][0, rows[name], 1, 5] = bad
        got = with_gradients(*changed, mask, **options)
        reach = _reach(mask, name, rows[name])
        for result in ("out", *GRADIENTS):
            label = f"{result} of a bad {name}"
            far = ~reach[result]
            want, found = clean[result][0], got[result][0]
            assert torch.equal(found[:, 0], want[:, 0]), f"{label}: in the other head"
            assert torch.equal(found[far, 1], want[far, 1]), label
        if bad != bad:
            mark = got[shows[name]][0, reach[shows[name]], 1]
            assert (~mark.isfinite()).any(-1).all(), f"a bad {name} does not show in {shows[name]}"
