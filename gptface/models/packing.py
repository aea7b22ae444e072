"""The valid slots of a padded batch side by side, so that the layers of a transformer compute nothing for padding.

    padded (B, S, C)                     packed (1, T, C)
    a a a a .        pack                a a a a b b c c c
    b b . . .      -------->
    c c c . .      <--------
                    unpack

Slots that nobody needs can be left out the same way as padding: their neighbours then attend as if they were not there.

Samples stay apart by the attention mask, whose intervals move along with their samples. Both directions, forward and
backward, are gathers: no slot is written twice, so results are the same bits every time on every device. Shapes follow
from ``num_tokens``, a number of the host's, and nothing here synchronises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import IntervalMask

__all__ = ["Packing", "pack_layout", "rearrange_rows"]


class _Rearrange(torch.autograd.Function):
    """``out[i] = rows[source[i]]``, zeros where the source is −1; ``target`` is the inverse map, for the gradient.

    What ``gather_rows`` does, for a map without repetitions whose inverse is at hand: its gradient needs no scatter.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, source: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(source, target)
        if rows.shape[0] == 0:  # no row to stand in for those of −1
            return rows.new_zeros((source.shape[0], rows.shape[1]))
        return rows.index_select(0, source.clamp_min(0)).masked_fill_((source < 0).unsqueeze(1), 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        source, target = ctx.saved_tensors
        return _Rearrange.apply(gradients[0], target, source), None, None


def rearrange_rows(rows: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """``out[i] = rows[source[i]]``, zeros where the source is −1; no row goes to two places.

    Args:
        rows: ``(R, C)``.
        source: int64 ``(S,)``, which row comes to each place.
        target: int64 ``(R,)``, where each row goes: the inverse of ``source``, −1 for rows that go nowhere.
    """
    return _Rearrange.apply(rows, source, target)


@dataclass(frozen=True)
class Packing:
    """Where the slots of a padded batch of ``B`` samples of ``S`` slots lie once they are packed into ``T`` rows.

    Attributes:
        shape: ``(B, S)``.
        sources: ``(T,)`` int64, packed position ``b * S + s`` of each row; −1 for rows behind the last sample's, of
            which there are some where T is a bound and not the exact number.
        places: ``(B * S,)`` int64, the row of each slot; −1 for padding.
        attention_mask: ``(1, T, T)``, what each row sees: the keys its slot sees, in their new places.
    """

    shape: tuple[int, int]
    sources: Tensor
    places: Tensor
    attention_mask: IntervalMask

    def pack(self, padded: Tensor) -> Tensor:
        """``(B, S, C)`` to ``(1, T, C)``; rows behind the last sample's are zero."""
        if padded.shape[:2] != self.shape:
            raise InputError(f"padded must be {self.shape} in its first two dimensions, got {tuple(padded.shape)}")
        return _Rearrange.apply(padded.flatten(0, 1), self.sources, self.places).unsqueeze(0)

    def unpack(self, packed: Tensor) -> Tensor:
        """``(1, T, C)`` to ``(B, S, C)``; padding is zero."""
        if packed.shape[:2] != (1, len(self.sources)):
            raise InputError(
                f"packed must be (1, {len(self.sources)}) in its first two dimensions, got {tuple(packed.shape)}"
            )
        return _Rearrange.apply(packed.squeeze(0), self.places, self.sources).unflatten(0, self.shape)


def pack_layout(
    attention_mask: IntervalMask, lengths: Tensor, num_tokens: int, kept: Tensor | None = None
) -> Packing:
    """Work out how to pack a batch of left-aligned samples.

    Args:
        attention_mask: ``(B, S, S)``; valid slots see keys of their own sample's valid slots only.
        lengths: ``(B,)`` integer, valid slots of each sample, on the mask's device.
        num_tokens: T, the number of slots that are packed or more. It is the host's to know; one that is too small
            would lose slots: an error where the lengths lie on the CPU, elsewhere and in compiled code an assertion on
            the device.
        kept: ``(B, S)`` bool, which valid slots to pack; by default all of them.

    Raises:
        InputError: shapes that do not fit together, or ``num_tokens`` too small.
    """
    samples, slots = attention_mask.batch_size, attention_mask.num_queries
    if lengths.shape != (samples,) or attention_mask.num_keys != slots:
        raise InputError(
            f"attention_mask must be (B, S, S) and lengths (B,), got {attention_mask.shape} and {tuple(lengths.shape)}"
        )
    if kept is not None and (kept.shape != (samples, slots) or kept.dtype != torch.bool):
        raise InputError(f"kept must be bool ({samples}, {slots}), got {kept.dtype} {tuple(kept.shape)}")
    packed = torch.arange(slots, device=lengths.device) < lengths.unsqueeze(1)
    if kept is not None:
        packed = packed & kept
    ranks = packed.long().cumsum(1)  # of a sample's slots: how many are packed up to it, itself included
    counts = ranks[:, -1] if slots else ranks.sum(1)
    ends = counts.cumsum(0)
    if lengths.device.type != "cpu" or torch.compiler.is_compiling():
        torch._assert_async((ends[-1:] <= num_tokens).all(), "pack_layout: num_tokens is less than the packed slots")
    elif samples and int(ends[-1]) > num_tokens:
        raise InputError(f"num_tokens must be at least the number of packed slots, {int(ends[-1])}, got {num_tokens}")
    starts = (ends - counts).unsqueeze(1)
    places = torch.where(packed, starts + ranks - 1, -1).flatten()

    # The inverse: rows behind the last sample's stay without a source. Slots that are not packed all write to one
    # row more, which is cut off.
    sources = torch.full((num_tokens + 1,), -1, dtype=torch.int64, device=lengths.device)
    slot = torch.arange(samples * slots, device=lengths.device)
    sources = sources.scatter(0, torch.where(places < 0, num_tokens, places), slot)[:num_tokens]
    beyond = sources < 0

    # An interval's ends move to the number of packed slots before them. An empty one stays empty.
    before = torch.nn.functional.pad(ranks, (1, 0)) + starts  # (B, S + 1)
    ends_of = attention_mask.intervals.flatten(1).long().expand(samples, -1)
    moved = before.gather(1, ends_of).view(samples, slots, -1, 2).to(torch.int32)
    intervals = moved.flatten(0, 1).index_select(0, sources.clamp_min(0))
    intervals = intervals.masked_fill(beyond.view(-1, 1, 1), 0).unsqueeze(0)
    return Packing((samples, slots), sources, places, IntervalMask(intervals, num_tokens))
