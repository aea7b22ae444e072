"""Image files as the web has them: encoded bytes of every awkward kind."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def gradient(width: int = 48, height: int = 48, seed: int = 0) -> np.ndarray:
    """A smooth colour picture, uint8 (height, width, 3), different in every corner."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    channels = [127 + 80 * np.sin(phase[c] + x / width * (c + 1)) * np.cos(y / height * (3 - c)) for c in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def encode(image: Image.Image | np.ndarray, format: str = "PNG", **options: object) -> bytes:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def without_adobe_marker(jpeg: bytes) -> bytes:
    """The JPEG without its APP14 segment."""
    start = jpeg.index(b"\xff\xee")
    length = struct.unpack(">H", jpeg[start + 2 : start + 4])[0]
    assert jpeg[start + 4 : start + 9] == b"Adobe"
    return jpeg[:start] + jpeg[start + 2 + length :]


def png_claiming(width: int, height: int) -> bytes:
    """A tiny PNG whose header claims any size: the classic decompression bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def large_jpeg(megapixels: int = 50, progressive: bool = False) -> bytes:
    """A grey JPEG of many pixels, half dark and half light, a few hundred kilobytes long."""
    width, height = 10_000, megapixels * 100
    picture = Image.new("L", (width, height), 40)
    picture.paste(200, (width // 2, 0, width, height))
    return encode(picture, "JPEG", quality=50, progressive=progressive)
