"""Machine code taken apart: loops, units, cycles; from a text, without a compiler."""

from __future__ import annotations

import pytest

from gptface.kernels.compilation import MachineCode
from gptface.kernels.kernel_cost import MACHINES, attention_cost, blocks, in_order, lookup_cost, loop_cost
from gptface.kernels.machine_code import (
    Instruction,
    Loop,
    loops,
    matrix_multiply_adds,
    matrix_operand_bytes,
    memory_cycles,
    read_instructions,
    unit,
)

# Two loops over tiles, as of a backward with 64 x 32 scores and four warps; the first waits out of line.
CODE = """
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   LDGSTS.E.BYPASS.128 [R2], desc[UR4][R6.64] ;
        /*0020*/              @!P3 BRA `(.L_x_4) ;
.L_x_5:
        /*0030*/                   HGMMA.64x32x16.F32.BF16 R24, gdesc[UR8], RZ, !UPT ;
        /*0040*/                   HGMMA.64x64x16.F32.BF16 R40, R4, gdesc[UR12], R40, gsb0 ;
        /*0050*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
{powers}
        /*0150*/                   FMUL R7, R7, R8 ;
        /*0160*/               @P2 BRA `(.L_x_1) ;
        /*0170*/              @!P0 EXIT ;
.L_x_2:
        /*0180*/                   HGMMA.64x32x16.F32.BF16 R24, gdesc[UR8], RZ, !UPT ;
{powers}
        /*0280*/                   ISETP.GE.AND P1, PT, R9, R10, PT ;
        /*0290*/                   FSEL R7, R7, RZ, P1 ;
        /*02a0*/                   STL [R1+0x4], R7 ;
        /*02b0*/               @P2 BRA `(.L_x_2) ;
        /*02c0*/                   EXIT ;
.L_x_4:
        /*02d0*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P3, [UR4], R3 ;
        /*02e0*/                   BRA `(.L_x_5) ;
.L_x_6:
        /*02f0*/                   BRA `(.L_x_6);
        /*0300*/                   NOP;
"""


def code(powers: int = 16) -> str:
    return CODE.format(powers="\n".join(["        /*0060*/                   MUFU.EX2 R7, R7 ;"] * powers))


def test_instructions_and_labels_are_read() -> None:
    found, labels = read_instructions(code(1))
    assert found[0] == Instruction("", "LDC", "R1, c[0x0][0x28]")
    assert found[2] == Instruction("!P3", "BRA", "`(.L_x_4)")
    assert labels[".L_x_1"] == 1 and found[labels[".L_x_4"]].name == "SYNCS.PHASECHK.TRANS64.TRYWAIT"


def test_loops_have_their_out_of_line_waits_and_nothing_more() -> None:
    first, second = loops(code())
    assert first.counts() == {
        "copy": 1, "control": 3, "matrix": 2, "wait": 2, "exponential": 16, "multiply": 1,
    }  # fmt: skip
    assert second.counts() == {"matrix": 1, "exponential": 16, "select": 2, "spill": 1, "control": 1}
    assert not first.contains(second) and not second.contains(first)


def test_a_loop_contains_its_inner_loop() -> None:
    text = """
.L_x_0:
        /*0010*/                   FADD R1, R1, R2 ;
.L_x_1:
        /*0020*/                   IADD3 R3, R3, 0x1, RZ ;
        /*0030*/               @P1 BRA `(.L_x_1) ;
        /*0040*/               @P0 BRA `(.L_x_0) ;
        /*0050*/                   EXIT ;
"""
    for branch in ("@P1 BRA `", "BRA P1, `", "BRA.U UP1, `"):
        assert len(loops(text.replace("@P1 BRA `", branch))) == 2, branch
    outer, inner = loops(text)
    assert outer.contains(inner)
    assert [instruction.name for instruction in outer.without([inner]).instructions] == ["FADD", "BRA"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("HGMMA.64x128x16.F32.BF16", "matrix"), ("UTCHMMA", "matrix"), ("LDGSTS.E.BYPASS.128", "copy"),
        ("UTMALDG.2D", "copy"), ("MUFU.EX2", "exponential"), ("MUFU.RCP", "special"), ("FFMA2", "multiply"),
        ("IMAD.WIDE.U32", "integer multiply"), ("LDL.LU", "spill"), ("WARPGROUP.ARRIVE", "fence"),
        ("WARPGROUP.DEPBAR.LE", "wait"), ("MEMBAR.ALL.CTA", "fence"), ("SHFL.BFLY", "shuffle"),
        ("LDSM.16.M88.4", "shared memory"), ("LDG.E.128", "global memory"), ("ULDC.64", "constant"),
        ("UIADD3", "uniform"), ("R2UR", "uniform"), ("ISETP.GE.AND", "select"), ("FMNMX", "select"),
        ("F2FP.BF16.F32.PACK_AB", "select"), ("BRA.U", "control"), ("LDTM.x32", "tensor memory"),
        ("RED.E", "global memory"),
        ("REDUX", "shuffle"), ("BAR.SYNC.DEFER_BLOCKING", "wait"), ("LDC", "constant"), ("LDCU.64", "constant"),
    ],
)  # fmt: skip
def test_units(name: str, expected: str) -> None:
    assert unit(Instruction("", name, "")) == expected


def test_shapes_and_operands_of_matrix_instructions() -> None:
    from_shared = Instruction("", "HGMMA.64x128x16.F32.BF16", "R24, gdesc[UR8], RZ, !UPT")
    from_registers = Instruction("", "HGMMA.64x64x8.F32.TF32", "R24, R4, gdesc[UR8], R24")
    assert matrix_multiply_adds(from_shared) == 64 * 128 * 16
    assert matrix_operand_bytes(from_shared) == 2 * 16 * (64 + 128)
    assert matrix_operand_bytes(from_registers) == 4 * 8 * 64
    assert matrix_multiply_adds(Instruction("", "UTCHMMA", "gdesc[UR4], gdesc[UR14]")) == 0


@pytest.mark.parametrize(
    ("name", "cycles"),
    [("LDS.128", 4), ("STS.64", 2), ("LDS", 1), ("LDSM.16.M88.4", 4), ("LDGSTS.E.BYPASS.128", 4), ("SHFL.BFLY", 1),
     ("UTMALDG.2D", 0), ("FADD", 0)],
)  # fmt: skip
def test_cycles_of_memory(name: str, cycles: float) -> None:
    assert memory_cycles(Instruction("", name, "")) == cycles


def test_cycles_of_a_pass() -> None:
    machine = MACHINES["sm_90"]
    cost = loop_cost(loops(code())[0], 8, machine)
    assert cost.tensor == 2 * (max(16, 3072 / 128) + max(32, 2048 / 128))  # the first waits for its operands
    assert cost.exponential == 16 * 8 * 2 and cost.instructions == 25 * 2 and cost.memory == 4 * 8
    assert cost.busiest == "exponential" and cost.serial == cost.tensor + cost.other
    assert cost.overlapped == max(cost.tensor, cost.other) and (cost + cost).tensor == (cost * 2).tensor


def test_blocks_a_multiprocessor() -> None:
    def fit(registers: int, shared: int, warps: int, columns: int = 0) -> int:
        return blocks(MachineCode(registers, 0, shared, "", columns), warps)

    assert fit(240, 0, 8) == 1 and fit(128, 0, 8) == 2 and fit(168, 0, 4) == 3
    assert fit(32, 114 * 1024, 4) == 1 and fit(32, 113 * 1024, 4) == 2
    assert fit(16, 0, 8) == 8 and fit(64, 0, 4, 256) == 2


def test_cost_of_an_attention_kernel() -> None:
    compiled = MachineCode(128, 4, 0, "HGMMA", assembly=code())
    cost = attention_cost("grad_query", compiled, MACHINES["sm_90"], 64, 32, 4, 64)
    assert cost.exponentials == 1.0 and cost.extra_exponentials == 0 and cost.spilled_in_loops == 1
    assert cost.blocks == 4 and cost.waits == 2 and cost.copies == 1 and not cost.serialised
    waiting = code().replace("/*0150*/", "/*0150*/ WARPGROUP.DEPBAR.LE gsb0, 0x0 ;\n" * 3 + "/*0150*/")
    more = MachineCode(128, 4, 0, "HGMMA", assembly=waiting)
    assert attention_cost("grad_query", more, MACHINES["sm_90"], 64, 32, 4, 64).serialised
    twice = attention_cost("grad_query", compiled, MACHINES["sm_90"], 32, 32, 4, 64)
    assert twice.exponentials == 2.0 and twice.extra_exponentials == 8
    first, second = code().split(".L_x_2:")
    single = MachineCode(1, 0, 0, "", assembly=f"{first}.L_x_2:{second.replace('EX2', 'RCP')}")
    with pytest.raises(ValueError, match="1 loops over tiles"):
        attention_cost("forward", single, MACHINES["sm_90"], 64, 32, 4, 64)


def test_cost_of_a_lookup() -> None:
    """Vectors of 64 in two steps; the loop that takes a candidate in is counted apart."""
    text = """
.L_x_0:
        /*0010*/                   FADD R1, R1, R2 ;
.L_x_1:
        /*0020*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], R24 ;
        /*0030*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], R24 ;
        /*0040*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0050*/               @P1 BRA `(.L_x_1) ;
.L_x_2:
        /*0060*/                   FMNMX R3, R3, R4, !PT ;
        /*0070*/               @P2 BRA `(.L_x_2) ;
        /*0080*/               @P0 BRA `(.L_x_0) ;
        /*0090*/                   EXIT ;
"""
    machine = MACHINES["sm_90"]
    cost = lookup_cost("bf16", MachineCode(64, 0, 0, "HGMMA", assembly=text), machine, 64, 64, 32, 4, 64)
    assert cost.tile.tensor == 4 * 32 and cost.tile.instructions == 2 + 2 * 4 and cost.tile.select == 0
    assert cost.selection is not None and cost.selection.select == 2 and cost.waits == 2
    assert cost.duplicated == 1.0 and cost.tile_multiply_adds == 64**3
    with pytest.raises(ValueError, match="no loop with products"):
        lookup_cost("bf16", MachineCode(64, 0, 0, "", assembly="/*0000*/ EXIT ;"), machine, 64, 64, 32, 4, 64)


def test_cycles_in_order_run_products_beside_what_does_not_wait_for_them() -> None:
    """Two products of 64 cycles and 100 cycles of instructions: waited for at once, or before the next is issued."""
    product = Instruction("", "HGMMA.64x128x16.F32.BF16", "R24, R4, gdesc[UR8], R24, gsb0")
    work = [Instruction("", "FADD", "R1, R1, R2")] * 48

    def cycles(*instructions: Instruction) -> float:
        loop = Loop(tuple(range(len(instructions))), instructions)
        return in_order(loop, 4, MACHINES["sm_90"], float(len(instructions)))

    wait = Instruction("", "WARPGROUP.DEPBAR.LE", "gsb0, 0x0")
    assert cycles(product, wait, *work, product, wait, *work) == 2 * (1 + 64 + 48)
    assert cycles(product, *work, wait, product, *work, wait) == 2 * (1 + 64)
    all_but_one = Instruction("", "WARPGROUP.DEPBAR.LE", "gsb0, 0x1")
    assert cycles(product, all_but_one, *work, product, all_but_one, *work) == 2 * 64, "the matrix unit never rests"
