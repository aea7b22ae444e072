"""The command line's frame: exit codes, help, and that a light command needs no heavy package."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptface.cli.evaluate import SUBJECTS
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
    assert "attention.forward" in text and "no proof" in text


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


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_of_evaluate_has_help_with_an_example(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", subject, "--help"])
    assert stop.value.code == 0
    assert f"example: gptface evaluate {subject} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "usage", "unknown"),
    [
        (["evaluate", "system", "--system", "s", "--probe", "expression"], "evaluate system", "--probe"),
        (["edit", "x.png", "--system", "s", "--output", "o.png", "--colour", "red"], "edit", "--colour red"),
        (["doctor", "now"], "doctor", "now"),
        (["train", "tokenizer", "--config", "tiny", "--outputs", "x"], "train tokenizer", "--outputs"),
        (["edit", "--steps", "many"], "edit", "many"),
        (["convert"], "convert", "FILE|DIR"),
    ],
)
def test_an_error_of_a_command_shows_that_commands_usage(
    arguments: list[str], usage: str, unknown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"usage: gptface {usage} ")
    assert f"gptface {usage}: error: " in error and unknown in error.splitlines()[-1]


PATHS = {
    "generate --output x.png --system URL": "--system",
    "generate --system s --output URL": "--output",
    "edit URL --system s --output x.png": "image",
    "edit x.png --system s --output x.png --region-map URL": "--region-map",
    "inpaint x.png --system s --output x.png --mask URL": "--mask",
    "unmask x.png --system s --output x.png --strip URL": "--strip",
    "caption x.png URL --system s": "image",
    "convert URL --output x": "FILE|DIR",
    "evaluate system --system s --faces URL": "--faces",
    "report --system s --judge URL --output x": "--judge",
    "faces --output URL": "--output",
    "data laion-face join --metadata URL --output o": "--metadata",
    "train pretrain --config URL": "--config",
    "train pretrain --config tiny --tokenizer URL": "--tokenizer",
}


@pytest.mark.parametrize("url", ["https://host/faces.png", "s3://bucket/x", "file:///x", "pipe:curl x"])
@pytest.mark.parametrize("command", PATHS)
def test_a_url_where_a_path_belongs_is_named(command: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([url if word == "URL" else word for word in command.split()])
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {PATHS[command]}: {url} is a URL, not a path; allowed: a file or folder of this machine" in last


def test_a_url_in_a_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "tokenizer", "--config", "tiny", "--output", str(tmp_path / "run"), "data.source=shards"]
    assert main([*command, "data.train=[https://host/faces.tar]"]) == 2
    assert "data.train: https://host/faces.tar is a URL, not a path" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1"])
@pytest.mark.parametrize("command", [["doctor"], ["--help"], *([name, "--help"] for name in sorted(COMMANDS))])
def test_a_terminal_that_knows_few_letters(command: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {}
    for kind in (encoding, "utf-8"):
        name, _, errors = kind.partition(":")
        stream = io.TextIOWrapper(io.BytesIO(), name, errors or "surrogateescape")
        monkeypatch.setattr(sys, "stdout", stream)
        try:
            main(command)
        except SystemExit as stop:
            assert stop.code == 0
        assert stream.errors == (errors or "surrogateescape")
        stream.flush()
        written[kind] = stream.buffer.getvalue().decode(name)  # type: ignore[attr-defined]
    assert "\\u" not in written[encoding] and "?" not in written[encoding]
    assert len(written[encoding].split()) == len(written["utf-8"].split())


def test_captions_in_any_script_can_be_printed_in_ascii(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def speak(_: object) -> int:
        print("64² → 4×4, é, 顔, \udce9")
        return 0

    monkeypatch.setattr("gptface.cli.doctor.run", speak)
    for encoding, expected in (
        ("ascii", b"64^2 -> 4x4, e, \\u9854, \xe9\n"),
        ("utf-8", "64² → 4×4, é, 顔, ".encode() + b"\xe9\n"),
    ):
        stream = io.TextIOWrapper(io.BytesIO(), encoding, "strict")
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["doctor"]) == 0
        stream.flush()
        assert stream.buffer.getvalue() == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["doctor", "--help"])
def test_the_command_runs_in_the_c_locale(command: str) -> None:
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "gptface", command], env={**os.environ, **environment}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and done.stdout


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
