"""Masks of facial regions by name: from landmarks or a label map to what ``sample_span_mask`` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.faces.landmarks import landmark_region_map
from gptface.faces.region_grid import region_grid
from gptface.faces.regions import REGIONS, region_label
from gptface.faces.token_regions import SKIN_BOUNDARY, TOKEN_REGIONS
from gptface.ops import FacialRegions, MaskGITCosine
from gptface.ops.philox import philox4x32

__all__ = [
    "EXPRESSIVE_REGIONS",
    "REGION_GROUPS",
    "draw_groups",
    "face_region_grid",
    "group_masks",
    "guidance_masks",
    "region_masks",
]

EXPRESSIVE_REGIONS: tuple[str, ...] = ("eyes", "brows", "nose", "mouth")
"""What says who somebody is and how they feel, on a twentieth of the picture."""


REGION_GROUPS: tuple[str, ...] = ("brows", "eyes", "nose", "mouth", SKIN_BOUNDARY, "hair")
"""What :func:`draw_groups` chooses from, by its names in ``TOKEN_REGIONS`` (``token_regions(boundary=True)``)."""

DRAWN = 1  # the label of the drawn group's tokens, as a truth value is; the others have 0
DOMAIN = (0x67726F75, 0x70647261)  # apart from other users of Philox under the same seed: "grou", "pdra"


def face_region_grid(face: np.ndarray, grid: tuple[int, int], size: tuple[int, int] | None = None) -> np.ndarray:
    """The facial region of every image token, from whatever is known of the face.

    Args:
        face: a label map (H, W) of integers below ``len(REGIONS)``, or 5, 68 or 468 landmarks (x, y) in pixels, floats
            (N, 2).
        grid: (h, w) tokens.
        size: (H, W) of the image the landmarks lie in; needed with landmarks only.

    Returns:
        int64 (h · w,), row by row: a row of ``sample_span_mask``'s ``region_map``.

    Raises:
        InputError: neither a label map nor landmarks, or landmarks without ``size``.
    """
    face = np.asarray(face)
    if face.ndim != 2:
        raise InputError(f"face: shape {face.shape}; it must be a label map (H, W) or landmarks (N, 2)")
    if np.issubdtype(face.dtype, np.integer):
        return region_grid(face, grid)
    if size is None:
        raise InputError("size: missing; landmarks need the (H, W) of their image")
    return region_grid(landmark_region_map(face, size), grid)


def _labels(names: Sequence[str]) -> tuple[int, ...]:
    return tuple(_label(name) for name in names)


def _label(name: str) -> int:
    return TOKEN_REGIONS.index(name) if name == SKIN_BOUNDARY else region_label(name)


def region_masks(
    grid: tuple[int, int],
    ratio: float | tuple[float, float] | MaskGITCosine = 0.4,
    weights: Mapping[str, float] | None = None,
    keep: Sequence[str] = (),
) -> FacialRegions:
    """Whole regions first, as many as the ratio holds, blocks for the rest.

    From a ratio of about a half on that is every small region of nearly every face: see :func:`group_masks`.

    Args:
        grid: (h, w) tokens.
        ratio: share of the tokens that are masked.
        weights: name of ``TOKEN_REGIONS`` to its weight; regions left out are never masked whole. By default all alike
            but the background.
        keep: regions of which no token is masked.
    """
    if weights is None:
        weights = dict.fromkeys(REGIONS[1:], 1.0)
    return FacialRegions(grid, {_label(name): weight for name, weight in weights.items()}, ratio, _labels(keep))


def group_masks(
    grid: tuple[int, int],
    ratio: float | tuple[float, float] | MaskGITCosine = 0.6,
    *,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    minimum: int = 4,
    maximum: int | None = None,
) -> FacialRegions:
    """One group of a face whole, blocks anywhere for the rest, over the labels of :func:`draw_groups` (after PaCo-FR).

    So the other groups are masked in proportion, and an encoder of the visible tokens sees each of them often, whatever
    the ratio. A group that is larger than the ratio allows is masked by blocks like the rest.

    Args:
        grid: (h, w) tokens.
        ratio: share of the tokens that are masked, to exactly this count.
        aspect, minimum, maximum: of the blocks, see :class:`gptface.ops.ImageBlocks`; single tokens by ``minimum=1,
            maximum=1``.
    """
    return FacialRegions(grid, {DRAWN: 1.0}, ratio, (), aspect, minimum, maximum)


def draw_groups(
    regions: Tensor,
    sample_ids: Tensor,
    *,
    seed: int,
    step: int,
    groups: Mapping[str, float] | Sequence[str] = REGION_GROUPS,
) -> Tensor:
    """Choose the group of each face that :func:`group_masks` masks whole, among those of which a token is to be seen.

    Args:
        regions: int64 (B, h · w) of ``token_regions``.
        sample_ids: int64 (B,), on the same device.
        seed, step: the choice is a function of these and of a sample's id and regions alone; any 64-bit seed, steps
            from 0 to 2³² − 1.
        groups: names of ``TOKEN_REGIONS``, all alike or with their weights.

    Returns:
        int32 (B, h · w), ``sample_span_mask``'s ``region_map``: 1 where the drawn group is, 0 elsewhere (everywhere on
        a face that shows none of the groups).

    Raises:
        InputError: an unknown name, or weights that are not positive numbers.
    """
    weights = groups if isinstance(groups, Mapping) else dict.fromkeys(groups, 1.0)
    if not weights or not all(0 < weight < math.inf for weight in weights.values()):
        raise InputError(f"groups: {groups!r}; allowed: at least one region's name, with weights above 0")
    shares = torch.zeros(len(TOKEN_REGIONS))
    shares[list(_labels(tuple(weights)))] = torch.tensor(list(weights.values()))
    seen = torch.zeros(len(regions), len(TOKEN_REGIONS), device=regions.device).scatter_(1, regions, 1.0)
    ends = (seen * shares.to(regions.device)).cumsum(1)
    points = _first_numbers(seed, step, sample_ids) * ends[:, -1]
    # The first region whose share ends beyond the point; those that are not seen or are no group have none. A face
    # without any ends in a label that no token has.
    chosen = (ends <= points[:, None]).sum(1)
    return (regions == chosen[:, None]).int()


def _first_numbers(seed: int, step: int, sample_ids: Tensor) -> Tensor:
    """Uniform on [0, 1): float32 (B,), Philox with a key of the seed and counter (0, step, sample)."""
    mask, on_host = 0xFFFFFFFF, sample_ids.device.type == "cpu"
    ids: Any = sample_ids.numpy() if on_host else sample_ids
    key: Any = ((seed & mask) ^ DOMAIN[0], (seed >> 32 & mask) ^ DOMAIN[1])
    counter: Any = (0, step & mask, ids & mask, ids >> 32 & mask)
    word: Any = philox4x32(counter, key)[0]
    word = torch.from_numpy(word) if on_host else word
    return torch.as_tensor(word >> 8).float().mul_(2.0**-24)


def guidance_masks(
    grid: tuple[int, int],
    ratio: float | tuple[float, float] | MaskGITCosine = 0.6,
    keep: Sequence[str] = ("eyes",),
    *,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    minimum: int = 4,
    maximum: int | None = None,
) -> FacialRegions:
    """Blocks anywhere but on the regions that are to guide the rest: their tokens are always seen.

    Args:
        grid: (h, w) tokens.
        ratio: share of the *other* tokens that are masked.
        keep: names of the regions to be seen.
        aspect, minimum, maximum: of the blocks, see :class:`gptface.ops.ImageBlocks`.
    """
    return FacialRegions(grid, (), ratio, _labels(keep), aspect, minimum, maximum)
