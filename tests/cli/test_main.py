"""The command line's frame: exit codes, help, and that a light command needs no heavy package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gptface.cli.main import COMMANDS, build_parser, main


def test_an_unknown_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["paint"])
    assert stop.value.code == 2
    assert "paint" in capsys.readouterr().err


def test_doctor_lists_every_operator_with_a_reason_where_it_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for operator in ("masked_attention", "sample_span_mask", "vq_lookup"):
        assert operator in text
    assert "GPU ledger" in text


def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["packages"]["torch"]
    for entry in facts["implementations"]:
        assert entry["available"] or entry["reason"], entry


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "example" in capsys.readouterr().out


def test_a_full_disk_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: object) -> int:
        raise OSError(28, "No space left on device", "out.png")

    monkeypatch.setattr("gptface.cli.doctor.run", full)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "gptface: error: out.png: No space left on device\n"


def test_asking_for_one_command_does_not_import_the_others() -> None:
    code = (
        "import sys; from gptface.cli.main import build_parser; build_parser('doctor'); "
        "print(int('transformers' in sys.modules or 'PIL' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    assert build_parser().prog == "gptface"
