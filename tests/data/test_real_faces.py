"""The real-face shards, read whole (skipped where they are absent)."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gptface.data.loader import ResumableLoader
from gptface.data.order import Position
from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.data.text import encode_captions, train_text_tokenizer

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
