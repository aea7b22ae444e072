"""RAF-DB, AffectNet and FER+ as they are published, in small: expressions in the names of the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gptface.data.public.affectnet import EXPRESSIONS_OF_AFFECTNET, AffectNet
from gptface.data.public.fer_plus import EXPRESSIONS_OF_FER, FERPlus, majority
from gptface.data.public.raf_db import EXPRESSIONS_OF_RAF, RAFDB
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError
from gptface.faces.expressions import EXPRESSIONS


def paint(path: Path, level: int = 0, size: tuple[int, int] = (20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


def test_every_expression_is_one_of_the_package() -> None:
    assert {*EXPRESSIONS_OF_RAF} == {*EXPRESSIONS} - {"contempt"}
    assert {*EXPRESSIONS_OF_FER} == {*EXPRESSIONS_OF_AFFECTNET[:8]} == {*EXPRESSIONS}


# --- RAF-DB


@pytest.fixture
def raf(tmp_path: Path) -> Path:
    rows = ["train_00001.jpg 5", "train_00002.jpg 4", "test_0001.jpg 7"]
    (tmp_path / "basic" / "EmoLabel").mkdir(parents=True)
    (tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(rows) + "\n")
    for place, row in enumerate(rows):
        stem = row.partition(".")[0]
        paint(tmp_path / "basic" / "Image" / "aligned" / f"{stem}_aligned.jpg", 50 * place, (100, 100))
    return tmp_path


def test_raf_db_splits_by_name(raf: Path) -> None:
    faces = RAFDB(raf, "train", 50)
    assert [face.metadata["expression"] for face in faces] == ["sadness", "happiness"]  # type: ignore[union-attr]
    (face,) = RAFDB(raf, "test")
    assert isinstance(face, Sample) and face.metadata["expression"] == "neutral" and face.image.shape == (100, 100, 3)
    assert int(face.image[0, 0, 0]) == 100 and len(RAFDB(raf)) == 3


def test_raf_db_that_is_not_as_published(raf: Path) -> None:
    (raf / "basic" / "Image" / "aligned" / "train_00002_aligned.jpg").unlink()
    assert [face.reason for face in RAFDB(raf) if isinstance(face, Skipped)] == ["missing_image"]
    path = raf / "basic" / "EmoLabel" / "list_patition_label.txt"
    for text, sentence in (
        ("train_00001.jpg 8\n", "expression 8; allowed: 1 to 7"),
        ("face.jpg 1\n", "begins with train_ or test_"),
        ("train_00001.jpg\n", "line 1: 1 fields; allowed: a name and 1"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            RAFDB(raf)
    path.unlink()
    with pytest.raises(InputError, match=r"list of expressions is missing; sought: EmoLabel/list_patition_label\.txt"):
        RAFDB(raf)


# --- AffectNet

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
POINTS = np.stack([np.arange(68.0) % 17, np.arange(68.0) // 17], axis=1)


def line(name: str, expression: int | str, valence: float = 0.25) -> str:
    points = ";".join(f"{value:g}" for value in POINTS.reshape(-1))
    return f"{name},2,4,10,12,{points},{expression},{valence},-0.5"


@pytest.fixture
def affect(tmp_path: Path) -> Path:
    lists = tmp_path / "Manually_Annotated_file_lists"
    lists.mkdir()
    rows = [line("1/a.jpg", 1), line("1/b.jpg", 10, -2), line("2/c.JPG", 7, -2)]
    (lists / "training.csv").write_text("\n".join([HEADER, *rows, ""]))
    (lists / "validation.csv").write_text(line("2/d.jpg", 0) + "\n")  # published without a line of names
    for name in ("1/a.jpg", "2/d.jpg"):
        paint(tmp_path / "Manually_Annotated" / "Manually_Annotated_Images" / name)
    return tmp_path


def test_affectnets_lists(affect: Path) -> None:
    faces = AffectNet(affect, "train", size=10)
    assert len(faces) == 2 and faces.left_out == {"no face": 1}
    face, other = faces
    assert isinstance(face, Sample) and face.metadata["key"] == "1/a" and face.metadata["expression"] == "happiness"
    assert face.metadata["valence"] == 0.25 and face.metadata["arousal"] == -0.5
    np.testing.assert_allclose(face.metadata["landmarks"], POINTS / 2)
    np.testing.assert_allclose(face.metadata["box"], [1, 2, 6, 8])
    assert isinstance(other, Skipped) and other.reason == "missing_image"
    assert "valence" not in faces._faces[1].metadata
    (held_out,) = AffectNet(affect, "validation")
    assert isinstance(held_out, Sample) and held_out.metadata["expression"] == "neutral"


def test_affectnets_lists_that_are_not_as_published(affect: Path) -> None:
    path = affect / "Manually_Annotated_file_lists" / "training.csv"
    for text, sentence in (
        (HEADER.replace("valence", "mood"), "has the columns .*mood.*; allowed: subDirectory_filePath"),
        (f"{HEADER}\n1/a.jpg,1,2\n", "line 2: 3 fields; allowed: 9"),
        (f"{HEADER}\n{line('1/a.jpg', 11)}\n", "line 2: expression '11'; allowed: 0 to 10"),
        (f"{HEADER}\n{line('1/a.jpg', 'happy')}\n", "line 2: expression 'happy'"),
        (HEADER, "holds no face with an expression"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            AffectNet(affect)
    path.unlink()
    with pytest.raises(InputError, match=r"training\.csv is missing; sought: training\.csv"):
        AffectNet(affect)


def test_affectnet_of_eight_expressions(tmp_path: Path) -> None:
    notes = tmp_path / "val_set" / "annotations"
    notes.mkdir(parents=True)
    for number in (10, 9, 8, 7):
        paint(tmp_path / "val_set" / "images" / f"{number}.jpg", size=(40, 40))
    np.save(notes / "7_exp.npy", np.array("3"))  # numbers are published as texts
    np.save(notes / "7_val.npy", np.array("-0.75"))
    np.save(notes / "7_aro.npy", np.array("-2"))
    np.save(notes / "7_lnd.npy", POINTS.reshape(-1))
    np.save(notes / "8_exp.npy", np.array("8"))
    np.save(notes / "10_exp.npy", np.array(["0"], dtype=object), allow_pickle=True)
    faces = AffectNet(tmp_path, "validation", 20)
    first, *others = faces
    assert isinstance(first, Sample) and first.metadata["expression"] == "surprise"
    assert first.metadata["valence"] == -0.75 and "arousal" not in first.metadata
    np.testing.assert_allclose(first.metadata["landmarks"], POINTS / 2)
    assert [face.reason for face in others] == ["no_expression"] * 3  # type: ignore[union-attr]
    with pytest.raises(InputError, match="the folder of pictures is missing; sought: images"):
        AffectNet(tmp_path, "train")


# --- FER+

TITLES = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTES = [
    ("Training", "fer0000000.png", "4,0,0,1,3,2,0,0,0,0"),  # 4 of 9 that count: no majority
    ("Training", "fer0000001.png", "6,0,1,1,0,0,0,0,1,1"),
    ("Training", "", "0,0,0,0,0,0,0,0,0,10"),
    ("PublicTest", "fer0000003.png", "0,10,0,0,0,0,0,0,0,0"),
    ("PrivateTest", "fer0000004.png", "0,0,0,0,0,0,2,1,0,0"),
    ("PrivateTest", "fer0000005.png", "0,0,0,0,0,0,2,0,8,0"),
]


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    rows = [",".join(fields) for fields in VOTES]
    (tmp_path / "fer2013new.csv").write_text("\n".join([TITLES, *rows, ""]))
    pixels = [f'0,"{" ".join(["0", *[str(10 * place)] * 2303])}",{usage}' for place, (usage, _, _) in enumerate(VOTES)]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *pixels, ""]))
    return tmp_path


def test_fer_plus_from_the_two_tables(votes: Path) -> None:
    faces = FERPlus(votes, "train")
    assert faces.left_out == {"no majority": 1, "NF": 1}
    (face,) = faces
    assert isinstance(face, Sample) and face.metadata["key"] == "fer0000001"
    assert face.metadata["expression"] == "neutral" and face.metadata["votes"]["neutral"] == 6
    assert face.image.shape == (48, 48, 3) and int(face.image[0, 0, 0]) == 0 and int(face.image[5, 5, 2]) == 10
    found = {split: [one.metadata["expression"] for one in FERPlus(votes, split)] for split in ("validation", "test")}  # type: ignore[union-attr]
    assert found == {"validation": ["happiness"], "test": ["fear"]}
    assert len(FERPlus(votes)) == 3


def test_fer_plus_from_pictures(votes: Path) -> None:
    (votes / "fer2013.csv").unlink()
    with pytest.raises(InputError, match=r"the table or folder of pictures is missing; sought: fer2013\.csv"):
        FERPlus(votes)
    paint(votes / "data" / "FER2013Train" / "fer0000001.png", 77, (48, 48))
    (face,) = FERPlus(votes, "train", 24)
    assert isinstance(face, Sample) and int(face.image[3, 3, 1]) == 77 and face.image.shape == (24, 24, 3)
    assert isinstance(FERPlus(votes, "test")[0], Skipped)


def test_fer_plus_that_is_not_as_published(votes: Path) -> None:
    path, table = votes / "fer2013.csv", votes / "fer2013new.csv"
    pixels, whole = path.read_text(), table.read_text()
    for text, sentence in (
        (pixels.replace("0 10 ", "0 300 ", 1), "line 3: pixels must be 2304 numbers from 0 to 255"),
        (pixels.rsplit("\n", 4)[0], "has fewer rows"),
        (pixels.replace("PublicTest", "Training"), "line 5: is of another split"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            FERPlus(votes)
    for text, sentence in (
        (whole.replace("contempt", "scorn"), "has the columns .*scorn.*; allowed: Usage"),
        (whole.replace("Training", "Learning", 1), "line 2: allowed: Training, PublicTest, PrivateTest"),
        (whole.replace("0,10,0", "0,ten,0", 1), "line 5: allowed"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=sentence):
            FERPlus(votes)


@given(st.lists(st.integers(0, 10), min_size=10, max_size=10))
def test_a_majority_outweighs_all_that_counts(counts: list[int]) -> None:
    label = majority(np.array(counts))
    kept = [count if count > 1 else 0 for count in counts]
    winners = [place for place, count in enumerate(kept) if 2 * count > sum(kept)]
    fields = [*EXPRESSIONS_OF_FER, "unknown", "NF"]
    assert label == (fields[winners[0]] if winners else "no majority")
