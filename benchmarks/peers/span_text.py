"""Samplers of text spans as their papers and documentation describe them: fairseq, T5, Hugging Face.

All return ``(B, S)`` bool for sequences of one length, in NumPy, sample after sample where the published form is.
"""

from __future__ import annotations

import numpy as np

__all__ = ["fairseq_spans", "hugging_face_spans", "t5_spans"]


def fairseq_spans(generator: np.random.Generator, batch: int, length: int, ratio: float, span: int = 10) -> np.ndarray:
    """wav2vec 2.0 as in fairseq (arXiv 2006.11477, section 3.1 and appendix): static spans that may overlap.

    The number of spans is ``ratio · length / span`` plus a uniform draw in [0, 1), floored; starts are drawn without
    replacement from the places where a span fits, sample by sample. Overlaps are not made up for, so fewer tokens than
    asked for are masked. As in the published form with ``require_same_masks``, every sample of a batch is then thinned
    to the count of the one with the fewest.
    """
    spans = max(1, int(ratio * length / span + generator.random()))
    chosen = []
    for _ in range(batch):
        width = min(span, length)
        starts = generator.choice(length - width, spans, replace=False) if length > width else np.zeros(1, dtype=int)
        positions = (starts[:, None] + np.arange(width)).ravel()
        chosen.append(np.unique(positions[positions < length]))
    fewest = min(len(positions) for positions in chosen)
    mask = np.zeros((batch, length), dtype=bool)
    for row, positions in enumerate(chosen):
        kept = generator.choice(positions, fewest, replace=False) if len(positions) > fewest else positions
        mask[row, kept] = True
    return mask


def _partition(generator: np.random.Generator, items: int, parts: int) -> np.ndarray:
    """Lengths of a uniformly random composition of ``items`` into ``parts`` non-empty parts."""
    marks = np.zeros(items - 1, dtype=bool)
    marks[: parts - 1] = True
    generator.shuffle(marks)
    return np.bincount(np.concatenate([[0], np.cumsum(marks)]), minlength=parts)


def t5_spans(
    generator: np.random.Generator, batch: int, length: int, ratio: float, mean_span: float = 3.0
) -> np.ndarray:
    """T5's span corruption (arXiv 1910.10683, section 3.3.4): exact count, a fixed number of spans.

    The noise tokens are cut into ``round(noise / mean_span)`` non-empty spans, the others into as many gaps, both by
    uniformly random compositions; gaps and spans alternate, a gap first. So the first token is never masked and the
    last one always is.
    """
    noise = min(max(round(length * ratio), 1), length - 1)
    spans = min(max(round(noise / mean_span), 1), length - noise)
    mask = np.zeros((batch, length), dtype=bool)
    for row in range(batch):
        pieces = np.empty(2 * spans, dtype=np.int64)
        pieces[0::2] = _partition(generator, length - noise, spans)
        pieces[1::2] = _partition(generator, noise, spans)
        mask[row] = np.repeat(np.arange(2 * spans) % 2 == 1, pieces)
    return mask


def hugging_face_spans(
    generator: np.random.Generator, batch: int, length: int, ratio: float, span: int = 10
) -> np.ndarray:
    """SpecAugment masks as in the speech models of transformers (``mask_time_prob``, ``mask_time_length``).

    One count of spans for the batch's padded length with a random rounding, starts without replacement for each
    sample, spans as one broadcast sum for the whole batch; overlaps are not made up for.
    """
    epsilon = generator.random()
    spans = min(max(int(ratio * length / span + epsilon), 0), length // span)
    starts = np.stack([generator.choice(length - (span - 1), spans, replace=False) for _ in range(batch)])
    positions = (starts[:, :, None] + np.arange(span)).reshape(batch, -1)
    mask = np.zeros((batch, length), dtype=bool)
    np.put_along_axis(mask, positions, True, axis=1)
    return mask
