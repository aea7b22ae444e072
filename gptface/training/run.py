"""Runs a stage from its configuration to its result on disk.

An output folder holds

    config.yaml        the whole configuration, defaults included
    metrics.jsonl      a line every ``log_every`` steps
    validation.jsonl   a line every validation
    tensorboard/       the same for TensorBoard
    loggers.json       where ``log_with`` sent it too, if anywhere
    checkpoints/       everything needed to go on
    summary.json       how the run ended; present only when it is complete

and the stage's result. Running the same configuration into the same folder again goes on from the newest checkpoint, or
returns at once when it is complete; with more steps or minutes it goes on further
(:mod:`gptface.training.continuation` says what else may differ).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

import gptface
from gptface.configuration import Section
from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.training.checkpoint import checkpoint_folders
from gptface.training.configuration import LoopSection
from gptface.training.configuration_files import configuration_to_yaml
from gptface.training.continuation import check_budget, check_same_run, goes_further
from gptface.training.declaration import StageContext, StageDeclaration
from gptface.training.hardware import keep_freed_memory
from gptface.training.loggers import STATE, ExperimentLoggers, check_loggers
from gptface.training.loop import Loop, Outcome, build_accelerator
from gptface.training.stage import Stage

__all__ = ["run_stage"]

# Fields that do not change what is learned, so a run may go on with other values.
NEUTRAL = {
    "log_every",
    "checkpoint_every",
    "validate_every",
    "tensorboard",
    "peak_tflops",
    "cache_directory",
    "workers",
}


def run_stage(
    declaration: StageDeclaration,
    configuration: Section,
    output: str | os.PathLike[str],
    *,
    restart: bool = False,
    verbose: bool = True,
    log_with: Sequence[str] = (),
    **inputs: str | os.PathLike[str] | None,
) -> Path:
    """Train one stage; its result is in the folder that is returned.

    Args:
        declaration: the stage, as its system declares it.
        configuration: an instance of ``declaration.configuration``.
        output: folder of the run.
        restart: begin anew instead of going on from what is in ``output``.
        verbose: show progress on stderr.
        log_with: experiment loggers to send metrics and configuration to (:mod:`gptface.training.loggers`).
        inputs: folders of earlier stages' results (or of their runs), by the names that the stage declares.

    Raises:
        InputError: configuration, data, inputs or an earlier run in ``output`` cannot be used.
        OSError: something cannot be written; what was complete remains.
    """
    check_loggers(log_with)
    name, target = declaration.name, Path(output)
    section: LoopSection = getattr(configuration, name)
    folders = declaration.locate(inputs)
    identities = {part: identify(folders[part]) for part, identify in declaration.identify.items() if part in folders}
    # One process may run several stages, each with a precision of its own.
    AcceleratorState._reset_state()
    accelerator = build_accelerator(section)
    run = _identity(name, configuration, section, identities, accelerator.num_processes)
    summary = target / "summary.json"
    if accelerator.is_main_process:
        _check_writable(target)
    accelerator.wait_for_everyone()
    resuming = not restart and bool(checkpoint_folders(target / "checkpoints"))
    if not restart and summary.is_file() and not _goes_further(summary, run, section, resuming):
        former = _read_summary(summary)
        if verbose and accelerator.is_main_process:
            print(f"{name}: {target} is already complete ({former['steps']} steps)", flush=True)
        return target / str(former["result"])
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    set_seed(section.seed)
    stage = declaration.build(StageContext(configuration, folders, target, accelerator, resuming, verbose))
    accelerator.wait_for_everyone()  # all have seen the summary
    if accelerator.is_main_process:
        # Only now, when data and inputs have proved usable, is anything of an earlier run given up.
        if restart:
            _remove_run(target)
        summary.unlink(missing_ok=True)
        with atomic_write(target / "config.yaml") as temporary:
            temporary.write_text(configuration_to_yaml(configuration), encoding="utf-8")
    accelerator.wait_for_everyone()
    # The same weights on every process, but noise of each one's own.
    set_seed(section.seed, device_specific=True)
    loggers = ExperimentLoggers(log_with, target, configuration, verbose) if log_with else None
    outcome = Loop(stage, accelerator, target, run, verbose, loggers).run()
    if accelerator.is_main_process:
        with outcome.average.applied():
            stage.save(target)
        with atomic_write(summary) as temporary:
            content = _summary(stage, accelerator, run, outcome)
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    accelerator.wait_for_everyone()
    return target / stage.result


def _identity(
    name: str, configuration: Any, section: LoopSection, inputs: Mapping[str, str], processes: int
) -> dict[str, Any]:
    """What makes a run this run and no other, as plain JSON values."""
    values = {
        part: {key: value for key, value in content.model_dump(mode="json").items() if key not in NEUTRAL}
        for part, content in (("data", configuration.data), (name, section))
    }
    identity = {"stage": name, **values, "processes": processes, "inputs": dict(inputs)}
    return dict(json.loads(json.dumps(identity)))


def _check_writable(output: Path) -> None:
    """See that ``output`` can be written, before minutes are spent on data."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output):
        pass


def _remove_run(output: Path) -> None:
    """Remove what an earlier run would be continued from; its result stays until the new one takes its place."""
    for part in ("checkpoints", "tensorboard"):
        shutil.rmtree(output / part, ignore_errors=True)
    for part in ("summary.json", "metrics.jsonl", "validation.jsonl", STATE):
        (output / part).unlink(missing_ok=True)


def _goes_further(summary: Path, run: dict[str, Any], section: LoopSection, resuming: bool) -> bool:
    """Whether the complete run of ``summary`` is given more to do.

    Raises:
        InputError: it is another run, its budget is now smaller than what is spent, or its checkpoints are gone.
    """
    former = _read_summary(summary)
    theirs, steps, seconds = former["run"], former["steps"], former["seconds"]
    if theirs.get("stage") != run["stage"] or not goes_further(section, theirs, steps, seconds):
        check_same_run(run, theirs, summary, finished=True)
        check_budget(section, theirs, steps, seconds, {})
        return False
    check_same_run(run, theirs, summary)
    if not resuming:
        raise InputError(
            f"{summary.parent}: is complete ({steps} steps), and without its checkpoints it cannot go on to more; "
            "choose another output folder, or --restart to begin anew in this one"
        )
    return True


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {
            "run": dict(summary["run"]),
            "steps": int(summary["steps"]),
            "seconds": float(summary["seconds"]),
            "result": str(summary["result"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not a readable summary ({error}); use --restart or another output folder"
        ) from None


def _summary(stage: Stage, accelerator: Accelerator, run: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "result": stage.result,
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
