"""Where float32 gradients of the attention kernels lose digits: their formulas in plain PyTorch, one change at a time.

    python -m benchmarks.attention_rounding

Each figure is the largest error against float64 over that of the formula that differentiation by torch amounts to
(weights from the softmax, delta from the weights), over draws with random interval masks.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict

import torch
from torch import Tensor

from gptface.ops import IntervalMask

__all__ = ["gradients", "measure"]


def gradients(
    tensors: tuple[Tensor, ...], visible: Tensor, weights_from: str, delta_from: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, all tensors ``(B, H, S, D)``; ``visible (B, 1, S, S)``.

    Args:
        weights_from: ``"lse"``, exp(S − lse) with a rounded log-sum-exp, or ``"softmax"``.
        delta_from: ``"out"``, sum(dO · O), or ``"weights"``, sum(P · dP).
    """
    query, key, value, grad = tensors
    scale = query.shape[-1] ** -0.5
    scores = ((query @ key.transpose(-1, -2)) * scale).masked_fill(~visible, -torch.inf)
    top = scores.amax(-1, keepdim=True).clamp_min(-3e38)
    powers = torch.exp(scores - top)
    total = powers.sum(-1, keepdim=True)
    empty = total == 0
    total = total.masked_fill(empty, 1.0)
    if weights_from == "lse":
        weights = torch.exp(scores - torch.where(empty, torch.inf, top + torch.log(total)))
    else:
        weights = powers / total
    grad_weights = grad @ value.transpose(-1, -2)
    out = powers @ value / total
    delta = (grad * out if delta_from == "out" else weights * grad_weights).sum(-1, keepdim=True)
    grad_scores = weights * (grad_weights - delta) * scale
    return grad_scores @ key, grad_scores.transpose(-1, -2) @ query, weights.transpose(-1, -2) @ grad


def measure(draws: int = 24) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Median and largest ratio of errors, by where weights and delta come from and which gradient."""
    ratios = defaultdict(list)
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        tensors = tuple(torch.randn(2, 4, 150, 40, generator=generator) for _ in range(4))
        bounds = torch.randint(0, 151, (2, 150, 1 + seed % 2, 2), generator=generator).sort(-1).values
        visible = IntervalMask(bounds.to(torch.int32), 150).to_dense()[:, None]
        oracle = gradients(tuple(tensor.double() for tensor in tensors), visible, "softmax", "weights")
        errors = {}
        for weights_from in ("softmax", "lse"):
            for delta_from in ("weights", "out"):
                found = gradients(tensors, visible, weights_from, delta_from)
                errors[weights_from, delta_from] = [
                    float((a.double() - b).abs().max()) for a, b in zip(found, oracle, strict=True)
                ]
        for (weights_from, delta_from), made in errors.items():
            for name, error, plain in zip(("query", "key", "value"), made, errors["softmax", "weights"], strict=True):
                ratios[weights_from, delta_from, name].append(error / plain)
    return {case: (statistics.median(found), max(found)) for case, found in ratios.items()}


if __name__ == "__main__":
    for (weights_from, delta_from, name), (median, largest) in measure().items():
        sys.stdout.write(
            f"weights from {weights_from}, delta from {delta_from}, gradient of {name}: "
            f"{median:.2f} times, at most {largest:.2f}\n"
        )
