"""The stages of FaceGPT."""

from __future__ import annotations

from gptface.training.declaration import StageDeclaration

__all__ = ["STAGES"]

STAGES: tuple[StageDeclaration, ...] = ()
