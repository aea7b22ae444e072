"""How fast a training goes: wall time of its steps and the samples in them, whatever loop makes them."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from gptface.errors import InputError

__all__ = ["Meter", "Notes", "Reading", "flops_of_token", "rates"]


@dataclass(frozen=True)
class Reading:
    """What was measured since the last reading.

    Attributes:
        seconds: wall time of measured steps, the waits for their data included.
        samples: in those steps, of this process.
        share: of all samples since the last reading, the part that was measured; the others were warm-up.
    """

    seconds: float
    samples: float
    share: float


class Meter:
    """A stopwatch of training steps.

    Time runs from the end of a step to the end of the next, so that waits for data count. What is no training lies
    between :meth:`pause` and :meth:`resume`. The device is waited for at readings and pauses and at the end of the
    warm-up, and nowhere else.

    Args:
        warmup_steps: first steps of a training, which compile, fill caches and start workers and are not measured.

    Raises:
        InputError: ``warmup_steps`` is negative.
    """

    def __init__(self, warmup_steps: int) -> None:
        if warmup_steps < 0:
            raise InputError(f"warmup_steps: {warmup_steps}; it must be at least 0")
        self.warmup_steps = warmup_steps
        self.restart(torch.device("cpu"))

    def restart(self, device: torch.device) -> None:
        """A training begins on ``device``; the watch starts with its first step."""
        self.device = device
        self.steps = 0
        self.unmeasured = 0.0  # samples
        self.since: float | None = None  # while the watch stands still
        self._clear()

    def _clear(self) -> None:
        self.seconds, self.samples = 0.0, 0.0

    def begin(self) -> None:
        """A step begins, its data at hand; the watch runs on, or starts where it stood still."""
        if self.since is None:
            self.resume()

    def add(self, samples: float) -> None:
        """A forward and backward pass over ``samples`` was made."""
        self.samples += samples

    def step(self) -> None:
        """A step ended."""
        self.steps += 1
        warm = self.steps == self.warmup_steps
        self._lap(wait=warm)
        if warm:
            self.unmeasured += self.samples
            self._clear()

    def pause(self) -> None:
        """What comes next is no training."""
        self._lap()
        self.since = None

    def resume(self) -> None:
        """Training goes on; where nobody paused, the time since the last step was none."""
        self.since = time.perf_counter()

    def read(self) -> Reading | None:
        """What was measured since the last reading, or ``None`` where that is nothing."""
        self._lap()
        if self.steps <= self.warmup_steps or not self.samples or self.seconds <= 0:
            return None
        reading = Reading(self.seconds, self.samples, self.samples / (self.samples + self.unmeasured))
        self.unmeasured = 0.0
        self._clear()
        return reading

    def _lap(self, wait: bool = True) -> None:
        if wait and self.device.type not in ("cpu", "meta"):
            torch.accelerator.synchronize(self.device)
        if self.since is not None:
            now = time.perf_counter()
            self.seconds += now - self.since
            self.since = now


def rates(
    reading: Reading, processes: int, tokens: float | None, flops: float | None, peak: float | None
) -> dict[str, float]:
    """The values to log.

    Args:
        processes: that train on data of their own, each as many samples as this one.
        tokens: of all processes since the last reading, warm-up included; ``None`` where they are not known.
        flops: operations of the same; ``None`` where they are not known.
        peak: operations a second of all devices together; ``None`` where it is not known.
    """
    values = {"samples_per_second": round(reading.samples * processes / reading.seconds, 3)}
    if tokens is not None:
        values["tokens_per_second"] = round(tokens * reading.share / reading.seconds, 3)
    if flops is not None and peak is not None:
        values["mfu"] = round(flops * reading.share / reading.seconds / peak, 6)
    return values


def flops_of_token(model: Any) -> int | None:
    """Operations of a training step a token: six a parameter outside embeddings, as ``transformers.Trainer`` counts.

    ``None`` for what is no model of ``transformers`` over ``input_ids``.
    """
    if getattr(model, "main_input_name", None) != "input_ids" or not hasattr(model, "num_parameters"):
        return None
    return 6 * model.num_parameters(exclude_embeddings=True) or None


class Notes:
    """Sentences to the user, each once; ``quiet`` on all processes but the first."""

    def __init__(self) -> None:
        self.quiet = False
        self._said: set[str] = set()

    def say(self, sentence: str) -> None:
        if sentence not in self._said and not self.quiet:
            self._said.add(sentence)
            warnings.warn(f"GPTFaceCallback: {sentence}", UserWarning, stacklevel=2)
