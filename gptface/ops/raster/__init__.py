"""Rasterisation of triangle meshes, and what is drawn with it."""

from __future__ import annotations

from gptface.ops.raster.api import Raster, interpolate, rasterize

__all__ = ["Raster", "interpolate", "rasterize"]
