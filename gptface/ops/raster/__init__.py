"""Rasterisation of triangle meshes, and what is drawn with it."""

from __future__ import annotations

from gptface.ops.raster.api import Raster, antialias, interpolate, rasterize, triangle_neighbours

__all__ = ["Raster", "antialias", "interpolate", "rasterize", "triangle_neighbours"]
