"""Span masks: which tokens of text and image are hidden, drawn exactly, without bias, and alike on every device."""

from __future__ import annotations

from gptface.ops.span_mask.api import MaskedTokens, SpanMask, corrupt_tokens, mask_tokens, sample_span_mask
from gptface.ops.span_mask.specification import (
    FacialRegions,
    Fixed,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskGITCosine,
    Multimodal,
    Normal,
    Poisson,
    Specification,
    TextSpans,
    Uniform,
)

__all__ = [
    "FacialRegions",
    "Fixed",
    "Geometric",
    "ImageBlocks",
    "ImageRandom",
    "MaskGITCosine",
    "MaskedTokens",
    "Multimodal",
    "Normal",
    "Poisson",
    "SpanMask",
    "Specification",
    "TextSpans",
    "Uniform",
    "corrupt_tokens",
    "mask_tokens",
    "sample_span_mask",
]
