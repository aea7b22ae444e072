"""Runs that go on where something has changed: more steps, moved data, other processes, a signal under a launcher."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gptface.errors import InputError
from gptface.systems.gptface.stages import PRETRAIN, TOKENIZER
from gptface.systems.parser.stages import PARSER
from gptface.training import loop as loop_module
from gptface.training.checkpoint import checkpoint_folders, load_checkpoint
from gptface.training.continuation import check_same_run
from gptface.training.run import run_stage
from tests.helpers.tiny_runs import launch, tiny, tiny_parser
from tests.training.test_runs import losses


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """A run inside is pulled the plug before that step."""
    original = loop_module.Loop._one_step

    def stop(self: loop_module.Loop, share: float) -> None:
        if self.step == step:
            raise RuntimeError("pulled the plug")
        original(self, share)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="plug"):
        patch.setattr(loop_module.Loop, "_one_step", stop)
        yield


def rate(step: int, steps: int, warmup: int = 2, peak: float = 1e-3) -> float:
    """The learning rate of the step before ``step``, by the formula of the documentation."""
    share = (step - 1) / steps
    return peak * min(1, step / (warmup + 1)) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


# More steps ----------------------------------------------------------------------------------------------------------


def test_a_complete_run_goes_on_with_more_steps(
    face_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("parser.log_every=1", "parser.warmup_steps=2")
    run_stage(PARSER, tiny_parser(face_cache, "parser.steps=4", *common), tmp_path, verbose=False)
    before = losses(tmp_path)
    run_stage(PARSER, tiny_parser(face_cache, "parser.steps=7", *common), tmp_path)
    assert "parser.steps is 7 now, 4 before" in capsys.readouterr().err
    lines = losses(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 8)) and lines[:4] == before
    wanted = [rate(step, 4) for step in range(1, 5)] + [rate(step, 7) for step in range(5, 8)]
    np.testing.assert_allclose([line["learning_rate"] for line in lines], wanted, rtol=1e-9)
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 7
    checkpoint = load_checkpoint(checkpoint_folders(tmp_path / "checkpoints")[-1])
    assert checkpoint.processes[0]["batches"]["position"] == 7 * 16 and checkpoint.run["parser"]["steps"] == 7


def test_a_budget_that_is_spent_already_is_refused(face_cache: Path, tmp_path: Path) -> None:
    common = ("parser.checkpoint_every=2",)
    with stopped_at(5):
        run_stage(PARSER, tiny_parser(face_cache, "parser.steps=9", *common), tmp_path, verbose=False)
    with pytest.raises(InputError, match=r"parser\.steps: 3, but the run has made 4 already"):
        run_stage(PARSER, tiny_parser(face_cache, "parser.steps=3", *common), tmp_path, verbose=False)
    run_stage(PARSER, tiny_parser(face_cache, "parser.steps=6", *common), tmp_path, verbose=False)
    with pytest.raises(InputError, match=r"parser\.steps: 5, but the run has made 6 already"):
        run_stage(PARSER, tiny_parser(face_cache, "parser.steps=5", *common), tmp_path, verbose=False)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(InputError, match="is complete \\(6 steps\\), and without its checkpoints it cannot go on"):
        run_stage(PARSER, tiny_parser(face_cache, "parser.steps=9", *common), tmp_path, verbose=False)
    assert (tmp_path / "summary.json").is_file()  # what was complete remains


def test_a_run_does_not_fall_back_behind_the_discriminators_start(face_cache: Path, tmp_path: Path) -> None:
    common = ("tokenizer.losses={adversarial: 0.5, adversarial_start: 0.5}", "tokenizer.log_every=1")
    run_stage(TOKENIZER, tiny(face_cache, "tokenizer.steps=4", *common), tmp_path, verbose=False)
    with pytest.raises(InputError, match=r"tokenizer\.losses\.adversarial_start: 0\.5 of the budget was reached at 1"):
        run_stage(TOKENIZER, tiny(face_cache, "tokenizer.steps=9", *common), tmp_path, verbose=False)
    run_stage(TOKENIZER, tiny(face_cache, "tokenizer.steps=8", *common), tmp_path, verbose=False)
    assert ["discriminator" in line for line in losses(tmp_path)] == [False] * 2 + [True] * 6


# Moved data ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [True, False])
def test_moved_data_are_the_same_data(cache: bool, tmp_path: Path) -> None:
    pictures, moved, other = tmp_path / "pictures", tmp_path / "elsewhere" / "faces", tmp_path / "other"
    for folder, first in ((pictures, 0), (other, 1)):
        folder.mkdir()
        for number in range(20):
            Image.new("RGB", (32, 32), (number, 2 * number, 90)).save(folder / f"{number + first}.png")

    def configuration(folder: Path) -> Any:
        source = ["data.source=shards", f"data.train=[{folder}]", f"data.cache={str(cache).lower()}"]
        run = ["tokenizer.steps=6", "tokenizer.log_every=1", "tokenizer.checkpoint_every=2", "tokenizer.batch_size=8"]
        return tiny(tmp_path / "cache", *source, *run, "pretrain.cache_codes=false")

    run_stage(TOKENIZER, configuration(pictures), tmp_path / "whole", verbose=False)
    with stopped_at(3):
        run_stage(TOKENIZER, configuration(pictures), tmp_path / "run", verbose=False)
    with pytest.raises(InputError, match="data: holds as many samples as the checkpoint's"):
        run_stage(TOKENIZER, configuration(other), tmp_path / "run", verbose=False)
    (other / "1.png").unlink()
    with pytest.raises(InputError, match="data: samples is 19, the checkpoint's is 20"):
        run_stage(TOKENIZER, configuration(other), tmp_path / "run", verbose=False)
    moved.parent.mkdir()
    pictures.rename(moved)
    run_stage(TOKENIZER, configuration(moved), tmp_path / "run", verbose=False)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    with pytest.raises(InputError, match=r"data\.train is"):  # a complete run is not opened to see what it holds
        run_stage(TOKENIZER, configuration(other), tmp_path / "run", verbose=False)


# Several processes ---------------------------------------------------------------------------------------------------


def test_what_makes_up_for_processes_and_what_does_not() -> None:
    ours = {"stage": "parser", "processes": 1, "parser": {"accumulation": 6, "steps": 5, "learning_rate": 0.1}}
    theirs = {"stage": "parser", "processes": 3, "parser": {"accumulation": 2, "steps": 5, "learning_rate": 0.1}}
    path = Path("run")
    assert check_same_run(ours, ours, path) == []
    assert len(check_same_run(ours, theirs, path)) == 2
    with pytest.raises(InputError, match=r"processes is 3 there and 1 here"):
        check_same_run(ours, theirs, path, finished=True)
    ours["parser"] = {**ours["parser"], "accumulation": 2}  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"had 6 forward passes .* would have 2 .*; parser\.accumulation=6 goes on"):
        check_same_run(ours, theirs, path)
    with pytest.raises(InputError, match="use a number of processes that divides 6"):
        check_same_run({**ours, "processes": 4}, theirs, path)
    theirs["parser"] = {**theirs["parser"], "learning_rate": 0.2, "steps": 6}  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"parser\.learning_rate is 0\.2 there and 0\.1 here"):
        check_same_run(ours, theirs, path)


def finish(process: subprocess.Popen[bytes], output: Path) -> None:
    assert process.wait(timeout=300) == 0, output.with_suffix(".log").read_text()


@pytest.mark.slow
def test_one_process_goes_on_where_two_stopped_and_two_where_one_did(
    face_cache: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    common = (
        "pretrain.steps=6", "pretrain.batch_size=8", "pretrain.log_every=1", "pretrain.checkpoint_every=2",
        "pretrain.caption_dropout=0", "pretrain.pair_weighting.start=0.2",
    )  # fmt: skip
    whole, run, tokenizer = tmp_path / "whole", tmp_path / "run", ("--tokenizer", str(tokenizer_folder))
    finish(launch(2, "pretrain", tiny(face_cache, *common), whole, *tokenizer), whole)

    def back_to(step: int) -> None:
        (run / "summary.json").unlink(missing_ok=True)
        for folder in checkpoint_folders(run / "checkpoints"):
            if int(folder.name.removeprefix("step-")) > step:
                shutil.rmtree(folder)

    shutil.copytree(whole, run)
    back_to(4)
    with pytest.raises(InputError, match=r"pretrain\.accumulation=2 goes on with the same steps"):
        run_stage(PRETRAIN, tiny(face_cache, *common), run, verbose=False, tokenizer=tokenizer_folder)
    accumulated = tiny(face_cache, *common, "pretrain.accumulation=2")
    run_stage(PRETRAIN, accumulated, run, verbose=False, tokenizer=tokenizer_folder)
    alone, together = losses(run), losses(whole)
    assert [line["step"] for line in alone] == [1, 2, 3, 4, 5, 6] and alone[:4] == together[:4]
    for name in ("loss", "masked_image", "masked_text", "matching", "gradient_norm"):
        found, wanted = ([line[name] for line in lines] for lines in (alone, together))
        torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=2e-4, atol=2e-5, msg=name)

    # And back: from the checkpoint of one process's last step on, with more steps, by two.
    longer = tiny(face_cache, *common, "pretrain.steps=8")
    finish(launch(2, "pretrain", longer, run, *tokenizer), run)
    assert [line["step"] for line in losses(run)] == list(range(1, 9))
    checkpoint = load_checkpoint(checkpoint_folders(run / "checkpoints")[-1])
    assert [own["batches"]["position"] for own in checkpoint.processes] == [8 * 2 * 8] * 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_torchrun_costs_no_step(number: signal.Signals, face_cache: Path, tmp_path: Path) -> None:
    """Nor do loader processes die of it, which get the signals of their group too."""
    output = tmp_path / "run"
    configuration = tiny(
        face_cache, "tokenizer.steps=100000", "tokenizer.checkpoint_every=100000", "tokenizer.log_every=2",
        "data.cache=false", "data.workers=1", "pretrain.cache_codes=false",
    )  # fmt: skip
    process = launch(2, "tokenizer", configuration, output)
    end = time.monotonic() + 120
    while not (output / "metrics.jsonl").is_file() or not losses(output):
        assert process.poll() is None and time.monotonic() < end, output.with_suffix(".log").read_text()
        time.sleep(0.05)
    made = losses(output)[-1]["step"]
    process.send_signal(number)
    process.wait(timeout=120)
    assert "forcefully exiting" not in output.with_suffix(".log").read_text()
    (folder,) = checkpoint_folders(output / "checkpoints")
    checkpoint = load_checkpoint(folder)
    assert made <= checkpoint.step <= made + 60
    assert checkpoint.step >= losses(output)[-1]["step"]
    batch = int(checkpoint.run["tokenizer"]["batch_size"])
    assert [own["batches"]["position"] for own in checkpoint.processes] == [checkpoint.step * 2 * batch] * 2
