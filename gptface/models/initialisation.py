"""How the weights of a vision transformer start."""

from __future__ import annotations

import math

from torch import nn
from transformers import initialization as init

from gptface.models.transformer_layer import ResidualProjection

__all__ = ["initialise"]

# Positions start small, so that a patch's content speaks from the first step.
POSITION_DEVIATION = 0.05


def initialise(module: nn.Module, layers: int) -> None:
    """Fill the weights of one part: maps keep the scale of their inputs, what is added to a residual stream less."""
    if isinstance(module, nn.Conv2d):
        init.normal_(module.weight, std=(module.in_channels * module.kernel_size[0] * module.kernel_size[1]) ** -0.5)
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        deviation = 0.7 * module.in_features**-0.5
        if isinstance(module, ResidualProjection):
            deviation *= 0.5 / math.sqrt(2 * layers)
        init.normal_(module.weight, std=deviation)
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        init.normal_(module.weight, std=POSITION_DEVIATION)
    elif isinstance(module, nn.LayerNorm):
        init.ones_(module.weight)
        init.zeros_(module.bias)
