"""Image-text matching on held-out pairs: does the head tell a face's own caption from another face's?"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gptface.ops import ImageRandom, sample_span_mask
from gptface.systems.gptface import FaceLanguageModel, Regime, build_sequence

__all__ = ["MatchingQuality", "hide_half", "match_log_odds", "measure_matching"]


@dataclass(frozen=True)
class MatchingQuality:
    """Accuracy over as many matched as mismatched pairs (chance is 0.5).

    Attributes:
        accuracy: of the two-way decision.
        masked_accuracy: the same with half of the image tokens masked, as half-way through decoding.
        ranking: share of faces whose own caption scores above the other one (needs no threshold).
    """

    accuracy: float
    masked_accuracy: float
    ranking: float


@torch.no_grad()
def match_log_odds(
    model: FaceLanguageModel,
    codes: torch.Tensor,
    text_ids: torch.Tensor,
    text_lengths: torch.Tensor,
    *,
    batch_size: int = 64,
) -> torch.Tensor:
    """Log-odds of "this caption belongs to this face" for each row: ``(N,)`` float32. Masked codes are ``K``."""
    model.eval()
    device = next(model.parameters()).device
    scores = []
    for start in range(0, len(codes), batch_size):
        part = slice(start, start + batch_size)
        sequence = build_sequence(
            model.vocabulary,
            text_ids[part].to(device),
            text_lengths[part].to(device),
            codes[part].to(device),
            Regime.MASKED,
        )
        logits = model.match_logits(model.forward_sequence(sequence)).float()
        scores.append((logits[:, 1] - logits[:, 0]).cpu())
    return torch.cat(scores)


def hide_half(model: FaceLanguageModel, codes: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    """``codes (N, tokens)`` with half of each picture's tokens unknown, as half-way through decoding."""
    height, width = model.config.image_grid
    mask = sample_span_mask(
        ImageRandom((height, width), 0.5),
        [codes.shape[1]] * len(codes),
        seed=seed,
        step=0,
        sample_ids=torch.arange(len(codes)),
    ).mask
    return codes.masked_fill(mask, model.vocabulary.image_size)


def _other_caption(text_ids: torch.Tensor, text_lengths: torch.Tensor) -> torch.Tensor:
    """For each row the next row (cyclically) with another, non-empty caption; itself where there is none."""
    captions = [tuple(row[:length].tolist()) for row, length in zip(text_ids, text_lengths.tolist(), strict=True)]
    count = len(captions)
    chosen = []
    for row in range(count):
        steps = (step for step in range(1, count) if captions[(row + step) % count] not in ((), captions[row]))
        chosen.append((row + next(steps, 0)) % count)
    return torch.tensor(chosen)


def measure_matching(
    model: FaceLanguageModel,
    codes: torch.Tensor,
    text_ids: torch.Tensor,
    text_lengths: torch.Tensor,
    *,
    seed: int = 0,
) -> MatchingQuality:
    """Score every face with its own caption and with the caption of another face that reads differently.

    Two faces may happen to share what a caption says, so the ceiling is below 1. Faces without a caption are left out.
    """
    kept = text_lengths > 0
    codes, text_ids, text_lengths = codes[kept], text_ids[kept], text_lengths[kept]
    other = _other_caption(text_ids, text_lengths)
    usable = other != torch.arange(len(other))
    codes, own_ids, own_lengths = codes[usable], text_ids[usable], text_lengths[usable]
    other_ids, other_lengths = text_ids[other][usable], text_lengths[other][usable]

    results = []
    for image in (codes, hide_half(model, codes, seed=seed)):
        matched = match_log_odds(model, image, own_ids, own_lengths)
        mismatched = match_log_odds(model, image, other_ids, other_lengths)
        accuracy = float(torch.cat([matched > 0, mismatched <= 0]).float().mean())
        results.append((accuracy, float((matched > mismatched).float().mean())))
    return MatchingQuality(accuracy=results[0][0], masked_accuracy=results[1][0], ranking=results[0][1])
