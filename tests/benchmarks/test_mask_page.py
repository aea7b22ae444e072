"""The page of masks shows every constructor, and is what its command writes."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.mask_page import PAGE, PICTURES, Picture, page
from gptface.ops import IntervalMask


def test_the_page_is_what_the_command_writes_and_names_every_constructor() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m benchmarks.mask_page"
    constructors = [
        name
        for name, member in inspect.getmembers(IntervalMask, inspect.ismethod)
        if not name.startswith("_") and "IntervalMask" in str(inspect.signature(member).return_annotation)
    ]
    assert {"full", "causal", "from_dense"} <= set(constructors)
    for name in constructors:
        assert f"`IntervalMask.{name}`" in page(), name


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_there_and_small(picture: Picture) -> None:
    assert picture.file.stat().st_size < 60_000
    assert 0.0 < picture.mask().density() <= 1.0


def classes(path: Path) -> np.ndarray:
    """Of every second pixel: visible, partly visible, fully visible or none of these; letters are none."""
    pixels = np.asarray(Image.open(path).convert("RGB"), np.int16)[::2, ::2]
    colours = np.array([[0x1B, 0x3A, 0x4B], [0xF4, 0xA2, 0x59], [0x2A, 0x6F, 0x97]])
    near = np.abs(pixels[..., None, :] - colours).max(-1) < 8
    return np.where(near.any(-1), near.argmax(-1) + 1, 0)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_shows_its_mask(picture: Picture, tmp_path: Path) -> None:
    """Drawn again, but for the hundredth that another version's letters may push about."""
    picture.draw(tmp_path / "again.png")
    stored, again = classes(picture.file), classes(tmp_path / "again.png")
    assert stored.shape == again.shape
    assert (stored > 0).mean() > 0.1
    assert (stored != again).mean() < 0.01, "run python -m benchmarks.mask_page"
