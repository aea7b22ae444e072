"""The page ``docs/performance/span-masks.md`` from the numbers of :mod:`benchmarks.span_mask_evidence`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["write_page"]

ALGORITHM = """\
## The algorithm

**Text.** The n eligible positions (or words) of a sample, in order, form a ring. m = round(ratio · n).

1. *Lengths to an exact budget.* Lengths are drawn independently from the law (a table of 32-bit thresholds, so that no
   device needs a logarithm) until their sum reaches m. The last one is cut so that the sum is m: k spans.
2. *Gaps.* The n − m unmasked positions go into the k gaps behind the spans: `min_gap` each, and what is left, f, by a
   composition of f into k parts drawn uniformly from all C(f + k − 1, k − 1): a uniform (k − 1)-subset of f + k − 1
   places (Floyd's algorithm) holds the bars between the parts. Where k · `min_gap` > n − m, the gap shrinks to
   (n − m) // k: the count wins.
3. *Turn.* The whole ring is turned by a uniform draw. Every position is then masked with probability m/n exactly,
   whatever the lengths and gaps were; a span may go on from the last position to the first.

**Image blocks.** The grid is a torus. Until m cells are masked: an area, uniform from `minimum` to `maximum` but at
most what is left; one of 32 shapes, evenly spaced in the logarithm; an unmasked cell drawn uniformly, at a uniform
place of the rectangle over it. The block that reaches the budget stops there. Turning the torus turns every mask into
an equally likely one, so every cell is masked with probability m/n exactly.

**Image, independent.** A uniform m-subset of the eligible cells (Floyd).

**Facial regions.** Whole regions by weight, among those that fit into what is left of the budget; blocks for the rest;
kept regions are never eligible.

**Joint.** Each modality as if it were alone, from streams of its own.

**At the edges.** No eligible position, or a ratio of 0: nothing is masked; a ratio of 1: every eligible position is. A
budget that a rule cannot meet is met at the cost of the rule: gaps shrink, the last span or block is cut, blocks take
over where no whole region fits. Whole words are never cut: there the number of *words* is exact. Lengths or ratios out
of range are errors that name the argument.

**Randomness.** Philox4x32-10, keyed by the seed, counted by (block, purpose; step; 64-bit sample id): a sample's mask
depends on those and its own layout alone. Bounded draws are Lemire's multiplication with rejection: no bias, integers
only.
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
        "# Span masks: the evidence",
        "`python -m benchmarks.span_mask_evidence` measures all of this again. The peers are re-implemented from their "
        "papers in `benchmarks/peers/span_masks.py`; none of their code was run.",
        ALGORITHM,
        *(_checks(numbers["checks"], output.name) if "checks" in numbers else []),
        *(_speed(numbers["speed"]) if "speed" in numbers else []),
    ]
    output.with_suffix(".md").write_text("\n\n".join(part.strip() for part in text) + "\n", encoding="utf-8")


def _checks(section: dict[str, Any], folder: str) -> list[str]:
    marginals, peers, varied = section["marginals"], section["peers"], section["varied"]
    tests = [p for row in marginals for p in (row["p_all_positions"], row["p_one_position"]) if p is not None]
    tests += [row["p"] for row in section["lengths"] if row["p"] is not None]
    return [
        "## Exact counts, even marginals",
        _written(section, "checks"),
        "*Exact*: masks that hold exactly the promised number of tokens. *Masked*: how often the least and the most "
        "often masked eligible position was. *All positions*: p-value of Wald's χ² test (with the positions' "
        "covariance) that all are masked equally often; *one position*: of Pearson's χ² test on one masked position "
        "drawn from every sample. No p-value stands where nothing even is promised.",
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
        f"The smallest of the {len(tests)} p-values on this page is {min(tests):.2g}; of so many, the smallest is "
        f"expected near {1 / (len(tests) + 1):.2g}. With a random ratio for every chunk, a random length and random "
        f"ineligible cells for every sample: {_share(varied['exact'], varied['samples'])} exact.",
        "What the specifications are:",
        _specifications(marginals),
        "The peers:",
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
        f"How often each position is masked (dotted: promised):\n\n![sequences]({folder}/marginals-sequence.png)",
        "How often each cell of a 14 × 14 grid is masked (the face is one face of five landmarks):\n\n"
        f"![grids]({folder}/marginals-grid.png)",
        "## Span lengths",
        "Lengths are drawn until the budget is spent, so a mask holds slightly more short spans than the law: the last "
        "is cut, and long ones reach the budget sooner. With u(k) the probability that a partial sum is k, a mask of m "
        "positions holds Σ u(k) p(l) + u(m − l) P(L > l) spans of length l on average (k from 0 to m − l). Bars: "
        "found; dots: that formula. 101 positions, ratio 0.3; a span over the end of the sample is counted whole.",
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
        "The CUDA kernel, which runs the same header, is compiled for sm_80, sm_90a and sm_100 but was **not run: "
        "unverified** (no CUDA device here)."
        if agreement["cuda"] is None
        else f"The CUDA kernel does in {_share(agreement['cuda'], total)}."
    )
    return (
        f"{_number(total)} random specifications of every kind with random inputs ({_number(agreement['samples'])} "
        f"samples), all four results compared: the CPU kernel equals the reference in {cpu}. {cuda}"
    )


def _speed(section: dict[str, Any]) -> list[str]:
    return [
        "## Speed",
        _written(section, "speed"),
        "Milliseconds of CPU time for a batch of 256 on one thread: median (20 % to 80 % quantile), contenders in "
        "turns. Other work may have shared the machine: the ratios are what to read. 334 positions, or 16 × 16 cells. "
        "Ours returns mask, packed indices, offsets and span ids, and in the last row the corrupted tokens too; the "
        "peers what they return. Hugging Face's sampler and fairseq's mask fewer tokens than asked. On I-JEPA's row "
        "the two do not draw the same masks (four overlapping targets and a context there, blocks of that size here).",
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
