"""Masked image/language modelling on held-out pairs, against the entropy of each modality's unigram distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from gptface.data.statistics import unigram_entropy
from gptface.ops import ImageRandom, TextSpans, sample_span_mask
from gptface.systems.gptface import FaceLanguageModel, Regime, build_sequence

__all__ = ["MaskedModellingQuality", "measure_masked_modelling"]


@dataclass(frozen=True)
class MaskedModellingQuality:
    """Mean negative log-likelihood in nats of a masked token given the rest, and what ignoring the rest would give.

    Attributes:
        text_loss, image_loss: cross-entropy at the masked positions.
        text_unigram, image_unigram: entropy of the held-out tokens themselves.
        text_accuracy, image_accuracy: share of masked tokens whose likeliest guess is right.
    """

    text_loss: float
    text_unigram: float
    text_accuracy: float
    image_loss: float
    image_unigram: float
    image_accuracy: float


@torch.no_grad()
def measure_masked_modelling(
    model: FaceLanguageModel,
    codes: torch.Tensor,
    text_ids: torch.Tensor,
    text_lengths: torch.Tensor,
    *,
    text_ratio: float = 0.15,
    image_ratio: float = 0.5,
    seed: int = 0,
    batch_size: int = 64,
) -> MaskedModellingQuality:
    """Mask spans of the text and random image tokens at once, predict them, and average over all masked tokens.

    Args:
        codes: ``(N, h*w)`` int64 image codes.
        text_ids: ``(N, T)`` int64 without special tokens; text_lengths: ``(N,)``.
        text_ratio, image_ratio: share of each modality that is masked; every chosen token becomes the mask token.
    """
    model.eval()
    device = next(model.parameters()).device
    vocabulary = model.vocabulary
    totals = {"text": [0.0, 0, 0], "image": [0.0, 0, 0]}
    height, width = model.config.image_grid
    for start in range(0, len(codes), batch_size):
        image, text = codes[start : start + batch_size], text_ids[start : start + batch_size]
        lengths = text_lengths[start : start + batch_size]
        identities = torch.arange(start, start + len(image))
        text_mask = sample_span_mask(TextSpans(text_ratio), lengths, seed=seed, step=0, sample_ids=identities).mask
        text_mask = functional.pad(text_mask, (0, text.shape[1] - text_mask.shape[1]))
        image_mask = sample_span_mask(
            ImageRandom((height, width), image_ratio),
            [image.shape[1]] * len(image),
            seed=seed,
            step=0,
            sample_ids=identities,
        ).mask
        sequence = build_sequence(
            vocabulary,
            text.masked_fill(text_mask, vocabulary.mask_id).to(device),
            lengths.to(device),
            image.masked_fill(image_mask, vocabulary.image_size).to(device),
            Regime.MASKED,
        )
        hidden = model.forward_sequence(sequence)
        rows = torch.arange(len(image), device=device).unsqueeze(1)
        for name, slots, mask, truth, project in (
            ("text", sequence.text_slots, text_mask, text, model.text_logits),
            ("image", sequence.image_slots, image_mask, image, model.image_logits),
        ):
            labels = truth.to(device)[mask.to(device)]
            logits = project(hidden[rows, slots][mask.to(device)]).float()
            totals[name][0] += float(functional.cross_entropy(logits, labels, reduction="sum"))
            totals[name][1] += int((logits.argmax(-1) == labels).sum())
            totals[name][2] += labels.numel()
    valid = torch.arange(text_ids.shape[1]) < text_lengths.unsqueeze(1)
    return MaskedModellingQuality(
        text_loss=totals["text"][0] / max(1, totals["text"][2]),
        text_unigram=unigram_entropy(text_ids[valid], vocabulary.text_size),
        text_accuracy=totals["text"][1] / max(1, totals["text"][2]),
        image_loss=totals["image"][0] / max(1, totals["image"][2]),
        image_unigram=unigram_entropy(codes, vocabulary.image_size),
        image_accuracy=totals["image"][1] / max(1, totals["image"][2]),
    )
