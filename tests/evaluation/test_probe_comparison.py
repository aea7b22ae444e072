"""Probes of procedural faces: learnt rows beside pixels and HOG, few labels, several seeds, intervals over people."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest

from gptface.data.procedural import render_face, sample_specification
from gptface.errors import InputError
from gptface.evaluation import attentive_probe, probe
from gptface.evaluation.labelled_faces import LabelledFaces
from gptface.evaluation.probe_comparison import compare_probes, freeze_faces, probe_lines, reading_size
from tests.helpers.tiny_encoder import TinyEncoder

HAIR = ("black", "blond")


@cache
def dark_and_blond(count: int, start: int) -> LabelledFaces:
    """Procedural faces of 128², two to a person, whose hair is black or blond."""
    images, labels = [], []
    index = start
    while len(images) < count:
        face = sample_specification(7, index, occluder_probability=0.0)
        index += 1
        if face.hair_colour in HAIR and not face.hat and not face.bald:
            images.append(render_face(face, 128).image.transpose(2, 0, 1))
            labels.append(HAIR.index(face.hair_colour))
    people = np.array([f"{start}-{number // 2}" for number in range(count)])
    return LabelledFaces(np.stack(images), np.array(labels), HAIR, people, tuple(map(str, range(count))))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    encoders = {"encoder": TinyEncoder(), "random weights": TinyEncoder(seed=3)}
    with pytest.MonkeyPatch.context() as patch:
        # Rows are looked at here, not how good they are.
        patch.setattr(attentive_probe, "MOST_LOOKS", 2)
        patch.setattr(probe, "PENALTIES", (1e-2, 1e-4))
        return compare_probes(
            dark_and_blond(60, 0), dark_and_blond(30, 10_000), encoders, shares=(0.4, 1.0), seeds=2
        )


def test_every_representation_has_a_row_for_every_share(rows: list[dict[str, Any]]) -> None:
    names = ["encoder, linear", "encoder, attentive pooling", "random weights, linear",
             "random weights, attentive pooling", "pixels", "HOG"]  # fmt: skip
    assert [(row["name"], row["label_share"]) for row in rows] == [(name, s) for s in (0.4, 1.0) for name in names]
    for row in rows:
        assert row["n"] == 30 and len(row["seeds"]) == 2 and row["deviation"] is not None
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
        assert row["accuracy"] == pytest.approx(np.mean([run["accuracy"] for run in row["seeds"]]))
        low, high = row["above_hog"]["interval"]
        assert low <= row["above_hog"]["difference"] <= high
        assert all(("steps" in run) == ("attentive" in row["name"]) for run in row["seeds"])
        assert all(("penalty" in run) != ("attentive" in row["name"]) for run in row["seeds"])
    assert rows[-1]["above_hog"] == {"difference": 0.0, "interval": [0.0, 0.0]}
    assert rows[0]["labels"] < rows[-1]["labels"] == 60


def test_faces_with_landmarks_have_a_row_for_their_shape() -> None:
    """Nothing of an encoder: what whoever found the landmarks tells."""
    generator = np.random.default_rng(0)
    sets = []
    for faces in (dark_and_blond(60, 0), dark_and_blond(30, 10_000)):
        points = generator.normal(size=(len(faces), 5, 2)).astype(np.float32)
        points[:, 0, 0] += 40 * faces.labels  # the shape tells the label
        sets.append(dataclasses.replace(faces, points=points))
    frozen = freeze_faces(*sets, {})
    assert [entry.name for entry in frozen] == ["pixels", "HOG", "landmarks"]
    rows = compare_probes(*sets, {})
    assert rows[-1]["name"] == "landmarks" and rows[-1]["accuracy"] > 0.9


def test_the_colour_of_hair_is_read_off_pixels_with_all_labels(rows: list[dict[str, Any]]) -> None:
    pixels = {row["label_share"]: row for row in rows if row["name"] == "pixels"}
    assert pixels[1.0]["accuracy"] > 0.8 and pixels[1.0]["balanced_accuracy"] > 0.7


def test_lines_say_name_share_accuracy_deviation_interval_and_number() -> None:
    row = {"name": "HOG", "label_share": 1, "accuracy": 0.8734, "deviation": None, "interval": [0.84, 0.9], "n": 677}
    row["balanced_accuracy"] = 0.85
    few = {**row, "label_share": 0.01, "deviation": 0.0123}
    assert probe_lines([few, row]) == [
        "HOG, 1 % of the labels accuracy 0.873 ± 0.012 [0.840, 0.900] balanced 0.850 n 677",
        "HOG accuracy 0.873 [0.840, 0.900] balanced 0.850 n 677",
    ]


def test_faces_are_read_as_large_as_anybody_needs_them() -> None:
    assert reading_size(TinyEncoder()) == 128 and reading_size(TinyEncoder(image_size=144)) == 144


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"shares": (0.01,)}, r"label share: 0.01 leaves 0 of the \d+ training faces of black"),
        ({"shares": (1.5,)}, "label share: 1.5"),
        ({"seeds": 0}, "seeds: 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_computed(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        compare_probes(dark_and_blond(60, 0), dark_and_blond(30, 10_000), {"x": None}, **wrong)  # type: ignore[dict-item]
