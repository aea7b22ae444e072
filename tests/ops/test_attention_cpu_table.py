"""The table of what ``impl="auto"`` takes on a processor, and the classes of machines it is by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptface.ops.attention.cpu_table import FEW_QUERIES, TABLE, CpuCall, preferences
from gptface.ops.cpu_class import CLASSES, Processor, classify

ROOT = Path(__file__).resolve().parents[2]
CALLS = st.builds(
    CpuCall,
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    kind=st.sampled_from(["full", "causal", "general"]),
    queries=st.integers(0, 5000),
    keys=st.integers(0, 5000),
    width=st.sampled_from([16, 64, 256]),
    backward=st.booleans(),
)


@given(machine=st.sampled_from(sorted(TABLE)), call=CALLS)
def test_every_call_has_a_line_with_a_reason_and_something_that_can_run_it(machine: str, call: CpuCall) -> None:
    found = preferences(machine, call)
    line = next(line for line in TABLE[machine] if line.is_about(call))
    assert found[0] == (line.implementation, line.reason)
    assert line.reason
    assert found[-1].implementation == "reference"
    assert {"cpu", "sdpa"} <= {preference.implementation for preference in found}


@given(call=CALLS)
def test_an_unknown_machine_gets_the_cautious_line(call: CpuCall) -> None:
    assert preferences("a machine of tomorrow", call) == preferences("other", call)
    few = call.queries <= FEW_QUERIES and not call.backward
    takes_torch = call.kind != "general" and not few
    assert preferences("other", call)[0].implementation == ("sdpa" if takes_torch else "cpu")


@given(call=CALLS)
def test_what_was_measured_to_be_the_fastest_is_taken(call: CpuCall) -> None:
    assert preferences("amd-zen4", call)[0].implementation == "cpu"
    tiles = call.dtype == torch.bfloat16 and call.kind != "general" and call.keys > 257
    if tiles and (call.backward or call.queries > FEW_QUERIES):
        assert preferences("intel-amx", call)[0].implementation == "sdpa"


def test_few_queries_are_as_many_as_the_kernels_take() -> None:
    header = (ROOT / "csrc" / "include" / "gptface" / "attention_few.h").read_text(encoding="utf-8")
    found = re.search(r"kFewQueries = (\d+);", header)
    assert found is not None
    assert int(found[1]) == FEW_QUERIES


AMD = frozenset({"avx2", "avx512f", "avx512_bf16"})
INTEL = AMD | {"amx_bf16", "amx_tile"}


@pytest.mark.parametrize(
    ("processor", "name"),
    [
        (Processor("AuthenticAMD", 0x19, AMD, "avx512_bf16"), "amd-zen4"),
        (Processor("AuthenticAMD", 0x19, frozenset({"avx2"}), "avx2"), "other"),  # Zen 3
        (Processor("AuthenticAMD", 0x1A, AMD, "avx512_bf16"), "other"),  # Zen 5, not measured
        (Processor("GenuineIntel", 6, INTEL, "avx512_bf16"), "intel-amx"),
        (Processor("GenuineIntel", 6, INTEL, "amx"), "intel-amx"),
        (Processor("GenuineIntel", 6, INTEL, "avx512"), "other"),  # a lower set was asked for
        (Processor("GenuineIntel", 6, AMD, "avx512_bf16"), "other"),
        (Processor("AuthenticAMD", 0x19, AMD, "portable"), "portable"),
        (Processor("", 0, frozenset(), "avx512_bf16"), "other"),
    ],
)
def test_classes(processor: Processor, name: str) -> None:
    assert classify(processor).name == name
    assert classify(processor) in CLASSES
