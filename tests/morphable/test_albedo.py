"""Painted colours: Laplacian eigenvectors, and modes that keep to their part of the face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import MorphableModel, add_analytic_albedo, laplacian_modes, load_morphable_model
from gptface.morphable.ict import read_ict_npz
from tests.morphable.files import ball, shared_file


@pytest.fixture(scope="module")
def head() -> MorphableModel:
    return load_morphable_model("synthetic")


def test_modes_of_a_sphere_are_its_first_harmonics() -> None:
    points, triangles = ball(24, 40)
    modes = laplacian_modes(points, triangles, 3)
    # Degree one of the sphere: the three coordinates, in some rotation.
    fitted = np.linalg.lstsq(points, modes.T, rcond=None)[0]
    np.testing.assert_allclose(points @ fitted, modes.T, atol=0.03)
    np.testing.assert_allclose(np.square(modes).mean(1), 1.0, rtol=1e-6)


def test_only_the_largest_piece_varies() -> None:
    points, triangles = ball(8, 12)
    small, few = ball(2, 5)
    modes = laplacian_modes(np.concatenate((small + 5, points)), np.concatenate((few, triangles + len(small))), 2)
    assert np.abs(modes[:, : len(small)]).max() == 0 < np.abs(modes[:, len(small) :]).min(0).max()


def test_too_small_a_mesh_is_told() -> None:
    points, triangles = ball(2, 4)
    with pytest.raises(InputError, match="at least"):
        laplacian_modes(points, triangles, 20)
    with pytest.raises(InputError, match="smooth_modes"):
        load_morphable_model("synthetic", smooth_modes=-1)


def test_modes_keep_to_their_part(head: MorphableModel) -> None:
    lips, brows, hair = head.regions["lips"], head.regions["brows"], head.regions["hair"]
    eyes = torch.cat((head.regions["eyeball_left"], head.regions["eyeball_right"]))
    change = {name: basis.norm(dim=1) for name, basis in zip(head.albedo_names, head.albedo_basis, strict=True)}
    assert change["lipRedness"][lips].mean() > 0.02 and change["lipRedness"][hair].max() == 0
    assert change["browLightness"][brows].mean() > 0.05 and change["browLightness"][lips].max() < 1e-3
    assert change["irisBlueness"][eyes].max() > 0.03
    assert change["irisBlueness"].sum() == pytest.approx(float(change["irisBlueness"][eyes].sum()))
    assert change["skinLightness"][eyes].max() == 0 and change["skinLightness"][head.regions["teeth"]].max() == 0
    assert change["smooth01"].max() > 0.02


def test_two_deviations_of_skin_span_dark_to_light(head: MorphableModel) -> None:
    cheek = head.landmark_vertices[2, 0]
    dark, light = (head.albedo(head.weights("albedo", {"skinLightness": value}))[0, cheek] for value in (-2.0, 2.0))
    assert 0.05 < dark[0] < 0.3 and 0.75 < light[0] < 1.0
    assert (dark.sort(descending=True).values == dark).all(), "skin is redder than green, greener than blue"


def test_model_without_landmarks_is_skin_all_over() -> None:
    points, triangles = ball(8, 12)
    model = MorphableModel(torch.tensor(points), torch.tensor(triangles))
    add_analytic_albedo(model, smooth_modes=2)
    assert model.albedo_names == ("skinLightness", "skinRedness", "skinYellowness", "smooth01", "smooth02")
    assert len(model.albedo_mean.unique(dim=0)) == 1


def test_real_ict_has_red_lips_white_eyes_and_brows() -> None:
    model = add_analytic_albedo(read_ict_npz(shared_file("ict-face-model-light.npz")), smooth_modes=0)
    marks = model.landmark_vertices[:, 0]

    def redness(colour: torch.Tensor) -> torch.Tensor:
        return colour[..., 0] / colour.sum(-1)

    colours = model.albedo_mean
    lower_lip = colours[(model.mean - 0.5 * (model.mean[marks[57]] + model.mean[marks[66]])).norm(dim=1).argmin()]
    nose = colours[marks[30]]
    assert redness(lower_lip) > redness(nose) + 0.05
    assert colours[marks[19]].sum() < 0.6 * nose.sum(), "brows are darker than skin"
    ball_colours = colours[model.regions["eyeball_left"]].sum(1)
    assert ball_colours.max() > 2.0 and ball_colours.min() < 0.1, "white and pupil"
