"""Losses of the face parser: regions of every pixel, attributes and expression of the face."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.objectives.normalisation import divided

__all__ = ["parsing_counts", "parsing_losses"]


def parsing_losses(
    region_logits: Tensor,
    attribute_logits: Tensor,
    expression_logits: Tensor,
    regions: Tensor,
    attributes: Tensor,
    expressions: Tensor,
    *,
    region: float = 1.0,
    attribute: float = 1.0,
    expression: float = 1.0,
    region_weights: Tensor | None = None,
    counts: Tensor | None = None,
) -> dict[str, Tensor]:
    """The weighted parts of the parser's loss, and their sum under ``"total"``; a weight of 0 costs nothing.

    Args:
        region_logits: ``(B, R, H, W)``; regions: ``(B, H, W)`` int64, negative where unknown.
        attribute_logits: ``(B, A)``; attributes: ``(B, A)`` 0 or 1, negative where unknown.
        expression_logits: ``(B, E)``; expressions: ``(B,)`` int64, negative where unknown.
        region, attribute, expression: weights of the three losses.
        region_weights: ``(R,)`` weight of each region, against the rarity of brows beside backgrounds.
        counts: ``(3,)`` what the sums are divided by, in place of this batch's own :func:`parsing_counts`: for a batch
            that is one of several of a step (:mod:`gptface.objectives.normalisation`).
    """
    if counts is None:
        counts = parsing_counts(regions, attributes, expressions, region_weights)
    parts: dict[str, Tensor] = {}
    if region:
        targets = torch.where(regions < 0, -100, regions.long())
        losses = functional.cross_entropy(
            region_logits.float(), targets, weight=region_weights, reduction="none", ignore_index=-100
        )
        parts["region"] = region * divided(losses.sum(), counts[0])
    if attribute and attribute_logits.shape[1]:
        known = (attributes >= 0).float()
        losses = functional.binary_cross_entropy_with_logits(
            attribute_logits.float(), attributes.clamp_min(0).float(), reduction="none"
        )
        parts["attribute"] = attribute * divided((losses * known).sum(), counts[1])
    if expression and expression_logits.shape[1]:
        targets = torch.where(expressions < 0, -100, expressions.long())
        losses = functional.cross_entropy(expression_logits.float(), targets, reduction="none", ignore_index=-100)
        parts["expression"] = expression * divided(losses.sum(), counts[2])
    parts["total"] = torch.stack(list(parts.values())).sum() if parts else region_logits.sum() * 0.0
    return parts


def parsing_counts(
    regions: Tensor, attributes: Tensor, expressions: Tensor, region_weights: Tensor | None = None
) -> Tensor:
    """float32 ``(3,)``: the pixels of known region (their total weight), the known attributes, the known expressions.

    Args:
        regions, attributes, expressions, region_weights: see :func:`parsing_losses`.
    """
    pixels = (regions >= 0).float()
    if region_weights is not None:
        pixels = pixels * region_weights.float()[regions.clamp_min(0).long()]
    return torch.stack([pixels.sum(), (attributes >= 0).float().sum(), (expressions >= 0).float().sum()])
