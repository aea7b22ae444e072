"""Ring 3: attention kernels compile ahead of time for each GPU that has a table, and their code is as recorded.

Numbers in the tables are compared where they were recorded by the triton at hand; what must hold of any compiler
(shared memory within the GPU's limit, the GPU's own matrix instruction) is held always.
"""

from __future__ import annotations

import json
import os

import pytest

triton = pytest.importorskip("triton")

from gptface.kernels.attention_compilation import compile_bounds, compile_configuration  # noqa: E402
from gptface.kernels.attention_configurations import TUNED, Configuration, Entry, entries  # noqa: E402
from gptface.kernels.attention_tuning import SHARED_LIMIT  # noqa: E402
from gptface.kernels.compilation import ARCHITECTURES, MachineCode  # noqa: E402
from gptface.kernels.kernel_cost import MACHINES, attention_cost  # noqa: E402

pytestmark = pytest.mark.skipif(triton.knobs.runtime.interpret, reason="the interpreter compiles nothing")
MATRIX = {"sm_80": "HMMA", "default": "HMMA", "sm_90": "HGMMA", "sm_100": "UTCHMMA"}


def recorded(table: str, entry: Entry) -> MachineCode | None:
    """What the table says of this line; None where it says nothing, or another triton said it."""
    content = json.loads((TUNED / f"attention_{table}.json").read_text())
    if content.get("triton") != triton.__version__:
        return None
    for line in content["entries"]:
        if entry.as_json().items() <= line.items() and "registers" in line:
            return MachineCode(line["registers"], line["spilled"], line["shared"], line["matrix"])
    return None


def check(table: str, entry: Entry, repair: bool = False) -> None:
    dtype = "bf16" if entry.bits == 16 else "fp32"
    code = compile_configuration(
        entry.kernel, entry.configuration, table, dtype=dtype, head_dim=entry.block_d, repair=repair
    )
    assert code.shared <= SHARED_LIMIT[table], f"{entry}: {code}"
    if entry.bits == 16:
        assert code.matrix == MATRIX[table], f"{entry}: {code}"
    else:
        assert code.matrix == "", f"{entry}: float32 must not run on matrix units: {code}"
    if table == "sm_90" and entry.bits == 16 and not repair:
        chosen = entry.configuration
        cost = attention_cost(
            entry.kernel, code, MACHINES[table], chosen.block_m, chosen.block_n, chosen.num_warps, entry.block_d
        )
        assert cost.extra_exponentials <= 0 and cost.duplicated == 1.0, f"{entry}: scores computed twice: {cost}"
        assert cost.spilled_in_loops == 0 and not cost.serialised, f"{entry}: {cost}"
    expected = None if repair else recorded(table, entry)
    if expected is not None:
        assert code == expected, f"{entry}: recorded {expected}, compiled {code}: run gptface.kernels.tune again"


ALL = [(table, entry) for table in ARCHITECTURES for entry in entries(table)]
# One line a kernel and architecture at the head dimension of the models; grad_key_value, the heaviest, everywhere.
CHOSEN = [
    (table, entry)
    for table, entry in ALL
    if entry.bits == 16 and entry.block_d == 64 and entry.rows is not None and table != "default"
    and (table == "sm_90" or entry.kernel == "grad_key_value")
]  # fmt: skip


def name(case: object) -> str:
    if isinstance(case, Entry):
        return f"{case.kernel}-{case.bits}-{case.block_d}-{case.rows or 'any'}"
    return str(case)


@pytest.mark.parametrize(("table", "entry"), CHOSEN, ids=name)
def test_representative_configurations(table: str, entry: Entry) -> None:
    check(table, entry)


@pytest.mark.parametrize(("table", "entry"), CHOSEN, ids=name)
def test_second_pass_of_representative_configurations(table: str, entry: Entry) -> None:
    check(table, entry, repair=True)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("GPTFACE_COMPILE_ALL"), reason="set GPTFACE_COMPILE_ALL=1: many minutes")
@pytest.mark.parametrize(("table", "entry"), [case for case in ALL if case not in CHOSEN], ids=name)
def test_every_other_configuration(table: str, entry: Entry) -> None:
    check(table, entry)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("GPTFACE_COMPILE_ALL"), reason="set GPTFACE_COMPILE_ALL=1: many minutes")
@pytest.mark.parametrize(("table", "entry"), [case for case in ALL if case not in CHOSEN], ids=name)
def test_second_pass_of_every_other_configuration(table: str, entry: Entry) -> None:
    check(table, entry, repair=True)


@pytest.mark.parametrize("kernel", ["rows", "columns"])
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_bounds(kernel: str, architecture: str) -> None:
    code = compile_bounds(kernel, architecture, k=2)
    assert code.spilled == 0 and code.matrix == ""


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": True, "group": 3},
        {"k": 0, "batched": False, "head_dim": 40, "unit": 1, "wide": True, "flip": True, "dtype": "fp16"},
    ],
    ids=["dropout, groups of three", "everything else that compiles to other code"],
)
@pytest.mark.parametrize("kernel", ["forward", "grad_query"])
def test_variants(kernel: str, options: dict[str, object]) -> None:
    code = compile_configuration(kernel, Configuration(64, 32, 4, 2), "sm_90", **options)  # type: ignore[arg-type]
    assert code.matrix == "HGMMA"
