"""What stands behind a drawn head: strips from the borders of photos, or smooth noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gptface.data.paths import expand_paths
from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.integers import whole_number

__all__ = ["Backgrounds", "NoiseBackgrounds", "PhotoBackgrounds", "uniform_rows"]

PHOTO_SIDE = 128
"""Pixels of the photos from which strips are cut."""
_GRIDS = (2, 4, 8, 16)
_NOISE_STREAM, _PHOTO_STREAM = 11, 12


def uniform_rows(seed: int, numbers: Sequence[int], count: int, stream: int) -> np.ndarray:
    """``count`` uniform numbers in (0, 1) for every sample: float64 ``(len(numbers), count)``.

    Row r depends on (seed, numbers[r], stream) alone: raw words of Philox4x64-10, which NumPy keeps the same in all
    versions; samples and streams never overlap.
    """
    rows = np.empty((len(numbers), count))
    for row, number in zip(rows, numbers, strict=True):
        words = np.random.Philox(key=np.array([seed, number], np.uint64), counter=stream << 128).random_raw(count)
        row[:] = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return rows


class Backgrounds(Protocol):
    """Pictures without a head, a sample's always the same."""

    def pictures(self, seed: int, numbers: Sequence[int], size: int) -> Tensor:
        """Float32 ``(B, size, size, 3)``, sRGB, 0 to 1."""
        ...


class NoiseBackgrounds:
    """Smooth noise about a random colour, from a plain wall to a dappled garden."""

    def pictures(self, seed: int, numbers: Sequence[int], size: int) -> Tensor:
        """Float32 ``(B, size, size, 3)``, sRGB, 0 to 1."""
        sizes = [grid * grid * 3 for grid in _GRIDS]
        draws = torch.from_numpy(uniform_rows(seed, numbers, 8 + sum(sizes), _NOISE_STREAM)).float()
        head, *lattices = draws.split([8, *sizes], 1)
        level = head[:, 0:1] + 0.25 * (head[:, 1:4] - 0.5)  # brightness, and a tint
        picture = level[:, :, None, None].expand(-1, -1, size, size).clone()
        colour = head[:, 4, None, None, None]  # 0: grey noise
        for index, (grid, lattice) in enumerate(zip(_GRIDS, lattices, strict=True)):
            values = lattice.reshape(-1, 3, grid, grid) - 0.5
            values = colour * values + (1 - colour) * values[:, :1]
            strength = 0.7 * head[:, 5, None, None, None] * head[:, 6, None, None, None] ** index
            picture += strength * interpolate(values, (size, size), mode="bicubic", align_corners=True)
        return picture.clamp(0, 1).movedim(1, -1)


class PhotoBackgrounds:
    """Strips of photos beside the head, mirrored until they fill a square.

    Args:
        images: uint8 ``(H, W, 3)`` photos of faces; the middle of the picture is taken to be the face.
        count: at most as many backgrounds, one a photo.

    Raises:
        InputError: no photo, or one smaller than 8 pixels.
    """

    def __init__(self, images: Iterable[np.ndarray], count: int = 512) -> None:
        strips = [_strip(image, index) for index, image in enumerate(islice(images, whole_number(count, "count")))]
        if not strips:
            raise InputError("backgrounds: there is no photo to take them from")
        self._squares = torch.stack(strips)

    @classmethod
    def of_files(cls, paths: Sequence[str], count: int = 512) -> PhotoBackgrounds:
        """From photos as any training takes them: folders of pictures, or webdataset shards.

        Raises:
            InputError: no such files, or nothing usable in them.
        """
        samples = FaceShards(expand_paths(list(paths), "backgrounds"), PHOTO_SIDE)

        def pictures() -> Iterator[np.ndarray]:
            # Photos from all over the files: neighbours are often of one person or place.
            step = max(1, len(samples) // count)
            for index in range(0, len(samples), step):
                item = samples[index]
                if isinstance(item, Sample):
                    yield item.image

        return cls(pictures(), count)

    def __len__(self) -> int:
        return len(self._squares)

    def pictures(self, seed: int, numbers: Sequence[int], size: int) -> Tensor:
        """Float32 ``(B, size, size, 3)``, sRGB, 0 to 1: a strip, perhaps mirrored, darker or brighter."""
        draws = uniform_rows(seed, numbers, 4, _PHOTO_STREAM)
        squares = self._squares[torch.from_numpy((draws[:, 0] * len(self._squares)).astype(np.int64))]
        picture = interpolate(
            squares.movedim(-1, 1).float() / 255, (size, size), mode="bilinear", align_corners=False
        ).movedim(1, -1)
        turned = torch.from_numpy(draws[:, 1] < 0.5)[:, None, None, None]
        upset = torch.from_numpy(draws[:, 2] < 0.2)[:, None, None, None]
        picture = torch.where(turned, picture.flip(2), picture)
        picture = torch.where(upset, picture.flip(1), picture)
        gain = torch.from_numpy(0.7 + 0.5 * draws[:, 3]).float()[:, None, None, None]
        return (picture * gain).clamp(0, 1)


_SIDE = 64


def _strip(image: np.ndarray, index: int) -> Tensor:
    """A square uint8 ``(64, 64, 3)`` from the left or the right border of a photo, by turns."""
    height, width = image.shape[:2]
    if height < 8 or width < 8:
        raise InputError(f"backgrounds: a photo has {height} × {width} pixels; it must have at least 8 × 8")
    across = max(2, width // 6)
    high = max(4, int(0.7 * height))  # below are shoulders
    strip = image[:high, :across] if index % 2 == 0 else image[:high, width - across :]
    pair = np.concatenate((strip, strip[:, ::-1]), 1)
    times = -(-high // pair.shape[1])
    square = torch.from_numpy(np.ascontiguousarray(np.tile(pair, (1, times, 1))[:, :high])).movedim(-1, 0)[None].float()
    resized = interpolate(square, (_SIDE, _SIDE), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].movedim(0, -1).round().clamp(0, 255).to(torch.uint8)
