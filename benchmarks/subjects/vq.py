"""Codebook lookup, and the training step of a whole quantiser."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.contender import BASELINE, CannotRun, Case, Contender, Prepared, Scale, Subject, Verdict
from benchmarks.peers import vq_lookup as peers
from benchmarks.shapes import LookupShape, lookup_shapes
from benchmarks.vq_problem import LookupProblem, make_lookup, prepare_step
from gptface.ops import VectorQuantizer, implementations, pack_codebook, vq_lookup

__all__ = ["CodebookLookup"]

# A chosen code may be farther than the nearest by float32 rounding of the squares it was computed from, and no more.
TIE = 1e-5
FEW_ROWS = 1024  # up to which a codebook kept packed shows
REFERENCE_LIMIT = 1 << 28  # bytes of the reference's N × K × D tensor; beyond it takes seconds


class CodebookLookup(Subject):
    name = "vq"
    title = "Codebook lookup"
    size_label = "codes"

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        shapes = lookup_shapes(scale, device.type)
        return [Case(shape.name, shape.codes, dataclasses.asdict(shape), not shape.offset) for shape in shapes]

    def problem(self, case: Case, device: torch.device) -> LookupProblem:
        return make_lookup(LookupShape(**case.settings), device)

    def contenders(self, case: Case) -> Sequence[Contender]:
        prepare = _prepare_quantizer if case.settings["step"] else _prepare_lookup
        own = [Contender(BASELINE, "gptface", functools.partial(prepare, impl="auto"))]
        for entry in implementations("vq_lookup"):
            named = functools.partial(prepare, impl=entry.name, reason=entry.reason)
            own.append(Contender(f"gptface, {entry.name}", "gptface", named))
        if not case.settings["step"]:
            own.append(Contender("gptface, codebook packed before", "gptface", _prepare_packed))
            if case.settings["rows"] <= FEW_ROWS:
                own.append(Contender("gptface, VectorQuantizer in evaluation", "gptface", _prepare_evaluation))
        return [*own, *peers.contenders(case)]

    def gate(self, problem: LookupProblem, outputs: Tensor) -> Verdict:
        """No chosen code may be farther than the nearest one, beyond float32 ties. A common offset makes those wide for
        whoever expands the square without centring: such rows count as wrong, and the share is in the table."""
        if outputs.shape != (problem.shape.rows,) or outputs.is_floating_point():
            return Verdict({}, f"indices are {outputs.dtype} {tuple(outputs.shape)}, not ({problem.shape.rows},)")
        with torch.no_grad():
            excess = problem.distances(outputs.long()) - problem.best
            centred = (problem.x - problem.x.mean(0)).double().square().sum(1)
            wrong = float((excess > TIE * (centred + problem.best)).double().mean())
        allowed = 1e-2 if problem.shape.offset else 1e-4
        figures = {"wrong": wrong}
        return Verdict(figures, f"{wrong:.1%} of the rows have a wrong code" if wrong > allowed else "")

    def work(self, problem: LookupProblem) -> dict[str, float]:
        shape = problem.shape
        return {"rows": shape.rows, "flop": 2.0 * shape.rows * shape.codes * shape.length}

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        return {"Mrows/s": work["rows"] / seconds * 1e-6, "GFLOP/s": work["flop"] / seconds * 1e-9}


def _check_reference(problem: LookupProblem, impl: str, reason: str) -> None:
    if reason:
        raise CannotRun(reason)
    needed = 4 * problem.shape.rows * problem.shape.codes * problem.shape.length
    if impl == "reference" and needed > REFERENCE_LIMIT:
        raise CannotRun(f"its N × K × D tensor would take {needed / 2**30:.0f} GiB")


def _prepare_lookup(problem: LookupProblem, impl: str, reason: str = "") -> Prepared:
    _check_reference(problem, impl, reason)
    return Prepared(lambda _: vq_lookup(problem.x, problem.codebook, impl=impl).indices)


def _prepare_packed(problem: LookupProblem) -> Prepared:
    packed = pack_codebook(problem.codebook)
    return Prepared(lambda _: vq_lookup(problem.x, packed).indices)


def _prepare_evaluation(problem: LookupProblem) -> Prepared:
    """What a tokenizer runs: the lookup in a codebook that it compares with the one it has packed, the codes, the loss
    and the usage."""
    shape = problem.shape
    module = VectorQuantizer(shape.length, shape.codes, kmeans_init=False).to(problem.x.device).eval()
    module.weight.copy_(problem.codebook)

    def run(_: None) -> Tensor:
        with torch.no_grad():
            return module(problem.x).indices

    return Prepared(run)


def _prepare_quantizer(problem: LookupProblem, impl: str, reason: str = "") -> Prepared:
    _check_reference(problem, impl, reason)
    shape = problem.shape
    module = VectorQuantizer(shape.length, shape.codes, kmeans_init=False, impl=impl).to(problem.x.device)
    # The gate looks at the first step, in which every contender has the same codebook.
    module.weight.copy_(problem.codebook)
    module.cluster_sum.copy_(problem.codebook)

    def forward(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = module(x)
        return output.quantized, output.indices, output.loss

    return prepare_step(problem, forward)
