"""What a stage is to the loop: modules that give losses, batches for them, and a way to validate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gptface.data.batches import Batches
from gptface.training.configuration import LoopSection
from gptface.training.schedule import rate_factor

__all__ = ["Losses", "Moment", "Phase", "Stage"]

Losses = tuple[Tensor, dict[str, Tensor]]
"""What a phase's forward returns: the loss to minimise, and scalars to log (detached or not)."""


@dataclass
class Moment:
    """When a forward pass happens.

    Attributes:
        step: optimiser steps made before.
        micro_step: forward passes made before, accumulation counted; a fresh number keys fresh masks.
        share: of the run's budget that is spent, 0 to 1.
        handover: what an earlier phase of the same pass leaves for a later one.
    """

    step: int
    micro_step: int
    share: float
    handover: dict[str, Any] = field(default_factory=dict)


@dataclass
class Phase:
    """A module with an optimiser of its own; a pass runs the active phases in order.

    Attributes:
        name: prefix of its optimiser in checkpoints.
        module: ``forward(batch, moment) -> Losses``.
        start: share of the budget from which on it is active.
        matrices: parameters that Muon may take, where the section asks for it: hidden layers' matrices and kernels,
            not embeddings and heads.
    """

    name: str
    module: nn.Module
    start: float = 0.0
    matrices: Sequence[nn.Parameter] = ()


class Stage(ABC):
    """One training stage.

    Attributes:
        name: of the stage and of its section in the configuration.
        result: folder of what it makes, inside the run's; ``"."`` where the run's folder is the result.
        section: its part of the configuration.
        phases: at least one; the weights of the first are averaged and saved.
        batches: the training data of this process.
        flops_per_sample: operations of a training step, forward and backward, per sample of the batch.
    """

    name: str
    result: str
    section: LoopSection
    phases: Sequence[Phase]
    batches: Batches[Any]
    flops_per_sample: float

    def rate(self, step: int, share: float) -> float:
        """Learning rates at a step, as a share of their peaks."""
        return rate_factor(self.section, step, share)

    def work(self, share: float) -> tuple[int, float]:
        """Samples and operations of one forward and backward pass at this ``share`` of the budget."""
        return self.section.batch_size, self.section.batch_size * self.flops_per_sample

    def compilable(self) -> Sequence[nn.Module]:
        """Modules that ``compile: true`` compiles in place."""
        return ()

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Held-out figures, empty where none are held out; called in evaluation mode and without gradients."""

    @abstractmethod
    def save(self, output: Path) -> None:
        """Write the result into ``output / result``, whole or not at all; called with the averaged weights in place."""
