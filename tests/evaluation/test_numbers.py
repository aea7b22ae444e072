"""Numbers as text and as a file."""

from __future__ import annotations

import json
from pathlib import Path

from gptface.evaluation.numbers import format_numbers, write_numbers

NUMBERS = {"tokenizer_psnr_db": 20.25, "skipped": {}, "probe": {"raw pixels": {"accuracy": 0.5}}}


def test_groups_are_indented_and_empty_ones_left_out() -> None:
    lines = format_numbers(NUMBERS).splitlines()
    assert [line.split() for line in lines] == [
        ["tokenizer", "psnr", "db", "20.2500"], ["probe"], ["raw", "pixels"], ["accuracy", "0.5000"],
    ]  # fmt: skip
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 0, 2, 4]
    assert lines[0].index("20.25") == lines[3].index("0.5000")


def test_the_file_holds_them_as_they_are(tmp_path: Path) -> None:
    write_numbers(tmp_path / "new" / "numbers.json", NUMBERS)
    assert json.loads((tmp_path / "new" / "numbers.json").read_text()) == NUMBERS


def test_what_is_no_number_is_null_and_the_file_stays_json(tmp_path: Path) -> None:
    write_numbers(tmp_path / "n.json", {"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": (float("-inf"), 2)}})
    text = (tmp_path / "n.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text) == {"a": None, "b": [1.0, None], "c": {"d": [None, 2]}}
