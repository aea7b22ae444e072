"""Span masks: a batch of masks from lengths or a grid, on the host as data loaders make them (and on the GPU)."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.contender import BASELINE, CannotRun, Case, Contender, Prepared, Scale, Subject, Verdict
from benchmarks.peers.span_masks import beit_blocks, fairseq_spans, hugging_face_spans, ijepa_targets, t5_spans
from benchmarks.shapes import SpanShape, span_shapes
from gptface.ops import ImageBlocks, TextSpans, implementations, sample_span_mask

__all__ = ["SpanMasks"]

Sampler = Callable[[], Any]
AsMask = Callable[[Any], np.ndarray]

# Masked share of what was asked for, over a batch, that each algorithm's own description implies. Overlapping spans
# fall short, I-JEPA has no ratio at all (four blocks of 15 to 20 %, overlapping).
_LEAST, _MOST = 0.4, 1.25


@dataclass
class _Problem:
    shape: SpanShape
    device: torch.device

    @property
    def positions(self) -> int:
        return self.shape.length if self.shape.kind == "text" else self.shape.grid**2


class SpanMasks(Subject):
    name = "span_mask"
    title = "Span masks"
    size_label = "samples in a batch"

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        return [
            Case(shape.name, shape.batch, dataclasses.asdict(shape), shape.batch == 256) for shape in span_shapes(scale)
        ]

    def problem(self, case: Case, device: torch.device) -> _Problem:
        return _Problem(SpanShape(**case.settings), device)

    def contenders(self, case: Case) -> Sequence[Contender]:
        own = [Contender(BASELINE, "gptface", functools.partial(_prepare_own, impl="auto"))]
        for entry in implementations("sample_span_mask"):
            prepare = functools.partial(_prepare_own, impl=entry.name, reason=entry.reason)
            own.append(Contender(f"gptface, {entry.name}", "gptface", prepare))
        peers = _TEXT if case.settings["kind"] == "text" else _IMAGE
        for name, owner, make in peers:
            own.append(Contender(name, owner, functools.partial(_prepare_peer, make=make)))
        return own

    def gate(self, problem: _Problem, outputs: np.ndarray) -> Verdict:
        """Shape and dtype, and a masked share that the algorithm's description allows. How exact the count is and how
        far a corner lags behind the centre goes into the table: that is a property, not an error."""
        shape, batch = problem.shape, problem.shape.batch
        mask = np.asarray(outputs)
        if mask.shape != (batch, problem.positions) or mask.dtype != np.bool_:
            return Verdict({}, f"the mask is {mask.dtype} {mask.shape}, not bool {(batch, problem.positions)}")
        wanted = round(shape.ratio * problem.positions)
        counts = mask.sum(1)
        figures = {
            "share": float(mask.mean()),
            "exact": float((counts == wanted).mean()),
            "first": float(mask[:, 0].mean()),
            "last": float(mask[:, -1].mean()),
        }
        if not mask.any() or mask.all():
            return Verdict(figures, "nothing is masked, or everything")
        fulfilled = figures["share"] / shape.ratio
        if not _LEAST <= fulfilled <= _MOST and not np.array_equal(counts, np.full(batch, wanted)):
            return Verdict(figures, f"{fulfilled:.2f} of the share asked for is masked")
        return Verdict(figures)

    def work(self, problem: _Problem) -> dict[str, float]:
        return {"samples": problem.shape.batch, "positions": problem.shape.batch * problem.positions}

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        return {"samples/ms": work["samples"] / seconds * 1e-3}


def _prepare_own(problem: _Problem, impl: str, reason: str = "") -> Prepared:
    if reason:
        raise CannotRun(reason)
    shape = problem.shape
    if shape.kind == "text":
        specification: Any = TextSpans(shape.ratio)
    else:
        specification = ImageBlocks((shape.grid, shape.grid), shape.ratio)
    on_host = problem.device.type == "cpu"
    if impl == "cpu" and not on_host:
        raise CannotRun("for inputs on the host")
    ids: Any = np.arange(shape.batch) if on_host else torch.arange(shape.batch, device=problem.device)
    lengths: Any = None
    if shape.kind == "text":
        lengths = np.full(shape.batch, shape.length)
        lengths = lengths if on_host else torch.from_numpy(lengths).to(problem.device)
    step = iter(range(2**31))
    options = {"max_length": shape.length} if shape.kind == "text" and not on_host else {}

    def run(_: None) -> Any:
        return sample_span_mask(specification, lengths, seed=0, step=next(step), sample_ids=ids, impl=impl, **options)

    def outputs(result: Any) -> np.ndarray:
        return result.mask if on_host else result.mask.cpu().numpy()

    return Prepared(run, None, outputs)


def _prepare_peer(problem: _Problem, make: Callable[[SpanShape], tuple[Sampler, AsMask]]) -> Prepared:
    """What it returns, masks or indices, is what is timed; on a GPU with the copy to it, as a training step needs."""
    sampler, as_mask = make(problem.shape)
    if problem.device.type == "cpu":
        return Prepared(lambda _: sampler(), None, as_mask)
    return Prepared(
        lambda _: torch.from_numpy(sampler()).to(problem.device), None, lambda found: as_mask(found.cpu().numpy())
    )


def _spans(function: Callable[..., np.ndarray], span: float) -> Callable[[SpanShape], tuple[Sampler, AsMask]]:
    def make(shape: SpanShape) -> tuple[Sampler, AsMask]:
        rng = np.random.default_rng(0)
        return lambda: function(shape.batch, shape.length, shape.ratio, span, rng), lambda mask: mask

    return make


def _beit(shape: SpanShape) -> tuple[Sampler, AsMask]:
    rng, grid = random.Random(0), (shape.grid, shape.grid)
    count = int(shape.ratio * shape.grid**2)
    return lambda: beit_blocks(shape.batch, grid, count, rng), lambda masks: masks.reshape(shape.batch, -1)


def _ijepa(shape: SpanShape) -> tuple[Sampler, AsMask]:
    if shape.ratio > 0.6:  # its four blocks cannot cover that much
        raise CannotRun("has no masking ratio; four blocks cover about half of the grid")
    rng, grid = random.Random(0), (shape.grid, shape.grid)

    def as_mask(targets: np.ndarray) -> np.ndarray:
        mask = np.zeros((shape.batch, shape.grid**2), bool)
        np.put_along_axis(mask, targets.reshape(shape.batch, -1), True, axis=1)
        return mask

    return lambda: ijepa_targets(shape.batch, grid, rng)[0], as_mask


_TEXT = (
    ("fairseq (wav2vec 2.0)", "fairseq", _spans(fairseq_spans, 10)),
    ("T5 span corruption", "T5", _spans(t5_spans, 3.0)),
    ("Hugging Face (SpecAugment)", "transformers", _spans(hugging_face_spans, 10)),
)
_IMAGE = (("BEiT blocks", "BEiT", _beit), ("I-JEPA blocks", "I-JEPA", _ijepa))
