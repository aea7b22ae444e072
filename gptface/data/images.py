"""Reading any image file people have into 8-bit RGB, and writing pictures without ever leaving half of one.

Decoding is Pillow's. What is added here is the set of decisions a face data set needs: which files are refused and
under which name they are counted, how much memory one file may cost, which way is up, what lies behind transparency.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageOps, features

from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = [
    "DEFAULT_MAXIMUM_PIXELS",
    "IMAGE_PROBLEMS",
    "IMAGE_SUFFIXES",
    "UnusableImage",
    "centre_square",
    "convert_image",
    "convert_labels",
    "encode_image",
    "image_size",
    "load_image",
    "load_labels",
    "save_image",
]

DEFAULT_MAXIMUM_PIXELS = 40_000_000
# A baseline JPEG decoded at 1/8 size needs 1/64 of the memory but still the time to read every coefficient.
REDUCED_DECODING_FACTOR = 16
# Formats with a pure image decoder. Pillow also opens formats that run other programs (EPS starts Ghostscript), which
# files from the web must never reach. Multi-picture files (MPO) are opened as JPEG.
OPTIONAL_FORMATS = [name for name in ("WEBP", "AVIF") if features.check(name.lower())]
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", *OPTIONAL_FORMATS)
IMAGE_SUFFIXES: tuple[str, ...] = (
    *(".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)

IMAGE_PROBLEMS: dict[str, str] = {
    "missing_file": "the file does not exist or cannot be opened",
    "empty_file": "the file holds no bytes",
    "not_an_image": "the bytes are not of a format that is read (" + ", ".join(FORMATS) + ")",
    "truncated_image": "the file ends before the image does",
    "corrupt_image": "the bytes do not decode",
    "too_many_pixels": "decoding would take more memory than allowed (a decompression bomb, or a very large photo)",
    "too_small": "the shorter side is below the minimum",
    "unsupported_mode": "pixel values without a known range (32-bit or floating point), or a label image in colours",
}


class UnusableImage(InputError):
    """An image that cannot be used; ``reason`` is a key of ``IMAGE_PROBLEMS``, the name it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnusableImage], tuple[str, str]]:
        return type(self), (self.reason, str(self))  # an exception pickles by its args; a loader worker sends this one


def centre_square(width: int, height: int) -> tuple[float, float, float, float]:
    """The largest centred square of an image as (left, top, right, bottom), in pixels, possibly at half pixels."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def load_image(
    source: str | os.PathLike[str] | bytes | IO[bytes],
    size: int | None = None,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    maximum_pixels: int = DEFAULT_MAXIMUM_PIXELS,
    minimum_side: int = 1,
    name: str | None = None,
) -> np.ndarray:
    """Decode an image to upright 8-bit RGB.

    Greyscale, palette, 1-bit, CMYK (Adobe's inverted kind and the plain one) and 16-bit files are converted;
    transparency is composited on ``background``; EXIF orientation is applied; of an animation the first frame is taken.
    Colour profiles are not applied: values are taken as sRGB, CMYK is converted by (1 - ink) · (1 - black).

    Args:
        source: a path, the encoded bytes, or a binary file positioned at the image's start.
        size: side in pixels of the square to return: the largest centred square, resampled with an antialiased cubic
            filter. ``None`` keeps the image's own size.
        background: RGB colour behind transparent pixels.
        maximum_pixels: the most pixels that may be decoded. A larger baseline JPEG with a ``size`` to reach is decoded
            at 1/2, 1/4 or 1/8 of its size (up to 16 times this number); any other larger image is refused. Pillow's
            own limit of about 179 million pixels holds as well.
        minimum_side: images whose shorter side is below this many pixels are refused.
        name: what error messages call the image; by default the path.

    Returns:
        uint8 (H, W, 3); H = W = ``size`` where that is given.

    Raises:
        UnusableImage: an ``InputError`` whose ``reason`` is one of ``IMAGE_PROBLEMS``.
    """
    if size is not None and size < 1:
        raise InputError(f"size: {size} pixels; it must be at least 1, or None for the image's own size")
    data, name = _read_bytes(source, name)
    with _decoding(data, name) as image:
        _prepare_decoding(image, size, maximum_pixels, minimum_side, name)
        image.load()
        upright = _upright(_as_rgb(image, background, name))
        if size is not None and upright.size != (size, size):
            upright = upright.resize((size, size), Image.Resampling.BICUBIC, box=centre_square(*upright.size))
        return np.array(upright, dtype=np.uint8)


def image_size(encoded: bytes, name: str = "image") -> tuple[int, int]:
    """(width, height) in pixels of an encoded image, upright, by its header alone.

    Raises:
        UnusableImage: not an image.
    """
    with _decoding(encoded, name) as image:
        width, height = image.size
        # As _upright does: orientations 5 to 8 lie on their side.
        return (height, width) if image.getexif().get(ExifTags.Base.Orientation, 1) in range(5, 9) else (width, height)


def convert_image(
    image: Image.Image, background: tuple[int, int, int] = (255, 255, 255), name: str = "image"
) -> np.ndarray:
    """uint8 ``(H, W, 3)`` of an image that Pillow has open, by the rules of :func:`load_image`."""
    return np.array(_upright(_as_rgb(image, background, name)), dtype=np.uint8)


def load_labels(source: str | os.PathLike[str] | bytes | IO[bytes], name: str | None = None) -> np.ndarray:
    """Decode a label image to one number a pixel, see :func:`convert_labels`; errors as of :func:`load_image`."""
    data, name = _read_bytes(source, name)
    with _decoding(data, name) as image:
        _prepare_decoding(image, None, DEFAULT_MAXIMUM_PIXELS, 1, name)
        return convert_labels(image, name)


def convert_labels(image: Image.Image, name: str = "labels") -> np.ndarray:
    """Upright int64 ``(H, W)`` of a label image: a label is a name, not a colour.

    An indexed image gives its indices, whatever its palette paints; greyscale of any depth its values; one in colour is
    taken where all its pixels are grey. What is transparent is 0.

    Raises:
        UnusableImage: pixels in colours, or floating-point values.
    """
    upright = _upright(image)
    if upright.mode == "F":
        raise UnusableImage("unsupported_mode", f"{name}: labels must be whole numbers, and its pixels are not")
    if upright.mode not in ("RGB", "RGBA", "LA", "PA", "L", "P", "1") and not upright.mode.startswith("I"):
        upright = upright.convert("RGB")
    values = np.asarray(upright).astype(np.int64)
    if values.ndim == 2:
        return values
    seen = values[:, :, -1] > 0 if upright.mode in ("RGBA", "LA", "PA") else np.ones(values.shape[:2], dtype=bool)
    colours = values[:, :, : 3 if upright.mode in ("RGB", "RGBA") else 1]
    if (colours[seen] != colours[seen][:, :1]).any():
        raise UnusableImage(
            "unsupported_mode", f"{name}: a label image holds one number a pixel, indexed or grey; this one has colours"
        )
    return np.where(seen, colours[:, :, 0], 0)


@contextmanager
def _decoding(data: bytes, name: str) -> Iterator[Image.Image]:
    """The image open for decoding; whatever is wrong with its bytes becomes ``UnusableImage``."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImage("too_many_pixels", f"{name}: {error}") from None
    except Image.UnidentifiedImageError:
        raise UnusableImage("not_an_image", f"{name}: not an image of a known format ({', '.join(FORMATS)})") from None
    except Exception as error:  # given hostile bytes, decoders raise struct.error, zlib.error, IndexError, ...
        truncated = "truncated" in str(error).lower() or isinstance(error, EOFError) or _announces_more(data)
        reason = "truncated_image" if truncated else "corrupt_image"
        raise UnusableImage(reason, f"{name}: {IMAGE_PROBLEMS[reason]} ({type(error).__name__}: {error})") from None


def _read_bytes(source: str | os.PathLike[str] | bytes | IO[bytes], name: str | None) -> tuple[bytes, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), name or "image"
    elif isinstance(source, str | os.PathLike):
        name = name or str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise UnusableImage("missing_file", f"{name}: cannot be read ({error.strerror})") from None
    else:
        data, name = source.read(), name or str(getattr(source, "name", "image"))
    if not data:
        raise UnusableImage("empty_file", f"{name}: {IMAGE_PROBLEMS['empty_file']}")
    return data, name


def _announces_more(data: bytes) -> bool:
    """Whether a WebP file is shorter than it says (its decoder only says that it cannot)."""
    return data[:4] == b"RIFF" and len(data) >= 8 and struct.unpack("<I", data[4:8])[0] + 8 > len(data)


def _prepare_decoding(image: Image.Image, size: int | None, maximum_pixels: int, minimum_side: int, name: str) -> None:
    """Refuse by the header what is too small or too large; let a JPEG decode at the reduced size that is enough."""
    width, height = image.size
    if min(width, height) < minimum_side:
        raise UnusableImage("too_small", f"{name}: {width}x{height} pixels, at least {minimum_side} a side are needed")
    pixels = width * height
    if image.format in ("JPEG", "MPO") and size is not None and pixels <= maximum_pixels * REDUCED_DECODING_FACTOR:
        image.draft("", (2 * size, 2 * size))  # twice the target, so that the resampling filter still sees detail
        if not image.info.get("progressive"):  # a progressive file keeps all its coefficients in memory all the same
            pixels = image.width * image.height
    if pixels > maximum_pixels:
        message = f"{name}: {width}x{height} pixels, more than the {maximum_pixels:,} allowed (maximum_pixels)"
        raise UnusableImage("too_many_pixels", message)


def _as_rgb(image: Image.Image, background: tuple[int, int, int], name: str) -> Image.Image:
    """The loaded image as mode RGB, EXIF orientation still to be applied (and still in its ``info``)."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        converted = Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    elif mode in ("I", "F"):
        raise UnusableImage("unsupported_mode", f"{name}: pixel mode {mode}: the range of its values is not known")
    elif mode == "CMYK":
        # Pillow takes every CMYK JPEG for Adobe's, which stores inverted values. Without Adobe's marker (0, 0, 0, 0) is
        # white (ITU-T T.872, 6.1).
        plain = image.format == "JPEG" and "adobe" not in image.info
        converted = (ImageChops.invert(image) if plain else image).convert("RGB")
    elif "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layer = image.convert("RGBA")
        converted = Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB")
    else:
        converted = image.convert("RGB")
    converted.info.update({key: image.info[key] for key in ("exif",) if key in image.info})
    return converted


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken metadata around good pixels: the picture is used as it is stored
        return image


def encode_image(image: np.ndarray, format: str = "png", *, quality: int = 95) -> bytes:
    """Encode uint8 (H, W, 3) RGB or (H, W) greyscale as ``"png"``, ``"jpg"`` (no chroma subsampling) or ``"webp"``.

    ``quality`` (1 to 100) is for jpg and webp; ``"webp"`` at 100 is lossless, png always is.

    Raises:
        InputError: another dtype, shape or format.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f"image: {image.dtype} {image.shape}; it must be uint8 (H, W, 3) or (H, W)")
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if format == "png":
        picture.save(buffer, "PNG")
    elif format in ("jpg", "jpeg"):
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    elif format == "webp":
        picture.save(buffer, "WEBP", quality=quality, lossless=quality == 100)
    else:
        raise InputError(f"format: {format!r} cannot be written; choose png, jpg or webp")
    return buffer.getvalue()


def save_image(path: str | os.PathLike[str], image: np.ndarray, *, quality: int = 95) -> None:
    """Write uint8 (H, W, 3) or (H, W) to ``path`` in one step; the suffix (.png, .jpg, .jpeg, .webp) names the format.

    Raises:
        InputError: another suffix, dtype or shape; nothing is written.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in ("png", "jpg", "jpeg", "webp"):
        raise InputError(f"{path}: images are written as .png, .jpg or .webp, by the file's suffix")
    data = encode_image(image, suffix, quality=quality)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
