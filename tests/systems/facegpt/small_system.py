"""A FaceGPT system with random weights, on the built-in head."""

from __future__ import annotations

from gptface.morphable import load_morphable_model
from gptface.systems.facegpt import FaceGPTSystem, FaceLayout
from tests.systems.facegpt.small_parts import small_model, small_tokens

__all__ = ["small_system"]


def small_system() -> FaceGPTSystem:
    morphable = load_morphable_model("synthetic")
    tokens = small_tokens()
    return FaceGPTSystem(small_model(tokens, face_size=FaceLayout(morphable).size), tokens, morphable)
