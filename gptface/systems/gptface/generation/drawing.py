"""Drawing image tokens for captions: a seed a sample, away from negative captions, the best of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.data.inputs import seed_list, strings
from gptface.errors import InputError
from gptface.systems.gptface.generation.codec import SystemCodec
from gptface.systems.gptface.generation.denoiser import JointDenoiser, JointState
from gptface.systems.gptface.generation.noise import derive_seed
from gptface.systems.gptface.generation.ranking import Score, match_score
from gptface.systems.gptface.generation.sampler import Decoded, DecodingSettings, decode_masked

__all__ = ["Draw", "best_of_seeds", "draw_codes"]


@dataclass(frozen=True)
class Draw:
    """How samples are drawn, as the caller said it.

    Attributes:
        settings: of masked decoding.
        seeds: one a sample, or one integer s for s, s + 1, …
        negative_captions: what to move away from: one for all samples or one each.
        best_of: candidates a sample, of which the best by a score is kept.
        keep_history: keep the tokens after every step.
    """

    settings: DecodingSettings
    seeds: int | Sequence[int] = 0
    negative_captions: str | Sequence[str] | None = None
    best_of: int = 1
    keep_history: bool = False


def draw_codes(
    codec: SystemCodec, state: JointState, unknown: Tensor, draw: Draw, score: Score = match_score
) -> Decoded:
    """Masked decoding of the ``unknown (B, N)`` image tokens of ``state``; the best candidate is that by ``score``."""
    denoiser = JointDenoiser(codec.system.model)
    negative = None
    if draw.negative_captions is not None:
        negative = codec.state(strings(draw.negative_captions, len(state), "negative_captions"), state.image_codes)

    def once(seeds: Sequence[int]) -> Decoded:
        return decode_masked(
            denoiser,
            state,
            unknown,
            seeds,
            draw.settings,
            unconditional=negative,
            keep_history=draw.keep_history,
        )

    return best_of_seeds(once, seed_list(draw.seeds, len(state)), draw.best_of, score)


def best_of_seeds(
    draw: Callable[[Sequence[int]], Decoded], seeds: list[int], best_of: int, score: Score = match_score
) -> Decoded:
    """Draw ``best_of`` times with seeds derived from a sample's own, and keep each sample's best by ``score``."""
    if best_of < 1:
        raise InputError(f"best_of must be at least 1, got {best_of}")
    best = draw(seeds)
    scores = score(best) if best_of > 1 else None
    for candidate in range(1, best_of):
        assert scores is not None
        other = draw([derive_seed(seed, candidate) for seed in seeds])
        others = score(other)
        better = (others > scores).to(best.match_log_odds.device)
        scores = torch.maximum(scores, others)
        rows = better.unsqueeze(1)
        state = JointState(
            torch.where(rows, other.state.text_ids, best.state.text_ids),
            best.state.text_lengths,
            torch.where(rows, other.state.image_codes, best.state.image_codes),
        )
        history = None
        if best.history is not None and other.history is not None:
            history = [torch.where(rows, b, a) for a, b in zip(best.history, other.history, strict=True)]
        best = Decoded(state, torch.where(better, other.match_log_odds, best.match_log_odds), history)
    return best
