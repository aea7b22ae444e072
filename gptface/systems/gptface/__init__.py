"""GPTFace: one transformer over captions and image codes; pre-training, guided generation and editing, evaluation."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel

from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.sequence import JointSequence, JointVocabulary, Regime, build_sequence
from gptface.systems.gptface.system import FaceSystem
from gptface.systems.gptface.transformer import FaceLanguageModel

__all__ = [
    "FaceLanguageConfig",
    "FaceLanguageModel",
    "FaceSystem",
    "JointSequence",
    "JointVocabulary",
    "Regime",
    "build_sequence",
]

AutoConfig.register(FaceLanguageConfig.model_type, FaceLanguageConfig, exist_ok=True)
AutoModel.register(FaceLanguageConfig, FaceLanguageModel, exist_ok=True)
