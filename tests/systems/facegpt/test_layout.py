"""The numbers of a face: neutral at 0, there and back, and a gradient everywhere it is needed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.morphable import FaceParameters, load_morphable_model, project_landmarks
from gptface.systems.facegpt import FaceHead, FaceLayout

MODEL = load_morphable_model("synthetic")
FIELDS = ("identity", "expression", "albedo", "rotation", "translation", "light", "focal")


def test_zeros_are_the_neutral_portrait() -> None:
    layout = FaceLayout(MODEL)
    found, expected = layout.parameters(torch.zeros(2, layout.size)), FaceParameters.neutral(MODEL, 2)
    for name in FIELDS:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), identity=st.integers(0, 32), expression=st.integers(0, 53))
def test_parameters_come_back_from_their_numbers(seed: int, identity: int, expression: int) -> None:
    layout = FaceLayout(MODEL, identity, expression, 0)
    assert layout.size == identity + expression + 36
    numbers = 0.3 * torch.randn(3, layout.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    face = layout.parameters(numbers)
    again = layout.parameters(layout.numbers(face))
    for name in FIELDS:
        if name != "rotation":
            torch.testing.assert_close(getattr(again, name), getattr(face, name))
    marks = [project_landmarks(MODEL, face_, 64, 64) for face_ in (face, again)]
    torch.testing.assert_close(marks[0], marks[1], atol=1e-3, rtol=0)


def test_the_place_is_where_the_head_is_seen() -> None:
    layout = FaceLayout(MODEL)
    numbers = torch.zeros(1, layout.size)
    numbers[0, layout.slices["place"]] = torch.tensor([0.5, 0.25, 0.3])
    face = layout.parameters(numbers)
    x, y, z = face.translation[0]
    assert float(x * face.focal[0] / -z) == pytest.approx(0.5, abs=1e-5)
    assert float(y * face.focal[0] / -z) == pytest.approx(0.25, abs=1e-5)


def test_another_lens_keeps_the_place_and_the_size() -> None:
    layout = FaceLayout(MODEL)
    face = FaceParameters.neutral(MODEL)
    longer = face.replace(focal=face.focal * 2, translation=face.translation * 2)
    torch.testing.assert_close(layout.numbers(longer), layout.numbers(face), atol=1e-5, rtol=0)


def test_blendshapes_stay_in_range_and_can_always_come_back() -> None:
    layout = FaceLayout(MODEL, 0, 4, 0)
    numbers = torch.zeros(1, layout.size)
    numbers[0, :4] = torch.tensor([-0.2, 0.0, 0.5, 1.3])
    numbers.requires_grad_(True)
    expression = layout.parameters(numbers).expression
    assert expression.tolist() == [[0.0, 0.0, 0.5, 1.0]]
    (inward,) = torch.autograd.grad(expression, numbers, torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), retain_graph=True)
    assert inward[0, :4].tolist() == [-1.0, -1.0, 1.0, 1.0]
    (outward,) = torch.autograd.grad(expression, numbers, torch.tensor([[1.0, 1.0, 1.0, -1.0]]))
    assert outward[0, :4].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_more_modes_than_there_are_is_one_sentence() -> None:
    with pytest.raises(InputError, match="identity_modes: 33"):
        FaceLayout(MODEL, identity_modes=33)


def test_the_head_starts_at_the_neutral_portrait_with_gradients_everywhere() -> None:
    torch.manual_seed(0)
    head = FaceHead(16, 40)
    numbers = head(torch.randn(5, 16))
    assert numbers.abs().max() < 0.02
    numbers.square().sum().backward()
    assert all(bool((value.grad != 0).any()) for value in head.parameters())
