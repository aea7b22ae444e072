"""Ahead-of-time compilation of Triton kernels, and what the machine code says of itself. Needs no GPU.

The compiler, the assembler and the disassembler all come with triton, so whether a configuration compiles, how many
registers it takes, whether it spills and which matrix instructions it uses can be held in tests on any machine.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.cache import get_cache_manager

__all__ = ["ARCHITECTURES", "MachineCode", "compile_kernel"]

ARCHITECTURES = {"sm_80": 80, "sm_90": 90, "sm_100": 100, "default": 80}
_KEPT = ("usage.txt", "assembly.txt")
_ALIGNED = [["tt.divisibility", 16]]


@dataclass(frozen=True)
class MachineCode:
    """What was read from a compiled kernel.

    Attributes:
        registers: of a thread.
        spilled: bytes a thread that did not fit into registers and live in memory.
        shared: bytes of shared memory that a program takes.
        matrix: the matrix instruction: ``"HGMMA"`` (Hopper's, asynchronous), ``"UTCHMMA"`` (Blackwell's), ``"HMMA"``
            (Ampere's), or "" where there is none, as for float32.
        tensor_columns: of Blackwell's tensor memory that a program takes; 0 elsewhere.
        assembly: what the disassembler prints.
    """

    registers: int
    spilled: int
    shared: int
    matrix: str
    tensor_columns: int = field(default=0, compare=False)
    assembly: str = field(default="", compare=False, repr=False)


def _tool(name: str) -> str:
    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _disassembled(compiled: Any) -> tuple[str, str]:
    """Resource usage and machine code as text, kept in triton's cache beside the binary they were made from."""
    cache = get_cache_manager(compiled.hash)
    kept = [cache.get_file(name) for name in _KEPT]
    if all(kept):
        usage, code = (Path(str(path)).read_text(encoding="utf-8") for path in kept)
        return usage, code
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "kernel.cubin"
        binary.write_bytes(compiled.asm["cubin"])
        usage = _run(_tool("cuobjdump"), "--dump-resource-usage", str(binary))
        code = _run(_tool("nvdisasm"), "-c", str(binary))
    for name, text in zip(_KEPT, (usage, code), strict=True):
        cache.put(text, name, binary=False)
    return usage, code


def compile_kernel(
    kernel: Any,
    pointers: Mapping[str, str],
    constants: Mapping[str, Any],
    architecture: str,
    num_warps: int,
    num_stages: int,
    max_registers: int | None = None,
) -> MachineCode:
    """Compile ``kernel`` for ``architecture`` (a key of :data:`ARCHITECTURES`).

    Args:
        kernel: a ``triton.jit`` function whose scalar arguments carry their types as annotations.
        pointers: element type of each pointer argument, such as ``{"query": "bf16"}``; all are 16-byte aligned.
        constants: the compile-time arguments.
        max_registers: that a thread may take; None for as many as the compiler likes.

    Raises:
        Exception: whatever the compiler raises, where the kernel cannot be compiled.
    """
    signature, attributes = {}, {}
    for parameter in kernel.params:
        if parameter.is_constexpr:
            signature[parameter.name] = "constexpr"
        elif parameter.name in pointers:
            signature[parameter.name] = "*" + pointers[parameter.name]
            attributes[(parameter.num,)] = _ALIGNED
        else:
            signature[parameter.name] = parameter.annotation_type
    source = ASTSource(kernel, signature, dict(constants), attributes)
    target = GPUTarget("cuda", ARCHITECTURES[architecture], 32)
    options: dict[str, Any] = {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": True}
    if max_registers is not None:
        options["maxnreg"] = max_registers
    compiled = triton.compile(source, target=target, options=options)
    usage, code = _disassembled(compiled)
    numbers = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    matrix = next((name for name in ("HGMMA", "UTCHMMA", "HMMA") if re.search(rf"\b{name}\b", code)), "")
    spilled, shared = max(numbers["STACK"], numbers["LOCAL"]), compiled.metadata.shared
    columns = int(getattr(compiled.metadata, "tmem_size", 0) or 0)
    return MachineCode(numbers["REG"], spilled, shared, matrix, columns, code)
