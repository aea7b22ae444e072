"""Pictures with two dark eyes whose five landmarks move with them, as shards and a file of points."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards

__all__ = ["write_dotted_faces"]

# Eyes, nose and corners of the mouth about the middle of the face, in shares of the side.
SHAPE = np.array([(-0.18, -0.1), (0.18, -0.1), (0, 0.05), (-0.12, 0.2), (0.12, 0.2)])


def write_dotted_faces(folder: Path, count: int, *, side: int = 24, first: int = 0, colour: bool = False) -> None:
    """``folder/*.tar`` of ``count`` faces, person ``first`` and on, and ``folder/points.npz``."""
    generator = np.random.default_rng(first)
    rows, columns = np.mgrid[:side, :side] + 0.5
    samples, points = [], []
    for number in range(count):
        own = (0.5 + generator.uniform(-0.15, 0.15, 2) + SHAPE) * side
        image = generator.normal(170, 8, (side, side))
        for x, y in own[:2]:
            image -= 120 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (side / 10) ** 2)
        picture = np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        picture[..., 2] ^= np.uint8(colour)
        samples.append(Sample(picture, "a face", number, {"person": first + number}))
        points.append(own)
    write_shards(samples, folder)
    keys = np.array([f"{number:09d}" for number in range(count)])
    np.savez(folder / "points.npz", key=keys, points=np.array(points, dtype=np.float32))
