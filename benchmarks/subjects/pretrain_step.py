"""One whole pre-training step: composing the batch, forward, five losses, backward, AdamW."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contender import BASELINE, CannotRun, Case, Contender, Prepared, Scale, Subject, Verdict
from benchmarks.language_problem import LanguageProblem, make_language, random_pairs, twin
from benchmarks.peers.plain_transformer import PlainFaceLanguage
from benchmarks.shapes import pretrain_shapes
from gptface.ops import implementations
from gptface.systems.gptface import FaceLanguageModel
from gptface.systems.gptface.configuration import PretrainSection
from gptface.systems.gptface.objective import PretrainingObjective
from gptface.systems.gptface.pairs import Pairs
from gptface.training.hardware import peak_flops
from gptface.training.stage import Moment

__all__ = ["PretrainStep"]

# ‖gradient − float32 reference's‖ / ‖…‖ over all parameters, and the same of the loss. A mask that is wrong in one
# regime changes the gradient by far more.
GRADIENT_LIMIT = {torch.float32: 1e-3, torch.bfloat16: 0.1}
LOSS_LIMIT = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


@dataclass
class _Problem(LanguageProblem):
    pairs: Pairs
    section: PretrainSection

    @functools.cached_property
    def oracle(self) -> list[Tensor]:
        """The loss and the gradients of every parameter, padded, by the reference implementation in float32."""
        model = twin(self, FaceLanguageModel)
        model.set_attention_impl("reference")
        return _gradients(model, PretrainingObjective(model, self.section, packing=False), self.pairs)


def _gradients(model: nn.Module, objective: PretrainingObjective, pairs: Pairs) -> list[Tensor]:
    torch.manual_seed(0)
    loss, _ = objective(pairs, Moment(0, 0, 0.0))
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return [loss.detach(), *(gradient.float() for gradient in found)]


class PretrainStep(Subject):
    name = "pretrain_step"
    title = "Pre-training step"
    size_label = "pairs in a batch"

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        shapes = pretrain_shapes(scale, device.type)
        return [Case(shape.name, shape.batch, dataclasses.asdict(shape), headline=True) for shape in shapes]

    def problem(self, case: Case, device: torch.device) -> _Problem:
        made = make_language(case.settings, device)
        # Procedural data have region maps and a benchmark has not: blocks and single tokens only.
        section = PretrainSection(image_masks={"random": 0.6, "blocks": 0.4, "regions": 0.0})
        pairs = random_pairs(made.model, case.settings["batch"], device, case.settings["shortest"])
        return _Problem(case.settings, device, made.model.train(), pairs, section)

    def contenders(self, case: Case) -> Sequence[Contender]:
        own = [Contender(BASELINE, "gptface", functools.partial(_prepare, impl="auto"))]
        own.append(Contender("gptface, compiled", "gptface", functools.partial(_prepare, impl="auto", compiled=True)))
        own.append(Contender("gptface, padded", "gptface", functools.partial(_prepare, impl="auto", packing=False)))
        for entry in implementations("masked_attention"):
            prepare = functools.partial(_prepare, impl=entry.name, reason=entry.reason)
            own.append(Contender(f"gptface, {entry.name}", "gptface", prepare))
        for compiled in (False, True):
            name = "plain PyTorch, SDPA with dense mask" + (", compiled" if compiled else "")
            own.append(Contender(name, "torch", functools.partial(_prepare_plain, compiled=compiled)))
        return own

    def gate(self, problem: _Problem, outputs: Sequence[Tensor]) -> Verdict:
        (loss, *gradients), (true_loss, *truths) = outputs, problem.oracle
        distance = math.sqrt(
            sum(float((found - truth).square().sum()) for found, truth in zip(gradients, truths, strict=True))
        )
        errors = {
            "loss_error": abs(float(loss) / float(true_loss) - 1),
            "gradient_error": distance / math.sqrt(sum(float(truth.square().sum()) for truth in truths)),
        }
        limits = {"loss_error": LOSS_LIMIT[problem.dtype], "gradient_error": GRADIENT_LIMIT[problem.dtype]}
        failures = [
            f"{name.replace('_', ' ')} {error:.1e}, allowed {limits[name]:.0e}"
            for name, error in errors.items()
            if not error <= limits[name]
        ]
        return Verdict(errors, "; ".join(failures))

    def work(self, problem: _Problem) -> dict[str, float]:
        objective = PretrainingObjective(problem.model, problem.section)
        torch.manual_seed(0)
        batch = objective.compose(problem.pairs, Moment(0, 0, 0.0))
        config = problem.model.config
        flop = float(problem.model.flops_per_sequence(batch.sequence.lengths))
        width = config.hidden_size
        heads = (
            ((batch.masked_image, batch.next_image), config.codebook_size),
            (
                (batch.masked_text, batch.next_text),
                config.text_vocab_size,
            ),
        )
        for targets, size in heads:
            rows = sum(int((target.positions >= 0).sum()) for target in targets)
            flop += 6.0 * rows * width * (width + size)
        precision = "bf16" if problem.dtype == torch.bfloat16 else "no"
        return {
            "samples": len(problem.pairs.codes),
            "tokens": float(batch.sequence.lengths.sum()),
            "flop": flop,
            "peak_flop/s": peak_flops(problem.device, precision),
        }

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        return {
            "samples/s": work["samples"] / seconds,
            "tokens/s": work["tokens"] / seconds,
            "MFU %": 100 * work["flop"] / seconds / work["peak_flop/s"],
        }


def _prepare(
    problem: _Problem, impl: str, reason: str = "", compiled: bool = False, packing: bool = True
) -> Prepared:
    if reason:
        raise CannotRun(reason)
    model = twin(problem, FaceLanguageModel)
    model.set_attention_impl(impl)
    return _prepare_step(problem, model, compiled, packing)


def _prepare_plain(problem: _Problem, compiled: bool) -> Prepared:
    return _prepare_step(problem, twin(problem, PlainFaceLanguage), compiled, packing=False)


def _prepare_step(problem: _Problem, model: Any, compiled: bool, packing: bool) -> Prepared:
    """The step over ``model``. Batches are composed by this package for all contenders, so what differs is the model;
    a plain PyTorch user would draw masks more slowly."""
    if compiled:
        for layer in model.layers:
            layer.compile(dynamic=False)
    parameters = list(model.parameters())
    objective = PretrainingObjective(model, problem.section, packing=packing)
    optimizer = torch.optim.AdamW(parameters, lr=0.0, fused=True)

    def run(_: None) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        with problem.autocast():
            loss, _parts = objective(problem.pairs, Moment(0, 0, 0.0))
        loss.backward()
        optimizer.step()
        return loss.detach()

    def outputs(loss: Tensor) -> list[Tensor]:
        return [loss.float(), *(torch.zeros_like(p) if p.grad is None else p.grad.float() for p in parameters)]

    return Prepared(run, None, outputs)
