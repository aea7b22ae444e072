"""Mirroring: what it does to a sample, which captions forbid it, whose coin it is."""

from __future__ import annotations

import numpy as np
import pytest

from gptface.data.augmentation import HorizontalFlip, mirrored
from gptface.data.procedural import ProceduralFaces
from gptface.data.sample import Sample
from tests.helpers.image_files import gradient


def face(number: int, caption: str) -> Sample:
    return Sample(gradient(16, 16, number), caption, number)


def test_a_flip_mirrors_picture_regions_landmarks_and_pose_and_leaves_the_source_alone() -> None:
    sample = ProceduralFaces(seed=1, size=48, count=1)[0]
    sample.caption = "a face"
    before = sample.image.copy()
    flipped = mirrored(sample)
    assert np.array_equal(flipped.image, sample.image[:, ::-1]) and flipped.image.flags.c_contiguous
    assert np.array_equal(flipped.region_map, sample.region_map[:, ::-1])
    assert flipped.metadata["landmarks"][30, 0] == pytest.approx(48 - sample.metadata["landmarks"][30, 0], abs=1e-4)
    assert flipped.metadata["pose"]["yaw"] == -sample.metadata["pose"]["yaw"]
    assert flipped.metadata["pose"]["pitch"] == sample.metadata["pose"]["pitch"]
    assert flipped.metadata["flipped"] and "flipped" not in sample.metadata
    assert flipped.sample_id == sample.sample_id and np.array_equal(sample.image, before)


@pytest.mark.parametrize(
    "caption", ["looking to the left", "Right hand raised", "turned leftwards", "her leftmost eye"]
)
def test_captions_that_speak_of_sides_are_not_made_false(caption: str) -> None:
    flip = HorizontalFlip(0)
    epoch = next(epoch for epoch in range(64) if flip.decides(1, epoch))
    sample = face(1, caption)
    assert flip(sample, epoch) is sample
    assert flip(face(1, "bright light, copyright"), epoch).metadata["flipped"]
    other = next(epoch for epoch in range(64) if not flip.decides(1, epoch))
    assert "flipped" not in flip(face(1, "bright light, copyright"), other).metadata


def test_the_coin_belongs_to_seed_epoch_and_sample() -> None:
    flip = HorizontalFlip(7)
    coins = np.array([[flip.decides(sample, epoch) for sample in range(400)] for epoch in range(10)])
    assert abs(coins.mean() - 0.5) < 0.04  # 5 standard deviations of 4,000 coins
    assert 0.4 < (coins[0] == coins[1]).mean() < 0.6
    assert 0.4 < (coins[0] == [HorizontalFlip(8).decides(sample, 0) for sample in range(400)]).mean() < 0.6
    assert [flip.decides(2**63 - 1, epoch) for epoch in range(5)] == [
        HorizontalFlip(7).decides(2**63 - 1, epoch) for epoch in range(5)
    ]
