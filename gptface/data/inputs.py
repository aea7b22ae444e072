"""Arguments as people give them: pictures, masks and label images of every kind, one value for all or one each.

The command line and the Python API share these conversions. A picture is a file (a path, or its bytes), a Pillow image,
an array ``(H, W)`` or ``(H, W, channels)`` or a tensor ``(channels, H, W)``, with 1, 3 or 4 channels (grey, RGB, RGBA).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from gptface.data.images import convert_image, convert_labels, load_image, load_labels
from gptface.errors import InputError
from gptface.faces.regions import REGIONS
from gptface.files import refuse_url
from gptface.integers import whole_number

__all__ = ["as_labels", "as_mask", "as_photo", "as_photos", "one_each", "seed_list", "strings"]

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Label of pixels that annotators left out, by the custom of segmentation data sets.
UNLABELLED = 255


def as_photo(image: Any, name: str = "image") -> np.ndarray:
    """Upright uint8 ``(H, W, 3)`` of a picture; white shows through where it is transparent.

    Arrays and tensors are uint8, uint16 or floats in [0, 1].

    Raises:
        InputError: another kind, shape, dtype or range.
    """
    array = _array(image)
    if array is None:
        return _decoded(image, WHITE, name)
    if array.dtype == np.uint16:
        array = _eight_bits(array)
    elif np.issubdtype(array.dtype, np.floating):
        # Not `min < 0 or max > 1`: NaN must fail too.
        if array.size and not (array.min() >= 0 and array.max() <= 1):
            raise InputError(
                f"{name}: floats must lie in [0, 1], got {array.min():g} to {array.max():g}; "
                "of a picture in [-1, 1] give (x + 1) / 2"
            )
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(f"{name} must be uint8, uint16 or floats in [0, 1], got {array.dtype} {array.shape}")
    return _decoded(_picture(array, name), WHITE, name)


def as_mask(mask: Any, photo: np.ndarray, name: str = "mask") -> np.ndarray:
    """bool ``(H, W)`` of a mask as large as its photo: what is brighter than half of the range may change.

    The range is 255 of 8-bit pictures and 65535 of 16-bit ones; arrays and tensors may also be bool, hold 0 and 1, or
    floats up to 1 or up to 255. A mask with colours counts where its brightest channel does; what is transparent stays.

    Raises:
        InputError: another size or range, or nothing marked.
    """
    array = _array(mask)
    levels = _decoded(mask if array is None else _picture(_mask_levels(array, name), name), BLACK, name).max(axis=2)
    if levels.shape != photo.shape[:2]:
        raise InputError(
            f"{name} is {_size(levels.shape)} pixels, but its image is {_size(photo.shape)}: they must be the same"
        )
    # A file that holds nothing but 0 and 1 was not meant to be black.
    marked = levels >= (128 if levels.max(initial=0) > 1 else 1)
    if not marked.any():
        raise InputError(f"{name} marks no pixel: white (255) is what may change, black (0) is what stays")
    return marked


def as_labels(labels: Any, photo: np.ndarray, name: str = "region_map") -> np.ndarray:
    """int64 ``(H, W)`` indices into ``REGIONS`` of a label image as large as its photo; 255 is no region.

    Files and Pillow images as :func:`~gptface.data.images.convert_labels` reads them; arrays and tensors are integers
    ``(H, W)``.

    Raises:
        InputError: another size or kind, or a label that is no region.
    """
    array = _array(labels)
    if array is None:
        array = convert_labels(labels, name) if isinstance(labels, Image.Image) else load_labels(_file(labels, name))
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} must hold integers (H, W), got {array.dtype} {array.shape}")
    if array.shape != photo.shape[:2]:
        raise InputError(f"{name} is {_size(array.shape)} pixels, but its image is {_size(photo.shape)}")
    array = array.astype(np.int64)
    strange = array[((array < 0) | (array >= len(REGIONS))) & (array != UNLABELLED)]
    if strange.size:
        raise InputError(
            f"{name} holds the label {strange[0]}; labels are 0 to {len(REGIONS) - 1} "
            f"({', '.join(REGIONS)}), and {UNLABELLED} for none"
        )
    return array


def as_photos(images: Any) -> list[np.ndarray]:
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4)
    photos = [as_photo(image) for image in (images if several else [images])]
    if not photos:
        raise InputError("images: at least one is needed")
    return photos


def _array(given: Any) -> np.ndarray | None:
    """An array or a tensor as an array ``(H, W)`` or ``(H, W, channels)``; None for files and Pillow images."""
    if isinstance(given, np.ndarray):
        return given
    if not isinstance(given, Tensor):
        return None
    tensor = given.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    return np.asarray((tensor.movedim(0, -1) if tensor.ndim == 3 else tensor).numpy())


def _picture(array: np.ndarray, name: str) -> Image.Image:
    """uint8 ``(H, W)`` or ``(H, W, 1 | 3 | 4)`` as a Pillow image."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not array.size or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError(f"{name} must be (H, W) or have 1, 3 or 4 channels (grey, RGB, RGBA), got {array.shape}")
    return Image.fromarray(np.ascontiguousarray(array))


def _decoded(image: Any, background: tuple[int, int, int], name: str) -> np.ndarray:
    """uint8 ``(H, W, 3)`` of a Pillow image or a file."""
    if isinstance(image, Image.Image):
        return convert_image(image, background, name)
    return load_image(_file(image, name), background=background)


def _file(given: Any, name: str) -> str | os.PathLike[str] | bytes:
    if isinstance(given, str | os.PathLike):
        refuse_url(name, given)
    if isinstance(given, str | os.PathLike | bytes):
        return given
    raise InputError(f"{name} must be a file, a Pillow image, an array or a tensor, got {type(given).__name__}")


def _eight_bits(array: np.ndarray) -> np.ndarray:
    """16-bit levels as 8-bit ones, 65535 to 255."""
    return ((array.astype(np.int64) + 128) // 257).astype(np.uint8)


def _mask_levels(array: np.ndarray, name: str) -> np.ndarray:
    """uint8 levels of a mask given as numbers: 0 and 1, floats up to 1, or numbers up to 255 (uint16: 65535)."""
    if not array.size or array.dtype == np.uint8:
        return array.astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    low, high = array.min(), array.max()
    if array.dtype == np.uint16 and high > 1:
        return _eight_bits(array)
    if not (low >= 0 and high <= 255):
        raise InputError(f"{name} holds {array.dtype} from {low:g} to {high:g}; it must be 0 to 1 or 0 to 255")
    return np.rint(array * 255.0 if high <= 1 else array).astype(np.uint8)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}" if len(shape) >= 2 else str(shape)


def one_each(values: Any, count: int, name: str) -> list[Any] | None:
    """One array for the only image, or a sequence with one an image."""
    if values is None:
        return None
    several = isinstance(values, list | tuple) or (isinstance(values, np.ndarray | Tensor) and values.ndim >= 3)
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
    """``count`` seeds: those given, or s, s + 1, … for one number s (Python's, NumPy's or a tensor's).

    Raises:
        InputError: another number of them, or one that is not whole.
    """
    if isinstance(seeds, Sequence) or getattr(seeds, "ndim", 0) == 1:
        own = [whole_number(seed, "seeds") for seed in seeds]  # type: ignore[union-attr]
    else:
        first = whole_number(seeds, "seeds")
        own = [first + index for index in range(count)]
    if len(own) != count:
        raise InputError(f"seeds must be one integer or {count} of them, one a sample, got {len(own)}")
    return own
