"""VQ codebook lookup and the quantiser built on it."""

from __future__ import annotations

from gptface.ops.vq.api import VQLookup, vq_lookup
from gptface.ops.vq.finite_scalar import FiniteScalarQuantizer
from gptface.ops.vq.lookup_free import LookupFreeQuantizer
from gptface.ops.vq.packed import PackedCodebook, pack_codebook
from gptface.ops.vq.quantizer import QuantizerOutput, VectorQuantizer
from gptface.ops.vq.residual import ResidualQuantizerOutput, ResidualVectorQuantizer

__all__ = [
    "FiniteScalarQuantizer",
    "LookupFreeQuantizer",
    "PackedCodebook",
    "QuantizerOutput",
    "ResidualQuantizerOutput",
    "ResidualVectorQuantizer",
    "VQLookup",
    "VectorQuantizer",
    "pack_codebook",
    "vq_lookup",
]
