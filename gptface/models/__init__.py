"""Parts that more than one system uses; the image tokenizer and the parser are ``transformers`` model classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel

from gptface.models.configuration_tokenizer import FaceTokenizerConfig
from gptface.models.parser import FaceParser, FaceParserConfig, FaceParserOutput
from gptface.models.tokenizer import FaceTokenizer, FaceTokenizerOutput
from gptface.models.vqgan_checkpoint import load_vqgan_checkpoint

__all__ = [
    "FaceParser",
    "FaceParserConfig",
    "FaceParserOutput",
    "FaceTokenizer",
    "FaceTokenizerConfig",
    "FaceTokenizerOutput",
    "load_vqgan_checkpoint",
]

for _config, _model in ((FaceTokenizerConfig, FaceTokenizer), (FaceParserConfig, FaceParser)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
