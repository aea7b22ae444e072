"""The operators, embeddable in anybody's training code: importing this package pulls in torch and nothing else."""

from __future__ import annotations

from gptface.ops.registry import Implementation, implementations
from gptface.ops.vq import QuantizerOutput, VectorQuantizer, VQLookup, vq_lookup

__all__ = ["Implementation", "QuantizerOutput", "VQLookup", "VectorQuantizer", "implementations", "vq_lookup"]
