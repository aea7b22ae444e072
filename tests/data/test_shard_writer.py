from __future__ import annotations

import errno
import json
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest

from gptface.data import shard_writer
from gptface.data.procedural import ProceduralFaces
from gptface.data.sample import Sample, Skipped
from gptface.data.shard_writer import write_shards
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from tests.helpers.image_files import gradient


class Portraits:
    """Deterministic samples with everything a sample can have; counts what is asked of it."""

    def __init__(self, count: int, skip: tuple[int, ...] = (), fail_at: int | None = None) -> None:
        self.count, self.skip, self.fail_at = count, skip, fail_at
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample | Skipped:
        self.read.append(index)
        if index == self.fail_at:
            raise KeyboardInterrupt
        if index in self.skip:
            return Skipped(str(index), "too_small")
        landmarks = np.array([[index, 1.5], [2, 3]], np.float32)
        metadata = {"expression": "anger", "landmarks": landmarks, "score": np.float32(0.5), "key": "elsewhere"}
        return Sample(
            gradient(32, 32, index), f"café {index} 😀", index, metadata, np.full((32, 32), index % 13, np.uint8)
        )


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    source = Portraits(7)
    paths = write_shards(source, tmp_path, per_shard=3)
    assert [path.name for path in paths] == ["00000.tar", "00001.tar", "00002.tar"]
    dataset = FaceShards(tmp_path)
    assert len(dataset) == 7
    for index, sample in enumerate(dataset):
        assert isinstance(sample, Sample)
        assert np.array_equal(sample.image, source[index].image)
        assert np.array_equal(sample.region_map, source[index].region_map)
        assert sample.caption == f"café {index} 😀"
        assert sample.metadata == {
            "expression": "anger",
            "landmarks": [[index, 1.5], [2, 3]],
            "score": 0.5,
            "width": 32,
            "height": 32,
            "key": f"{index:09d}",
        }


def test_the_layout_is_img2dataset_s(tmp_path: Path) -> None:
    write_shards(Portraits(2), tmp_path, format="jpg")
    with tarfile.open(tmp_path / "00000.tar") as archive:
        names = archive.getnames()
    assert names == [f"{index:09d}.{part}" for index in range(2) for part in ("jpg", "json", "regions.png", "txt")]
    assert json.loads((tmp_path / "00000_stats.json").read_text())["count"] == 2


@pytest.mark.parametrize(("format", "tolerance"), [("png", 0), ("webp", 4), ("jpg", 3)])
def test_formats(tmp_path: Path, format: str, tolerance: float) -> None:
    write_shards(Portraits(1), tmp_path, format=format)
    assert np.abs(FaceShards(tmp_path)[0].image.astype(int) - gradient(32, 32, 0)).mean() <= tolerance


def test_identity_does_not_depend_on_the_sharding(tmp_path: Path) -> None:
    write_shards(Portraits(6), tmp_path / "a", per_shard=2)
    write_shards(Portraits(6), tmp_path / "b", per_shard=4)
    assert np.array_equal(FaceShards(tmp_path / "a").sample_ids, FaceShards(tmp_path / "b").sample_ids)


def test_workers_and_repetition_give_the_same_bytes(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_shards(Portraits(9), tmp_path / "a", per_shard=2)
    write_shards(Portraits(9), tmp_path / "b", per_shard=2, workers=2, progress=lambda *call: calls.append(call))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert calls[-1] == (9, 9) and [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    broken = Portraits(10, fail_at=7)
    with pytest.raises(KeyboardInterrupt):
        write_shards(broken, tmp_path / "a", per_shard=3)
    assert sorted(contents(tmp_path / "a")) == ["00000.tar", "00000_stats.json", "00001.tar", "00001_stats.json"]
    rest = Portraits(10)
    calls: list[tuple[int, int]] = []
    write_shards(rest, tmp_path / "a", per_shard=3, progress=lambda *call: calls.append(call))
    assert rest.read == [6, 7, 8, 9]
    assert calls[0] == (6, 10) and calls[-1] == (10, 10)
    write_shards(Portraits(10), tmp_path / "b", per_shard=3)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    "change", [{"format": "jpg"}, {"signature": "seed 2"}, {"per_shard": 4}, {"format": "jpg", "quality": 50}]
)
def test_shards_made_otherwise_are_made_anew(tmp_path: Path, change: dict[str, object]) -> None:
    options = {"per_shard": 5, "signature": "seed 1"}
    write_shards(Portraits(5), tmp_path, **options)
    again = Portraits(5)
    write_shards(again, tmp_path, **options)
    assert again.read == []
    if change == {"per_shard": 4}:
        write_shards(again, tmp_path, **{**options, **change})
        assert len(FaceShards(tmp_path)) == 5
    else:
        write_shards(again, tmp_path, **{**options, **change})
    assert again.read == [0, 1, 2, 3, 4]


def test_a_shard_that_was_cut_short_is_not_taken_for_complete(tmp_path: Path) -> None:
    write_shards(Portraits(4), tmp_path, per_shard=2)
    with (tmp_path / "00001.tar").open("r+b") as file:
        file.truncate(1000)
    again = Portraits(4)
    write_shards(again, tmp_path, per_shard=2)
    assert again.read == [2, 3] and len(FaceShards(tmp_path)) == 4


def test_shards_of_another_data_set_are_not_mixed_in(tmp_path: Path) -> None:
    write_shards(Portraits(6), tmp_path, per_shard=2)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"00002\.tar"):
        write_shards(Portraits(4), tmp_path, per_shard=2)
    assert contents(tmp_path) == before


def test_skipped_samples_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        write_shards(Portraits(4, skip=(1, 2)), tmp_path)
    assert [sample.metadata["key"] for sample in FaceShards(tmp_path)] == ["000000000", "000000003"]
    assert "left out 2 too_small" in caplog.text
    assert json.loads((tmp_path / "00000_stats.json").read_text())["left_out"] == {"too_small": 2}


def test_bad_arguments(tmp_path: Path) -> None:
    for arguments, message in (
        ((Portraits(0), tmp_path), "no samples"),
        ((Portraits(3), tmp_path, 0), "per_shard: 0"),
        ((Portraits(3), tmp_path, 2, "gif"), "'gif'"),
    ):
        with pytest.raises(InputError, match=message):
            write_shards(*arguments)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_half_written_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write(self: object, parts: dict[str, object]) -> None:
        written.append(parts)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_writer.TarWriter, "write", write)
    with pytest.raises(OSError, match="No space left"):
        write_shards(Portraits(6), tmp_path, per_shard=3)
    assert sorted(contents(tmp_path)) == ["00000.tar", "00000_stats.json"]


def test_procedural_faces_survive_the_shards(tmp_path: Path) -> None:
    faces = ProceduralFaces(seed=3, size=48, count=4)
    write_shards(faces, tmp_path, workers=0)
    for face, read in zip((faces[i] for i in range(4)), FaceShards(tmp_path, 48), strict=True):
        assert isinstance(read, Sample)
        assert np.array_equal(face.image, read.image) and np.array_equal(face.region_map, read.region_map)
        assert face.caption == read.caption
        assert face.metadata["attributes"] == read.metadata["attributes"]
        assert np.allclose(face.metadata["landmarks"], read.metadata["landmarks"])
    half = FaceShards(tmp_path, 24)[0]
    assert np.allclose(half.metadata["landmarks"], faces[0].metadata["landmarks"] / 2, atol=1e-4)
