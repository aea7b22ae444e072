"""Known truth: perfect heads measure as perfect, the mean face as itself, and pictures are compared where faces are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import FaceParameters, load_morphable_model
from gptface.systems.facegpt.data.rendered import RenderedFaces
from gptface.systems.facegpt.evaluation.known_truth import TrueFaces, measure_known_truth, true_faces, truth_lines
from gptface.systems.facegpt.evaluation.methods import FITTING, MEAN_FACE, complete, part
from gptface.systems.facegpt.evaluation.picture_errors import face_masks, photometric_errors

SIZE, COUNT = 40, 20


@pytest.fixture(scope="module")
def faces() -> TrueFaces:
    model = load_morphable_model("synthetic", smooth_modes=0)
    return true_faces(RenderedFaces(model, SIZE, 5), RenderedFaces(model, SIZE, 0), COUNT)


def test_the_truth_measures_as_perfect_and_the_mean_face_as_itself(faces: TrueFaces) -> None:
    done = 0

    def oracle(images: np.ndarray) -> FaceParameters:
        nonlocal done
        rows = slice(done, done + len(images))
        np.testing.assert_array_equal(images, faces.images[rows])
        done += len(images)
        return part(faces.truth, rows)

    rows, found = measure_known_truth(faces, {"oracle": oracle})
    named = {row["name"]: row for row in rows}
    assert list(named) == [MEAN_FACE, "oracle", FITTING] and list(found) == list(named)
    perfect, mean, fit = named["oracle"], named[MEAN_FACE], named[FITTING]
    assert perfect["vertex_mm"]["value"] < 1e-3 and perfect["of_mean_face"]["value"] < 1e-3
    assert perfect["yaw_degrees"]["value"] < 1e-3 and perfect["jaw"]["value"] == pytest.approx(1)
    assert perfect["smile"]["value"] == pytest.approx(1) and perfect["landmark_error"]["value"] < 1e-4
    assert perfect["photometric_error"]["value"] < 0.01, "the rounding of levels"
    assert mean["of_mean_face"]["value"] == pytest.approx(1) and mean["jaw"]["value"] is None
    assert mean["yaw_degrees"]["value"] > 3
    for measure in ("vertex_mm", "yaw_degrees", "landmark_error", "photometric_error"):
        assert fit[measure]["value"] < mean[measure]["value"], measure
    assert fit["jaw"]["value"] > 0.8
    lines = truth_lines(rows)
    assert len(lines) == 3 and "jaw –" in lines[0] and "mm" in lines[1]


def test_colours_are_compared_between_jaw_and_brows_alone(faces: TrueFaces) -> None:
    masks = face_masks(faces.landmarks, SIZE)
    assert 0.05 < masks.mean() < 0.6
    elsewhere = faces.images.copy()
    elsewhere[~masks] = 255
    first, second = (photometric_errors(faces.model, faces.truth, each, masks) for each in (faces.images, elsewhere))
    np.testing.assert_allclose(first, second)
    # Grey pictures are compared with the head's luminance: the head's own luminance is no error.
    grey = (faces.images @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)[..., None].repeat(3, -1)
    assert photometric_errors(faces.model, faces.truth, grey, masks).max() < 0.02
    away = faces.truth.replace(translation=faces.truth.translation + torch.tensor([500.0, 0.0, 0.0]))
    inside = np.array([image[mask].mean() / 255 for image, mask in zip(faces.images, masks, strict=True)])
    np.testing.assert_allclose(photometric_errors(faces.model, away, faces.images, masks), inside, atol=1e-4)


def test_heads_of_fewer_modes_are_completed(faces: TrueFaces) -> None:
    few = faces.truth.replace(identity=faces.truth.identity[:, :3], expression=faces.truth.expression[:1, :2])
    whole = complete(faces.model, few, COUNT)
    assert whole.identity.shape == faces.truth.identity.shape and whole.expression.shape == faces.truth.expression.shape
    assert whole.identity[:, 3:].abs().max() == 0 and whole.identity[1, 0] == faces.truth.identity[1, 0]


def test_measured_faces_must_be_others_than_those_trained_on(faces: TrueFaces) -> None:
    collection = RenderedFaces(faces.model, SIZE, 3)
    with pytest.raises(InputError, match="seed: 3"):
        true_faces(collection, RenderedFaces(faces.model, SIZE, 3), 4)
    with pytest.raises(InputError, match="count: 1"):
        true_faces(collection, RenderedFaces(faces.model, SIZE, 4), 1)
