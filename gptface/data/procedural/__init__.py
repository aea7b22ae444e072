"""Procedural faces with captions, attributes, region maps and landmarks: data that needs no photo of anybody."""

from .captions import (
    ATTRIBUTE_PHRASES,
    EXPRESSION_PHRASES,
    OCCLUDER_PHRASES,
    AttributePhrases,
    caption_facts,
    describe,
    wish_caption,
)
from .dataset import ProceduralFaces
from .rendering import RenderedFace, render_face
from .sampling import sample_specification
from .specification import (
    ATTRIBUTES,
    EXPRESSIONS,
    OCCLUDERS,
    REGIONS,
    FaceSpecification,
    attributes,
    hidden_attributes,
    with_attribute,
)

__all__ = [
    "ATTRIBUTES",
    "ATTRIBUTE_PHRASES",
    "EXPRESSIONS",
    "EXPRESSION_PHRASES",
    "OCCLUDERS",
    "OCCLUDER_PHRASES",
    "REGIONS",
    "AttributePhrases",
    "FaceSpecification",
    "ProceduralFaces",
    "RenderedFace",
    "attributes",
    "caption_facts",
    "describe",
    "hidden_attributes",
    "render_face",
    "sample_specification",
    "wish_caption",
    "with_attribute",
]
