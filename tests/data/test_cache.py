"""The face cache: what it holds, that it is made once, and that bad sources are one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptface.data import cache as cache_module
from gptface.data import decoding
from gptface.data.cache import cached_faces
from gptface.data.configuration import DataSection
from gptface.data.procedural import ProceduralFaces
from gptface.data.shard_writer import write_shards
from gptface.errors import InputError
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from tests.helpers.archives import write_members
from tests.helpers.image_files import encode

SMALL = {"count": 12, "validation_count": 5, "image_size": 32}


def test_procedural_faces_are_what_the_generator_gives(tmp_path: Path) -> None:
    cache = cached_faces(DataSection(**SMALL, seed=4), "train", tmp_path, verbose=False)
    faces = ProceduralFaces(4, 32, count=12)
    assert len(cache) == 12
    for index in range(12):
        sample = faces[index]
        assert np.array_equal(cache.images[index], sample.image)
        assert cache.region_maps is not None and np.array_equal(cache.region_maps[index], sample.region_map)
        assert cache.captions[index] == [sample.caption]
        assert cache.sample_ids[index] == sample.sample_id
        assert LABELLED_EXPRESSIONS[cache.expressions[index]] == sample.metadata["expression"]
        truth = np.array([sample.metadata["attributes"][name] for name in LABELLED_ATTRIBUTES], np.float32)
        hidden = [name in sample.metadata["hidden_attributes"] for name in LABELLED_ATTRIBUTES]
        truth[hidden] = np.nan
        assert np.array_equal(cache.attributes[index], truth, equal_nan=True)
    assert np.isnan(cache.attributes).any(), "some of these faces are occluded"


def test_training_and_validation_share_no_face(tmp_path: Path) -> None:
    data = DataSection(**SMALL)
    train, held_out = (cached_faces(data, split, tmp_path, verbose=False) for split in ("train", "validation"))
    assert len(held_out) == 5
    assert not set(train.sample_ids) & set(held_out.sample_ids)


def test_it_is_made_once_and_another_configuration_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached_faces(DataSection(**SMALL), "train", tmp_path, verbose=False)
    other = cached_faces(DataSection(**{**SMALL, "seed": 1}), "train", tmp_path, verbose=False)
    assert other.folder != first.folder
    monkeypatch.setattr(cache_module, "_make", lambda *_: pytest.fail("made again"))
    again = cached_faces(DataSection(**SMALL), "train", tmp_path, verbose=False)
    assert again.folder == first.folder


def test_processes_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataSection(count=130, validation_count=0, image_size=16)
    alone = cached_faces(data, "train", tmp_path / "alone", verbose=False)
    monkeypatch.setattr(decoding, "IN_PROCESS", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    together = cached_faces(data, "train", tmp_path / "together", verbose=False)
    assert np.array_equal(alone.images, together.images)
    assert np.array_equal(alone.sample_ids, together.sample_ids)
    assert alone.captions == together.captions


def test_several_captions_a_face_begin_with_its_own(tmp_path: Path) -> None:
    cache = cached_faces(DataSection(**SMALL, captions_per_face=3), "train", tmp_path, verbose=False)
    faces = ProceduralFaces(0, 32, count=12)
    assert [several[0] for several in cache.captions] == [faces[index].caption for index in range(12)]
    assert all(len(several) == 3 for several in cache.captions)
    assert any(len(set(several)) == 3 for several in cache.captions)


def test_shards_are_read_and_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    write_shards(ProceduralFaces(0, 32, count=6), tmp_path / "shards", 6)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    data = DataSection(
        source="shards",
        train=[str(tmp_path / "shards"), str(tmp_path / "pictures")],
        validation=[str(tmp_path / "shards")],
        validation_count=4,
        image_size=32,
    )
    cache = cached_faces(data, "train", tmp_path, verbose=False)
    assert len(cache) == 6
    assert sum(cache.skipped.values()) == 1
    assert cache.region_maps is not None
    assert len(cached_faces(data, "validation", tmp_path, verbose=False)) == 4


def test_a_source_without_one_usable_sample_is_named(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no picture")
    data = DataSection(source="shards", train=[str(tmp_path / "pictures")], image_size=32)
    with pytest.raises(InputError, match=r"data\.train: none of its 1 samples can be used"):
        cached_faces(data, "train", tmp_path / "out", verbose=False)
    assert not list((tmp_path / "out" / "cache").iterdir())


def test_a_damaged_cache_says_what_to_do(tmp_path: Path) -> None:
    cache = cached_faces(DataSection(**SMALL), "train", tmp_path, verbose=False)
    (cache.folder / "images.bin").write_bytes(b"short")
    with pytest.raises(InputError, match=r"is not a readable face cache.*remove it"):
        cached_faces(DataSection(**SMALL), "train", tmp_path, verbose=False)


def photos(folder: Path, **grey_and_text: tuple[int, str]) -> None:
    for name, (grey, text) in grey_and_text.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(encode(np.full((32, 32, 3), grey, np.uint8)))
        (folder / f"{name}.txt").write_text(text)


def test_a_folder_that_changes_in_any_way_and_depth_is_read_again(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    deep = root / "a" / "b"
    data = DataSection(source="shards", train=[str(root)], image_size=32)
    folders = []

    def seen() -> list[tuple[int, str]]:
        cache = cached_faces(data, "train", tmp_path / "run", verbose=False)
        folders.append(cache.folder)
        greys = cache.images[:, 0, 0, 0].tolist()
        return list(zip(greys, [captions[0] for captions in cache.captions], strict=True))

    photos(deep, x=(10, "old"), y=(20, "two"))
    assert seen() == [(10, "old"), (20, "two")] == seen()
    assert folders[0] == folders[1]
    (deep / "x.png").write_bytes(encode(np.full((32, 32, 3), 90, np.uint8)))  # changed
    assert seen() == [(90, "old"), (20, "two")]
    (deep / "x.txt").write_text("new")  # a sidecar, of the same size
    assert seen() == [(90, "new"), (20, "two")]
    (deep / "y.json").write_text('{"captions": ["from", "the json"]}')  # a sidecar added
    assert seen() == [(90, "new"), (20, "from")]
    (deep / "y.json").unlink()  # and removed
    assert seen() == [(90, "new"), (20, "two")]
    photos(deep, z=(30, "three"))  # added
    assert seen() == [(90, "new"), (20, "two"), (30, "three")]
    for suffix in ("png", "txt"):
        (deep / f"y.{suffix}").unlink()  # removed
    assert seen() == [(90, "new"), (30, "three")]
    for suffix in ("png", "txt"):
        (deep / f"x.{suffix}").rename(deep / f"zz.{suffix}")  # renamed: another order, another identity
    assert seen() == [(30, "three"), (90, "new")]
    for former, latter in (("z", "t"), ("zz", "z"), ("t", "zz")):
        (deep / f"{former}.png").rename(deep / f"{latter}.png")  # swapped: same names, sizes and times
    assert seen() == [(90, "three"), (30, "new")]


def test_a_shard_put_back_with_its_old_time_is_read_again(tmp_path: Path) -> None:
    shard = tmp_path / "0.tar"
    data = DataSection(source="shards", train=[str(shard)], image_size=32)
    for grey in (10, 99):
        write_members(shard, [("0.bmp", encode(np.full((32, 32, 3), grey, np.uint8), "BMP"))])
        os.utime(shard, ns=(1, 1))  # as `cp -p`, rsync and version control leave it; bitmaps are of one size
        cache = cached_faces(data, "train", tmp_path / "run", verbose=False)
        assert cache.images[0, 0, 0, 0] == grey


def test_captions_of_unequal_number_stay_with_their_pictures(tmp_path: Path) -> None:
    words = ["zero", "one", "two", "three"]
    for number, word in enumerate(words):
        photos(tmp_path / "photos", **{str(number): (60 * number, f"{word} text")})
        texts: Any = [f"{word} {letter}" for letter in "abc"[: 1 + number % 3]]
        fields = {"captions": texts if number != 2 else "two letters"}
        (tmp_path / "photos" / f"{number}.json").write_text(json.dumps(fields))
    data = DataSection(source="shards", train=[str(tmp_path / "photos")], image_size=32)
    cache = cached_faces(data, "train", tmp_path / "run", verbose=False)
    assert cache.captions == [["zero a"], ["one a", "one b"], ["two text"], ["three a"]]
    assert cache.notes == {"bad_captions": 1} and not cache.skipped
