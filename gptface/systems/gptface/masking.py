"""What the masked rows of a pre-training batch hide: spans of captions, and images by masks of mixed shapes.

Every mask is keyed by (seed, step, sample), but for which wish an edit's mask belongs to: torch's generator draws that.
Shares of rows are dealt over the steps, so that each is met on average whatever the size of the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.faces.regions import region_label
from gptface.faces.token_regions import TOKEN_REGIONS
from gptface.ops import (
    FacialRegions,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskGITCosine,
    TextSpans,
    mask_tokens,
    sample_span_mask,
)
from gptface.systems.gptface.configuration import PretrainSection
from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.pairs import Pairs
from gptface.systems.gptface.wish_masks import WishAreas

__all__ = [
    "HARD_NEGATIVES",
    "RANDOM_NEGATIVES",
    "TEXT_SHARE",
    "Hidden",
    "Masking",
    "Targets",
    "dealt",
    "joint_positions",
    "seed_of",
]

# Of the masked rows, half have spans of their text hidden, and a tenth all of it, as captioning by mask-predict begins;
# the others keep it whole, as generation from a caption sees it.
TEXT_SHARE, TEXT_FULL_SHARE = 0.5, 0.1

# SpanBERT's lengths of spans (arXiv 1907.10529), geometric up to a maximum, and BERT's corruption, once a span:
# replaced by the mask token, by random tokens, left as it is.
SPAN_P, SPAN_MAXIMUM = 0.2, 10
CORRUPTION = (0.8, 0.1, 0.1)

# Share of the masked rows whose image is hidden altogether, as generation begins.
IMAGE_FULL_SHARE = 0.05

# The regions that masks of whole regions choose from, all alike: what editing changes. Others are reached by blocks.
MASKED_REGIONS = ("skin", "brows", "eyes", "nose", "mouth", "hair", "hat", "glasses", "occluder")

# Purposes of the seeds that masks and negatives are drawn from, so that no two draws share random numbers.
TEXT, IMAGE, RANDOM_NEGATIVES, HARD_NEGATIVES = range(4)


@dataclass
class Targets:
    """What is to be predicted where: packed positions ``b * S + s`` of the joint batch (−1: nothing) and labels."""

    positions: Tensor
    labels: Tensor
    weights: Tensor | None = None

    def among(self, kept: Tensor) -> Targets:
        """Without those in places that are not ``kept``, bool ``(B, S)``."""
        there = (self.positions >= 0) & kept.flatten()[self.positions.clamp_min(0)]
        return Targets(torch.where(there, self.positions, -1), self.labels, self.weights)

    def count(self) -> Tensor:
        """How many there are, or their total weight: float32."""
        named = (self.positions >= 0).float()
        return (named if self.weights is None else named * self.weights.float()).sum()


def joint_positions(indices: Tensor, rows: Tensor, slots: Tensor, sequence_length: int) -> Tensor:
    """Packed positions in the joint batch of tokens that are named in a block of some of its rows.

    Args:
        indices: ``(M,)`` packed ``r * W + t``: token ``t`` of the block's row ``r``, or −1.
        rows: ``(R,)`` which row of the joint batch the block's row ``r`` is.
        slots: ``(B, W)`` slot of token ``t`` in each row of the joint batch.
        sequence_length: S of the joint batch.
    """
    width = slots.shape[1]
    local = indices.clamp_min(0)
    row = rows[local // width]
    return torch.where(indices >= 0, row * sequence_length + slots[row, local % width], -1)


class Block(NamedTuple):
    """Some of the masked rows, and which of their tokens are hidden."""

    rows: Tensor
    indices: Tensor
    """Packed ``r * W + t`` of the block that ``rows`` make, or −1."""
    weight: float = 1.0
    """Weight of the loss on each of its tokens."""


class ImageKind(NamedTuple):
    """One shape of image masks."""

    share: float
    specification: ImageRandom | ImageBlocks | FacialRegions
    weight: float = 1.0
    """Weight of the loss on each hidden token."""
    within_wishes: bool = False
    """Whether only what lies where a wish would take place is hidden."""


@dataclass
class Hidden:
    """Tokens of the masked rows with some hidden, and which."""

    tokens: Tensor
    blocks: list[Block]

    def targets(
        self, truth: Tensor, slots: Tensor, sequence_length: int, token_weights: Tensor | None = None
    ) -> Targets:
        """The hidden tokens as they were in ``truth`` (B, W), whose places in the joint batch are ``slots``.

        The loss on each weighs as its block says, times its ``token_weights`` (B, W), by default 1.
        """
        if not self.blocks:
            nothing = torch.empty(0, dtype=torch.int64, device=truth.device)
            return Targets(nothing, nothing)
        positions, labels, weights = [], [], []
        for rows, indices, weight in self.blocks:
            local = indices.clamp_min(0)
            token = rows[local // truth.shape[1]], local % truth.shape[1]
            positions.append(joint_positions(indices, rows, slots, sequence_length))
            labels.append(truth[token])
            told = torch.full_like(indices, weight, dtype=torch.float32)
            weights.append(told if token_weights is None else told * token_weights[token])
        weighed = token_weights is not None or any(block.weight != 1 for block in self.blocks)
        return Targets(torch.cat(positions), torch.cat(labels), torch.cat(weights) if weighed else None)


class Masking:
    """Draws what is hidden, by the shares and shapes of ``section``, for a transformer of this ``config``."""

    def __init__(self, config: FaceLanguageConfig, section: PretrainSection) -> None:
        self.config = config
        self.section = section
        grid = (int(config.image_grid[0]), int(config.image_grid[1]))
        ratio = MaskGITCosine()
        self.text_spans = TextSpans(section.text_mask_ratio, Geometric(SPAN_P, SPAN_MAXIMUM))
        shapes = section.image_masks
        regions = {region_label(name): 1.0 for name in MASKED_REGIONS}
        self.image_kinds = [
            ImageKind(shapes.random, ImageRandom(grid, ratio)),
            ImageKind(shapes.blocks, ImageBlocks(grid, ratio)),
            ImageKind(shapes.regions, FacialRegions(grid, regions, ratio)),
            ImageKind(shapes.edits, ImageRandom(grid, ratio), section.losses.edits, within_wishes=True),
        ]
        self.wish_areas = WishAreas(grid)
        weights = section.losses.regions
        self.region_weights = torch.tensor([weights.get(name, 1.0) for name in TOKEN_REGIONS]) if weights else None

    def hide_text(self, pairs: Pairs, lengths: Tensor, walk: Tensor, step: int) -> Hidden:
        """The masked rows' captions with spans hidden, whole captions in some rows."""
        masked, width, mask_id = len(walk), pairs.text_ids.shape[1], self.config.vocabulary.mask_id
        text = pairs.text_ids[:masked]
        spanned = walk[: dealt(TEXT_SHARE * masked, step)]
        whole = walk[len(spanned) : len(spanned) + dealt(TEXT_FULL_SHARE * masked, step)]
        spans, drawn = mask_tokens(
            text[spanned],
            self.text_spans,
            lengths[spanned],
            mask_id=mask_id,
            vocabulary_ranges=[(self._first_word(), self.config.vocabulary.text_size)],
            probabilities=CORRUPTION,
            seed=seed_of(self.section, TEXT),
            step=step,
            sample_ids=pairs.sample_ids[:masked][spanned],
        )
        places = torch.arange(len(whole) * width, device=text.device)
        everything = torch.where(places % width < lengths[whole][places // width], places, -1)
        hidden = text.index_copy(0, spanned, spans).index_copy(0, whole, torch.full_like(text[whole], mask_id))
        return Hidden(hidden, [Block(spanned, drawn.indices), Block(whole, everything)])

    def hide_image(self, pairs: Pairs, masked: int, step: int) -> Hidden:
        """The first ``masked`` rows' codes with masks of mixed shapes, whole images in some rows."""
        image_mask = self.config.vocabulary.image_size
        codes, ids = pairs.codes[:masked], pairs.sample_ids[:masked]
        width = codes.shape[1]
        total = sum(kind.share for kind in self.image_kinds)
        full = dealt(IMAGE_FULL_SHARE * masked, step)
        hidden, blocks, start, owed = [], [], 0, 0.0
        for share, specification, weight, within_wishes in self.image_kinds:
            owed += (masked - full) * share / total
            end = min(masked - full, dealt(owed, step) if owed < masked - full - 1e-6 else masked - full)
            rows = slice(start, max(start, end))
            start = rows.stop
            if rows.start == rows.stop:
                continue
            regions = None
            if isinstance(specification, FacialRegions) and pairs.regions is not None:
                regions = pairs.regions[rows]
            drawn = sample_span_mask(
                specification, seed=seed_of(self.section, IMAGE), step=step, sample_ids=ids[rows], region_map=regions
            )
            mask, indices = drawn.mask, drawn.indices
            if within_wishes:
                if pairs.regions is None:
                    raise InputError("pairs.regions: masks as edits make them need the region of every token, got none")
                mask = mask & self.wish_areas.draw(pairs.regions[rows])
                indices = torch.where(mask.flatten()[indices.clamp_min(0)], indices, -1)
            hidden.append(torch.where(mask, image_mask, codes[rows]))
            blocks.append(Block(torch.arange(rows.start, rows.stop, device=codes.device), indices, weight))
        if full:
            hidden.append(torch.full_like(codes[start:], image_mask))
            everything = torch.arange(full * width, device=codes.device)
            blocks.append(Block(torch.arange(start, masked, device=codes.device), everything))
        return Hidden(torch.cat(hidden), blocks)

    def image_weights(self, pairs: Pairs) -> Tensor | None:
        """``(B, N)`` float32, what each image token's region weighs; ``None`` where all weigh alike.

        Raises:
            InputError: weights are set and the pairs' regions are not known.
        """
        if self.region_weights is None:
            return None
        if pairs.regions is None:
            raise InputError("pairs.regions: losses.regions needs the region of every token, got none")
        if self.region_weights.device != pairs.regions.device:
            self.region_weights = self.region_weights.to(pairs.regions.device)  # once
        return self.region_weights[pairs.regions]

    def _first_word(self) -> int:
        """The lowest id that is not a special token, where those come first; random replacements start there."""
        config = self.config
        specials = (config.pad_token_id, config.cls_token_id, config.sep_token_id, config.mask_token_id)
        return min(max(specials) + 1, config.text_vocab_size - 1)


def seed_of(section: PretrainSection, purpose: int) -> int:
    """The seed of the draws for one ``purpose``."""
    return section.seed * 8 + purpose


def dealt(owed: float, step: int) -> int:
    """``owed`` rows a step on average: the whole number due at ``step`` when fractions are carried over."""
    return math.floor((step + 1) * owed + 1e-6) - math.floor(step * owed + 1e-6)
