"""The image tokenizer, the face–language transformer and the parser, as ``transformers`` model classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel

from gptface.models.configuration_language import FaceLanguageConfig
from gptface.models.configuration_tokenizer import FaceTokenizerConfig
from gptface.models.parser import FaceParser, FaceParserConfig, FaceParserOutput
from gptface.models.sequence import JointSequence, JointVocabulary, NextTokenTargets, Regime, build_sequence
from gptface.models.system import FaceSystem
from gptface.models.tokenizer import FaceTokenizer, FaceTokenizerOutput
from gptface.models.transformer import FaceLanguageModel
from gptface.models.vqgan_checkpoint import load_vqgan_checkpoint

__all__ = [
    "FaceLanguageConfig",
    "FaceLanguageModel",
    "FaceParser",
    "FaceParserConfig",
    "FaceParserOutput",
    "FaceSystem",
    "FaceTokenizer",
    "FaceTokenizerConfig",
    "FaceTokenizerOutput",
    "JointSequence",
    "JointVocabulary",
    "NextTokenTargets",
    "Regime",
    "build_sequence",
    "load_vqgan_checkpoint",
]

for _config, _model in (
    (FaceTokenizerConfig, FaceTokenizer),
    (FaceLanguageConfig, FaceLanguageModel),
    (FaceParserConfig, FaceParser),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
