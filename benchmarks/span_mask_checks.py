"""The checks of the evidence on span masks: exact counts, marginals beside the peers', span lengths, the same bits."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.peers.span_masks import beit_blocks, fairseq_spans, hugging_face_spans, ijepa_targets, t5_spans
from benchmarks.span_mask_statistics import CHUNK, Marginals, SpanLengths, expected_span_lengths, masks_of
from gptface.data.region_masks import face_region_grid, guidance_masks, region_masks
from gptface.faces.regions import region_label
from gptface.ops import (
    Fixed,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskGITCosine,
    Multimodal,
    Normal,
    Poisson,
    SpanMask,
    TextSpans,
    Uniform,
    implementations,
    sample_span_mask,
)

__all__ = [
    "GRID",
    "JOINT",
    "LAWS",
    "LENGTH",
    "cases",
    "measure_agreement",
    "measure_lengths",
    "measure_marginals",
    "measure_peers",
    "measure_varied_counts",
]

Advance = Callable[[int], None]  # told how many more units are done

LAWS = (Geometric(), Poisson(3.0, 12), Normal(5.0, 2.0, 12), Uniform(2, 6), Fixed(4))
LENGTH, GRID = 334, (14, 14)
CELLS = GRID[0] * GRID[1]
FACE = np.array([[77.0, 93.0], [147.0, 93.0], [112.0, 131.0], [86.0, 163.0], [138.0, 163.0]])  # of 224 × 224 pixels
REGIONS = face_region_grid(FACE, GRID, (224, 224)).astype(np.int32)
JOINT = np.array([0] + [1] * 76 + [2] * 256 + [0], np.int8)


class Case:
    """A specification with one layout for all samples, and what it promises: ``expected`` masked positions, each
    eligible one as often as any other (``even``), of those looked at (``part``; all by default)."""

    def __init__(
        self,
        spec: Any,
        layout: Any,
        expected: int | None,
        *,
        even: bool = True,
        part: np.ndarray | None = None,
        eligible: np.ndarray | None = None,
        **companions: np.ndarray,
    ) -> None:
        self.spec, self.expected, self.even, self.part, self.companions = spec, expected, even, part, companions
        self.layout = None if layout is None else np.asarray(layout)
        self.given_eligible = eligible

    def eligible(self, positions: int) -> np.ndarray:
        """Which of the positions looked at may be masked: all of them unless the case says otherwise."""
        return np.ones(positions, bool) if self.given_eligible is None else self.given_eligible


def cases() -> dict[str, Case]:
    holes = np.random.default_rng(1).random(LENGTH) < 0.8
    words = np.arange(LENGTH) // 2
    joint = Multimodal(TextSpans(0.15), ImageBlocks((16, 16), 0.4))
    not_eyes = region_label("eyes") != REGIONS
    return {
        "text, geometric": Case(TextSpans(0.15), LENGTH, round(0.15 * LENGTH)),
        "text, Poisson": Case(TextSpans(0.3, Poisson(3.0)), LENGTH, round(0.3 * LENGTH)),
        "text, uniform 1–10": Case(TextSpans(0.5, Uniform(1, 10), min_gap=2), LENGTH, round(0.5 * LENGTH)),
        "text, tens": Case(TextSpans(0.5, Fixed(10), min_gap=0), LENGTH, round(0.5 * LENGTH)),
        "text, whole words of two": Case(
            TextSpans(0.15, whole_words=True), LENGTH, 2 * round(0.15 * LENGTH / 2), word_ids=words
        ),
        "text, a fifth ineligible": Case(
            TextSpans(0.15), holes, round(0.15 * int(holes.sum())), eligible=holes
        ),
        "text, ratio 0.1 to 0.5": Case(TextSpans((0.1, 0.5)), LENGTH, None),
        "image, blocks": Case(ImageBlocks(GRID, 75 / CELLS, minimum=16), None, 75),
        "image, random": Case(ImageRandom(GRID, 0.5), None, round(0.5 * CELLS)),
        "image, MaskGIT's cosine": Case(ImageRandom(GRID, MaskGITCosine()), None, None),
        "face, whole regions": Case(region_masks(GRID, 0.4), None, round(0.4 * CELLS), even=False, region_map=REGIONS),
        "face, eyes kept": Case(
            guidance_masks(GRID, 0.6), None, round(0.6 * int(not_eyes.sum())), even=False, eligible=not_eyes,
            region_map=REGIONS,
        ),
        "joint, its text": Case(joint, JOINT, round(0.15 * 76), part=JOINT == 1),
        "joint, its image": Case(joint, JOINT, round(0.4 * 256), part=JOINT == 2),
    }  # fmt: skip


def measure_marginals(samples: int, advance: Advance) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Counts and position marginals of every case, and how often each position is masked."""
    rows, frequencies = [], {}
    for seed, (name, case) in enumerate(cases().items(), start=100):
        found = Marginals()
        for part in masks_of(case.spec, case.layout, samples, seed, **case.companions):
            found.add(part.mask if case.part is None else part.mask[:, case.part], case.expected)
            advance(len(part.mask))
        frequencies[name] = found.frequency
        eligible = case.eligible(len(found.frequency))
        if found.frequency[~eligible].any():
            raise AssertionError(f"{name}: ineligible positions were masked")
        rows.append(
            {
                "name": name,
                "specification": repr(case.spec),
                "samples": found.samples,
                "exact": None if case.expected is None else found.exact,
                "promised": case.expected / int(eligible.sum()) if case.even and case.expected is not None else None,
                "p_all_positions": found.p_all_positions(eligible) if case.even else None,
                "p_one_position": found.p_one_position(eligible) if case.even else None,
                "least": float(found.frequency[eligible].min()),
                "most": float(found.frequency.max()),
            }
        )
    return rows, frequencies


def measure_peers(samples: int, advance: Advance) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """The same of the peers."""
    rng, python = np.random.default_rng(0), random.Random(0)

    def ijepa(batch: int) -> np.ndarray:
        mask = np.zeros((batch, CELLS), bool)
        targets, _ = ijepa_targets(batch, GRID, python)
        mask[np.arange(batch)[:, None], targets.reshape(batch, -1)] = True
        return mask

    samplers: dict[str, tuple[Callable[[int], np.ndarray], int | None]] = {
        "fairseq, 0.5 in tens": (lambda n: fairseq_spans(n, LENGTH, 0.5, 10, rng), round(0.5 * LENGTH)),
        "Hugging Face, 0.5 in tens": (
            lambda n: hugging_face_spans(n, LENGTH, 0.5, 10, rng), round(0.5 * LENGTH)
        ),
        "T5, 0.15": (lambda n: t5_spans(n, LENGTH, 0.15, 3.0, rng), round(0.15 * LENGTH)),
        "BEiT, 75 of 196": (lambda n: beit_blocks(n, GRID, 75, python).reshape(n, -1), 75),
        "I-JEPA, targets": (ijepa, None),
    }  # fmt: skip
    rows, frequencies = [], {}
    for name, (sampler, expected) in samplers.items():
        found = Marginals()
        for first in range(0, samples, 256):
            found.add(sampler(min(256, samples - first)), expected)
            advance(min(256, samples - first))
        frequencies[name] = found.frequency
        rows.append(
            {
                "name": name,
                "samples": found.samples,
                "exact": None if expected is None else found.exact,
                "asked": expected,
                "mean": float(found.sums.sum() / found.samples),
                "least": float(found.frequency.min()),
                "most": float(found.frequency.max()),
                "p_one_position": found.p_one_position(),
            }
        )
    return rows, frequencies


def measure_lengths(
    samples: int, advance: Advance
) -> tuple[list[dict[str, Any]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Span lengths of every law against their expectation, and both histograms."""
    rows, panels = [], {}
    budget = round(0.3 * 101)
    for seed, law in enumerate(LAWS, start=200):
        found = SpanLengths(law.law().high)
        for part in masks_of(TextSpans(0.3, law), np.array(101), samples, seed):
            found.add(part.mask)
            advance(len(part.mask))
        expected = expected_span_lengths(law.law(), budget)
        panels[repr(law)] = (found.sums / found.samples, expected)
        rows.append({"law": repr(law), "samples": found.samples, "p": found.p_value(expected)})
    return rows, panels


def measure_varied_counts(samples: int, advance: Advance) -> dict[str, int]:
    """Exact counts where no two samples are alike: random lengths, random eligibility, random ratios."""
    rng, exact, total = np.random.default_rng(3), 0, 0
    while total < samples:
        ratio, size = float(rng.random()), min(CHUNK, samples - total)
        lengths = rng.integers(0, LENGTH + 1, size)
        eligible = rng.random((size, CELLS)) < rng.random((size, 1))
        ids = rng.integers(0, 2**62, size)
        text = sample_span_mask(TextSpans(ratio), lengths, seed=0, step=0, sample_ids=ids, max_length=LENGTH)
        image = sample_span_mask(ImageBlocks(GRID, ratio), eligible, seed=0, step=0, sample_ids=ids)
        for mask, units, least in ((text.mask, lengths, 1), (image.mask, eligible.sum(1), 0)):
            wanted = [max(round(ratio * n), min(least, n)) for n in units.tolist()]
            exact += int((mask.sum(1) == np.array(wanted)).sum())
        total += size
        advance(size)
    return {"samples": 2 * total, "exact": exact}


def measure_agreement(
    specifications: int, random_case: Callable[[np.random.Generator], Any], advance: Advance
) -> dict[str, Any]:
    """Native kernels against the reference, all four results, on specifications that ``random_case`` makes."""
    native = [found.name for found in implementations("sample_span_mask") if found.available]
    result: dict[str, Any] = {"specifications": specifications, "samples": 0}
    for name in ("cpu", "cuda"):
        result[name] = 0 if name in native else None
    rng = np.random.default_rng(2026)
    for _ in range(specifications):
        case = random_case(rng)
        expected = sample_span_mask(case.spec, case.layout, impl="reference", **case.keywords)
        result["samples"] += len(expected.mask)
        for name in ("cpu", "cuda"):
            if result[name] is not None:
                found = _on_cuda(case) if name == "cuda" else sample_span_mask(
                    case.spec, case.layout, impl="cpu", **case.keywords
                )  # fmt: skip
                result[name] += all(map(np.array_equal, found, expected))
        advance(1)
    return result


def _on_cuda(case: Any) -> SpanMask:
    def move(value: Any) -> Any:
        return torch.from_numpy(value).cuda() if isinstance(value, np.ndarray) else value

    keywords, layout = {name: move(value) for name, value in case.keywords.items()}, move(case.layout)
    if layout is not None and layout.dim() == 1:
        keywords.setdefault("max_length", int(layout.max()) if layout.numel() else 0)
    found = sample_span_mask(case.spec, layout, impl="cuda", **keywords)
    mask, indices, cu_masked, span_ids = (tensor.cpu().numpy() for tensor in found)
    return SpanMask(mask, indices[: cu_masked[-1]], cu_masked, span_ids)
