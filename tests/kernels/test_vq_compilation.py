"""Ring 3: the lookup kernels compile ahead of time for each GPU that has a table, and their code is as recorded."""

from __future__ import annotations

import json
import os

import pytest

triton = pytest.importorskip("triton")

from gptface.kernels.attention_configurations import TUNED  # noqa: E402
from gptface.kernels.attention_tuning import SHARED_LIMIT  # noqa: E402
from gptface.kernels.compilation import ARCHITECTURES, MachineCode  # noqa: E402
from gptface.kernels.vq_compilation import compile_configuration, compile_decide, compile_row_terms  # noqa: E402
from gptface.kernels.vq_configurations import Configuration, Entry, entries  # noqa: E402

pytestmark = pytest.mark.skipif(triton.knobs.runtime.interpret, reason="the interpreter compiles nothing")
MATRIX = {"sm_80": {"HMMA"}, "default": {"HMMA"}, "sm_90": {"HGMMA"}, "sm_100": {"UTCHMMA"}}
ALL = [(table, entry) for table in ARCHITECTURES for entry in entries(table)]
CHOSEN = [
    (table, entry)
    for table, entry in ALL
    if table != "default" and entry.depth in (64, 256) and entry.kept is not None
    and (entry.precision == "bf16" or (table == "sm_90" and entry.precision != "tf32x3"))
]  # fmt: skip


def recorded(table: str, entry: Entry) -> MachineCode | None:
    """What the table says of this line; None where another triton said it."""
    content = json.loads((TUNED / f"vq_{table}.json").read_text())
    line = next(line for line in content["entries"] if entry.as_json().items() <= line.items())
    if content["triton"] != triton.__version__:
        return None
    return MachineCode(line["registers"], line["spilled"], line["shared"], line["matrix"])


def check(table: str, entry: Entry) -> None:
    code = compile_configuration(
        entry.precision, entry.configuration, table, width=entry.depth or 256, kept=entry.kept or 17
    )
    assert code.shared <= SHARED_LIMIT[table] and code.spilled == 0, f"{entry}: {code}"
    if entry.kept is not None:  # without the selection's loop the loads are pipelined, and take more
        one = compile_configuration(entry.precision, entry.configuration, table, width=entry.depth or 256, kept=1)
        assert one.shared <= SHARED_LIMIT[table], f"{entry}, one candidate: {one}"
    if entry.precision == "ieee":
        assert code.matrix == "", f"{entry}: float32 must not run on matrix units: {code}"
    else:
        assert code.matrix in MATRIX[table], f"{entry}: {code}"
    expected = recorded(table, entry)
    if expected is not None:
        assert code == expected, f"{entry}: recorded {expected}, compiled {code}: run gptface.kernels.tune again"


def name(case: object) -> str:
    return f"{case.precision}-{case.depth}-{case.kept}" if isinstance(case, Entry) else str(case)


@pytest.mark.parametrize(("table", "entry"), CHOSEN, ids=name)
def test_representative_configurations(table: str, entry: Entry) -> None:
    check(table, entry)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("GPTFACE_COMPILE_ALL"), reason="set GPTFACE_COMPILE_ALL=1: many minutes")
@pytest.mark.parametrize(("table", "entry"), [case for case in ALL if case not in CHOSEN], ids=name)
def test_every_other_configuration(table: str, entry: Entry) -> None:
    check(table, entry)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_the_deciding_kernel_and_the_row_terms(architecture: str) -> None:
    assert compile_decide(architecture, width=64, metric="euclidean", nominated=2).spilled == 0
    assert compile_row_terms(architecture, width=64, metric="cosine").spilled == 0


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_deciding_among_many(architecture: str) -> None:
    assert compile_decide(architecture, width=64, metric="cosine", nominated=32, dtype="bf16").spilled == 0


@pytest.mark.parametrize(
    "options",
    [{"nearest": True, "kept": 1}, {"contiguous": False, "unit": 1, "moved": False, "width": 45, "dtype": "fp16"}],
    ids=["nearest rows", "everything else that compiles to other code"],
)
def test_variants(options: dict[str, object]) -> None:
    code = compile_configuration("bf16", Configuration(64, 64, 64, 4, 2), "sm_90", **options)  # type: ignore[arg-type]
    assert code.matrix == "HGMMA"
