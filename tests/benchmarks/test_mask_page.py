"""The page of masks shows every constructor, and is what its command writes."""

from __future__ import annotations

import inspect

import pytest

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
