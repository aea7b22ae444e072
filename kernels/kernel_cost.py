"""How many cycles a tile of a kernel needs of each unit of a multiprocessor: arithmetic on machine code.

Nothing here is measured. A pass through a loop is taken apart by :mod:`gptface.kernels.machine_code`. Of the units'
rates, those for scalar instructions are in the CUDA C++ programming guide ("throughput of native arithmetic
instructions"), those for matrix products follow from the dense bfloat16 rates of NVIDIA's data sheets. Two bounds are
made of them: *overlapped*, the busiest unit alone, which nothing can beat; and *serial*, the matrix unit and then the
busiest of the others, as if a program never had both at work. *In order* lies between: a program's instructions one
after the other, products running beside them from where they are issued to where the code waits for them. With several
programs a multiprocessor, others fill the waits. Memory beyond the multiprocessor, latency and launches are not in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from gptface.kernels.compilation import MachineCode
from gptface.kernels.machine_code import (
    Instruction,
    Loop,
    loops,
    matrix_multiply_adds,
    matrix_operand_bytes,
    memory_cycles,
    unit,
)

__all__ = [
    "MACHINES", "AttentionCost", "Cost", "LookupCost", "Machine", "attention_cost", "blocks", "in_order",
    "lookup_cost", "loop_cost",
]  # fmt: skip

_SHARED_OF_MULTIPROCESSOR = 228 * 1024  # bytes on sm_90 and sm_100, of which each block takes 1 KiB for the system
_REGISTERS, _WARPS, _BLOCKS, _TENSOR_COLUMNS = 65536, 64, 32, 512
_PRODUCTS = {"forward": 2, "grad_query": 3, "grad_key_value": 4}
_BUSY = ("instructions", "exponential", "multiply", "select", "memory")


@dataclass(frozen=True)
class Machine:
    """A GPU for which cycles become rates.

    Attributes:
        name: of the product.
        multiprocessors, clock: number, and cycles a second under load.
        tensor: dense bfloat16 multiply-adds a cycle and multiprocessor; half as many in TF32.
    """

    name: str
    multiprocessors: int
    clock: float
    tensor: int


MACHINES = {
    "sm_90": Machine("H100 and H200 (SXM)", 132, 1.755e9, 2048),
    "sm_100": Machine("B200", 148, 1.85e9, 4096),
}


@dataclass(frozen=True)
class Cost:
    """Cycles of one multiprocessor for one tile of one program, by unit.

    Attributes:
        tensor: matrix products; on Hopper also the reads of their operands from shared memory, where these take longer.
        instructions: issuing them all, four a cycle.
        exponential: powers and reciprocals, sixteen a cycle.
        multiply: float32 arithmetic, 128 lanes; integer products, 64.
        select: comparisons, selections, maxima, logic, additions of integers, conversions, 64 lanes.
        memory: registers to and from shared memory and cache, 128 bytes a cycle.
        in_order: of the whole pass, by :func:`in_order`.
    """

    tensor: float
    instructions: float
    exponential: float
    multiply: float
    select: float
    memory: float
    in_order: float = 0.0

    @property
    def busiest(self) -> str:
        """The busiest unit beside the matrix unit."""
        return max(_BUSY, key=lambda name: float(getattr(self, name)))

    @property
    def other(self) -> float:
        return float(getattr(self, self.busiest))

    @property
    def serial(self) -> float:
        return self.tensor + self.other

    @property
    def overlapped(self) -> float:
        return max(self.tensor, self.other)

    @property
    def in_the_way(self) -> str:
        """The unit that sets the overlapped bound."""
        return "tensor" if self.tensor >= self.other else self.busiest

    def __add__(self, more: Cost) -> Cost:
        return Cost(*(getattr(self, name) + getattr(more, name) for name in ("tensor", *_BUSY, "in_order")))

    def __mul__(self, times: float) -> Cost:
        return Cost(*(getattr(self, name) * times for name in ("tensor", *_BUSY, "in_order")))


def loop_cost(loop: Loop, warps: int, machine: Machine, multiply_adds: int | None = None) -> Cost:
    """Cost of one pass through ``loop`` by a program of ``warps`` warps.

    Args:
        multiply_adds: in bfloat16, where the instructions' names do not tell them, as on Blackwell.
    """
    counts, each = loop.counts(), warps / 4  # warps a scheduler
    tensor = 0.0
    for instruction in loop.instructions:
        tensor += _tensor_cycles(instruction, warps, machine)
    told = tensor > 0.0
    if tensor == 0.0 and counts["matrix"]:
        tensor = (multiply_adds or 0) / machine.tensor
    packed = sum(bool(re.match(r"F(FMA|MUL|ADD)2", instruction.name)) for instruction in loop.instructions)
    cost = Cost(
        tensor,
        each * len(loop.instructions),
        8 * each * (counts["exponential"] + counts["special"]),
        each * (counts["multiply"] + packed + 2 * counts["integer multiply"]),
        2 * each * counts["select"],
        warps * sum(memory_cycles(instruction) for instruction in loop.instructions),
    )
    return replace(cost, in_order=in_order(loop, warps, machine, cost.other) if told else cost.serial)


def _tensor_cycles(instruction: Instruction, warps: int, machine: Machine) -> float:
    """Of one of Hopper's matrix instructions, for all warp groups of a program; 0 for others."""
    rate = machine.tensor / (2 if "TF32" in instruction.name else 1)
    return max(matrix_multiply_adds(instruction) / rate, matrix_operand_bytes(instruction) / 128) * (warps / 4)


def in_order(loop: Loop, warps: int, machine: Machine, other: float) -> float:
    """Cycles of a pass through ``loop`` in the steady state, for a program that has a multiprocessor to itself.

    Instructions are issued evenly over ``other`` cycles, those of the busiest unit. Products queue up in the matrix
    unit, and ``WARPGROUP.DEPBAR`` waits for them: for all groups but so many of the last as it says.
    """
    step = other / max(1, len(loop.instructions))
    now = free = before = 0.0
    groups: list[float] = []
    for _ in range(4):
        before = now
        for instruction in loop.instructions:
            now += step
            if cycles := _tensor_cycles(instruction, warps, machine):
                free = max(free, now) + cycles
                if "gsb0" in instruction.operands:
                    groups.append(free)
            elif instruction.name.startswith("WARPGROUP.DEPBAR"):
                left = int(instruction.operands.split(",")[1], 16) if "," in instruction.operands else 0
                now = max(now, *groups[: len(groups) - left][-1:], now)
    return now - before


def blocks(code: MachineCode, warps: int) -> int:
    """Programs that fit on a multiprocessor at once."""
    registers = -(-code.registers * 32 // 256) * 256 * warps
    shared = -(-code.shared // 128) * 128 + 1024
    limits = [_REGISTERS // registers, _SHARED_OF_MULTIPROCESSOR // shared, _WARPS // warps, _BLOCKS]
    if code.tensor_columns:
        limits.append(_TENSOR_COLUMNS // code.tensor_columns)
    return min(limits)


@dataclass(frozen=True)
class AttentionCost:
    """One attention kernel's tiles.

    Attributes:
        full, partial: cost of a tile that hides nothing, and of one that hides something.
        blocks: programs a multiprocessor.
        spilled_in_loops: instructions of the loops that move spilled registers.
        exponentials: of a full tile, a score; what rescales the rows of a tile counts too.
        extra_exponentials: those beyond one a score and, in the forward, one a row and thread that holds it.
        duplicated: matrix work over what the tile's products need (1.0 where the code does not tell).
        waits, fences: instructions of a full tile.
        copies: instructions of a full tile that fill shared memory.
        serialised: whether a full tile waits for the matrix unit more often than it has products, as Hopper's compiler
            does after every instruction where it lacks registers.
        tile_multiply_adds: that the tile's products need.
    """

    full: Cost
    partial: Cost
    blocks: int
    spilled_in_loops: int
    exponentials: float
    extra_exponentials: int
    duplicated: float
    waits: int
    fences: int
    copies: int
    serialised: bool
    tile_multiply_adds: int

    def rate(self, machine: Machine, cycles: float) -> float:
        """TFLOP/s at so many cycles a full tile."""
        return 2 * self.tile_multiply_adds / cycles * machine.clock * machine.multiprocessors / 1e12


def attention_cost(
    kernel: str, code: MachineCode, machine: Machine, block_m: int, block_n: int, warps: int, width: int
) -> AttentionCost:
    """Cost of ``forward``, ``grad_query`` or ``grad_key_value``.

    The tile loops are the innermost ones that take powers; of the two, the one that selects less is that of full tiles.

    Raises:
        ValueError: the code has not two such loops.
    """
    powers = [loop for loop in loops(code.assembly) if loop.has("exponential")]
    tiles = [loop for loop in powers if not any(loop.contains(other) for other in powers)]
    if len(tiles) != 2:
        raise ValueError(f"{kernel}: {len(tiles)} loops over tiles in the machine code, expected 2")
    full, partial = sorted(tiles, key=lambda loop: loop.counts()["select"])
    needed = _PRODUCTS[kernel] * block_m * block_n * width
    counts = full.counts()
    executed = sum(matrix_multiply_adds(instruction) for instruction in full.instructions) * (warps // 4)
    scores = block_m * block_n
    # A row's scale is needed by every thread that holds elements of the row: the four of a quad on matrix units.
    rescaled = rows_held(block_m, warps) if kernel == "forward" else 0
    return AttentionCost(
        loop_cost(full, warps, machine, needed),
        loop_cost(partial, warps, machine, needed),
        blocks(code, warps),
        sum(unit(instruction) == "spill" for loop in tiles for instruction in loop.instructions),
        counts["exponential"] * 32 * warps / scores,
        counts["exponential"] - max(1, scores // (32 * warps)) - rescaled,
        executed / needed if executed else 1.0,
        counts["wait"],
        counts["fence"],
        counts["copy"],
        sum(one.name.startswith("WARPGROUP.DEPBAR") for one in full.instructions) > _PRODUCTS[kernel],
        needed,
    )


def rows_held(block_m: int, warps: int) -> int:
    """Rows of a tile of scores whose elements a thread holds where warps are stacked along the rows, two each 16."""
    return max(1, block_m // (16 * warps)) * 2


@dataclass(frozen=True)
class LookupCost:
    """The lookup's tiles of codes.

    Attributes:
        tile: cost of a tile of rows and codes, with the search for each row's best, without the selection.
        selection: cost of one more pass of the loop that takes a candidate in; None where there is no loop.
        blocks: programs a multiprocessor.
        spilled_in_loops: instructions of the loops that move spilled registers.
        duplicated: matrix work over what the products need (1.0 where the code does not tell).
        waits, fences: instructions of a tile, each step over the vectors' elements counted.
        tile_multiply_adds: that the tile's products need, once.
    """

    tile: Cost
    selection: Cost | None
    blocks: int
    spilled_in_loops: int
    duplicated: float
    waits: int
    fences: int
    tile_multiply_adds: int


def lookup_cost(
    precision: str, code: MachineCode, machine: Machine, block_m: int, block_n: int, block_k: int, warps: int,
    width: int,
) -> LookupCost:  # fmt: skip
    """Cost of ``nominate_kernel`` for vectors of ``width`` elements.

    Raises:
        ValueError: the code has no loop with products.
    """

    def multiplies(loop: Loop) -> bool:
        counts = loop.counts()
        return counts["matrix"] > 0 or counts["multiply"] >= 64

    found = loops(code.assembly)
    with_products = [loop for loop in found if multiplies(loop)]
    if not with_products:
        raise ValueError(f"lookup, {precision}: no loop with products in the machine code")
    outer = max(with_products, key=lambda loop: len(loop.positions))
    within = [loop for loop in found if outer.contains(loop)]
    inner = [loop for loop in within if not any(other.contains(loop) for other in within)]
    depth = [loop for loop in inner if multiplies(loop)]
    choosing = [loop for loop in inner if not multiplies(loop)]
    steps = -(-width // block_k)
    once = block_m * block_n * width
    # In bfloat16 multiply-adds, for code that does not tell: TF32 counts twice, its three products three times.
    weight = {"bf16": 1, "tf32": 2, "tf32x3": 6}.get(precision, 0)
    own = outer.without(inner)
    tile = loop_cost(own, warps, machine, once * weight if not depth else 0)
    waits, fences = own.counts()["wait"], own.counts()["fence"]
    executed = sum(matrix_multiply_adds(instruction) for instruction in own.instructions)
    for loop in depth:
        tile += loop_cost(loop, warps, machine, once * weight // steps) * steps
        waits, fences = waits + steps * loop.counts()["wait"], fences + steps * loop.counts()["fence"]
        executed += steps * sum(matrix_multiply_adds(instruction) for instruction in loop.instructions)
    selection = None
    for loop in choosing:
        cost = loop_cost(loop, warps, machine)
        selection = cost if selection is None else selection + cost
    products = once * (3 if precision == "tf32x3" else 1)
    return LookupCost(
        tile,
        selection,
        blocks(code, warps),
        outer.counts()["spill"],
        executed * (warps // 4) / products if executed else 1.0,
        waits,
        fences,
        once,
    )
