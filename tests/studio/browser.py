"""A real Chromium on the page, and what a person does there."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

__all__ = ["CHROMIUM", "IN_A_BROWSER", "PATIENCE", "click", "download", "edited", "open_photo", "pixels", "said"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH"),
]
"""Marks of every file of such tests."""
PATIENCE = 120_000
"""Milliseconds: a machine that does much else is slow, and not wrong."""


def click(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def edited(page: Any) -> None:
    """Wait for the slider of before and after."""
    page.wait_for_selector("#slider img")


def said(page: Any, words: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#message")).to_contain_text(words, timeout=PATIENCE)


def open_photo(page: Any, path: Path) -> None:
    page.locator("#open-photo input[type=file], input[type=file]").first.set_input_files(path)


def download(page: Any, name: str) -> bytes:
    with page.expect_download() as waiting:
        page.locator(f"#{name}").click()
    return Path(waiting.value.path()).read_bytes()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))
