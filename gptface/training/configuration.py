"""What every stage's section of a configuration has in common.

Reading, overriding and the wording of errors are in :mod:`gptface.training.configuration_files`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from gptface.configuration import Count, Section, Weight
from gptface.errors import InputError

__all__ = ["LoopSection"]


class LoopSection(Section):
    """What every stage's loop has in common."""

    steps: Count | None = 2000
    """Optimiser steps. With ``minutes`` too, whichever ends first."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Time budget; the learning rate then follows the clock, so two runs are alike but not identical."""
    batch_size: Count = 64
    """Samples a process and forward pass."""
    accumulation: Count = 1
    """Forward passes an optimiser step."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``muon``: hidden matrices and kernels by Muon, the rest by AdamW: more learned from a step that takes a few per
    cent longer."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """AdamW's peak, after the warm-up."""
    matrix_learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Muon's peak."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    """Steps of linear warm-up."""
    weight_decay: Weight = 0.01
    """Decoupled, on matrices and convolution kernels only."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Of AdamW's second moment."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Moving average of the weights, which is what is saved at the end (it starts faster); 0: none."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """``auto``: bf16 where the processor or GPU computes in it, else float32. Weights are float32 either way."""
    compile: bool = False
    """torch.compile the training step (pays on a GPU, or on runs of hours)."""
    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """What MFU is measured against, a device; default: the rate of a large matrix product measured at the start."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of initialisation, order, masks and dropout."""
    log_every: Count = 20
    checkpoint_every: Count = 500
    """Steps between log lines and between checkpoints."""
    validate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between validations; 0: at the end only."""
    tensorboard: bool = True
    """Also write TensorBoard events."""

    @model_validator(mode="before")
    @classmethod
    def _minutes_alone(cls, values: Any) -> Any:
        """A budget of minutes without one of steps means just that, whatever the default number of steps."""
        if isinstance(values, dict) and values.get("minutes") is not None and "steps" not in values:
            return {**values, "steps": None}
        return values

    @model_validator(mode="after")
    def _some_budget(self) -> Self:
        if self.steps is None and self.minutes is None:
            raise InputError("steps: give steps or minutes, neither was given")
        return self
