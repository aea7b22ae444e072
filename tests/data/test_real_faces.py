"""The real-face shards, read whole (skipped where they are absent)."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gptface.data.configuration import DataSection
from gptface.data.known_regions import KnownRegions
from gptface.data.loader import ResumableLoader
from gptface.data.order import Position
from gptface.data.sample import Sample, Skipped
from gptface.data.shards import FaceShards
from gptface.data.sources import open_faces
from gptface.data.text import encode_captions, train_text_tokenizer
from gptface.faces.regions import REGIONS, region_label

pytestmark = pytest.mark.faces


@pytest.mark.slow
def test_all_samples_are_there_and_decode(faces_directory: Path) -> None:
    for pattern, expected in (("train-*.tar", 10_707), ("val-*.tar", 748)):
        dataset = FaceShards(str(faces_directory / pattern), 64)
        assert len(dataset) == expected and not dataset.problems
        assert len(set(dataset.sample_ids.tolist())) == expected
        started = time.monotonic()
        expressions: Counter[str] = Counter()
        for sample in dataset:
            assert isinstance(sample, Sample), sample
            assert sample.image.shape == (64, 64, 3) and sample.image.dtype == np.uint8
            assert sample.caption and "reading_notes" not in sample.metadata
            assert isinstance(sample.metadata["person"], int)
            expressions[sample.metadata["expression"]] += 1
        rate = expected / (time.monotonic() - started)
        print(f"{pattern}: {rate:.0f} samples/s, {dict(expressions)}")
        assert rate > 200  # about 3,000 on one free core; this bound only catches reading gone wrong
        if expected == 10_707:
            assert len(expressions) == 8
            assert (expressions["neutral"], expressions["happiness"]) == (5_505, 4_438)


def test_train_and_validation_share_no_person(faces_directory: Path) -> None:
    people = [
        {sample.metadata["person"] for sample in FaceShards(str(faces_directory / pattern), 16)}
        for pattern in ("train-00000.tar", "val-*.tar")
    ]
    assert people[0] and people[1] and not people[0] & people[1]


def test_an_epoch_over_two_ranks_is_every_validation_face_once(faces_directory: Path) -> None:
    dataset = FaceShards(faces_directory / "val-00000.tar", 32)
    tokenizer = train_text_tokenizer((sample.caption for sample in dataset), 500)
    ranks = [
        ResumableLoader(dataset, Position(len(dataset), seed=0, batch_size=22, rank=rank, world_size=2), list)
        for rank in range(2)
    ]
    samples = [sample for _ in range(748 // 44) for loader in ranks for sample in next(loader)]
    assert sorted(sample.sample_id for sample in samples) == sorted(dataset.sample_ids.tolist())
    lengths = encode_captions(tokenizer, [sample.caption for sample in samples], 64)[1]
    assert lengths.min() >= 1 and lengths.max() <= 16  # sixteen pieces lose nothing of these captions


def test_the_mesh_gives_region_maps_to_the_photos_it_was_found_on(faces_directory: Path) -> None:
    data = DataSection(
        source="shards",
        train=[str(faces_directory / "val-*.tar")],
        landmarks=[str(faces_directory / "landmarks468_val.npz")],
        image_size=96,
    )
    faces = open_faces(data, "train")
    assert isinstance(faces, KnownRegions) and faces.remarks == ["landmarks of 740 of 748 samples in data.landmarks"]
    reasons: Counter[str] = Counter()
    for index in range(0, len(faces), 7):
        sample = faces[index]
        if isinstance(sample, Skipped):
            reasons[sample.reason] += 1
            continue
        assert sample.region_map is not None
        counts = np.bincount(sample.region_map.ravel(), minlength=len(REGIONS)) / 96**2
        for name, least in (("skin", 0.2), ("nose", 0.01), ("mouth", 0.005), ("brows", 0.002), ("eyes", 0.002)):
            assert counts[region_label(name)] > least, (index, name)
    assert set(reasons) <= {"no_landmarks"}
