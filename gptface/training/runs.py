"""``train_tokenizer``, ``train_pretrain``, ``train_parser``: a stage from its configuration to its result on disk.

An output folder holds

    config.yaml        the whole configuration, defaults included
    metrics.jsonl      a line every ``log_every`` steps
    validation.jsonl   a line every validation
    tensorboard/       the same for TensorBoard
    checkpoints/       everything needed to go on
    summary.json       how the run ended; present only when it is complete

and the result: ``tokenizer/``, ``parser/``, or a whole system (:class:`gptface.models.FaceSystem`). Running the same
configuration into the same folder again goes on from the newest checkpoint, or returns at once when it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

import gptface
from gptface.errors import InputError
from gptface.files import atomic_directory, atomic_write
from gptface.models import FaceParser, FaceSystem, FaceTokenizer
from gptface.training.checkpoint import check_same_run, checkpoint_folders
from gptface.training.configuration import Configuration, LoopSection
from gptface.training.configuration_files import configuration_to_yaml
from gptface.training.loop import Loop, Outcome, build_accelerator
from gptface.training.parser_stage import ParserStage
from gptface.training.pretraining_data import tokenizer_identity
from gptface.training.pretraining_stage import PretrainingStage
from gptface.training.stage import Stage
from gptface.training.tokenizer_stage import TokenizerStage

__all__ = ["train_parser", "train_pretrain", "train_tokenizer"]

AnyStage = TypeVar("AnyStage", bound=Stage)

# Fields that do not change what is learned, so a run may go on with other values.
NEUTRAL = {
    "log_every",
    "checkpoint_every",
    "checkpoint_keep",
    "validate_every",
    "tensorboard",
    "peak_tflops",
    "cache_directory",
    "workers",
}
FOLDER = os.PathLike[str] | str


def train_tokenizer(
    configuration: Configuration, output: FOLDER, *, restart: bool = False, verbose: bool = True
) -> Path:
    """Train the image tokenizer; the result is ``output/tokenizer``.

    Args:
        restart: begin anew instead of going on from what is in ``output``.
        verbose: show progress on stderr.

    Raises:
        InputError: configuration, data or an earlier run in ``output`` cannot be used.
        OSError: something cannot be written; what was complete remains.
    """
    target = Path(output)

    def build(accelerator: Accelerator, resuming: bool) -> TokenizerStage:
        return TokenizerStage(configuration, target, accelerator, verbose)

    def finish(stage: TokenizerStage) -> None:
        with atomic_directory(target / "tokenizer") as temporary:
            stage.tokenizer.save_pretrained(temporary)

    _run("tokenizer", configuration, configuration.tokenizer, target, build, finish, {}, restart, verbose)
    return target / "tokenizer"


def train_pretrain(
    configuration: Configuration,
    tokenizer_folder: FOLDER,
    output: FOLDER,
    *,
    parser_folder: FOLDER | None = None,
    restart: bool = False,
    verbose: bool = True,
) -> Path:
    """Pre-train the face–language transformer; the result is the system folder ``output``.

    Args:
        tokenizer_folder: a trained tokenizer, or the output folder of :func:`train_tokenizer`.
        parser_folder: a trained parser (or the output folder of its run) to be put into the system.
        restart, verbose: see :func:`train_tokenizer`, as for what is raised.
    """
    target = Path(output)
    folder = _part(tokenizer_folder, "tokenizer")
    tokenizer = FaceTokenizer.from_pretrained(folder)
    parser = None if parser_folder is None else FaceParser.from_pretrained(_part(parser_folder, "parser"))
    identity = tokenizer_identity(folder)

    def build(accelerator: Accelerator, resuming: bool) -> PretrainingStage:
        return PretrainingStage(configuration, tokenizer, identity, target, accelerator, resuming, verbose)

    def finish(stage: PretrainingStage) -> None:
        FaceSystem(stage.tokenizer, stage.model, stage.text_tokenizer, parser).save_pretrained(target)

    inputs = {"tokenizer": identity}
    _run("pretrain", configuration, configuration.pretrain, target, build, finish, inputs, restart, verbose)
    return target


def train_parser(configuration: Configuration, output: FOLDER, *, restart: bool = False, verbose: bool = True) -> Path:
    """Train the face parser, or with another ``parser.seed`` the judge; the result is ``output/parser``.

    See :func:`train_tokenizer` for the arguments and what is raised.
    """
    target = Path(output)

    def build(accelerator: Accelerator, resuming: bool) -> ParserStage:
        return ParserStage(configuration, target, accelerator, verbose)

    def finish(stage: ParserStage) -> None:
        with atomic_directory(target / "parser") as temporary:
            stage.parser.save_pretrained(temporary)

    _run("parser", configuration, configuration.parser, target, build, finish, {}, restart, verbose)
    return target / "parser"


def _part(folder: FOLDER, name: str) -> Path:
    """``folder``, or the part of that name inside it."""
    inside = Path(folder) / name
    return inside if inside.is_dir() else Path(folder)


def _run(
    name: str,
    configuration: Configuration,
    section: LoopSection,
    output: Path,
    build: Callable[[Accelerator, bool], AnyStage],
    finish: Callable[[AnyStage], None],
    inputs: dict[str, Any],
    restart: bool,
    verbose: bool,
) -> None:
    # One process may run several stages, each with a precision of its own.
    AcceleratorState._reset_state()
    accelerator = build_accelerator(section)
    run = _identity(name, configuration, section, inputs, accelerator.num_processes)
    summary = output / "summary.json"
    if accelerator.is_main_process:
        _prepare(output, restart)
    accelerator.wait_for_everyone()
    if summary.is_file():
        former = _read_summary(summary)
        check_same_run(run, former["run"], summary)
        if verbose and accelerator.is_main_process:
            print(f"{name}: {output} is already complete ({former['steps']} steps)", flush=True)
        return
    resuming = bool(checkpoint_folders(output / "checkpoints"))
    if accelerator.is_main_process:
        with atomic_write(output / "config.yaml") as temporary:
            temporary.write_text(configuration_to_yaml(configuration), encoding="utf-8")
    set_seed(section.seed)
    stage = build(accelerator, resuming)
    # The same weights on every process, but noise of each one's own.
    set_seed(section.seed, device_specific=True)
    outcome = Loop(stage, accelerator, output, run, verbose).run()
    if accelerator.is_main_process:
        with outcome.average.applied():
            finish(stage)
        with atomic_write(summary) as temporary:
            temporary.write_text(
                json.dumps(_summary(stage, accelerator, run, outcome), indent=2) + "\n", encoding="utf-8"
            )
    accelerator.wait_for_everyone()


def _identity(
    name: str, configuration: Configuration, section: LoopSection, inputs: dict[str, Any], processes: int
) -> dict[str, Any]:
    """What makes a run this run and no other, as plain JSON values."""
    values = {
        part: {key: value for key, value in content.model_dump(mode="json").items() if key not in NEUTRAL}
        for part, content in (("data", configuration.data), (name, section))
    }
    identity = {"stage": name, **values, "processes": processes, "inputs": inputs}
    return dict(json.loads(json.dumps(identity)))


def _prepare(output: Path, restart: bool) -> None:
    """See that ``output`` can be written, before minutes are spent on data; remove an earlier run if asked to."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output):
        pass
    if restart:
        for part in ("checkpoints", "tensorboard"):
            shutil.rmtree(output / part, ignore_errors=True)
        for part in ("summary.json", "metrics.jsonl", "validation.jsonl"):
            (output / part).unlink(missing_ok=True)


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {"run": dict(summary["run"]), "steps": int(summary["steps"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not a readable summary ({error}); use --restart or another output folder"
        ) from None


def _summary(stage: Stage, accelerator: Accelerator, run: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 2),
        "ended_by": outcome.reason,
        "validation": outcome.validation,
        "parameters": sum(value.numel() for value in stage.phases[0].module.parameters()),
        "precision": "bf16" if accelerator.mixed_precision == "bf16" else "float32",
        "device": accelerator.device.type,
        "threads": torch.get_num_threads(),
        "versions": {"gptface": gptface.__version__, "torch": torch.__version__},
        "run": run,
    }
