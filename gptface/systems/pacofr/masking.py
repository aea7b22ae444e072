"""Which patches of a batch are masked, and where the others and they lie when each kind stands by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.data.region_masks import draw_groups, group_masks
from gptface.ops import ImageRandom, IntervalMask, SpanMask, sample_span_mask

__all__ = ["PatchMask", "draw_mask", "split_patches"]


@dataclass(frozen=True)
class PatchMask:
    """The masked and the visible patches of B pictures of N patches; a row is a patch, ``b · N + n``.

    Attributes:
        masked: bool (B, N).
        masked_rows: int64 (M,), rows of the masked patches in order. On a GPU the host may know an upper bound of M
            only; −1 fills the rest, here and in ``visible_rows``.
        visible_rows: int64 (V,), rows of the others.
        masked_places: int64 (B · N,), place of each row in ``masked_rows``; −1 for visible ones.
        visible_places: int64 (B · N,), likewise.
        cu_visible: int64 (B + 1,): picture b owns ``visible_rows[cu_visible[b] : cu_visible[b + 1]]``.
        visible_each: how many patches every picture shows; ``None`` where they differ.
        padded: whether there may be such −1.
    """

    masked: Tensor
    masked_rows: Tensor
    visible_rows: Tensor
    masked_places: Tensor
    visible_places: Tensor
    cu_visible: Tensor
    visible_each: int | None
    padded: bool = False

    @property
    def usable(self) -> Tensor | None:
        """bool (M,), which entries of ``masked_rows`` are patches; ``None`` where all are."""
        return self.masked_rows >= 0 if self.padded else None

    def attention_mask(self) -> IntervalMask | None:
        """What the visible patches of all pictures, in one row, see of one another; ``None`` where they are stacked."""
        if self.visible_each is not None:
            return None
        return IntervalMask.packed(cu_seqlens=self.cu_visible, num_tokens=len(self.visible_rows))


def draw_mask(
    regions: Tensor | None,
    sample_ids: Tensor,
    grid: tuple[int, int],
    ratio: float | tuple[float, float],
    *,
    seed: int,
    step: int,
) -> PatchMask:
    """Draw the masked patches: by facial regions (one group whole, the rest in proportion), or at random.

    Args:
        regions: int64 (B, N), indices into ``TOKEN_REGIONS``; ``None`` masks patches at random.
        sample_ids: int64 (B,).
        grid: rows and columns of patches.
        ratio: share of a picture's patches that is masked, to exactly that count, or a range to draw it from.
        seed, step: of the draw, a function of these and of a picture's own id and regions.
    """
    if regions is None:
        mask = sample_span_mask(ImageRandom(grid, ratio), seed=seed, step=step, sample_ids=sample_ids)
    else:
        groups = draw_groups(regions, sample_ids, seed=seed, step=step)
        spec = group_masks(grid, ratio)
        mask = sample_span_mask(spec, seed=seed, step=step, sample_ids=sample_ids, region_map=groups)
    return split_patches(mask, fixed=isinstance(ratio, int | float))


def split_patches(mask: SpanMask, fixed: bool) -> PatchMask:
    """The two kinds of patches of a mask, apart.

    Args:
        mask: of a grid, all of whose cells are eligible.
        fixed: whether every picture has the same number of masked patches.
    """
    masked: Tensor = mask.mask
    batch, patches = masked.shape
    flat = masked.flatten()
    padded = not fixed and masked.device.type != "cpu"
    count = batch * patches if padded else batch * patches - len(mask.indices)
    visible_rows = torch.nonzero_static(~flat, size=count, fill_value=-1).squeeze(1)
    masked_places = torch.where(flat, flat.cumsum(0) - 1, -1)
    visible_places = torch.where(flat, -1, (~flat).cumsum(0) - 1)
    ends = torch.arange(batch + 1, device=masked.device) * patches
    return PatchMask(
        masked,
        mask.indices,
        visible_rows,
        masked_places,
        visible_places,
        ends - mask.cu_masked,
        count // batch if fixed and batch else None,
        padded,
    )
