"""The torch.library side of rasterisation: schemas, fake kernels, gradients, and the choice of the kernel.

The operators are opaque to ``torch.compile``. Importing this file imports no backend.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from gptface.errors import InputError

__all__: list[str] = []

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define(
    "rasterize(Tensor positions, Tensor triangles, SymInt height, SymInt width, str impl)"
    " -> (Tensor barycentric, Tensor depth, Tensor triangle, Tensor dropped)"
)
_library.define(
    "rasterize_backward(Tensor? grad_barycentric, Tensor? grad_depth, Tensor positions, Tensor triangles,"
    " Tensor triangle, str impl) -> Tensor"
)
_library.define(
    "interpolate(Tensor attributes, Tensor triangle, Tensor barycentric, Tensor triangles, str impl) -> Tensor"
)
_library.define(
    "interpolate_backward(Tensor gradient, Tensor attributes, Tensor triangle, Tensor barycentric, Tensor triangles,"
    " str impl) -> (Tensor grad_attributes, Tensor grad_barycentric)"
)
_library.define("triangle_neighbours(Tensor triangles, SymInt vertices) -> Tensor")
_library.define(
    "antialias(Tensor colour, Tensor triangle, Tensor depth, Tensor positions, Tensor triangles, Tensor neighbours,"
    " str impl) -> Tensor"
)
_library.define(
    "antialias_backward(Tensor gradient, Tensor colour, Tensor triangle, Tensor depth, Tensor positions,"
    " Tensor triangles, Tensor neighbours, str impl) -> (Tensor grad_colour, Tensor grad_positions)"
)

# impl= -> the module that has a function `<operator>_<impl>`; it is imported when the implementation first runs.
_MODULES = {
    "reference": "gptface.ops.raster.reference",
    "cpu": "gptface.ops.raster.cpu",
    "cuda": "gptface.ops.raster.cuda",
}


_ANTIALIAS = "gptface.ops.raster.antialias_reference"


def _kernel(operator: str, impl: str) -> Callable[..., Any]:
    module = _ANTIALIAS if impl == "reference" and operator.startswith("antialias") else _MODULES[impl]
    return getattr(import_module(module), f"{operator}_{impl}")


def _check_range(operator: str, triangles: Tensor, vertices: int) -> None:
    """Where it costs no synchronisation: on the CPU."""
    if triangles.device.type != "cpu" or triangles.numel() == 0:
        return
    low, high = (int(value) for value in triangles.aminmax())
    if low < 0 or high >= vertices:
        raise InputError(
            f"{operator}: triangles holds the vertex {low if low < 0 else high}; allowed: "
            + (f"0 to {vertices - 1}, there are {vertices} vertices" if vertices > 0 else "none, there are no vertices")
        )


def _rasterize(
    positions: Tensor, triangles: Tensor, height: int, width: int, impl: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_range("rasterize", triangles, positions.shape[1])
    triangle, barycentric, depth, dropped = _kernel("rasterize", impl)(positions, triangles, height, width)
    return barycentric, depth, triangle, dropped


def _rasterize_fake(
    positions: Tensor, triangles: Tensor, height: int, width: int, impl: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = positions.shape[0]
    return (
        positions.new_empty((batch, height, width, 2)),
        positions.new_empty((batch, height, width)),
        positions.new_empty((batch, height, width), dtype=torch.int32),
        positions.new_empty((batch,), dtype=torch.int32),
    )


def _rasterize_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    positions, triangles, _, _, ctx.impl = inputs
    ctx.mark_non_differentiable(output[2], output[3])
    ctx.set_materialize_grads(False)  # the depth is seldom differentiated: no zeros to allocate and to read
    ctx.save_for_backward(positions, triangles, output[2])


def _rasterize_gradient(
    ctx: Any, grad_barycentric: Tensor | None, grad_depth: Tensor | None, _triangle: None, _dropped: None
) -> tuple[Any, ...]:
    if grad_barycentric is None and grad_depth is None:
        return (None,) * 5
    gradient = torch.ops.gptface.rasterize_backward(grad_barycentric, grad_depth, *ctx.saved_tensors, ctx.impl)
    return gradient, None, None, None, None


def _rasterize_backward(
    grad_barycentric: Tensor | None,
    grad_depth: Tensor | None,
    positions: Tensor,
    triangles: Tensor,
    triangle: Tensor,
    impl: str,
) -> Tensor:
    return _kernel("rasterize_backward", impl)(grad_barycentric, grad_depth, positions, triangles, triangle)


def _rasterize_backward_fake(
    grad_barycentric: Tensor | None, grad_depth: Tensor | None, positions: Tensor, *_: Any
) -> Tensor:
    return positions.new_empty(positions.shape)


def _interpolate(
    attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor, impl: str
) -> Tensor:
    _check_range("interpolate", triangles, attributes.shape[1])
    _check_triangle("interpolate", triangle, triangles.shape[0])
    return _kernel("interpolate", impl)(attributes, triangle, barycentric, triangles)


def _check_triangle(operator: str, triangle: Tensor, triangles: int) -> None:
    if triangle.device.type != "cpu" or triangle.numel() == 0:
        return
    highest = int(triangle.max())
    if highest >= triangles:
        raise InputError(
            f"{operator}: raster shows triangle {highest}; allowed: that of the triangles given, of which there are "
            f"{triangles}"
        )


def _interpolate_fake(
    attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor, impl: str
) -> Tensor:
    return attributes.new_empty((*triangle.shape, attributes.shape[2]))


def _interpolate_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.impl = inputs
    ctx.save_for_backward(*tensors)


def _interpolate_gradient(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    attributes, barycentric = torch.ops.gptface.interpolate_backward(gradient, *ctx.saved_tensors, ctx.impl)
    return attributes, None, barycentric, None, None


def _interpolate_backward(
    gradient: Tensor, attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor, impl: str
) -> tuple[Tensor, Tensor]:
    return _kernel("interpolate_backward", impl)(gradient, attributes, triangle, barycentric, triangles)


def _interpolate_backward_fake(
    gradient: Tensor, attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor, impl: str
) -> tuple[Tensor, Tensor]:
    return attributes.new_empty(attributes.shape), barycentric.new_empty(barycentric.shape)


def _triangle_neighbours(triangles: Tensor, vertices: int) -> Tensor:
    _check_range("triangle_neighbours", triangles, vertices)
    function: Callable[..., Tensor] = import_module(_ANTIALIAS).neighbours_reference
    return function(triangles, vertices)


def _triangle_neighbours_fake(triangles: Tensor, vertices: int) -> Tensor:
    return triangles.new_empty(triangles.shape, dtype=torch.int32)


def _antialias(
    colour: Tensor,
    triangle: Tensor,
    depth: Tensor,
    positions: Tensor,
    triangles: Tensor,
    neighbours: Tensor,
    impl: str,
) -> Tensor:
    _check_range("antialias", triangles, positions.shape[1])
    _check_triangle("antialias", triangle, triangles.shape[0])
    if neighbours.device.type == "cpu" and neighbours.numel() and int(neighbours.max()) >= triangles.shape[0]:
        raise InputError(
            f"antialias: neighbours holds the triangle {int(neighbours.max())}; allowed: what triangle_neighbours "
            f"returns for these triangles, of which there are {triangles.shape[0]}"
        )
    return _kernel("antialias", impl)(colour, triangle, depth, positions, triangles, neighbours)


def _antialias_fake(colour: Tensor, *_: Any) -> Tensor:
    return colour.new_empty(colour.shape)


def _antialias_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.impl = inputs
    ctx.save_for_backward(*tensors)


def _antialias_gradient(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    colour, positions = torch.ops.gptface.antialias_backward(gradient, *ctx.saved_tensors, ctx.impl)
    return colour, None, None, positions, None, None, None


def _antialias_backward(gradient: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    *tensors, impl = arguments
    return _kernel("antialias_backward", impl)(gradient, *tensors)


def _antialias_backward_fake(
    gradient: Tensor, colour: Tensor, triangle: Tensor, depth: Tensor, positions: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:
    return colour.new_empty(colour.shape), positions.new_empty(positions.shape)


def _second_order(ctx: Any, *gradients: Tensor | None) -> Any:
    raise RuntimeError(
        "rasterize, interpolate and antialias can be differentiated once: second-order gradients (create_graph=True, "
        "then another backward through the gradient) are not defined for them"
    )


for _name, _function, _fake in (
    ("rasterize", _rasterize, _rasterize_fake),
    ("rasterize_backward", _rasterize_backward, _rasterize_backward_fake),
    ("interpolate", _interpolate, _interpolate_fake),
    ("interpolate_backward", _interpolate_backward, _interpolate_backward_fake),
    ("triangle_neighbours", _triangle_neighbours, _triangle_neighbours_fake),
    ("antialias", _antialias, _antialias_fake),
    ("antialias_backward", _antialias_backward, _antialias_backward_fake),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"gptface::{_name}", _fake, lib=_library)
    if _name.endswith("_backward"):
        # Without this entry torch would take the gradient's own gradient for zero, in silence.
        torch.library.register_autograd(f"gptface::{_name}", _second_order, lib=_library)
torch.library.register_autograd(
    "gptface::rasterize", _rasterize_gradient, setup_context=_rasterize_context, lib=_library
)
torch.library.register_autograd(
    "gptface::interpolate", _interpolate_gradient, setup_context=_interpolate_context, lib=_library
)
torch.library.register_autograd(
    "gptface::antialias", _antialias_gradient, setup_context=_antialias_context, lib=_library
)
