"""FaceGPT (arXiv 2406.07163), re-implemented: a language model that sees, says and sculpts faces in 3D."""

from __future__ import annotations

from gptface.systems.facegpt.head import FaceHead
from gptface.systems.facegpt.layout import FaceLayout

__all__ = ["FaceHead", "FaceLayout"]
