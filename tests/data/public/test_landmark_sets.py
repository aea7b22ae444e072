"""300-W, WFLW and AFLW-19 as they are published, in small; and that a folder is recognised by what lies in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.data.public.aflw import AFLW19
from gptface.data.public.landmark_sets import WFLW, ThreeHundredW
from gptface.data.public.recognition import PUBLIC_SETS, open_public_set, recognise
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError

POINTS = np.stack([np.arange(68) % 17 * 2.0 + 3, np.arange(68) // 17 * 5.0 + 4], axis=1)  # from 1, at pixels' centres


@pytest.fixture
def wild(tmp_path: Path) -> Path:
    for name in ("afw", "helen/trainset", "helen/testset", "lfpw/trainset", "lfpw/testset", "ibug"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for number in range(2):
            image = np.zeros((30, 48, 3), dtype=np.uint8)
            image[3, 2] = 255  # point 0
            suffix = ".png" if name.startswith("lfpw") else ".jpg"
            Image.fromarray(image).save(folder / f"face_{number}{suffix}", quality=100, subsampling=0)
            rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in POINTS)
            (folder / f"face_{number}.pts").write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}\n")
    return tmp_path


def test_300w_has_its_splits_and_its_points_on_the_pixels(wild: Path) -> None:
    counts = {split: len(ThreeHundredW(wild, split)) for split in ("train", "common", "challenging", "full")}
    assert counts == {"train": 6, "common": 4, "challenging": 2, "full": 6}
    for face in ThreeHundredW(wild, "full"):
        assert isinstance(face, Sample)
        x, y = np.floor(face.metadata["landmarks"][0]).astype(int)
        assert face.image[y, x, 0] > 150 and face.image.shape == (30, 48, 3)
    small = ThreeHundredW(wild, "challenging", size=15)[0]
    assert isinstance(small, Sample) and small.metadata["key"] == "ibug/face_0"
    np.testing.assert_allclose(small.metadata["landmarks"], (POINTS - 0.5 - [9, 0]) / 2)


def test_300w_that_is_not_as_published(wild: Path) -> None:
    (wild / "ibug" / "face_0.jpg").unlink()
    first, second = ThreeHundredW(wild, "challenging")
    assert isinstance(first, Skipped) and first.reason == "missing_image" and isinstance(second, Sample)
    path = wild / "ibug" / "face_1.pts"
    path.write_text(path.read_text().replace("{\n3.000 4.000\n", "{\n"))
    with pytest.raises(InputError, match=r"face_1\.pts: 67 points; allowed: 68"):
        ThreeHundredW(wild, "challenging")
    path.write_text("no points")
    with pytest.raises(InputError, match="no file of points"):
        ThreeHundredW(wild, "challenging")
    with pytest.raises(InputError, match="split: 'test'; choose train, common, challenging, full"):
        ThreeHundredW(wild, "test")


@pytest.fixture
def wider(tmp_path: Path) -> Path:
    (tmp_path / "WFLW_images" / "0--Parade").mkdir(parents=True)
    lists = tmp_path / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(tmp_path / "WFLW_images" / "0--Parade" / "a_1.jpg")
    points = " ".join(f"{number / 7:.4f}" for number in range(196))
    rows = [f"{points} 12 2 30 18 {flags} 0--Parade/a_1.jpg" for flags in ("1 0 0 0 1 0", "0 0 0 0 0 0")]
    (lists / "list_98pt_rect_attr_test.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_wflw_has_a_sample_a_face(wider: Path) -> None:
    faces = WFLW(wider, "test", size=10)
    assert [faces.key(index) for index in range(2)] == ["0--Parade/a_1#1", "0--Parade/a_1#2"]
    first, second = faces
    assert isinstance(first, Sample) and isinstance(second, Sample)
    assert first.metadata["subsets"] == ["pose", "occlusion"] and second.metadata["subsets"] == []
    assert first.sample_id != second.sample_id
    expected = (np.arange(196).reshape(98, 2) / 7 - [10, 0]) / 2
    np.testing.assert_allclose(first.metadata["landmarks_98"], expected, atol=1e-3)
    np.testing.assert_allclose(first.metadata["box"], [1, 1, 10, 9])


def test_wflw_that_is_not_as_published(wider: Path) -> None:
    with pytest.raises(InputError, match=r"list_98pt_rect_attr_train\.txt is missing"):
        WFLW(wider, "train")
    table = wider / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / "list_98pt_rect_attr_test.txt"
    whole = table.read_text()
    table.write_text(whole.replace("12 2 30 18", "12 2 30", 1))
    with pytest.raises(InputError, match="line 1: 206 fields; allowed: 207"):
        WFLW(wider, "test")
    table.write_text(whole.replace("12 2 30 18", "12 2 30 wide", 1))
    with pytest.raises(InputError, match="line 1: all but the picture's name must be numbers"):
        WFLW(wider, "test")


def test_a_folder_is_recognised_by_what_lies_in_it(tmp_path: Path, wild: Path) -> None:
    assert recognise(wild) == "300-W"
    assert len(open_public_set(wild, "common", 16)) == 4
    for name, (groups, _) in PUBLIC_SETS.items():
        folder = tmp_path / "sets" / name
        for group in groups:
            (folder / group[-1]).mkdir(parents=True)
        assert recognise(folder) == name
    with pytest.raises(InputError, match="is missing; sought"):
        open_public_set(tmp_path / "sets" / "CelebA")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no public set that is known by its folders"):
        recognise(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        recognise(tmp_path / "nowhere")
    (tmp_path / "sets" / "CelebA" / "captions.json").touch()
    with pytest.raises(InputError, match="may be CelebA or CelebA-Dialog; say which of them is meant"):
        open_public_set(tmp_path / "sets" / "CelebA")
    with pytest.raises(InputError, match=r"captions\.json: cannot be read as JSON"):
        open_public_set(tmp_path / "sets" / "CelebA", name="CelebA-Dialog")
    with pytest.raises(InputError, match="name: 'Faces'; choose CelebAMask-HQ, "):
        open_public_set(tmp_path / "sets" / "CelebA", name="Faces")


@pytest.fixture
def aflw(tmp_path: Path) -> Path:
    scipy_io = pytest.importorskip("scipy.io")
    count = 5
    names = np.empty((count, 1), dtype=object)
    for row in range(count):
        names[row, 0] = f"0/image0000{row}.jpg"
        path = tmp_path / "flickr" / "0" / f"image0000{row}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(path)
    data = np.arange(count)[:, None] + np.arange(38.0)[None]
    mask = np.ones((count, 19), dtype=np.uint8)
    mask[4, 3] = 0
    boxes = np.tile([12.0, 30.0, 2.0, 18.0], (count, 1))  # left, right, top, bottom
    table = {"nameList": names, "bbox": boxes, "data": data, "mask_new": mask, "ra": np.array([[3, 1, 5, 2, 4]])}
    scipy_io.savemat(tmp_path / "AFLWinfo_release.mat", table)
    return tmp_path


def test_aflw_in_the_order_of_its_permutation(aflw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptface.data.public.aflw.TRAINING_FACES", 2)
    keys = {split: [face.metadata["key"] for face in AFLW19(aflw, split)] for split in ("train", "test", "frontal")}  # type: ignore[union-attr]
    assert keys["train"] == ["0/image00002#2", "0/image00000#0"]
    assert keys["test"] == ["0/image00004#4", "0/image00001#1", "0/image00003#3"]
    assert keys["frontal"] == keys["test"][1:]
    face = AFLW19(aflw, "test", size=10)[0]
    assert isinstance(face, Sample) and not face.metadata["visible"][3] and face.metadata["visible"].sum() == 18
    points = np.stack([4 + np.arange(19.0), 23 + np.arange(19.0)], axis=1)  # all x, then all y
    np.testing.assert_allclose(face.metadata["landmarks_19"], (points - [10, 0]) / 2)
    np.testing.assert_allclose(face.metadata["box"], [1, 1, 10, 9])
    assert len(AFLW19(aflw)) == 5


def test_aflw_that_is_not_as_published(aflw: Path) -> None:
    with pytest.raises(InputError, match="holds no face of the split test"):
        AFLW19(aflw, "test")
    from scipy.io import loadmat, savemat

    path = aflw / "AFLWinfo_release.mat"
    whole = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    savemat(path, {**whole, "data": whole["data"][:, :36]})
    with pytest.raises(InputError, match=r"data is \(5, 36\); needed: \(5, 38\)"):
        AFLW19(aflw)
    savemat(path, {**whole, "ra": np.array([[0, 1]])})
    with pytest.raises(InputError, match="ra must number faces from 1 to 5"):
        AFLW19(aflw)
    savemat(path, {"bbox": whole["bbox"]})
    with pytest.raises(InputError, match="has no nameList"):
        AFLW19(aflw)
    path.write_bytes(b"no table")
    with pytest.raises(InputError, match="no MATLAB file that can be read"):
        AFLW19(aflw)
    path.unlink()
    with pytest.raises(InputError, match=r"the table of landmarks is missing; sought: AFLWinfo_release\.mat"):
        AFLW19(aflw)
