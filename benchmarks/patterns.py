"""Attention patterns as facts that a data loader has, and as predicates that need no package to be read.

Every contender builds its own mask from the facts; the gate judges by the predicate, so that a wrong mask is caught
whoever made it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gptface.ops import IntervalMask

__all__ = ["PATTERNS", "Pattern", "make_pattern"]

PATTERNS = ("dense", "causal", "mixed", "prefix_lm", "packed", "packed_causal", "sliding_window", "captions", "cache")


@dataclass
class Pattern:
    """Which keys each row may see.

    Attributes:
        kind: one of :data:`PATTERNS`.
        batch, length: B and S.
        device: of all tensors.
        lengths, prefix_lengths: ``(B,)`` int64, for ``mixed`` and ``prefix_lm``: tokens, and how many of the first of
            them all see.
        document_lengths: on the host, for ``packed`` and ``packed_causal``.
        document_ids: ``(S,)`` int64 for the same.
        window: keys seen before one's own, for ``sliding_window``.
        branch_ids: ``(S,)`` int64 for ``captions``: 0 on the image, c on caption c.
        queries: rows, for ``cache``: the last ones of a causal sequence, whose keys are all there.
    """

    kind: str
    batch: int
    length: int
    device: torch.device
    lengths: Tensor | None = None
    prefix_lengths: Tensor | None = None
    document_lengths: list[int] = field(default_factory=list)
    document_ids: Tensor | None = None
    window: int = 0
    branch_ids: Tensor | None = None
    queries: int = 0

    @property
    def rows(self) -> int:
        """Sq."""
        return self.queries or self.length

    @property
    def mask_free(self) -> bool:
        """Whether attention functions have a switch for it, so that nobody would pass a mask."""
        return self.kind in ("dense", "causal") or (self.kind == "cache" and self.queries == 1)

    def visible(self, first: int = 0, last: int | None = None) -> Tensor:
        """``(B or 1, rows, S)`` bool for the rows from ``first`` to before ``last``; by definition, row against key."""
        last = self.rows if last is None else last
        i = torch.arange(first, last, device=self.device).view(1, -1, 1)
        j = torch.arange(self.length, device=self.device).view(1, 1, -1)
        if self.kind == "dense":
            return torch.ones((1, last - first, self.length), dtype=torch.bool, device=self.device)
        if self.kind in ("causal", "cache"):
            return j <= i + (self.length - self.rows)
        if self.kind in ("mixed", "prefix_lm"):
            assert self.lengths is not None and self.prefix_lengths is not None
            length, prefix = self.lengths.view(-1, 1, 1), self.prefix_lengths.view(-1, 1, 1)
            return (i < length) & (j < length) & ((j < prefix) | (j <= i))
        if self.kind in ("packed", "packed_causal"):
            assert self.document_ids is not None
            same = self.document_ids[first:last].view(1, -1, 1) == self.document_ids.view(1, 1, -1)
            return same & (j <= i) if self.kind == "packed_causal" else same
        if self.kind == "sliding_window":
            return (j <= i) & (i - j <= self.window)
        assert self.branch_ids is not None
        own, other = self.branch_ids[first:last].view(1, -1, 1), self.branch_ids.view(1, 1, -1)
        return ((other == 0) & (own == 0)) | ((own > 0) & ((other == 0) | ((other == own) & (j <= i))))

    def interval_mask(self) -> IntervalMask | None:
        """This package's mask, made as its users make it."""
        if self.kind == "dense" or (self.kind == "cache" and self.queries == 1):
            return None
        if self.kind == "causal":
            return IntervalMask.causal(self.length, device=self.device)
        if self.kind == "cache":
            return IntervalMask.causal(self.queries, self.length, device=self.device)
        if self.kind in ("mixed", "prefix_lm"):
            assert self.lengths is not None and self.prefix_lengths is not None
            return IntervalMask.prefix_lm(self.prefix_lengths, self.lengths, self.length)
        if self.kind in ("packed", "packed_causal"):
            return IntervalMask.packed(document_ids=self.document_ids, causal=self.kind == "packed_causal")
        if self.kind == "sliding_window":
            return IntervalMask.sliding_window(self.length, self.window, device=self.device)
        assert self.branch_ids is not None
        return IntervalMask.shared_prefix(self.branch_ids)

    def pairs(self) -> int:
        """Visible (query, key) pairs of the whole batch, for one head: what counts as work."""
        total = 0
        for first in range(0, self.rows, 1024):
            block = self.visible(first, min(first + 1024, self.rows))
            total += int(block.sum()) * (self.batch // block.shape[0])
        return total

    def empty_rows(self) -> Tensor | None:
        """``(B, S)`` bool rows that see nothing (padding), or None where a pattern has none."""
        if self.lengths is None:
            return None
        return torch.arange(self.length, device=self.device) >= self.lengths.unsqueeze(1)


def make_pattern(
    kind: str, batch: int, length: int, options: dict[str, Any], device: torch.device, queries: int = 0
) -> Pattern:
    """Draw a pattern; the same one for the same arguments on every device."""
    if kind not in PATTERNS:
        raise ValueError(f"pattern is {kind!r}; allowed: {', '.join(PATTERNS)}")
    generator = torch.Generator().manual_seed(0)
    if (queries > 0) != (kind == "cache"):
        raise ValueError(f"pattern {kind!r} with {queries} queries: a cache has some, the others have as many as keys")
    pattern = Pattern(kind, batch, length, device, queries=queries)
    if kind == "mixed":
        # [CLS] text [SEP] image [SEP] and [CLS] image [SEP] text [SEP]; the longest caption fills the batch.
        longest = round(75 * length / 334)
        image = length - longest - 3
        text = torch.randint(max(1, longest // 8), longest + 1, (batch,), generator=generator)
        text[0] = longest
        total = text + image + 3
        regime = torch.arange(batch) * 4 // max(batch, 1)  # half bidirectional, a quarter of each prefix model
        prefix = torch.where(regime < 2, total, torch.where(regime == 2, text + 2, torch.tensor(image + 2)))
        pattern.lengths, pattern.prefix_lengths = total.to(device), prefix.to(device)
    elif kind == "prefix_lm":
        pattern.lengths = torch.full((batch,), length, device=device)
        pattern.prefix_lengths = torch.full((batch,), int(options["prefix"]), device=device)
    elif kind in ("packed", "packed_causal"):
        if batch != 1:
            raise ValueError("packed patterns have one row")
        left = length
        while left:
            drawn = int(torch.randint(options["shortest"], options["longest"] + 1, (), generator=generator))
            pattern.document_lengths.append(min(drawn, left))
            left -= pattern.document_lengths[-1]
        counts = torch.tensor(pattern.document_lengths)
        pattern.document_ids = torch.arange(len(counts)).repeat_interleave(counts).to(device)
    elif kind == "sliding_window":
        pattern.window = int(options["window"])
    elif kind == "captions":
        image, captions = int(options["image"]), int(options["captions"])
        position = torch.arange(length - image)
        branch = torch.cat([torch.zeros(image, dtype=torch.int64), 1 + position * captions // len(position)])
        pattern.branch_ids = branch.to(device)
    return pattern
