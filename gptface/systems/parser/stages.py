"""The stages of the parser."""

from __future__ import annotations

from gptface.systems.parser.configuration import Configuration
from gptface.systems.parser.training import ParserStage
from gptface.training.declaration import StageDeclaration

__all__ = ["PARSER", "STAGES"]

PARSER = StageDeclaration(
    name="parser",
    summary="the face parser, or with another parser.seed the judge of edits",
    example="gptface train parser --config demo --output runs/demo/judge parser.seed=1",
    configuration=Configuration,
    build=ParserStage,
)
STAGES = (PARSER,)
