"""What a case of the proof is, and what it finds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor

__all__ = ["Case", "Found", "equal", "on_device", "reproduction"]


@dataclass(frozen=True)
class Found:
    """One comparison within a case.

    Attributes:
        kernel: whom it speaks of, one of :data:`gptface.kernels.inventory.KERNELS`.
        what: what was compared, in a few words.
        error: in units of what is allowed: at most 1 passes. Infinite where bits had to be equal and are not.
    """

    kernel: str
    what: str
    error: float

    @property
    def passed(self) -> bool:
        return self.error <= 1.0  # not for NaN

    def __str__(self) -> str:
        if self.passed:
            return f"{self.kernel}: {self.what}: within the rule ({self.error:.2f} of what is allowed)"
        by = "not what it must be" if math.isinf(self.error) else f"{self.error:.3g} times what is allowed"
        return f"{self.kernel}: {self.what}: {by}"


@dataclass(frozen=True)
class Case(ABC):
    """A case of one family; what it needs is in the fields of the class that a family derives from it.

    Attributes:
        name: unique within its family.
    """

    name: str

    @abstractmethod
    def kernels(self) -> tuple[str, ...]:
        """Whom it speaks of."""

    def weight(self) -> float:
        """Roughly how long it takes beside others, compilation included; the long ones begin first."""
        return 1.0

    @abstractmethod
    def run(self, device: str) -> list[Found]:
        """Run the kernels on ``device`` and compare."""


def equal(kernel: str, what: str, *pairs: tuple[Tensor | None, Tensor | None]) -> Found:
    """A comparison of bits: every pair must be equal in shape and all elements (a NaN equals no NaN)."""
    same = all(
        (mine is None and theirs is None)
        or (mine is not None and theirs is not None and mine.shape == theirs.shape and torch.equal(mine, theirs))
        for mine, theirs in pairs
    )
    return Found(kernel, what, 0.0 if same else math.inf)


def on_device(tensors: Sequence[Tensor], device: str) -> list[Tensor]:
    return [tensor.to(device) for tensor in tensors]


def reproduction(case: Case, device: str) -> str:
    """A few lines of Python that run a case by itself and print what it finds."""
    kind = type(case)
    defaults = {field.name: field.default for field in fields(case)}
    changed = {name: value for name, value in asdict(case).items() if value != defaults[name]}
    arguments = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    environment = "" if device == "cuda" else "import os\nos.environ['TRITON_INTERPRET'] = '1'\n"
    return (
        f"{environment}from {kind.__module__} import {kind.__name__}\n"
        f"for found in {kind.__name__}({arguments}).run({device!r}):\n"
        "    print(found)"
    )

