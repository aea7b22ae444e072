"""A trained FaceGPT as an image encoder: the hidden states of a picture's patches."""

from __future__ import annotations

from gptface.evaluation.encoders import saved_model_kind
from gptface.systems.facegpt.model import FaceGPT

__all__ = ["ENCODER"]

ENCODER = saved_model_kind(FaceGPT, "a FaceGPT (`model` of what `gptface train facegpt` leaves)")
