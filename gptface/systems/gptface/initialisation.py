"""How the face–language transformer's weights start: at random, and image codes from their own vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import initialization as init

from gptface.errors import InputError
from gptface.models.heads import TokenHead
from gptface.models.transformer_layer import ResidualProjection
from gptface.systems.gptface.alignment import INITIAL_DEVIATION, Alignment, Telling
from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.merging import SpatialMerging
from gptface.systems.gptface.surroundings import Surroundings

if TYPE_CHECKING:
    from gptface.systems.gptface.transformer import FaceLanguageModel

__all__ = ["initialise_image_embeddings", "initialise_weights"]


def initialise_weights(module: nn.Module, config: FaceLanguageConfig) -> None:
    """Fill the weights that belong to ``module`` itself; ``transformers`` calls it for every part, children first."""
    deviation = config.initializer_range
    if isinstance(module, Telling):
        init.zeros_(module.weight)
    elif isinstance(module, Surroundings):
        init.normal_(module.token_embeddings.weight)
        for layer in (module.around, module.tell):
            init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        assert module.around.bias is not None
        init.zeros_(module.around.bias)
    elif isinstance(module, SpatialMerging):
        for layer in (module.merge, module.split):
            init.normal_(layer.weight, std=layer.in_features**-0.5)
    elif isinstance(module, Alignment):
        init.normal_(module.token_embeddings.weight, std=INITIAL_DEVIATION)
        for layer in (
            module.picture,
            module.word,
            module.word_before,
            module.caption,
            module.project_picture,
            module.project_caption,
            module.place,
        ):
            init.normal_(layer.weight, std=layer.in_features**-0.5)
    elif isinstance(module, nn.Linear):
        narrowed = math.sqrt(2 * config.num_hidden_layers) if isinstance(module, ResidualProjection) else 1.0
        init.normal_(module.weight, std=deviation / narrowed)
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        init.normal_(module.weight, std=deviation)
    elif isinstance(module, nn.LayerNorm):
        init.ones_(module.weight)
        init.zeros_(module.bias)
    elif isinstance(module, TokenHead):
        init.zeros_(module.bias)


@torch.no_grad()
def initialise_image_embeddings(model: FaceLanguageModel, codebook: Tensor) -> None:
    """Start the codes' embeddings as a random projection of the codes' own vectors, in every table that has them.

    Codes that decode to similar patches then start out similar, for the input and, since heads are tied to it, for the
    output: what is learnt of one code holds for its neighbours from the first step. The scale is that of the ordinary
    initialisation.

    Args:
        model: the transformer.
        codebook: ``(K, D)`` of the image tokenizer.

    Raises:
        InputError: K is not the model's number of codes.
    """
    config = model.config
    if codebook.ndim != 2 or codebook.shape[0] != config.codebook_size:
        raise InputError(f"codebook must be ({config.codebook_size}, D), got {tuple(codebook.shape)}")
    vectors = codebook.detach().float()
    vectors = vectors - vectors.mean(0)
    vectors = vectors / vectors.square().mean().sqrt().clamp_min(1e-12)
    start = model.vocabulary.image_offset
    tables = [(model.token_embeddings.weight, config.initializer_range)]
    if model.alignment is not None:
        tables.append((model.alignment.token_embeddings.weight, INITIAL_DEVIATION))
    if model.surroundings is not None:
        tables.append((model.surroundings.token_embeddings.weight, 1.0))
    for weight, scale in tables:
        projection = torch.randn(vectors.shape[1], weight.shape[1], device=vectors.device) / vectors.shape[1] ** 0.5
        weight[start : start + config.codebook_size] = (scale * vectors @ projection).to(weight)
