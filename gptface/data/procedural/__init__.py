"""Procedural faces with captions, attributes, region maps and landmarks: data that needs no photo of anybody."""

from .captions import describe, wish_caption
from .dataset import ProceduralFaces
from .rendering import RenderedFace, render_face
from .sampling import sample_specification
from .specification import FaceSpecification, attributes, hidden_attributes, with_attribute

__all__ = [
    "FaceSpecification",
    "ProceduralFaces",
    "RenderedFace",
    "attributes",
    "describe",
    "hidden_attributes",
    "render_face",
    "sample_specification",
    "wish_caption",
    "with_attribute",
]
