"""Rasterisation in the native CUDA library: which calls it takes, and how they reach it."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.ops.native import cuda_kernel_missing
from gptface.ops.raster.reference import corner_rows, interpolate_backward_reference, sum_rows
from gptface.ops.tracing import constant_in_traces

__all__ = [
    "cuda_missing",
    "interpolate_backward_cuda",
    "interpolate_cuda",
    "rasterize_backward_cuda",
    "rasterize_cuda",
    "unsupported",
]

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define(
    "raster_corner_gradients(Tensor? grad_barycentric, Tensor? grad_depth, Tensor positions, Tensor triangles,"
    " Tensor triangle) -> Tensor"
)


@constant_in_traces
def cuda_missing() -> str | None:
    """``None`` where the native library holds the rasteriser and a device is there, else the reason why not."""
    return cuda_kernel_missing("rasterize_kernel")


def unsupported(name: str, tensor: Tensor) -> str | None:
    """Why the native library cannot take a call with this tensor, or ``None``."""
    reason = cuda_missing()
    if reason is not None:
        return reason
    if tensor.device.type != "cuda":
        return f"{name} is on {tensor.device.type!r}"
    return None if tensor.dtype == torch.float32 else f"{name} is {tensor.dtype}; it takes float32"


def _plain(triangles: Tensor) -> Tensor:
    return triangles.to(torch.int32).contiguous()


def rasterize_cuda(
    positions: Tensor, triangles: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`gptface.ops.raster.reference.rasterize_reference`, without waiting for the device."""
    return torch.ops.gptface.rasterize_kernel(positions.contiguous(), _plain(triangles), height, width)


def rasterize_backward_cuda(
    grad_barycentric: Tensor | None, grad_depth: Tensor | None, positions: Tensor, triangles: Tensor, triangle: Tensor
) -> Tensor:
    """As :func:`gptface.ops.raster.reference.rasterize_backward_reference`: the kernel says what every pixel gives to
    the corners of its triangle, and torch sums it in a fixed order."""
    if triangles.shape[0] == 0 or positions.shape[1] == 0:
        return torch.zeros_like(positions)
    gradients = torch.ops.gptface.raster_corner_gradients(
        None if grad_barycentric is None else grad_barycentric.contiguous(),
        None if grad_depth is None else grad_depth.contiguous(),
        positions.contiguous(),
        _plain(triangles),
        triangle,
    )
    _, rows = corner_rows(triangle, triangles, positions.shape[1])
    total = positions.shape[0] * positions.shape[1]
    return sum_rows(gradients.view(-1, 4), rows.flatten(), total).view(positions.shape)


def interpolate_cuda(attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor) -> Tensor:
    """As :func:`gptface.ops.raster.reference.interpolate_reference`."""
    return torch.ops.gptface.interpolate_kernel(
        attributes.contiguous(), triangle.contiguous(), barycentric.contiguous(), _plain(triangles)
    )


def interpolate_backward_cuda(
    gradient: Tensor, attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor
) -> tuple[Tensor, Tensor]:
    """That of the definition, which waits for nothing and sums in a fixed order."""
    return interpolate_backward_reference(gradient, attributes, triangle, barycentric, triangles)
