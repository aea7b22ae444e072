"""Machine code of the native CPU library: functions by name, their loops, and what is in them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from gptface.ops.native import library_path

__all__ = ["count", "disassembled", "loops"]


def disassembled(name: str) -> list[list[str]]:
    """The instructions of every function of the library whose mangled name matches, without addresses of data."""
    library = library_path("cpu")
    objdump = shutil.which("objdump")
    if library is None or objdump is None:
        pytest.skip("needs the native library and objdump (binutils)")
    table = subprocess.run([objdump, "-t", str(library)], capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-1] for line in table.splitlines() if " F .text" in line and re.search(name, line)]
    if not symbols:
        pytest.skip("the library has no AMX kernels (another processor, an old assembler), or no names of functions")
    found = []
    for symbol in symbols:
        command = [objdump, "-d", "--no-show-raw-insn", f"--disassemble={symbol}", str(library)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append([line for line in text.splitlines() if re.match(r"\s+[0-9a-f]+:\t", line)])
    return found


def loops(instructions: list[str]) -> list[list[str]]:
    """Bodies of loops: from the target of a jump backward to the jump, inner ones alone."""
    addresses = [int(line.split(":")[0], 16) for line in instructions]
    spans = []
    for index, line in enumerate(instructions):
        jump = re.search(r"\tj\w+\s+([0-9a-f]+)\b", line)
        if jump and int(jump[1], 16) in addresses[: index + 1]:
            spans.append((addresses.index(int(jump[1], 16)), index + 1))
    inner = [a for a in spans if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    return [instructions[first:last] for first, last in inner]


def count(body: list[str], word: str) -> int:
    return sum(word in line for line in body)
