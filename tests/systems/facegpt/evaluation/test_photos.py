"""Photos and portrait pairs: the heads that made them measure as theirs, those of others do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.evaluation.labelled_faces import read_labelled_faces
from gptface.evaluation.landmark_faces import LandmarkFaces
from gptface.evaluation.portrait_pairs import PortraitPairs, read_pairs
from gptface.morphable import FaceParameters, MorphableModel, load_morphable_model
from gptface.systems.facegpt.evaluation.methods import FITTING, MEAN_FACE, Reconstruct, part
from gptface.systems.facegpt.evaluation.photos import (
    POSED_MEAN_FACE,
    Photos,
    consistency_lines,
    measure_consistency,
    measure_photos,
    photo_lines,
    probe_expressions,
    probe_lines,
    read_photos,
)
from gptface.systems.facegpt.evaluation.sheets import draw_heads
from gptface.systems.facegpt.evaluation.studio import measure_pairs, pair_lines
from tests.systems.facegpt.evaluation.drawn_photos import SIDE, write_drawn_photos


class Drawn:
    """Drawn photos in shards, and what made them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model: MorphableModel = load_morphable_model("synthetic", smooth_modes=0)
        self.train = write_drawn_photos(folder / "train", self.model, 8)
        self.test = write_drawn_photos(folder / "test", self.model, 6, first=100)

    def photos(self, which: str) -> Photos:
        return read_photos(
            [str(self.folder / which)], str(self.folder / which / "points.npz"), SIDE, group="person", name=which
        )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return Drawn(tmp_path_factory.mktemp("drawn"))


def knowing(images: np.ndarray, heads: FaceParameters) -> Reconstruct:
    """A method that knows these pictures: the head of the one nearest to each picture it is given."""
    known = images.astype(np.float32)

    def reconstruct(given: np.ndarray) -> FaceParameters:
        apart = np.abs(given[:, None].astype(np.float32) - known[None]).mean((2, 3, 4))
        return part(heads, torch.from_numpy(apart.argmin(1)))

    return reconstruct


def test_heads_that_made_the_photos_are_nearest_and_come_back(drawn: Drawn, tmp_path: Path) -> None:
    photos, others = drawn.photos("test"), drawn.photos("train")
    assert photos.images.shape == (12, SIDE, SIDE, 3) and len(set(photos.people.tolist())) == 6
    methods = {"knowing": knowing(photos.images, drawn.test)}
    rows, found = measure_photos(drawn.model, photos, others, methods)
    named = {row["name"]: row for row in rows}
    assert list(named) == [MEAN_FACE, POSED_MEAN_FACE, FITTING, "knowing"]
    colours = [named[name]["photometric_error"]["value"] for name in (MEAN_FACE, FITTING, "knowing")]
    assert colours[0] > colours[1] > colours[2] and colours[2] < 0.05, "what is left are levels and jpeg"
    marks = [row["landmark_error"]["value"] for row in rows]
    assert marks[0] > marks[1] > marks[2] > marks[3] and marks[3] < 1e-3
    assert named["knowing"]["landmark_error_of_mean_face"]["value"] < 0.01 and len(photo_lines(rows)) == 4
    (again,) = measure_consistency(drawn.model, photos, methods, found)
    assert again["vertex_mm"]["value"] < 1e-2 and again["of_others"]["value"] < 1e-2
    assert again["expression"]["value"] == pytest.approx(1)
    assert "drawn and reconstructed" in consistency_lines([again])[0]
    shuffled = {"wrong": knowing(photos.images, part(drawn.test, torch.arange(12).roll(3)))}
    wrong = measure_consistency(drawn.model, photos, shuffled, {"wrong": drawn.test})
    assert wrong[0]["of_others"]["value"] > 0.3
    sheet = draw_heads(tmp_path / "sheet.png", drawn.model, photos.images, found, photos.keys, shown=1)
    assert sheet.stat().st_size > 10_000


def test_expressions_are_read_off_the_weights(drawn: Drawn) -> None:
    classes = ("neutral", "happiness")
    faces = [
        read_labelled_faces([str(drawn.folder / which)], SIDE, "expression", classes, "person", name=which)
        for which in ("train", "test")
    ]
    images = np.concatenate([each.images.transpose(0, 2, 3, 1) for each in faces])
    heads = FaceParameters(
        **{name: torch.cat((value, getattr(drawn.test, name))) for name, value in vars(drawn.train).items()}
    )
    blind = heads.replace(expression=0 * heads.expression)
    methods = {"knowing": knowing(images, heads), "blind": knowing(images, blind)}
    rows = probe_expressions(drawn.model, faces[0], faces[1], methods)
    assert [row["accuracy"]["value"] for row in rows] == [1.0, 0.5] and "100.0" in probe_lines(rows)[0]
    assert faces[0].spread(4).keys == tuple(faces[0].keys[row] for row in (0, 5, 10, 15))


def test_pairs_of_one_person_are_told_from_others(drawn: Drawn) -> None:
    pairs = read_pairs([str(drawn.folder / "test")], SIDE)
    assert len(pairs.people) == 6 and pairs.at_rest.shape == (6, SIDE, SIDE, 3)
    images = np.concatenate((pairs.at_rest, pairs.smiling))
    order = torch.cat((torch.arange(0, 12, 2), torch.arange(1, 12, 2)))
    heads = part(drawn.test, order)
    noise = torch.randn(heads.identity.shape, generator=torch.Generator().manual_seed(0))
    methods = {
        "knowing": knowing(images, heads),
        "random": knowing(images, heads.replace(identity=noise, expression=0 * heads.expression)),
    }
    rows, found = measure_pairs(drawn.model, pairs, methods)
    pixels, knowledge, chance = rows
    assert pixels["name"] == "pixels" and pixels["identity"]["value"] > 0.7 and pixels["smile"]["value"] is None
    for measure in ("identity", "identity_shape", "smile", "smile_of_person"):
        assert knowledge[measure]["value"] == 1, measure
    assert 0.2 < chance["identity"]["value"] < 0.8 and chance["smile"]["value"] == 0.5
    assert found["knowing"][1].expression.shape[0] == 6 and len(pair_lines(rows)) == 3
    assert isinstance(pairs, PortraitPairs)


def test_what_cannot_be_measured_is_refused(drawn: Drawn, tmp_path: Path) -> None:
    five = LandmarkFaces(
        np.zeros((1, 1, 8, 8), np.uint8), np.zeros((1, 5, 2), np.float32), ("a",), np.array(["a"])
    )
    with pytest.raises(InputError, match="5 points a face"):
        Photos.of(five)
    write_drawn_photos(tmp_path / "one", drawn.model, 1)
    with pytest.raises(InputError, match="1 people have portraits of both"):
        read_pairs([str(tmp_path / "one")], SIDE)


def test_photos_are_spread_over_all(drawn: Drawn) -> None:
    photos = drawn.photos("test")
    assert photos.first(None) is photos and photos.first(3).keys == tuple(photos.keys[row] for row in (0, 5, 11))
