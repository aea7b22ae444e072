"""The face parser: shapes, size, gradients, and that it can learn what it is for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from gptface.errors import InputError
from gptface.models import FaceParser, FaceParserConfig
from gptface.objectives import parsing_losses

NAMES = {
    "region_names": ["background", "dim", "bright"],
    "attribute_names": ["Bright", "Left"],
    "expression_names": ["red", "green", "blue"],
}


def test_shapes_and_gradients() -> None:
    model = FaceParser(FaceParserConfig.tiny(**NAMES))
    output = model(torch.rand(2, 3, 32, 32) * 2 - 1)
    assert output.region_logits.shape == (2, 3, 32, 32)
    assert output.attribute_logits.shape == (2, 2)
    assert output.expression_logits.shape == (2, 3)
    (output.region_logits.sum() + output.attribute_logits.sum() + output.expression_logits.sum()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.regions(torch.zeros(2, 3, 32, 32)).shape == (2, 32, 32)


def test_without_attributes_or_expressions() -> None:
    output = FaceParser(FaceParserConfig.tiny())(torch.zeros(2, 3, 32, 32))
    assert output.attribute_logits.shape == (2, 0)
    assert output.expression_logits.shape == (2, 0)


def test_the_default_is_small() -> None:
    config = FaceParserConfig(
        region_names=[f"region {index}" for index in range(13)],
        attribute_names=[f"attribute {index}" for index in range(24)],
        expression_names=[f"expression {index}" for index in range(7)],
    )
    assert sum(parameter.numel() for parameter in FaceParser(config).parameters()) <= 400_000


def squares(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A coloured square in the left or the right half: its region is its brightness; its side; its colour."""
    generator = torch.Generator().manual_seed(0)
    images = torch.full((count, 3, 32, 32), -1.0)
    regions = torch.zeros(count, 32, 32, dtype=torch.int64)
    right = torch.randint(0, 2, (count,), generator=generator)
    bright = torch.randint(0, 2, (count,), generator=generator)
    colour = torch.randint(0, 3, (count,), generator=generator)
    for row in range(count):
        top = int(torch.randint(2, 20, (), generator=generator))
        left = 4 + 16 * int(right[row])
        images[row, int(colour[row]), top : top + 8, left : left + 8] = 1.0 if bright[row] else 0.0
        regions[row, top : top + 8, left : left + 8] = 1 + bright[row]
    return images, regions, torch.stack([bright, 1 - right], dim=1), colour


@pytest.mark.slow
def test_it_learns_regions_attributes_and_expressions() -> None:
    torch.manual_seed(0)
    model = FaceParser(FaceParserConfig.tiny(**NAMES))
    images, regions, attributes, colours = squares(48)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    # Rates fall to nothing, as in every training here: while weights move, the spreads that are kept lag behind.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for _ in range(100):
        output = model(images)
        loss = parsing_losses(
            output.region_logits,
            output.attribute_logits,
            output.expression_logits,
            regions,
            attributes,
            colours,
            region_weights=torch.tensor([0.1, 1.0, 1.0]),  # the squares are a sixteenth of the picture
        )["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    output = model(images)
    assert ((output.attribute_logits > 0) == attributes.bool()).float().mean() > 0.95
    assert (output.expression_logits.argmax(-1) == colours).float().mean() > 0.95
    found = model.regions(images)
    for label in (1, 2):
        overlap = ((found == label) & (regions == label)).sum() / ((found == label) | (regions == label)).sum()
        assert overlap > 0.6


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image_size": 30}, "image_size 30 is not a multiple of 4"),
        ({"region_names": []}, "region_names"),
        ({"attribute_names": ["a", "a"]}, "attribute_names must not repeat"),
        ({"stem_stride": 0}, "stem_stride must be an integer of at least 1, got 0"),
        ({"channels": [0]}, "channels"),
    ],
)
def test_impossible_configurations(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FaceParserConfig.tiny(**overrides)


def test_images_of_another_size() -> None:
    with pytest.raises(InputError, match=r"images must have shape \(B, 3, 32, 32\), got \(1, 3, 64, 64\)"):
        FaceParser(FaceParserConfig.tiny())(torch.zeros(1, 3, 64, 64))


def train_apart(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = FaceParser(FaceParserConfig.tiny(**NAMES)).train()
    dist.init_process_group("gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=2)
    own = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(rank)) * 2 - 1
    model(own)
    torch.save(model.pool_norm.state_dict(), f"{directory}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or sys.platform == "win32", reason="needs the gloo backend")
def test_processes_keep_the_same_spreads_of_different_batches(tmp_path: Path) -> None:
    multiprocessing.spawn(train_apart, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert bool((first["running_mean"] != 0).any())
    for name in ("running_mean", "running_var"):
        assert torch.equal(first[name], second[name])
