"""From a photo and a pixel mask to tokens and back: the square the model sees, token masks, hole filling, compositing.

The rule that everything here keeps: a pixel outside the mask comes back as it was, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gptface.data.pixels import images_to_tensor, pixel_levels
from gptface.errors import InputError

__all__ = ["Frame", "composite", "even_out", "feather", "fill_hole", "token_mask"]


@dataclass(frozen=True)
class Frame:
    """The square window of a photo that the model sees.

    The window is resampled to the model's image size and an edit of it back; a photo that already has that size is not
    resampled at all. Of a photo that is not square the centred square is taken, as the data loading does in training;
    what lies outside is never changed. Another window (around a detected face) may be given.

    Attributes:
        height, width: of the photo.
        left, top, side: of the window, inside the photo.
        size: side of the model's images.
    """

    height: int
    width: int
    left: int
    top: int
    side: int
    size: int

    @classmethod
    def of(cls, photo: np.ndarray, size: int, window: tuple[int, int, int] | None = None) -> Frame:
        """The window ``(left, top, side)`` of a photo, by default the largest centred square."""
        height, width = photo.shape[:2]
        if window is None:
            side = min(height, width)
            window = ((width - side) // 2, (height - side) // 2, side)
        left, top, side = window
        if side < 1 or left < 0 or top < 0 or left + side > width or top + side > height:
            raise InputError(
                f"window (left {left}, top {top}, side {side}) does not lie inside the image of {width}x{height} pixels"
            )
        return cls(height, width, left, top, side, size)

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.side)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.side)

    def to_model(self, photo: np.ndarray, hole: np.ndarray | None = None) -> Tensor:
        """``(3, size, size)`` float32 in [−1, 1].

        ``hole (H, W)`` bool is filled from its surroundings first: at the photo's own resolution, since resampling
        would carry what is under it into the pixels around it.
        """
        image = images_to_tensor(photo[self.rows, self.columns])
        if hole is not None:
            inside = torch.from_numpy(np.ascontiguousarray(hole[self.rows, self.columns]))
            image = fill_hole(image[None], inside[None])[0]
        return resample(image, self.size).clamp(-1, 1)

    def mask_to_model(self, mask: np.ndarray) -> np.ndarray:
        """bool ``(size, size)``: a model pixel is marked if any photo pixel it covers is."""
        window = torch.from_numpy(np.ascontiguousarray(mask[self.rows, self.columns])).float()[None, None]
        return functional.adaptive_max_pool2d(window, self.size)[0, 0].numpy() > 0

    def labels_to_photo(self, labels: np.ndarray) -> np.ndarray:
        """A label map ``(size, size)`` of the window as one of the whole photo, 0 outside."""
        index = (np.arange(self.side) * labels.shape[0]) // self.side
        whole = np.zeros((self.height, self.width), dtype=labels.dtype)
        whole[self.rows, self.columns] = labels[np.ix_(index, index)]
        return whole

    def window_mask(self, mask: np.ndarray) -> np.ndarray:
        """``mask (H, W)`` with everything outside the window cleared."""
        inside = np.zeros_like(mask)
        inside[self.rows, self.columns] = mask[self.rows, self.columns]
        return inside

    def to_photo(self, image: Tensor) -> Tensor:
        """An image ``(3, size, size)`` at the window's own resolution, ``(3, side, side)`` in [−1, 1]."""
        return resample(image.detach().float().cpu(), self.side).clamp(-1, 1)


def resample(image: Tensor, size: int) -> Tensor:
    """``(C, h, w)`` to ``(C, size, size)``: antialiased cubic; the same object if it has that size."""
    if image.shape[-1] == size and image.shape[-2] == size:
        return image
    return functional.interpolate(image[None], (size, size), mode="bicubic", antialias=True, align_corners=False)[0]


def token_mask(pixels: Tensor, grid: tuple[int, int], dilation: int = 0) -> Tensor:
    """Tokens that a pixel mask touches.

    Args:
        pixels: ``(B, H, W)`` bool, H and W multiples of the grid.
        grid: ``(h, w)`` tokens.
        dilation: widen by this many tokens. A code is computed from more than its own patch (but for
            ``local_codes``), so a neighbour of the mask has seen what is under it; 1 renews these neighbours too.

    Returns:
        ``(B, h * w)`` bool: any overlap counts.
    """
    height, width = grid
    if pixels.ndim != 3 or pixels.shape[1] % height or pixels.shape[2] % width:
        raise InputError(f"pixels (B, H, W) must be a multiple of the token grid {grid}, got {tuple(pixels.shape)}")
    if dilation < 0:
        raise InputError(f"dilation must not be negative, got {dilation}")
    kernel = (pixels.shape[1] // height, pixels.shape[2] // width)
    tokens = functional.max_pool2d(pixels.float().unsqueeze(1), kernel)
    if dilation > 0:
        tokens = functional.max_pool2d(tokens, 2 * dilation + 1, stride=1, padding=dilation)
    return tokens.flatten(1) > 0


def fill_hole(image: Tensor, hole: Tensor) -> Tensor:
    """Fill a hole smoothly from its surroundings (push–pull: averages of ever coarser levels, interpolated back).

    Args:
        image: ``(B, C, H, W)`` float.
        hole: ``(B, H, W)`` bool; a sample that is all hole becomes 0.

    Returns:
        ``(B, C, H, W)``, unchanged outside the hole.
    """
    weight = (~hole).unsqueeze(1).to(image.dtype)
    return torch.where(hole.unsqueeze(1), _push_pull(image * weight, weight), image)


def _push_pull(sums: Tensor, weight: Tensor) -> Tensor:
    """``sums / weight`` where anything is known, the coarser levels' answer elsewhere, blended by how much is known."""
    mean = sums / weight.clamp_min(1e-8)
    height, width = sums.shape[-2:]
    if height == 1 and width == 1:
        return mean * (weight > 0)
    padding = (0, width % 2, 0, height % 2)
    coarse_sums = functional.avg_pool2d(functional.pad(sums, padding), 2)
    coarse_weight = functional.avg_pool2d(functional.pad(weight, padding), 2)
    coarse = _push_pull(coarse_sums, coarse_weight)
    fine = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    known = weight.clamp(max=1)
    return known * mean + (1 - known) * fine


def even_out(pictures: Tensor, images: Tensor, renewed: Tensor, grid: tuple[int, int]) -> Tensor:
    """Carry what decoding got wrong around the renewed patches smoothly into them, so that no edge shows.

    A tokenizer does not reproduce a photo exactly: a cheek may come back a shade darker. The difference is known where
    tokens were kept, and is continued into the patches that were not.

    Args:
        pictures: ``(B, 3, H, W)``, decoded.
        images: ``(B, 3, H, W)``, the originals.
        renewed: ``(B, h * w)`` bool, tokens that were decoded anew.
        grid: ``(h, w)``.

    Returns:
        ``(B, 3, H, W)``; a picture renewed everywhere comes back as it is.
    """
    patches = functional.interpolate(renewed.unflatten(1, grid).unsqueeze(1).float(), pictures.shape[-2:])[:, 0] > 0
    return pictures + fill_hole(images - pictures, patches)


def feather(mask: np.ndarray, width: int) -> np.ndarray:
    """Opacity of an edit: 0 outside the mask, rising inside it over ``width`` pixels to 1.

    Args:
        mask: ``(H, W)`` bool.
        width: pixels; 0 gives the mask itself. The picture's own border is not an edge of the mask.

    Returns:
        float32 ``(H, W)``.
    """
    inner = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    opacity = inner.clone()
    for _ in range(width):
        # A pixel survives if all its neighbours are marked; replicated padding makes the border no edge.
        inner = -functional.max_pool2d(-functional.pad(inner, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        opacity += inner
    return (opacity / (width + 1))[0, 0].numpy()


def composite(photo: np.ndarray, edited: Tensor, mask: np.ndarray, frame: Frame, feather_width: int = 0) -> np.ndarray:
    """Put an edited window back into its photo.

    Args:
        photo: uint8 ``(H, W, 3)``.
        edited: ``(3, side, side)`` in [−1, 1], the window after the edit.
        mask: ``(H, W)`` bool.
        frame: where the window is.
        feather_width: see :func:`feather`.

    Returns:
        uint8 ``(H, W, 3)``, equal to ``photo`` wherever ``mask`` is False or the window ends.
    """
    mask = frame.window_mask(mask)[frame.rows, frame.columns]
    opacity = feather(mask, feather_width)[:, :, None]
    window = photo[frame.rows, frame.columns]
    mixed = np.clip(np.rint(opacity * pixel_levels(edited).numpy() + (1.0 - opacity) * window), 0, 255).astype(np.uint8)
    result = photo.copy()
    result[frame.rows, frame.columns] = np.where(mask[:, :, None], mixed, window)
    return result
