"""The native library: stable ABI only, every GPU target, headers that stand alone, builds that may not succeed."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import gptface
from gptface.ops import implementations
from gptface.ops.native import cpu_library_missing, cuda_library_missing, library_path

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
ROOT = Path(__file__).resolve().parents[1]


def cuobjdump() -> str | None:
    """From the CUDA toolkit, or the copy inside the triton wheel."""
    found = shutil.which("cuobjdump")
    if found is None:
        try:
            import triton
        except ImportError:
            return None
        inside = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        found = str(inside) if inside.exists() else None
    return found


def part(name: str) -> Path:
    path = library_path(name)
    if path is None:
        pytest.skip(f"the native {name} library was not built here")
    return path


def test_the_cpu_library_loads_and_holds_its_kernels() -> None:
    part("cpu")
    assert cpu_library_missing() is None
    for operator in ("sample_span_mask", "corrupt_tokens"):
        found = {row.name: row for row in implementations(operator)}
        assert found["cpu"].available, found["cpu"].reason
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"gptface::{operator}", "CPU")


def test_the_cuda_library_says_why_it_does_not_run() -> None:
    if torch.cuda.is_available():
        part("cuda")
        assert cuda_library_missing() is None
    else:
        assert cuda_library_missing() == "no CUDA device"


@pytest.mark.skipif(torch.version.cuda is None, reason="this torch is not a CUDA build")
def test_the_cuda_library_loads_under_a_cuda_torch_also_without_a_device() -> None:
    program = (
        "import sys, torch, gptface.ops; torch.ops.load_library(sys.argv[1]);"
        "print(torch._C._dispatch_has_kernel_for_dispatch_key('gptface::sample_span_mask', 'CUDA'))"
    )
    command = [sys.executable, "-c", program, str(part("cuda"))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "True"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_no_python_and_no_unstable_torch_symbol(name: str) -> None:
    """One wheel for every Python and every torch from 2.10: only the C shims of libtorch may be named."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm (binutils) is not installed")
    listing = subprocess.run(
        [nm, "-D", "--undefined-only", str(part(name))], capture_output=True, text=True, check=True
    ).stdout
    symbols = [line.split()[-1].split("@")[0] for line in listing.splitlines()]
    assert any(symbol.startswith("aoti_torch_") for symbol in symbols)
    unstable = [s for s in symbols if re.match(r"_?Py[A-Z_]|_ZNK?(3c10|2at|5torch)", s)]
    assert unstable == []


def test_every_gpu_target_is_in_the_cuda_library() -> None:
    tool = cuobjdump()
    if tool is None:
        pytest.skip("cuobjdump is not installed (CUDA toolkit or triton)")
    library = str(part("cuda"))
    usage = subprocess.run([tool, "--dump-resource-usage", library], capture_output=True, text=True, check=True).stdout
    portable = subprocess.run([tool, "--list-ptx", library], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^arch = (\w+)", usage, re.MULTILINE)) == {"sm_80", "sm_90a", "sm_100"}
    assert set(re.findall(r"sm_\d+a?", portable)) == {"sm_100"}
    kernels = ["sample_kernel", "scan_kernel", "pack_kernel", "corrupt_kernel", "nominate_kernel", "decide_kernel"]
    kernels += ["project_kernel", "cover_kernel", "cover_large_kernel", "resolve_kernel", "corner_gradient_kernel"]
    for kernel in kernels:
        assert len(re.findall(rf"Function \S*{kernel}", usage)) >= 3, kernel


PROGRAM = r"""
#include <cstdio>
#include <gptface/span_mask.h>  // alone: no torch, no Python

int main() {
  uint32_t words[4];
  gptface::philox4x32(0, 0, 0, 0, 0, 0, words);
  std::printf("%08x %08x %08x %08x\n", words[0], words[1], words[2], words[3]);
  gptface::philox4x32(~0u, ~0u, ~0u, ~0u, ~0u, ~0u, words);
  std::printf("%08x %08x %08x %08x\n", words[0], words[1], words[2], words[3]);
  gptface::philox4x32(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, words);
  std::printf("%08x %08x %08x %08x\n", words[0], words[1], words[2], words[3]);
}
"""


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_the_headers_stand_alone_and_philox_gives_the_known_answers(tmp_path: Path) -> None:
    source, program = tmp_path / "known_answers.cpp", tmp_path / "known_answers"
    source.write_text(PROGRAM)
    subprocess.run(
        [str(COMPILER), "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{gptface.get_include()}",
         str(source), "-o", str(program)],
        check=True,
    )  # fmt: skip
    answers = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.split("\n")
    assert answers[:3] == [
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ]


@pytest.fixture
def cuda_targets(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], list[str]]:
    if not (ROOT / "setup.py").exists():
        pytest.skip("needs a checkout")
    setuptools = pytest.importorskip("setuptools")
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    return runpy.run_path(str(ROOT / "setup.py"))["cuda_targets"]


@pytest.mark.parametrize(
    ("listed", "architectures", "codes"),
    [
        ("8.6", ["86"], ["sm_86"]),
        ("8.0 9.0a+PTX", ["80", "90a", "90a"], ["sm_80", "sm_90a", "compute_90a"]),
        ("8.0;8.0, 12.0+PTX;", ["80", "120", "120"], ["sm_80", "sm_120", "compute_120"]),
        ("Ada;Hopper", ["89", "89", "90a", "90", "90"], ["sm_89", "compute_89", "sm_90a", "sm_90", "compute_90"]),
        (None, ["80", "90a", "100", "100"], ["sm_80", "sm_90a", "sm_100", "compute_100"]),
        ("Common", ["80", "90a", "100", "100"], ["sm_80", "sm_90a", "sm_100", "compute_100"]),
    ],
)
def test_torch_cuda_arch_list_chooses_the_gpus(
    listed: str | None,
    architectures: list[str],
    codes: list[str],
    cuda_targets: Callable[[str | None], list[str]],
) -> None:
    expected = [f"-gencode=arch=compute_{a},code={code}" for a, code in zip(architectures, codes, strict=True)]
    assert cuda_targets(listed) == expected


@pytest.mark.parametrize(
    ("listed", "words"),
    [("8.x", "'8.x' is not known; allowed: versions such as 8.0"), ("7.5;8.0", "7.5 is too old"), ("Volta", "'volta'")],
)
def test_a_torch_cuda_arch_list_that_cannot_be_is_named(
    listed: str, words: str, cuda_targets: Callable[[str | None], list[str]]
) -> None:
    with pytest.raises(SystemExit, match=words) as stop:
        cuda_targets(listed)
    assert f"TORCH_CUDA_ARCH_LIST={listed!r}" in str(stop.value)


WITHOUT_LIBRARY = """
import sys, warnings, torch
import gptface.ops.native as native
native.library_path = lambda part: None
import gptface.ops as ops
ops.implementations()  # a listing is no use
said = []
warnings.showwarning = lambda message, category, *rest: said.append((category.__name__, str(message)))
warnings.simplefilter("always")
x = torch.randn(1, 8, 2, 16)
compiled = torch.compile(ops.vq_lookup, backend="eager", fullgraph=True)
first = {
    "attention": lambda: ops.masked_attention(x, x, x),
    "lookup": lambda: ops.vq_lookup(torch.randn(9, 4), torch.randn(5, 4)),
    "span mask": lambda: ops.sample_span_mask(ops.TextSpans(0.3), [5, 6], seed=0, step=0, sample_ids=[0, 1]),
    "compiled": lambda: compiled(torch.randn(9, 4), torch.randn(5, 4)),
}
assert not said
first.pop(sys.argv[1])()
assert len(said) == 1 and said[0][0] == "RuntimeWarning", said
assert "without a native kernel: the native CPU library was not built (no C++ compiler" in said[0][1], said
for use in first.values():
    use()
assert len(said) == 1, said
"""


@pytest.mark.parametrize("operator", ["attention", "lookup", "span mask", "compiled"])
def test_without_a_compiler_the_first_use_says_so_once(operator: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_LIBRARY, operator], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs a checkout")
@pytest.mark.parametrize("required", [False, True])
def test_a_missing_compiler_is_said_and_fatal_only_when_asked(tmp_path: Path, required: bool) -> None:
    environment = dict(os.environ, CXX=str(tmp_path / "no-such-compiler"), GPTFACE_CUDA="0")
    environment.pop("GPTFACE_BUILD", None)
    if required:
        environment["GPTFACE_BUILD"] = "required"
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path / "lib")]
    built = subprocess.run(
        [*command, "--build-temp", str(tmp_path / "objects")], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (built.returncode != 0) == required
    assert built.stderr.count("the CPU library did not build") == 1 and "no-such-compiler" in built.stderr
    assert not list(tmp_path.rglob("*.so"))
