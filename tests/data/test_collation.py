from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.data.augmentation import HorizontalFlip
from gptface.data.collation import ImageBatch, ImageCollator, PairCollator, stack_images
from gptface.data.procedural import ProceduralFaces
from gptface.data.sample import Sample
from gptface.data.text import encode_captions, train_text_tokenizer
from gptface.errors import InputError
from gptface.faces.region_grid import region_grid
from tests.helpers.image_files import gradient


def face(number: int, caption: str = "a face", **metadata: object) -> Sample:
    labels = np.random.default_rng(number).integers(0, 13, (16, 16)).astype(np.uint8)
    return Sample(gradient(16, 16, number), caption, number, metadata, labels)


def test_images_are_scaled_to_minus_one_and_one_exactly() -> None:
    image = np.zeros((1, 3, 3), np.uint8)
    image[0, 0], image[0, 2] = 255, (0, 51, 204)
    batch = stack_images([Sample(image, "", 0)])
    assert batch.shape == (1, 3, 1, 3) and batch.dtype == torch.float32 and batch.is_contiguous()
    assert batch[0, :, 0, 0].tolist() == [1, 1, 1] and batch[0, :, 0, 1].tolist() == [-1, -1, -1]
    assert torch.allclose(batch[0, :, 0, 2], torch.tensor([-1, -0.6, 0.6]))
    back = ((batch[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert np.array_equal(back, image)


def test_images_of_several_sizes_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="read the data set with a size"):
        stack_images([Sample(gradient(16, 16), "", 0), Sample(gradient(16, 8), "", 1)])


def test_image_batches() -> None:
    batch = ImageCollator()([face(5, key="five"), face(2**63 - 1)])
    assert batch.sample_ids.tolist() == [5, 2**63 - 1] and batch.sample_ids.dtype == torch.int64
    assert batch.keys == ["five", str(2**63 - 1)] and len(batch) == 2
    moved = batch.to("cpu")
    assert isinstance(moved, ImageBatch) and moved.keys == batch.keys and torch.equal(moved.images, batch.images)


def test_pair_batches() -> None:
    captions = ["a smiling man", "", "a woman"]
    tokenizer = train_text_tokenizer(captions * 3, 60)
    samples = [face(number, caption) for number, caption in enumerate(captions)]
    batch = PairCollator(tokenizer, 6, (4, 4))(samples)
    ids, lengths = encode_captions(tokenizer, captions, 6)
    assert torch.equal(batch.text_ids, ids) and torch.equal(batch.text_lengths, lengths)
    assert batch.captions == captions and batch.codes is None and batch.images.shape == (3, 3, 16, 16)
    assert batch.region_grid.shape == (3, 16) and batch.region_grid.dtype == torch.int64
    assert batch.region_grid[1].tolist() == region_grid(samples[1].region_map, (4, 4)).tolist()
    assert PairCollator(tokenizer, 6)(samples).region_grid is None
    samples[2].region_map = None
    assert PairCollator(tokenizer, 6, (4, 4))(samples).region_grid is None


def test_a_flip_mirrors_picture_regions_landmarks_and_pose_and_leaves_the_source_alone() -> None:
    sample = ProceduralFaces(seed=1, size=48, count=1)[0]
    sample.caption = "a face"
    before = sample.image.copy()
    flipped = HorizontalFlip(0, probability=1)(sample, 0)
    assert np.array_equal(flipped.image, sample.image[:, ::-1]) and flipped.image.flags.c_contiguous
    assert np.array_equal(flipped.region_map, sample.region_map[:, ::-1])
    assert flipped.metadata["landmarks"][30, 0] == pytest.approx(48 - sample.metadata["landmarks"][30, 0], abs=1e-4)
    assert flipped.metadata["pose"]["yaw"] == -sample.metadata["pose"]["yaw"]
    assert flipped.metadata["pose"]["pitch"] == sample.metadata["pose"]["pitch"]
    assert flipped.metadata["flipped"] and "flipped" not in sample.metadata
    assert flipped.sample_id == sample.sample_id and np.array_equal(sample.image, before)
    assert HorizontalFlip(0, probability=0)(sample, 0) is sample


@pytest.mark.parametrize(
    "caption", ["looking to the left", "Right hand raised", "turned leftwards", "her leftmost eye"]
)
def test_captions_that_speak_of_sides_are_not_made_false(caption: str) -> None:
    sample = face(1, caption)
    assert HorizontalFlip(0, probability=1)(sample, 0) is sample
    assert HorizontalFlip(0, probability=1)(face(1, "bright light, copyright"), 0).metadata["flipped"]


def test_the_coin_belongs_to_seed_epoch_and_sample() -> None:
    flip = HorizontalFlip(7)
    coins = np.array([[flip.decides(sample, epoch) for sample in range(400)] for epoch in range(10)])
    assert abs(coins.mean() - 0.5) < 0.04  # 5 standard deviations of 4,000 coins
    assert 0.4 < (coins[0] == coins[1]).mean() < 0.6
    assert 0.4 < (coins[0] == [HorizontalFlip(8).decides(sample, 0) for sample in range(400)]).mean() < 0.6
    assert [flip.decides(2**63 - 1, epoch) for epoch in range(5)] == [
        HorizontalFlip(7).decides(2**63 - 1, epoch) for epoch in range(5)
    ]
    assert abs(np.mean([HorizontalFlip(7, 0.1).decides(s, 0) for s in range(2000)]) - 0.1) < 0.04
    with pytest.raises(InputError, match="probability"):
        HorizontalFlip(0, 1.5)
