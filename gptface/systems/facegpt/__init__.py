"""FaceGPT (arXiv 2406.07163), re-implemented: a language model that sees, says and sculpts faces in 3D."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel

from gptface.systems.facegpt.configuration_model import FaceGPTConfig
from gptface.systems.facegpt.head import FaceHead
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.model import FaceGPT, FaceGPTOutput
from gptface.systems.facegpt.sequence import ConversationBatch, ConversationTokens, collate
from gptface.systems.facegpt.system import Answer, FaceGPTSystem

__all__ = [
    "Answer",
    "ConversationBatch",
    "ConversationTokens",
    "FaceGPT",
    "FaceGPTConfig",
    "FaceGPTOutput",
    "FaceGPTSystem",
    "FaceHead",
    "FaceLayout",
    "collate",
]

AutoConfig.register(FaceGPTConfig.model_type, FaceGPTConfig, exist_ok=True)
AutoModel.register(FaceGPTConfig, FaceGPT, exist_ok=True)
