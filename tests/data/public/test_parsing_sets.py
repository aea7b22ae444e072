"""CelebAMask-HQ and LaPa as they are published, in small: label maps in the regions of the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.data.public.celebamask import PUBLISHED_CLASSES as MASK_CLASSES
from gptface.data.public.celebamask import CelebAMaskHQ
from gptface.data.public.lapa import PUBLISHED_CLASSES, LaPa
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError
from gptface.faces.attributes import ATTRIBUTES
from gptface.faces.regions import region_label

NAMES = sorted(ATTRIBUTES)


def write_mask(folder: Path, number: int, part: str, rows: slice) -> None:
    mask = np.zeros((512, 512, 3), dtype=np.uint8)  # published in grey, stored in three channels
    mask[rows] = 255
    path = folder / "CelebAMask-HQ-mask-anno" / str(number // 2000)
    path.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path / f"{number:05d}_{part}.png")


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    numbers = (0, 1, 2001)
    (tmp_path / "CelebA-HQ-img").mkdir()
    for number in numbers:
        Image.new("RGB", (64, 64), (number % 251, 0, 0)).save(tmp_path / "CelebA-HQ-img" / f"{number}.jpg")
        write_mask(tmp_path, number, "skin", slice(0, 384))
        write_mask(tmp_path, number, "hair", slice(0, 128))
        write_mask(tmp_path, number, "l_lip", slice(256, 320))
    rows = [f"{number}.jpg {' '.join(['1', *['-1'] * 39])}" for number in numbers]
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(["3", " ".join(NAMES), *rows, ""]))
    originals = ["0 119613 119614.jpg", "1 162770 162771.jpg", "2001 182637 182638.jpg"]
    mapping = "\n".join(["idx      orig_idx   orig_file", *originals, ""])
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text(mapping)
    return tmp_path


def test_parts_are_painted_in_their_order_and_splits_are_celebas(masks: Path) -> None:
    faces = CelebAMaskHQ(masks)
    face = faces[0]
    assert isinstance(face, Sample) and face.region_map is not None and face.region_map.shape == (64, 64)
    assert face.metadata["attributes"][NAMES[0]] == 1 and sum(face.metadata["attributes"].values()) == 1
    found = [int(face.region_map[row, 5]) for row in (4, 24, 36, 44, 60)]
    assert found == [region_label(name) for name in ("hair", "skin", "mouth", "skin", "background")]
    keys = {split: [one.metadata["key"] for one in CelebAMaskHQ(masks, split, 32)] for split in ("validation", "test")}  # type: ignore[union-attr]
    assert keys == {"validation": ["1"], "test": ["2001"]}
    assert CelebAMaskHQ(masks, "test", 32)[0].region_map.shape == (32, 32)  # type: ignore[union-attr]
    own = CelebAMaskHQ(masks, size=64, published=True)[0].metadata["published_labels"]  # type: ignore[union-attr]
    assert [MASK_CLASSES[own[row, 5]] for row in (4, 24, 36, 60)] == ["hair", "skin", "l_lip", "background"]
    assert "published_labels" not in face.metadata and len(MASK_CLASSES) == 19


def test_masks_that_are_missing_or_odd_are_told(masks: Path) -> None:
    for path in (masks / "CelebAMask-HQ-mask-anno" / "1").glob("*"):
        path.unlink()
    Image.new("L", (100, 100)).save(masks / "CelebAMask-HQ-mask-anno" / "0" / "00001_skin.png")
    found = [face.reason if isinstance(face, Skipped) else "" for face in CelebAMaskHQ(masks)]
    assert found == ["", "corrupt_image", "missing_file"]
    mapping = masks / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text(mapping.read_text().replace("1 162770 162771.jpg\n", ""))
    with pytest.raises(InputError, match="has no line for picture 1"):
        CelebAMaskHQ(masks)
    mapping.write_text("idx\n0 one 1.jpg\n")
    with pytest.raises(InputError, match="line 2: allowed: a number, CelebA's number"):
        CelebAMaskHQ(masks)
    mapping.unlink()
    with pytest.raises(InputError, match=r"CelebA-HQ-to-CelebA-mapping\.txt"):
        CelebAMaskHQ(masks)


@pytest.fixture
def lapa(tmp_path: Path) -> Path:
    folder = tmp_path / "val"
    for name in ("images", "labels", "landmarks"):
        (folder / name).mkdir(parents=True)
    labels = np.repeat(np.arange(11, dtype=np.uint8), 4)[:, None].repeat(60, axis=1)  # (44, 60)
    points = "\n".join(["106", *(f"{10 + number / 10} {number / 5}" for number in range(106)), ""])
    for name in ("a_0", "b_1"):
        Image.new("RGB", (60, 44), (90, 90, 90)).save(folder / "images" / f"{name}.jpg")
        Image.fromarray(labels).save(folder / "labels" / f"{name}.png")
        (folder / "landmarks" / f"{name}.txt").write_text(points)
    return tmp_path


def test_lapa_in_regions_and_points(lapa: Path) -> None:
    face = LaPa(lapa, "validation")[0]
    assert isinstance(face, Sample) and face.region_map is not None
    names = ["background", "skin", "brows", "brows", "eyes", "eyes", "nose", "mouth", "mouth", "mouth", "hair"]
    assert face.region_map[2::4, 0].tolist() == [region_label(name) for name in names]
    own = LaPa(lapa, "validation", published=True)[0].metadata["published_labels"]  # type: ignore[union-attr]
    assert own[2::4, 0].tolist() == list(range(11)) and "published_labels" not in face.metadata
    assert PUBLISHED_CLASSES[own[14, 0]] == "right brow" and len(PUBLISHED_CLASSES) == 11
    np.testing.assert_allclose(face.metadata["landmarks_106"][5], [10.5, 1.0])
    small = LaPa(lapa, "validation", size=22)[1]
    assert isinstance(small, Sample) and small.image.shape == (22, 22, 3) and small.region_map.shape == (22, 22)  # type: ignore[union-attr]
    np.testing.assert_allclose(small.metadata["landmarks_106"][5], [(10.5 - 8) / 2, 0.5])


def test_lapa_that_is_not_as_published(lapa: Path) -> None:
    (lapa / "val" / "landmarks" / "a_0.txt").write_text("106\n1 2\n")
    Image.fromarray(np.full((44, 60), 11, dtype=np.uint8)).save(lapa / "val" / "labels" / "b_1.png")
    first, second = LaPa(lapa, "validation")
    assert isinstance(first, Sample) and first.metadata["reading_notes"] == ["bad_landmarks"]
    assert isinstance(second, Skipped) and "label 11; allowed: 0 to 10" in second.detail
    with pytest.raises(InputError, match="the folder of pictures is missing; sought: images"):
        LaPa(lapa, "train")
    with pytest.raises(InputError, match="split: 'val'; choose train, validation, test"):
        LaPa(lapa, "val")
