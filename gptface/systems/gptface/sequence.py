"""Captions and image codes as one token sequence: the layouts, the ids and the attention mask of the three regimes.

    MASKED, TEXT_TO_IMAGE   [CLS] text [SEP] image [SEP]
    IMAGE_TO_TEXT           [CLS] image [SEP] text [SEP]

``MASKED`` attends in both directions over all valid tokens. The other two are prefix language models: everything up to
and including the middle ``[SEP]`` is seen by every token, what follows is causal. One batch may mix the three, since
the mask is an :class:`~gptface.ops.IntervalMask`, one interval of visible keys a row.

Samples are stored left-aligned, so a caption shorter than the batch's longest leaves padding at the end only. Nothing
here synchronises with the device: every shape follows from the shapes of the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.models.packing import Packing, pack_layout
from gptface.ops import IntervalMask

__all__ = [
    "IMAGE_SEGMENT",
    "JointSequence",
    "JointVocabulary",
    "Raster",
    "Regime",
    "build_sequence",
]

IMAGE_SEGMENT = 1


class Regime(IntEnum):
    """How the tokens of a sample attend to one another."""

    MASKED = 0
    TEXT_TO_IMAGE = 1
    IMAGE_TO_TEXT = 2


# As plain integers: torch.compile cannot compare a tensor with a member of an enumeration.
_MASKED, _IMAGE_TO_TEXT = int(Regime.MASKED), int(Regime.IMAGE_TO_TEXT)


@dataclass(frozen=True)
class JointVocabulary:
    """One id space: the text pieces, then the image codes, then the image mask token.

    Attributes:
        text_size: number of word pieces, special tokens included; ids ``[0, text_size)``.
        image_size: number of codes ``K``; code ``k`` has the id ``text_size + k``.
        pad_id, cls_id, sep_id, mask_id: the special tokens, all inside the text range.
    """

    text_size: int
    image_size: int
    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int

    def __post_init__(self) -> None:
        if self.text_size < 1 or self.image_size < 1:
            raise InputError(
                f"a joint vocabulary needs text_size and image_size of at least 1, "
                f"got {self.text_size} and {self.image_size}"
            )
        for name in ("pad_id", "cls_id", "sep_id", "mask_id"):
            value = getattr(self, name)
            if not 0 <= value < self.text_size:
                raise InputError(f"{name} must lie in the text range [0, {self.text_size}), got {value}")

    @property
    def image_offset(self) -> int:
        """Id of image code 0."""
        return self.text_size

    @property
    def image_mask_id(self) -> int:
        """Id of a masked image token (code ``K``)."""
        return self.text_size + self.image_size

    @property
    def size(self) -> int:
        """Number of ids in all."""
        return self.text_size + self.image_size + 1


@dataclass
class JointSequence:
    """A batch of joint sequences of ``S = T + N + 3`` slots (``T`` text tokens, ``N`` image tokens, three specials).

    Attributes:
        token_ids: ``(B, S)`` int64, ids of :class:`JointVocabulary`; padding at the end.
        segment_ids: ``(B, S)`` int64, 0 text and 1 image; a ``[SEP]`` belongs to the modality it closes, ``[CLS]`` and
            the padding to the text.
        position_ids: ``(B, S)`` int64, counted inside each modality. Text: ``[CLS]`` 0, token t at t + 1, its ``[SEP]``
            at length + 1. Image: token n at n, its ``[SEP]`` at N.
        regimes: ``(B,)`` int64.
        lengths: ``(B,)`` int64, number of valid slots.
        attention_mask: which keys each slot sees; the rows of padding see none.
        text_slots: ``(B, T)`` int64, slot of text token t (slot 0 where t is past the caption's end).
        text_valid: ``(B, T)`` bool.
        image_slots: ``(B, N)`` int64.
        packing: how to compute the valid slots alone, where ``build_sequence`` was told how many there are.
    """

    token_ids: Tensor
    segment_ids: Tensor
    position_ids: Tensor
    regimes: Tensor
    lengths: Tensor
    attention_mask: IntervalMask
    text_slots: Tensor
    text_valid: Tensor
    image_slots: Tensor
    packing: Packing | None = None


class Raster:
    """Where the image tokens of joint sequences stand, whatever the regime: from slots to raster order, and back.

    Args:
        position_ids, segment_ids: ``(B, S)``, see :class:`JointSequence`; pictures have all of their tokens.
        tokens: of an image, ``N``.
    """

    def __init__(self, position_ids: Tensor, segment_ids: Tensor, tokens: int) -> None:
        self.tokens = tokens
        # Slots that are no image token all go to row N, which is not read; the image's [SEP] has position N already.
        self._places = torch.where(segment_ids == IMAGE_SEGMENT, position_ids, tokens).unsqueeze(-1)

    def collect(self, slots: Tensor) -> Tensor:
        """``(B, S, r)`` to those of the image tokens in raster order, ``(B, N, r)``."""
        batch, _, rank = slots.shape
        rows = slots.new_zeros(batch, self.tokens + 1, rank)
        return rows.scatter(1, self._places.expand(-1, -1, rank), slots)[:, : self.tokens]

    def spread(self, raster: Tensor) -> Tensor:
        """``(B, N, r)`` to the image tokens' slots, ``(B, S, r)``; zero elsewhere."""
        return functional.pad(raster, (0, 0, 0, 1)).gather(1, self._places.expand(-1, -1, raster.shape[-1]))


def build_sequence(
    vocabulary: JointVocabulary,
    text_ids: Tensor,
    text_lengths: Tensor | Sequence[int],
    image_codes: Tensor,
    regimes: Tensor | Sequence[int] | Regime,
    *,
    num_tokens: int | None = None,
    image_kept: Tensor | None = None,
) -> JointSequence:
    """Lay captions and image codes out as joint sequences.

    Args:
        vocabulary: the id space.
        text_ids: ``(B, T)`` int64, padded, without ``[CLS]`` and ``[SEP]``; a masked text token is ``mask_id``.
        text_lengths: ``(B,)`` number of text tokens of each sample, from 0 (no caption) to T.
        image_codes: ``(B, N)`` int64 in ``[0, K]``, where ``K`` is a masked token.
        regimes: ``(B,)`` of :class:`Regime`, or one for the whole batch.
        num_tokens: how many of the ``B * S`` slots are valid, or a bound from above where the lengths are known to the
            device only. The transformer's layers then run on so many rows instead of all slots (see
            :mod:`gptface.models.packing`). By default they run on all of them.
        image_kept: ``(B, N)`` bool: image tokens that the layers compute and attend to; the others' hidden states are
            zero, unless they share the slot of one that is kept. Needs ``num_tokens``, which then counts them alone. By
            default all.

    Raises:
        InputError: for tensors whose shapes do not fit together. Values are not looked at (that would synchronise).
    """
    if text_ids.ndim != 2 or image_codes.ndim != 2 or text_ids.shape[0] != image_codes.shape[0]:
        raise InputError(
            "text_ids (B, T) and image_codes (B, N) must be matrices with the same number of rows, "
            f"got {tuple(text_ids.shape)} and {tuple(image_codes.shape)}"
        )
    batch, text_capacity = text_ids.shape
    num_image = image_codes.shape[1]
    device = text_ids.device
    lengths = torch.as_tensor(text_lengths, dtype=torch.int64, device=device)
    if isinstance(regimes, Regime):
        regime_ids = torch.full((batch,), int(regimes), dtype=torch.int64, device=device)
    else:
        regime_ids = torch.as_tensor(regimes, dtype=torch.int64, device=device)
    for name, value in (("text_lengths", lengths), ("regimes", regime_ids)):
        if value.shape != (batch,):
            raise InputError(f"{name} must have shape ({batch},), one a sample, got {tuple(value.shape)}")

    slots = text_capacity + num_image + 3
    position = torch.arange(slots, device=device)  # (S,)
    length = lengths.unsqueeze(1)  # (B, 1)
    image_first = (regime_ids == _IMAGE_TO_TEXT).unsqueeze(1)

    # Where each modality starts, and the slot of the [SEP] that closes it.
    text_start = torch.where(image_first, num_image + 2, 1)
    image_start = torch.where(image_first, 1, length + 2)
    text_end = text_start + length
    image_end = image_start + num_image
    total = length + num_image + 3
    prefix = torch.where(image_first, image_end, text_end) + 1  # up to and including the middle [SEP]

    is_text = (position >= text_start) & (position < text_end)
    is_image = (position >= image_start) & (position < image_end)
    is_separator = (position == text_end) | (position == image_end)
    text_index = (position - text_start).clamp(0, max(text_capacity - 1, 0))
    image_index = (position - image_start).clamp(0, max(num_image - 1, 0))

    token_ids = torch.full((batch, slots), vocabulary.pad_id, dtype=torch.int64, device=device)
    token_ids = torch.where(position == 0, vocabulary.cls_id, token_ids)
    token_ids = torch.where(is_separator, vocabulary.sep_id, token_ids)
    if text_capacity:
        token_ids = torch.where(is_text, text_ids.long().gather(1, text_index), token_ids)
    if num_image:
        codes = image_codes.long().gather(1, image_index) + vocabulary.image_offset
        token_ids = torch.where(is_image, codes, token_ids)

    in_image = is_image | (position == image_end)
    in_text = is_text | (position == text_end)
    position_ids = torch.where(in_image, position - image_start, torch.where(in_text, position - text_start + 1, 0))

    bidirectional = (regime_ids == _MASKED).unsqueeze(1)
    last_key = torch.where(bidirectional, total, torch.maximum(prefix, position + 1))
    last_key = torch.where(position < total, last_key, 0)  # a padding row sees nothing: its interval is empty
    intervals = torch.stack([torch.zeros_like(last_key), last_key], dim=-1).to(torch.int32).unsqueeze(2)  # (B, S, 1, 2)

    attention_mask = IntervalMask(intervals, slots)

    image_slots = image_start + torch.arange(num_image, device=device)
    packing = None
    if num_tokens is not None:
        kept = None
        if image_kept is not None:
            kept = torch.ones(batch, slots, dtype=torch.bool, device=device).scatter(1, image_slots, image_kept)
        packing = pack_layout(attention_mask, total.squeeze(1), num_tokens, kept)
    elif image_kept is not None:
        raise InputError("image_kept needs num_tokens, which is not given")

    text_offsets = torch.arange(text_capacity, device=device)
    text_valid = text_offsets < length
    return JointSequence(
        token_ids=token_ids,
        segment_ids=in_image.long(),
        position_ids=position_ids,
        regimes=regime_ids,
        lengths=total.squeeze(1),
        attention_mask=attention_mask,
        text_slots=torch.where(text_valid, text_start + text_offsets, 0),
        text_valid=text_valid,
        image_slots=image_slots,
        packing=packing,
    )
