"""The torch-free micro-kernel headers: products, exp, Philox lanes and conversions, for each instruction set."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.instruction_sets import skip_untried_amx

ROOT = Path(__file__).resolve().parents[2]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
INSTRUCTION_SETS = {
    "Portable": ([], set()),
    "Avx2": (["-mavx2", "-mfma", "-mf16c"], {"avx2", "fma", "f16c"}),
    "Avx512": (AVX512, {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    "Avx512Bf16": ([*AVX512, "-mavx512bf16"], {"avx512f", "avx512_bf16"}),
}
AMX_VECTORS = [*AVX512, "-mavx512bf16", "-mavx512vbmi"]
TILE_UNITS = {
    "EmulatedAmx": ([], set()),
    "EmulatedAmxAvx512Bf16": (AMX_VECTORS, {"avx512_bf16", "avx512vbmi"}),
    "Amx": (AMX_VECTORS, {"avx512_bf16", "avx512vbmi", "amx_tile", "amx_bf16"}),
}
COMPILER = os.environ.get("CXX") or shutil.which("c++")


def cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split(":")[1].split()}


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("checks", ["microkernel_checks", "vq_checks"])
def test_headers_by_themselves(name: str, checks: str, tmp_path: Path) -> None:
    build_and_run(checks, name, *INSTRUCTION_SETS[name], tmp_path)


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.parametrize("name", TILE_UNITS)
def test_tiles_by_themselves(name: str, tmp_path: Path) -> None:
    skip_untried_amx(name.lower())
    build_and_run("tile_checks", name, *TILE_UNITS[name], tmp_path)


def build_and_run(checks: str, name: str, flags: list[str], needed: set[str], tmp_path: Path) -> None:
    if needed and (platform.machine() != "x86_64" or not needed <= cpu_flags()):
        pytest.skip(f"this machine lacks {sorted(needed - cpu_flags())}")
    program = tmp_path / checks
    source = ROOT / "tests" / "native" / f"{checks}.cpp"
    command = [str(COMPILER), "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", *flags]
    command += [f"-I{ROOT / 'csrc' / 'include'}", f"-DCHECKED_ISA={name}", str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    ran = subprocess.run([str(program)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


WITHOUT_AMX = """
#include <cstdio>
#include <gptface/cpu_features.h>
#include <gptface/tile_unit.h>
int main() { std::printf("%s, %d", gptface::amx_missing(), static_cast<int>(gptface::tile_set())); }
"""


@pytest.mark.skipif(COMPILER is None or platform.machine() != "x86_64", reason="no C++ compiler for x86-64")
def test_an_assembler_that_does_not_know_amx_leaves_it_out(tmp_path: Path) -> None:
    (tmp_path / "program.cpp").write_text(WITHOUT_AMX)
    command = [str(COMPILER), "-std=c++20", "-DGPTFACE_WITHOUT_AMX", f"-I{ROOT / 'csrc' / 'include'}"]
    command += [str(tmp_path / "program.cpp"), "-S", "-o"]
    assembly = tmp_path / "program.s"
    subprocess.run([*command, str(assembly)], check=True)
    assert "tdpbf16ps" not in assembly.read_text() and "ldtilecfg" not in assembly.read_text()
    subprocess.run([str(COMPILER), str(assembly), "-o", str(tmp_path / "program")], check=True)
    said = subprocess.run([str(tmp_path / "program")], capture_output=True, text=True, check=True).stdout
    assert said == "the library was built by a compiler that does not know AMX, 0"


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.parametrize("checks", ["vq_short_checks", "raster_checks"])
def test_cuda_kernels_on_the_threads_of_a_cpu(checks: str, tmp_path: Path) -> None:
    native = ROOT / "tests" / "native"
    command = [str(COMPILER), "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-pthread"]
    command += [
        f"-I{ROOT / 'csrc' / 'include'}",
        f"-I{native / 'cuda_on_threads'}",
        str(native / f"{checks}.cpp"),
    ]
    subprocess.run([*command, "-o", str(tmp_path / "checks")], check=True)
    ran = subprocess.run([str(tmp_path / "checks")], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
