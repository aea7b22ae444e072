"""The regret of the automatic choice: what it is compared with, and which number is the worst."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.contender import BASELINE
from benchmarks.regret_table import regret_lines, regrets
from benchmarks.subjects import SUBJECTS


def row(name: str, ratio: float | None, fresh: float | None = None, seconds: float = 1.0) -> dict[str, Any]:
    def numbers(value: float | None) -> dict[str, float] | None:
        return None if value is None else {"median": value, "low": value, "high": value, "samples": 3}

    timed = ratio is not None
    return {
        "contender": name, "status": "timed" if timed else "refused", "seconds": numbers(seconds if timed else None),
        "fresh_seconds": None, "ratio": numbers(ratio), "fresh_ratio": numbers(ratio if fresh is None else fresh),
    }  # fmt: skip


def result(**cases: list[dict[str, Any]]) -> dict[str, Any]:
    return {"baseline": BASELINE, "cases": [{"name": name, "rows": rows} for name, rows in cases.items()]}


def test_worst_case_comes_first_and_only_what_passed_the_gate_counts() -> None:
    found = regrets(
        result(
            good=[row(BASELINE, 1.0), row("slow", 2.0)],
            bad=[row(BASELINE, 1.0), row("fast", 0.5), row("middling", 0.8)],
            wrong=[row(BASELINE, 1.0), row("computes something else", None), row("peer", 0.9)],
        )
    )
    assert [(entry.name, entry.best) for entry in found] == [("bad", "fast"), ("wrong", "peer"), ("good", BASELINE)]
    assert [entry.regret for entry in found] == pytest.approx([2.0, 1 / 0.9, 1.0])


def test_masks_count_built_or_ready_whichever_is_worse() -> None:
    built, ready = regrets(
        result(
            built=[row(BASELINE, 1.0), row("peer", 1.5, fresh=0.5)],
            ready=[row(BASELINE, 1.0), row("peer", 0.8, fresh=3.0)],
        )
    )
    assert (built.name, built.regret, built.ready) == ("built", 2.0, False)
    assert (ready.name, ready.regret, ready.ready) == ("ready", 1.25, True)


def test_table_names_the_worst_and_counts_what_is_over_the_limit() -> None:
    lines = regret_lines(result(a=[row(BASELINE, 1.0), row("peer", 0.5)], b=[row(BASELINE, 1.0), row("peer", 0.96)]))
    assert lines[0] == "**Worst: 2.00** (a); 1 of 2 cases above 1.05."
    assert lines[-2:] == ["| a | 1e+03 ms | peer | 2.00 |", "| b | 1e+03 ms | peer | 1.04 |"]
    assert regret_lines(result()) == ["No case was timed."]


def test_every_contender_that_may_be_the_best_takes_part() -> None:
    subject = SUBJECTS["regret"]
    for scale in ("quick", "full"):
        for case in subject.cases(scale, torch.device("cpu")):  # type: ignore[arg-type]
            names = {contender.name for contender in subject.contenders(case)}
            assert {BASELINE, "gptface, cpu"} <= names
            assert ("gptface, sdpa" in names) == (case.settings["operator"] == "attention")
            assert any(name.startswith(("SDPA default", "addmm")) for name in names)
