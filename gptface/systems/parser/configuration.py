"""The parser's configuration: data and one stage."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator
from typing_extensions import Self

from gptface.configuration import Section, Weight
from gptface.data.configuration import DataSection
from gptface.errors import InputError
from gptface.training.configuration import LoopSection

__all__ = ["Configuration", "ParserSection"]


class ParserSection(LoopSection):
    """The face parser (and, with another seed, the judge of the evaluation). Always trained on procedural labels."""

    model: dict[str, Any] = {}
    """Fields of gptface.models.FaceParserConfig that differ from its defaults."""
    region_weight: Weight = 1.0
    """Of the regions' loss, beside the attributes' and the expression's; 0: no regions are learnt."""
    augment: bool = True
    """Blur, noise, light and contrast at random, so that photos and decoded codes are understood too."""


class Configuration(Section):
    """Data and the parser, which learns from the labels that only procedural faces have in full."""

    data: DataSection = DataSection()
    parser: ParserSection = ParserSection()

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.data.source != "procedural":
            raise InputError(f"data.source: must be procedural for the parser, got {self.data.source}")
        if not self.data.cache:
            raise InputError("data.cache: must be true for the parser, got false")
        return self
