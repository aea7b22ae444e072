"""Sets of described faces as they are published, in small: descriptions reach their pictures, what is odd is named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.data.public.celeba_dialog import CelebADialog
from gptface.data.public.ffhq_text import FFHQText
from gptface.data.public.multimodal_celeba import MultiModalCelebAHQ
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError


def paint(path: Path, level: int, size: tuple[int, int] = (24, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 0)).save(path)


# --- Multi-Modal CelebA-HQ


@pytest.fixture
def portraits(tmp_path: Path) -> Path:
    for number in (0, 2, 10):
        paint(tmp_path / "image" / "images" / f"{number}.jpg", 20 * number)
        lines = [f"Face {number}, description {line}." for line in range(10)]
        path = tmp_path / "text" / "celeba-caption" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    for split, names in (("train", ["10", "0"]), ("test", ["2"])):
        (tmp_path / split).mkdir()
        # What Python 2 wrote, and what Python 3 writes.
        (tmp_path / split / "filenames.pickle").write_bytes(pickle.dumps(names, 0 if split == "train" else 4))
    return tmp_path


def test_ten_descriptions_a_picture_in_turn(portraits: Path) -> None:
    faces = MultiModalCelebAHQ(portraits, "train", size=12)
    assert [faces.key(index) for index in range(len(faces))] == ["10", "0"]
    face = faces[0]
    assert isinstance(face, Sample) and face.image.shape == (12, 12, 3) and int(face.image[0, 0, 0]) > 150
    assert face.caption == "Face 10, description 0." and len(face.captions) == 10
    assert {face.caption_in_turn(epoch) for epoch in range(10)} == set(face.captions)
    assert face.metadata["split"] == "train"
    assert [one.metadata["key"] for one in MultiModalCelebAHQ(portraits, "test")] == ["2"]  # type: ignore[union-attr]
    assert [one.metadata["key"] for one in MultiModalCelebAHQ(portraits)] == ["0", "2", "10"]  # type: ignore[union-attr]


def test_descriptions_beside_celebamask_hq(portraits: Path) -> None:
    (portraits / "image" / "images").rename(portraits / "CelebA-HQ-img")
    (portraits / "text" / "celeba-caption").rename(portraits / "celeba-caption")
    assert len(MultiModalCelebAHQ(portraits, "train")[1].captions) == 10  # type: ignore[union-attr]


def test_descriptions_that_are_missing_or_odd(portraits: Path) -> None:
    captions = portraits / "text" / "celeba-caption"
    (captions / "10.txt").unlink()
    (captions / "0.txt").write_text("\n  \n")
    found = [face.reason if isinstance(face, Skipped) else "" for face in MultiModalCelebAHQ(portraits, "train")]
    assert found == ["missing_caption", "missing_caption"]
    path = portraits / "train" / "filenames.pickle"
    path.write_bytes(pickle.dumps(["0", "../1"]))
    with pytest.raises(InputError, match=r"'\.\./1' is no number"):
        MultiModalCelebAHQ(portraits, "train")
    path.unlink()
    with pytest.raises(InputError, match=r"the list of the train faces is missing; sought: train/filenames\.pickle"):
        MultiModalCelebAHQ(portraits, "train")
    with pytest.raises(InputError, match="split: 'validation'; choose train, test"):
        MultiModalCelebAHQ(portraits, "validation")


def test_a_pickle_runs_nothing(portraits: Path, tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "was here",)

    (portraits / "train" / "filenames.pickle").write_bytes(pickle.dumps([Program()]))
    with pytest.raises(InputError, match="no pickled list of names"):
        MultiModalCelebAHQ(portraits, "train")
    assert not (tmp_path / "was here").exists()


# --- FFHQ-Text


@pytest.fixture
def described(tmp_path: Path) -> Path:
    names = ["00003", "00021", "69999"]
    for place, name in enumerate(names):
        paint(tmp_path / "Image" / f"{name}.png", 40 * place, (32, 32))
        path = tmp_path / "Text" / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(f"She is number {place}, said {line} times." for line in range(9)))
    (tmp_path / "images.txt").write_text("".join(f"{place + 1} Image/{name}.png\n" for place, name in enumerate(names)))
    (tmp_path / "bounding_boxes.txt").write_text("1 4.0 6.0 20.0 24.0\n2 0 0 32 32\n3 1 2 3 4\n")
    (tmp_path / "Train.pkl").write_bytes(pickle.dumps(names[:2]))
    (tmp_path / "Test.pkl").write_bytes(pickle.dumps([f"{names[2]}.png"]))
    return tmp_path


def test_nine_descriptions_and_a_box(described: Path) -> None:
    faces = FFHQText(described, "train", size=16)
    face = faces[0]
    assert len(faces) == 2 and isinstance(face, Sample) and len(face.captions) == 9
    np.testing.assert_allclose(face.metadata["box"], [2, 3, 12, 15])  # from left, top, width, height
    assert [one.metadata["key"] for one in FFHQText(described, "test")] == ["69999"]  # type: ignore[union-attr]
    assert len(FFHQText(described)) == 3


def test_ffhq_text_that_is_not_as_described(described: Path) -> None:
    (described / "Train").mkdir()
    (described / "Train.pkl").rename(described / "Train" / "anything.pickle")
    assert len(FFHQText(described, "train")) == 2
    (described / "Train" / "second.pickle").write_bytes(b"")
    with pytest.raises(InputError, match="holds 2 pickles; one is needed"):
        FFHQText(described, "train")
    boxes = described / "bounding_boxes.txt"
    boxes.write_text("1 4.0 6.0 20.0 24.0\n2 0 wide 32 32\n")
    with pytest.raises(InputError, match=r"bounding_boxes\.txt, line 2: allowed: a number, left, top"):
        FFHQText(described)
    boxes.write_text("1 4.0 6.0 20.0 24.0\n")
    with pytest.raises(InputError, match="has no box of 00021"):
        FFHQText(described)
    boxes.unlink()
    with pytest.raises(InputError, match=r"the table of boxes is missing; sought: bounding_boxes\.txt"):
        FFHQText(described)


# --- CelebA-Dialog

PARTS = {
    "Bangs": "No fringe.",
    "Eyeglasses": None,
    "No_Beard": "",
    "Smiling": "She smiles\nbroadly.",
    "Young": "Young.",
}


@pytest.fixture(params=["", "_hq"])
def dialog(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, list[str]]:
    high = request.param == "_hq"
    names = ["0.jpg", "12.jpg", "5.jpg"] if high else ["000001.jpg", "000003.jpg", "000002.jpg"]
    entries = {name: {"overall_caption": f"This is {name}.", "attribute_wise_captions": PARTS} for name in names}
    folder = tmp_path / "text_hq" if high else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / f"captions{request.param}.json").write_text(json.dumps(entries))
    rows = [f"{name} 0 1 {place} 3 5" for place, name in enumerate(names)]
    title = "img_name Bangs Eyeglasses No_Beard Smiling Young"
    (tmp_path / f"combined_annotation{request.param}.txt").write_text("\n".join([title, *rows, ""]))
    for place, name in enumerate(names):
        paint(tmp_path / ("image" if high else "img_align_celeba") / name, 60 * place)
    if high:
        lines = ["0 119613 119614.jpg", "12 162770 162771.jpg", "5 182637 182638.jpg"]
        (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(["idx orig_idx orig_file", *lines, ""]))
    else:
        lines = [f"{name} {place}" for place, name in enumerate(names)]
        (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines))
    return tmp_path, names


def test_dialogs_descriptions_and_degrees(dialog: tuple[Path, list[str]]) -> None:
    folder, names = dialog
    faces = CelebADialog(folder)
    assert len(faces) == 3
    face = faces[1]
    assert isinstance(face, Sample) and face.caption == f"This is {names[1]}." and face.captions == [face.caption]
    assert face.metadata["attribute_captions"] == {
        "Bangs": "No fringe.",
        "Smiling": "She smiles broadly.",
        "Young": "Young.",
    }
    assert face.metadata["degrees"] == {"Bangs": 0, "Eyeglasses": 1, "No_Beard": 1, "Smiling": 3, "Young": 5}
    for place, split in enumerate(("train", "validation", "test")):
        (one,) = CelebADialog(folder, split)
        assert isinstance(one, Sample) and one.metadata["key"] == Path(names[place]).stem


def test_a_table_of_degrees_without_a_line_of_names(dialog: tuple[Path, list[str]]) -> None:
    folder, _ = dialog
    path = next(folder.glob("combined_annotation*.txt"))
    whole = path.read_text()
    path.write_text(whole.split("\n", 1)[1])
    assert CelebADialog(folder)[0].metadata["degrees"]["Young"] == 5  # type: ignore[union-attr]
    path.write_text(whole.replace(" 3 5\n", " 3 6\n", 1))
    with pytest.raises(InputError, match="degrees from 0 to 6; allowed: 0 to 5"):
        CelebADialog(folder)
    path.write_text(whole.replace("Smiling", "Frowning"))
    with pytest.raises(InputError, match="degrees of Bangs, Eyeglasses, No_Beard, Frowning, Young; allowed"):
        CelebADialog(folder)
    path.unlink()
    assert "degrees" not in CelebADialog(folder)[0].metadata  # type: ignore[union-attr]


def test_dialogs_that_are_not_as_published(dialog: tuple[Path, list[str]]) -> None:
    folder, names = dialog
    for path in (*folder.glob("*mapping.txt"), *folder.glob("list_eval*")):
        path.unlink()
    with pytest.raises(InputError, match="by which there are splits, is missing"):
        CelebADialog(folder, "train")
    path = next(folder.rglob("captions*.json"))
    path.write_text(json.dumps({names[0]: ["no text"]}))
    with pytest.raises(InputError, match=rf"{names[0]}: allowed: an overall_caption"):
        CelebADialog(folder)
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        CelebADialog(folder)
