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


def test_doctor_says_which_instruction_set_runs_and_why_it_is_not_amx() -> None:
    environment = describe_environment()
    environment["cpu_kernels"] = {"instruction_set": "avx512", "amx_missing": "the system refused permission to use it"}
    lines = [line.strip() for line in format_environment(environment).splitlines()]
    assert "in use: avx512 (GPTFACE_CPU_INSTRUCTION_SET names another one)" in lines
    assert "AMX tiles, for attention in bfloat16: the system refused permission to use it" in lines
    environment["cpu_kernels"] = {"instruction_set": "amx", "amx_missing": None}
    assert "never timed" in next(line for line in format_environment(environment).splitlines() if "AMX tiles" in line)
