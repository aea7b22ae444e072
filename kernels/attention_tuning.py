"""How the tables of attention configurations are made: by timing on the GPU at hand, or ahead of time without one.

Ahead of time, candidates are compiled and ranked by what their machine code says (:func:`rank`): nothing spilled inside
the loops, no score computed twice, no product that waits for the one before, then the fewest cycles by the arithmetic
of ``kernel_cost``, which counts how many programs share a multiprocessor. That is arithmetic, not measurement, and
knows nothing of memory: so tiles of 128 rows or keys, which read the other side half as often, come first for long
sequences whatever the cycles of narrow ones; for short sequences there are tiles of 64, several of which share a
multiprocessor and leave fewer idle in the last wave. Of equal ones the first counts. Of the second pass of
``attention_containment``, which seldom has anything to do, only the shared memory counts.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.kernels import attention
from gptface.kernels.attention_compilation import compile_configuration
from gptface.kernels.attention_configurations import KERNELS, Configuration, Entry, forced
from gptface.kernels.compilation import MachineCode
from gptface.kernels.kernel_cost import MACHINES, attention_cost

__all__ = [
    "BLOCK_DS", "SHARED_LIMIT", "SHORT", "Problem", "Workload", "ahead_of_time", "candidates", "candidates_of",
    "problems", "rank", "timed", "trying", "workload",
]  # fmt: skip

Problem = tuple[str, int, int, "int | None"]  # kernel, bits, block_d, rows: what a line of a table is for
BLOCK_DS = (16, 32, 64, 128, 256)
SHORT = 512  # rows up to which a sequence counts as short
# Shared memory a program may take, in bytes (CUDA programming guide, technical specifications by compute capability).
SHARED_LIMIT = {"sm_80": 166912, "sm_90": 232448, "sm_100": 232448, "default": 101376}

# (block_m, block_n, num_warps, num_stages[, max_registers]). Eight warps on 64 rows (or keys, for grad_key_value) make
# both warp groups of Hopper compute the same scores; they are here for architectures where nothing else fits.
_WIDE: dict[str, list[tuple[int, ...]]] = {
    "forward": [
        (128, 128, 8, 2), (128, 64, 8, 3, 128), (128, 64, 8, 3), (128, 64, 8, 2), (128, 64, 4, 3), (128, 32, 8, 3),
        (128, 32, 8, 2),
    ],
    "grad_query": [
        (128, 64, 8, 3, 128), (128, 64, 8, 3), (128, 64, 8, 2), (128, 32, 8, 3), (128, 32, 8, 2), (128, 32, 8, 1),
    ],
    "grad_key_value": [
        (64, 128, 8, 3), (64, 128, 8, 2), (32, 128, 8, 3), (32, 128, 8, 2), (32, 128, 8, 1), (16, 128, 8, 2),
    ],
}
_NARROW: dict[str, list[tuple[int, ...]]] = {
    "forward": [
        (64, 64, 4, 3, 168), (64, 64, 4, 3), (64, 64, 4, 2), (64, 32, 4, 2), (64, 32, 8, 2), (64, 32, 4, 1),
        (64, 16, 4, 1),
    ],
    "grad_query": [
        (64, 64, 4, 3, 168), (64, 64, 4, 3), (64, 64, 4, 2), (64, 32, 4, 2), (64, 32, 8, 2), (64, 32, 8, 1),
        (64, 16, 8, 1),
    ],
    "grad_key_value": [
        (64, 64, 4, 3), (64, 64, 4, 2), (32, 64, 4, 3), (32, 64, 4, 2), (64, 64, 8, 2), (32, 64, 8, 2), (32, 64, 8, 1),
        (16, 64, 8, 1), (16, 32, 4, 1),
    ],
}  # fmt: skip
# float32 products have no matrix instruction: the operands of a tile pass through registers, which small tiles respect.
_FLOAT32: list[tuple[int, ...]] = [(32, 32, 4, 1), (32, 16, 4, 1), (16, 16, 4, 1)]
_FLOAT32_WIDE_HEAD: list[tuple[int, ...]] = [(32, 16, 8, 1), (16, 16, 4, 1), (16, 16, 8, 1)]


def candidates(kernel: str, bits: int, width: int, short: bool) -> list[Configuration]:
    """Configurations worth a try, the preferred ones first."""
    if bits == 32:
        shapes = _FLOAT32 if width <= 64 else _FLOAT32_WIDE_HEAD
    else:
        shapes = _NARROW[kernel] if short else [*_WIDE[kernel], *_NARROW[kernel]]
    return [Configuration(*shape) for shape in shapes]


def problems() -> Iterator[Problem]:
    """``(kernel, bits, block_d, rows)`` of every line of a table. float32 has one line for all lengths."""
    for kernel, width in itertools.product(KERNELS, BLOCK_DS):
        yield kernel, 16, width, SHORT
        yield kernel, 16, width, None
    for kernel, width in itertools.product(KERNELS, BLOCK_DS):
        yield kernel, 32, width, None


def rank(problem: Problem, chosen: Configuration, code: MachineCode, table: str) -> tuple[int, int, bool, float]:
    """Smaller is better: instructions that move spilled registers in the loops, powers too many, whether products wait
    for one another, cycles a score.

    Cycles are the busiest unit's, or those in order over the programs of a multiprocessor where these are more; half
    of a short sequence's tiles are taken to be partial, a quarter of a long one's. They are 0 for a table whose GPU
    ``kernel_cost`` does not know, and for float32.
    """
    kernel, bits, width, rows = problem
    known = bits == 16 and table in MACHINES
    cost = attention_cost(
        kernel, code, MACHINES[table if known else "sm_90"], chosen.block_m, chosen.block_n, chosen.num_warps, width
    )
    extra = max(0, cost.extra_exponentials) if bits == 16 else 0
    share = 0.5 if rows is not None else 0.25
    full, partial = (max(tile.overlapped, tile.in_order / max(1, cost.blocks)) for tile in (cost.full, cost.partial))
    cycles = ((1 - share) * full + share * partial) / (chosen.block_m * chosen.block_n)
    return cost.spilled_in_loops, extra, cost.serialised, cycles if known else 0.0


def ahead_of_time(table: str, say: Callable[[str], None]) -> list[tuple[Entry, MachineCode]]:
    """Every line of a table by compilation alone."""
    lines = []
    for kernel, bits, width, rows in problems():
        best: tuple[tuple[int, int, bool, float], Entry, MachineCode] | None = None
        for chosen in candidates(kernel, bits, width, rows is not None):
            if best is not None and not any(best[0][:3]) and (best[0][3] == 0.0 or _narrower(chosen, best[1])):
                break
            dtype = "bf16" if bits == 16 else "fp32"
            try:
                code, second_pass = (
                    compile_configuration(kernel, chosen, table, dtype=dtype, head_dim=width, repair=repair)
                    for repair in (False, True)
                )
            except Exception as error:  # whatever a compiler raises: this candidate is none
                say(f"{table} {kernel} {bits} bits, head {width}: {chosen} does not compile: {type(error).__name__}")
                continue
            if max(code.shared, second_pass.shared) > SHARED_LIMIT[table]:
                continue
            place = rank((kernel, bits, width, rows), chosen, code, table)
            say(f"{table} {kernel} {bits} bits, head {width}, rows {rows}: {chosen} ranks {place}")
            if best is None or place < best[0]:
                best = place, Entry(kernel, bits, width, rows, chosen), code
        assert best is not None, f"nothing compiles for {table} {kernel} {bits} bits, head {width}"
        say(f"{table} {kernel} {bits} bits, head {width}, rows {rows}: {best[1].configuration} {best[2]}")
        lines.append(best[1:])
    return lines


def _narrower(chosen: Configuration, best: Entry) -> bool:
    """Whether ``chosen`` has fewer rows (or keys, for grad_key_value) than the best so far."""
    if best.kernel == "grad_key_value":
        return chosen.block_n < best.configuration.block_n
    return chosen.block_m < best.configuration.block_m


@dataclass(frozen=True)
class Workload:
    """A problem of a table at a size worth timing: a batch of short multimodal samples, or long packed documents.

    Attributes:
        kernel: one of ``KERNELS``.
        tensors: query, key, value, gradient of the output.
        intervals: of the mask, with the bounds of row and key blocks.
        kept: output, log-sum-exp and state of a forward pass.
    """

    kernel: str
    tensors: tuple[Tensor, Tensor, Tensor, Tensor]
    intervals: tuple[Tensor, Tensor, Tensor]
    kept: tuple[Tensor, Tensor, Tensor]

    def run(self) -> tuple[Tensor, ...]:
        """What the kernel computes. Both gradients run for either; :func:`trying` changes the one in question."""
        query, key, value, grad_out = self.tensors
        intervals, rows, columns = self.intervals
        scale = query.shape[-1] ** -0.5
        if self.kernel == "forward":
            return attention.forward(query, key, value, intervals, rows, None, scale, 0.0)[:2]
        gradients = attention.backward(
            grad_out, None, query, key, value, *self.kept, intervals, rows, columns, None, scale, 0.0
        )
        return gradients[:1] if self.kernel == "grad_query" else gradients[1:]

    def error(self, found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
        """How far results lie apart, in units of what two right ones may: twice the limit on the RMSE of one."""
        limit = 1e-5 if self.tensors[0].dtype == torch.float32 else 0.006
        worst = 0.0
        for mine, theirs in zip(found, expected, strict=True):
            finite = theirs.isfinite()  # a log-sum-exp of a row that sees nothing is not
            if not torch.equal(mine.isfinite(), finite):
                return math.inf
            mine, theirs = mine[finite].double(), theirs[finite].double()
            worst = max(worst, float((mine - theirs).norm() / theirs.norm()) / (2 * limit))
        return worst


def workload(problem: Problem, device: str = "cuda", elements: int = 2**25) -> Workload:
    """One of about ``elements`` elements a tensor."""
    from gptface.ops.attention import IntervalMask

    kernel, bits, width, rows = problem
    length, heads = (334, 12) if rows is not None else (4096, 12)
    if elements < length * heads * width:  # for tests
        length, heads = max(8, elements // width), 1
    batch = max(1, elements // (length * heads * width))
    dtype = torch.bfloat16 if bits == 16 else torch.float32
    generator = torch.Generator(device).manual_seed(0)
    shape = (batch, length, heads, width)
    query, key, value, grad_out = (
        torch.randn(shape, device=device, dtype=dtype, generator=generator) for _ in range(4)
    )
    if rows is not None:
        samples = torch.arange(batch, device=device)
        lengths = length - samples % max(1, length // 4)
        mask = IntervalMask.prefix_lm(lengths * (samples % 3) // 2, lengths, length)
    else:
        starts = torch.arange(0, length + 1, min(256, length), device=device)
        starts = torch.cat([starts, torch.full_like(starts[:1], length)]) if int(starts[-1]) < length else starts
        mask = IntervalMask.packed(cu_seqlens=starts, num_tokens=length, causal=True)
    row_table, column_table = attention.block_bounds(mask.intervals, length)
    kept = attention.forward(query, key, value, mask.intervals, row_table, None, width**-0.5, 0.0)
    return Workload(kernel, (query, key, value, grad_out), (mask.intervals, row_table, column_table), kept)


def candidates_of(problem: Problem) -> list[Configuration]:
    """Those of a line of the table."""
    kernel, bits, width, rows = problem
    return candidates(kernel, bits, width, rows is not None)


def trying(problem: Problem, chosen: Configuration) -> contextlib.AbstractContextManager[None]:
    """Within the block the problem's kernel runs with ``chosen``."""
    return forced({problem[0]: chosen})


def timed(table: str, say: Callable[[str], None]) -> list[tuple[Entry, MachineCode]]:
    """Every line of a table by median time on the GPU at hand, among the candidates that compile."""
    from triton.testing import do_bench

    lines = []
    for problem in problems():
        kernel, bits, width, rows = problem
        load = workload(problem)
        best: tuple[float, Configuration] | None = None
        for chosen in candidates_of(problem):
            with trying(problem, chosen):
                try:
                    milliseconds = float(do_bench(load.run, warmup=50, rep=200, return_mode="median"))
                except Exception as error:  # out of shared memory or registers: this candidate is none
                    say(f"{kernel} {bits} bits, head {width}: {chosen} does not run: {type(error).__name__}")
                    continue
            say(f"{kernel} {bits} bits, head {width}, rows {rows}: {chosen} {milliseconds:.3f} ms")
            if best is None or milliseconds < best[0]:
                best = milliseconds, chosen
        assert best is not None, f"nothing runs for {kernel} {bits} bits, head {width}"
        dtype = "bf16" if bits == 16 else "fp32"
        code = compile_configuration(kernel, best[1], table, dtype=dtype, head_dim=width)
        lines.append((Entry(kernel, bits, width, rows, best[1]), code))
    return lines
