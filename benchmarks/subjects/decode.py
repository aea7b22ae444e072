"""Masked decoding of images: all steps, from a caption alone to all codes, or a part of a picture as edits do.

Random weights, guidance off.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.contender import BASELINE, CannotRun, Case, Contender, Prepared, Scale, Subject, Verdict
from benchmarks.language_problem import LanguageProblem, make_language, random_pairs, twin
from benchmarks.peers.plain_transformer import PlainFaceLanguage
from benchmarks.shapes import decode_shapes
from gptface.ops import implementations
from gptface.systems.gptface import FaceLanguageModel
from gptface.systems.gptface.generation import DecodingSettings
from gptface.systems.gptface.generation.denoiser import JointDenoiser, JointState
from gptface.systems.gptface.generation.sampler import decode_masked

__all__ = ["Decode"]

# Draws are by seed, so two correct contenders differ only where two tokens tie to float32 rounding; after such a tie
# the rest of that image goes its own way.
AGREEMENT = 0.9


@dataclass
class Approximate:
    """Codes ``(B, N)`` by a method that does not promise the reference's: agreement is reported, and nothing asked.

    Of random weights it says little; what reuse costs a trained system stands in the report's table of edits.
    """

    codes: Tensor


@dataclass
class _Problem(LanguageProblem):
    state: JointState

    @property
    def decoding(self) -> DecodingSettings:
        return DecodingSettings(steps=self.settings["steps"], batch_invariant=False)

    def decode(self, model: Any, settings: DecodingSettings | None = None) -> Tensor:
        """``(B, N)`` codes."""
        unknown = torch.zeros_like(self.state.image_codes, dtype=torch.bool)
        unknown[:, : round(self.settings["unknown"] * unknown.shape[1])] = True
        seeds = list(range(len(self.state)))
        with torch.no_grad():
            decoded = decode_masked(JointDenoiser(model), self.state, unknown, seeds, settings or self.decoding)
        return decoded.state.image_codes

    @functools.cached_property
    def oracle(self) -> Tensor:
        """The codes by the reference implementation."""
        return self.decode(_own(self, "reference"))


def _own(problem: LanguageProblem, impl: str) -> FaceLanguageModel:
    model = twin(problem, FaceLanguageModel).eval()
    model.set_attention_impl(impl)
    return model


class Decode(Subject):
    name = "decode"
    title = "Masked decoding"
    size_label = "steps"

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        shapes = decode_shapes(scale, device.type)
        return [Case(shape.name, shape.steps, dataclasses.asdict(shape), shape.steps == 8) for shape in shapes]

    def problem(self, case: Case, device: torch.device) -> _Problem:
        made = make_language(case.settings, device)
        pairs = random_pairs(made.model, case.settings["batch"], device)
        state = JointState(pairs.text_ids, pairs.text_lengths, pairs.codes)
        return _Problem(case.settings, device, made.model.eval(), state)

    def contenders(self, case: Case) -> Sequence[Contender]:
        own = [
            Contender(BASELINE, "gptface", functools.partial(_prepare, impl="auto")),
            Contender("gptface, unknown tokens renewed alone", "gptface", _prepare_reusing),
        ]
        if case.settings["batch"] > 1:
            own.append(Contender("gptface, batch invariant", "gptface", _prepare_invariant))
        for entry in implementations("masked_attention"):
            prepare = functools.partial(_prepare, impl=entry.name, reason=entry.reason)
            own.append(Contender(f"gptface, {entry.name}", "gptface", prepare))
        own.append(Contender("plain PyTorch model, our sampler", "torch", _prepare_plain))
        return own

    def gate(self, problem: _Problem, outputs: Tensor | Approximate) -> Verdict:
        codes = problem.model.config.codebook_size
        approximate = isinstance(outputs, Approximate)
        outputs = outputs.codes if isinstance(outputs, Approximate) else outputs
        if outputs.shape != problem.oracle.shape or not bool(((outputs >= 0) & (outputs < codes)).all()):
            return Verdict({}, "not every position holds a code")
        agreement = float((outputs == problem.oracle).double().mean())
        if approximate or agreement >= AGREEMENT:
            return Verdict({"agreement": agreement})
        return Verdict({"agreement": agreement}, f"{1 - agreement:.0%} of the codes differ from the reference's")

    def work(self, problem: _Problem) -> dict[str, float]:
        return {"images": len(problem.state), "tokens": problem.state.image_codes.numel()}

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        return {"ms/image": 1e3 * seconds / work["images"], "images/s": work["images"] / seconds}


def _prepare(problem: _Problem, impl: str, reason: str = "") -> Prepared:
    if reason:
        raise CannotRun(reason)
    model = _own(problem, impl)
    return Prepared(lambda _: problem.decode(model))


def _prepare_reusing(problem: _Problem) -> Prepared:
    model = _own(problem, "auto")
    settings = dataclasses.replace(problem.decoding, refresh=problem.decoding.steps)
    return Prepared(lambda _: Approximate(problem.decode(model, settings)))


def _prepare_invariant(problem: _Problem) -> Prepared:
    model = _own(problem, "auto")
    settings = dataclasses.replace(problem.decoding, batch_invariant=True)
    return Prepared(lambda _: problem.decode(model, settings))


def _prepare_plain(problem: _Problem) -> Prepared:
    model = twin(problem, PlainFaceLanguage).eval()
    return Prepared(lambda _: problem.decode(model))
