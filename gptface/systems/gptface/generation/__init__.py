"""Generation, editing and captioning: orders, guidance, the sampler, and the pipeline people call."""

from __future__ import annotations

from gptface.faces.areas import Area
from gptface.faces.templates import FaceTemplate
from gptface.systems.gptface.generation.autoregressive import AutoregressiveSettings
from gptface.systems.gptface.generation.guidance import ClassifierFreeGuidance, ITMGuidance
from gptface.systems.gptface.generation.pipeline import FaceGenerator
from gptface.systems.gptface.generation.results import CaptionResult, EditResult, GenerationResult
from gptface.systems.gptface.generation.sampler import DecodingSettings
from gptface.systems.gptface.generation.selection import ORDERS, ConfidenceOrder, HaltonOrder, RandomOrder

__all__ = [
    "ORDERS",
    "Area",
    "AutoregressiveSettings",
    "CaptionResult",
    "ClassifierFreeGuidance",
    "ConfidenceOrder",
    "DecodingSettings",
    "EditResult",
    "FaceGenerator",
    "FaceTemplate",
    "GenerationResult",
    "HaltonOrder",
    "ITMGuidance",
    "RandomOrder",
]
