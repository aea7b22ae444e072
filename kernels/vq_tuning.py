"""How the tables of lookup configurations are made: by timing on the GPU at hand, or ahead of time without one.

Ahead of time, candidates are compiled in an order of preference and the first that spills nothing is taken, else the
one that spills least. The order is judgement, not measurement: the widest tiles that leave registers for the selection,
and whole vectors at once where they fit, which moves the rows of a tile once instead of once a tile of codes.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.kernels.attention_tuning import SHARED_LIMIT
from gptface.kernels.compilation import MachineCode
from gptface.kernels.vq_compilation import compile_configuration
from gptface.kernels.vq_configurations import DEPTHS, FEW, PRECISIONS, Configuration, Entry, forced

__all__ = [
    "Problem", "Workload", "ahead_of_time", "candidates", "candidates_of", "problems", "timed", "trying", "workload",
]  # fmt: skip

Problem = tuple[str, "int | None", "int | None"]  # precision, depth, kept: what a line of a table is for

_LOOP = 256  # vector length at which lines for any length are made
_MANY = 17  # candidates at which lines for any number are made: sixteen wanted and one to spare

# (block_m, block_n, num_warps, num_stages); float32 without tensor cores passes its operands through registers.
_SHAPES = {
    "ieee": [(64, 64, 8, 2), (64, 64, 4, 2), (32, 64, 4, 2), (32, 32, 4, 2), (16, 32, 4, 1)],
    "tf32x3": [(128, 64, 8, 2), (64, 64, 4, 2), (64, 64, 8, 1), (64, 32, 4, 1)],
    "tf32": [(128, 128, 8, 3), (128, 64, 8, 2), (64, 64, 4, 2), (64, 32, 4, 1)],
    "bf16": [(128, 128, 8, 3), (128, 64, 8, 2), (64, 64, 4, 2), (64, 32, 4, 1)],
}


def candidates(precision: str, depth: int | None, many: bool) -> list[Configuration]:
    """Configurations worth a try, the preferred ones first."""
    if precision == "ieee":
        steps = [16]
    elif precision == "bf16":
        steps = [64] if depth is None else [depth]
    else:
        steps = [32] if depth is None or depth > 64 else [depth, 32]
    shapes = _SHAPES[precision][1:] if many else _SHAPES[precision]
    # With one candidate a row the loop over codes is pipelined, and three stages of vectors this long do not fit.
    return [
        Configuration(m, n, k, warps, min(stages, 2) if k > 128 else stages)
        for k in dict.fromkeys(steps) for m, n, warps, stages in shapes
    ]  # fmt: skip


def problems() -> Iterator[Problem]:
    """``(precision, depth, kept)`` of every line of a table, in the order in which they are tried."""
    yield from itertools.product(PRECISIONS, DEPTHS, (FEW, None))


def ahead_of_time(table: str, say: Callable[[str], None]) -> list[tuple[Entry, MachineCode]]:
    """Every line of a table by compilation alone."""
    lines = []
    for precision, depth, kept in problems():
        what = f"{table} {precision}, depth {depth}, kept {kept}"
        best: tuple[Entry, MachineCode] | None = None
        for chosen in candidates(precision, depth, kept is None):
            try:
                code = compile_configuration(precision, chosen, table, width=depth or _LOOP, kept=kept or _MANY)
            except Exception as error:  # whatever a compiler raises: this candidate is none
                say(f"{what}: {chosen} does not compile: {type(error).__name__}")
                continue
            if code.shared > SHARED_LIMIT[table]:
                continue
            if best is None or code.spilled < best[1].spilled:
                best = Entry(precision, depth, kept, chosen), code
            if best[1].spilled == 0:
                break
        assert best is not None, f"nothing compiles for {what}"
        say(f"{what}: {best[0].configuration} {best[1]}")
        lines.append(best)
    return lines


@dataclass(frozen=True)
class Workload:
    """A problem of a table at a size worth timing.

    Attributes:
        x, codebook: ``(1, N, D)`` and ``(1, K, D)`` float32.
        topk, precision: as the operator's.
    """

    x: Tensor
    codebook: Tensor
    topk: int
    precision: str

    def run(self) -> tuple[Tensor, ...]:
        """Scores and indices."""
        from gptface.ops.vq.triton_lookup import lookup_triton

        return lookup_triton(self.x, self.codebook, "euclidean", self.topk, self.precision, False)[:2]

    def error(self, found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
        """Share of indices that differ, in units of the share that may: near ties go either way."""
        allowed = {"exact": 1e-4, "tf32x3": 2e-3, "tf32": 2e-2, "bf16": 0.2}[self.precision]
        return float((found[1] != expected[1]).double().mean()) / allowed


def workload(problem: Problem, device: str = "cuda", elements: int = 2**22) -> Workload:
    """16384 rows of up to 256 elements and half as many codes, or as few as ``elements`` asks for."""
    precision, depth, kept = problem
    width, wanted = depth or _LOOP, kept or _MANY
    rows = min(16384, max(32, elements // width))
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(1, rows, width, device=device, generator=generator)
    codebook = torch.randn(1, max(wanted + 3, rows // 2), width, device=device, generator=generator)
    asked = "exact" if precision == "ieee" else precision
    topk = wanted - 1 if precision == "ieee" else min(wanted, 16)
    return Workload(x, codebook, topk, asked)


def candidates_of(problem: Problem) -> list[Configuration]:
    """Those of a line of the table."""
    precision, depth, kept = problem
    return candidates(precision, depth, kept is None)


def trying(problem: Problem, chosen: Configuration) -> contextlib.AbstractContextManager[None]:
    """Within the block the lookup runs with ``chosen``."""
    return forced(chosen)


def timed(table: str, say: Callable[[str], None]) -> list[tuple[Entry, MachineCode]]:
    """Every line of a table by median time on the GPU at hand, over 16384 rows and 8192 codes."""
    from triton.testing import do_bench

    lines = []
    for problem in problems():
        precision, depth, kept = problem
        load = workload(problem)
        best: tuple[float, Configuration] | None = None
        for chosen in candidates_of(problem):
            with trying(problem, chosen):
                try:
                    milliseconds = float(do_bench(load.run, warmup=50, rep=200, return_mode="median"))
                except Exception as error:  # out of shared memory or registers: this candidate is none
                    say(f"{precision}, depth {depth}, kept {kept}: {chosen} does not run: {type(error).__name__}")
                    continue
            say(f"{precision}, depth {depth}, kept {kept}: {chosen} {milliseconds:.3f} ms")
            if best is None or milliseconds < best[0]:
                best = milliseconds, chosen
        assert best is not None, f"nothing runs for {precision}, depth {depth}, kept {kept}"
        code = compile_configuration(precision, best[1], table, width=depth or _LOOP, kept=kept or _MANY)
        lines.append((Entry(precision, depth, kept, best[1]), code))
    return lines
