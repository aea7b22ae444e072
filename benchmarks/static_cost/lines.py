"""The lines of the launch tables as things to compile, and the record that each becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import triton

from gptface.kernels import attention_compilation, attention_configurations, vq_compilation, vq_configurations
from gptface.kernels.compilation import MachineCode
from gptface.kernels.kernel_cost import MACHINES, Cost, attention_cost, lookup_cost
from gptface.kernels.vq_nominate import nominate_kernel

__all__ = ["AttentionLine", "LookupLine", "identity", "lines"]

# Where a line is for any number: as the tuner compiles them.
_WIDTH, _KEPT = 256, 17


@dataclass(frozen=True)
class AttentionLine:
    """A line of ``tuned/attention_<architecture>.json``, compiled for a mask of one interval a row."""

    architecture: str
    entry: attention_configurations.Entry

    @property
    def sources(self) -> str:
        """A hash of the kernel and of everything it calls."""
        return str(attention_compilation.MATRIX_KERNELS[self.entry.kernel].cache_key)[:16]

    @property
    def name(self) -> str:
        entry = self.entry
        length = "any" if entry.rows is None else f"{entry.rows}"
        return f"attention-{entry.kernel}-{entry.bits}-{entry.block_d}-{length}"

    def record(self) -> dict[str, Any]:
        entry, chosen, machine = self.entry, self.entry.configuration, MACHINES[self.architecture]
        code = attention_compilation.compile_configuration(
            entry.kernel, chosen, self.architecture, dtype="bf16" if entry.bits == 16 else "fp32",
            head_dim=entry.block_d, k=1,
        )  # fmt: skip
        cost = attention_cost(
            entry.kernel, code, machine, chosen.block_m, chosen.block_n, chosen.num_warps, entry.block_d
        )
        return {
            **_common(self, code),
            **asdict(cost),
            "kernel": entry.kernel, "bits": entry.bits, "block_d": entry.block_d, "rows": entry.rows,
            "full": _cycles(cost.full), "partial": _cycles(cost.partial),
            "serial": cost.rate(machine, cost.full.serial), "in_order": cost.rate(machine, cost.full.in_order),
            "overlapped": cost.rate(machine, cost.full.overlapped),
        }  # fmt: skip


@dataclass(frozen=True)
class LookupLine:
    """A line of ``tuned/vq_<architecture>.json``."""

    architecture: str
    entry: vq_configurations.Entry

    @property
    def sources(self) -> str:
        """A hash of the kernel and of everything it calls."""
        return str(nominate_kernel.cache_key)[:16]

    @property
    def name(self) -> str:
        return f"lookup-{self.entry.precision}-{self.entry.depth or 'any'}-{self.entry.kept or 'many'}"

    def record(self) -> dict[str, Any]:
        entry, chosen, machine = self.entry, self.entry.configuration, MACHINES[self.architecture]
        width = entry.depth or _WIDTH
        code = vq_compilation.compile_configuration(
            entry.precision, chosen, self.architecture, width=width, kept=entry.kept or _KEPT
        )
        cost = lookup_cost(
            entry.precision, code, machine, chosen.block_m, chosen.block_n,
            vq_configurations.depth_block(chosen.block_k, width), chosen.num_warps, width,
        )  # fmt: skip
        return {
            **_common(self, code),
            **asdict(cost),
            "precision": entry.precision, "depth": entry.depth, "kept": entry.kept,
            "tile": _cycles(cost.tile), "selection": None if cost.selection is None else _cycles(cost.selection),
        }  # fmt: skip


def identity(line: AttentionLine | LookupLine) -> dict[str, Any]:
    """What a record has to agree with, to be of this line as it is now."""
    chosen = {name: value for name, value in asdict(line.entry.configuration).items() if value is not None}
    return {
        "architecture": line.architecture, "name": line.name, "configuration": chosen, "sources": line.sources,
        "triton": triton.__version__,
    }  # fmt: skip


def _common(line: AttentionLine | LookupLine, code: MachineCode) -> dict[str, Any]:
    return {
        **identity(line), "registers": code.registers, "spilled": code.spilled, "shared": code.shared,
        "tensor_columns": code.tensor_columns,
    }  # fmt: skip


def _cycles(cost: Cost) -> dict[str, Any]:
    derived = {"busiest": cost.busiest, "in_the_way": cost.in_the_way}
    return {**asdict(cost), "other": cost.other, **derived}


def lines(architectures: list[str], only: str = "") -> Iterator[AttentionLine | LookupLine]:
    """All lines of the tables of ``architectures`` whose names contain ``only``."""
    for architecture in architectures:
        for entry in attention_configurations.entries(architecture):
            if only in (line := AttentionLine(architecture, entry)).name:
                yield line
        for lookup in vq_configurations.entries(architecture):
            if only in (other := LookupLine(architecture, lookup)).name:
                yield other
