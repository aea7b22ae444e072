"""Every subject runs at miniature shapes on a processor, and what cannot run says why."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.contender import BASELINE, Case, Subject
from benchmarks.results import check_result, make_result, write_result
from benchmarks.runner import Options, run_case
from benchmarks.subjects import SUBJECTS
from gptface.ops import implementations

CPU = torch.device("cpu")
OPTIONS = Options(scale="miniature", case_seconds=0.0, rounds=(2, 2), memory=False)
OPERATORS = {
    "attention": "masked_attention",
    "span_mask": "sample_span_mask",
    "vq": "vq_lookup",
    "raster": "rasterize",
}
CASES = [
    pytest.param(subject, case, id=f"{name}: {case.name}")
    for name, subject in SUBJECTS.items()
    for case in subject.cases("miniature", CPU)
]


def is_compiled(name: str) -> bool:
    """Whether a contender needs a compiler and tens of seconds: left to real runs."""
    return "compiled" in name


@pytest.mark.parametrize(("subject", "case"), CASES)
def test_case_runs_at_miniature_shape(subject: Subject, case: Case) -> None:
    contenders = [entry for entry in subject.contenders(case) if not is_compiled(entry.name)]
    done = run_case(subject, case, OPTIONS, contenders)
    result = make_result(subject, OPTIONS, {"cases": [done], "left_out": []})
    check_result(json.loads(json.dumps(result)))
    rows = {row["contender"]: row for row in done["rows"]}
    assert rows[BASELINE]["status"] == "timed", rows[BASELINE]["reason"]
    assert rows[BASELINE]["ratio"]["median"] == 1.0
    bad = {name: row["reason"] for name, row in rows.items() if row["status"] in ("failed", "refused")}
    assert not bad
    for row in rows.values():
        if row["status"] == "cannot":
            assert "installed" in row["reason"] or row["reason"], row


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_implementation_of_the_operator_is_a_contender(name: str) -> None:
    subject = SUBJECTS[name]
    for case in subject.cases("miniature", CPU):
        names = {contender.name for contender in subject.contenders(case)}
        assert {f"gptface, {entry.name}" for entry in implementations(OPERATORS[name])} <= names


@pytest.mark.parametrize("name", sorted(SUBJECTS))
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_case_names_are_unique_and_cases_survive_json(name: str, device: str) -> None:
    for scale in ("miniature", "quick", "full"):
        cases = SUBJECTS[name].cases(scale, torch.device(device))
        assert len({case.name for case in cases}) == len(cases) > 0
        for case in cases:
            assert json.loads(json.dumps(dict(case.settings))).keys() == case.settings.keys()


def test_peer_that_is_not_installed_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    subject = SUBJECTS["attention"]
    case = subject.cases("miniature", CPU)[0]
    peers = [entry for entry in subject.contenders(case) if entry.name in ("xFormers", "FlashAttention-3", BASELINE)]
    rows = {row["contender"]: row for row in run_case(subject, case, OPTIONS, peers)["rows"]}
    assert rows["xFormers"]["status"] == "cannot"
    assert rows["xFormers"]["reason"] == "xformers is not installed"
    assert rows["FlashAttention-3"]["reason"] == "flash-attn-3 is not installed"


def test_cases_not_reached_in_time_are_listed(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import runner

    monkeypatch.setattr(runner, "run_case", lambda subject, case, options: {"rows": []})
    ticks = iter(range(0, 10_000, 61))
    monkeypatch.setattr(runner.time, "monotonic", lambda: float(next(ticks)))
    subject = SUBJECTS["span_mask"]
    measured = runner.run_subject(subject, Options(scale="full", minutes=2.0))
    assert len(measured["cases"]) == 1
    assert len(measured["cases"]) + len(measured["left_out"]) == len(subject.cases("full", CPU))


def test_result_is_written_under_the_subjects_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    subject = SUBJECTS["span_mask"]
    case = subject.cases("miniature", CPU)[0]
    done = run_case(subject, case, OPTIONS, [subject.contenders(case)[0]])
    path = write_result(make_result(subject, OPTIONS, {"cases": [done], "left_out": []}), tmp_path)
    assert path == tmp_path / "span_mask.json"
    check_result(json.loads(path.read_text(encoding="utf-8")))
