"""The report over a tiny random system: everything is measured, drawn and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gptface.evaluation.page import Page
from gptface.models import FaceParser
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.evaluation.edit_trials import draw_trials
from gptface.systems.gptface.evaluation.report import ReportRequest, _Report, write_report
from gptface.systems.gptface.generation import FaceGenerator, ITMGuidance


def test_report_measures_and_writes_everything(folders: dict[str, Path], tmp_path: Path) -> None:
    lines: list[str] = []

    def another(page: Page, folder: Path) -> dict[str, float]:
        assert folder == tmp_path / "report"
        page.text("told by another system")
        return {"error": 0.5}

    page = write_report(
        ReportRequest(
            system=FaceSystem.from_pretrained(folders["system"]),
            judge=FaceParser.from_pretrained(folders["judge"]),
            output=tmp_path / "report",
            runs=[("tokenizer", folders["root"] / "metrics.jsonl")],
            faces=6,
            trials=4,
            guided=(("exact", ITMGuidance("exact", weight=2.0, candidates=2)),),
            further=[("Of another system", another)],
        ),
        lines.append,
    )
    text = page.read_text()
    headings = ("At a glance", "Attribute edits", "Expression changes", "Mask removal", "Inpainting", "Text to face")
    for word in ("PSNR", *headings, "<h2>Of another system</h2>", "told by another system"):
        assert word in text
    numbers = json.loads((tmp_path / "report" / "numbers.json").read_text())
    assert numbers["held_out"]["faces"] == 6
    for kind in ("attribute_edits", "expression_edits"):
        for figures in numbers[kind]["settings"].values():
            assert figures["outside_change"] == 0.0
            assert 0 <= figures["success"] <= 1
    assert numbers["inpainting_outside_change"] == 0.0
    assert (tmp_path / "report" / "strip.png").is_file()
    assert len(list((tmp_path / "report").glob("*.png"))) == 9
    assert numbers["of_another_system"] == {"error": 0.5}
    assert len(lines) == 10 and lines[-1] == "report 10/10: of another system"


def test_candidates_of_glasses_to_be_taken_off_are_not_ranked_by_how_well_glasses_show(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = FaceSystem.from_pretrained(folders["system"])
    request = ReportRequest(system, FaceParser.from_pretrained(folders["judge"]), tmp_path)
    trials = draw_trials(10, kind="attribute", seed=1, start=0, size=system.tokenizer.config.image_size)
    asked: list[str] = []

    def edit(_: FaceGenerator, images: Sequence[np.ndarray], *_further: Any, **named: Any) -> SimpleNamespace:
        asked.extend(named["attributes"])
        return SimpleNamespace(images=images, masks=[image[..., 0] > 0 for image in images])

    monkeypatch.setattr(FaceGenerator, "edit", edit)
    _Report(request, lambda _: None).editor(request.settings, best_of=2)(trials)
    assert asked == [trial.wish for trial in trials] and "no Eyeglasses" in asked
