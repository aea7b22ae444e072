"""``gptface prove --tune``, interpreted: candidates that agree are timed, the winner's line is written and taken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gptface.diagnosis.prove import tuning
from gptface.diagnosis.prove.case import Case
from gptface.diagnosis.prove.tuning import Candidate, candidates, time_candidates, tune
from gptface.kernels import attention, inventory
from gptface.kernels.attention_configurations import TUNED, configuration, entries, read_entries
from gptface.kernels.attention_tuning import candidates_of

PROBLEM = ("forward", 16, 16, 512)


@pytest.fixture(autouse=True)
def own_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GPTFACE_LEDGER", str(tmp_path / "gpu_ledger.json"))
    inventory.forget()
    yield tmp_path / "tuned"
    monkeypatch.undo()
    inventory.forget()


def of_one_line() -> list[Candidate]:
    found = [case for case in candidates(True) if case.problem == PROBLEM]
    assert len(found) == len(candidates_of(PROBLEM)) >= 3
    return found


def agreeing(pairs: Sequence[tuple[str, Case]], until: float) -> list[Case]:
    """Two candidates of one line, run in this process."""
    chosen = [case for _, case in pairs if isinstance(case, Candidate) and case.problem == PROBLEM][:2]
    return [case for case in chosen if all(found.passed for found in case.run("cpu"))]


def preset(*milliseconds: float) -> Callable[[Callable[[], Any]], float]:
    """A stopwatch that says these numbers one after the other: the table in force first, then the candidates."""
    said = iter(milliseconds)
    return lambda call: next(said)


def test_the_winner_is_written_and_taken_and_its_removal_returns_to_the_shipped_table(own_tables: Path) -> None:
    before = inventory.source_hash("attention.forward", "sm_86")
    tuned = tune(0, 1.0, agreeing, preset(2.0, 3.0, 1.0))
    assert [(one.operator, one.timed, len(one.lines)) for one in tuned] == [("attention", 1, 1), ("vq", 0, 0)]
    path = own_tables / "attention_default.json"
    assert tuned[0].path == path and tuned[1].path is None
    assert "median time on" in json.loads(path.read_text())["chosen_by"]
    winner = candidates_of(PROBLEM)[1]
    assert configuration("forward", "default", 16, 16, 100) == winner
    shipped = read_entries(TUNED / "attention_default.json")
    differing = [mine for mine, theirs in zip(entries("default"), shipped, strict=True) if mine != theirs]
    assert [(entry.kernel, entry.bits, entry.block_d, entry.rows) for entry in differing] in ([PROBLEM], [])
    changed = inventory.source_hash("attention.forward", "sm_86") != before
    assert changed == bool(differing), "other tiles need a proof of their own"
    path.unlink()
    inventory.forget()
    assert entries("default") == shipped


def test_nothing_is_written_where_nothing_is_faster(own_tables: Path) -> None:
    tuned = tune(0, 1.0, agreeing, preset(2.0, 1.99, 3.0))
    assert tuned[0].path is None and tuned[0].timed == 1 and not own_tables.exists()


def test_a_candidate_that_computes_something_else_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    case = of_one_line()[0]
    assert all(found.passed for found in case.run("cpu"))
    forward, calls = attention.forward, []

    def wrong(*arguments: Any) -> Any:
        calls.append(1)
        out, lse, state = forward(*arguments)
        return (out * 1.05 if len(calls) == 3 else out), lse, state  # the workload's own, the expected one, then this

    monkeypatch.setattr(attention, "forward", wrong)
    assert not any(found.passed for found in case.run("cpu"))


def test_no_line_is_begun_after_its_time() -> None:
    assert time_candidates(of_one_line(), "cpu", preset(), time.monotonic() - 1) == {}


def test_what_people_train_with_comes_first() -> None:
    first = candidates(True)[0]
    assert first.operator == "attention" and first.problem[1:3] == (16, 64)
    assert {case.operator for case in candidates(True)} == set(tuning.OPERATORS)


def test_both_kinds_of_lookup_lines_run() -> None:
    for problem in (("ieee", 32, 2), ("bf16", None, None)):
        case = next(case for case in candidates(True) if case.problem == problem)
        assert all(found.passed for found in case.run("cpu")), problem
