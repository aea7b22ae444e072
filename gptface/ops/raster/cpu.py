"""Rasterisation in the native CPU library: which calls it takes, and how they reach it."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.ops.native import cpu_kernel_missing
from gptface.ops.tracing import constant_in_traces

__all__ = [
    "antialias_backward_cpu",
    "antialias_cpu",
    "cpu_missing",
    "interpolate_backward_cpu",
    "interpolate_cpu",
    "rasterize_backward_cpu",
    "rasterize_cpu",
    "unsupported",
]

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define(
    "rasterize_kernel(Tensor positions, Tensor triangles, int height, int width)"
    " -> (Tensor triangle, Tensor barycentric, Tensor depth, Tensor dropped)"
)
_library.define(
    "rasterize_backward_kernel(Tensor? grad_barycentric, Tensor? grad_depth, Tensor positions, Tensor triangles,"
    " Tensor triangle) -> Tensor"
)
_library.define(
    "interpolate_kernel(Tensor attributes, Tensor triangle, Tensor barycentric, Tensor triangles) -> Tensor"
)
_library.define(
    "interpolate_backward_kernel(Tensor gradient, Tensor attributes, Tensor triangle, Tensor barycentric,"
    " Tensor triangles) -> (Tensor grad_attributes, Tensor grad_barycentric)"
)

_library.define(
    "antialias_kernel(Tensor colour, Tensor triangle, Tensor depth, Tensor positions, Tensor triangles,"
    " Tensor neighbours) -> Tensor"
)
_library.define(
    "antialias_backward_kernel(Tensor gradient, Tensor colour, Tensor triangle, Tensor depth, Tensor positions,"
    " Tensor triangles, Tensor neighbours) -> (Tensor grad_colour, Tensor grad_positions)"
)


@constant_in_traces
def cpu_missing() -> str | None:
    """``None`` where the native library holds the rasteriser, else the reason why it does not."""
    return cpu_kernel_missing("rasterize_kernel")


def unsupported(name: str, tensor: Tensor) -> str | None:
    """Why the native library cannot take a call with this tensor, or ``None``."""
    if tensor.device.type != "cpu":
        return f"{name} is on {tensor.device.type!r}"
    if tensor.dtype != torch.float32:
        return f"{name} is {tensor.dtype}; it takes float32"
    return cpu_missing()


def _plain(triangles: Tensor) -> Tensor:
    return triangles.to(torch.int32).contiguous()


def rasterize_cpu(
    positions: Tensor, triangles: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`gptface.ops.raster.reference.rasterize_reference`."""
    return torch.ops.gptface.rasterize_kernel(positions.contiguous(), _plain(triangles), height, width)


def rasterize_backward_cpu(
    grad_barycentric: Tensor | None, grad_depth: Tensor | None, positions: Tensor, triangles: Tensor, triangle: Tensor
) -> Tensor:
    """As :func:`gptface.ops.raster.reference.rasterize_backward_reference`."""
    return torch.ops.gptface.rasterize_backward_kernel(
        None if grad_barycentric is None else grad_barycentric.contiguous(),
        None if grad_depth is None else grad_depth.contiguous(),
        positions.contiguous(),
        _plain(triangles),
        triangle,
    )


def interpolate_cpu(attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor) -> Tensor:
    """As :func:`gptface.ops.raster.reference.interpolate_reference`."""
    return torch.ops.gptface.interpolate_kernel(
        attributes.contiguous(), triangle.contiguous(), barycentric.contiguous(), _plain(triangles)
    )


def interpolate_backward_cpu(
    gradient: Tensor, attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor
) -> tuple[Tensor, Tensor]:
    """As :func:`gptface.ops.raster.reference.interpolate_backward_reference`."""
    return torch.ops.gptface.interpolate_backward_kernel(
        gradient.contiguous(),
        attributes.contiguous(),
        triangle.contiguous(),
        barycentric.contiguous(),
        _plain(triangles),
    )


def antialias_cpu(
    colour: Tensor, triangle: Tensor, depth: Tensor, positions: Tensor, triangles: Tensor, neighbours: Tensor
) -> Tensor:
    """As :func:`gptface.ops.raster.antialias_reference.antialias_reference`."""
    raster = (triangle.contiguous(), depth.contiguous(), positions.contiguous())
    return torch.ops.gptface.antialias_kernel(
        colour.contiguous(), *raster, _plain(triangles), neighbours.contiguous()
    )


def antialias_backward_cpu(
    gradient: Tensor,
    colour: Tensor,
    triangle: Tensor,
    depth: Tensor,
    positions: Tensor,
    triangles: Tensor,
    neighbours: Tensor,
) -> tuple[Tensor, Tensor]:
    """As :func:`gptface.ops.raster.antialias_reference.antialias_backward_reference`."""
    raster = (triangle.contiguous(), depth.contiguous(), positions.contiguous())
    return torch.ops.gptface.antialias_backward_kernel(
        gradient.contiguous(), colour.contiguous(), *raster, _plain(triangles), neighbours.contiguous()
    )
