"""The one stage of FaceGPT."""

from __future__ import annotations

from gptface.systems.facegpt.configuration import Configuration
from gptface.systems.facegpt.training import FaceGPTStage
from gptface.training.declaration import StageDeclaration

__all__ = ["FACEGPT", "STAGES"]

FACEGPT = StageDeclaration(
    name="facegpt",
    summary="FaceGPT: a language model that sees, says and sculpts faces in 3D",
    example="gptface train facegpt --config tiny --output runs/facegpt",
    configuration=Configuration,
    build=FaceGPTStage,
)
STAGES = (FACEGPT,)
