"""The one stage of PaCo-FR."""

from __future__ import annotations

from gptface.systems.pacofr.configuration import Configuration
from gptface.systems.pacofr.training import PaCoFRStage
from gptface.training.declaration import StageDeclaration

__all__ = ["PACOFR", "STAGES"]

PACOFR = StageDeclaration(
    name="pacofr",
    summary="PaCo-FR: an encoder of faces, pre-trained on masked patches, codes and facial regions",
    example="gptface train pacofr --config tiny --output runs/pacofr",
    configuration=Configuration,
    build=PaCoFRStage,
)
STAGES = (PACOFR,)
