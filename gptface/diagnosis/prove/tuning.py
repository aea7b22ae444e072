"""``gptface prove --tune``: time the candidates of every launch table on the GPU at hand; the winners are this user's.

Workers compile the candidates side by side and compare each with the table in force; this process then times those that
agree, one after the other. A table is written whole: lines for which the time did not suffice stay as they were.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gptface.diagnosis.prove.case import Case, Found
from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.kernels import attention_configurations, inventory, vq_configurations
from gptface.kernels.ledger import installed_triton
from gptface.kernels.places import tuned_path
from gptface.ops import proofs

__all__ = ["OPERATORS", "Candidate", "Tuned", "candidates", "time_candidates", "tune"]

OPERATORS = ("attention", "vq")
COMPILING = 0.6  # of the time is for compiling and comparing, the rest for timing
SMALL = 2**9  # elements of a tensor in the interpreter
_TABLES: dict[str, Any] = {"attention": attention_configurations, "vq": vq_configurations}


def _tuning(operator: str) -> Any:
    """The module that knows an operator's problems and candidates; it imports triton."""
    if operator == "attention":
        from gptface.kernels import attention_tuning

        return attention_tuning
    from gptface.kernels import vq_tuning

    return vq_tuning


@dataclass(frozen=True)
class Candidate(Case):
    """One configuration for one line of a table: it has to agree with the table in force.

    Attributes:
        operator: one of :data:`OPERATORS`.
        problem: what the line is for, as the operator's tuning module says.
        number: of the candidate.
        small: over few elements, for the interpreter.
    """

    operator: str = "attention"
    problem: tuple[Any, ...] = ()
    number: int = 0
    small: bool = False

    def kernels(self) -> tuple[str, ...]:
        return (f"attention.{self.problem[0]}" if self.operator == "attention" else "vq.nominate",)

    def weight(self) -> float:
        """What people train with comes first, 16 bits and heads of 64, exact lookups; then by the table's order."""
        first = (16, 64) if self.operator == "attention" else ("ieee",)
        own = self.problem[1:3] if self.operator == "attention" else self.problem[:1]
        return 2.0 if own == first else 1.0

    def workload(self, device: str) -> Any:
        tuning = _tuning(self.operator)
        return tuning.workload(self.problem, device, SMALL) if self.small else tuning.workload(self.problem, device)

    def trying(self) -> Any:
        tuning = _tuning(self.operator)
        return tuning.trying(self.problem, tuning.candidates_of(self.problem)[self.number])

    def run(self, device: str) -> list[Found]:
        load = self.workload(device)
        expected = load.run()
        with self.trying():
            found = load.run()
        return [Found(self.kernels()[0], "results beside those of the table in force", load.error(found, expected))]


def candidates(interpret: bool = False) -> list[Candidate]:
    """Every candidate of every line, those of a line together, the most wanted lines first."""
    found = []
    for operator in OPERATORS:
        tuning = _tuning(operator)
        for problem in tuning.problems():
            found += [
                Candidate(f"{operator} {problem} {number}", operator, tuple(problem), number, interpret)
                for number in range(len(tuning.candidates_of(problem)))
            ]
    return sorted(found, key=lambda case: -case.weight())


@dataclass(frozen=True)
class Tuned:
    """What the timing of one table came to.

    Attributes:
        operator: whose.
        path: the file that was written; ``None`` where nothing was faster.
        lines: ``(problem, before, after)`` in milliseconds, of each line that got faster.
        timed: number of lines that were timed, of ``total``.
        total: number of lines.
    """

    operator: str
    path: Path | None
    lines: tuple[tuple[tuple[Any, ...], float, float], ...]
    timed: int
    total: int

    def __str__(self) -> str:
        said = f"{self.operator}: {self.timed} of {self.total} lines timed, {len(self.lines)} faster than before"
        return f"{said}; written to {self.path}" if self.path else said


def tune(
    device: int,
    minutes: float,
    check: Callable[[Sequence[tuple[str, Case]], float], Iterable[Case]],
    timer: Callable[[Callable[[], Any]], float] | None = None,
) -> list[Tuned]:
    """Time the candidates within ``minutes`` and write this user's tables.

    Args:
        device: index of the CUDA device.
        check: runs ``("tune", candidate)`` pairs until a moment (of ``time.monotonic``); returns those that agreed.
        timer: milliseconds of a call; by default triton's ``do_bench``, the median.

    Raises:
        InputError: nobody says where this user's tables lie.
        OSError: they cannot be written.
    """
    if timer is None:
        from triton.testing import do_bench

        def timer(call: Callable[[], Any]) -> float:
            return float(do_bench(call, warmup=25, rep=100, return_mode="median"))

    begun = time.monotonic()
    everything = candidates(proofs.interpreting())
    good = check([("tune", case) for case in everything], begun + 60 * minutes * COMPILING)
    agreed = [case for case in good if isinstance(case, Candidate)]
    table = "default" if proofs.interpreting() else inventory.table_of(proofs.machine(device).architecture)
    found = time_candidates(agreed, "cpu" if proofs.interpreting() else "cuda", timer, begun + 60 * minutes)
    return [_write(operator, table, found, device) for operator in OPERATORS]


Times = dict[tuple[str, tuple[Any, ...]], tuple[float, float, "int | None"]]


def time_candidates(
    cases: Sequence[Candidate], device: str, timer: Callable[[Callable[[], Any]], float], until: float
) -> Times:
    """``(operator, problem)`` -> milliseconds of the table in force, of the best candidate, and its number.

    The number is ``None`` where no candidate is faster by 2 %. Lines are timed one by one until the time is up.
    """
    lines: dict[tuple[str, tuple[Any, ...]], list[Candidate]] = {}
    for case in sorted(cases, key=lambda case: -case.weight()):
        lines.setdefault((case.operator, case.problem), []).append(case)
    found: Times = {}
    for key, own in lines.items():
        if time.monotonic() > until:
            break
        load = own[0].workload(device)
        before = best = timer(load.run)
        winner: int | None = None
        for case in own:
            with case.trying():
                taken = timer(load.run)
            if taken < best and taken < 0.98 * before:
                best, winner = taken, case.number
        found[key] = before, best, winner
    return found


def _write(operator: str, table: str, times: Times, device: int) -> Tuned:
    tuning, configurations = _tuning(operator), _TABLES[operator]
    total = len(list(tuning.problems()))
    own = {problem: numbers for (of, problem), numbers in times.items() if of == operator}
    faster = [(problem, before, best) for problem, (before, best, number) in own.items() if number is not None]
    if not faster:
        return Tuned(operator, None, (), len(own), total)
    path = tuned_path(operator, table)
    if path is None:
        raise InputError("prove: nobody says where tables lie: pip install platformdirs, or set GPTFACE_LEDGER")
    lines = []
    for entry in configurations.entries(table):
        number = own.get(_problem_of(operator, entry), (0.0, 0.0, None))[2]
        line = entry.as_json()
        if number is not None:
            chosen = tuning.candidates_of(_problem_of(operator, entry))[number]
            line = type(entry)(*_problem_of(operator, entry), chosen).as_json()
        lines.append(json.dumps(line))
    where = "Triton's interpreter" if proofs.interpreting() else torch.cuda.get_device_name(device)
    head = {
        "chosen_by": f"median time on {where}", "date": datetime.date.today().isoformat(), "triton": installed_triton(),
    }  # fmt: skip
    body = ",\n  ".join(lines)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(head)[:-1] + f',\n "entries": [\n  {body}\n ]\n}}\n', encoding="utf-8")
    inventory.forget()
    proofs.forget()
    return Tuned(operator, path, tuple(faster), len(own), total)


def _problem_of(operator: str, entry: Any) -> tuple[Any, ...]:
    if operator == "attention":
        return entry.kernel, entry.bits, entry.block_d, entry.rows
    return entry.precision, entry.depth, entry.kept
