"""The gate stands before the stopwatch, and contenders take turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import command
from benchmarks.clock import HostClock
from benchmarks.contender import BASELINE, CannotRun, Case, Contender, Prepared, Verdict, optional_import
from benchmarks.memory import host_peak, host_peak_in_child
from benchmarks.results import earlier_cases, make_result, write_result
from benchmarks.runner import Options, interleave, run_case, run_subject
from benchmarks.subjects import SUBJECTS
from benchmarks.subjects.span_mask import SpanMasks
from benchmarks.subjects.vq import CodebookLookup

CPU = torch.device("cpu")
SLACK = 1 << 20  # the kernel counts resident pages in batches a thread
OPTIONS = Options(scale="miniature", case_seconds=0.0, rounds=(3, 3), memory=False)


class CountingClock:
    """Says 1 ms for every call, and writes down who was called when."""

    shortest = 0.0

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, call: Callable[[], Any], repeats: int) -> float:
        for _ in range(repeats):
            call()
        self.calls += 1
        return 1e-3


def test_contenders_take_turns_and_every_round_holds_all_of_them() -> None:
    log: list[str] = []
    calls = {name: (lambda name=name: log.append(name)) for name in "abc"}
    samples = interleave(calls, CountingClock(), seconds=1.0, rounds=(4, 10), patience=1.0)
    assert {len(values) for values in samples.values()} == {10}
    timed = log[3:]  # after one first look at each
    rounds = [timed[start : start + 3] for start in range(0, len(timed), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1, "the order must change from round to round"


def test_impatience_leaves_one_sample() -> None:
    samples = interleave({"slow": lambda: None}, CountingClock(), 1.0, (4, 10), patience=1e-4)
    assert samples == {"slow": [1e-3]}


def test_short_calls_are_repeated_until_the_clock_can_see_them() -> None:
    count: Counter[str] = Counter()

    class InterruptedOnce:
        shortest = 2e-3

        def __call__(self, call: Callable[[], Any], repeats: int) -> float:
            first = not count
            for _ in range(repeats):
                call()
            return 5e-3 if first else 1e-5

    samples = interleave({"short": lambda: count.update("x")}, InterruptedOnce(), 0.0, (1, 1), 1.0)
    assert samples["short"] == [1e-5]
    assert count["x"] == 1 + 5 + 5 + 200


def test_unknown_clock_is_refused() -> None:
    with pytest.raises(ValueError, match="clock is 'sun'"):
        HostClock("sun")


def _lookup_contender(name: str, wrong: Callable[[torch.Tensor], Any], timed: list[str]) -> Contender:
    def prepare(problem: Any) -> Prepared:
        right = torch.cdist(problem.x.double(), problem.codebook.double()).argmin(1)

        def run(_: None) -> Any:
            timed.append(name)
            return wrong(right)

        return Prepared(run)

    return Contender(name, "test", prepare)


def _one_wrong(indices: torch.Tensor) -> torch.Tensor:
    changed = indices.clone()
    changed[7] = (changed[7] + 1) % 32
    return changed


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (_one_wrong, "wrong code"),
        (lambda indices: indices[:-1], "not (96,)"),
        (lambda indices: indices.float(), "float32"),
    ],
)
def test_gate_refuses_a_wrong_lookup_and_never_times_it(wrong: Callable[[torch.Tensor], Any], reason: str) -> None:
    subject = CodebookLookup()
    case = subject.cases("miniature", CPU)[0]
    timed: list[str] = []
    contenders = [_lookup_contender(BASELINE, lambda right: right, timed), _lookup_contender("bad", wrong, timed)]
    rows = {row["contender"]: row for row in run_case(subject, case, OPTIONS, contenders)["rows"]}
    assert rows[BASELINE]["status"] == "timed"
    assert rows["bad"]["status"] == "refused"
    assert reason in rows["bad"]["reason"]
    assert rows["bad"]["seconds"] is None
    assert timed.count("bad") == 1, "a refused contender runs for the gate only"


def _attention_rows(change: Callable[[Any, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]], index: int) -> Any:
    subject = SUBJECTS["attention"]
    case = subject.cases("miniature", CPU)[index]
    right = next(entry for entry in subject.contenders(case) if entry.name == BASELINE)

    def prepare(problem: Any) -> Prepared:
        prepared = right.prepare(problem)
        return Prepared(lambda mask: change(problem, prepared.run(mask)), prepared.build)

    rows = run_case(subject, case, OPTIONS, [right, Contender("bad", "test", prepare)])["rows"]
    return {row["contender"]: row for row in rows}["bad"]


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_gate_refuses_attention_that_is_slightly_off_in_any_output(place: int) -> None:
    def change(_: Any, results: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(t * (1 + 1e-4) if i == place else t for i, t in enumerate(results))

    row = _attention_rows(change, 0)
    assert row["status"] == "refused"
    assert "allowed 1e-05" in row["reason"]


def test_gate_refuses_nan() -> None:
    row = _attention_rows(lambda _, results: tuple(t * torch.nan for t in results), 1)
    assert row["status"] == "refused"


def test_gate_refuses_attention_under_another_mask() -> None:
    subject = SUBJECTS["attention"]
    case = next(case for case in subject.cases("miniature", CPU) if "prefix_lm" in case.name)
    right = next(entry for entry in subject.contenders(case) if entry.name == BASELINE)

    def causal_only(problem: Any) -> Prepared:
        problem.pattern.prefix_lengths = torch.zeros_like(problem.pattern.prefix_lengths)
        try:
            mask = problem.pattern.interval_mask()
        finally:
            problem.pattern.prefix_lengths = torch.full_like(problem.pattern.prefix_lengths, 12)
        prepared = right.prepare(problem)
        return Prepared(lambda _: prepared.run(mask))

    rows = run_case(subject, case, OPTIONS, [right, Contender("causal", "test", causal_only)])["rows"]
    assert [row["status"] for row in rows] == ["timed", "refused"]


def test_contender_that_raises_is_a_row_with_the_first_line_of_the_error() -> None:
    def prepare(_: Any) -> Prepared:
        raise RuntimeError("no kernel image\nfor this device")

    subject = SpanMasks()
    case = subject.cases("miniature", CPU)[0]
    row = run_case(subject, case, OPTIONS, [subject.contenders(case)[0], Contender("bad", "test", prepare)])["rows"][1]
    assert (row["status"], row["reason"]) == ("failed", "RuntimeError: no kernel image")


def test_mask_building_is_timed_apart() -> None:
    subject = SUBJECTS["attention"]
    case = subject.cases("miniature", CPU)[1]
    built: list[int] = []
    right = next(entry for entry in subject.contenders(case) if entry.name == BASELINE)

    def prepare(problem: Any) -> Prepared:
        prepared = right.prepare(problem)
        assert prepared.build is not None
        build = prepared.build

        def counted() -> Any:
            built.append(1)
            return build()

        return Prepared(prepared.run, counted)

    row = run_case(subject, case, OPTIONS, [Contender(BASELINE, "gptface", prepare)])["rows"][0]
    assert len(built) >= 4, "once for the gate, then for every fresh call"
    assert row["mask_seconds"]["samples"] == 3
    assert row["fresh_seconds"]["median"] > 0


def test_peak_memory_of_a_call_is_what_it_touched() -> None:
    size = 64 << 20
    found = host_peak(lambda: torch.ones(size, dtype=torch.int8))
    assert size - SLACK <= found < size + (8 << 20)


def test_peak_memory_counts_what_is_freed_before_the_call_ends() -> None:
    size = 32 << 20

    def call() -> None:
        block = torch.ones(size, dtype=torch.int8)
        del block

    assert host_peak(call) >= size - SLACK


def test_peak_memory_is_measured_in_a_process_of_its_own() -> None:
    subject = SUBJECTS["attention"]
    case = Case("big", 512, {**subject.cases("miniature", CPU)[1].settings, "length": 1024})
    found, reason = host_peak_in_child(subject, case, "gptface, reference", 1, timeout=120.0)
    assert reason == ""
    assert found is not None
    # Two heads of 1024² float32 scores, several of them alive at once.
    assert found > 2 * 2 * 1024**2 * 4


def test_peak_memory_says_why_it_is_missing() -> None:
    subject = SUBJECTS["attention"]
    case = subject.cases("miniature", CPU)[0]
    found, reason = host_peak_in_child(subject, case, "SDPA cuDNN, bool mask", 1, timeout=120.0)
    assert (found, reason) == (None, "needs CUDA")


def test_optional_import_tells_absent_from_broken(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_extension.py").write_text("raise OSError('undefined symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CannotRun, match=r"^nothing-like-it is not installed$"):
        optional_import("no_such_module_anywhere.inner", "nothing-like-it")
    with pytest.raises(CannotRun, match=r"does not import: OSError: undefined symbol"):
        optional_import("broken_extension", "broken-extension")


def test_verdict_keeps_its_figures() -> None:
    assert Verdict({"wrong": 0.5}, "half are wrong").figures["wrong"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ([], True),
        (["--case", "B 64"], False),
        (["--quick"], False),
        (["--case", "B 64", "--output", "elsewhere"], True),
    ],
)
def test_a_few_cases_do_not_overwrite_the_results_of_all(
    arguments: list[str], kept: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[Path | None] = []
    monkeypatch.setattr(command, "run_subject", lambda *_, **__: {"cases": [{}]})
    monkeypatch.setattr(command, "make_result", lambda *_: {})
    monkeypatch.setattr(command, "full_table", lambda _: "")
    monkeypatch.setattr(command, "write_result", lambda _, folder: written.append(folder) or tmp_path)
    assert command.main(["span_mask", *arguments]) == 0
    assert written == ([Path("elsewhere") if "--output" in arguments else None] if kept else [])


def test_a_second_run_goes_on_where_the_first_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = CodebookLookup()
    cases = [case.name for case in subject.cases("miniature", CPU)]
    measured: list[str] = []

    def fake(subject: Any, case: Any, options: Options) -> dict[str, Any]:
        measured.append(case.name)
        row = {"contender": BASELINE, "owner": "", "status": "cannot", "reason": "not here", "quality": {}, "rates": {},
               "seconds": None, "fresh_seconds": None, "mask_seconds": None, "ratio": None, "fresh_ratio": None,
               "peak_bytes": None}  # fmt: skip
        return {"name": case.name, "size": 1, "headline": False, "settings": {}, "work": {}, "rows": [row]}

    monkeypatch.setattr("benchmarks.runner.run_case", fake)
    options = Options(scale="miniature", minutes=1e-9)
    last = run_subject(subject, OPTIONS, cases[-1])["cases"]
    write_result(make_result(subject, options, {"cases": last, "left_out": cases[:-1]}), tmp_path)
    longer = Options(scale="miniature")
    whole = run_subject(subject, longer, before=earlier_cases(subject, longer, tmp_path))
    assert measured == [cases[-1], *cases[:-1]], "the last is not measured again"
    assert [case["name"] for case in whole["cases"]] == cases and whole["left_out"] == []
    assert earlier_cases(subject, Options(scale="miniature", threads=7), tmp_path) == [], "other settings"
    assert earlier_cases(subject, longer, tmp_path / "elsewhere") == []
