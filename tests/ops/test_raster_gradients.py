"""Gradients of ``rasterize`` and ``interpolate``: against finite differences, in a fixed order, and good for a fit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gptface.ops import interpolate, rasterize
from gptface.ops.raster.cpu import cpu_missing
from tests.helpers.numerics import assert_matches_oracle
from tests.ops.raster_cases import random_mesh, sphere

IMPLEMENTATIONS = ["reference", *(["cpu"] if cpu_missing() is None else [])]


def weighted(positions: Tensor, attributes: Tensor, triangles: Tensor, weights: Tensor, impl: str) -> Tensor:
    """A scalar that looks at weights, depth and attributes alike. ``weights (B, H, W, 3 + channels)``."""
    _, height, width, _ = weights.shape
    raster = rasterize(positions, triangles, height, width, impl=impl)
    drawn = interpolate(attributes, raster, triangles, impl=impl)
    everything = torch.cat((raster.barycentric, raster.depth[..., None], drawn), -1)
    return (everything * weights).sum()


@pytest.mark.parametrize("seed", range(4))
def test_finite_differences_in_float64(seed: int) -> None:
    """Of every vertex that is seen, in all four coordinates; pixels whose triangle or clamping would change weigh 0."""
    positions, triangles = random_mesh(1, seed=seed, rings=4, sectors=5, noise=0.1)
    positions = positions.double()
    generator = torch.Generator().manual_seed(seed)
    attributes = torch.randn(1, positions.shape[1], 3, generator=generator, dtype=torch.float64)
    weights = torch.randn(1, 23, 26, 6, generator=generator, dtype=torch.float64)
    raster = rasterize(positions, triangles, 23, 26)
    rest = 1 - raster.barycentric.sum(-1)
    weights[(raster.barycentric.amin(-1) < 1e-3) | (rest < 1e-3)] = 0
    leaf = positions.clone().requires_grad_()
    leaf_attributes = attributes.clone().requires_grad_()
    weighted(leaf, leaf_attributes, triangles, weights, "auto").backward()
    assert leaf.grad is not None and leaf_attributes.grad is not None
    seen = triangles[raster.triangle[raster.triangle >= 0].long()].unique()
    assert len(seen) > 8
    step = 1e-6
    for vertex in seen.tolist():
        for axis in range(4):
            ends = []
            for sign in (1, -1):
                moved = positions.clone()
                moved[0, vertex, axis] += sign * step
                ends.append(weighted(moved, attributes, triangles, weights, "auto"))
            numeric = float(ends[0] - ends[1]) / (2 * step)
            assert math.isclose(float(leaf.grad[0, vertex, axis]), numeric, rel_tol=1e-5, abs_tol=1e-5)
    numeric_attributes = torch.autograd.functional.jacobian(
        lambda x: weighted(positions, x, triangles, weights, "auto"), attributes
    )
    torch.testing.assert_close(leaf_attributes.grad, numeric_attributes)
    for index in ((0, int(seen[0]), 1), (0, int(seen[-1]), 2)):
        moved = attributes.clone()
        moved[index] += 1.0
        difference = weighted(positions, moved, triangles, weights, "auto")
        difference = difference - weighted(positions, attributes, triangles, weights, "auto")
        torch.testing.assert_close(difference, leaf_attributes.grad[index])


def gradients(impl: str, positions: Tensor, attributes: Tensor, triangles: Tensor, weights: Tensor) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in (positions, attributes)]
    weighted(leaves[0], leaves[1], triangles, weights, impl).backward()
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


@pytest.mark.skipif(cpu_missing() is not None, reason=str(cpu_missing()))
@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize(("batch", "size"), [(1, (131, 257)), (3, (30, 41)), (9, (17, 5))])
def test_native_gradients_are_as_good_as_float32_can_be(
    batch: int, size: tuple[int, int], channels: int, shared: bool
) -> None:
    positions, triangles = random_mesh(batch, seed=channels)
    generator = torch.Generator().manual_seed(batch)
    attributes = torch.randn(1 if shared else batch, positions.shape[1], channels, generator=generator)
    weights = torch.randn(batch, *size, 3 + channels, generator=generator)
    found = gradients("cpu", positions, attributes, triangles, weights)
    plain = gradients("reference", positions, attributes, triangles, weights)
    exact = gradients("reference", positions.double(), attributes.double(), triangles, weights.double())
    for name, result, same_dtype, oracle in zip(("positions", "attributes"), found, plain, exact, strict=True):
        assert_matches_oracle(name, result, same_dtype, oracle)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_only_what_is_looked_at_has_a_gradient(impl: str) -> None:
    """Depth alone, weights alone, and neither."""
    positions, triangles = random_mesh(1, seed=5)
    both, one = positions.clone().requires_grad_(), []
    raster = rasterize(both, triangles, 20, 20, impl=impl)
    for part in (raster.depth, raster.barycentric):
        one.append(torch.autograd.grad(part.sum(), both, retain_graph=True)[0])
        assert (one[-1] != 0).any()
    together = torch.autograd.grad(raster.depth.sum() + raster.barycentric.sum(), both)[0]
    torch.testing.assert_close(together, one[0] + one[1], rtol=1e-4, atol=1e-3)
    assert not raster.triangle.requires_grad and not raster.dropped.requires_grad


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_second_derivative_is_refused(impl: str) -> None:
    positions, triangles = random_mesh(1, seed=6)
    positions.requires_grad_()
    attributes = torch.randn(1, positions.shape[1], 2, requires_grad=True)
    raster = rasterize(positions, triangles, 20, 20, impl=impl)
    drawn = interpolate(attributes, raster, triangles, impl=impl)
    (first,) = torch.autograd.grad(raster.depth.square().sum(), positions, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        first.sum().backward()
    (first,) = torch.autograd.grad(drawn.square().sum(), attributes, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        first.sum().backward()
    with pytest.raises(RuntimeError, match="no forward-mode derivative"):
        torch.func.jvp(lambda x: rasterize(x, triangles, 4, 4, impl=impl).depth, (positions,), (positions,))


def test_a_fit_recovers_pose_and_shape_from_its_own_render() -> None:
    """A bumpy ellipsoid with a smooth texture: turn, shift, size and a bump are found from colour and depth inside the
    outline, from a start well off."""
    vertices, triangles = sphere(10, 14)
    vertices = vertices.float()
    bump = torch.exp(-3 * (vertices - torch.tensor([0.5, 0.4, -0.77])).square().sum(-1, keepdim=True)) * vertices
    colours = torch.cat(((2 * vertices).sin(), vertices), -1)[None]
    truth = torch.tensor([0.25, -0.3, 0.05, -0.08, 0.1, 0.5])

    def render(parameters: Tensor) -> tuple[Tensor, Tensor]:
        yaw, pitch, x, y, size, shape = parameters
        zero, one = torch.zeros(()), torch.ones(())
        around_y = torch.stack((yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())).view(3, 3)
        around_x = torch.stack(
            (one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
        ).view(3, 3)
        shaped = (vertices * torch.tensor([0.8, 1.0, 0.9]) + shape * bump) * (1 + size)
        turned = shaped @ around_y.T @ around_x.T
        w = 3 + turned[:, 2:]
        clip = torch.cat((2 * (turned[:, :1] + x), 2 * (turned[:, 1:2] + y), turned[:, 2:], w), -1)[None]
        raster = rasterize(clip, triangles, 40, 40)
        drawn = torch.cat((interpolate(colours, raster, triangles), raster.depth[..., None]), -1)
        return drawn, raster.triangle >= 0

    target, hit = render(truth)
    parameters = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        drawn, inside = render(parameters)
        error = (drawn - target)[inside & hit].square().mean()
        error.backward()
        return error

    optimizer.step(loss)
    assert (parameters.detach() - truth).abs().max() < 0.01
