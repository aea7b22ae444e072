"""What ``impl="auto"`` costs against the best contender of each call: attention and lookup on a processor.

The problems, gates and contenders are those of the ``attention`` and ``vq`` subjects. The full scale has them all, but
for those that a compiler makes anew for every shape of attention; the quick one those that may be the best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks.attention_problem import AttentionProblem
from benchmarks.contender import Case, Contender, Scale, Subject, Verdict
from benchmarks.regret_shapes import regret_attention_shapes, regret_lookup_shapes
from benchmarks.subjects.attention import Attention
from benchmarks.subjects.vq import CodebookLookup

__all__ = ["Regret"]

_ATTENTION, _LOOKUP = Attention(), CodebookLookup()
# They know the codebook before the call, or are not what runs the call: no choice of "auto".
_OTHER_QUESTIONS = ("packed before", "in evaluation", "index built before")
# Definitions, and on a processor what the default is already: times over and again the time of the others.
_SLOW = ("gptface, reference", "SDPA math", "SDPA flash", "cdist")
# Whose attention and lookup run on a processor.
_OWNERS = ("gptface", "torch", "faiss")


class Regret(Subject):
    name = "regret"
    title = "Regret of the automatic choice"
    size_label = "keys or codes"
    has_masks = True
    host_only = True

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        """``operator`` in the settings says whose case it is; the others are of that subject."""
        found = []
        for operator, subject, shapes in (
            ("attention", _ATTENTION, regret_attention_shapes(scale)),
            ("lookup", _LOOKUP, regret_lookup_shapes(scale)),
        ):
            extent = {"compiled": scale == "full" and subject is _LOOKUP, "slow": scale == "full"}
            for shape in shapes:
                size = shape.length if operator == "attention" else shape.codes  # type: ignore[union-attr]
                settings = {"operator": operator, "shape": dataclasses.asdict(shape), **extent}
                found.append(Case(shape.name, size, settings))
        return found

    def problem(self, case: Case, device: torch.device) -> Any:
        subject, inner = _of(case)
        return subject.problem(inner, device)

    def contenders(self, case: Case) -> Sequence[Contender]:
        subject, inner = _of(case)
        left_out = _OTHER_QUESTIONS if case.settings["compiled"] else (*_OTHER_QUESTIONS, "compiled")
        left_out = (*left_out, *(() if case.settings["slow"] else _SLOW))
        return [
            contender
            for contender in subject.contenders(inner)
            if contender.owner in _OWNERS and not any(words in contender.name for words in left_out)
        ]

    def gate(self, problem: Any, outputs: Any) -> Verdict:
        return _for(problem).gate(problem, outputs)

    def work(self, problem: Any) -> dict[str, float]:
        return _for(problem).work(problem)

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        return {"GFLOP/s": work["flop"] / seconds * 1e-9}


def _of(case: Case) -> tuple[Subject, Case]:
    subject: Subject = _ATTENTION if case.settings["operator"] == "attention" else _LOOKUP
    return subject, Case(case.name, case.size, case.settings["shape"])


def _for(problem: Any) -> Subject:
    return _ATTENTION if isinstance(problem, AttentionProblem) else _LOOKUP
