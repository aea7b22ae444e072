"""Sheets, curves and the page: what is drawn is what was given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.errors import InputError
from gptface.evaluation.curves import draw_curves, read_metrics
from gptface.evaluation.page import Page
from gptface.evaluation.pictures import MARGIN, SheetRow, draw_sheet, mask_overlay


def test_a_sheet_shows_each_picture_in_its_cell(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), dtype=np.uint8)
    red[..., 0] = 255
    blue = np.zeros((16, 16, 3), dtype=np.uint8)
    blue[..., 2] = 255
    path = draw_sheet(tmp_path / "sheet.png", [SheetRow([red, blue], "a long line " * 30)], ["one", "two"], cell=32)
    picture = np.asarray(Image.open(path))
    assert picture[MARGIN + 15 + 16, MARGIN + 16].tolist() == [255, 0, 0]
    assert picture[MARGIN + 15 + 16, 2 * MARGIN + 32 + 16].tolist() == [0, 0, 255]


def test_the_overlay_touches_only_the_mask() -> None:
    image = np.full((4, 4, 3), 10, dtype=np.uint8)
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = True
    shown = mask_overlay(image, mask)
    assert (shown[~mask] == 10).all() and (shown[mask] > 100).all() and (image == 10).all()


def test_metrics_of_a_killed_run_are_read_up_to_the_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = [json.dumps({"step": 1, "loss": 2.0}), json.dumps({"step": 2, "psnr": 20.0})]
    path.write_text("\n".join([*whole, '{"step": 3']))
    metrics = read_metrics(path)
    assert metrics["step"].tolist() == [1, 2]
    assert metrics["loss"][0] == 2.0 and np.isnan(metrics["loss"][1])
    assert draw_curves(tmp_path / "curves.png", metrics, ["loss", "psnr", "absent"], "run").stat().st_size > 1000
    path.write_text('{"step"\n{"step": 2}\n')
    with pytest.raises(InputError, match="line 1"):
        read_metrics(path)
    with pytest.raises(InputError, match="no such metrics file"):
        read_metrics(tmp_path / "absent.jsonl")


def test_the_page_escapes_text_and_holds_its_pictures(tmp_path: Path) -> None:
    picture = draw_sheet(tmp_path / "sheet.png", [SheetRow([np.zeros((4, 4, 3), dtype=np.uint8)])], cell=16)
    page = Page("A <b>title</b>")
    page.heading("Numbers")
    page.table([["PSNR", "24.1 dB"]], ["what", "value"])
    page.picture(picture, "a black square")
    text = page.write(tmp_path / "report.html").read_text()
    assert "&lt;b&gt;" in text and "data:image/png;base64," in text and "24.1 dB" in text
