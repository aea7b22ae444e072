"""Tiny random systems for the tests of generation and of its commands: everything runs in milliseconds."""

from __future__ import annotations

import torch

from gptface.data.text import train_text_tokenizer
from gptface.faces.regions import REGIONS
from gptface.models import FaceParser, FaceParserConfig, FaceTokenizer, FaceTokenizerConfig
from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel, FaceSystem

CAPTIONS = (
    "a woman with blond hair",
    "an old man with glasses",
    "a smiling man with black hair",
    "a sad woman wearing a hat",
    "a young man with a beard",
)


def tiny_system(seed: int = 0, *, parser: bool = False, alignment_size: int = 0) -> FaceSystem:
    """32² pictures, 4×4 tokens of 64 codes, two small layers; weights random and large enough to have opinions."""
    torch.manual_seed(seed)
    text_tokenizer = train_text_tokenizer(CAPTIONS * 4, 64)
    tokenizer = FaceTokenizer(FaceTokenizerConfig.tiny())
    with torch.no_grad():  # an untrained codebook may be all zeros, and would make one colour of everything
        for name, buffer in (*tokenizer.quantizer.named_parameters(), *tokenizer.quantizer.named_buffers()):
            if buffer.is_floating_point() and buffer.ndim >= 2:
                buffer.normal_(generator=torch.Generator().manual_seed(seed + len(name)))
    model = FaceLanguageModel(
        FaceLanguageConfig.tiny(
            text_vocab_size=64,
            codebook_size=64,
            image_grid=(4, 4),
            max_text_length=8,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            initializer_range=0.2,
            alignment_size=alignment_size,
        )
    )
    regions = FaceParser(FaceParserConfig.tiny(region_names=REGIONS)) if parser else None
    return FaceSystem(tokenizer, model, text_tokenizer, regions).eval()
