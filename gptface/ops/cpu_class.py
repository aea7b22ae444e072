"""Which class of processor this is, among those whose kernels were measured: what tables of choices are made by.

A class is what decides which of two correct kernels is the faster one: the instruction sets, how many multiply-adds
start in a cycle, whether there are matrix tiles. No instruction tells the number of ports, so a class is known by
vendor and family as well.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from gptface.ops.native import cpu_instruction_set
from gptface.ops.tracing import constant_in_traces

__all__ = ["CLASSES", "OTHER", "PORTABLE", "CpuClass", "Processor", "classify", "cpu_class", "this_processor"]


@dataclass(frozen=True)
class Processor:
    """What the operating system says of a processor, and the instruction set in use.

    Attributes:
        vendor: as cpuid has it, such as ``"AuthenticAMD"``; empty where the system does not say.
        family: cpuid's number, 0 where unknown.
        flags: instruction sets by Linux's names.
        instruction_set: the one that the native kernels use (:func:`gptface.ops.native.cpu_instruction_set`).
    """

    vendor: str
    family: int
    flags: frozenset[str]
    instruction_set: str


@dataclass(frozen=True)
class CpuClass:
    """A class of processors.

    Attributes:
        name: in tables and in ``gptface doctor``.
        description: what its arithmetic is like, and where it was measured.
    """

    name: str
    description: str


_AMD = CpuClass(
    "amd-zen4",
    "AMD Zen 4: one 512-bit multiply-add a cycle, bfloat16 products at twice that rate, no tiles; measured 2026-11-30",
)
_INTEL = CpuClass(
    "intel-amx",
    "Intel with AMX: two 512-bit multiply-adds a cycle, bfloat16 products in vectors at half their rate, in tiles at "
    "fifteen times; measured 2026-11-29",
)
PORTABLE = CpuClass("portable", "native kernels without vector instructions of their own: no AVX2, or not wanted")
OTHER = CpuClass("other", "a class that was not measured: choices are the cautious ones")
CLASSES = (_AMD, _INTEL, PORTABLE, OTHER)

_ZEN_4 = 0x19  # with AVX512-BF16, which the earlier members of the family have not


def classify(processor: Processor) -> CpuClass:
    """The class of a processor. One that runs a lower instruction set than its best is of no measured class."""
    if processor.instruction_set == "portable":
        return PORTABLE
    best = processor.instruction_set not in ("avx2", "avx512")
    if best and processor.vendor == "AuthenticAMD" and processor.family == _ZEN_4 and "avx512_bf16" in processor.flags:
        return _AMD
    if best and processor.vendor == "GenuineIntel" and "amx_bf16" in processor.flags:
        return _INTEL
    return OTHER


@constant_in_traces
def cpu_class() -> CpuClass:
    """The class of this machine with the instruction set in use.

    Raises:
        RuntimeError: the native library is missing.
    """
    return _class_with(cpu_instruction_set())


@functools.cache
def _class_with(instruction_set: str) -> CpuClass:
    return classify(this_processor(instruction_set))


def this_processor(instruction_set: str) -> Processor:
    """This machine's, as far as Linux says."""
    facts: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if not line.strip():
                break  # the first processor stands for all
            name, _, value = line.partition(":")
            facts[name.strip()] = value.strip()
    family = facts.get("cpu family", "")
    return Processor(
        facts.get("vendor_id", ""), int(family) if family.isdecimal() else 0, frozenset(facts.get("flags", "").split()),
        instruction_set,
    )  # fmt: skip
