"""The runner: gate, then stopwatch. All contenders of a case take turns, round after round, in a fresh order each."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.clock import Clock, make_clock
from benchmarks.contender import BASELINE, CannotRun, Case, Contender, Prepared, Scale, Subject
from benchmarks.memory import cuda_peak, host_peak_in_child
from benchmarks.statistics import paired_differences, paired_ratios, quantile, summary

__all__ = ["Options", "interleave", "run_case", "run_subject"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How to measure; recorded with the results.

    Attributes:
        device: ``cpu`` or ``cuda``.
        scale: which cases.
        threads: torch's threads on a processor.
        clock: ``wall`` or ``cpu`` time on a processor.
        case_seconds: aim for the timed rounds of one case.
        rounds: fewest and most rounds.
        patience: a contender whose call takes longer than this many seconds is timed once only.
        memory: measure peak memory.
        minutes: no new case is begun after this time; those left out are listed. 0: no limit.
    """

    device: str = "cpu"
    scale: Scale = "full"
    threads: int = 1
    clock: str = "wall"
    case_seconds: float = 10.0
    rounds: tuple[int, int] = (7, 200)
    patience: float = 20.0
    memory: bool = True
    minutes: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "rounds": list(self.rounds)}


def interleave(
    calls: dict[str, Callable[[], Any]], clock: Clock, seconds: float, rounds: tuple[int, int], patience: float
) -> dict[str, list[float]]:
    """Time all ``calls`` in turns: seconds a call, one sample a round.

    Each round runs every call once (as often as the clock's resolution needs), in an order drawn anew, so that drift
    and neighbours hit all alike. A first untimed call of each sets the number of rounds.

    Args:
        calls: name -> what to time; warmed up already.
        clock: the stopwatch.
        seconds: aim for all rounds together.
        rounds: fewest and most.
        patience: calls slower than this have the one sample of the first look and no more.
    """
    samples: dict[str, list[float]] = {}
    repeats: dict[str, int] = {}
    one_round = 0.0
    for name, call in calls.items():
        taken = clock(call, 1)
        if taken > patience:
            samples[name] = [taken]
            continue
        repeats[name] = 1
        if taken < 10 * clock.shortest:  # look again, with several calls: one look may have been interrupted
            taken = min(taken, clock(call, 5), clock(call, 5))
            repeats[name] = max(1, min(10_000, round(clock.shortest / max(taken, 1e-7))))
        one_round += taken * repeats[name]
        samples[name] = []
    count = max(rounds[0], min(rounds[1], int(seconds / max(one_round, 1e-9))))
    order = list(repeats)
    shuffler = random.Random(0)
    for _ in range(count if order else 0):
        shuffler.shuffle(order)
        for name in order:
            samples[name].append(clock(calls[name], repeats[name]))
    return samples


def _first_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"[:300]


def _admit(subject: Subject, problem: Any, contender: Contender, row: Row) -> tuple[Prepared, Any] | None:
    """Prepare a contender, run it once and let the gate judge: its mask to be reused, or None with the reason noted."""
    try:
        prepared = contender.prepare(problem)
        mask = prepared.build() if prepared.build else None
        verdict = subject.gate(problem, prepared.outputs(prepared.run(mask)))
    except CannotRun as error:
        row.update(status="cannot", reason=str(error))
        return None
    except RuntimeError as error:
        # This package's words for an implementation that is asked for by name and does not support a call.
        status = "cannot" if contender.owner == "gptface" and "cannot run" in str(error) else "failed"
        row.update(status=status, reason=_first_line(error))
        return None
    except Exception as error:  # a foreign library may raise anything; the row says what
        row.update(status="failed", reason=_first_line(error))
        return None
    row["quality"] = dict(verdict.figures)
    if verdict.failure:
        row.update(status="refused", reason=verdict.failure)
        return None
    return prepared, mask


def run_case(
    subject: Subject, case: Case, options: Options, contenders: Sequence[Contender] | None = None
) -> dict[str, Any]:
    """One case as it goes into the result: its work, and a row for every contender, timed or not."""
    device = torch.device(options.device)
    clock = make_clock(device, options.clock)
    if "torch._dynamo" in sys.modules:
        # What earlier cases compiled counts against a limit of recompilations, beyond which a compiled contender would
        # run uncompiled in silence.
        torch.compiler.reset()
    problem = subject.problem(case, device)
    work = subject.work(problem)
    rows: list[Row] = []
    admitted: dict[str, tuple[Prepared, Any]] = {}
    for contender in subject.contenders(case) if contenders is None else contenders:
        row: Row = {
            "contender": contender.name, "owner": contender.owner, "status": "timed", "reason": "", "quality": {},
            "seconds": None, "fresh_seconds": None, "mask_seconds": None, "peak_bytes": None, "rates": {},
            "ratio": None, "fresh_ratio": None,
        }  # fmt: skip
        rows.append(row)
        entry = _admit(subject, problem, contender, row)
        if entry is not None:
            admitted[contender.name] = entry

    calls: dict[str, Callable[[], Any]] = {}
    for name, (prepared, mask) in admitted.items():
        calls[name] = lambda prepared=prepared, mask=mask: prepared.run(mask)
        if prepared.build is not None:
            calls[f"{name}\0fresh"] = lambda prepared=prepared: prepared.run(prepared.build())
    samples = interleave(calls, clock, options.case_seconds, options.rounds, options.patience)

    reused = samples.get(BASELINE)
    fresh_baseline = samples.get(f"{BASELINE}\0fresh", reused)
    for row in rows:
        name = row["contender"]
        if name not in admitted:
            continue
        own, fresh = samples[name], samples.get(f"{name}\0fresh")
        row["seconds"] = summary(own)
        row["rates"] = subject.rates(work, quantile(own, 0.5))
        if len(own) == 1:
            row["reason"] = "too slow for more than one call"
        if fresh is not None:
            row["fresh_seconds"] = summary(fresh)
            if len(fresh) == len(own):
                row["mask_seconds"] = summary(paired_differences(fresh, own))
        if reused is not None and fresh_baseline is not None:
            row["ratio"] = summary(paired_ratios(own, reused))
            row["fresh_ratio"] = summary(paired_ratios(own if fresh is None else fresh, fresh_baseline))
        if options.memory:
            row["peak_bytes"] = _peak(subject, case, name, admitted[name][0], device, options, row)
    return {
        "name": case.name, "size": case.size, "headline": case.headline, "settings": dict(case.settings), "work": work,
        "rows": rows,
    }  # fmt: skip


def _peak(
    subject: Subject, case: Case, name: str, prepared: Prepared, device: torch.device, options: Options, row: Row
) -> int | None:
    if device.type == "cuda":
        return cuda_peak(prepared, device)
    timeout = max(30.0, 6 * options.patience)
    found, reason = host_peak_in_child(subject, case, name, options.threads, timeout)
    if found is None:
        row["reason"] = "; ".join(filter(None, [row["reason"], f"peak memory: {reason}"]))
    return found


def run_subject(
    subject: Subject,
    options: Options,
    only: str = "",
    say: Callable[[str], None] = lambda line: None,
    save: Callable[[dict[str, Any]], None] = lambda measured: None,
    before: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """All cases of a subject whose name contains ``only``: ``cases`` and ``left_out`` of the result.

    ``save`` gets the same after every case, so that a run that is killed leaves what it had. Cases of ``before``, of an
    earlier run on the same machine, are taken over and not measured again.
    """
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    begun = time.monotonic()
    cases = [case for case in subject.cases(options.scale, device) if only in case.name]
    done = {case["name"]: case for case in before if case["name"] in {case.name for case in cases}}

    def measured() -> dict[str, Any]:
        return {
            "cases": [done[case.name] for case in cases if case.name in done],
            "left_out": [case.name for case in cases if case.name not in done],
        }

    for case in cases:
        if case.name in done:
            continue
        if options.minutes and time.monotonic() - begun > 60 * options.minutes:
            break
        say(f"{subject.name}: {case.name}")
        done[case.name] = run_case(subject, case, options)
        for row in done[case.name]["rows"]:
            say("  " + _sentence(row))
        save(measured())
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return measured()


def _sentence(row: Row) -> str:
    if row["seconds"] is None:
        return f"{row['contender']}: {row['status']}: {row['reason']}"
    ratio = f", {row['ratio']['median']:.2f}× the time of {BASELINE}" if row["ratio"] else ""
    return f"{row['contender']}: {row['seconds']['median'] * 1e3:.3f} ms{ratio}"
