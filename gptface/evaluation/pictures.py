"""Contact sheets: rows of pictures with a heading over each column and a line of text under a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gptface.files import atomic_write

__all__ = ["SheetRow", "draw_sheet", "mask_overlay"]

MARGIN = 6
LINE = 15


@dataclass
class SheetRow:
    """One row of a sheet.

    Attributes:
        images: uint8 ``(H, W, 3)`` each; sizes may differ, each is scaled to the cell.
        text: a line under the row, cut where the sheet ends.
    """

    images: Sequence[np.ndarray]
    text: str = ""


def mask_overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``image`` uint8 ``(H, W, 3)`` with the pixels of ``mask`` bool ``(H, W)`` greyed out, as an editor shows them."""
    shown = image.copy()
    shown[mask] = (0.25 * shown[mask] + 0.75 * np.array([150, 150, 160])).astype(np.uint8)
    return shown


def draw_sheet(path: Path, rows: Sequence[SheetRow], headings: Sequence[str] = (), *, cell: int = 128) -> Path:
    """Write the rows as one PNG, cells of ``cell``² pixels, nearest-neighbour so that the pixels themselves show."""
    columns = max((len(row.images) for row in rows), default=1)
    columns = max(columns, len(headings))
    width = MARGIN + columns * (cell + MARGIN)
    heights = [cell + MARGIN + (LINE if row.text else 0) for row in rows]
    sheet = Image.new("RGB", (width, MARGIN + (LINE if headings else 0) + sum(heights)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default()
    top = MARGIN
    if headings:
        for column, heading in enumerate(headings):
            draw.text((MARGIN + column * (cell + MARGIN), top - 2), heading, fill=(40, 40, 40), font=font)
        top += LINE
    for row, height in zip(rows, heights, strict=True):
        for column, image in enumerate(row.images):
            picture = Image.fromarray(image).resize((cell, cell), Image.Resampling.NEAREST)
            sheet.paste(picture, (MARGIN + column * (cell + MARGIN), top))
        if row.text:
            draw.text((MARGIN, top + cell + 2), _fit(draw, row.text, width - 2 * MARGIN, font), (40, 40, 40), font=font)
        top += height
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    return path


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"
