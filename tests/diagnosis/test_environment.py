"""What ``gptface doctor`` says is true of the sources and of this machine."""

from __future__ import annotations

from pathlib import Path

from gptface.diagnosis.environment import describe_environment, format_environment
from gptface.kernels.inventory import KERNELS

ROOT = Path(__file__).resolve().parents[2]


def test_doctor_has_one_line_for_every_gpu_kernel_and_every_cuda_source() -> None:
    lines = format_environment(describe_environment()).splitlines()
    for kernel in {*KERNELS, *(f"{source.stem}.cuda" for source in (ROOT / "csrc" / "cuda").glob("*.cu"))}:
        assert len([line for line in lines if line.split()[:1] == [kernel]]) == 1, kernel
