"""The evidence on span masks: statistics that reject what is wrong, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.span_mask_evidence import main
from benchmarks.span_mask_page import FOLDER, write_page
from benchmarks.span_mask_statistics import Marginals, SpanLengths, expected_span_lengths
from gptface.ops import Fixed, Geometric, Uniform


@pytest.mark.parametrize("law", [Geometric(), Uniform(2, 6), Fixed(4)])
@pytest.mark.parametrize("budget", [1, 7, 30])
def test_expected_lengths_spend_the_budget(law: Geometric | Uniform | Fixed, budget: int) -> None:
    expected = expected_span_lengths(law.law(), budget)
    assert float(expected @ np.arange(len(expected))) == pytest.approx(budget)


def test_span_lengths_are_counted_around_the_end() -> None:
    found = SpanLengths(4)
    found.add(np.array([[1, 1, 0, 1, 0, 1], [0, 1, 1, 0, 1, 1], [0, 0, 1, 0, 0, 0]], bool))
    assert found.sums.tolist() == [0, 2, 2, 1, 0]


def test_the_statistics_reject_a_sampler_that_neglects_the_border() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 28, 5000)
    uneven, even = Marginals(), Marginals()
    uneven.add((np.arange(30) >= starts[:, None]) & (np.arange(30) < starts[:, None] + 3), 3)
    even.add((np.arange(30) - rng.integers(0, 30, 5000)[:, None]) % 30 < 3, 3)
    assert uneven.exact == even.exact == 5000
    assert uneven.p_all_positions() < 1e-6 and uneven.p_one_position() < 1e-6
    assert even.p_all_positions() > 1e-3 and even.p_one_position() > 1e-3


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    output = tmp_path / "span-masks"
    main([f"--output={output}", "--samples=600", "--peer-samples=32", "--specifications=5", "--repeats=1"])
    checks = json.loads((output / "numbers.json").read_text())["checks"]
    assert all(row["exact"] in (None, row["samples"]) for row in checks["marginals"])
    assert checks["varied"]["exact"] == checks["varied"]["samples"]
    page = output.with_suffix(".md").read_text()
    for picture in ("marginals-sequence", "marginals-grid", "span-lengths"):
        assert f"span-masks/{picture}.png" in page and (output / f"{picture}.png").stat().st_size > 1000


def test_one_section_can_be_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "span-masks"
    main([f"--output={output}", "--only=speed", "--repeats=1"])
    assert "## Speed" in output.with_suffix(".md").read_text()
    before = json.loads((output / "numbers.json").read_text())
    main([f"--output={output}", "--only=checks", "--samples=300", "--peer-samples=32", "--specifications=2"])
    after, page = json.loads((output / "numbers.json").read_text()), output.with_suffix(".md").read_text()
    assert after["speed"] == before["speed"] and after["checks"]["agreement"]["specifications"] == 2
    assert "## Speed" in page and "## Span lengths" in page
    assert "left  the same bits" in capsys.readouterr().err


def test_the_committed_page_is_that_of_its_numbers(tmp_path: Path) -> None:
    numbers = json.loads((FOLDER / "numbers.json").read_text(encoding="utf-8"))
    write_page(tmp_path / "span-masks", numbers)
    written = (tmp_path / "span-masks.md").read_text(encoding="utf-8")
    assert written == FOLDER.with_suffix(".md").read_text(encoding="utf-8"), "run python -m benchmarks.span_mask_page"
    checks = numbers["checks"]
    assert all(row["exact"] in (None, row["samples"]) for row in checks["marginals"])
    assert checks["agreement"]["cpu"] == checks["agreement"]["specifications"]
