"""One revision of this package against another, with pytest-benchmark:

    pytest benchmarks/regressions.py --benchmark-autosave
    (change something)
    pytest benchmarks/regressions.py --benchmark-compare --benchmark-compare-fail=median:10%

Every implementation that runs here, on the quick cases of the operators; each passes its gate first.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.contender import CannotRun, Case, Contender, Subject
from benchmarks.subjects import SUBJECTS

OPERATORS = ("attention", "span_mask", "vq", "raster")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _ours() -> list[Any]:
    return [
        pytest.param(subject, case, contender, id=f"{case.name}: {contender.name}")
        for subject in (SUBJECTS[name] for name in OPERATORS)
        for case in subject.cases("quick", DEVICE)
        for contender in subject.contenders(case)
        if contender.owner == "gptface"
    ]


@pytest.mark.parametrize(("subject", "case", "contender"), _ours())
def test_speed(benchmark: Any, subject: Subject, case: Case, contender: Contender) -> None:
    problem = subject.problem(case, DEVICE)
    try:
        prepared = contender.prepare(problem)
    except CannotRun as reason:
        pytest.skip(str(reason))
    mask = prepared.build() if prepared.build else None
    verdict = subject.gate(problem, prepared.outputs(prepared.run(mask)))
    assert not verdict.failure, verdict.failure

    def once() -> None:
        prepared.run(mask)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    benchmark(once)
