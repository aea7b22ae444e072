"""Attributes read off frozen features: what is there is found, unknown ones are left out, validation faces choose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.errors import InputError
from gptface.evaluation.attribute_probe import (
    AttributeTest,
    Faces,
    _Answer,
    _row,
    fit_attributes,
    measure_attributes,
)
from gptface.evaluation.attribute_report import attribute_lines
from gptface.evaluation.shares import face_subset
from tests.helpers.tiny_encoder import TinyEncoder

NAMES = ("Smiling", "Male", "Bangs")


def write_faces(folder: Path, count: int, seed: int) -> Path:
    """Light below: Smiling. Red: Male, unknown of every third face. Bangs: nobody has them."""
    generator = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        smiling, male = generator.integers(0, 2, 2).tolist()
        image = generator.integers(60, 120, (20, 20, 3)).astype(np.uint8)
        image[10:] += np.uint8(80 * smiling)
        image[..., 0] += np.uint8(50 * male)
        known = {"Smiling": smiling, "Bangs": 0, **({} if number % 3 == 0 else {"Male": male})}
        samples.append(Sample(image, "", number, {"attributes": known}))
    write_shards(samples, folder)
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("attributes")
    for name, count in (("train", 120), ("validation", 30), ("test", 40)):
        write_faces(made / name, count, len(name))
    return made


def test_rows_files_and_lines(faces: Path, tmp_path: Path) -> None:
    wish = AttributeTest(
        train=[str(faces / "train")],
        validation=[str(faces / "validation")],
        test=[str(faces / "test")],
        output=tmp_path / "out.json",
        table=tmp_path / "out.md",
        plot=tmp_path / "out.png",
    )
    summary = measure_attributes(wish, {"encoder": TinyEncoder})
    commonest, encoder = summary["rows"]
    assert summary["attributes"] == ["Male", "Smiling"]  # Bangs are never there: nothing is to be told
    assert encoder["mean_accuracy"] > 0.9 > 0.75 > commonest["mean_accuracy"]
    assert encoder["average_precision"] > 0.9 and encoder["best_on_test"] >= encoder["mean_accuracy"]
    assert encoder["each"]["Male"]["n"] == 26 and encoder["each"]["Smiling"]["n"] == 40
    accuracies = [own["accuracy"] for own in encoder["each"].values()]
    assert encoder["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    line = attribute_lines(summary["rows"])[1]
    assert line.startswith(f"encoder mean accuracy {encoder['mean_accuracy']:.3f} [") and line.endswith(" n 40")
    assert f" AP {encoder['average_precision']:.3f} (best layer and penalty on the test faces" in line
    assert json.loads((tmp_path / "out.json").read_text())["rows"][1]["seeds"][0]["layer"] == "last layer"
    text = (tmp_path / "out.md").read_text()
    assert "| Smiling |" in text and "best on the test faces †" in text and "120 faces." in text
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_tenth_of_the_training_faces_chooses_where_there_are_no_others(faces: Path) -> None:
    wish = AttributeTest(train=[str(faces / "train")], test=[str(faces / "test")], attributes=["Smiling"])
    summary = measure_attributes(wish, {"encoder": TinyEncoder})
    assert summary["train_faces"] == summary["rows"][1]["labels"] == 120 and summary["validation_faces"] is None
    assert summary["attributes"] == ["Smiling"] and summary["rows"][1]["mean_accuracy"] > 0.9


def test_shares_and_seeds_as_the_other_subjects_have_them(faces: Path, tmp_path: Path) -> None:
    wish = AttributeTest(
        train=[str(faces / "train")],
        validation=[str(faces / "validation")],
        test=[str(faces / "test")],
        shares=(1.0, 0.1),
        seeds=3,
        table=tmp_path / "out.md",
        plot=tmp_path / "out.png",
    )
    summary = measure_attributes(wish, {"encoder": TinyEncoder})
    assert [(row["name"], row["label_share"], row["labels"]) for row in summary["rows"]] == [
        ("commonest answer", 0.1, 12), ("encoder", 0.1, 12), ("commonest answer", 1.0, 120), ("encoder", 1.0, 120),
    ]  # fmt: skip
    few, whole = summary["rows"][1], summary["rows"][3]
    assert whole["mean_accuracy"] > few["mean_accuracy"] > 0.5 and few["deviation"] > 0 and whole["deviation"] == 0
    assert [seed["seed"] for seed in few["seeds"]] == [0, 1, 2]
    assert few["mean_accuracy"] == pytest.approx(np.mean([seed["mean_accuracy"] for seed in few["seeds"]]))
    lines = attribute_lines(summary["rows"])
    assert lines[1].startswith("encoder, 10 % of the labels mean accuracy ") and " ± " in lines[1]
    text = (tmp_path / "out.md").read_text()
    assert "| encoder | 12 (10 %) |" in text and "over 3 draws" in text and (tmp_path / "out.png").exists()
    with pytest.raises(InputError, match="shares: got 2; each must be more than 0"):
        AttributeTest(train=[], test=[], shares=(2,))
    with pytest.raises(InputError, match="seeds: got 0"):
        AttributeTest(train=[], test=[], seeds=0)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_smaller_share_lies_within_a_larger_one(share: float) -> None:
    rows, more = (face_subset(400, part, 3) for part in (share, 2 * share))
    assert set(rows) < set(more) and len(rows) == max(2, round(400 * share)) and (np.diff(rows) > 0).all()
    assert not np.array_equal(rows, face_subset(400, share, 4))


def test_validation_faces_choose_the_layer() -> None:
    generator = np.random.default_rng(0)

    def drawn(count: int) -> Faces:
        labels = generator.integers(0, 2, (count, 2)).astype(np.float32)
        noise = generator.normal(size=(count, 6)).astype(np.float32)
        return Faces({"noise": noise, "told": np.repeat(labels, 3, axis=1) + np.float32(0.1) * noise}, labels)

    probed = fit_attributes(drawn(60), drawn(30), drawn(20))
    assert probed.layer == "told" and probed.validation == 1.0 and probed.best_on_test == 1.0


def test_what_cannot_be_measured_is_one_sentence(faces: Path) -> None:
    with pytest.raises(InputError, match="attributes: 'Grinning' is none of CelebA's"):
        AttributeTest(train=[], test=[], attributes=["Grinning"])
    with pytest.raises(InputError, match=r"table: x\.txt; its name must end in \.md"):
        AttributeTest(train=[], test=[], table=Path("x.txt"))
    paths = [str(faces / "train")]
    with pytest.raises(InputError, match="attributes: none of Bangs is there and absent"):
        measure_attributes(AttributeTest(paths, paths, attributes=["Bangs"]), {"encoder": TinyEncoder})
    with pytest.raises(InputError, match=r"training faces: none of 120 can be used \(no label: 120\)"):
        measure_attributes(AttributeTest(paths, paths, attributes=["Bald"]), {"encoder": TinyEncoder})


def test_the_interval_is_that_of_the_mean_over_attributes() -> None:
    """Faces of which nothing is known once counted as wrong, in the interval but not in the mean."""
    truth = np.full((40, 2), np.nan, dtype=np.float32)
    truth[:10, 0] = 1
    answer = _Answer(0, 5, np.ones((40, 1)))  # of what is told
    told = np.array([True, False])
    row = _row("encoder", 1.0, [answer], Faces({}, truth), ("Bald", "Male"), told)
    assert row["mean_accuracy"] == 1 and row["interval"] == [1.0, 1.0] and row["n"] == 10
