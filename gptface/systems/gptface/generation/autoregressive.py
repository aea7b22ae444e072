"""Token-by-token decoding in the two prefix regimes: caption → image, and image → caption.

The whole sequence so far is computed again at every token: captions are short, and images have the masked sampler,
which needs a tenth of the passes. What a sample becomes depends on its own seed, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import IntervalMask
from gptface.systems.gptface.generation.guidance import restrict_top_k
from gptface.systems.gptface.generation.noise import SampleNoise, sample_categorical
from gptface.systems.gptface.sequence import JointSequence, Regime, build_sequence

if TYPE_CHECKING:
    from gptface.systems.gptface.transformer import FaceLanguageModel

__all__ = ["AutoregressiveSettings", "DecodedText", "decode_image", "decode_text", "image_step"]


@dataclass(frozen=True)
class AutoregressiveSettings:
    """How the next token is drawn.

    Attributes:
        temperature: 0 takes the likeliest token.
        top_k: draw among the k likeliest only (70 is the sibling Talk2Face's choice for images).
        guidance_scale: classifier-free guidance against the empty caption, for images; 1 is off.
        batch_invariant: one sample at a time, see
            :class:`~gptface.systems.gptface.generation.sampler.DecodingSettings`.
    """

    temperature: float = 1.0
    top_k: int | None = 70
    guidance_scale: float = 1.0
    batch_invariant: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature must be finite and not negative, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")
        if not 0 <= self.guidance_scale < math.inf:
            raise InputError(f"guidance scale must be finite and not negative, got {self.guidance_scale}")


@dataclass(frozen=True)
class DecodedText:
    """Captions as tokens.

    Attributes:
        text_ids: ``(B, T)`` int64, padded with ``pad_id``, without ``[CLS]`` and ``[SEP]``.
        lengths: ``(B,)`` int64.
        log_likelihood: ``(B,)`` float32, sum over the tokens drawn, the closing ``[SEP]`` included.
    """

    text_ids: Tensor
    lengths: Tensor
    log_likelihood: Tensor


@torch.no_grad()
def decode_image(
    model: FaceLanguageModel,
    text_ids: Tensor,
    text_lengths: Tensor,
    num_tokens: int,
    seeds: Sequence[int],
    settings: AutoregressiveSettings | None = None,
) -> Tensor:
    """Images for captions, in raster order.

    Args:
        text_ids: ``(B, T)`` int64, padded, without special tokens.
        text_lengths: ``(B,)``.
        num_tokens: N, tokens of an image.
        seeds: one integer a sample.

    Returns:
        codes ``(B, N)`` int64.

    Raises:
        InputError: a model that sees squares of tokens as one (``spatial_merge_size``).
    """
    if model.merging is not None:
        raise InputError(
            f"model must have spatial_merge_size 1 to write pictures token by token, got {model.merging.side}"
        )
    settings = settings or AutoregressiveSettings()
    batch = text_ids.shape[0]
    if settings.batch_invariant and batch > 1:
        rows = (slice(row, row + 1) for row in range(batch))
        return torch.cat(
            [decode_image(model, text_ids[row], text_lengths[row], num_tokens, seeds[row], settings) for row in rows]
        )
    vocabulary = model.vocabulary
    guided = settings.guidance_scale != 1.0
    copies = 2 if guided else 1
    lengths = torch.cat([text_lengths, torch.zeros_like(text_lengths)]) if guided else text_lengths
    captions = text_ids.repeat(copies, 1)
    codes = torch.full((batch, num_tokens), vocabulary.image_size, dtype=torch.int64, device=text_ids.device)
    noise = SampleNoise(seeds, text_ids.device)
    for position in range(num_tokens):
        uniform = noise.uniform(position, 0, (1,))
        codes[:, position] = image_step(model, captions, lengths, codes, position, uniform, settings)
    return codes


def image_step(
    model: FaceLanguageModel,
    captions: Tensor,
    lengths: Tensor,
    codes: Tensor,
    position: int,
    uniform: Tensor,
    settings: AutoregressiveSettings,
) -> Tensor:
    """``(B,)``: the image token at ``position``, given those before it. No synchronisation.

    Args:
        captions, lengths: of the batch, or of it and then of it without captions, for guidance.
        codes: ``(B, N)``.
        uniform: ``(B, 1)``.
    """
    copies = len(captions) // len(codes)
    sequence = build_sequence(model.vocabulary, captions, lengths, codes.repeat(copies, 1), Regime.TEXT_TO_IMAGE)
    slots = sequence.image_slots[:, position] - 1  # the slot before a token predicts it
    hidden = _hidden_at(model, _first_slots(sequence, captions.shape[1] + 2 + position), slots)
    logits = model.image_logits(hidden).float()
    if copies == 2:
        conditional, free = logits.chunk(2)
        logits = free + settings.guidance_scale * (conditional - free)
    return _draw(logits, uniform, settings)


@torch.no_grad()
def decode_text(
    model: FaceLanguageModel,
    image_codes: Tensor,
    seeds: Sequence[int],
    max_length: int,
    settings: AutoregressiveSettings | None = None,
    forbidden_ids: Sequence[int] = (),
) -> DecodedText:
    """Captions for images: drawn until ``[SEP]`` or ``max_length`` tokens.

    Args:
        image_codes: ``(B, N)`` int64.
        seeds: one integer a sample.
        max_length: most tokens of a caption, at least 1.
        forbidden_ids: pieces that are never drawn, besides ``[PAD]``, ``[CLS]`` and ``[MASK]``.
    """
    settings = settings or AutoregressiveSettings(temperature=0.0)
    batch = image_codes.shape[0]
    if max_length < 1:
        raise InputError(f"max_length must be at least 1, got {max_length}")
    if settings.batch_invariant and batch > 1:
        parts = [
            decode_text(model, image_codes[b : b + 1], seeds[b : b + 1], max_length, settings, forbidden_ids)
            for b in range(batch)
        ]
        return DecodedText(
            torch.cat([part.text_ids for part in parts]),
            torch.cat([part.lengths for part in parts]),
            torch.cat([part.log_likelihood for part in parts]),
        )
    vocabulary, device = model.vocabulary, image_codes.device
    never = torch.zeros(vocabulary.text_size, dtype=torch.bool, device=device)
    never[[vocabulary.pad_id, vocabulary.cls_id, vocabulary.mask_id, *forbidden_ids]] = True
    text_ids = torch.full((batch, max_length), vocabulary.pad_id, dtype=torch.int64, device=device)
    lengths = torch.full((batch,), max_length, dtype=torch.int64, device=device)
    finished = torch.zeros(batch, dtype=torch.bool, device=device)
    log_likelihood = torch.zeros(batch, device=device)
    noise = SampleNoise(seeds, device)
    capacity = torch.full_like(lengths, max_length)
    first = image_codes.shape[1] + 2
    for position in range(max_length + 1):
        sequence = build_sequence(vocabulary, text_ids, capacity, image_codes, Regime.IMAGE_TO_TEXT)
        slots = torch.full_like(lengths, first + position - 1)
        hidden = _hidden_at(model, _first_slots(sequence, first + position), slots)
        logits = model.text_logits(hidden).float().masked_fill(never, -torch.inf)
        if position == max_length:  # no room for another word: what is left to score is the end of the caption
            token = torch.full_like(lengths, vocabulary.sep_id)
        else:
            token = _draw(logits, noise.uniform(position, 0, (1,)), settings)
        score = logits.log_softmax(-1).gather(-1, token.unsqueeze(-1)).squeeze(-1)
        log_likelihood = torch.where(finished, log_likelihood, log_likelihood + score)
        ends = ~finished & (token == vocabulary.sep_id)
        lengths = torch.where(ends, position, lengths)
        finished = finished | ends
        if position == max_length or bool(finished.all()):
            break
        text_ids[:, position] = torch.where(finished, vocabulary.pad_id, token)
    return DecodedText(text_ids, lengths, log_likelihood)


def _first_slots(sequence: JointSequence, slots: int) -> JointSequence:
    """The first ``slots`` slots: exact for everything up to there, since what follows is hidden from it."""
    mask = sequence.attention_mask
    return replace(
        sequence,
        token_ids=sequence.token_ids[:, :slots],
        segment_ids=sequence.segment_ids[:, :slots],
        position_ids=sequence.position_ids[:, :slots],
        attention_mask=IntervalMask(mask.intervals[:, :slots].clamp(max=slots), slots),
        packing=None,
    )


def _hidden_at(model: FaceLanguageModel, sequence: JointSequence, slots: Tensor) -> Tensor:
    hidden = model.forward_sequence(sequence)
    return hidden.gather(1, slots.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])).squeeze(1)


def _draw(logits: Tensor, uniform: Tensor, settings: AutoregressiveSettings) -> Tensor:
    if settings.temperature == 0:
        return logits.argmax(-1)
    probabilities = (restrict_top_k(logits, settings.top_k) / settings.temperature).softmax(-1)
    return sample_categorical(probabilities, uniform).squeeze(-1)
