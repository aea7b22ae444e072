"""CelebA as it is published, in small: annotations reach their pictures, what is missing is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.data.public.celeba import CelebA
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError
from gptface.faces.attributes import ATTRIBUTES

NAMES = sorted(ATTRIBUTES)
COORDINATES = (
    "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
)
FLAGS = np.where(np.random.default_rng(0).random((6, 40)) < 0.5, 1, -1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Anno").mkdir()
    (tmp_path / "Eval").mkdir()
    (tmp_path / "Img" / "img_align_celeba").mkdir(parents=True)
    files = [f"{number:06d}.jpg" for number in range(1, 7)]
    rows = [f"{name}  {' '.join(map(str, flags))}" for name, flags in zip(files, FLAGS, strict=True)]
    (tmp_path / "Anno" / "list_attr_celeba.txt").write_text("\n".join(["6", " ".join(NAMES) + " ", *rows, ""]))
    points = [f"{name} 69 {109 + number} 106 113 77 142 73 152 108 154" for number, name in enumerate(files)]
    (tmp_path / "Anno" / "list_landmarks_align_celeba.txt").write_text("\n".join(["6", COORDINATES, *points, ""]))
    splits = [f"{name} {number // 2}" for number, name in enumerate(files)]
    (tmp_path / "Eval" / "list_eval_partition.txt").write_text("\n".join(splits) + "\n")
    for number, name in enumerate(files):
        image = np.full((218, 178, 3), 40 * number, dtype=np.uint8)
        image[109 + number, 69] = (255, 0, 0)
        Image.fromarray(image).save(tmp_path / "Img" / "img_align_celeba" / name, quality=100, subsampling=0)
    return tmp_path


def test_annotations_reach_their_pictures(folder: Path) -> None:
    faces = CelebA(folder)
    assert len(faces) == 6 and [faces.key(index) for index in range(2)] == ["000001", "000002"]
    for index, face in enumerate(faces):
        assert isinstance(face, Sample) and face.image.shape == (218, 178, 3) and face.caption == ""
        flags = {name: int(flag > 0) for name, flag in zip(NAMES, FLAGS[index], strict=True)}
        assert face.metadata["attributes"] == flags
        x, y = face.metadata["landmarks"][0].astype(int)
        assert int(face.image[y, x, 0]) - int(face.image[y, x, 1]) > 80
    assert len({face.sample_id for face in faces}) == 6  # type: ignore[union-attr]


def test_splits_and_sizes(folder: Path) -> None:
    found = {
        split: [face.metadata["key"] for face in CelebA(folder, split)] for split in ("train", "validation", "test")
    }  # type: ignore[union-attr]
    assert found == {"train": ["000001", "000002"], "validation": ["000003", "000004"], "test": ["000005", "000006"]}
    face = CelebA(folder, size=89)[0]
    assert isinstance(face, Sample) and face.image.shape == (89, 89, 3)
    np.testing.assert_allclose(face.metadata["landmarks"][0], [69 / 2, (109 - 20) / 2])


def test_the_copy_in_csv_files(folder: Path) -> None:
    for room, name, titles in (
        ("Anno", "list_attr_celeba", NAMES),
        ("Anno", "list_landmarks_align_celeba", COORDINATES.split()),
        ("Eval", "list_eval_partition", ["partition"]),
    ):
        rows = (folder / room / f"{name}.txt").read_text().split("\n")
        rows = [",".join(row.split()) for row in rows if ".jpg" in row]
        (folder / f"{name}.csv").write_text("\n".join([",".join(["image_id", *titles]), *rows, ""]))
        (folder / room / f"{name}.txt").unlink()
    faces = CelebA(folder, "test")
    face = faces[0]
    assert isinstance(face, Sample)
    assert face.metadata["attributes"] == {name: int(flag > 0) for name, flag in zip(NAMES, FLAGS[4], strict=True)}


def test_a_picture_that_is_missing_or_cut_is_skipped(folder: Path) -> None:
    pictures = folder / "Img" / "img_align_celeba"
    (pictures / "000001.jpg").unlink()
    (pictures / "000002.jpg").write_bytes((pictures / "000003.jpg").read_bytes()[:400])
    found = [face.reason if isinstance(face, Skipped) else "" for face in CelebA(folder)]
    assert found == ["missing_image", "truncated_image", "", "", "", ""]


@pytest.mark.parametrize(
    "file, change, sentence",
    [
        ("Eval/list_eval_partition.txt", None, "list_eval_partition.txt is missing; sought: list_eval_partition.txt"),
        ("Anno/list_attr_celeba.txt", ("Smiling", "Frowning"), "'Frowning' is none of CelebA's attributes"),
        ("Anno/list_attr_celeba.txt", ("6\n", "7\n"), "says that it has 7 rows and has 6"),
        ("Anno/list_landmarks_align_celeba.txt", (" 77 142 ", " 77 "), "line 3: 10 fields; allowed: a name and 10"),
        ("Anno/list_landmarks_align_celeba.txt", (" 142 ", " wide "), "line 3: coordinates must be whole numbers"),
        ("Eval/list_eval_partition.txt", ("000006.jpg 2\n", ""), "has no row for 000006.jpg"),
        ("Eval/list_eval_partition.txt", ("000006.jpg 2", "000005.jpg 2"), "000005.jpg occurs twice"),
        ("Eval/list_eval_partition.txt", ("jpg 2", "jpg 3"), "other numbers than 0, 1 and 2"),
    ],
)
def test_what_is_not_as_published_is_named(
    folder: Path, file: str, change: tuple[str, str] | None, sentence: str
) -> None:
    path = folder / file
    if change is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError) as error:
        CelebA(folder)
    assert sentence in str(error.value)
