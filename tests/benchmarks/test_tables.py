"""Results, tables and plots: a schema that is held, and a README that is in step with the JSON."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.command import build_parser, main
from benchmarks.contender import BASELINE
from benchmarks.machine import RESULTS, ROOT, describe_machine, machine_class
from benchmarks.plots import draw_plots
from benchmarks.results import check_result, load_results, make_result, write_result
from benchmarks.runner import Options, run_case
from benchmarks.subjects import SUBJECTS
from benchmarks.tables import (
    BEGIN,
    END,
    HEADLINES,
    NO_GPU,
    README_CASES,
    full_table,
    headline_page,
    readme_block,
    replace_block,
    update_readme,
    write_tables,
)

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    subject = SUBJECTS["attention"]
    options = Options(scale="miniature", case_seconds=0.0, rounds=(2, 2), memory=False)
    done = []
    for case in subject.cases("miniature", torch.device("cpu"))[:2]:
        chosen = [
            entry for entry in subject.contenders(case) if entry.name in (BASELINE, "SDPA math, bool mask", "xFormers")
        ]
        done.append(run_case(subject, case, options, chosen))
    return json.loads(json.dumps(make_result(subject, options, {"cases": done, "left_out": ["the long one"]})))


def test_readme_and_headline_page_are_in_step_with_the_committed_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert replace_block(text, readme_block()) == text, "run `python -m benchmarks table --readme`"
    assert HEADLINES.read_text(encoding="utf-8") == headline_page(), "run `python -m benchmarks table --readme`"


def test_readme_shows_at_most_twelve_cases_and_each_exists() -> None:
    assert len(README_CASES) <= 12
    measured = {(result["subject"], case["name"]) for _, result in load_results(RESULTS) for case in result["cases"]}
    assert set(README_CASES) <= measured


def test_tables_are_in_step_with_the_committed_results() -> None:
    for path, _ in load_results(RESULTS):
        tables = (path.parent / "tables.md").read_text(encoding="utf-8")
        own = full_table(json.loads(path.read_text(encoding="utf-8")))
        assert own in tables, f"{path}: run `python -m benchmarks table`"


def test_full_table_says_everything(result: dict[str, Any]) -> None:
    text = full_table(result)
    for words in ("with its mask built", "GFLOP/s", "peak memory", "xFormers (xformers is not installed)"):
        assert words in text
    assert "Not reached in time: the long one." in text
    assert result["commit"]["id"][:12] in text


def test_headline_page_names_machine_versions_and_date(result: dict[str, Any], tmp_path: Path) -> None:
    write_result(result, tmp_path / result["machine"]["class"])
    page = headline_page(tmp_path)
    for words in (result["machine"]["processor"], result["date"], f"torch {result['versions']['torch']}", "SDPA math"):
        assert words in page
    assert NO_GPU in page


def test_writing_the_readme_twice_changes_nothing(result: dict[str, Any], tmp_path: Path) -> None:
    write_result(result, tmp_path / result["machine"]["class"])
    readme, page = tmp_path / "README.md", tmp_path / "results.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert list(update_readme(tmp_path, readme, page)) == [readme, page]
    once = readme.read_text()
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "old" not in once
    assert result["machine"]["class"] in once
    list(update_readme(tmp_path, readme, page))
    assert readme.read_text() == once


def test_gpu_result_takes_the_place_of_the_empty_columns(result: dict[str, Any], tmp_path: Path) -> None:
    result = copy.deepcopy(result)
    result["machine"]["gpu"] = {"name": "NVIDIA H200", "memory_gib": 139.0, "capability": "sm_90"}
    result["machine"]["class"] = machine_class(result["machine"])
    assert result["machine"]["class"] == "nvidia-h200"
    write_result(result, tmp_path / "nvidia-h200")
    for text in (readme_block(tmp_path), headline_page(tmp_path)):
        assert NO_GPU not in text
        assert "NVIDIA H200" in text


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN}"])
def test_readme_without_markers_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        replace_block(text, "block")


def _broken(change: str) -> Any:
    def apply(result: dict[str, Any]) -> None:
        row = result["cases"][0]["rows"][0]
        if change == "missing field":
            del result["commit"]
        elif change == "missing is missing":
            del row["ratio"]
        elif change == "not in order":
            row["seconds"]["low"] = row["seconds"]["high"] * 2
        elif change == "seconds None":
            row["seconds"] = None
        elif change == "must say why":
            row.update(status="cannot", seconds=None, reason="")
        elif change == "status is 'fine'":
            row["status"] = "fine"
        elif change == "is there twice":
            result["cases"].append(result["cases"][0])
        elif change == "be among them":
            row["contender"] = "another"
        elif change == "schema is 99":
            result["schema"] = 99
        else:
            result["machine"].pop("gpu")

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing field", "commit is missing"),
        ("missing is missing", "ratio is missing"),
        ("not in order", "not in order"),
        ("seconds None", "seconds None"),
        ("must say why", "must say why"),
        ("status is 'fine'", "status is 'fine'"),
        ("is there twice", "is there twice"),
        ("be among them", "be among them"),
        ("schema is 99", "schema is 99"),
        ("machine", "machine.gpu is missing"),
    ],
)
def test_schema_names_what_is_wrong(result: dict[str, Any], change: str, message: str) -> None:
    check_result(result)
    broken = copy.deepcopy(result)
    _broken(change)(broken)
    with pytest.raises(ValueError, match=message):
        check_result(broken)


def test_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine" / "attention.json").write_text("[]")
    with pytest.raises(ValueError, match=r"attention\.json: a result must be a JSON object"):
        list(load_results(tmp_path))


def test_plot_is_a_picture_beside_the_result(result: dict[str, Any], tmp_path: Path) -> None:
    (picture,) = draw_plots(result, tmp_path)
    assert picture.name == "attention.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_nothing_to_compare_is_no_plot(result: dict[str, Any], tmp_path: Path) -> None:
    alone = copy.deepcopy(result)
    for case in alone["cases"]:
        case["rows"] = [row for row in case["rows"] if row["contender"] == BASELINE]
    assert list(draw_plots(alone, tmp_path)) == []


def test_table_and_plot_commands(result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(result, tmp_path / "here")
    assert main(["table", "--output", str(tmp_path)]) == 0
    assert main(["plot", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "here" / "tables.md").read_text().startswith("# Benchmark tables")
    assert (tmp_path / "here" / "attention.png").is_file()
    assert list(write_tables(tmp_path)) == [tmp_path / "here" / "tables.md"]


def test_help_has_an_example() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "python -m benchmarks attention --device cpu --quick" in done.stdout


@pytest.mark.parametrize("arguments", [["unknown"], ["attention", "--threads", "0"]])
def test_bad_arguments_are_one_sentence_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_machine_class_is_a_folder_name() -> None:
    machine = describe_machine("cpu")
    assert machine["class"] == machine_class(machine)
    assert machine["class"].replace("-", "").isalnum()


def test_parser_knows_every_subject() -> None:
    for name in SUBJECTS:
        assert build_parser().parse_args([name]).what == name
