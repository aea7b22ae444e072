"""Distances between heads: rigid alignment, millimetres between vertices, degrees between poses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    aligned,
    angle_errors,
    angles_to_matrix,
    matrix_to_rotation_6d,
    named_parameters,
    vertex_distances,
)
from gptface.morphable.synthetic import synthetic_head


@pytest.fixture(scope="module")
def head() -> MorphableModel:
    return synthetic_head()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(-180, 180), st.floats(-80, 80), st.floats(-180, 180))
def test_a_moved_and_turned_shape_is_brought_back(seed: int, yaw: float, pitch: float, roll: float) -> None:
    target = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turn = angles_to_matrix(*(torch.tensor([angle], dtype=torch.float64) for angle in (yaw, pitch, roll)))
    moved = target @ turn.mT + torch.tensor([3.0, -2.0, 50.0])
    torch.testing.assert_close(aligned(moved, target), target, rtol=0, atol=1e-9)
    torch.testing.assert_close(aligned(2.5 * moved, target, scale=True), target, rtol=0, atol=1e-9)


def test_alignment_scales_only_when_asked_to_and_never_mirrors() -> None:
    target = torch.randn(1, 30, 3, generator=torch.Generator().manual_seed(0))
    assert (aligned(2 * target, target) - target).norm() > 0.5 * target.norm()
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    for scale in (False, True):
        assert (aligned(mirrored, target, scale=scale) - target).norm() > 0.3 * target.norm()


def test_distances_are_millimetres_of_shape_alone(head: MorphableModel) -> None:
    jaw = head.expression_names.index("jawOpen")
    opened = named_parameters(head, expression={"jawOpen": 1.0}, pose={"yaw": 30.0, "pitch": 5.0})
    neutral = FaceParameters.neutral(head, 3)
    assert vertex_distances(head, neutral, neutral).abs().max() < 1e-3
    found = vertex_distances(head, opened, neutral)
    offsets = head.expression_basis[jaw][head.regions["face"]].norm(dim=-1).mean() * 10
    assert found.shape == (3,) and bool((found > 0.3 * offsets).all()) and bool((found < 1.2 * offsets).all())
    assert vertex_distances(head, opened, neutral, expression=False).abs().max() < 1e-3
    assert bool((vertex_distances(head, opened, neutral, region="ears") < found).all())
    with pytest.raises(InputError, match=r"no region 'beak'"):
        vertex_distances(head, opened, neutral, region="beak")


def test_angles_differ_by_the_shorter_way(head: MorphableModel) -> None:
    def posed(yaw: float, roll: float) -> FaceParameters:
        turn = angles_to_matrix(torch.tensor([yaw]), torch.tensor([4.0]), torch.tensor([roll]))
        return FaceParameters.neutral(head).replace(rotation=matrix_to_rotation_6d(turn))

    errors = angle_errors(posed(-10, 175), posed(15, -175))
    assert errors[0].tolist() == pytest.approx([25.0, 0.0, 10.0], abs=1e-3) and math.isfinite(float(errors.sum()))
