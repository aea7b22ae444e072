"""The pixels of an aligned face out of a picture: no more of it is decoded and resampled than the face needs."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from gptface.data.images import DEFAULT_MAXIMUM_PIXELS, UnusableImage, convert_image

__all__ = ["SourcePicture", "warp"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # pure decoders: files from the web reach no other
OUTSIDE = (127, 127, 127)


class SourcePicture:
    """A fetched picture, opened by its header; decoded once, at the smallest scale that every face on it allows.

    Args:
        encoded: its bytes.
        upright: whether points lie in the picture as it is shown. Published detections lie in the picture as it is
            stored, whatever its EXIF orientation says.
        maximum_pixels: the most that are decoded.

    Raises:
        UnusableImage: no picture, cut, or too large.
    """

    def __init__(self, encoded: bytes, name: str, upright: bool, maximum_pixels: int = DEFAULT_MAXIMUM_PIXELS) -> None:
        self.name, self._upright, self._encoded, self._limit = name, upright, encoded, maximum_pixels
        try:
            self._image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        except Image.UnidentifiedImageError:
            raise UnusableImage("not_an_image", f"{name}: no picture of a known format") from None
        except Exception as error:  # given hostile bytes, decoders raise anything
            raise UnusableImage("corrupt_image", f"{name}: {type(error).__name__}: {error}") from None
        self.size: tuple[int, int] = self._image.size
        if upright and self._image.getexif().get(0x0112, 1) in range(5, 9):
            self.size = (self.size[1], self.size[0])

    def decode(self, scale: float) -> tuple[np.ndarray, float, float]:
        """The picture, uint8 (H, W, 3), and its scale across and down: at least ``scale`` where the format can, else 1.

        Raises:
            UnusableImage: see above.
        """
        image: Image.Image = self._image
        width, height = image.size
        if self._image.format == "JPEG" and scale < 1:
            # Of eighths: the decoder's own reduction, which costs least; twice what is asked, for the filter after it.
            self._image.draft("RGB", (math.ceil(2 * scale * width), math.ceil(2 * scale * height)))
        if image.width * image.height > self._limit:
            raise UnusableImage("too_many_pixels", f"{self.name}: {width}x{height} pixels")
        try:
            image.load()
            if self._upright or image.mode != "RGB":
                if not self._upright:
                    image.info.pop("exif", None)
                    image.getexif().clear()
                image = Image.fromarray(convert_image(image, name=self.name))
        except UnusableImage:
            raise
        except Exception as error:
            cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
            reason = "truncated_image" if cut else "corrupt_image"
            raise UnusableImage(reason, f"{self.name}: {type(error).__name__}: {error}") from None
        return np.asarray(image), image.width / self.size[0], image.height / self.size[1]


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """``image`` through an affine map to a square of ``size``, and the share of it that lies outside the picture.

    Reduced by whole numbers first (a box filter), then resampled with a cubic one: no aliasing at any scale. What lies
    outside is grey: mirrored at the border, a picture that is cut close shows a second pair of eyes.

    Returns:
        uint8 ``(size, size, 3)``, RGB; a number from 0 to 1.
    """
    import cv2

    bounds = (image.shape[1], image.shape[0])
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    corners = np.array([[0, 0, 1], [size, 0, 1], [size, size, 1], [0, size, 1]]) @ inverse.T
    low, high = corners[:, :2].min(0), corners[:, :2].max(0)
    factor = max(1, int(1 / scale)) if scale < 1 else 1
    margin = 2 * factor + 2  # for the cubic filter
    left, top = (max(0, math.floor(place) - margin) for place in low)
    right, bottom = (min(end, math.ceil(place) + margin) for place, end in zip(high, bounds, strict=True))
    if left >= right or top >= bottom:
        return np.full((size, size, 3), OUTSIDE, dtype=np.uint8), 1.0
    box = image[top:bottom, left:right]
    if factor > 1:
        box = _reduced(box, factor)
    # From aligned pixels to those of the reduced box; OpenCV's lie at their centres, ours span [n, n + 1].
    places = np.vstack([inverse[:2], [0, 0, 1]])
    places[:2, 2] -= (left, top)
    places[:2] /= factor
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = (np.linalg.inv(half) @ places @ half)[:2]
    warped = cv2.warpAffine(
        box,
        back,
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=OUTSIDE,
    )
    return warped, _outside(corners, bounds)


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """The means of blocks of ``factor``²; a last block that is not whole repeats the border."""
    import cv2

    height, width = image.shape[:2]
    down, right = -height % factor, -width % factor
    if down or right:
        image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = (image.shape[1] // factor, image.shape[0] // factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _outside(corners: np.ndarray, bounds: tuple[int, int]) -> float:
    """The share of the aligned square beyond the picture, on a grid of 32²."""
    if (corners[:, :2] >= 0).all() and (corners[:, :2] <= bounds).all():
        return 0.0
    step = (np.arange(32) + 0.5) / 32
    across, down = corners[1, :2] - corners[0, :2], corners[3, :2] - corners[0, :2]
    places = corners[0, :2] + step[None, :, None] * across + step[:, None, None] * down
    within = (places >= 0).all(-1) & (places[..., 0] <= bounds[0]) & (places[..., 1] <= bounds[1])
    return float(1 - within.mean())
