"""How much of the multiply-add rate the CPU attention kernels reach, and what the rest of their time goes to.

    python -m benchmarks.attention_breakdown [--rounds 7]

float32, one thread, CPU time, the best of some rounds. A C++ program is compiled for this machine's instruction set
from the kernels' own headers (``attention_breakdown.cpp``). It measures the rate of multiply-adds in registers, the
whole forward and backward, and the steps between the products on scores in the first-level cache; it counts the pairs
of query and key that are visible, and those that whole vectors and blocks make the kernels compute.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.machine import ROOT
from benchmarks.patterns import make_pattern
from gptface.ops import IntervalMask
from gptface.ops.native import cpu_instruction_set

__all__ = ["CASES", "Case", "Share", "compile_program", "measure", "shares"]

_AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
_TARGETS = {
    "portable": ("Portable", []),
    "avx2": ("Avx2", ["-mavx2", "-mfma", "-mf16c"]),
    "avx512": ("Avx512", _AVX512),
    "avx512_bf16": ("Avx512", _AVX512),  # for float32 they are one
    "amx": ("Avx512", _AVX512),
}


class Case(NamedTuple):
    """A mask and shapes: ``mixed`` as in the benchmarks, ``full``, and documents in one row or one a row."""

    mask: str
    batch: int
    length: int
    heads: int
    width: int


class Share(NamedTuple):
    """Of one pass: GFLOP/s and the share of the multiply-add rate on visible work; what the time is, as shares.

    ``products`` and ``hidden`` are the matrix products of what is visible and of what is computed beside it, at the
    multiply-add rate; ``steps`` is what lies between the products; ``rest`` is what remains of the measured time:
    packing, reading and writing tensors, rescaling, masks, calls.
    """

    gflops: float
    reached: float
    products: float
    hidden: float
    steps: float
    rest: float


_DOCUMENTS = torch.randint(100, 141, (64,), generator=torch.Generator().manual_seed(3))
CASES = [
    Case("mixed", 8, 334, 12, 64),
    *(Case("full", 8, 334, 12, width) for width in (32, 64, 128)),
    *(Case("documents, one row", 1, int(_DOCUMENTS.sum()), 6, width) for width in (32, 64)),
    *(Case("documents, padded", 64, 140, 6, width) for width in (32, 64)),
]


def _intervals(case: Case) -> np.ndarray[Any, Any] | None:
    if case.mask == "full":
        return None
    if case.mask == "mixed":
        mask = make_pattern("mixed", case.batch, case.length, {}, torch.device("cpu")).interval_mask()
        assert mask is not None
    elif case.mask == "documents, one row":
        mask = IntervalMask.packed(document_ids=torch.arange(len(_DOCUMENTS)).repeat_interleave(_DOCUMENTS))
    else:
        mask = IntervalMask.padding(_DOCUMENTS, case.length)
    return mask.intervals.expand(case.batch, -1, -1, -1).contiguous().numpy().astype(np.int32)


def compile_program(folder: Path, optimization: str = "-O3") -> Path:
    """The program for this machine's instruction set.

    Raises:
        RuntimeError: there is no C++ compiler.
    """
    compiler = os.environ.get("CXX") or shutil.which("c++")
    if compiler is None:
        raise RuntimeError("no C++ compiler: set CXX, or install c++")
    name, flags = _TARGETS[cpu_instruction_set()]
    program = folder / "attention_breakdown"
    command = [compiler, "-std=c++20", optimization, "-fno-math-errno", "-pthread", *flags]
    command += [f"-DBREAKDOWN_ISA=gptface::{name}", f"-I{ROOT / 'csrc' / 'include'}"]
    command.append(str(ROOT / "benchmarks" / "attention_breakdown.cpp"))
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def measure(program: Path, case: Case, rounds: int) -> dict[str, float]:
    """What the program prints for a case: rates and seconds, see its source."""
    intervals = _intervals(case)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "intervals"
        if intervals is not None:
            intervals.tofile(path)
        command = [str(program), "full" if intervals is None else str(path), *map(str, case[1:]), str(rounds)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(found)
    return result


def shares(measured: dict[str, float], width: int, backward: bool) -> Share:
    """What a pass's time is made of: two products forward, five backward, of ``width`` multiply-adds a pair each."""
    seconds = measured["backward" if backward else "forward"]
    work = (5 if backward else 2) * width
    products = work * measured["visible"] / measured["rate"] / seconds
    hidden = work * (measured["computed"] - measured["visible"]) / measured["rate"] / seconds
    steps = measured["computed"] / measured["lanes"] * measured["gradients" if backward else "weights"] / seconds
    gflops = 2 * work * measured["visible"] / seconds / 1e9
    return Share(gflops, products, products, hidden, steps, 1.0 - products - hidden - steps)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention_breakdown", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each pass, the fastest counts (default 7)")
    rounds = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory() as folder:
        program = compile_program(Path(folder))
        lines = []
        for case in CASES:
            measured = measure(program, case, rounds)
            for backward in (False, True):
                share = shares(measured, case.width, backward)
                percent = " | ".join(f"{100 * value:.0f} %" for value in (share.reached, *share[3:]))
                lines.append(
                    f"| {case.mask} | {case.batch} | {case.length} | {case.heads} | {case.width} | "
                    f"{'backward' if backward else 'forward'} | {share.gflops:.0f} | {percent} |"
                )
    sys.stdout.write(
        f"Instruction set {cpu_instruction_set()}; multiply-adds in registers, one core: "
        f"{2 * measured['rate'] / 1e9:.0f} GFLOP/s.\n\n"
        "| mask | B | S | H | D | pass | GFLOP/s | of the rate | hidden pairs | between products | rest |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
