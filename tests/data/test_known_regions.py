"""Region maps drawn from landmarks or taken from a template: whose points are whose, and nothing lost in silence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gptface.data import decoding
from gptface.data.batches import Faces, Needs
from gptface.data.cache import cached_faces
from gptface.data.configuration import DataSection
from gptface.data.landmark_files import LandmarkTable
from gptface.data.sources import open_faces
from gptface.errors import InputError
from gptface.faces.landmarks import landmark_region_map
from gptface.faces.regions import region_label
from gptface.faces.templates import TEMPLATES
from tests.helpers.archives import write_members
from tests.helpers.image_files import encode, gradient

SIZE = 32
FIVE = np.array([[33.0, 40.0], [63.0, 40.0], [48.0, 56.0], [37.0, 70.0], [59.0, 70.0]])  # of a picture of 96²
WHOLE = encode(gradient(96, 96))


def save(path: Path, **faces: np.ndarray) -> str:
    np.savez(path, key=list(faces), points=np.stack(list(faces.values())).astype(np.float32))
    return str(path)


def section(shard: Path, **changes: Any) -> DataSection:
    return DataSection(**{"source": "shards", "train": [str(shard)], "image_size": SIZE, **changes})


def drawn(points: np.ndarray) -> np.ndarray:
    return landmark_region_map(points, (SIZE, SIZE), hair=True)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Three pictures of 96²."""
    return write_members(tmp_path / "0.tar", [(f"{name}.png", WHOLE) for name in "abc"])


def read(data: DataSection, tmp_path: Path) -> tuple[Any, list[str]]:
    """The cache of the training faces, and the lines that were said of it."""
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("gptface.data.cache.Display.line", lambda _, line: lines.append(line))
        return cached_faces(data, "train", tmp_path / "run"), lines


def test_maps_are_drawn_where_the_points_are_and_templates_stand_in(shard: Path, tmp_path: Path) -> None:
    labels = np.full((96, 96), region_label("hat"), np.uint8)
    with_map = write_members(tmp_path / "1.tar", [("d.png", WHOLE), ("d.regions.png", encode(labels))])
    file = save(tmp_path / "points.npz", a=FIVE, b=FIVE + 6, d=FIVE, strange=FIVE)
    data = section(shard, train=[str(shard), str(with_map)], landmarks=[file], template="portrait")
    cache, lines = read(data, tmp_path)
    expected = [drawn(FIVE / 3), drawn(FIVE / 3 + 2), TEMPLATES["portrait"].region_map(SIZE), np.full((32, 32), 10)]
    assert np.array_equal(cache.region_maps, expected)
    assert [line.split(": ", 1)[1] for line in lines[1:]] == [
        "landmarks of 3 of 4 samples in data.landmarks",
        "1 names in data.landmarks are of no sample, such as strange",
        "region maps: 2 from landmarks, 1 from the template, 1 from label maps",
        *[line.split(": ", 1)[1] for line in lines[4:]],  # that there are no captions
    ]
    assert lines[0].startswith("faces (train): 4 faces of 4 samples")


def test_streamed_faces_have_the_same_maps(shard: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "points.npz", a=FIVE, b=FIVE + 6, c=FIVE - 3)
    maps = []
    for cache in (True, False):
        data = section(shard, landmarks=[file], cache=cache, flip=False)
        faces = Faces(data, "train", tmp_path / "run", verbose=False)
        batch = next(faces.batches(Needs(region_maps=True, token_regions=(4, 4)), lambda b: b, batch_size=3, seed=0))
        maps.append(batch.region_maps)
        assert set(np.unique(batch.token_regions)) >= {region_label(name) for name in ("skin", "eyes", "mouth")}
    assert torch.equal(*maps)
    assert (maps[0] == region_label("mouth")).any((1, 2)).all()


def test_points_are_of_the_upright_stored_picture(tmp_path: Path) -> None:
    # 160 wide and 96 high, of which the centre is kept; and the same lying on its side with a note that says so.
    wide = gradient(160, 96)
    side = Image.fromarray(np.rot90(wide).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it
    side.save(tmp_path / "side.png", exif=exif)
    members = [("a.png", encode(wide)), ("b.png", (tmp_path / "side.png").read_bytes())]
    shard = write_members(tmp_path / "0.tar", members)
    shifted = FIVE + np.array([32.0, 0.0])
    file = save(tmp_path / "points.npz", a=shifted, b=shifted)
    cache, _ = read(section(shard, landmarks=[file]), tmp_path)
    assert np.array_equal(cache.images[0], cache.images[1])
    assert np.array_equal(cache.region_maps[0], drawn(FIVE / 3))
    assert np.array_equal(cache.region_maps[1], drawn(FIVE / 3))


def test_landmarks_of_the_json_need_no_file(tmp_path: Path) -> None:
    facts = {"landmarks": FIVE.tolist(), "width": 96, "height": 96}
    shard = write_members(tmp_path / "0.tar", [("a.png", WHOLE), ("a.json", json.dumps(facts).encode())])
    cache, lines = read(section(shard), tmp_path)
    assert np.array_equal(cache.region_maps[0], drawn(FIVE / 3))
    assert any(line.endswith("region maps: 1 from landmarks") for line in lines)


@pytest.mark.parametrize(
    "points",
    [FIVE + 60, FIVE * np.nan, FIVE * 0.01 + 40, np.where(np.arange(10).reshape(5, 2) == 3, np.inf, FIVE)],
    ids=["outside", "not found", "in one spot", "not finite"],
)
def test_points_that_do_not_match_are_said(shard: Path, tmp_path: Path, points: np.ndarray) -> None:
    data = section(shard, landmarks=[save(tmp_path / "points.npz", a=FIVE, b=points)])
    cache, lines = read(data, tmp_path)
    assert len(cache) == 1 and cache.skipped == {"landmarks_do_not_match": 1, "no_landmarks": 1}
    said = [line for line in lines if "skipped" in line]
    assert any("for the most part outside of the picture" in line for line in said)
    assert any("data.template names none" in line for line in said)
    cache, lines = read(data.model_copy(update={"template": "tight"}), tmp_path)
    assert len(cache) == 3 and not cache.skipped and cache.notes["landmarks_do_not_match"] == 1
    assert np.array_equal(cache.region_maps[1:], [TEMPLATES["tight"].region_map(SIZE)] * 2)


def test_points_of_unknown_number_leave_the_json_s_face_without_a_map(tmp_path: Path) -> None:
    facts = {"landmarks": FIVE[:4].tolist(), "width": 96, "height": 96}
    shard = write_members(tmp_path / "0.tar", [("a.png", WHOLE), ("a.json", json.dumps(facts).encode())])
    cache, _ = read(section(shard), tmp_path)
    assert len(cache) == 1 and cache.region_maps is None and cache.notes["landmarks_do_not_match"] == 1
    faces = Faces(section(shard), "train", tmp_path / "run", verbose=False)
    with pytest.raises(InputError, match=r"has no region maps; data\.landmarks or data\.template"):
        faces.batches(Needs(region_maps=True), lambda b: b, batch_size=1, seed=0)


def test_another_content_or_template_makes_another_cache(shard: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "points.npz", a=FIVE)
    data = section(shard, landmarks=[file], template="tight")
    folders = [read(data, tmp_path)[0].folder, read(data, tmp_path)[0].folder]
    assert folders[0] == folders[1]
    folders.append(read(data.model_copy(update={"template": "portrait"}), tmp_path)[0].folder)
    save(tmp_path / "points.npz", a=FIVE + 1)
    folders.append(read(data, tmp_path)[0].folder)
    assert len(set(folders)) == 3


def test_worker_processes_draw_the_same(shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = section(shard, landmarks=[save(tmp_path / "points.npz", a=FIVE, c=FIVE + 5)], template="tight")
    alone = cached_faces(data, "train", tmp_path / "alone", verbose=False)
    monkeypatch.setattr(decoding, "IN_PROCESS", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    together = cached_faces(data, "train", tmp_path / "together", verbose=False)
    assert np.array_equal(alone.region_maps, together.region_maps) and alone.regions == together.regions


def test_held_out_faces_have_their_own_points(shard: Path, tmp_path: Path) -> None:
    # Data sets number their pictures from 0 in every split: one list would give the ones the others' points.
    ours, theirs = save(tmp_path / "train.npz", a=FIVE), save(tmp_path / "held-out.npz", a=FIVE + 9)
    data = section(shard, validation=[str(shard)], landmarks=[ours], validation_landmarks=[theirs])
    for split, shift in (("train", 0), ("validation", 3)):
        sample = open_faces(data, split)[0]
        assert np.array_equal(sample.region_map, drawn(FIVE / 3 + shift))


def test_a_mesh_with_irises_is_the_mesh(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 96, (1, 478, 3)).astype(np.float16)
    np.savez(tmp_path / "points.npz", key=["a"], points=points)
    table = LandmarkTable([str(tmp_path / "*.npz")])
    given = table.get("a")
    assert given is not None and given.dtype == np.float32 and np.array_equal(given, points[0, :468, :2])
    assert table.get("b") is None and len(table) == 1


def test_bad_files_are_one_sentence(shard: Path, tmp_path: Path) -> None:
    def message(**arrays: Any) -> str:
        np.savez(tmp_path / "bad.npz", **arrays)
        with pytest.raises(InputError) as caught:
            open_faces(section(shard, landmarks=[str(tmp_path / "bad.npz")]), "train")
        return str(caught.value)

    points = FIVE[None].astype(np.float32)
    for expected, arrays in (
        ("lacks an array; needed are key and points", {"points": points}),
        ("key in .* is int64", {"key": [1], "points": points}),
        (r"points in .* \(1, 6, 2\); allowed: .* 5, 68, 468", {"key": ["a"], "points": points[:, [0, 1, 2, 3, 4, 4]]}),
        ("points in .* int64", {"key": ["a"], "points": points.astype(int)}),
        ("has 2 names and points of 1 faces", {"key": ["a", "b"], "points": points}),
        ("'a' occurs twice", {"key": ["a", "a"], "points": points.repeat(2, 0)}),
        ("lie between 0 and 1; allowed: pixels", {"key": ["a"], "points": points / 96}),
        (r"none of its 1 names, such as 'z', is a sample of data\.train, .* 'a'", {"key": ["z"], "points": points}),
    ):
        text = message(**arrays)
        assert re.search(expected, text) and text.startswith("data.landmarks: "), text
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    for path, expected in (("bad.npz", "not a readable .npz file"), ("none.npz", "no such file"), ("*.np", "no file")):
        with pytest.raises(InputError, match=expected):
            LandmarkTable([str(tmp_path / path)])


def test_what_does_not_fit_the_source_is_refused() -> None:
    for changes, expected in (
        ({"template": "tight"}, "template: procedural faces have region maps"),
        ({"landmarks": ["x.npz"]}, "landmarks: procedural"),
        ({"source": "shards", "train": ["x"], "validation_landmarks": ["x.npz"]}, "validation_landmarks: there is no"),
    ):
        with pytest.raises(ValueError, match=expected):
            DataSection(**changes)  # type: ignore[arg-type]
