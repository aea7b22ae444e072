"""Drawn faces as shards of photos: two of each person, at rest and smiling, with 68 landmarks, and who made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.morphable import FaceParameters, MorphableModel, draw, project_landmarks

__all__ = ["drawn_pairs", "write_drawn_photos"]

SIDE = 40


def drawn_pairs(model: MorphableModel, people: int, seed: int = 0) -> FaceParameters:
    """``2 · people`` heads, each person at rest and then smiling, filling the picture."""
    generator = torch.Generator().manual_seed(seed)
    heads = FaceParameters.neutral(model, 2 * people)
    identity = torch.randn(people, len(model.identity_names), generator=generator).repeat_interleave(2, 0)
    smile = model.weights("expression", {"mouthSmile_L": 0.9, "mouthSmile_R": 0.9})
    moved = (torch.rand(2 * people, 3, generator=generator) - 0.5) * torch.tensor([1.0, 1.0, 4.0])
    return heads.replace(
        identity=identity,
        expression=torch.cat((0 * smile, smile)).repeat(people, 1),
        translation=heads.translation * torch.tensor([1.0, 1.0, 0.75]) + moved,
    )


def write_drawn_photos(folder: Path, model: MorphableModel, people: int, first: int = 0) -> FaceParameters:
    """``folder/*.tar`` and ``folder/points.npz`` of people ``first`` and on; the heads in the photos' order."""
    heads = drawn_pairs(model, people, first)
    images = draw(model, heads, SIDE, SIDE, background=torch.full((SIDE, SIDE, 3), 0.4)).image
    samples = [
        Sample(
            (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
            "a smiling face" if number % 2 else "a face at rest",
            number,
            {"person": first + number // 2, "expression": "happiness" if number % 2 else "neutral"},
        )
        for number, picture in enumerate(images)
    ]
    write_shards(samples, folder)
    points = project_landmarks(model, heads, SIDE, SIDE).numpy()
    keys = np.array([f"{number:09d}" for number in range(len(samples))])
    np.savez(folder / "points.npz", key=keys, points=points)
    return heads
