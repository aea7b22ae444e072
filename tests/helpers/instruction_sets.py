"""The native CPU kernels under one instruction set after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gptface.ops.native import cpu_instruction_set

__all__ = ["INSTRUCTION_SETS", "TILE_SETS", "skip_untried_amx", "under_instruction_set"]

TILE_SETS = ["emulated_amx", "emulated_amx_avx512_bf16", "amx"]
INSTRUCTION_SETS = ["portable", "avx2", "avx512", "avx512_bf16", *TILE_SETS]


def skip_untried_amx(instruction_set: str) -> None:
    """Skip where ``"amx"`` would run and ``GPTFACE_TEST_AMX`` is not set.

    Its kernels have run on a tile unit in plain C++ alone. The first run on a machine is to be looked at, and not to
    end a run of everything else.
    """
    if instruction_set == "amx" and not os.environ.get("GPTFACE_TEST_AMX"):
        pytest.skip("set GPTFACE_TEST_AMX=1 to run the tile instructions themselves")


@contextmanager
def under_instruction_set(name: str) -> Iterator[str]:
    """Run what is inside under ``name``, then go back; skip the test where this machine has no such set."""
    before = cpu_instruction_set()
    skip_untried_amx(name)
    try:
        cpu_instruction_set(name)
    except RuntimeError as error:
        pytest.skip(str(error))
    try:
        yield name
    finally:
        cpu_instruction_set(before)
