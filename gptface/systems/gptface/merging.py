"""Neighbouring image tokens merged into one slot of the transformer, and told apart again behind it.

Small tokens keep eyes and mouths, but a transformer pays for each of them. Here every square of m × m tokens shares a
slot (as patches do in Swin, arXiv 2103.14030, and Qwen2-VL, arXiv 2409.12191); ids, masks and predictions stay those of
single tokens.

    merge   the states of a square's tokens side by side (m²·C), linear: the state of the square (C), in the slot of its
            first token; the layers compute no other slot of it
    split   the square's hidden state, linear (m²·C): a part for each of its tokens, added to the token's own state

Between the two, states stand in rows: a sample's squares in raster order, then its other slots in theirs.

A square is seen as a whole, so that pictures cannot be predicted token by token (``Regime.TEXT_TO_IMAGE``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.models.packing import Packing
from gptface.ops import IntervalMask
from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.sequence import IMAGE_SEGMENT, SlotLayout

__all__ = ["ComputedSlots", "SpatialMerging", "SquareRows", "first_of_squares"]


def first_of_squares(grid: tuple[int, int], side: int, device: torch.device | None = None) -> Tensor:
    """bool ``(N,)``: the tokens in whose slots squares of ``side`` × ``side`` tokens are computed."""
    rows = torch.arange(grid[0], device=device) % side == 0
    columns = torch.arange(grid[1], device=device) % side == 0
    return (rows[:, None] & columns).flatten()


@dataclass(frozen=True)
class SquareRows:
    """Where the rows of a batch stand: ``R = Q + W`` a sample, of its Q squares and of its W other slots.

    Attributes:
        counts: Q and W.
        slots: ``(B * R,)`` int64, the packed position ``b * S + s`` of each row's slot; a square's is that of its first
            token.
        rows: ``(B * S,)`` int64, the row ``b * R + r`` of each slot; a square's tokens share one.
    """

    counts: tuple[int, int]
    slots: Tensor
    rows: Tensor


@dataclass(frozen=True)
class ComputedSlots:
    """The slots that layers compute, of a batch in which every row has as many.

    Attributes:
        places: ``(B, L)`` int64, ascending.
        ranks: ``(B, S)`` int64, how many of them lie before each slot.
        attention_mask: ``(B, L, L)``, what they see of one another.
    """

    places: Tensor
    ranks: Tensor
    attention_mask: IntervalMask

    @staticmethod
    def of(computed: Tensor, count: int, attention_mask: IntervalMask) -> ComputedSlots:
        """Those where ``computed (B, S)`` bool is true, ``count`` a row."""
        places = computed.long().argsort(dim=1, descending=True, stable=True)[:, :count]
        before = functional.pad(computed.long().cumsum(1), (1, 0))
        intervals = attention_mask.intervals.expand(len(computed), -1, -1, -1)
        rows = intervals.gather(1, places[:, :, None, None].expand(-1, -1, *intervals.shape[2:]))
        moved = before.gather(1, rows.flatten(1).long()).view_as(rows).to(torch.int32)
        return ComputedSlots(places, before[:, :-1], IntervalMask(moved, count))

    def shared(self, slots: Tensor) -> Tensor:
        """``(B, n)`` int64 of these slots to their ranks, each once a row: ``(B, L')``, filled up by others' ranks."""
        marked = torch.zeros_like(self.places, dtype=torch.bool).scatter(1, self.ranks.gather(1, slots), True)
        most = int(marked.sum(1).max()) if marked.numel() else 0
        return marked.long().argsort(dim=1, descending=True, stable=True)[:, :most]

    def ranked(self, states: Tensor, ranks: Tensor) -> Tensor:
        """``(B, L', C)`` of the slots of these ``ranks`` to ``(B, L, C)``; zero in the others."""
        return _laid_out(states, ranks, self.places.shape[1])


def _laid_out(states: Tensor, places: Tensor, count: int) -> Tensor:
    """``(B, n, C)`` to their ``places (B, n)`` among ``count``: ``(B, count, C)``, zero elsewhere."""
    batch, _, width = states.shape
    return states.new_zeros(batch, count, width).scatter(1, places.unsqueeze(-1).expand(-1, -1, width), states)


class SpatialMerging(nn.Module):
    """The two linear maps around a transformer.

    Args:
        config: of the transformer. m is its ``spatial_merge_size``, C its ``hidden_size``.
    """

    def __init__(self, config: FaceLanguageConfig) -> None:
        super().__init__()
        self.side = config.spatial_merge_size
        self.grid = (int(config.image_grid[0]), int(config.image_grid[1]))
        self.tokens = config.num_image_tokens
        width = config.hidden_size
        self.merge = nn.Linear(self.side**2 * width, width, bias=False)
        self.split = nn.Linear(width, self.side**2 * width, bias=False)

    @property
    def left_out(self) -> int:
        """Slots of a picture that the layers do not compute."""
        return self.tokens - self.tokens // self.side**2

    def computed(self, position_ids: Tensor, segment_ids: Tensor) -> Tensor:
        """bool ``(B, S)``: the slots to compute, all but those of image tokens that share another one's."""
        first = functional.pad(first_of_squares(self.grid, self.side, position_ids.device), (0, 1), value=True)
        places = torch.where(segment_ids == IMAGE_SEGMENT, position_ids, self.tokens)
        return first[places]

    def slots(self, slots: Tensor, position_ids: Tensor, segment_ids: Tensor) -> Tensor:
        """``(B, n)`` int64 slots of tokens to those in which their squares are computed."""
        positions = position_ids.gather(1, slots)
        image = self._image_tokens(positions, segment_ids.gather(1, slots))
        columns = self.grid[1]
        row, column = positions // columns, positions % columns
        first = (row - row % self.side) * columns + column - column % self.side
        return torch.where(image, slots - positions + first, slots)

    def check(self, packing: Packing, position_ids: Tensor, segment_ids: Tensor) -> None:
        """Raise :class:`InputError` where ``packing`` computes slots that share another's; looked at on CPUs alone."""
        if packing.places.device.type != "cpu" or torch.compiler.is_compiling():
            return
        packed = packing.places.view(position_ids.shape) >= 0
        if bool((packed & ~self.computed(position_ids, segment_ids)).any()):
            raise InputError(
                f"packing must leave out all image tokens but the first of each square of {self.side} x {self.side}: "
                "give first_of_squares(grid, side) as image_kept of build_sequence"
            )

    def rows(self, layout: SlotLayout) -> SquareRows:
        """Where the rows of a batch stand that is laid out like this."""
        tokens, others = layout.counts
        squares = tokens // self.side**2
        device = layout.token_slots.device
        order = torch.arange(tokens, device=device)
        row, column = order // self.grid[1], order % self.grid[1]
        square = row // self.side * (self.grid[1] // self.side) + column // self.side
        first = torch.nonzero_static(first_of_squares(self.grid, self.side, device), size=squares).squeeze(1)

        batch = len(layout.token_slots) // tokens
        slots = torch.cat(
            [layout.token_slots.view(batch, tokens)[:, first], layout.other_slots.view(batch, others)], dim=1
        )
        token, other = layout.slot_tokens, layout.slot_others
        beside = other + (other // max(others, 1) + 1) * squares  # behind the squares of its own and all former samples
        own = square[token % tokens] + token // tokens * (squares + others)
        return SquareRows(
            counts=(squares, others),
            slots=slots.flatten(),
            rows=torch.where(token < 0, beside, own),
        )

    def join(self, tokens: Tensor, others: Tensor) -> Tensor:
        """States of image tokens ``(B, N, C)`` and of the other slots ``(B, W, C)`` to those of rows ``(B, R, C)``."""
        squares = self.merge(self._by_square(tokens)).flatten(1, 2)
        return torch.cat([squares, others.to(squares.dtype)], dim=1)

    def part(self, hidden: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states of rows ``(B, R, C)``, from the layers, to those of image tokens ``(B, N, C)`` and other slots.

        ``tokens (B, N, C)`` are the image tokens' own states before the layers.
        """
        squares = self.tokens // self.side**2
        rows, columns = self.grid[0] // self.side, self.grid[1] // self.side
        parts = self.split(hidden[:, :squares]).unflatten(2, (self.side, self.side, -1)).unflatten(1, (rows, columns))
        return tokens + parts.permute(0, 1, 3, 2, 4, 5).flatten(1, 4), hidden[:, squares:]

    def _image_tokens(self, position_ids: Tensor, segment_ids: Tensor) -> Tensor:
        """bool: which slots hold image tokens; the image's ``[SEP]`` is none."""
        return (segment_ids == IMAGE_SEGMENT) & (position_ids < self.tokens)

    def flops_per_picture(self) -> int:
        """Floating-point operations of one picture, forward."""
        return 2 * (self.tokens // self.side**2) * (self.merge.weight.numel() + self.split.weight.numel())

    def _by_square(self, tokens: Tensor) -> Tensor:
        """``(B, N, C)`` in raster order to ``(B, h/m, w/m, m²·C)``."""
        rows, columns = self.grid[0] // self.side, self.grid[1] // self.side
        cut = tokens.unflatten(1, (rows, self.side, columns, self.side))
        return cut.permute(0, 1, 3, 2, 4, 5).flatten(3)
