"""Evidence that span masks keep their word: ``python -m benchmarks.span_mask_evidence``, at the root of a checkout.

Writes ``<output>.md`` with its pictures and ``numbers.json`` in ``<output>/``. One thread. Checked: exact counts
and even marginals over ``--samples`` masks a specification, span lengths against their law, native kernels against the
reference on ``--specifications`` random specifications, and speed against re-implemented peers, in turns, in CPU time.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.span_masks import beit_blocks, fairseq_spans, ijepa_targets, t5_spans
from benchmarks.span_mask_page import write_page
from benchmarks.span_mask_pictures import draw_grids, draw_lengths, draw_lines
from benchmarks.span_mask_statistics import CHUNK, Marginals, SpanLengths, expected_span_lengths, masks_of
from gptface.data.region_masks import face_region_grid, guidance_masks, region_masks
from gptface.data.region_names import region_label
from gptface.ops import (
    Fixed,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskGITCosine,
    Multimodal,
    Poisson,
    SpanMask,
    TextSpans,
    Uniform,
    implementations,
    mask_tokens,
    sample_span_mask,
)
from gptface.reporting.environment import describe_environment
from tests.ops.span_mask_cases import random_case  # the generator of the tests: one notion of "any specification"

LENGTH, GRID = 334, (14, 14)
CELLS = GRID[0] * GRID[1]
FACE = np.array([[77.0, 93.0], [147.0, 93.0], [112.0, 131.0], [86.0, 163.0], [138.0, 163.0]])  # of 224 × 224 pixels
REGIONS = face_region_grid(FACE, GRID, (224, 224)).astype(np.int32)
JOINT = np.array([0] + [1] * 76 + [2] * 256 + [0], np.int8)


class Case:
    """A specification with one layout for all samples, and what it promises."""

    def __init__(
        self, spec: Any, layout: Any, expected: int | None, even: bool = True, **companions: np.ndarray
    ) -> None:
        self.spec, self.expected, self.even, self.companions = spec, expected, even, companions
        self.layout = None if layout is None else np.asarray(layout)


def cases() -> dict[str, Case]:
    holes = np.random.default_rng(1).random(LENGTH) < 0.8
    words = np.arange(LENGTH) // 2
    not_eyes = round(0.6 * int((region_label("eyes") != REGIONS).sum()))
    return {
        "text, geometric": Case(TextSpans(0.15), LENGTH, round(0.15 * LENGTH)),
        "text, Poisson": Case(TextSpans(0.3, Poisson(3.0)), LENGTH, round(0.3 * LENGTH)),
        "text, uniform 1–10": Case(TextSpans(0.5, Uniform(1, 10), min_gap=2), LENGTH, round(0.5 * LENGTH)),
        "text, tens": Case(TextSpans(0.5, Fixed(10), min_gap=0), LENGTH, round(0.5 * LENGTH)),
        "text, whole words of two": Case(
            TextSpans(0.15, whole_words=True), LENGTH, 2 * round(0.15 * LENGTH / 2), word_ids=words
        ),
        "text, a fifth ineligible": Case(TextSpans(0.15), holes, round(0.15 * int(holes.sum()))),
        "text, ratio 0.1 to 0.5": Case(TextSpans((0.1, 0.5)), LENGTH, None),
        "image, blocks": Case(ImageBlocks(GRID, 75 / CELLS, minimum=16), None, 75),
        "image, random": Case(ImageRandom(GRID, 0.5), None, round(0.5 * CELLS)),
        "image, MaskGIT's cosine": Case(ImageRandom(GRID, MaskGITCosine()), None, None),
        "face, whole regions": Case(
            region_masks(GRID, 0.4), None, round(0.4 * CELLS), False, region_map=REGIONS
        ),
        "face, eyes kept": Case(
            guidance_masks(GRID, 0.6), None, not_eyes, False, region_map=REGIONS
        ),
        "joint": Case(
            Multimodal(TextSpans(0.15), ImageBlocks((16, 16), 0.4)), JOINT, round(0.15 * 76) + round(0.4 * 256), False
        ),
    }  # fmt: skip


def measure_marginals(samples: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    rows, frequencies = [], {}
    for seed, (name, case) in enumerate(cases().items(), start=100):
        found = Marginals()
        for part in masks_of(case.spec, case.layout, samples, seed, **case.companions):
            found.add(part.mask, case.expected)
        frequencies[name] = found.frequency
        eligible = found.frequency > 0
        rows.append(
            {
                "name": name,
                "specification": repr(case.spec),
                "samples": found.samples,
                "exact": None if case.expected is None else found.exact,
                "smallest": found.smallest,
                "largest": found.largest,
                "p_all_positions": found.p_all_positions(eligible) if case.even else None,
                "p_one_position": found.p_one_position(eligible) if case.even else None,
                "least": float(found.frequency[eligible].min()),
                "most": float(found.frequency.max()),
            }
        )
    return rows, frequencies


def measure_peers(samples: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    rng, python = np.random.default_rng(0), random.Random(0)

    def ijepa(batch: int) -> np.ndarray:
        mask = np.zeros((batch, CELLS), bool)
        targets, _ = ijepa_targets(batch, GRID, python)
        mask[np.arange(batch)[:, None], targets.reshape(batch, -1)] = True
        return mask

    samplers: dict[str, tuple[Callable[[int], np.ndarray], int | None]] = {
        "fairseq, 0.5 in tens": (lambda n: fairseq_spans(n, LENGTH, 0.5, 10, rng), round(0.5 * LENGTH)),
        "T5, 0.15": (lambda n: t5_spans(n, LENGTH, 0.15, 3.0, rng), round(0.15 * LENGTH)),
        "BEiT, 75 of 196": (lambda n: beit_blocks(n, GRID, 75, python).reshape(n, -1), 75),
        "I-JEPA, targets": (ijepa, None),
    }
    rows, frequencies = [], {}
    for name, (sampler, expected) in samplers.items():
        found = Marginals()
        for first in range(0, samples, 256):
            found.add(sampler(min(256, samples - first)), expected)
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


def measure_lengths(samples: int) -> tuple[list[dict[str, Any]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    rows, panels = [], {}
    budget = round(0.3 * 101)
    for seed, law in enumerate((Geometric(), Poisson(3.0, 12), Uniform(2, 6), Fixed(4)), start=200):
        found = SpanLengths(law.law().high)
        for part in masks_of(TextSpans(0.3, law), np.array(101), samples, seed):
            found.add(part.mask)
        expected = expected_span_lengths(law.law(), budget)
        panels[repr(law)] = (found.sums / found.samples, expected)
        rows.append({"law": repr(law), "samples": found.samples, "p": found.p_value(expected)})
    return rows, panels


def measure_varied_counts(samples: int) -> dict[str, int]:
    """Exact counts where no two samples are alike: random lengths, random eligibility, random ratios."""
    rng, exact, total = np.random.default_rng(3), 0, 0
    while total < samples:
        ratio, size = float(rng.random()), min(CHUNK, samples - total)
        lengths = rng.integers(0, LENGTH + 1, size)
        eligible = rng.random((size, CELLS)) < rng.random((size, 1))
        ids = rng.integers(0, 2**62, size)
        text = sample_span_mask(TextSpans(ratio), lengths, seed=0, step=0, sample_ids=ids, max_length=LENGTH)
        image = sample_span_mask(ImageBlocks(GRID, ratio), eligible, seed=0, step=0, sample_ids=ids)
        for mask, units in ((text.mask, lengths), (image.mask, eligible.sum(1))):
            exact += int((mask.sum(1) == np.array([round(ratio * n) for n in units.tolist()])).sum())
        total += size
    return {"samples": 2 * total, "exact": exact}


def measure_agreement(specifications: int) -> dict[str, Any]:
    """Native kernels against the reference, all four results, on random specifications."""
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


def measure_speed(repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of CPU time for a batch of 256 on one thread; contenders take turns."""
    batch, rng, python = 256, np.random.default_rng(0), random.Random(0)
    ids, grid = torch.arange(batch), (16, 16)
    lengths, joint = torch.full((batch,), LENGTH), torch.from_numpy(JOINT).repeat(batch, 1)
    tokens = torch.randint(5, 1000, (batch, LENGTH))
    tens, blocks = TextSpans(0.5, Fixed(10), min_gap=0), ImageBlocks(grid, 0.4, minimum=16)
    targets = ImageBlocks(grid, 0.45, (0.75, 1.5), minimum=38, maximum=51)
    both = Multimodal(TextSpans(0.15), ImageBlocks(grid, 0.4))
    spans, key = TextSpans(0.15), {"seed": 0, "step": 0, "sample_ids": ids}
    corruption: dict[str, Any] = {"mask_id": 1, "vocabulary_ranges": [(5, 1000)]}
    pairs: list[tuple[str, Callable[[], Any], str, Callable[[], Any] | None]] = [
        ("text, tens, ratio 0.5", lambda: sample_span_mask(tens, lengths, **key),
         "fairseq", lambda: fairseq_spans(batch, LENGTH, 0.5, 10, rng)),
        ("text, geometric, ratio 0.15", lambda: sample_span_mask(spans, lengths, **key),
         "T5", lambda: t5_spans(batch, LENGTH, 0.15, 3.0, rng)),
        ("image 16 × 16, blocks, ratio 0.4", lambda: sample_span_mask(blocks, **key),
         "BEiT", lambda: beit_blocks(batch, grid, 102, python)),
        ("image 16 × 16, large blocks, ratio 0.45", lambda: sample_span_mask(targets, **key),
         "I-JEPA", lambda: ijepa_targets(batch, grid, python)),
        ("joint, 334 positions", lambda: sample_span_mask(both, joint, **key), "", None),
        ("joint, mask_tokens", lambda: mask_tokens(tokens, both, joint, **corruption, **key), "", None),
    ]  # fmt: skip
    rows = []
    for ours, function, peer, other in pairs:
        times: dict[str, list[float]] = {"ours": [], "peer": []}
        for turn in range(repeats + 2):
            for name, call in (("ours", function), ("peer", other)):
                if call is None:
                    continue
                begin = time.thread_time()
                for _ in range(10 if name == "ours" else 1):
                    call()
                if turn >= 2:  # the first two warm up
                    times[name].append((time.thread_time() - begin) * 1e3 / (10 if name == "ours" else 1))
        row: dict[str, Any] = {"ours": ours, "peer": peer or None}
        for name, values in times.items():
            row[f"{name}_ms"] = [float(q) for q in np.quantile(values, [0.2, 0.5, 0.8])] if values else None
        rows.append(row)
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/performance/span-masks"))
    parser.add_argument("--samples", type=int, default=10**6, help="masks of each specification (default: %(default)s)")
    parser.add_argument("--peer-samples", type=int, default=20_000, help="masks of each peer (default: %(default)s)")
    parser.add_argument("--specifications", type=int, default=10**5, help="random ones (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=30, help="timed turns (default: %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)

    speed = measure_speed(options.repeats)
    marginals, frequencies = measure_marginals(options.samples)
    peers, peer_frequencies = measure_peers(options.peer_samples)
    lengths, length_panels = measure_lengths(options.samples)
    environment = describe_environment()
    numbers = {
        "options": f"--samples {options.samples} --peer-samples {options.peer_samples} "
        f"--specifications {options.specifications} --repeats {options.repeats}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": environment["devices"][0],
        "torch": environment["packages"]["torch"],
        "speed": speed,
        "marginals": marginals,
        "peers": peers,
        "lengths": lengths,
        "varied": measure_varied_counts(options.samples),
        "agreement": measure_agreement(options.specifications),
    }
    promised = {row["name"]: row["smallest"] / LENGTH if row["exact"] else None for row in marginals}
    promised["text, a fifth ineligible"] = None
    texts = {name: (values, promised[name]) for name, values in frequencies.items() if name.startswith("text")}
    texts |= {name: (peer_frequencies[name], None) for name in ("fairseq, 0.5 in tens", "T5, 0.15")}
    texts["joint"] = (frequencies["joint"], None)
    draw_lines(options.output / "marginals-sequence.png", texts)
    images = {name: values.reshape(GRID) for name, values in frequencies.items() if name.startswith(("image", "face"))}
    images |= {name: peer_frequencies[name].reshape(GRID) for name in ("BEiT, 75 of 196", "I-JEPA, targets")}
    draw_grids(options.output / "marginals-grid.png", images)
    draw_lengths(options.output / "span-lengths.png", length_panels)
    (options.output / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    write_page(options.output, numbers)
    print(options.output.with_suffix(".md"))


if __name__ == "__main__":
    main()
