"""PaCo-FR (arXiv 2508.09691), re-implemented: patch–pixel aligned codebook pre-training of a face encoder."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel

from gptface.systems.pacofr.configuration_model import PaCoFRConfig, PaCoFREncoderConfig
from gptface.systems.pacofr.encoder import PaCoFREncoder
from gptface.systems.pacofr.model import PaCoFR, PaCoFROutput

__all__ = ["PaCoFR", "PaCoFRConfig", "PaCoFREncoder", "PaCoFREncoderConfig", "PaCoFROutput"]

AutoConfig.register(PaCoFREncoderConfig.model_type, PaCoFREncoderConfig, exist_ok=True)
AutoModel.register(PaCoFREncoderConfig, PaCoFREncoder, exist_ok=True)
AutoConfig.register(PaCoFRConfig.model_type, PaCoFRConfig, exist_ok=True)
AutoModel.register(PaCoFRConfig, PaCoFR, exist_ok=True)
