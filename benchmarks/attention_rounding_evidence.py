"""Where float32 gradients of the attention kernels lose digits, and the yardstick that their tests follow from.

    python -m benchmarks.attention_rounding_evidence

First the formulas in plain PyTorch, one change at a time: the largest error against float64 over that of the formula
that differentiation by torch amounts to. Then the kernels, over random shapes, masks and dropout: how often they exceed
twice an error, and the largest ratio to it. Under ``TRITON_INTERPRET=1`` the Triton kernels instead of the CPU's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gptface.diagnosis.attention_formulas import evaluate
from gptface.ops import IntervalMask
from gptface.ops.attention.reference import dropout_keep
from gptface.ops.native import cpu_instruction_set
from tests.helpers.numerics import FLOOR
from tests.ops.attention_cases import GRADIENTS, dense_with_gradients, draw, random_mask, with_gradients, yardsticks

__all__ = ["CHANGES", "instruction_sets", "measure_formulas", "measure_kernels", "problems"]

RESULTS = ("out", *GRADIENTS)
# What the first table changes, from the formula of the softmax's derivative; the last line is that of the kernels.
CHANGES: dict[str, dict[str, Any]] = {
    "softmax, sum(P · dP)": {},
    "the same, first term to last": {"order": "first to last"},
    "softmax, sum(dO · O)": {"delta_from": "out"},
    "e^(S − lse), sum(P · dP)": {"weights_from": "lse"},
    "e^(S − lse), sum(dO · O)": {"weights_from": "lse", "delta_from": "out"},
    "the same, first term to last, lse rounded up": {
        "weights_from": "lse", "delta_from": "out", "order": "first to last", "rounded": "up",
    },
}  # fmt: skip


class Problem(NamedTuple):
    """A draw of inputs; ``factor`` and ``options`` are those of its dropout."""

    inputs: tuple[Tensor, ...]
    mask: IntervalMask | None
    factor: Tensor | None
    options: dict[str, Any]


def problems(count: int, small: bool = False) -> Iterator[Problem]:
    """Random lengths (one query or key too), head dimensions, groups of heads, intervals and dropout."""
    generator = random.Random(0)
    for _ in range(count):
        lengths = (1, 7, 23, 41, 67) if small else (1, 7, 23, 61, 83, 130, 211, 300)
        queries, keys = generator.choice(lengths), generator.choice(lengths)
        width = generator.choice((16, 32, 64) if small else (16, 24, 32, 40, 64, 80, 96, 128, 192, 256))
        heads, key_heads = generator.choice(((1, 1), (2, 1), (4, 2), (3, 3), (6, 2))[: 2 if small else 5])
        batch, k = generator.choice((1, 2)), generator.choice((0, 1, 2))
        p, seed = generator.choice((0.0, 0.0, 0.1, 0.5)), generator.randrange(2**31)
        factor, options = None, {}
        if p > 0.0:
            keep = dropout_keep(torch.tensor(seed), p, batch, heads, queries, keys)
            factor, options = keep.double() / (1 - p), {"dropout_p": p, "seed": seed}
        inputs = draw(batch, queries, keys, heads, key_heads, width, seed=seed)
        yield Problem(inputs, random_mask(batch, queries, keys, k, seed) if k else None, factor, options)


def instruction_sets() -> list[str]:
    """Those of this machine with float32 kernels of their own."""
    before, found = cpu_instruction_set(), []
    for name in ("portable", "avx2", "avx512"):
        with contextlib.suppress(RuntimeError):
            found.append(cpu_instruction_set(name))
    cpu_instruction_set(before)
    return found


def _errors(results: dict[str, Tensor], oracle: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((results[name].double() - oracle[name]).abs().max()) for name in RESULTS}


def measure_formulas(draws: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Median and largest ratio of each of :data:`CHANGES` to the first, for output and gradients."""
    ratios: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(draws):
        inputs, mask = draw(2, 150, 150, 4, 4, 40, seed=seed), random_mask(2, 150, 150, 1 + seed % 2, seed)
        oracle = dense_with_gradients(*inputs, mask, torch.float64)
        plain: dict[str, float] = {}
        for label, change in CHANGES.items():
            choices = {"weights_from": "softmax", "delta_from": "weights", **change}
            errors = _errors(evaluate(*inputs, mask.to_dense(), 40**-0.5, **choices), oracle)
            plain = plain or errors
            for name, error in errors.items():
                ratios[label][name].append(error / plain[name])
    return {
        label: {name: (statistics.median(found), max(found)) for name, found in each.items()}
        for label, each in ratios.items()
    }


def measure_kernels(count: int, kernels: list[str]) -> dict[tuple[str, str], dict[str, tuple[int, float]]]:
    """For each kernel and yardstick: of how many draws a result is beyond the rule, and the largest ratio.

    The ratio is that of what exceeds the rule's floor; draws in which a yardstick happens to be exact have none.
    """
    beyond: dict[tuple[str, str], dict[str, tuple[int, float]]] = defaultdict(lambda: dict.fromkeys(RESULTS, (0, 0.0)))
    before = cpu_instruction_set()
    for inputs, mask, factor, options in problems(count, small="triton" in kernels):
        oracle = dense_with_gradients(*inputs, mask, torch.float64, factor=factor)
        weights_from = "softmax" if "triton" in kernels else "lse"
        made = [_errors(each, oracle) for each in yardsticks(*inputs, mask, factor=factor, weights_from=weights_from)]
        yards = {"derivative of a softmax": made[:1], "own formulas, torch's sums": made[1:2], "yardstick": made}
        for kernel in kernels:
            if kernel != "triton":
                cpu_instruction_set(kernel)
            impl = "triton" if kernel == "triton" else "cpu"
            errors = _errors(with_gradients(*inputs, mask, impl=impl, **options), oracle)
            for label, evaluations in yards.items():
                for name in RESULTS:
                    over = errors[name] - FLOOR[torch.float32] * max(1.0, float(oracle[name].abs().max()))
                    plain = max(each[name] for each in evaluations)
                    times, largest = beyond[kernel, label][name]
                    largest = max(largest, over / plain) if plain > 0.0 else largest
                    beyond[kernel, label][name] = (times + (over > 2 * plain), largest)
    cpu_instruction_set(before)
    return dict(beyond)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=24, help="of the formulas")
    parser.add_argument("--problems", type=int, default=400, help="of the kernels")
    arguments = parser.parse_args()
    kernels = ["triton"]
    if os.environ.get("TRITON_INTERPRET") != "1":
        kernels = instruction_sets()
        sys.stdout.write(f"| formula | {' | '.join(RESULTS)} |\n|---|{'---|' * 4}\n")
        for label, ratios in measure_formulas(arguments.draws).items():
            cells = " | ".join(f"{median:.2f} ({largest:.2f})" for median, largest in ratios.values())
            sys.stdout.write(f"| {label} | {cells} |\n")
    sys.stdout.write(f"\n| kernel, held to | {' | '.join(RESULTS)} |\n|---|{'---|' * 4}\n")
    for (kernel, label), found in measure_kernels(arguments.problems, kernels).items():
        cells = " | ".join(f"{times} ({largest:.2f})" for times, largest in found.values())
        sys.stdout.write(f"| {kernel}, {label} | {cells} |\n")


if __name__ == "__main__":
    main()
