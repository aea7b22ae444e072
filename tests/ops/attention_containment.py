"""Where a NaN or an infinity of one row may show up: in what sees it, and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.ops import IntervalMask
from tests.ops.attention_cases import GRADIENTS, draw, random_mask, with_gradients

__all__ = ["INPUTS", "KINDS", "assert_contained", "assert_padding_may_hold_anything", "containment_case"]

INPUTS = ("query", "key", "value", "grad_out")
KINDS = ("random", "documents", "window and sinks", "two intervals")


def containment_case(kind: str, length: int) -> tuple[IntervalMask, dict[str, int]]:
    """A mask of one of :data:`KINDS` over ``length`` queries, and a row of each input that it lets see or be seen."""
    masks = {
        "random": lambda: random_mask(1, length, 2 * length - 7, 1, seed=2),
        "documents": lambda: IntervalMask.packed(document_ids=torch.arange(length) * 4 // length, causal=True),
        "window and sinks": lambda: IntervalMask.sliding_window(length, length // 7, global_tokens=3),
        "two intervals": lambda: random_mask(1, length, 2 * length - 7, 2, seed=2),
    }
    mask = masks[kind]()
    low, high = mask.intervals[0, :, -1].unbind(-1)
    candidates = (high - low > 2).nonzero().flatten()
    query = int(candidates[2 * len(candidates) // 3])
    low, high = int(low[query]), int(high[query])
    return mask, dict(zip(INPUTS, (query, (low + high) // 2, high - 1, query), strict=True))


def _reach(mask: IntervalMask, name: str, row: int) -> dict[str, Tensor]:
    """Which rows of each result a bad ``row`` of input ``name`` may reach: ``(Sq,)`` or ``(Skv,)`` bool.

    A bad query or gradient of the output reaches its own row, and gradients of the keys that it sees. A bad key or
    value reaches every row that sees it, and gradients of the keys that those see.
    """
    visible = mask.to_dense()[0]
    own = torch.arange(visible.shape[0], device=visible.device) == row
    queries = visible[:, row] if name in ("key", "value") else own
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


def assert_padding_may_hold_anything(
    device: str, lengths: list[int], size: int, dtype: torch.dtype, width: int, **options: object
) -> None:
    """NaN in every input past the end of each sample changes no bit of any result, zeros past the end included."""
    mask = IntervalMask.padding(torch.tensor(lengths), size).to(device)
    clean = tuple(tensor.to(device) for tensor in draw(len(lengths), size, size, 4, 2, width, dtype))
    padded = tuple(tensor.clone() for tensor in clean)
    for tensor in padded:
        for sample, length in enumerate(lengths):
            tensor[sample, length:] = float("nan")
    want, got = (with_gradients(*inputs, mask, **options) for inputs in (clean, padded))
    for name in ("out", *GRADIENTS):
        assert torch.equal(got[name], want[name]), name
