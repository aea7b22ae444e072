"""Rotations: proper, scale-free, and back to the angles they were made of."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings

from gptface.errors import InputError
from gptface.morphable import angles_to_matrix, matrix_to_angles, matrix_to_rotation_6d, rotation_6d_to_matrix

numbers = st.lists(st.floats(-3, 3), min_size=6, max_size=6)


def independent(six: torch.Tensor) -> bool:
    first, second = six[:3], six[3:]
    return bool(torch.linalg.cross(first, second).norm() > 0.1)


@settings(deadline=None)
@given(numbers, st.floats(0.1, 10))
def test_six_numbers_give_a_rotation_whatever_their_scale(values: list[float], scale: float) -> None:
    six = torch.tensor(values, dtype=torch.float64)
    assume(independent(six))
    matrix = rotation_6d_to_matrix(six)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-9, rtol=0)
    assert torch.linalg.det(matrix).item() == pytest.approx(1.0)
    torch.testing.assert_close(rotation_6d_to_matrix(six * scale), matrix)
    torch.testing.assert_close(rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)), matrix)


@settings(deadline=None)
@given(st.floats(-175, 175), st.floats(-85, 85), st.floats(-175, 175))
def test_angles_come_back(yaw: float, pitch: float, roll: float) -> None:
    angles = [torch.tensor(value, dtype=torch.float64) for value in (yaw, pitch, roll)]
    found = matrix_to_angles(angles_to_matrix(*angles))
    torch.testing.assert_close(torch.stack(found), torch.stack(angles), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("angle", "axis", "sign"),
    [((30, 0, 0), 0, 1), ((0, 30, 0), 1, 1), ((-30, 0, 0), 0, -1)],
)
def test_nose_turns_the_way_the_docstring_says(angle: tuple, axis: int, sign: int) -> None:
    nose = angles_to_matrix(*(torch.tensor(float(value)) for value in angle)) @ torch.tensor([0.0, 0.0, 1.0])
    assert nose[axis].item() * sign == pytest.approx(0.5, abs=1e-5)


def test_positive_roll_tilts_to_the_viewers_left() -> None:
    crown = angles_to_matrix(torch.tensor(0.0), torch.tensor(0.0), torch.tensor(30.0)) @ torch.tensor([0.0, 1.0, 0.0])
    assert crown[0].item() == pytest.approx(-0.5, abs=1e-5)


def test_gradients_are_finite_where_euler_angles_lock() -> None:
    six = matrix_to_rotation_6d(angles_to_matrix(torch.tensor(0.0), torch.tensor(90.0), torch.tensor(0.0)))
    six.requires_grad_(True)
    rotation_6d_to_matrix(six)[0, 1].backward()
    assert six.grad is not None and torch.isfinite(six.grad).all()


def test_five_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="must be 6"):
        rotation_6d_to_matrix(torch.zeros(5))
