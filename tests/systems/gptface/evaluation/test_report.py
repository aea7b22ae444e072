"""The report over a tiny random system: everything is measured, drawn and written."""

from __future__ import annotations

import json
from pathlib import Path

from gptface.evaluation.page import Page
from gptface.models import FaceParser
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.evaluation.report import ReportRequest, write_report
from gptface.systems.gptface.generation import ITMGuidance


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
