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

from gptface.errors import InputError
from gptface.models.packing import Packing, pack_layout, rearrange_rows
from gptface.ops import IntervalMask

__all__ = [
    "IMAGE_SEGMENT",
    "JointSequence",
    "JointVocabulary",
    "Regime",
    "SlotLayout",
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


class SlotLayout:
    """Where the image tokens of joint sequences stand, and where all other slots: apart, and joined again.

    Most slots are image tokens, and what concerns them alone, or words alone, need not be computed in every slot.

    Args:
        position_ids, segment_ids: ``(B, S)``, see :class:`JointSequence`.
        tokens: of an image, ``N``. A picture may lack some, while it is written token by token.
        others: ``W``, how many slots of a row may be of the other kind.

    Attributes:
        token_slots, other_slots: ``(B * N,)`` in raster order and ``(B * W,)`` ascending, int64: the packed position
            ``b * S + s`` of each; −1 where there is none.
        slot_tokens, slot_others: ``(B * S,)`` int64, their inverses; −1 where a slot is of the other kind.

    Raises:
        InputError: a row with more slots of the other kind; looked for on CPUs alone, and not in compiled code.
    """

    def __init__(self, position_ids: Tensor, segment_ids: Tensor, tokens: int, others: int) -> None:
        self.shape = position_ids.shape
        self.counts = tokens, others
        # The image's [SEP] has position N.
        image = (segment_ids == IMAGE_SEGMENT) & (position_ids < tokens)
        if image.device.type == "cpu" and not torch.compiler.is_compiling():
            found = (~image).sum(1)
            if bool((found > others).any()):
                raise InputError(
                    f"segment_ids must have at most {others} slots a row that are no token of a picture, "
                    f"got {found.tolist()}"
                )
        places = torch.where(image, position_ids, (~image).cumsum(1) - 1)
        self.token_slots, self.slot_tokens = _inverted(places, image, tokens)
        self.other_slots, self.slot_others = _inverted(places, ~image, others)

    def tokens(self, slots: Tensor) -> Tensor:
        """``(B, S, r)`` to those of the image tokens in raster order, ``(B, N, r)``."""
        rows = rearrange_rows(slots.flatten(0, 1), self.token_slots, self.slot_tokens)
        return rows.unflatten(0, (self.shape[0], self.counts[0]))

    def others(self, slots: Tensor) -> Tensor:
        """``(B, S, r)`` to those of the other slots, in their order, ``(B, W, r)``."""
        rows = rearrange_rows(slots.flatten(0, 1), self.other_slots, self.slot_others)
        return rows.unflatten(0, (self.shape[0], self.counts[1]))

    def joined(self, tokens: Tensor, others: Tensor) -> Tensor:
        """``(B, N, C)`` and ``(B, W, C)`` to all slots, ``(B, S, C)``."""
        rows = torch.cat([tokens.flatten(0, 1), others.flatten(0, 1)])
        behind = torch.where(self.slot_tokens < 0, self.slot_others + len(self.token_slots), self.slot_tokens)
        return rearrange_rows(rows, behind, torch.cat([self.token_slots, self.other_slots])).unflatten(0, self.shape)

    def taken(self, tokens: Tensor, others: Tensor, wanted: Tensor) -> Tensor:
        """``(M, C)`` the rows of :meth:`joined` at ``wanted (M,)`` int64, packed positions; zero where that is −1.

        No slot may be named twice: gradients are gathered, not added.
        """
        taker = wanted.new_full((len(self.slot_tokens) + 1,), -1)  # which row each slot goes to
        rows = torch.arange(len(wanted), device=wanted.device)
        taker = taker.scatter(0, torch.where(wanted < 0, len(taker) - 1, wanted), rows)
        nowhere, slots = wanted < 0, wanted.clamp_min(0)
        parts = []
        for states, inverse, there in (
            (tokens, self.slot_tokens, self.token_slots),
            (others, self.slot_others, self.other_slots),
        ):
            source = inverse.index_select(0, slots).masked_fill(nowhere, -1)
            parts.append(rearrange_rows(states.flatten(0, 1), source, taker.index_select(0, there)))
        return parts[0] + parts[1]


def _inverted(places: Tensor, chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of the ``chosen (B, S)`` slots, whose ``places (B, S)`` are below ``count``: the packed position of the slot at
    each place ``(B * count,)``, and the packed place of each slot ``(B * S,)``, −1 where there is none."""
    batch, slots = places.shape
    rows = torch.arange(batch, device=places.device).unsqueeze(1)
    here = torch.arange(slots, device=places.device) + rows * slots
    there = places.new_full((batch, count + 1), -1).scatter(1, torch.where(chosen, places, count), here)
    return there[:, :count].flatten(), torch.where(chosen, places + rows * count, -1).flatten()


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
