"""The operators, embeddable in anybody's training code: importing this package pulls in torch and nothing else."""

from __future__ import annotations

from gptface.ops.attention import IntervalMask, masked_attention
from gptface.ops.gather import gather_rows
from gptface.ops.raster import Raster, antialias, interpolate, rasterize, triangle_neighbours
from gptface.ops.registry import Implementation, implementations
from gptface.ops.span_mask import (
    FacialRegions,
    Fixed,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskedTokens,
    MaskGITCosine,
    Multimodal,
    Normal,
    Poisson,
    SpanMask,
    TextSpans,
    Uniform,
    corrupt_tokens,
    mask_tokens,
    sample_span_mask,
)
from gptface.ops.vq import (
    FiniteScalarQuantizer,
    LookupFreeQuantizer,
    PackedCodebook,
    QuantizerOutput,
    ResidualQuantizerOutput,
    ResidualVectorQuantizer,
    VectorQuantizer,
    VQLookup,
    pack_codebook,
    vq_lookup,
)

__all__ = [
    "FacialRegions",
    "FiniteScalarQuantizer",
    "Fixed",
    "Geometric",
    "ImageBlocks",
    "ImageRandom",
    "Implementation",
    "IntervalMask",
    "LookupFreeQuantizer",
    "MaskGITCosine",
    "MaskedTokens",
    "Multimodal",
    "Normal",
    "PackedCodebook",
    "Poisson",
    "QuantizerOutput",
    "Raster",
    "ResidualQuantizerOutput",
    "ResidualVectorQuantizer",
    "SpanMask",
    "TextSpans",
    "Uniform",
    "VQLookup",
    "VectorQuantizer",
    "antialias",
    "corrupt_tokens",
    "gather_rows",
    "implementations",
    "interpolate",
    "mask_tokens",
    "masked_attention",
    "pack_codebook",
    "rasterize",
    "sample_span_mask",
    "triangle_neighbours",
    "vq_lookup",
]
