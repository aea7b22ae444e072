"""Iterative masked decoding: all unknown tokens are predicted at every step, the schedule's share of them is kept.

After MaskGIT (arXiv 2202.04200), in four parts that know nothing of one another: the schedule (how many), the order
(which), guidance (towards what) and the network. Every sample has its own count of unknown tokens, its own progress and
its own random numbers; tokens that were known at the start are never written.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.systems.gptface.generation.denoiser import Denoised, Denoiser, JointState
from gptface.systems.gptface.generation.guidance import (
    ClassifierFreeGuidance,
    ITMGuidance,
    bounded_tilt,
    choose_candidate,
    first_order_shift,
    restrict_top_k,
)
from gptface.systems.gptface.generation.memory import Memory
from gptface.systems.gptface.generation.noise import SampleNoise, sample_categorical
from gptface.systems.gptface.generation.schedule import plan_steps
from gptface.systems.gptface.generation.selection import ConfidenceOrder, Order, keep_best

__all__ = ["Decoded", "DecodingSettings", "decode_masked"]


@dataclass(frozen=True)
class DecodingSettings:
    """Everything that decoding may be told. Prints itself.

    Attributes:
        steps: most passes of the network; a sample with fewer unknown tokens takes fewer.
        order: which tokens are kept at a step: one of
            :data:`~gptface.systems.gptface.generation.selection.ORDERS`, or an order of your own.
        temperature: of the token draw; 0 takes the likeliest token.
        top_k: draw among the k likeliest tokens only.
        classifier_free: guidance by the difference to the empty caption.
        matching: guidance by the matching head.
        refresh: compute all tokens every so many steps, and in those between only the tokens that were unknown at the
            last such step; the others' keys and values stay as they were then. 1 computes everything, exactly. Steps
            that the matching head guides compute everything too. Not with ``compiled``.
        batch_invariant: run the network on one sample at a time, so that a sample's tokens depend on its seed bit by
            bit and not, through the rounding of a matrix product whose shape has changed, on the batch it is in.
            Without it the same seed gives the same picture except where two tokens tie to about seven digits, and a
            GPU is used far better.
        compiled: on a GPU, run a step as one compiled graph (``torch.compile``, "reduce-overhead"); what it takes to
            compile is for many steps of the same shapes. First-order guidance, and a CPU, take the plain way.
    """

    steps: int = 8
    order: Order = field(default_factory=ConfidenceOrder)
    temperature: float = 1.0
    top_k: int | None = None
    classifier_free: ClassifierFreeGuidance = field(default_factory=ClassifierFreeGuidance)
    matching: ITMGuidance = field(default_factory=ITMGuidance)
    refresh: int = 1
    batch_invariant: bool = True
    compiled: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "refresh"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.refresh > 1 and self.compiled:
            raise InputError(f"refresh must be 1 where compiled is true, got {self.refresh}")
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature must be finite and not negative, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")


@dataclass(frozen=True)
class Decoded:
    """The outcome of decoding.

    Attributes:
        state: the batch with nothing unknown left.
        match_log_odds: ``(B,)`` float32, the matching head's verdict on the result.
        history: tokens ``(B, L)`` before the first step and after each, if asked for; ``mask_token`` where unknown.
            Samples that need fewer steps repeat their last tokens.
    """

    state: JointState
    match_log_odds: Tensor
    history: list[Tensor] | None = None


def decode_masked(
    denoiser: Denoiser,
    state: JointState,
    unknown: Tensor,
    seeds: Sequence[int],
    settings: DecodingSettings | None = None,
    *,
    unconditional: JointState | None = None,
    keep_history: bool = False,
) -> Decoded:
    """Fill the unknown tokens of the denoiser's target modality.

    Args:
        denoiser: the network and the modality it decodes.
        state: the batch; what stands at unknown positions is ignored.
        unknown: ``(B, L)`` bool.
        seeds: one integer a sample. The same seed, state and settings give the same tokens in any batch.
        settings: how to decode.
        unconditional: the other branch of classifier-free guidance; by default the state without its condition (no
            caption, or for text an image that is all masked). A state with a caption is a negative prompt.
        keep_history: keep the tokens after every step.

    Raises:
        InputError: shapes or the number of seeds do not fit.
    """
    settings = settings or DecodingSettings()
    tokens = denoiser.tokens(state)
    if unknown.shape != tokens.shape or unknown.dtype != torch.bool:
        raise InputError(f"unknown must be bool {tuple(tokens.shape)}, got {unknown.dtype} {tuple(unknown.shape)}")
    if len(seeds) != len(state):
        raise InputError(f"seeds must hold one integer for each of the {len(state)} samples, got {len(seeds)}")
    if settings.batch_invariant and len(state) > 1:
        parts = [
            decode_masked(
                denoiser,
                state.rows(slice(row, row + 1)),
                unknown[row : row + 1],
                seeds[row : row + 1],
                settings,
                unconditional=None if unconditional is None else unconditional.rows(slice(row, row + 1)),
                keep_history=keep_history,
            )
            for row in range(len(state))
        ]
        return _concatenate(parts)
    with torch.no_grad():
        return _MaskedDecoding(denoiser, state, unknown, seeds, settings, unconditional).run(keep_history)


class _MaskedDecoding:
    """One batch on its way; split into the stages of a step."""

    def __init__(
        self,
        denoiser: Denoiser,
        state: JointState,
        unknown: Tensor,
        seeds: Sequence[int],
        settings: DecodingSettings,
        unconditional: JointState | None,
    ) -> None:
        self.denoiser = denoiser
        self.settings = settings
        device = unknown.device
        self.noise = SampleNoise(seeds, device)
        # The only synchronisation with the device: how many steps there are depends on the counts.
        self.plan = plan_steps(unknown.sum(1).tolist(), settings.steps)
        self.remaining = self.plan.remaining.to(device)
        self.progress = self.plan.progress.to(device)

        tokens = denoiser.tokens(state)
        self.tokens = torch.where(unknown, denoiser.mask_token, tokens)
        self.unknown = unknown
        self.conditioned = denoiser.with_tokens(state, self.tokens)
        decodes_image = denoiser.target == "image"
        # A caption that is not there can neither be followed nor be matched.
        has_condition = (state.text_lengths > 0) | (not decodes_image)
        self.has_condition = has_condition
        condition_somewhere = bool(has_condition.any())
        self.unconditional: JointState | None = None
        if settings.classifier_free.active and (condition_somewhere or unconditional is not None):
            if unconditional is None:
                hidden_image = torch.full_like(state.image_codes, denoiser.image_mask_token)
                unconditional = state.without_caption() if decodes_image else replace(state, image_codes=hidden_image)
            self.unconditional = unconditional
            self.both = JointState.concatenate([state, unconditional])
        self.matching = settings.matching if condition_somewhere else ITMGuidance()
        self.candidate_states = (
            state.repeat(self.matching.candidates) if self.matching.active and self.matching.mode == "exact" else None
        )
        self.scored: Denoised | None = None  # the pass that scored the present tokens also predicts from them
        self.memory: Memory | None = None
        self.remembered = 0  # the step whose pass filled the memory

    def run(self, keep_history: bool) -> Decoded:
        history = [self.tokens] if keep_history else None
        for step in range(self.plan.steps):
            self._step(step)
            if history is not None:
                history.append(self.tokens)
        state = self.denoiser.with_tokens(self.conditioned, self.tokens)
        final = self.scored if self.scored is not None else self.denoiser(state)
        return Decoded(state, final.match_log_odds, history)

    def _step(self, step: int) -> None:
        """What the host knows of a step: which numbers are drawn, and how far each sample is."""
        length = self.tokens.shape[1]
        # Decided from the plan on the host: a step at which no sample is guided costs what an unguided one does.
        guided = self.matching.active and bool((self.plan.progress[:, step] > 0).any())
        candidates = self.matching.candidates if guided and self.candidate_states is not None else 1
        progress = self.progress[:, step]
        # Each candidate has its own stream, so that the first is what unguided decoding would have drawn.
        numbers = [self.noise.uniform(step, 1 + candidate, (2, length)) for candidate in range(candidates)]
        # The derivative of first-order guidance is taken within the step, which is not traced.
        first_order = guided and self.matching.mode == "first_order"
        plain = not self.settings.compiled or first_order or not self.tokens.is_cuda
        advance = _MaskedDecoding.advance if plain else _captured
        # Logits are made where tokens are unknown; a graph wants one shape for all steps, a derivative all of them.
        index = self._unknown_first(step) if plain and not first_order else None
        if index is None or guided or self.scored is not None:
            self.memory = None
        elif self.settings.refresh > 1 and (self.memory is None or step - self.remembered >= self.settings.refresh):
            both = index if self.unconditional is None else torch.cat([index, index])
            self.memory, self.remembered = Memory(both), step
        if self.memory is not None:
            index = self.memory.index[: len(self.tokens)]
        self.tokens, self.unknown, self.scored = advance(
            self,
            self.tokens,
            self.unknown,
            self.scored,
            progress,
            self.matching.weight * progress * self.has_condition,
            self.remaining[:, step] - self.remaining[:, step + 1],
            torch.stack(numbers, dim=1),
            self.noise.uniform(step, 0, (candidates,)) if candidates > 1 else None,
            guided,
            index,
        )

    def _unknown_first(self, step: int) -> Tensor:
        """``(B, n)``: the unknown tokens of every sample, the first of them again where others have more unknown.

        What is computed twice is the same twice, so that nothing of a sample depends on its neighbours' holes.
        """
        most = int(self.plan.remaining[:, step].max())
        index = self.unknown.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        own = torch.arange(most, device=index.device) < self.unknown.sum(1, keepdim=True)
        return torch.where(own, index, index[:, :1])

    def advance(
        self,
        tokens: Tensor,
        unknown: Tensor,
        scored: Denoised | None,
        progress: Tensor,
        weight: Tensor,
        count: Tensor,
        uniform: Tensor,
        choice: Tensor | None,
        guided: bool,
        index: Tensor | None,
    ) -> tuple[Tensor, Tensor, Denoised | None]:
        """What the device does in a step: no synchronisation, no random number of its own.

        Of ``self`` nothing changes but what its memory holds.

        Args:
            tokens, unknown: ``(B, L)``, before the step.
            scored: the pass that scored ``tokens``, where the step before left one.
            progress, weight, count: ``(B,)``: how far each sample is, the weight of its guidance, how many to keep.
            uniform: ``(B, candidates, 2, L)``.
            choice: ``(B, candidates)``, where there are several.
            guided: the matching head guides this step.
            index: ``(B, n)``, tokens among which all unknown ones are; by default all.

        Returns:
            Tokens and what is unknown after the step; and the pass that scored the tokens, where there was one.
        """
        logits = self._logits(tokens, unknown, scored, progress, weight, guided, index)
        proposals = self._propose(tokens, unknown, logits, progress, count, uniform, index)  # (B, candidates, L)
        after = None
        if choice is None:
            tokens = proposals[:, 0]
        else:
            assert self.candidate_states is not None
            rows = proposals.flatten(0, 1)
            denoised = self.denoiser(self.denoiser.with_tokens(self.candidate_states, rows))
            chosen = choose_candidate(denoised, weight, choice)
            tokens = rows[chosen]
            after = denoised.rows(chosen)
        return tokens, unknown & (tokens == self.denoiser.mask_token), after

    def _logits(
        self,
        tokens: Tensor,
        unknown: Tensor,
        scored: Denoised | None,
        progress: Tensor,
        weight: Tensor,
        guided: bool,
        index: Tensor | None,
    ) -> Tensor:
        """``(B, L, V)``, or ``(B, n, V)`` at ``index``: the network's, with all guidance that acts on distributions."""
        denoiser, settings = self.denoiser, self.settings
        state = denoiser.with_tokens(self.conditioned, tokens)
        batch = len(state)
        free: Denoised | None = None
        renewing = self.memory is not None and bool(self.memory.caches)
        if self.unconditional is None:
            denoised = scored if scored is not None else self._pass(state)
        elif scored is not None:
            denoised = scored
            free = denoiser(denoiser.with_tokens(self.unconditional, tokens))
        else:
            pair = self._pass(denoiser.with_tokens(self.both, torch.cat([tokens, tokens])))
            denoised, free = pair.rows(slice(0, batch)), pair.rows(slice(batch, None))
        if renewing:
            index = None  # these are the features at index already
        logits = denoiser.logits(denoised, index)
        if free is not None:
            logits = settings.classifier_free(logits, denoiser.logits(free, index), progress)
        if denoiser.forbidden is not None:
            logits = logits.masked_fill(denoiser.forbidden, -torch.inf)
        if guided and self.matching.mode == "first_order":
            shift = first_order_shift(denoiser, state, unknown, logits) * weight.view(-1, 1, 1)
            logits = bounded_tilt(logits, shift, self.matching.kl_bound)
        return logits

    def _pass(self, state: JointState) -> Denoised:
        """The network's answer on one or both branches, by what is remembered where something is."""
        if self.memory is None:
            return self.denoiser(state)
        return (self.denoiser.renewed if self.memory.caches else self.denoiser.remembering)(state, self.memory)

    def _propose(
        self,
        tokens: Tensor,
        unknown: Tensor,
        logits: Tensor,
        progress: Tensor,
        count: Tensor,
        uniform: Tensor,
        index: Tensor | None,
    ) -> Tensor:
        """``(B, candidates, L)``: the tokens after this step, as drawn independently ``candidates`` times.

        ``logits`` are those of all tokens or of ``index (B, n)``.
        """
        settings = self.settings
        (batch, length), candidates = tokens.shape, uniform.shape[1]
        drawing = uniform[:, :, 0]
        if index is not None:
            index = index.unsqueeze(1).expand(-1, candidates, -1)
            drawing = drawing.gather(2, index)
        log_probabilities = logits.log_softmax(-1)
        if settings.temperature == 0:
            drawn = logits.argmax(-1, keepdim=True).expand(-1, -1, candidates)
        else:
            probabilities = (restrict_top_k(logits, settings.top_k) / settings.temperature).softmax(-1)
            drawn = sample_categorical(probabilities, drawing.transpose(1, 2))
        confidence = log_probabilities.gather(-1, drawn).transpose(1, 2)  # (B, candidates, L or n)
        drawn = drawn.transpose(1, 2)
        if index is not None:
            confidence = confidence.new_zeros(batch, candidates, length).scatter(2, index, confidence)
            drawn = drawn.new_zeros(batch, candidates, length).scatter(2, index, drawn)
        keep = keep_best(
            settings.order.scores(
                confidence.flatten(0, 1), progress.repeat_interleave(candidates), uniform[:, :, 1].flatten(0, 1)
            ),
            unknown.repeat_interleave(candidates, 0),
            count.repeat_interleave(candidates),
        ).view(batch, candidates, length)
        return torch.where(keep, drawn, tokens.unsqueeze(1))


@functools.cache
def _compiled_step() -> Callable[..., tuple[Tensor, Tensor, Denoised | None]]:
    return torch.compile(_MaskedDecoding.advance, fullgraph=True, mode="reduce-overhead")


def _captured(*arguments: Any) -> tuple[Tensor, Tensor, Denoised | None]:
    """:meth:`_MaskedDecoding.advance` as one graph without a break, launched as a CUDA graph.

    Its results are copied out of the graph's own memory, which the next launch overwrites.
    """
    torch.compiler.cudagraph_mark_step_begin()
    tokens, unknown, scored = _compiled_step()(*arguments)
    if scored is not None:
        scored = Denoised(scored.features.clone(), scored.match_logits.clone())
    return tokens.clone(), unknown.clone(), scored


def _concatenate(parts: Sequence[Decoded]) -> Decoded:
    history: list[Tensor] | None = None
    if parts[0].history is not None:
        histories = [part.history or [] for part in parts]
        longest = max(map(len, histories))
        padded = [own + own[-1:] * (longest - len(own)) for own in histories]
        history = [torch.cat(step) for step in zip(*padded, strict=True)]
    return Decoded(
        JointState.concatenate([part.state for part in parts]),
        torch.cat([part.match_log_odds for part in parts]),
        history,
    )
