"""Builds the native library; everything declarative is in pyproject.toml.

Two shared objects, both on libtorch's stable ABI, so that one wheel serves every PyTorch from 2.10 and every Python
from 3.10:

* ``gptface/_native_cpu.so`` from ``csrc/register.cpp`` and ``csrc/cpu/*.cpp``. A file whose name ends in an
  instruction set (``_avx2``, ``_avx512``, ``_avx512_bf16``, ``_amx``) is compiled for it and chosen at run time. A
  compiler whose assembler does not know AMX, which is tried on two instructions, builds the library without.
* ``gptface/_native_cuda.so`` from ``csrc/register.cpp`` and ``csrc/cuda/*.cu``, where nvcc is found. The torch at hand
  need not be a CUDA build: the launchers take raw pointers and a stream.

Neither is fatal: without a compiler, or without torch in sight, the package installs and its reference and Triton
implementations work. ``GPTFACE_BUILD=required`` turns a failed build into an error (the project's CI sets it), and
``GPTFACE_CUDA=0`` leaves the CUDA part out. ``TORCH_CUDA_ARCH_LIST`` names the GPUs to compile for, as for PyTorch's
own extensions; by default those of ``CUDA_ARCHITECTURES``. ``MAX_JOBS`` bounds the compilers that run at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CSRC = ROOT / "csrc"
TARGET_VERSION = "-DTORCH_TARGET_VERSION=0x020a000000000000"
X86 = platform.machine().lower() in ("x86_64", "amd64")
INSTRUCTION_SETS = {
    # Vectors that processors with AMX have: the tile instructions themselves are statements for the assembler.
    "_amx": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mavx512vbmi", "-mfma"],
    "_amx_avx512_bf16": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mavx512vbmi", "-mfma"],  # noqa: E501
    "_avx512_bf16": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mfma"],
    "_avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"],
    "_avx2": ["-mavx2", "-mfma", "-mf16c"],
}
# What csrc/include/gptface/amx.h asks of a compiler and its assembler, and what it is told where it does not get it.
AMX_PROBE = 'int main() { __asm__ volatile("ldtilecfg (%0); tdpbf16ps %%tmm2, %%tmm1, %%tmm0" : : "r"(0)); }'
WITHOUT_AMX = "-DGPTFACE_WITHOUT_AMX"
# The rasteriser's comparisons of depth round every operation by itself, so that all implementations agree.
UNFUSED = ("raster", ["-ffp-contract=off"])
# Machine code for Ampere, Hopper (with its own instructions) and Blackwell, and PTX for what comes after.
CUDA_ARCHITECTURES = "8.0;9.0a;10.0+PTX"
OLDEST_ARCHITECTURE = 80
# PyTorch's names for families of GPUs, as far as the kernels run there.
NAMED_ARCHITECTURES = {
    "ampere": "8.0;8.6+PTX",
    "ada": "8.9+PTX",
    "hopper": "9.0a;9.0+PTX",
    "blackwell": "10.0;10.3;12.0;12.1+PTX",
}


def cuda_targets(architectures: str | None = None) -> list[str]:
    """nvcc's flags for ``TORCH_CUDA_ARCH_LIST``, as PyTorch's own extensions read it: ``"8.0 9.0a;10.0+PTX"``.

    Without one, or with PyTorch's ``"common"`` or ``"all"``, those of :data:`CUDA_ARCHITECTURES`.
    """
    listed = (architectures or "").strip(" ;,").lower()
    if listed in ("", "common", "all"):
        listed = CUDA_ARCHITECTURES
    for name, numbers in NAMED_ARCHITECTURES.items():
        listed = re.sub(rf"(?<![\w+]){name}(?![\w+])", numbers, listed)
    flags: list[str] = []
    for entry in re.split(r"[\s;,]+", listed.lower()):
        found = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+ptx)?", entry)
        if found is None:
            raise SystemExit(
                f"gptface: TORCH_CUDA_ARCH_LIST={architectures!r}: {entry!r} is not known; allowed: versions such as "
                f"8.0, 9.0a and 10.0+PTX, and {', '.join(name.capitalize() for name in NAMED_ARCHITECTURES)}"
            )
        number = int(found[1] + found[2])
        if number < OLDEST_ARCHITECTURE:
            raise SystemExit(
                f"gptface: TORCH_CUDA_ARCH_LIST={architectures!r}: {entry} is too old, the kernels need 8.0 or later; "
                "GPTFACE_CUDA=0 leaves them out"
            )
        flags.append(f"-gencode=arch=compute_{number}{found[3]},code=sm_{number}{found[3]}")
        if found[4]:
            flags.append(f"-gencode=arch=compute_{number}{found[3]},code=compute_{number}{found[3]}")
    return list(dict.fromkeys(flags))


def most_jobs() -> int:
    """Compilers that may run at once: ``MAX_JOBS``, or as many as there are cores."""
    given = os.environ.get("MAX_JOBS", "")
    if given and not (given.isascii() and given.isdigit() and int(given) > 0):
        raise SystemExit(f"gptface: MAX_JOBS={given!r}: allowed is a number from 1 on")
    return int(given or os.cpu_count() or 1)


def cuda_source_hash(source: Path) -> str:
    """Of a CUDA source with its headers: what the library carries, and the ledger of proofs knows it by."""
    spec = importlib.util.spec_from_file_location("gptface_kernel_sources", ROOT / "kernels" / "sources.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.cuda_source_hash(source, CSRC))


def instruction_set_flags(source: Path) -> list[str] | None:
    """Compiler flags of a CPU source by its name's ending; ``None`` where this machine's family has no such thing."""
    unfused = UNFUSED[1] if source.stem.startswith(UNFUSED[0]) else []
    for ending, flags in INSTRUCTION_SETS.items():
        if source.stem.endswith(ending):
            return [*flags, *unfused] if X86 else None
    return unfused


def knows_amx(compiler: str) -> bool:
    """Whether ``compiler`` takes the flags of ``_amx``, and its assembler the tile instructions."""
    command = [compiler, *INSTRUCTION_SETS["_amx"], "-x", "c++", "-", "-c", "-o", os.devnull]
    return X86 and subprocess.run(command, input=AMX_PROBE, text=True, capture_output=True).returncode == 0


class BuildNative(build_ext):
    """Compiles the two libraries with the plain compilers; one process a source file, at most as many as cores."""

    def build_extension(self, ext: Extension) -> None:
        part = ext.name.rsplit("_", 1)[-1]
        try:
            import torch

            headers = Path(torch.__file__).parent / "include"
            libraries = Path(torch.__file__).parent / "lib"
        except ImportError:
            self.skip(ext, "torch is not visible to the build; use `pip install --no-build-isolation .` beside torch")
            return
        output = Path(self.get_ext_fullpath(ext.name))
        objects = Path(self.build_temp) / part
        output.parent.mkdir(parents=True, exist_ok=True)
        objects.mkdir(parents=True, exist_ok=True)
        try:
            build = self.build_cpu if part == "cpu" else self.build_cuda
            build(output, objects, headers, libraries)
        except (OSError, subprocess.CalledProcessError) as error:
            self.skip(ext, f"the {part.upper()} library did not build: {error}")

    def get_ext_filename(self, fullname: str) -> str:
        # Loaded by torch.ops.load_library, not imported: no Python ABI in the name because there is none in the file.
        return os.path.join(*fullname.split(".")) + ".so"

    def skip(self, ext: Extension, reason: str) -> None:
        part = ext.name.rsplit("_", 1)[-1]
        ext.optional = True  # nothing to copy into the source tree of an editable installation
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        if os.environ.get("GPTFACE_BUILD") == "required":
            raise SystemExit(f"gptface: {reason}")
        print(f"gptface: installing without the native {part.upper()} library: {reason}", file=sys.stderr)

    def compile(self, jobs: list[list[str]]) -> None:
        def run(command: list[str]) -> None:
            print(" ".join(command), flush=True)
            subprocess.run(command, check=True)

        with ThreadPoolExecutor(max_workers=most_jobs()) as pool:
            list(pool.map(run, jobs))

    def stale(self, source: Path, target: Path) -> bool:
        if self.force or not target.exists():
            return True
        inputs = [source, ROOT / "setup.py", *CSRC.rglob("*.h"), *CSRC.rglob("*.cuh")]
        return any(file.stat().st_mtime > target.stat().st_mtime for file in inputs)

    def build_cpu(self, output: Path, objects: Path, headers: Path, libraries: Path) -> None:
        compiler = os.environ.get("CXX", "c++")
        common = [
            "-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-Wall", "-Wextra", "-pthread",
            TARGET_VERSION, f"-I{CSRC / 'include'}", f"-I{CSRC}", "-isystem", str(headers),
        ]
        amx = knows_amx(compiler)
        if not amx:
            common.append(WITHOUT_AMX)
        jobs, compiled = [], []
        for source in [CSRC / "register.cpp", *sorted((CSRC / "cpu").glob("*.cpp"))]:
            flags = instruction_set_flags(source)
            if flags is None or (not amx and source.stem.endswith("_amx")):
                continue
            target = objects / f"{source.stem}.o"
            compiled.append(str(target))
            if self.stale(source, target):
                jobs.append([compiler, *common, *flags, "-c", str(source), "-o", str(target)])
        self.compile(jobs)
        self.link([compiler, "-shared", "-pthread", *compiled, "-o", str(output), *self.torch_libraries(libraries)])

    def build_cuda(self, output: Path, objects: Path, headers: Path, libraries: Path) -> None:
        nvcc = shutil.which("nvcc")
        architectures = cuda_targets(os.environ.get("TORCH_CUDA_ARCH_LIST"))
        # Objects of other targets are none of this build.
        objects = objects / hashlib.sha256(" ".join(architectures).encode()).hexdigest()[:12]
        objects.mkdir(parents=True, exist_ok=True)
        common = [
            "-std=c++20", "-O3", TARGET_VERSION, "-DUSE_CUDA", "-DGPTFACE_CUDA",
            f"-I{CSRC / 'include'}", f"-I{CSRC}", "-isystem", str(headers),
        ]
        jobs, compiled = [], []
        for source in [CSRC / "register.cpp", *sorted((CSRC / "cuda").glob("*.cu"))]:
            target = objects / f"{source.stem}.o"
            compiled.append(str(target))
            targets: list[str] = []
            if source.suffix == ".cu":
                targets = [*architectures, f"-DGPTFACE_BUILT_FROM={source.stem}.cuda:{cuda_source_hash(source)}"]
            if self.stale(source, target):
                jobs.append([
                    str(nvcc), *common, *targets, "-Xcompiler", "-fPIC,-fvisibility=hidden", "-c", str(source),
                    "-o", str(target),
                ])
        self.compile(jobs)
        self.link([
            # The targets again: without them nvcc adds an empty part for its own default architecture.
            str(nvcc), "-shared", "-cudart", "static", *architectures, *compiled, "-o", str(output),
            "-Xlinker", "--no-as-needed",
            *self.torch_libraries(libraries),
        ])

    def torch_libraries(self, libraries: Path) -> list[str]:
        return [f"-L{libraries}", "-ltorch", "-ltorch_cpu", "-lc10"]

    def link(self, command: list[str]) -> None:
        self.compile([command])


extensions = [Extension("gptface._native_cpu", sources=[])]
if shutil.which("nvcc") and os.environ.get("GPTFACE_CUDA", "1") != "0":
    extensions.append(Extension("gptface._native_cuda", sources=[]))

packages = ["gptface", "gptface.kernels", "gptface.include"]
for directory in sorted((ROOT / "gptface").rglob("__init__.py")):
    name = ".".join(directory.parent.relative_to(ROOT).parts)
    if name not in packages:
        packages.append(name)

setup(
    packages=packages,
    # `kernels` is a top-level directory here but never a top-level package: another project owns that name.
    package_dir={"gptface": "gptface", "gptface.kernels": "kernels", "gptface.include": "csrc/include"},
    package_data={
        "gptface": ["py.typed"],
        "gptface.hub": ["model_card.md"],
        "gptface.kernels": ["tuned/*.json"],
        "gptface.include": ["gptface/*.h", "gptface/*.cuh"],
        "gptface.systems.facegpt": ["configurations/*.yaml"],
        "gptface.systems.gptface": ["configurations/*.yaml", "bundled_system/**"],
        "gptface.systems.pacofr": ["configurations/*.yaml"],
        "gptface.systems.parser": ["configurations/*.yaml"],
    },
    ext_modules=extensions,
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
