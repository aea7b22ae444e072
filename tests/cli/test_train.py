"""``gptface train``: results, and one sentence with exit code 2 for whatever cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gptface.cli.main import main
from gptface.systems.gptface import FaceSystem

FAST = ("--quiet",)


def fast(stage: str, cache: Path) -> list[str]:
    """Two small steps of ``stage`` over the faces in ``cache``."""
    settings = [f"{stage}.{text}" for text in ("steps=2", "batch_size=8", "tensorboard=false", "peak_tflops=0.1")]
    return [*FAST, "data.count=32", "data.validation_count=8", f"data.cache_directory={cache}", *settings]


def test_three_commands_make_a_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    tokenizer, parser, system = (str(tmp_path / name) for name in ("tokenizer", "parser", "system"))
    assert main(["train", "tokenizer", "--config", "tiny", "--output", tokenizer, *fast("tokenizer", cache)]) == 0
    assert main(["train", "parser", "--config", "tiny", "--output", parser, *fast("parser", cache)]) == 0
    pretrain = ["train", "pretrain", "--config", "tiny", "--tokenizer", tokenizer, "--parser", parser]
    assert main([*pretrain, "--output", system, *fast("pretrain", cache)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines()[-1] == f"pretrain: {system}"
    assert FaceSystem.from_pretrained(system).parser is not None


def test_the_resolved_configuration_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "pretrain", "--config", "tiny", "--print-config", "pretrain.steps=7"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["pretrain"]["steps"] == 7
    assert printed["pretrain"]["regimes"]["masked"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tokenizer", "--config", "nowhere.yaml", "--output", "OUT"], ["nowhere.yaml", "demo"]),
        (
            ["tokenizer", "--config", "tiny", "--output", "OUT", "tokenizer.stepz=1"],
            ["tokenizer.stepz", "tokenizer.steps"],
        ),
        (["tokenizer", "--config", "tiny", "--output", "OUT", "tokenizer.steps=many"], ["tokenizer.steps", "'many'"]),
        (["tokenizer", "--config", "tiny"], ["--output"]),
        (["tokenizer", "--config", "tiny", "--output", "FILE/run"], ["FILE"]),
        (["pretrain", "--config", "tiny", "--output", "OUT"], ["--tokenizer"]),
        (["pretrain", "--config", "tiny", "--output", "OUT", "--tokenizer", "absent"], ["absent"]),
        (["pretrain", "--config", "tiny", "--output", "OUT", "--tokenizer", "EMPTY"], ["EMPTY", "config.json"]),
        (
            ["tokenizer", "--config", "tiny", "--output", "OUT", "data.source=shards", "data.train=[absent-*.tar]"],
            ["absent-*.tar"],
        ),
        (
            ["tokenizer", "--config", "tiny", "--output", "OUT", "data.source=shards", "data.train=[EMPTY]"],
            ["EMPTY"],
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_text("")

    def real(text: str) -> str:
        for name in ("OUT", "FILE", "EMPTY"):
            text = text.replace(name, str(tmp_path / name))
        return text

    assert main(["train", *(real(argument) for argument in arguments), *FAST]) == 2
    error = capsys.readouterr().err
    assert error.startswith("gptface: error: ") and error.count("\n") == 1
    for word in words:
        assert real(word) in error
    assert not list((tmp_path / "OUT").rglob("*.pt"))


def test_settings_may_stand_before_and_behind_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    between = ["pretrain.steps=7", "--output", str(tmp_path), "pretrain.batch_size=3", "--print-config"]
    assert main(["train", "pretrain", "--config", "tiny", *between]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)["pretrain"]
    assert (printed["steps"], printed["batch_size"]) == (7, 3)
    with pytest.raises(SystemExit):
        main(["train", "pretrain", "--config", "tiny", "pretrain.steps=7", "--outptu", "x", "--print-config"])
    assert "unrecognized arguments: --outptu" in capsys.readouterr().err
