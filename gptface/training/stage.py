"""What a stage is to the loop: modules that give losses, batches for them, and a way to validate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
        micro_step: number of the forward pass among all of the run, accumulated ones and those of other processes
            counted; it keys fresh masks, the same ones whether passes are accumulated or made side by side.
        share: of the run's budget that is spent, 0 to 1.
        counts: what the losses of this pass are divided by, as :meth:`Stage.counts` names them: their mean over all
            passes of the step; ``None`` where each is divided by its own.
        handover: what an earlier phase of the same pass leaves for a later one.
    """

    step: int
    micro_step: int
    share: float
    counts: Tensor | None = None
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
        uneven: whether forward passes may differ in how many targets their losses have; those of a step are then
            counted (:meth:`counts`) before the first is made, where a step has several.
    """

    name: str
    result: str
    section: LoopSection
    phases: Sequence[Phase]
    batches: Batches[Any]
    flops_per_sample: float
    uneven: bool = False

    def rate(self, step: int, share: float) -> float:
        """Learning rates at a step, as a share of their peaks."""
        return rate_factor(self.section, step, share)

    def work(self, share: float) -> tuple[int, float]:
        """Samples and operations of one forward and backward pass at this ``share`` of the budget."""
        return self.section.batch_size, self.section.batch_size * self.flops_per_sample

    def counts(self, batch: Any, moment: Moment) -> Tensor:
        """How many targets each loss of a forward pass has: float32 (n,) on the device, without a look at its values.

        Every loss that is a mean must then be a sum over ``moment.counts``, so that a step of several passes has the
        gradient of all its targets together (:mod:`gptface.objectives.normalisation`). What is worked out on the way
        may be left in ``moment.handover`` for the pass.
        """
        raise NotImplementedError(f"{type(self).__name__} has uneven passes and does not count them")

    def milestones(self) -> Mapping[str, float]:
        """Fields of the section that name a share of the budget at which the training changes its kind, and the shares.

        A run that is given a larger budget may not fall back behind one.
        """
        return {}

    def compilable(self) -> Sequence[nn.Module]:
        """Modules that ``compile: true`` compiles in place."""
        return ()

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Held-out figures, empty where none are held out; called in evaluation mode and without gradients."""

    @abstractmethod
    def save(self, output: Path) -> None:
        """Write the result into ``output / result``, whole or not at all; called with the averaged weights in place."""
