"""The static cost of the launch tables: the page is of the stored numbers, these are of the tables, none is bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")

from benchmarks.static_cost.__main__ import OUTPUT, main  # noqa: E402
from benchmarks.static_cost.lines import AttentionLine, LookupLine, identity, lines  # noqa: E402
from benchmarks.static_cost.page import write_page  # noqa: E402
from gptface.kernels.attention_configurations import Configuration, Entry  # noqa: E402
from gptface.kernels.kernel_cost import MACHINES  # noqa: E402

pytestmark = pytest.mark.skipif(triton.knobs.runtime.interpret, reason="the interpreter compiles nothing")

NUMBERS: dict[str, Any] = json.loads((OUTPUT / "numbers.json").read_text(encoding="utf-8"))
RECORDS: list[dict[str, Any]] = NUMBERS["records"]


def test_the_page_is_that_of_the_numbers_and_says_first_that_it_is_no_measurement(tmp_path: Path) -> None:
    write_page(tmp_path / "page.md", NUMBERS)
    page = OUTPUT.with_suffix(".md").read_text(encoding="utf-8")
    assert page == (tmp_path / "page.md").read_text(encoding="utf-8"), "run python -m benchmarks.static_cost"
    assert page.splitlines()[0].endswith("arithmetic on machine code, not a measurement")


def test_the_numbers_are_of_the_tables_and_of_the_sources() -> None:
    """A record of an older table or kernel is found; triton's version may be another than that of the run."""
    present = {(line.architecture, line.name): identity(line) for line in lines(list(MACHINES))}
    for record in RECORDS:
        expected = present[record["architecture"], record["name"]] | {"triton": record["triton"]}
        if record["triton"] != triton.__version__:
            expected["sources"] = record["sources"]  # its hash of sources may differ
        assert expected.items() <= record.items(), "run python -m benchmarks.static_cost"
    counted = {f"{record['architecture']} {record['name']}" for record in RECORDS}
    assert sorted(counted | set(NUMBERS["missing"])) == sorted(" ".join(name) for name in present)
    wanted = {f"sm_90 {line.name}" for width in (64, 128, 256) for line in lines(["sm_90"], f"-16-{width}-")}
    assert wanted <= counted, "the lines that people train with"


# For gradients of keys at D 256 nothing was found that neither spills in its loops nor computes scores twice.
GOOD = [
    one for one in RECORDS if one.get("bits") == 16 and (one["kernel"], one["block_d"]) != ("grad_key_value", 256)
]


@pytest.mark.parametrize("record", GOOD, ids=lambda one: one["name"])
def test_no_score_is_computed_twice_and_no_loop_spills(record: dict[str, Any]) -> None:
    assert record["extra_exponentials"] <= 0, "a power too many"
    assert record["duplicated"] == 1.0, "matrix work that another warp group does too"
    assert record["spilled_in_loops"] == 0


@pytest.mark.parametrize("record", [one for one in RECORDS if "precision" in one], ids=lambda one: one["name"])
def test_no_lookup_multiplies_twice_or_spills(record: dict[str, Any]) -> None:
    assert record["duplicated"] == 1.0 and record["spilled_in_loops"] == 0


def test_lines_are_found_by_their_names() -> None:
    names = [line.name for line in lines(["sm_90"], "grad_query-16-128")]
    assert names == ["attention-grad_query-16-128-512", "attention-grad_query-16-128-any"]
    assert {type(line) for line in lines(["sm_100"], "lookup-bf16-64")} == {LookupLine}


def test_a_name_that_nothing_has_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"]) == 2
    assert capsys.readouterr().err == "static_cost: no line's name contains 'nothing'\n"


def test_a_line_that_does_not_compile_is_named_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {(one["architecture"], one["name"]): one for one in RECORDS}
    compiled = []

    def record(self: AttentionLine) -> dict[str, Any]:
        if self.entry.rows is None:
            raise RuntimeError("out of registers")
        compiled.append(self.name)
        return {**stored[self.architecture, self.name], **identity(self)}

    monkeypatch.setattr(AttentionLine, "record", record)
    asked = ["--arch", "sm_90", "--only", "forward-16-64", "--output", str(tmp_path / "cost")]
    assert main(asked) == 1
    said = capsys.readouterr()
    assert "attention-forward-16-64-any: RuntimeError: out of registers" in said.err
    assert "| forward | 64 | 16 | ≤ 512 |" in said.out
    assert "sm_90 attention-forward-16-64-any" in json.loads((tmp_path / "cost/numbers.json").read_text())["missing"]
    assert "Not counted yet: " in (tmp_path / "cost.md").read_text(encoding="utf-8")
    assert main(asked) == 1
    assert compiled == ["attention-forward-16-64-512"], "what the numbers hold is not compiled again"


def test_a_line_is_named_by_what_it_is_for() -> None:
    entry = Entry("forward", 32, 16, None, Configuration(16, 16, 4, 1))
    assert AttentionLine("sm_90", entry).name == "attention-forward-32-16-any"
