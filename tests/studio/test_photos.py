"""Uploads and brushes: sizes, sentences, and the pixels that are meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gptface.errors import InputError
from gptface.studio.masks import brushed_mask
from gptface.studio.photos import LONGEST_SIDE, enlarged, read_photo


def test_a_photo_of_20_megapixels_is_shrunk_with_a_sentence(tmp_path: Path) -> None:
    Image.new("RGB", (5472, 3648), (90, 120, 150)).save(tmp_path / "camera.jpg")
    photo, note = read_photo(tmp_path / "camera.jpg")
    assert photo.shape == (683, LONGEST_SIDE, 3)
    assert "camera.jpg was shrunk from 5472 × 3648 to 1024 × 683" in note


def test_a_bigger_one_is_refused_by_its_header(tmp_path: Path) -> None:
    Image.new("1", (6000, 5000)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"huge.png has 30 megapixels \(6000 × 5000\); photos of up to 24"):
        read_photo(tmp_path / "huge.png")


def test_a_small_one_comes_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    photo, note = read_photo(tmp_path / "small.png")
    assert np.array_equal(photo, pixels) and note == ""
    assert enlarged(photo).shape == (512, 384, 3)
    assert enlarged(photo, 20) is photo


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n but not for long"])
def test_a_file_that_is_no_picture_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.png"):
        read_photo(tmp_path / "notes.png")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_brushed_pixel_of_the_photo_is_one_that_was_painted(height: int, width: int, scale: int, seed: int) -> None:
    meant = np.random.default_rng(seed).random((height, width)) < 0.3
    layer = np.zeros((height * scale, width * scale, 4), dtype=np.uint8)
    layer[:, :, 3] = np.kron(meant, np.ones((scale, scale))) * 200
    found = brushed_mask([layer], (height, width))
    assert found is None if not meant.any() else np.array_equal(found, meant)


def test_layers_of_a_brush_add_up_and_nothing_painted_is_no_mask() -> None:
    left, right = (np.zeros((8, 8, 4), dtype=np.uint8) for _ in range(2))
    left[:, :4, 3], right[:, 4:, 3] = 255, 255
    found = brushed_mask([left, right], (4, 4))
    assert found is not None and found.all()
    assert brushed_mask([np.zeros((8, 8, 4), dtype=np.uint8)], (4, 4)) is None
    assert brushed_mask([], (4, 4)) is None
