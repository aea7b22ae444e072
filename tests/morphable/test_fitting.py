"""Fitting a model to landmarks: recovered poses and shapes, outliers, independence of heads, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    angles_to_matrix,
    fit_landmarks,
    load_morphable_model,
    matrix_to_angles,
    matrix_to_rotation_6d,
    pose_of_landmarks,
    project_landmarks,
    rotation_6d_to_matrix,
)

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def head() -> MorphableModel:
    return load_morphable_model("synthetic", smooth_modes=0)


def faces(head: MorphableModel, batch: int, seed: int = 0) -> FaceParameters:
    """Random heads, turned up to 25° and moved a little."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    neutral = FaceParameters.neutral(head, batch)
    expressions = len(head.expression_names)
    turned = angles_to_matrix(*((uniform(batch) * 2 - 1) * limit for limit in (25.0, 15.0, 10.0)))
    return neutral.replace(
        identity=torch.randn(batch, len(head.identity_names), generator=generator),
        expression=uniform(batch, expressions) * (uniform(batch, expressions) < 0.1),
        rotation=matrix_to_rotation_6d(turned),
        translation=neutral.translation + (uniform(batch, 3) - 0.5) * torch.tensor([2.0, 2.0, 8.0]),
    )


def angles(parameters: FaceParameters) -> Tensor:
    return torch.stack(matrix_to_angles(rotation_6d_to_matrix(parameters.rotation)), -1)


def test_weighted_landmarks_are_those_of_the_vertices(head: MorphableModel) -> None:
    given = faces(head, 3)
    expected = head.landmarks(given.vertices(head))
    torch.testing.assert_close(head.weighted_landmarks(given.identity, given.expression), expected, rtol=0, atol=1e-4)
    few = head.weighted_landmarks(given.identity[:, :2], given.expression[:, :0])
    torch.testing.assert_close(few, head.landmarks(head(given.identity[:, :2])), rtol=0, atol=1e-4)


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_pose_of_the_mean_head_is_found_in_closed_form(head: MorphableModel, share: float) -> None:
    none = torch.zeros(4, 0)
    given = faces(head, 4).replace(identity=none, expression=none)
    points = project_landmarks(head, given, HEIGHT, WIDTH)
    weights = (torch.rand(4, 68, generator=torch.Generator().manual_seed(1)) < share).float()
    found = pose_of_landmarks(head, points, HEIGHT, WIDTH, weights=weights)
    # Scaled orthography leaves out what perspective adds at five head's lengths.
    assert (angles(found) - angles(given)).abs().max() < 3
    assert ((found.translation - given.translation) / given.translation[:, 2:]).abs().max() < 0.04


def test_faces_are_recovered_from_their_own_landmarks(head: MorphableModel) -> None:
    given = faces(head, 8)
    points = project_landmarks(head, given, HEIGHT, WIDTH)
    fit = fit_landmarks(head, points, HEIGHT, WIDTH, noise=0.005)
    mean = fit_landmarks(head, points, HEIGHT, WIDTH, steps=0)
    assert fit.distances.mean() < 0.25 < mean.distances.mean(), "pixels"
    assert fit.error.max() < 0.02
    assert (angles(fit.parameters) - angles(given)).abs()[:, :2].median() < 1.5
    assert bool(((fit.parameters.expression >= 0) & (fit.parameters.expression <= 1)).all())
    jaw = head.expression_names.index("jawOpen")
    opened = faces(head, 2).replace(expression=head.weights("expression", {"jawOpen": 1.0}).repeat(2, 1))
    opened = opened.replace(expression=opened.expression * torch.tensor([[1.0], [0.3]]))
    seen = fit_landmarks(head, project_landmarks(head, opened, HEIGHT, WIDTH), HEIGHT, WIDTH, noise=0.005)
    torch.testing.assert_close(seen.parameters.expression[:, jaw], torch.tensor([1.0, 0.3]), rtol=0, atol=0.25)


def test_landmarks_found_elsewhere_hardly_move_the_fit(head: MorphableModel) -> None:
    given = faces(head, 4)
    points = project_landmarks(head, given, HEIGHT, WIDTH)
    wrong = points.clone()
    wrong[:, [3, 24, 48, 57]] += torch.tensor([15.0, -12.0])
    clean, fit = (fit_landmarks(head, p, HEIGHT, WIDTH) for p in (points, wrong))
    kept = [index for index in range(68) if index not in (3, 24, 48, 57)]
    between = project_landmarks(head, clean.parameters, HEIGHT, WIDTH) - project_landmarks(
        head, fit.parameters, HEIGHT, WIDTH
    )
    assert between[:, kept].norm(dim=-1).mean() < 0.5, "pixels; they were moved by 19"
    weights = torch.ones(68)
    weights[[3, 24, 48, 57]] = 0
    first, second = (fit_landmarks(head, p, HEIGHT, WIDTH, weights=weights) for p in (points, wrong))
    torch.testing.assert_close(first.parameters.identity, second.parameters.identity, rtol=0, atol=0)


def test_a_head_does_not_depend_on_its_batch(head: MorphableModel) -> None:
    points = project_landmarks(head, faces(head, 5), HEIGHT, WIDTH)
    together, alone = (fit_landmarks(head, p, HEIGHT, WIDTH, steps=20) for p in (points, points[2:3]))
    for name in ("identity", "expression", "rotation", "translation"):
        one, other = getattr(together.parameters, name)[2:3], getattr(alone.parameters, name)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_what_is_not_to_be_fitted_stays_zero(head: MorphableModel) -> None:
    points = project_landmarks(head, faces(head, 2), HEIGHT, WIDTH)
    fit = fit_landmarks(head, points, HEIGHT, WIDTH, steps=10, expression=False)
    assert fit.parameters.identity.abs().max() > 0 and fit.parameters.expression.abs().max() == 0
    assert fit.parameters.expression.shape == (2, len(head.expression_names))


def test_bad_input_is_refused_by_name(head: MorphableModel) -> None:
    points = project_landmarks(head, faces(head, 2), HEIGHT, WIDTH)
    blind = MorphableModel(head.mean, head.triangles)
    broken = points.clone()
    broken[1, 3, 0] = float("nan")
    few = torch.zeros(68)
    few[:3] = 1
    for options, message in (
        ({"model": blind}, "0 landmarks"),
        ({"points": points[:, :5]}, r"\(heads, 68, 2\)"),
        ({"points": broken}, "finite"),
        ({"points": points * 0}, "one point"),
        ({"weights": torch.ones(67)}, r"\(68,\)"),
        ({"weights": -torch.ones(68)}, "0 or more"),
        ({"weights": few}, "fewer than 4"),
        ({"steps": -1}, "steps=-1"),
        ({"noise": 0.0}, "noise=0.0"),
        ({"height": 0}, "pixels"),
    ):
        wish = {"model": head, "points": points, "height": HEIGHT, "width": WIDTH, **options}
        with pytest.raises(InputError, match=message):
            fit_landmarks(wish.pop("model"), wish.pop("points"), wish.pop("height"), wish.pop("width"), **wish)
