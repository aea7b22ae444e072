"""The loops of a kernel's machine code, and how many instructions a pass through one gives to each unit of the GPU.

Reads what ``nvdisasm -c`` prints. Loops are the natural loops of the control flow, found by dominators, so that waits
which the assembler moved out of line do not look like loops around the whole kernel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "UNITS", "Instruction", "Loop", "loops", "matrix_multiply_adds", "matrix_operand_bytes", "memory_cycles",
    "read_instructions", "unit",
]  # fmt: skip

_LINE = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
_LABEL = re.compile(r"^(\.L_x_\d+):")
_TARGET = re.compile(r"`\((\.L_x_\d+)\)")
_HOPPER_SHAPE = re.compile(r"^HGMMA\.(\d+)x(\d+)x(\d+)\.\w+(?:\.(\w+))?")

# The first pattern that fits counts.
UNITS: dict[str, str] = {
    "matrix": r"HGMMA|UTCHMMA|HMMA",
    "copy": r"UTMA|UBLK|LDGSTS",  # global to shared memory, past the registers
    "exponential": r"MUFU\.EX2",
    "special": r"MUFU",
    "multiply": r"FFMA|FMUL|FADD|HFMA2|HADD2|HMUL2",
    "integer multiply": r"IMAD|IDP",
    "spill": r"LDL|STL",
    "fence": r"FENCE|MEMBAR|WARPGROUP\.ARRIVE|ERRBAR|CCTL",
    "wait": r"BAR|DEPBAR|LDGDEPBAR|SYNCS|WARPGROUP|WARPSYNC|UTCBAR|NANOSLEEP",
    "tensor memory": r"LDTM|STTM",
    "shuffle": r"SHFL|REDUX",
    "shared memory": r"LDSM|STSM|LDS|STS|ATOMS|MOVM",
    "global memory": r"LDG|STG|ATOMG|RED|LD\b|ST\b",
    "constant": r"LDC|ULDC|LDCU",
    "control": r"BRA|BRX|EXIT|BSSY|BSYNC|NOP|CALL|RET|BREAK|YIELD|ELECT|BPT|WARPSYNC|KILL",
    "uniform": r"U[A-Z]|R2UR|S2UR|VOTEU",
    # Comparisons, selections, smaller and larger of two, logic, shifts, additions, conversions, moves.
    "select": r"[A-Z]",
}
_UNITS = [(name, re.compile(pattern)) for name, pattern in UNITS.items()]


@dataclass(frozen=True)
class Instruction:
    """A line of machine code: its predicate ("" for none), its name with all modifiers, its operands."""

    predicate: str
    name: str
    operands: str


@dataclass(frozen=True)
class Loop:
    """A natural loop.

    Attributes:
        positions: of its instructions in the code, ascending; those of loops within it too.
        instructions: at these positions.
    """

    positions: tuple[int, ...]
    instructions: tuple[Instruction, ...]

    def has(self, *units: str) -> bool:
        """Whether an instruction belongs to one of ``units``."""
        return any(unit(instruction) in units for instruction in self.instructions)

    def contains(self, other: Loop) -> bool:
        return len(other.positions) < len(self.positions) and set(other.positions) <= set(self.positions)

    def without(self, inner: Iterable[Loop]) -> Loop:
        """What is left when the loops in ``inner`` make no pass."""
        gone = {position for loop in inner for position in loop.positions}
        kept = [pair for pair in zip(self.positions, self.instructions, strict=True) if pair[0] not in gone]
        return Loop(tuple(position for position, _ in kept), tuple(instruction for _, instruction in kept))

    def counts(self) -> Counter[str]:
        """Instructions by unit; names as in :data:`UNITS`."""
        return Counter(unit(instruction) for instruction in self.instructions)


def unit(instruction: Instruction) -> str:
    """The unit of :data:`UNITS` that carries it out."""
    return next(name for name, pattern in _UNITS if pattern.match(instruction.name))


def read_instructions(assembly: str) -> tuple[list[Instruction], dict[str, int]]:
    """All instructions of a disassembly that holds one kernel, and the position that each label stands before."""
    found: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in assembly.splitlines():
        if label := _LABEL.match(line.strip()):
            labels[label[1]] = len(found)
        elif code := _LINE.match(line):
            found.append(Instruction(code[1] or "", code[2], code[3]))
    return found, labels


def _edges(code: list[Instruction], labels: dict[str, int]) -> tuple[list[int], dict[int, list[int]]]:
    """First positions of the basic blocks, and which blocks may follow each."""
    branches = {
        at: labels[match[1]]
        for at, instruction in enumerate(code)
        if instruction.name.startswith("BRA") and (match := _TARGET.search(instruction.operands))
    }
    ends = {at for at, instruction in enumerate(code) if instruction.name.split(".")[0] in ("BRA", "EXIT", "RET")}
    starts = sorted({0, *labels.values(), *(at + 1 for at in ends)} - {len(code)})
    following: dict[int, list[int]] = {}
    for index, start in enumerate(starts):
        stop = starts[index + 1] if index + 1 < len(starts) else len(code)
        last = code[stop - 1]
        # BRA.U and BRA.DIV have conditions of their own, and so has a BRA whose first operand is a predicate.
        always = not last.predicate and (last.name != "BRA" or last.operands.startswith("`"))
        leaves = stop - 1 in ends and always and not last.name.startswith("BRA.")
        nexts = [] if leaves or stop == len(code) else [stop]
        if stop - 1 in branches:
            nexts.append(branches[stop - 1])
        following[start] = nexts
    return starts, following


def _dominators(starts: list[int], following: dict[int, list[int]]) -> dict[int, set[int]]:
    """Blocks that every way to a block passes through; blocks that nothing leads to are left out."""
    reached, waiting = {0}, [0]
    while waiting:
        for nxt in following[waiting.pop()]:
            if nxt not in reached:
                reached.add(nxt)
                waiting.append(nxt)
    before: dict[int, list[int]] = {start: [] for start in reached}
    for start in reached:
        for nxt in following[start]:
            before[nxt].append(start)
    order = [start for start in starts if start in reached]
    dominators = {start: set(order) for start in order}
    dominators[0] = {0}
    changed = True
    while changed:
        changed = False
        for start in order[1:]:
            new = set.intersection(*(dominators[one] for one in before[start])) | {start}
            if new != dominators[start]:
                dominators[start], changed = new, True
    return dominators


def loops(assembly: str) -> list[Loop]:
    """The natural loops, in the order of their first instructions; loops with one entry count as one."""
    code, labels = read_instructions(assembly)
    starts, following = _edges(code, labels)
    dominators = _dominators(starts, following)
    before: dict[int, list[int]] = {start: [] for start in dominators}
    for start in dominators:
        for nxt in following[start]:
            before[nxt].append(start)
    bodies: dict[int, set[int]] = {}
    for start in dominators:
        for head in following[start]:
            if head in dominators[start]:
                body, waiting = bodies.setdefault(head, {head}), [start]
                while waiting:
                    block = waiting.pop()
                    if block not in body:
                        body.add(block)
                        waiting.extend(before[block])
    stops = dict(zip(starts, [*starts[1:], len(code)], strict=True))
    found = []
    for head in sorted(bodies):
        positions = tuple(at for start in sorted(bodies[head]) for at in range(start, stops[start]))
        found.append(Loop(positions, tuple(code[at] for at in positions)))
    return found


def matrix_multiply_adds(instruction: Instruction) -> int:
    """Multiply-adds that a warp group asks for with one of Hopper's matrix instructions; 0 for others, whose names do
    not tell their shape."""
    match = _HOPPER_SHAPE.match(instruction.name)
    return int(match[1]) * int(match[2]) * int(match[3]) if match else 0


def matrix_operand_bytes(instruction: Instruction) -> int:
    """Bytes that a Hopper matrix instruction reads from shared memory: the right operand, and the left where it is not
    in registers. Four bytes an element for TF32, else two."""
    match = _HOPPER_SHAPE.match(instruction.name)
    if match is None:
        return 0
    rows, columns, depth = int(match[1]), int(match[2]), int(match[3])
    in_registers = len(re.findall(r"\bR\w+", instruction.operands.split("gdesc")[0])) > 1
    size = 4 if match[4] == "TF32" else 2
    return size * depth * (columns + (0 if in_registers else rows))


def memory_cycles(instruction: Instruction) -> float:
    """Cycles for which a warp's instruction holds the path between registers, shared memory and first cache.

    128 bytes a cycle; a shuffle moves as much. Copies by descriptor (TMA) do not take this path.
    """
    kind, name = unit(instruction), instruction.name
    if kind == "shuffle":
        return 1.0
    if kind not in ("shared memory", "global memory", "spill") and not name.startswith("LDGSTS"):
        return 0.0
    if match := re.search(r"\.M88(?:\.(\d))?", name):
        return float(match[1] or 1)
    wide = re.search(r"\.(128|64)\b", name)
    return {"128": 4.0, "64": 2.0}[wide[1]] if wide else 1.0
