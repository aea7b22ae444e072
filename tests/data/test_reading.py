"""Samples neither lost nor gained without a word: which files make samples, and what is said of the others."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from gptface.data.batches import FaceBatch, Faces, Needs
from gptface.data.configuration import DataSection
from gptface.data.shards import FaceShards
from gptface.evaluation.face_set import shard_faces
from tests.helpers.archives import write_members
from tests.helpers.image_files import encode, gradient

IMAGE = encode(gradient(32, 32))


def read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Captions (or reasons) by key, and how much was ignored by reason."""
    dataset = FaceShards(path, 32)
    found = [(dataset.key(number), getattr(item, "caption", item)) for number, item in enumerate(dataset)]
    assert len(found) == len({key for key, _ in found})
    return dict(found), dict(dataset.ignored.counts)


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        is_text = name.lower().endswith(".txt")
        (folder / name).write_bytes(f"caption {name}".encode() if is_text else IMAGE)


def test_keys_with_dots_keep_their_samples(tmp_path: Path) -> None:
    members = [("0.png", IMAGE), ("0.txt", b"a"), ("1.v2.png", IMAGE), ("1.v2.txt", b"b"), ("v1.0/2.a.b.JPG", IMAGE)]
    assert read(write_members(tmp_path / "0.tar", members)) == ({"0": "a", "1.v2": "b", "v1.0/2.a.b": ""}, {})


def test_further_pictures_of_a_sample_are_no_faces(tmp_path: Path) -> None:
    names = ("7.jpg", "7.txt", "7.seg.png", "7.depth.left.png", "7.cls.txt", "8.jpg", "8.crop.jpg", "8.crop.txt")
    members = [(name, b"text" if name.endswith("txt") else IMAGE) for name in names]
    expected = {"7": "text", "8": "", "8.crop": "text"}, {"further_part": 3}
    assert read(write_members(tmp_path / "0.tar", members)) == expected
    for name, data in members:
        (tmp_path / "unpacked").mkdir(exist_ok=True)
        (tmp_path / "unpacked" / name).write_bytes(data)
    assert read(tmp_path / "unpacked") == expected


def test_an_unsorted_shard_keeps_its_captions(tmp_path: Path) -> None:
    members = [(f"{n}.png", IMAGE) for n in range(3)] + [(f"{n}.txt", f"face {n}".encode()) for n in (2, 0, 1)]
    expected = {"0": "face 0", "1": "face 1", "2": "face 2"}
    assert read(write_members(tmp_path / "0.tar", members)) == (expected, {})


def test_shards_that_were_joined_keep_the_faces_of_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members = [(f"0.{suffix}", data) for text in (b"one", b"two") for suffix, data in (("png", IMAGE), ("txt", text))]
    dataset = FaceShards(write_members(tmp_path / "0.tar", members), 32)
    assert [sample.caption for sample in dataset] == ["one", "two"]
    assert len(set(dataset.sample_ids.tolist())) == 2 and "1 of 2 keys occur" in caplog.text


def test_archives_joined_by_cat_are_not_cut_in_silence(tmp_path: Path) -> None:
    one, two = (write_members(tmp_path / f"{n}.tar", [(f"{n}.png", IMAGE)]) for n in "12")
    one.write_bytes(one.read_bytes() + two.read_bytes())
    dataset = FaceShards(one, 32)
    assert len(dataset) == 1 and "--concatenate" in dataset.problems[0]
    assert not FaceShards(two, 32).problems


def test_hidden_files_and_folders_are_no_data(tmp_path: Path) -> None:
    names = ("0.png", ".1.png", "._0.png", ".ipynb_checkpoints/0.png", "a/.trash/b/2.png", "a/3.png")
    put(tmp_path / "folder", *names)
    assert read(tmp_path / "folder") == ({"0": "", "a/3": ""}, {"hidden": 4})
    shard = write_members(tmp_path / "0.tar", [(f"./{name}", IMAGE) for name in names])
    assert read(shard) == ({"0": "", "a/3": ""}, {"hidden": 4})


def test_linked_folders_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    put(tmp_path / "data", "own/0.png")
    put(tmp_path / "elsewhere", "1.png", "1.txt")
    for name, target in (
        ("a-link", tmp_path / "elsewhere"),
        ("b-same", tmp_path / "elsewhere"),
        ("a-own", tmp_path / "data" / "own"),  # before "own" by name, but what lies there by itself goes first
        ("own/up", tmp_path / "data"),
        ("gone", tmp_path / "nowhere"),
        ("gone.png", tmp_path / "nowhere.png"),
        ("self.png", tmp_path / "data" / "self.png"),
    ):
        (tmp_path / "data" / name).symlink_to(target)
    expected = {"own/0": "", "a-link/1": "caption 1.txt"}
    assert read(tmp_path / "data") == (expected, {"folder_again": 3, "broken_link": 2, "other_file": 1})


def test_suffixes_count_in_any_case_and_the_first_of_several(tmp_path: Path) -> None:
    put(tmp_path, "A.PNG", "A.TXT", "b.png", "b.TXT", "b.txt", "b.webp", "c.txt")
    found, ignored = read(tmp_path)
    assert found == {"A": "caption A.TXT", "b": "caption b.TXT"}
    assert ignored == {"second_part": 2, "no_image": 1}


def test_a_folder_is_all_shards_and_images_in_any_depth(tmp_path: Path) -> None:
    put(tmp_path, "0.png", "deep/er/1.png", "README.md", "old.tar.gz")
    write_members(tmp_path / "00000.tar", [("2.png", IMAGE)])
    (tmp_path / "00000_stats.json").write_text("{}")  # img2dataset's record of a shard
    (tmp_path / "00000.parquet").write_text("")
    write_members(tmp_path / "a" / "b" / "00000.TAR", [("3.png", IMAGE)])
    found, ignored = read(tmp_path)
    assert list(found) == ["2", "3", "0", "deep/er/1"]
    assert ignored == {"other_file": 1, "compressed_shard": 1}
    for name in ("0.png", "deep/er/1.png"):
        (tmp_path / name).unlink()
    put(tmp_path, "notes.txt")
    assert read(tmp_path) == ({"2": "", "3": ""}, {"other_file": 1, "compressed_shard": 1, "no_image": 1})


def test_links_in_a_shard_are_said(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        member = tarfile.TarInfo("0.png")
        member.size = len(IMAGE)
        archive.addfile(member, io.BytesIO(IMAGE))
        for name, kind in (("1.png", tarfile.LNKTYPE), ("2.png", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "0.png"
            archive.addfile(member)
    assert read(tmp_path / "0.tar") == ({"0": ""}, {"link_in_shard": 2})


def faults(folder: Path) -> DataSection:
    """Three usable faces (one without a caption, one with odd captions), one broken, two things that are ignored."""
    put(folder, "0.png", "0.txt", "1.png", "2.png", "2.txt", ".hidden.png", "README.md")
    (folder / "2.json").write_text('{"captions": 5}')
    (folder / "3.png").write_bytes(b"no picture")
    return DataSection(source="shards", train=[str(folder)], image_size=32, flip=False)


def keep(batch: FaceBatch) -> FaceBatch:
    return batch


SAID = [
    "noted 1 missing_caption (",
    "noted 1 bad_captions (",
    "ignored 1 hidden (",
    "such as .hidden.png",
    "ignored 1 other_file (",
    "such as README.md",
]


@pytest.mark.parametrize("times", [1, 2])
def test_a_cached_source_says_once_what_was_read_skipped_and_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], times: int
) -> None:
    data = faults(tmp_path / "photos")
    for _ in range(times):
        capsys.readouterr()
        Faces(data, "train", tmp_path / "run")
    said = capsys.readouterr().err
    assert "faces (train): 3 faces of 4 samples in 1 folder of images" in said
    for words in [*SAID, "skipped 1 not_an_image ("]:
        assert said.count(words) == 1, words


def test_a_streamed_source_says_it_when_it_is_opened_and_after_its_first_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = faults(tmp_path / "photos").model_copy(update={"cache": False})
    batches = Faces(data, "train", tmp_path / "run").batches(Needs(), keep, batch_size=2, seed=0)
    said = capsys.readouterr().err
    assert "faces (train): 4 samples in 1 folder of images" in said
    assert all(words in said for words in SAID[2:])
    next(batches)
    assert not capsys.readouterr().err
    next(batches)
    said = capsys.readouterr().err
    assert "of 4 samples read, skipped 1 not_an_image; noted 1 missing_caption, 1 bad_captions" in said or (
        "of 4 samples read, skipped 1 not_an_image; noted 1 bad_captions, 1 missing_caption" in said
    )
    for _ in range(4):
        next(batches)
    assert not capsys.readouterr().err
    for words in ("skipped (not_an_image): ", "noted (missing_caption): 1 (", "noted (bad_captions): 2 ("):
        assert caplog.text.count(words) == 1


def test_faces_to_measure_on_say_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults(tmp_path / "photos")
    assert len(shard_faces([str(tmp_path / "photos")], 32).images) == 3
    said = capsys.readouterr().err
    assert all(words in said for words in [*SAID, "skipped 1 not_an_image ("])


def test_a_clean_source_says_that_nothing_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_members(tmp_path / "0.tar", [("0.png", IMAGE), ("0.txt", b"a face")])
    Faces(DataSection(source="shards", train=[str(tmp_path)], image_size=32), "train", tmp_path / "run")
    said = capsys.readouterr().err
    assert "1 faces of 1 samples in 1 shard" in said and "nothing skipped, noted or ignored" in said


def test_held_out_faces_that_are_trained_on_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("0.tar", "val/1.tar"):
        write_members(tmp_path / "data" / name, [(f"{name}.png", IMAGE)])
    everything, apart, held_out = (str(tmp_path / "data" / name) for name in (".", "0.tar", "val"))
    for train, said in ((apart, False), (everything, True)):
        data = DataSection(source="shards", train=[train], validation=[held_out], image_size=32)
        Faces(data, "validation", tmp_path / "run", verbose=False)
        assert ("data.validation: 1 of its shards and images are in data.train too" in caplog.text) is said
