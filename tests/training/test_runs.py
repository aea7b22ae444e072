"""Whole runs of the tiny configuration: results on disk, resumption to the bit, refusals, full disks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from gptface.errors import InputError
from gptface.models import FaceParser, FaceTokenizer
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.configuration import Configuration
from gptface.systems.gptface.stages import PRETRAIN, TOKENIZER
from gptface.systems.gptface.tokenizer_training import region_importance
from gptface.systems.parser.stages import PARSER
from gptface.training import loop as loop_module
from gptface.training.checkpoint import checkpoint_folders, load_checkpoint
from gptface.training.configuration_files import configuration_to_yaml, load_configuration
from gptface.training.run import run_stage
from tests.helpers.tiny_runs import tiny, tiny_parser

SPEED = ("seconds", "images_per_second", "mfu", "memory_gib")


def losses(output: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without what depends on the machine."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in SPEED} for line in lines]


def test_a_tokenizer_run_leaves_what_it_promises(face_cache: Path, tmp_path: Path) -> None:
    configuration = tiny(face_cache, "tokenizer.steps=10", "tokenizer.tensorboard=true", "tokenizer.validate_every=5")
    folder = run_stage(TOKENIZER, configuration, tmp_path, verbose=False)
    tokenizer = FaceTokenizer.from_pretrained(folder)
    assert tokenizer.config.image_size == 32
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10]
    for name in (*SPEED, "loss", "l1", "gradient", "learning_rate", "gradient_norm"):
        assert isinstance(lines[0][name], float), name
    assert lines[0]["mfu"] > 0
    held_out = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in held_out] == [5, 10]
    assert 0 < held_out[-1]["codebook_usage"] <= 1
    assert list((tmp_path / "tensorboard").iterdir())
    assert load_configuration(Configuration, tmp_path / "config.yaml") == configuration
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["stage"], summary["steps"], summary["ended_by"]) == ("tokenizer", 10, "steps")
    assert summary["validation"]["psnr"] == held_out[-1]["psnr"]


def test_a_second_run_reuses_what_is_there_and_another_configuration_is_refused(
    face_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage(TOKENIZER, tiny(face_cache, "tokenizer.steps=2"), tmp_path, verbose=False)
    stamp = (tmp_path / "tokenizer" / "model.safetensors").stat().st_mtime_ns
    run_stage(TOKENIZER, tiny(face_cache, "tokenizer.steps=2", "tokenizer.log_every=1"), tmp_path)
    assert "already complete" in capsys.readouterr().out
    assert (tmp_path / "tokenizer" / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match=r"tokenizer\.learning_rate is 0\.001 there and 0\.5 here"):
        other = tiny(face_cache, "tokenizer.steps=2", "tokenizer.learning_rate=0.5")
        run_stage(TOKENIZER, other, tmp_path, verbose=False)
    with pytest.raises(InputError, match="stage is 'tokenizer' there and 'parser' here"):
        run_stage(PARSER, tiny_parser(face_cache), tmp_path, verbose=False)
    run_stage(TOKENIZER, tiny(face_cache, "tokenizer.steps=3"), tmp_path, restart=True, verbose=False)
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 3


def test_the_discriminator_joins_when_its_time_has_come(face_cache: Path, tmp_path: Path) -> None:
    configuration = tiny(
        face_cache,
        "tokenizer.steps=8",
        "tokenizer.log_every=2",
        "tokenizer.losses={adversarial: 0.5, adversarial_start: 0.5}",
    )
    run_stage(TOKENIZER, configuration, tmp_path, verbose=False)
    lines = losses(tmp_path)
    assert ["discriminator" in line for line in lines] == [False, False, True, True]
    assert all("adversarial" in line for line in lines[2:])
    state = load_checkpoint(checkpoint_folders(tmp_path / "checkpoints")[-1]).shared
    assert len(state["modules"]) == 2


def test_a_tokenizer_learns_through_a_parser_that_learns_nothing(face_cache: Path, tmp_path: Path) -> None:
    parser = run_stage(PARSER, tiny_parser(face_cache, "parser.steps=2"), tmp_path / "parser", verbose=False)
    before = (parser / "model.safetensors").read_bytes()
    seeing = tiny(
        face_cache, "tokenizer.steps=2", "tokenizer.log_every=1", "tokenizer.losses.features=1"
    )
    run_stage(TOKENIZER, seeing, tmp_path / "seeing", verbose=False, parser=parser)
    assert all(line["features"] > 0 for line in losses(tmp_path / "seeing"))
    assert (parser / "model.safetensors").read_bytes() == before
    blind = tiny(face_cache, "tokenizer.steps=2", "tokenizer.log_every=1")
    run_stage(TOKENIZER, blind, tmp_path / "blind", verbose=False)
    assert not any("features" in line for line in losses(tmp_path / "blind"))
    weights = [
        FaceTokenizer.from_pretrained(tmp_path / run / "tokenizer").state_dict() for run in ("seeing", "blind")
    ]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.raises(InputError, match=r"tokenizer\.losses\.features: needs --parser DIR"):
        run_stage(TOKENIZER, seeing, tmp_path / "without", verbose=False)
    with pytest.raises(InputError, match=r"--parser: nothing is read of it where tokenizer\.losses\.features is 0"):
        run_stage(TOKENIZER, blind, tmp_path / "unused", verbose=False, parser=parser)


def test_a_decoder_that_learns_on_leaves_every_code_as_it_was(
    face_cache: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    configuration = tiny(face_cache, "tokenizer.steps=4", "tokenizer.seed=5")
    folder = run_stage(TOKENIZER, configuration, tmp_path / "on", verbose=False, tokenizer=tokenizer_folder)
    before = FaceTokenizer.from_pretrained(tokenizer_folder).state_dict()
    after = FaceTokenizer.from_pretrained(folder).state_dict()
    for name, value in after.items():
        learnt = name.startswith(("decoder", "from_code"))
        assert torch.equal(value, before[name]) == (not learnt), name
    other = tiny(face_cache, "tokenizer.steps=4", "tokenizer.model.codebook_size=32")
    with pytest.raises(InputError, match="its codebook_size is 64, but the configuration describes 32"):
        run_stage(TOKENIZER, other, tmp_path / "other", verbose=False, tokenizer=tokenizer_folder)


def test_too_few_faces_for_principal_components_are_said_to_be_so(face_cache: Path, tmp_path: Path) -> None:
    few = ("data.count=2", "data.validation_count=0", "tokenizer.model={code_dim: 40, latent_channels: 40}")
    wide = tiny(face_cache, *few, "tokenizer.steps=1", "tokenizer.principal_components=1")
    with pytest.raises(InputError, match=r"tokenizer\.principal_components: images must hold more than 40 patches"):
        run_stage(TOKENIZER, wide, tmp_path, verbose=False)


def test_pretraining_leaves_a_system(face_cache: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    parser = run_stage(PARSER, tiny_parser(face_cache, "parser.steps=2"), tmp_path / "parser", verbose=False)
    assert FaceParser.from_pretrained(parser).config.image_size == 32
    configuration = tiny(face_cache, "pretrain.steps=6", "pretrain.pair_weighting.start=0.3")
    run_stage(PRETRAIN, configuration, tmp_path / "system", parser=parser, verbose=False, tokenizer=tokenizer_folder)
    system = FaceSystem.from_pretrained(tmp_path / "system")
    assert system.parser is not None
    assert system.model.config.image_grid == list(system.tokenizer.config.grid)
    held_out = json.loads((tmp_path / "system" / "validation.jsonl").read_text().splitlines()[-1])
    for name in ("masked_image", "masked_text", "matching_accuracy", "image_unigram_entropy", "text_unigram_entropy"):
        assert held_out[name] >= 0


def test_images_encoded_as_they_come_train_as_well(face_cache: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    configuration = tiny(
        face_cache, "pretrain.steps=3", "pretrain.cache_codes=false", "data.cache=false", "data.count=40"
    )
    run_stage(PRETRAIN, configuration, tmp_path, verbose=False, tokenizer=tokenizer_folder.parent)
    assert FaceSystem.from_pretrained(tmp_path).parser is None


def test_accumulated_passes_make_one_step(face_cache: Path, tmp_path: Path) -> None:
    overrides = ("parser.steps=4", "parser.accumulation=3", "parser.batch_size=4", "parser.log_every=2")
    run_stage(PARSER, tiny_parser(face_cache, *overrides), tmp_path, verbose=False)
    checkpoint = load_checkpoint(checkpoint_folders(tmp_path / "checkpoints")[-1])
    assert checkpoint.processes[0]["batches"]["position"] == 4 * 3 * 4


def test_time_ends_a_run_too(face_cache: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    run_stage(PARSER, tiny_parser(face_cache, "parser.steps=null", "parser.minutes=0.02"), tmp_path, verbose=False)
    assert time.monotonic() - begun < 60
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["ended_by"] == "minutes"
    assert summary["seconds"] >= 1.2
    assert losses(tmp_path)[-1]["learning_rate"] < 0.2 * 1e-3


def test_bf16_runs_where_it_is_asked_for(face_cache: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    configuration = tiny(face_cache, "pretrain.steps=2", "pretrain.precision=bf16")
    run_stage(PRETRAIN, configuration, tmp_path, verbose=False, tokenizer=tokenizer_folder)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["precision"] == "bf16"
    model = FaceSystem.from_pretrained(tmp_path).model
    assert model.dtype == torch.float32


# Resumption ----------------------------------------------------------------------------------------------------------


def start(configuration_file: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gptface", "train", *arguments, "--quiet", "--config", str(configuration_file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for(condition: Any, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_kill_9_costs_no_loss_and_changes_none(face_cache: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    """Killed at an arbitrary moment behind a checkpoint, then run again: every line of metrics.jsonl is the same."""
    configuration = tiny(
        face_cache,
        "pretrain.steps=30",
        "pretrain.log_every=4",  # not a divisor of the checkpoints' distance: half an interval must survive
        "pretrain.checkpoint_every=10",
        "pretrain.model.dropout=0.1",
        "pretrain.model.attention_dropout=0.1",
        "pretrain.pair_weighting.start=0.2",
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_stage(PRETRAIN, configuration, whole, verbose=False, tokenizer=tokenizer_folder)

    file = tmp_path / "run.yaml"
    file.write_text(configuration_to_yaml(configuration))
    arguments = ["pretrain", "--tokenizer", str(tokenizer_folder), "--output", str(killed)]
    process = start(file, arguments)
    wait_for(lambda: (killed / "checkpoints" / "step-00000010").is_dir(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "summary.json").exists()
    run_stage(PRETRAIN, configuration, killed, verbose=False, tokenizer=tokenizer_folder)

    assert losses(killed) == losses(whole)
    assert [line["step"] for line in losses(whole)] == [4, 8, 12, 16, 20, 24, 28, 30]
    one, other = (FaceSystem.from_pretrained(folder).model.state_dict() for folder in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_sigterm_leaves_a_checkpoint_and_exit_code_130(face_cache: Path, tmp_path: Path) -> None:
    configuration = tiny_parser(face_cache, "parser.steps=100000", "parser.checkpoint_every=100000")
    file = tmp_path / "run.yaml"
    file.write_text(configuration_to_yaml(configuration))
    output = tmp_path / "run"
    process = start(file, ["parser", "--output", str(output)])
    wait_for(lambda: (output / "metrics.jsonl").is_file() and (output / "metrics.jsonl").stat().st_size, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert len(checkpoint_folders(output / "checkpoints")) == 1


def test_a_tokenizer_run_resumes_to_the_bit(face_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tiny(
        face_cache,
        "tokenizer.steps=8",
        "tokenizer.checkpoint_every=5",
        "tokenizer.log_every=1",
        "tokenizer.losses={adversarial: 0.5, adversarial_start: 0.4}",
    )
    run_stage(TOKENIZER, configuration, tmp_path / "whole", verbose=False)

    def stop(self: loop_module.Loop, share: float) -> None:
        if self.step == 6:
            raise RuntimeError("pulled the plug")
        original(self, share)

    original = loop_module.Loop._one_step
    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "_one_step", stop)
        with pytest.raises(RuntimeError, match="plug"):
            run_stage(TOKENIZER, configuration, tmp_path / "broken", verbose=False)
    run_stage(TOKENIZER, configuration, tmp_path / "broken", verbose=False)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


# Refusals ------------------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_with_one_error_and_the_run_goes_on_later(
    face_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tiny_parser(face_cache, "parser.steps=12", "parser.checkpoint_every=4", "parser.log_every=2")
    run_stage(PARSER, configuration, tmp_path / "whole", verbose=False)
    output = tmp_path / "run"

    def full(folder: Path, checkpoint: Any, keep: int) -> Path:
        if checkpoint.step == 8:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        return original(folder, checkpoint, keep)

    original = loop_module.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "save_checkpoint", full)
        with pytest.raises(OSError, match="No space left on device"):
            run_stage(PARSER, configuration, output, verbose=False)
    assert [folder.name for folder in checkpoint_folders(output / "checkpoints")] == ["step-00000004"]
    assert not (output / "parser").exists() and not (output / "summary.json").exists()
    run_stage(PARSER, configuration, output, verbose=False)
    assert losses(output) == losses(tmp_path / "whole")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full(face_cache: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        with pytest.raises(OSError, match="No space left on device"):
            run_stage(PARSER, tiny_parser(face_cache, "parser.model.channels=[32,64]"), disk / "run", verbose=False)
        assert not list((disk / "run").glob("checkpoints/*"))
        assert not (disk / "run" / "parser").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_output_that_cannot_be_written_is_found_before_any_work(face_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        run_stage(PARSER, tiny_parser(face_cache), tmp_path / "file" / "run", verbose=False)


def test_a_loss_that_is_no_number_names_the_learning_rate(
    face_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Any, faces: Any, moment: Any) -> Any:
        loss, parts = original(self, faces, moment)
        return loss * torch.nan, parts

    from gptface.systems.parser.training import ParserObjective

    original = ParserObjective.forward
    monkeypatch.setattr(ParserObjective, "forward", lost)
    with pytest.raises(InputError, match=r"parser\.learning_rate: the loss is nan at step"):
        run_stage(PARSER, tiny_parser(face_cache), tmp_path, verbose=False)
    assert not checkpoint_folders(tmp_path / "checkpoints")


def test_regions_weigh_in_the_tokenizers_loss(face_cache: Path, tmp_path: Path) -> None:
    regions = torch.zeros(1, 6, 6, dtype=torch.uint8)
    regions[0, 2, 1] = 2
    weights = torch.tensor([1.0, 0.5, 4.0])
    importance = region_importance(regions, weights)
    expected = torch.ones(1, 1, 6, 6)
    expected[0, 0, 1:4, 0:3] = 4  # the pixel and its neighbours
    assert torch.equal(importance, expected)
    plain = tiny(face_cache, "tokenizer.steps=2", "tokenizer.log_every=1")
    weighted = tiny(face_cache, "tokenizer.steps=2", "tokenizer.log_every=1", "tokenizer.losses.regions={eyes: 9}")
    run_stage(TOKENIZER, plain, tmp_path / "plain", verbose=False)
    run_stage(TOKENIZER, weighted, tmp_path / "weighted", verbose=False)
    first, second = (losses(tmp_path / name)[0]["l1"] for name in ("plain", "weighted"))
    assert first != second


def test_the_tokenizer_does_not_ask_for_a_cache_that_pretraining_needs(
    face_cache: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    configuration = tiny(face_cache, "data.cache=false", "data.count=32", "tokenizer.steps=1", "pretrain.steps=1")
    assert (run_stage(TOKENIZER, configuration, tmp_path / "first", verbose=False) / "config.json").is_file()
    with pytest.raises(InputError, match=r"pretrain\.cache_codes: needs data\.cache"):
        run_stage(PRETRAIN, configuration, tmp_path / "second", verbose=False, tokenizer=tokenizer_folder)


def test_a_restart_whose_data_cannot_be_used_loses_nothing_of_the_earlier_run(face_cache: Path, tmp_path: Path) -> None:
    configuration = tiny(face_cache, "tokenizer.steps=2", "tokenizer.checkpoint_every=1")
    run_stage(TOKENIZER, configuration, tmp_path, verbose=False)
    before = {path.relative_to(tmp_path): path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    mistyped = tiny(face_cache, "tokenizer.steps=2", "data.source=shards", "data.train=[nowhere]")
    with pytest.raises(InputError, match="nowhere"):
        run_stage(TOKENIZER, mistyped, tmp_path, restart=True, verbose=False)
    after = {path.relative_to(tmp_path): path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_tokenizer_of_another_size_is_refused(face_cache: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    configuration = tiny(face_cache, "data.image_size=64")
    with pytest.raises(InputError, match=r"data\.image_size: 64 pixels, but the tokenizer was trained on 32"):
        run_stage(PRETRAIN, configuration, tmp_path, verbose=False, tokenizer=tokenizer_folder)


def test_faces_without_region_maps_need_a_mixture_without_regions(
    face_cache: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    from PIL import Image

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(20):
        Image.new("RGB", (32, 32), (number, 2 * number, 90)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text("a grey face")
    source = ["data.source=shards", f"data.train=[{pictures}]", "pretrain.steps=2"]
    with pytest.raises(InputError, match=r"tokenizer\.losses\.regions: must be empty"):
        weighted = tiny(tmp_path, *source, "tokenizer.losses.regions={eyes: 2}")
        run_stage(TOKENIZER, weighted, tmp_path / "none", verbose=False)
    with pytest.raises(InputError, match=r"pretrain\.image_masks\.edits: must be 0"):
        run_stage(PRETRAIN, tiny(tmp_path, *source), tmp_path / "first", verbose=False, tokenizer=tokenizer_folder)
    configuration = tiny(tmp_path, *source, "pretrain.image_masks={random: 1, blocks: 1, regions: 0}")
    run_stage(PRETRAIN, configuration, tmp_path / "second", verbose=False, tokenizer=tokenizer_folder)
    assert FaceSystem.from_pretrained(tmp_path / "second").model.config.text_vocab_size < 64


# Several processes ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_learn_together_and_resume(face_cache: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    overrides = ["pretrain.batch_size=8", "pretrain.log_every=2", "pretrain.checkpoint_every=4"]

    def launch(output: Path, *more: str) -> None:
        file = tmp_path / "run.yaml"
        file.write_text(configuration_to_yaml(tiny(face_cache, *overrides, *more)))
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gptface",
            "train", "pretrain", "--quiet", "--config", str(file), "--tokenizer", str(tokenizer_folder), "--output",
            str(output),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    whole = tmp_path / "whole"
    settings = (
        "pretrain.steps=8",
        "pretrain.pair_weighting.start=0.2",
        "pretrain.model={alignment_size: 16}",
        "pretrain.losses.contrastive=1",
        "pretrain.contrastive.alone=0.2",
    )
    launch(whole, *settings)
    assert [line["step"] for line in losses(whole)] == [2, 4, 6, 8]  # one process writes
    checkpoint = load_checkpoint(checkpoint_folders(whole / "checkpoints")[-1])
    assert checkpoint.run["processes"] == 2
    assert [own["batches"]["position"] for own in checkpoint.processes] == [8 * 2 * 8] * 2
    assert FaceSystem.from_pretrained(whole).model.config.image_grid == [4, 4]
    first, second = (own["random"]["torch"] for own in checkpoint.processes)
    assert not torch.equal(first, second)  # noise of each one's own

    # Back to step 4, as if both had been killed behind it.
    newest = checkpoint_folders(whole / "checkpoints")[-1]
    before = losses(whole)
    for path in sorted(newest.iterdir()):
        path.unlink()
    newest.rmdir()
    (whole / "summary.json").unlink()
    launch(whole, *settings)
    assert losses(whole) == before
