"""The page ``docs/performance/span-masks.md`` from the numbers of :mod:`benchmarks.span_mask_evidence`.

``python -m benchmarks.span_mask_page`` writes it again from the numbers that are committed, without measuring.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT

__all__ = ["FOLDER", "write_page"]

FOLDER = ROOT / "docs" / "performance" / "span-masks"  # of the committed numbers and pictures; the page is beside it

INTRODUCTION = """\
# Span masks

`sample_span_mask` draws which tokens a masked model has to predict: spans of text, blocks or single cells of an image
grid, whole regions of a face, or text and image together. The number of masked tokens is exact, every eligible token is
masked equally often (the exceptions are under *Limits*), and the reference, the CPU kernel and the CUDA kernel are
written to give the same bits.

```python
from gptface.ops import Geometric, TextSpans, sample_span_mask

spans = TextSpans(ratio=0.15, lengths=Geometric())
drawn = sample_span_mask(spans, [26, 14], seed=0, step=0, sample_ids=[0, 1])  # two samples, 26 and 14 tokens long
drawn.mask  # bool (2, 26): 4 tokens of the first sample, 2 of the second
```

`mask_tokens` also replaces the masked tokens. What a batch costs stands under *Speed*.
"""

ALGORITHM = """\
## How it works

**Text** (`TextSpans`). A sample has n eligible positions, or n words with `whole_words=True`, and m = round(ratio · n)
of them are masked, but `minimum` at least (one by default, or all n where there are fewer), so that short texts take
part too. The positions are treated as a ring.

1. *Lengths.* Span lengths are drawn from the law until they add up to m or more. The last one is cut so that the sum is
   exactly m. This gives k spans. The law is a table of 32-bit thresholds: no device has to compute a logarithm.
2. *Gaps.* The n − m unmasked positions are dealt to the k gaps between the spans. Every gap gets `min_gap`; what is
   left, f positions, is dealt out at random, and all C(f + k − 1, k − 1) ways are equally likely. (Floyd's algorithm
   draws k − 1 of f + k − 1 places, and these separate the gaps.) Where k · `min_gap` is more than n − m, the gap
   shrinks to (n − m) // k: the number of masked tokens comes first.
3. *Turn.* The ring is turned by a uniform draw. So every position is masked with probability m/n exactly, whatever the
   lengths and gaps were. A span may run over the end of the sample and go on at its beginning.

**Image blocks** (`ImageBlocks`). The grid is a torus: a block that leaves it on one side comes in on the other. Blocks
are added until m cells are masked. Each has

- an area, uniform from `minimum` to `maximum`, but at most what is left of the budget;
- one of 32 ratios of height to width, evenly spaced in the logarithm;
- a place: a cell is drawn from those still unmasked, and the block is laid over it at a uniform offset.

The last block stops as soon as m cells are masked. Turning the torus turns every mask into an equally likely one, so
every cell is masked with probability m/n exactly.

**Single image cells** (`ImageRandom`). A uniform choice of m of the n eligible cells (Floyd's algorithm).

**Facial regions** (`FacialRegions`). Whole regions are drawn by weight, among those that still fit into the budget.
Blocks fill the rest. Regions to keep are never masked.

**Text and image** (`Multimodal`). Each is drawn as if it were alone, from random numbers of its own.

**Randomness.** Philox4x32-10, keyed by the seed; the counter is made of the step, the 64-bit sample id, and the purpose
and number of the block. A sample's mask therefore depends on these and on its own layout, and not on the rest of the
batch. Bounded numbers are drawn by Lemire's multiplication with rejection: integers only, without bias.
"""

LIMITS = """\
## Limits

- A ratio of 0, or no eligible position, masks nothing; a ratio of 1 masks every eligible position. Lengths and ratios
  out of range are errors that name the argument.
- Where a rule and the exact number cannot both hold, the rule gives way: gaps shrink, the last span or block is cut,
  and blocks take over where no whole region fits.
- Whole words are never cut. With `whole_words=True` the number of *words* is exact, and the number of tokens varies.
- Image blocks among ineligible cells: the number stays exact, but cells near the ineligible ones are masked slightly
  more or less often than m/n.
- Facial regions: how often a cell is masked depends on the regions of each face. No rate is promised.
- The peers were re-implemented from their papers (`benchmarks/peers/span_masks.py`); none of their code was run.
"""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _probability(value: float | None) -> str:
    return "—" if value is None else "< 10⁻⁶" if value < 1e-6 else f"{value:.2g}"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def _share(part: int | None, whole: int) -> str:
    return "—" if part is None else f"{_number(part)} of {_number(whole)}"


def _milliseconds(quantiles: list[float] | None) -> str:
    if quantiles is None:
        return "—"
    low, middle, high = quantiles
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _written(section: dict[str, Any], only: str) -> str:
    return (
        f"Written by `python -m benchmarks.span_mask_evidence --only {only} {section['options']}` on "
        f"{section['date']}; {section['machine']}, one thread, torch {section['torch']}."
    )


def write_page(output: Path, numbers: dict[str, Any]) -> None:
    """Write ``<output>.md``; the pictures are expected in the folder ``output``."""
    text = [
        INTRODUCTION,
        ALGORITHM,
        *(_checks(numbers["checks"], output.name) if "checks" in numbers else []),
        *(_speed(numbers["speed"]) if "speed" in numbers else []),
        LIMITS,
    ]
    output.with_suffix(".md").write_text("\n\n".join(part.strip() for part in text) + "\n", encoding="utf-8")


def _checks(section: dict[str, Any], folder: str) -> list[str]:
    marginals, peers, varied = section["marginals"], section["peers"], section["varied"]
    tests = [p for row in marginals for p in (row["p_all_positions"], row["p_one_position"]) if p is not None]
    tests += [row["p"] for row in section["lengths"] if row["p"] is not None]
    return [
        "## Exact counts, even marginals",
        _written(section, "checks"),
        "The columns: *exact*, masks that hold exactly the number of tokens asked for; *promised*, how often each "
        "eligible position should be masked; *masked*, how often the least and the most often masked one was. The last "
        "two are p-values of the hypothesis that all positions are masked equally often: *all positions* by Wald's χ² "
        "test with their covariance, *one position* by Pearson's χ² test on one masked position of every sample. There "
        "is no p-value where equal rates are not promised.",
        _table(
            ["specification", "exact", "promised", "masked", "p, all positions", "p, one position"],
            [
                [
                    row["name"], _share(row["exact"], row["samples"]),
                    "—" if row["promised"] is None else f"{row['promised']:.4f}",
                    f"{row['least']:.4f} to {row['most']:.4f}",
                    _probability(row["p_all_positions"]), _probability(row["p_one_position"]),
                ]
                for row in marginals
            ],
        ),
        f"The smallest of the {len(tests)} p-values for our masks on this page is {min(tests):.2g}; the smallest of so "
        f"many is expected near {1 / (len(tests) + 1):.2g}. With random ratios, and a random length (text) or "
        "random ineligible cells (image) for every sample, "
        f"{_share(varied['exact'], varied['samples'])} masks are exact.",
        "The specifications:",
        _specifications(marginals),
        "The same for the peers:",
        _table(
            ["sampler", "asked for", "masks on average", "exact", "masked, least to most", "p, one position"],
            [
                [
                    row["name"], str(row["asked"] or "—"), f"{row['mean']:.1f}", _share(row["exact"], row["samples"]),
                    f"{row['least']:.4f} to {row['most']:.4f}", _probability(row["p_one_position"]),
                ]
                for row in peers
            ],
        ),
        "How often each position is masked (dotted: the promised rate):\n\n"
        f"![sequences]({folder}/marginals-sequence.png)",
        "How often each cell of a 14 × 14 grid is masked (all faces are the same one, made from five landmarks):\n\n"
        f"![grids]({folder}/marginals-grid.png)",
        "## Span lengths",
        "A mask holds slightly more short spans than the law says, because the last span is cut and because long spans "
        "use up the budget sooner. The number to expect is known: let p(l) be the probability of length l under the "
        "law, and u(k) the probability that some of the lengths drawn add up to k. A mask of m positions then holds on "
        "average Σ u(k) p(l) + u(m − l) P(L > l) spans of length l, with k from 0 to m − l. The bars show what was "
        "drawn, the dots this formula, for 101 positions and a ratio of 0.3; a span over the end of the sample counts "
        "as one.",
        f"![span lengths]({folder}/span-lengths.png)",
        _table(
            ["law", "masks", "p (Wald)"],
            [[f"`{row['law']}`", _number(row["samples"]), _length_test(row["p"])] for row in section["lengths"]],
        ),
        "## The same bits everywhere",
        _agreement(section["agreement"]),
    ]  # fmt: skip


def _specifications(marginals: list[dict[str, Any]]) -> str:
    names: dict[str, list[str]] = {}
    for row in marginals:
        names.setdefault(row["specification"], []).append(row["name"])
    return "\n".join(f"- {'; '.join(of)}: `{specification}`" for specification, of in names.items())


def _length_test(p: float | None) -> str:
    return "— (no randomness: equal in every mask)" if p is None else _probability(p)


def _agreement(agreement: dict[str, Any]) -> str:
    total = agreement["specifications"]
    cpu = "none (not built)" if agreement["cpu"] is None else _share(agreement["cpu"], total)
    cuda = (
        "The CUDA kernel is made of the same C++ header; `gptface prove` compares it with the reference on the GPU at "
        "hand."
        if agreement["cuda"] is None
        else f"The CUDA kernel equals it in {_share(agreement['cuda'], total)}."
    )
    return (
        f"All four results were compared over {_number(total)} random specifications of every kind with random inputs "
        f"({_number(agreement['samples'])} samples). The CPU kernel equals the reference in {cpu}. {cuda}"
    )


def _speed(section: dict[str, Any]) -> list[str]:
    return [
        "## Speed",
        _written(section, "speed"),
        "Milliseconds of CPU time for a batch of 256 on one thread: median (20 % to 80 % quantile). A sample has 334 "
        "positions or 16 × 16 cells. The contenders ran in turns, and other work may have shared the machine: read the "
        "ratios. Ours returns mask, packed indices, offsets and span ids, and in the last row the corrupted tokens as "
        "well. The peers return what their originals do, and not all of them do the same work: Hugging Face's sampler "
        "and fairseq's mask fewer tokens than asked for, and I-JEPA's draws four overlapping targets and a context "
        "where ours draws blocks of that size.",
        _table(
            ["ours", "ms", "peer", "ms", "ratio"],
            [
                [
                    row["ours"], _milliseconds(row["ours_ms"]), row["peer"] or "—", _milliseconds(row["peer_ms"]),
                    f"{row['peer_ms'][1] / row['ours_ms'][1]:.1f}×" if row["peer_ms"] else "—",
                ]
                for row in section["rows"]
            ],
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    write_page(FOLDER, json.loads((FOLDER / "numbers.json").read_text(encoding="utf-8")))
