"""Span masks by definition: one sample at a time, in plain Python. The oracle of every other implementation.

Both modalities work on *units* numbered 0 … n − 1 (eligible positions, or words, of the text; cells of the image grid)
and say for every unit the number of the span that masks it, or −1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isqrt

import torch
from torch import Tensor

from gptface.ops.span_mask.program import (
    ASPECTS,
    IMAGE_RANDOM,
    IMAGE_REGIONS,
    LAW_UNIFORM,
    RATIO_COSINE,
    RATIO_NUMBER,
    ImageProgram,
    LengthLaw,
    Program,
    Ratio,
    TextProgram,
)
from gptface.ops.span_mask.random_stream import PURPOSE_IMAGE, PURPOSE_TEXT, RandomStream

__all__ = ["masked_count", "sample_reference"]

TEXT, IMAGE, KEPT_CELL = 1, 2, 3  # codes of a layout; 0: never masked, and no cell

# Taylor coefficients of cos(π u / 2) in u², in units of 2⁻³⁰.
COSINE = (1073741824, -1324675879, 272375560, -22401992, 987048, -27060, 506, -7)


def masked_count(ratio: float, units: int) -> int:
    """``round(ratio · units)``, ties to even: the exact number of masked units."""
    return min(units, round(ratio * units))


def draw_count(ratio: Ratio, units: int, stream: RandomStream) -> int:
    """The sample's budget; a random ratio costs one word."""
    if ratio.kind == RATIO_NUMBER:
        return masked_count(ratio.value(), units)
    word = stream.word()
    if ratio.kind == RATIO_COSINE:
        square, fixed = (word * word) >> 32, 0
        for coefficient in reversed(COSINE):
            fixed = coefficient + ((fixed * square) >> 32)
        fixed = min(max(fixed, 0), 2**30)
    else:
        fixed = ratio.low + (((ratio.high - ratio.low) * word) >> 32)
    return masked_count(fixed * 2.0**-30, units)


def draw_length(law: LengthLaw, stream: RandomStream) -> int:
    if law.kind == LAW_UNIFORM:
        return law.low + stream.below(law.high - law.low + 1)
    word = stream.word()
    return law.low + next(i for i, bound in enumerate(law.table) if word < bound)


def random_subset(size: int, count: int, stream: RandomStream) -> list[int]:
    """``count`` of the numbers 0 … size − 1, every subset equally likely (Floyd's algorithm), in ascending order."""
    chosen: set[int] = set()
    for last in range(size - count, size):
        pick = stream.below(last + 1)
        chosen.add(last if pick in chosen else pick)
    return sorted(chosen)


def text_spans(program: TextProgram, units: int, stream: RandomStream) -> list[int]:
    """Spans on a ring of units: lengths up to the budget, a uniform composition of gaps, a uniform turn."""
    spans = [-1] * units
    budget = max(draw_count(program.ratio, units, stream), min(program.minimum, units))
    if budget == 0:
        return spans
    lengths: list[int] = []
    while (left := budget - sum(lengths)) > 0:
        lengths.append(min(draw_length(program.law, stream), left))
    count, unmasked = len(lengths), units - budget
    gap = min(program.min_gap, unmasked // count)
    # A composition of `free` into `count` gaps is a choice of count − 1 bars among free + count − 1 places.
    free = unmasked - count * gap
    bars = [-1, *random_subset(free + count - 1, count - 1, stream), free + count - 1]
    position = stream.below(units)
    for span, length in enumerate(lengths):
        for offset in range(length):
            spans[(position + offset) % units] = span
        position += length + gap + bars[span + 1] - bars[span] - 1
    return spans


def image_random(program: ImageProgram, eligible: list[int], stream: RandomStream) -> list[int]:
    """A uniform subset; the smaller of the masked and the unmasked half is drawn."""
    spans = [-1] * (program.height * program.width)
    budget = draw_count(program.ratio, len(eligible), stream)
    if 2 * budget <= len(eligible):
        chosen = random_subset(len(eligible), budget, stream)
    else:
        left_out = set(random_subset(len(eligible), len(eligible) - budget, stream))
        chosen = [rank for rank in range(len(eligible)) if rank not in left_out]
    for span, rank in enumerate(chosen):
        spans[eligible[rank]] = span
    return spans


def image_regions(
    program: ImageProgram,
    eligible: list[int],
    regions: Sequence[int],
    spans: list[int],
    budget: int,
    stream: RandomStream,
) -> int:
    """Whole regions, drawn by weight among those that fit; returns how many."""
    cells: list[list[int]] = [[] for _ in program.weights]
    for cell in eligible:
        if 0 <= regions[cell] < len(cells):
            cells[regions[cell]].append(cell)
    number = 0
    while True:
        weights = [
            weight if 0 < len(region) <= budget else 0 for weight, region in zip(program.weights, cells, strict=True)
        ]
        if sum(weights) == 0:
            return number
        draw, region = stream.below(sum(weights)), 0
        while draw >= weights[region]:
            draw -= weights[region]
            region += 1
        for cell in cells[region]:
            spans[cell] = number
        budget -= len(cells[region])
        cells[region] = []
        number += 1


def image_blocks(
    program: ImageProgram, eligible: list[int], spans: list[int], budget: int, number: int, stream: RandomStream
) -> None:
    """Rectangles on the torus, each over at least one unmasked cell, numbered from ``number`` on."""
    height, width = program.height, program.width
    allowed = set(eligible)
    while budget > 0:
        smallest, largest = min(program.minimum, budget), min(program.maximum, budget)
        area = smallest + stream.below(largest - smallest + 1)
        aspect = program.aspects[stream.below(ASPECTS)]
        rows = min(max((isqrt(area * aspect) + 128) >> 8, 1), height)
        columns = min(max((2 * area + rows) // (2 * rows), 1), width)
        unmasked = [cell for cell in eligible if spans[cell] < 0]
        anchor = unmasked[stream.below(len(unmasked))]
        top = anchor // width - stream.below(rows)
        left = anchor % width - stream.below(columns)
        for row in range(top, top + rows):
            for column in range(left, left + columns):
                cell = row % height * width + column % width
                if budget > 0 and cell in allowed and spans[cell] < 0:
                    spans[cell] = number
                    budget -= 1
        number += 1


def image_spans(
    program: ImageProgram, cells: list[bool], regions: Sequence[int] | None, stream: RandomStream
) -> list[int]:
    """``cells``: which cells of the grid are eligible."""
    eligible = [cell for cell, allowed in enumerate(cells) if allowed]
    if program.kind == IMAGE_RANDOM:
        return image_random(program, eligible, stream)
    if regions is not None:
        eligible = [c for c in eligible if not (0 <= regions[c] < 64 and program.kept >> regions[c] & 1)]
    spans, number = [-1] * len(cells), 0
    budget = draw_count(program.ratio, len(eligible), stream)
    if program.kind == IMAGE_REGIONS and regions is not None:
        number = image_regions(program, eligible, regions, spans, budget, stream)
        budget -= sum(span >= 0 for span in spans)
    image_blocks(program, eligible, spans, budget, number, stream)
    return spans


def sample_one(
    program: Program,
    layout: Sequence[int],
    words: Sequence[int] | None,
    regions: Sequence[int] | None,
    seed: int,
    step: int,
    sample_id: int,
) -> list[int]:
    """Span number of every position of one sample, −1 where it is not masked.

    Text spans are numbered first, from left to right, a new number for each contiguous piece; the image's follow in
    the order in which they were drawn.
    """
    result = [-1] * len(layout)
    number = 0
    if program.text is not None:
        positions = [position for position, code in enumerate(layout) if code == TEXT]
        units = list(range(len(positions)))
        if program.text.whole_words and words is not None:
            for rank, (before, here) in enumerate(pairwise(positions), start=1):
                units[rank] = units[rank - 1] + int(words[here] < 0 or words[here] != words[before])
        spans = text_spans(
            program.text, units[-1] + 1 if units else 0, RandomStream(seed, step, sample_id, PURPOSE_TEXT)
        )
        before, piece = -2, -1
        for position, unit in zip(positions, units, strict=True):
            if spans[unit] >= 0:
                if position != before + 1 or spans[unit] != piece:
                    number += 1
                result[position] = number - 1
                before, piece = position, spans[unit]
    if program.image is not None:
        capacity = program.image.height * program.image.width
        places = [position for position, code in enumerate(layout) if code in (IMAGE, KEPT_CELL)][:capacity]
        cells = [layout[position] == IMAGE for position in places] + [False] * (capacity - len(places))
        spans = image_spans(program.image, cells, regions, RandomStream(seed, step, sample_id, PURPOSE_IMAGE))
        for cell, position in enumerate(places):
            if spans[cell] >= 0:
                result[position] = number + spans[cell]
    return result


def sample_reference(
    encoded: Sequence[int],
    layout: Tensor | None,
    word_ids: Tensor | None,
    region_map: Tensor | None,
    sample_ids: Tensor,
    seed: int,
    step: int,
    device_step: Tensor | None,
    max_length: int,
    max_masked: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator by definition, on any device (results come from the host: on a GPU it waits for the inputs)."""
    program, batch, device = Program.decode(tuple(encoded)), sample_ids.shape[0], sample_ids.device
    step = step if device_step is None else int(device_step)
    words = [None] * batch if word_ids is None else word_ids.tolist()
    regions = [None] * batch if region_map is None else region_map.tolist()
    rows = []
    for b, sample_id in enumerate(sample_ids.tolist()):
        if layout is not None and layout.dim() == 2:
            codes = layout[b].tolist()
        else:
            length = max_length if layout is None else min(max(int(layout[b]), 0), max_length)
            inside, outside = (TEXT, 0) if program.image is None else (IMAGE, KEPT_CELL)
            codes = [inside] * length + [outside] * (max_length - length)
        rows.append(sample_one(program, codes, words[b], regions[b], int(seed), int(step), int(sample_id)))
    span_ids = torch.tensor(rows, dtype=torch.int32).reshape(batch, max_length)
    mask = span_ids >= 0
    cu_masked = torch.zeros(batch + 1, dtype=torch.int64)
    cu_masked[1:] = mask.sum(1).cumsum(0)
    indices = torch.full((max_masked,), -1, dtype=torch.int64)
    found = mask.reshape(-1).nonzero().reshape(-1)[:max_masked]
    indices[: len(found)] = found
    return mask.to(device), indices.to(device), cu_masked.to(device), span_ids.to(device)
