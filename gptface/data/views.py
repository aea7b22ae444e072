"""Augmented views of faces: crop, rotation and light at random, the region map cut with the picture.

What a face looks like in an epoch is a function of (seed, sample, epoch) alone: not of its batch, the loader's workers,
the number of processes, nor of whether a run was resumed.

Light and the Gaussian are kornia's, with the parameters drawn here. Its gamma (``pow``) and its warp (``affine_grid``)
take longer than all the rest, so gamma is exp(γ · log x) and the grid is added up here before torch samples it. Its
blur is a convolution, whose last bit hangs on the size of the batch, so the Gaussian is summed here too.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from gptface.configuration import Section, Share
from gptface.data.face_batch import FaceBatch
from gptface.errors import InputError
from gptface.integers import whole_number
from gptface.ops.philox import philox4x32

__all__ = ["View", "ViewSection", "Views"]

# Keeps these draws apart from other users of Philox under the same seed: "face", "view".
DOMAIN = (0x66616365, 0x76696577)
# Which of a view's twelve numbers decides what, so that switching one thing off changes nothing else.
AREA, ASPECT, ACROSS, DOWN, TURN, BRIGHTNESS, CONTRAST, GAMMA, BLURRED, SIGMA = range(10)
BLOCKS = 3  # of four numbers

AT_A_TIME = 32  # pictures on a CPU: what lies between picture and view then stays in the cache, and its memory in use
BLUR_KERNEL, BLUR_SIGMA = 5, (0.3, 1.2)  # pixels of the view


class ViewSection(Section):
    """How much views differ from their pictures; 0 (``[1, 1]`` for the ranges) leaves a thing as it is."""

    scale: tuple[float, float] = (0.5, 1.0)
    """Least and largest share of the picture's area that a view shows."""
    aspect: tuple[float, float] = (0.8, 1.25)
    """Range of the cut's width / height, even in its logarithm; a view is square, so this stretches faces."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Degrees to either side at most."""
    brightness: Share = 0.15
    """Added to all pixels at most, or taken away, where they go from 0 to 1."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Differences from the picture's mean are multiplied by 1 − this to 1 + this."""
    gamma: Annotated[float, Field(ge=0, le=3)] = 0.3
    """Exponent of the pixels from 1 / (1 + this) to 1 + this."""
    blur: Share = 0.0
    """Share of the views that are blurred, by a Gaussian of 0.3 to 1.2 of the view's pixels."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"scale: {list(self.scale)}; allowed: 0 < least <= largest <= 1")
        if not 0.1 <= self.aspect[0] <= self.aspect[1] <= 10:
            raise InputError(f"aspect: {list(self.aspect)}; allowed: 0.1 <= least <= largest <= 10")
        return self


class View(NamedTuple):
    """Pictures as a network takes them.

    Attributes:
        images: float32 (B, C, s, s) in [−1, 1].
        region_maps: uint8 (B, s, s), cut alike; ``None`` where the batch has none.
    """

    images: Tensor
    region_maps: Tensor | None


class Views:
    """Views of ``size`` pixels a side of the faces of a batch.

    Views of bytes (``Needs(raw_images=True)``) cost least: nothing is converted or mirrored that is not seen. Pixels
    are sampled bilinearly and region maps by their nearest label; what a rotated cut shows beyond the picture's edge is
    the edge. Sizes below half of what a view shows of the picture are undersampled: let the pictures be smaller.

    Args:
        section: how much they differ from the pictures.
        size: side s of the views, in pixels.
        seed: of the draws, 0 to 2⁶³ − 1.
        channels: C, 3, or 1 for the mean of the colours.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(self, section: ViewSection, size: int, *, seed: int, channels: int = 3) -> None:
        self.section = section
        self.size = whole_number(size, "size")
        self.seed = whole_number(seed, "seed")
        self.channels = channels
        if self.size < 1:
            raise InputError(f"size: {size} pixels; it must be at least 1")
        if not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed: {seed}; it must be from 0 to 2^63 - 1")
        if channels not in (1, 3):
            raise InputError(f"channels: {channels}; it must be 1 or 3")

    def __call__(self, batch: FaceBatch) -> View:
        """The views of the batch's epochs: new ones for a face in every epoch.

        Raises:
            InputError: the batch has no images.
        """
        numbers = _numbers(self.seed, batch.sample_ids, batch.epochs)
        return self._views(batch, self._places(numbers), numbers)

    def plain(self, batch: FaceBatch) -> View:
        """The whole pictures at the size of a view, as they are: for measuring."""
        whole = torch.eye(2, 3, device=batch.sample_ids.device).expand(len(batch.sample_ids), 2, 3)
        return self._views(batch, whole.clone(), None)

    def _places(self, numbers: Tensor) -> Tensor:
        """Where views lie in their pictures: float32 (B, 2, 3), from the view's [−1, 1]² to the picture's."""
        section = self.section
        area = _between(numbers[AREA], *section.scale)
        aspect = _between(numbers[ASPECT], *map(math.log, section.aspect)).exp_()
        width, height = (area * aspect).sqrt_().clamp_(max=1), (area / aspect).sqrt_().clamp_(max=1)
        across, down = _around_0(numbers[ACROSS], 1) * (1 - width), _around_0(numbers[DOWN], 1) * (1 - height)
        turn = _around_0(numbers[TURN], math.radians(section.rotation))
        cosine, sine = turn.cos(), turn.sin()
        rows = (width * cosine, -height * sine, across, width * sine, height * cosine, down)
        return torch.stack(rows, 1).view(-1, 2, 3)

    def _views(self, batch: FaceBatch, places: Tensor, numbers: Tensor | None) -> View:
        """The views that lie at ``places`` (which may be overwritten), in the light that ``numbers`` say."""
        if batch.images is None:
            raise InputError("batch: has no images to make views of; ask for them with Needs(images=True)")
        if batch.images.dtype == torch.uint8:  # as they lie in the cache, so that mirroring is left to us
            places[:, 0] *= torch.where(batch.mirrored, -1.0, 1.0)[:, None]
        count = len(places)
        images = places.new_empty(count, self.channels, self.size, self.size)
        maps = None if batch.region_maps is None else batch.region_maps.new_empty(count, self.size, self.size)
        step = AT_A_TIME if places.device.type == "cpu" else max(count, 1)
        for start in range(0, count, step):
            rows = slice(start, start + step)
            grid = _grid(places[rows], self.size)
            pixels = _sampled(_planes(batch.images[rows], self.channels), grid, "bilinear")
            pixels = pixels.mul_(1 / 255) if batch.images.dtype == torch.uint8 else pixels.add_(1).mul_(0.5)
            if numbers is not None:
                pixels = self._lit(pixels, numbers[:, rows])
            torch.sub(pixels.mul_(2), 1, out=images[rows])
            if maps is not None and batch.region_maps is not None:
                maps[rows] = _sampled(batch.region_maps[rows, None].float(), grid, "nearest")[:, 0]
        return View(images, maps)

    def _lit(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Pixels in [0, 1] in another light; the argument may be overwritten."""
        from kornia import enhance

        section = self.section
        if section.gamma:
            exponents = _around_0(numbers[GAMMA], math.log1p(section.gamma)).exp_()
            images = images.clamp_(min=0).log_().mul_(exponents[:, None, None, None]).exp_()
        if section.contrast:
            factors = 1 + _around_0(numbers[CONTRAST], section.contrast)
            images = enhance.adjust_contrast_with_mean_subtraction(images, factors)
        if section.brightness:
            images = enhance.adjust_brightness(images, _around_0(numbers[BRIGHTNESS], section.brightness))
        if section.blur:
            # So narrow a Gaussian is one pixel: the views that are not blurred stay as they are, to the bit.
            sigma = torch.where(numbers[BLURRED] < section.blur, _between(numbers[SIGMA], *BLUR_SIGMA), 0.01)
            images = _blurred(_blurred(images, sigma).mT, sigma).mT
        return images


def _numbers(seed: int, sample_ids: Tensor, epochs: Tensor) -> Tensor:
    """Uniform on [0, 1): float32 (4 · BLOCKS, B), Philox with key seed and counter (block, epoch, sample)."""
    ids: Any = sample_ids
    counts: Any = epochs
    blocks: Any = torch.arange(BLOCKS, device=sample_ids.device)[:, None]
    on_host = sample_ids.device.type == "cpu"
    if on_host:  # a quarter of the time, for so few numbers
        ids, counts, blocks = ids.numpy(), counts.numpy(), blocks.numpy()
    mask = 0xFFFFFFFF
    key: Any = ((seed & mask) ^ DOMAIN[0], (seed >> 32) ^ DOMAIN[1])
    words: Any = philox4x32((blocks, counts & mask, ids & mask, ids >> 32 & mask), key)
    stacked = torch.from_numpy(np.stack(words)) if on_host else torch.stack(words)
    return (stacked.flatten(0, 1) >> 8).float().mul_(2.0**-24)


def _between(numbers: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * numbers


def _around_0(numbers: Tensor, most: float) -> Tensor:
    return _between(numbers, -most, most)


def _grid(places: Tensor, size: int) -> Tensor:
    """``affine_grid`` of square pictures: float32 (B, s, s, 2), the places of a view's pixel centres."""
    centres = (2 * torch.arange(size, device=places.device) + 1).float().div_(size).sub_(1)
    grid = places.new_empty(len(places), size, size, 2)
    for axis in range(2):
        columns = places[:, axis, 0, None] * centres + places[:, axis, 2, None]
        rows = places[:, axis, 1, None] * centres
        torch.add(columns[:, None, :], rows[:, :, None], out=grid[..., axis])
    return grid


def _sampled(planes: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Planes (B, C, S, S) at the places of a grid (B, s, s, 2)."""
    return functional.grid_sample(planes, grid, mode, "border", align_corners=False)


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Pictures (B, C, H, W) blurred along their rows, by a Gaussian of ``sigma`` (B,) pixels; the edges reflect."""
    from kornia.filters import get_gaussian_kernel1d

    weights = get_gaussian_kernel1d(BLUR_KERNEL, sigma[:, None]).unbind(1)
    width = images.shape[-1]
    padded = functional.pad(images, (BLUR_KERNEL // 2, BLUR_KERNEL // 2, 0, 0), mode="reflect")
    result = torch.zeros_like(images)
    for shift, weight in enumerate(weights):
        result.addcmul_(padded[..., shift : shift + width], weight[:, None, None, None])
    return result


def _planes(images: Tensor, channels: int) -> Tensor:
    """float32 (B, C, S, S) of pictures, in their own units: bytes (B, S, S, 3), or floats (B, 3, S, S)."""
    if images.dtype != torch.uint8:
        return images.mean(1, keepdim=True) if channels == 1 else images
    if channels == 3:
        return images.movedim(-1, 1).float()
    red, green, blue = images.unbind(-1)
    return red.short().add_(green).add_(blue)[:, None].float().mul_(1 / 3)
