"""The training loop of every stage: Accelerate underneath, exact resumption, no synchronisation between log lines."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, broadcast, gather_object
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.progress import Display, format_duration
from gptface.training.averaging import MovingAverage
from gptface.training.checkpoint import (
    Checkpoint,
    checkpoint_folders,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
    sweep,
)
from gptface.training.configuration import LoopSection
from gptface.training.continuation import check_budget, check_same_run, own_state
from gptface.training.hardware import mixed_precision, peak_flops, peak_memory_gib
from gptface.training.interruption import Interruption
from gptface.training.loggers import ExperimentLoggers
from gptface.training.metrics import MetricsFile, TensorBoard, log_line
from gptface.training.optimization import Optimizers
from gptface.training.schedule import Budget
from gptface.training.stage import Moment, Stage

__all__ = ["Loop", "Outcome", "build_accelerator"]

# Norm to which a larger gradient is scaled down, so that one odd batch cannot throw a run off.
LARGEST_GRADIENT = 1.0

# The newest checkpoint, and the one before it in case a disk damages the newest.
CHECKPOINTS_KEPT = 2

AGREE_EVERY = 10  # steps between two looks at rank 0's clock, where several processes share a time budget


def build_accelerator(section: LoopSection) -> Accelerator:
    """An Accelerator for one processor, one GPU or, under ``torchrun``/``accelerate launch``, many of either.

    Raises:
        InputError: launched under a strategy other than plain data parallelism.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=mixed_precision(section.precision, device),
        # The quantizer and the parser keep their own buffers equal on all processes.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    plain = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if accelerator.distributed_type not in plain:
        raise InputError(
            f"launcher: {accelerator.distributed_type.value} is not supported; use plain data parallelism "
            "(torchrun, or accelerate launch --multi_gpu or --cpu)"
        )
    return accelerator


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        steps, seconds: in all, former processes included.
        reason: ``steps`` or ``minutes``, whichever budget ended it.
        validation: the figures of the last validation.
        average: the moving average, to be applied when weights are saved.
    """

    steps: int
    seconds: float
    reason: str
    validation: dict[str, float]
    average: MovingAverage


class Loop:
    """Trains ``stage`` in ``output``, going on from its newest checkpoint.

    Args:
        stage: built on ``accelerator.device``.
        accelerator: of :func:`build_accelerator`.
        output: where rank 0 writes ``metrics.jsonl``, ``validation.jsonl``, ``tensorboard/`` and ``checkpoints/``.
        run: what identifies the run; a checkpoint of another one is refused (:mod:`gptface.training.continuation`).
        verbose: show progress on stderr (rank 0).
        loggers: other places that rank 0 sends the metrics to.
    """

    def __init__(
        self,
        stage: Stage,
        accelerator: Accelerator,
        output: Path,
        run: Mapping[str, Any],
        verbose: bool = True,
        loggers: ExperimentLoggers | None = None,
    ) -> None:
        self.stage = stage
        self.section = stage.section
        self.accelerator = accelerator
        self.output = output
        self.folder = output / "checkpoints"
        self.run_identity = dict(run)
        self.main = accelerator.is_main_process
        self.verbose = verbose and self.main
        self.loggers = loggers
        if self.section.compile:
            for module in stage.compilable():
                module.compile()
        self.modules = [phase.module.to(accelerator.device) for phase in stage.phases]
        self.average = MovingAverage(self.modules[0], self.section.ema_decay)
        with warnings.catch_warnings():
            # torch 2.13 announces another name for an argument that torch 2.10 to 2.12 know by this one.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            self.wrapped: list[nn.Module] = [accelerator.prepare_model(module) for module in self.modules]
        lowered = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
        self.optimizers = [
            Optimizers(module, self.section, phase.matrices, lowered)
            for module, phase in zip(self.modules, stage.phases, strict=True)
        ]
        self.step = 0
        self.budget = Budget(self.section)
        self.pending: list[dict[str, Tensor]] = []
        self.notes: list[str] = []
        self.interruption = Interruption(accelerator)

    # The run ---------------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train until the budget is spent.

        Raises:
            InputError: the newest checkpoint is damaged, another run's, or cannot go on with this budget; the loss is
                no longer finite.
            OSError: a file cannot be written; the checkpoints written before remain.
            KeyboardInterrupt: on SIGINT or SIGTERM to any of the processes, after a checkpoint was written.
        """
        resumed = self._resume()
        resume_step = self.step if resumed else None
        if self.main:
            self.metrics = MetricsFile(self.output / "metrics.jsonl", resume_step)
            self.validations = MetricsFile(self.output / "validation.jsonl", resume_step)
            self.tensorboard = TensorBoard(self.output / "tensorboard", resume_step)
            if self.loggers is not None:
                self.loggers.start(resume_step)
        precision = self.accelerator.mixed_precision
        measured = self.section.peak_tflops is None
        self.peak = peak_flops(self.accelerator.device, precision) if measured else self.section.peak_tflops * 1e12  # type: ignore[operator]
        self.peak_name = f"{self.peak / 1e12:.3g} TFLOP/s {'measured' if measured else 'configured'}"
        self.budget = Budget(self.section, self.budget.seconds if resumed else 0.0)
        with Display(self.stage.name, self.verbose) as self.display, self.interruption.listening():
            self.display.line(self._opening(precision, resumed))
            for note in self.notes:
                self.display.line(f"{self.stage.name}: {note}")
            try:
                return self._train()
            finally:
                if self.main:
                    self.tensorboard.close()
                    if self.loggers is not None:
                        self.loggers.close()

    def _opening(self, precision: str, resumed: bool) -> str:
        parameters = sum(value.numel() for value in self.modules[0].parameters())
        kind = "bf16" if precision == "bf16" else "float32"
        start = f"resumes at step {self.step}" if resumed else "starts"
        processes = self.accelerator.num_processes
        where = f"{self.accelerator.device.type}" + (f", {processes} processes" if processes > 1 else "")
        return f"{self.stage.name} {start}: {parameters / 1e6:.2f} M parameters, {kind} on {where}"

    def _train(self) -> Outcome:
        share = self._share(force=True)
        self.marked_time, shown = time.perf_counter(), 0.0
        self.worked = (0, 0.0)
        while share < 1:
            self._one_step(share)
            share = self._share()
            now = time.perf_counter()
            if now - shown > 0.5:
                shown = now
                left = format_duration(self.budget.remaining_seconds(share))
                self.display.advance(share, f"step {self.step}, {left} left")
            if self.step % self.section.log_every == 0:
                self._log(share)
            last = share >= 1
            interrupted = self.interruption.due() and not last
            validate_every = self.section.validate_every
            if not last and validate_every and self.step % validate_every == 0:
                self._validate()
            if not last and (self.step % self.section.checkpoint_every == 0 or interrupted):
                self._save()
            if interrupted:
                self.display.line(f"{self.stage.name} stopped at step {self.step}; the same command goes on from there")
                raise KeyboardInterrupt
        if self.pending:
            self._log(share)
        self._save()
        validation = self._validate()
        by_steps = self.section.steps is not None and self.step >= self.section.steps
        return Outcome(self.step, self.budget.seconds, "steps" if by_steps else "minutes", validation, self.average)

    def _share(self, force: bool = False) -> float:
        """The budget's spent share; several processes take rank 0's clock, looked at every few steps."""
        if not self.budget.timed or self.accelerator.num_processes == 1:
            return self.budget.spent(self.step)
        if force or self.step % AGREE_EVERY == 0:
            share = torch.tensor(self.budget.spent(self.step), dtype=torch.float64, device=self.accelerator.device)
            self._agreed = float(broadcast(share))
        return self._agreed

    def _one_step(self, share: float) -> None:
        accumulation = self.section.accumulation
        factor = self.stage.rate(self.step, share)
        active = [index for index, phase in enumerate(self.stage.phases) if share >= phase.start]
        scalars: dict[str, Tensor] = {}
        samples, operations = self.stage.work(share)
        self.worked = self.worked[0] + accumulation * samples, self.worked[1] + accumulation * operations
        for micro, (batch, moment) in enumerate(self._passes(share)):
            for index in active:
                module = self.wrapped[index]
                final = micro + 1 == accumulation
                with nullcontext() if final else self.accelerator.no_sync(module):
                    loss, parts = module(batch, moment)
                    self.accelerator.backward(loss / accumulation if accumulation > 1 else loss)
                if index == 0:
                    parts = {"loss": loss, **parts}
                for name, value in parts.items():
                    value = value.detach()
                    scalars[name] = scalars[name] + value if micro else value
        if accumulation > 1:
            scalars = {name: value / accumulation for name, value in scalars.items()}
        for index in active:
            norm = torch.nn.utils.clip_grad_norm_(self.modules[index].parameters(), LARGEST_GRADIENT)
            if index == 0:
                scalars["gradient_norm"] = norm
            self.optimizers[index].step(factor)
        self.average.update()
        self.step += 1
        self.rate = factor * self.section.learning_rate
        self.pending.append(scalars)

    def _passes(self, share: float) -> Iterator[tuple[Any, Moment]]:
        """The batches and moments of a step; where it has several uneven passes, each knows what it is a part of."""
        accumulation, processes = self.section.accumulation, self.accelerator.num_processes
        # Passes are numbered alike whether they are accumulated or made by several processes.
        first = self.step * accumulation * processes + self.accelerator.process_index
        moments = [Moment(self.step, first + micro * processes, share) for micro in range(accumulation)]
        if not self.stage.uneven or accumulation * processes == 1:
            yield from ((next(self.stage.batches), moment) for moment in moments)
            return
        batches = [next(self.stage.batches) for _ in moments]
        with torch.no_grad(), self.accelerator.autocast():
            counts = [self.stage.counts(batch, moment) for batch, moment in zip(batches, moments, strict=True)]
        # Gradients are averaged over the processes, and losses over the passes, so the mean count is the one to divide
        # by. Nothing here waits for the device.
        mean = self.accelerator.reduce(torch.stack(counts).mean(0), reduction="mean")
        for moment in moments:
            moment.counts = mean
        while batches:  # let go of one after the other
            yield batches.pop(0), moments.pop(0)

    # Logging ---------------------------------------------------------------------------------------------------------

    def _log(self, share: float) -> None:
        names = list(dict.fromkeys(name for scalars in self.pending for name in scalars))
        means = torch.stack(
            [
                torch.stack([scalars[name].float() for scalars in self.pending if name in scalars]).mean()
                for name in names
            ]
        )
        means = self.accelerator.reduce(means, reduction="mean")
        values = dict(zip(names, means.tolist(), strict=True))  # the one synchronisation
        self.pending = []
        now = time.perf_counter()
        elapsed = max(now - self.marked_time, 1e-9)
        self.marked_time = now
        (samples, operations), self.worked = self.worked, (0, 0.0)
        record = {
            "step": self.step,
            "seconds": round(self.budget.seconds, 3),
            "images_per_second": round(samples / elapsed * self.accelerator.num_processes, 2),
            "mfu": round(operations / elapsed / self.peak, 5),
            "memory_gib": round(peak_memory_gib(self.accelerator.device), 4),
            "loss": values.pop("loss"),
            "learning_rate": self.rate,
            **values,
        }
        self._check_finite(record["loss"])
        if self.main:
            self.metrics.write(record)
            self._send(self.stage.name, record)
            remaining = self.budget.remaining_seconds(share)
            self.display.line(log_line(self.stage.name, record, share, remaining, self.peak_name))

    def _send(self, prefix: str, record: Mapping[str, Any]) -> None:
        """Scalars to TensorBoard, where no logger does that, and to the loggers."""
        if self.section.tensorboard and (self.loggers is None or "tensorboard" not in self.loggers.names):
            self.tensorboard.write(prefix, record, self.step)
        if self.loggers is not None:
            self.loggers.write(prefix, record, self.step)

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            kept = checkpoint_folders(self.folder)
            advice = f"; the last good checkpoint is {kept[-1]}" if kept else ""
            raise InputError(
                f"{self.stage.name}.learning_rate: the loss is {loss} at step {self.step}, so "
                f"{self.section.learning_rate:g} is too large for this model and data{advice}"
            )

    def _validate(self) -> dict[str, float]:
        for module in self.modules:
            module.eval()
        # Validation must not move the generators: with or without it, training goes the same way.
        state = random_state()
        with self.average.applied(), torch.no_grad(), self.accelerator.autocast():
            figures = self.stage.validate()
        set_random_state(state)
        for module in self.modules:
            module.train()
        if figures and self.main:
            self.validations.write({"step": self.step, **figures})
            self._send(f"{self.stage.name}-validation", figures)
            text = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
            self.display.line(f"{self.stage.name} validation at step {self.step}: {text}")
        self.marked_time, self.worked = time.perf_counter(), (0, 0.0)
        return figures

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        begun = time.perf_counter()
        pending = [{name: value.cpu() for name, value in scalars.items()} for scalars in self.pending]
        own = {"random": random_state(), "batches": self.stage.batches.state_dict(), "pending": pending}
        processes = gather_object([own])
        self._check_finite(float(self.pending[-1]["loss"]) if self.pending else 0.0)
        failure: OSError | None = None
        if self.main:
            shared = {
                "modules": [module.state_dict() for module in self.modules],
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "average": self.average.state_dict(),
                "seconds": self.budget.seconds,
            }
            try:
                save_checkpoint(
                    self.folder,
                    Checkpoint(self.step, self.run_identity, shared, processes),
                    CHECKPOINTS_KEPT,
                )
            except OSError as error:
                failure = error
        # A rank that waits for one that died would wait for ever, so failure is shared.
        failed = torch.tensor(float(failure is not None), device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            failed = broadcast(failed)
        if failure is not None:
            raise failure
        if self.accelerator.num_processes > 1 and bool(failed):
            raise OSError(0, "the first process could not write a checkpoint", os.fspath(self.folder))
        self.marked_time += time.perf_counter() - begun

    def _resume(self) -> bool:
        if self.main:
            sweep(self.folder)
        self.accelerator.wait_for_everyone()
        found = checkpoint_folders(self.folder)
        if not found:
            return False
        checkpoint = load_checkpoint(found[-1])
        shared, theirs = checkpoint.shared, checkpoint.run
        known = all("faces" in state for state in (checkpoint.processes[0]["batches"], self.stage.batches.state_dict()))
        self.notes = check_same_run(self.run_identity, theirs, found[-1], known_faces=known)
        milestones = self.stage.milestones()
        check_budget(self.section, theirs, checkpoint.step, float(shared["seconds"]), milestones)
        own = own_state(checkpoint.processes, self.accelerator.process_index, self.section, checkpoint.step)
        self.stage.batches.load_state_dict(own["batches"])
        for module, state in zip(self.modules, shared["modules"], strict=True):
            module.load_state_dict(state)
        for optimizer, state in zip(self.optimizers, shared["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.average.load_state_dict(shared["average"])
        self.budget = Budget(self.section, float(shared["seconds"]))
        device = self.accelerator.device
        self.pending = [{name: value.to(device) for name, value in part.items()} for part in own.get("pending", [])]
        if "random" in own:
            set_random_state(own["random"])
        self.step = checkpoint.step
        return True
