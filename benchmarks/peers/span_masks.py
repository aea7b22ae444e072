"""The published samplers that span masks are compared with, re-implemented from their papers and documentation.

Plain NumPy (and Python's ``random`` where draws are single numbers, for which it is the faster one), one function a
sampler, a batch a call. They keep what the originals do, including what is wrong with it, and return what those return:
masks, or in I-JEPA's case indices.
"""

from __future__ import annotations

import math
import random

import numpy as np

__all__ = ["beit_blocks", "fairseq_spans", "hugging_face_spans", "ijepa_targets", "t5_spans"]

Generator = np.random.Generator


def fairseq_spans(
    batch: int, length: int, ratio: float, span: int, rng: Generator, same_count: bool = True
) -> np.ndarray:
    """wav2vec 2.0 (arXiv 2006.11477, section 3.1) as fairseq samples it: bool ``(batch, length)``.

    ``ratio · length / span`` starts (rounded up or down, at random, for the batch) are drawn without replacement among
    those that leave room for a whole span; the span behind every start is masked, and spans may overlap. With
    ``same_count`` every row is then thinned to the count of the smallest, single positions at random.
    """
    rows = []
    count = int(ratio * length / span + rng.random())
    for _ in range(batch):
        starts = rng.choice(length - span, min(count, length - span), replace=False)
        rows.append(np.unique(starts[:, None] + np.arange(span)))
    mask = np.zeros((batch, length), bool)
    smallest = min((len(row) for row in rows), default=0)
    for row, places in zip(mask, rows, strict=True):
        if same_count and len(places) > smallest:
            places = rng.choice(places, smallest, replace=False)
        row[places] = True
    return mask


def hugging_face_spans(batch: int, length: int, ratio: float, span: int, rng: Generator) -> np.ndarray:
    """SpecAugment masks as the speech models of transformers draw them (``mask_time_prob``, ``mask_time_length``):
    bool ``(batch, length)``.

    One count of spans for the batch, rounded up or down at random; starts without replacement for each sample; the
    positions of all spans of the batch in one broadcast sum. Overlaps are not made up for.
    """
    count = min(int(ratio * length / span + rng.random()), length // span)
    starts = np.stack([rng.choice(length - (span - 1), count, replace=False) for _ in range(batch)])
    positions = (starts[:, :, None] + np.arange(span)).reshape(batch, -1)
    mask = np.zeros((batch, length), bool)
    np.put_along_axis(mask, positions, True, axis=1)
    return mask


def t5_spans(batch: int, length: int, ratio: float, mean_span: float, rng: Generator) -> np.ndarray:
    """T5's span corruption (arXiv 1910.10683, section 3.3.4): bool ``(batch, length)``.

    ``round(ratio · length)`` masked and the other positions are each cut into the same number of non-empty pieces, cuts
    drawn uniformly; the pieces alternate, an unmasked one first. So the first position is never masked and the last
    always is.
    """
    masked = min(max(round(length * ratio), 1), length - 1)
    spans = max(round(masked / mean_span), 1)

    def pieces(total: int) -> np.ndarray:
        cuts = np.sort(rng.choice(total - 1, spans - 1, replace=False)) + 1
        return np.diff(np.concatenate(([0], cuts, [total])))

    mask = np.zeros((batch, length), bool)
    for row in mask:
        alternating = np.stack([pieces(length - masked), pieces(masked)], 1).ravel()
        row[:] = np.repeat(np.arange(2 * spans) % 2 == 1, alternating)
    return mask


def beit_blocks(
    batch: int, grid: tuple[int, int], count: int, rng: random.Random, minimum: int = 16, aspect: float = 0.3
) -> np.ndarray:
    """Blockwise masking (BEiT, arXiv 2106.08254, algorithm 1) as BEiT and DINOv2 sample it: bool ``(batch, h, w)``.

    Blocks of random area and shape are put at random places inside the grid. A block is taken only if it masks
    something new and not more than is left of ``count``; after ten refused tries in a row the mask is finished, full or
    not.
    """
    height, width = grid
    masks = np.zeros((batch, height, width), bool)
    for mask in masks:
        left = count
        while left > 0:
            for _ in range(10):
                area, shape = rng.uniform(minimum, left), math.exp(rng.uniform(math.log(aspect), -math.log(aspect)))
                h, w = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
                if not (0 < h < height and 0 < w < width):
                    continue
                top, start = rng.randint(0, height - h), rng.randint(0, width - w)
                block = mask[top : top + h, start : start + w]
                new = h * w - int(block.sum())
                if 0 < new <= left:
                    block[:] = True
                    left -= new
                    break
            else:
                break
    return masks


def ijepa_targets(
    batch: int, grid: tuple[int, int], rng: random.Random, targets: int = 4, minimum_context: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """I-JEPA's multi-block masking (arXiv 2301.08243, section 3).

    One target size (15 to 20 % of the grid, aspect 0.75 to 1.5) and one context size (85 to 100 %, square) a batch.
    Each sample has targets at random places and a context block without them, drawn again while it keeps too few
    patches. The upper bound of a place is exclusive, so no block ever reaches the last row or column.

    Returns:
        Indices of the targets' patches ``(batch, targets, n)`` and of the contexts' ``(batch, m)``, these cut to the
        length of the shortest.
    """
    height, width = grid

    def size(scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
        area = height * width * rng.uniform(*scale)
        shape = rng.uniform(*aspect)
        return min(round(math.sqrt(area * shape)), height - 1), min(round(math.sqrt(area / shape)), width - 1)

    def block(extent: tuple[int, int]) -> np.ndarray:
        mask = np.zeros(grid, bool)
        top, start = rng.randrange(height - extent[0]), rng.randrange(width - extent[1])
        mask[top : top + extent[0], start : start + extent[1]] = True
        return mask

    target_size, context_size = size((0.15, 0.2), (0.75, 1.5)), size((0.85, 1.0), (1.0, 1.0))
    predicted, contexts = [], []
    for _ in range(batch):
        masks = [block(target_size) for _ in range(targets)]
        free = ~np.logical_or.reduce(masks)
        context = block(context_size) & free
        while context.sum() < minimum_context:
            context = block(context_size) & free
        predicted.append([np.flatnonzero(mask) for mask in masks])
        contexts.append(np.flatnonzero(context))
    shortest = min(len(context) for context in contexts)
    return np.array(predicted), np.stack([context[:shortest] for context in contexts])
