"""The linear model: sums of named offsets, and what it refuses."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from gptface.errors import InputError
from gptface.morphable import MorphableModel, prior_energy

TRIANGLES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def small(**changed: object) -> MorphableModel:
    generator = torch.Generator().manual_seed(0)
    given: dict = {
        "identity_basis": torch.randn(3, 5, 3, generator=generator),
        "expression_basis": torch.randn(2, 5, 3, generator=generator),
        "expression_names": ["jawOpen", "mouthSmile_L"],
        "landmarks": torch.tensor([4, 1]),
        "regions": {"face": torch.tensor([0, 1])},
    }
    mean = torch.randn(5, 3, generator=generator)
    return MorphableModel(mean, TRIANGLES, **{**given, **changed})


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_vertices_are_mean_plus_weighted_offsets(identity: list[float], expression: list[float]) -> None:
    model = small()
    vertices = model(torch.tensor([identity]), torch.tensor([expression]))
    expected = model.mean.clone()
    for weight, offset in zip(identity, model.identity_basis, strict=True):
        expected += weight * offset
    for weight, offset in zip(expression, model.expression_basis, strict=True):
        expected += weight * offset
    torch.testing.assert_close(vertices[0], expected, atol=1e-5, rtol=1e-5)


def test_fewer_weights_use_the_first_modes() -> None:
    model = small()
    full = model(torch.tensor([[1.0, 2.0, 0.0]]))
    torch.testing.assert_close(model(torch.tensor([[1.0, 2.0]])), full)


def test_landmarks_may_be_vertices_or_barycentric() -> None:
    model = small()
    torch.testing.assert_close(model.landmarks(model.mean[None])[0], model.mean[[4, 1]])
    middle = small(landmarks=TRIANGLES[:1], landmark_weights=torch.full((1, 3), 1 / 3))
    torch.testing.assert_close(middle.landmarks(middle.mean[None])[0, 0], middle.mean[:3].mean(0))


def test_named_weights_fill_one_row() -> None:
    row = small().weights("expression", {"mouthSmile_L": 0.5})
    assert row.tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"mouthSmile_X": 1.0}, "mouthSmile_L"),
        ({"jawOpen": float("nan")}, "finite"),
        ({"jawOpen": "much"}, "no weight"),
        ({"jawOpen": True}, "no weight"),
    ],
)
def test_bad_weight_is_named(named: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        small().weights("expression", named)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"identity_basis": torch.zeros(3, 6, 3)}, "5 vertices"),
        ({"expression_basis": torch.full((2, 5, 3), float("nan"))}, "not finite"),
        ({"expression_names": ["jawOpen"]}, "one each"),
        ({"expression_names": ["jawOpen", "jawOpen"]}, "one each"),
        ({"landmarks": torch.tensor([5])}, "0 to 4"),
        ({"landmarks": torch.tensor([0.5])}, "whole"),
        ({"regions": {"face": torch.tensor([-1])}}, "0 to 4"),
        ({"points": {"nose": 9}}, "0 to 4"),
        ({"albedo_mean": torch.zeros(4, 3)}, r"\(5, 3\)"),
        ({"expression_kind": "other"}, "blendshape or gaussian"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changed: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        small(**changed)


def test_triangle_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="vertex 5; allowed: 0 to 4"):
        MorphableModel(torch.zeros(5, 3), torch.tensor([[0, 1, 5]]))


def test_too_many_weights_are_refused() -> None:
    with pytest.raises(InputError, match="up to 3"):
        small()(torch.zeros(1, 4))


def test_prior_is_the_normal_distribution_and_keeps_blendshapes_in_range() -> None:
    model = small()
    assert prior_energy(model, identity=torch.tensor([[1.0, 2.0, 0.0]])).item() == pytest.approx(2.5)
    inside, outside = (prior_energy(model, expression=torch.tensor([[value, 0.0]])).item() for value in (0.9, 1.1))
    below = prior_energy(model, expression=torch.tensor([[-0.1, 0.0]])).item()
    assert outside > inside + 1 and below > 1
    gaussian = small(expression_kind="gaussian")
    assert prior_energy(gaussian, expression=torch.tensor([[2.0, 0.0]])).item() == pytest.approx(2.0)


def test_regions_and_buffers_go_where_the_model_goes() -> None:
    model = small().to("meta")
    assert model.mean.is_meta and model.regions["face"].is_meta
    assert small().double().regions["face"].dtype == torch.int64


def test_quadrilaterals_are_not_taken_for_triangles() -> None:
    with pytest.raises(InputError, match=r"triangles have the shape \(3, 4\)"):
        MorphableModel(torch.zeros(5, 3), torch.tensor([[0, 1, 2, 3]] * 3))


@pytest.mark.parametrize("weight", [1e39, 1e30, -1e7])
def test_a_weight_that_carries_the_head_out_of_sight_is_refused(weight: float) -> None:
    with pytest.raises(InputError, match=r"jawOpen: .* is no weight; it must be a finite number"):
        small().weights("expression", {"jawOpen": weight})


def test_numbers_of_numpy_are_weights() -> None:
    assert small().weights("expression", {"jawOpen": np.float32(0.5)}).tolist() == [[0.5, 0.0]]


def test_neighbours_follow_triangles_that_are_loaded() -> None:
    model, other = small(), MorphableModel(torch.zeros(5, 3), torch.tensor([[0, 1, 2], [2, 3, 4]]))
    assert model.neighbours().max() == 1, "two triangles at one edge"
    state = {**model.state_dict(), "triangles": other.triangles}
    model.load_state_dict(state)
    assert torch.equal(model.neighbours(), other.neighbours())
