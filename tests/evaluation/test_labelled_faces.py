"""Labelled faces: only the wanted classes, people never on both sides, shares of the labels one within the other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.errors import InputError
from gptface.evaluation.labelled_faces import (
    LabelledFaces,
    label_subset,
    people_apart,
    read_labelled_faces,
    refuse_shared_people,
)


def written(folder: Path, moods: list[str], people: list[int], *, colour: bool = False) -> list[str]:
    generator = np.random.default_rng(len(moods))
    faces = []
    for number, (mood, person) in enumerate(zip(moods, people, strict=True)):
        image = np.repeat(generator.integers(0, 255, (16, 16, 1), dtype=np.uint8), 3, axis=2)
        image[0, 0, 0] ^= np.uint8(colour and number == 1)
        faces.append(Sample(image, "a face", number, {"mood": mood, "person": person}))
    write_shards(faces, folder)
    return [str(folder)]


def test_only_faces_of_the_wanted_classes_are_kept_in_the_order_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = written(tmp_path, ["sad", "glad", "cross", "glad"], [7, 8, 9, 8])
    faces = read_labelled_faces(paths, 16, "mood", ["glad", "sad"], "person", name="training")
    assert faces.labels.tolist() == [1, 0, 0] and faces.classes == ("glad", "sad")
    assert faces.groups.tolist() == ["7", "8", "8"] and faces.images.shape == (3, 1, 16, 16)
    assert "training faces: 1 of other classes left out: cross (1)" in capsys.readouterr().err
    alone = read_labelled_faces(paths, 16, "mood", ["glad", "sad"], None, name="training")
    assert len(set(alone.groups.tolist())) == 3


def test_a_public_set_is_read_as_it_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "EmoLabel").mkdir()
    (tmp_path / "Image" / "aligned").mkdir(parents=True)
    rows = ["train_00001.jpg 4", "train_00002.jpg 7", "train_00003.jpg 1", "test_0001.jpg 7", "test_0002.jpg 4"]
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(rows))
    for place, row in enumerate(rows):
        name = row.partition(".")[0]
        Image.new("L", (20, 20), 40 * place).save(tmp_path / "Image" / "aligned" / f"{name}_aligned.jpg")
    arguments = ([str(tmp_path)], 10, "expression", ["neutral", "happiness"], None)
    train, test = (read_labelled_faces(*arguments, name=name) for name in ("training", "test"))
    assert train.keys == ("train_00001", "train_00002") and train.labels.tolist() == [1, 0]
    assert test.labels.tolist() == [0, 1] and test.images.shape == (2, 1, 10, 10)
    told = capsys.readouterr().err
    assert "training faces: 2 faces of 3 samples of RAF-DB as published, decoded into memory" in told
    assert "1 of other classes left out: surprise (1)" in told
    with pytest.raises(InputError, match="is RAF-DB, read as published; a file of points is for shards"):
        read_labelled_faces(*arguments, name="test", landmarks=str(tmp_path / "marks.npz"))


def test_faces_keep_their_landmarks_and_those_without_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = written(tmp_path / "faces", ["sad", "glad", "cross", "glad"], [7, 8, 9, 8])
    keys = read_labelled_faces(paths, 16, "mood", ["glad", "sad"], None, name="training").keys
    points = np.random.default_rng(0).uniform(0, 16, (2, 68, 2)).astype(np.float32)
    np.savez(tmp_path / "marks.npz", key=np.array([keys[2], keys[0]]), points=points)
    arguments = (paths, 16, "mood", ["glad", "sad"], None)
    faces = read_labelled_faces(*arguments, name="training", landmarks=str(tmp_path / "marks.npz"))
    assert faces.points is not None and np.isnan(faces.points[1]).all()
    np.testing.assert_allclose(faces.points[[2, 0]], points)
    assert "training faces: landmarks of 2 of 3" in capsys.readouterr().err
    np.savez(tmp_path / "marks.npz", key=np.array(["elsewhere"]), points=points[:1])
    with pytest.raises(InputError, match="training landmarks"):
        read_labelled_faces(*arguments, name="training", landmarks=str(tmp_path / "marks.npz"))


def test_one_picture_in_colour_keeps_the_colours_of_all(tmp_path: Path) -> None:
    faces = read_labelled_faces(
        written(tmp_path, ["sad", "glad"], [1, 2], colour=True), 16, "mood", ["glad", "sad"], None, name="training"
    )
    assert faces.images.shape == (2, 3, 16, 16)
    assert (faces.images[0][0] == faces.images[0][1]).all() and not (faces.images[1][0] == faces.images[1][1]).all()


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    paths = written(tmp_path, ["sad", "glad", "glad"], [1, 2, 3])
    with pytest.raises(InputError, match=r"no training face has mood bored; found: glad \(2\), sad \(1\)"):
        read_labelled_faces(paths, 16, "mood", ["glad", "bored"], None, name="training")
    with pytest.raises(InputError, match="no training face has tone glad or sad; found: no such field"):
        read_labelled_faces(paths, 16, "tone", ["glad", "sad"], None, name="training")
    with pytest.raises(InputError, match="classes: got glad; at least two"):
        read_labelled_faces(paths, 16, "mood", ["glad"], None, name="training")
    with pytest.raises(InputError, match="training face 000000000 has no metadata field 'family'"):
        read_labelled_faces(paths, 16, "mood", ["glad", "sad"], "family", name="training")


def test_people_of_the_training_faces_may_not_be_tested_on() -> None:
    def of(*people: str) -> LabelledFaces:
        count = len(people)
        return LabelledFaces(np.zeros((count, 1, 2, 2)), np.zeros(count), ("a", "b"), np.array(people), people)

    refuse_shared_people(of("1", "2"), of("3"))
    with pytest.raises(InputError, match="1 people of the test faces are among the training faces too, such as 2"):
        refuse_shared_people(of("1", "2"), of("2", "3"))


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=60), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 5)
)
def test_smaller_shares_lie_within_larger_ones_and_keep_every_class(
    labels: list[int], first: float, second: float, seed: int
) -> None:
    known = np.array(labels)
    small, large = (label_subset(known, share, seed) for share in sorted((first, second)))
    assert set(small.tolist()) <= set(large.tolist())
    counts = Counter(labels)
    for label, count in counts.items():
        assert (known[large] == label).sum() == max(1, round(max(first, second) * count))
    assert label_subset(known, 1.0, seed).tolist() == list(range(len(labels)))


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.floats(0.05, 0.6), st.integers(0, 5))
def test_people_held_out_are_whole_and_as_many_as_asked_for(people: list[int], share: float, seed: int) -> None:
    groups = np.array(people)
    apart = people_apart(groups, share, seed)
    assert not set(groups[apart].tolist()) & set(groups[~apart].tolist())
    assert apart.sum() >= share * len(people)
    assert apart.sum() <= share * len(people) + max(Counter(people).values())
