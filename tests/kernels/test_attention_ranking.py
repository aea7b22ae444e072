"""How launch tables are made ahead of time: what the machine code says decides, here code that is made up."""

from __future__ import annotations

import pytest

triton = pytest.importorskip("triton")

from gptface.kernels import attention_tuning  # noqa: E402
from gptface.kernels.attention_configurations import Configuration  # noqa: E402
from gptface.kernels.attention_tuning import ahead_of_time, rank  # noqa: E402
from gptface.kernels.compilation import MachineCode  # noqa: E402
from tests.kernels.test_machine_code import CODE  # noqa: E402

ALL_SHARED = 200 * 1024  # bytes that leave no room for a second program
LONG, SHORT = ("grad_query", 16, 64, None), ("grad_query", 16, 64, 512)


def compiled(scores: int, shared: int = 0, twice: bool = False, spills: bool = False) -> MachineCode:
    """Code that takes a power for every score of four warps, or two."""
    powers = ["        /*0060*/                   MUFU.EX2 R7, R7 ;"] * (scores // 128 * (2 if twice else 1))
    text = CODE.format(powers="\n".join(powers))
    return MachineCode(128, 4, shared, "HGMMA", assembly=text if spills else text.replace("STL", "STS"))


def test_spills_in_loops_count_most_then_scores_computed_twice_then_cycles() -> None:
    tile = Configuration(64, 32, 4, 2)
    good, spilling, twice, alone = (
        rank(SHORT, tile, code, "sm_90")
        for code in (
            compiled(2048), compiled(2048, spills=True), compiled(2048, twice=True), compiled(2048, ALL_SHARED),
        )
    )  # fmt: skip
    assert good[:2] == (0, 0) and spilling[:2] == (1, 0) and twice[:2] == (0, 16)
    assert good < alone < twice < spilling, "more programs a multiprocessor, fewer cycles"
    assert rank(SHORT, tile, compiled(2048), "sm_80")[3] == 0.0, "no arithmetic is known for it"


@pytest.mark.parametrize("problem", [LONG, SHORT])
def test_narrow_tiles_are_for_what_no_wide_one_fits(
    problem: attention_tuning.Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, best, narrow = Configuration(128, 32, 4, 3), Configuration(128, 64, 4, 3, 128), Configuration(64, 32, 4, 3)
    asked = []

    def compile_configuration(kernel: str, chosen: Configuration, table: str, repair: bool, **_: object) -> MachineCode:
        asked.append(chosen)
        scores = chosen.block_m * chosen.block_n
        return compiled(scores, 0 if chosen == best else ALL_SHARED, spills=bad and chosen.block_m == 128)

    monkeypatch.setattr(attention_tuning, "compile_configuration", compile_configuration)
    monkeypatch.setattr(attention_tuning, "problems", lambda: [problem])
    monkeypatch.setattr(attention_tuning, "candidates", lambda *_: [wide, best, narrow])
    bad = False
    ((entry, _),) = ahead_of_time("sm_90", lambda line: None)
    assert entry.configuration == best and narrow not in asked
    bad = True
    ((entry, _),) = ahead_of_time("sm_90", lambda line: None)
    assert entry.configuration == narrow
