"""Tests on AMX tiles themselves, which no machine of this project has yet passed."""

from __future__ import annotations

import os

import pytest

__all__ = ["skip_untried_amx"]


def skip_untried_amx(instruction_set: str) -> None:
    """Skip where ``"amx"`` would run and ``GPTFACE_TEST_AMX`` is not set.

    Its kernels have run on a tile unit in plain C++ alone. The first run on a machine is to be looked at, and not to
    end a run of everything else.
    """
    if instruction_set == "amx" and not os.environ.get("GPTFACE_TEST_AMX"):
        pytest.skip("set GPTFACE_TEST_AMX=1 to run the tile instructions themselves")
