"""Arguments as people give them: pictures of several kinds, masks, one value for all or one each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from gptface.data.pixels import tensor_to_images
from gptface.errors import InputError

__all__ = ["as_mask", "as_photo", "as_photos", "one_each", "seed_list", "strings"]


def as_photo(image: Any, name: str = "image") -> np.ndarray:
    """uint8 ``(H, W, 3)`` of a NumPy array, a PIL image or a tensor.

    Arrays and PIL images are ``(H, W, 3)`` or grey ``(H, W)``; tensors ``(3, H, W)``, uint8 or float in [−1, 1].
    """
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3:
            raise InputError(f"{name} must be a tensor (3, H, W), got {tuple(image.shape)}")
        if image.is_floating_point():
            return tensor_to_images(image)
        image = image.permute(1, 2, 0).cpu().numpy()
    elif not isinstance(image, np.ndarray):
        if not (hasattr(image, "mode") and hasattr(image, "convert")):
            raise InputError(f"{name} must be an array, a PIL image or a tensor, got {type(image).__name__}")
        image = np.array(image.convert("RGB"))
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"{name} must be uint8 (H, W, 3) or (H, W), got {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)


def as_mask(mask: Any, photo: np.ndarray, name: str = "mask") -> np.ndarray:
    """bool ``(H, W)`` of a mask as large as its photo: bool, or numbers where above half of the range means "change".

    uint8 counts from 128 on, floats from 0.5 on. An image with channels counts where its brightest channel does.

    Raises:
        InputError: another size, or nothing marked.
    """
    if isinstance(mask, Tensor):
        mask = mask.cpu().numpy()
    elif not isinstance(mask, np.ndarray):
        mask = np.asarray(mask)
    if mask.ndim == 3:
        mask = mask.max(axis=2)
    if mask.shape != photo.shape[:2]:
        raise InputError(
            f"{name} is {_size(mask.shape)} pixels, but its image is {_size(photo.shape)}: they must be the same"
        )
    if mask.dtype != np.bool_:
        mask = mask >= (128 if np.issubdtype(mask.dtype, np.integer) and mask.max() > 1 else 0.5)
    if not mask.any():
        raise InputError(f"{name} marks no pixel: white (255) is what may change, black (0) is what stays")
    return mask


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}" if len(shape) >= 2 else str(shape)


def as_photos(images: Any) -> list[np.ndarray]:
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4)
    photos = [as_photo(image) for image in (images if several else [images])]
    if not photos:
        raise InputError("images: at least one is needed")
    return photos


def one_each(values: Any, count: int, name: str) -> list[Any] | None:
    """One array for the only image, or a sequence with one an image."""
    if values is None:
        return None
    several = isinstance(values, list | tuple) or (isinstance(values, np.ndarray | Tensor) and values.ndim == 3)
    if several and count == 1 and isinstance(values, np.ndarray | Tensor) and values.shape[0] != 1:
        several = False  # one mask with channels
    items = list(values) if several else [values]
    if len(items) != count:
        raise InputError(f"{name} must hold one for each of {count} images, got {len(items)}")
    return items


def strings(values: str | Sequence[str], count: int, name: str) -> list[str]:
    items = [values] * count if isinstance(values, str) else list(values)
    if len(items) != count or not all(isinstance(item, str) for item in items):
        raise InputError(f"{name} must be one string or {count} of them, one an image, got {values!r}")
    return items


def seed_list(seeds: int | Sequence[int], count: int) -> list[int]:
    own = [seeds + index for index in range(count)] if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if len(own) != count:
        raise InputError(f"seeds must be one integer or {count} of them, one a sample, got {len(own)}")
    return own
