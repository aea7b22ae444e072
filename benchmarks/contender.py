"""What the runner times: contenders, the cases they meet in, and the subjects that bring both together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

__all__ = ["BASELINE", "CannotRun", "Case", "Contender", "Prepared", "Scale", "Subject", "Verdict", "optional_import"]

BASELINE = "gptface"
"""Name of the contender that every ratio is taken against: what a user gets who asks for nothing (``impl="auto"``)."""

Scale = Literal["miniature", "quick", "full"]
"""``miniature`` is for tests (milliseconds), ``quick`` for a first look, ``full`` for numbers to publish."""


class CannotRun(Exception):
    """A contender cannot take part in a case; the message is the row's reason, such as ``not installed``."""


@dataclass(frozen=True)
class Case:
    """One problem.

    Attributes:
        name: unique within the subject.
        size: where the case stands on the plot's horizontal axis.
        settings: shapes and options as plain JSON data; all that the subject needs to make the problem anew.
        headline: one of the few that the project's README shows.
    """

    name: str
    size: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    headline: bool = False


@dataclass
class Prepared:
    """A contender at the starting line of one case.

    Attributes:
        run: the work; takes what ``build`` returned (``None`` without one).
        build: makes the mask from the facts that a data loader has, or ``None`` where nothing is to be built. What is
            derived lazily from a fresh mask counts as building: the runner times ``run(build())`` beside ``run(mask)``.
        outputs: turns the result of ``run`` into what the gate looks at; not timed.
    """

    run: Callable[[Any], Any]
    build: Callable[[], Any] | None = None
    outputs: Callable[[Any], Any] = lambda result: result


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a case.

    Attributes:
        name: unique within the case.
        owner: the package it comes from.
        prepare: ``prepare(problem)`` gives a :class:`Prepared`, or raises :class:`CannotRun` with the reason.
    """

    name: str
    owner: str
    prepare: Callable[[Any], Prepared]


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
        figures: measured quality, such as the RMSE ratio; goes into the result whatever the outcome.
        failure: why the contender is not timed, empty where it passed.
    """

    figures: Mapping[str, float]
    failure: str = ""


class Subject(ABC):
    """A question, its cases and contenders. Stateless, so that another process can make the same case again.

    Attributes:
        name: as on the command line.
        title: heading of its tables.
        size_label: the plot's horizontal axis.
        has_masks: whether mask building is a column.
        host_only: measured on the processor also where a GPU is asked for: it is the host that feeds one.
    """

    name: str
    title: str
    size_label: str
    has_masks = False
    host_only = False

    @abstractmethod
    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        """The cases of a scale on a kind of device, those that say most first."""

    @abstractmethod
    def problem(self, case: Case, device: torch.device) -> Any:
        """The inputs of a case, fresh random draws from a fixed seed."""

    @abstractmethod
    def contenders(self, case: Case) -> Sequence[Contender]:
        """All contenders, those that cannot run here included; the one named :data:`BASELINE` among them."""

    @abstractmethod
    def gate(self, problem: Any, outputs: Any) -> Verdict:
        """Whether ``outputs`` are right. A contender that is refused here is never timed."""

    @abstractmethod
    def work(self, problem: Any) -> dict[str, float]:
        """What there is to do, such as floating-point operations over visible pairs."""

    @abstractmethod
    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        """Work over time, named with its unit."""


def optional_import(module: str, package: str) -> Any:
    """The module ``module`` of another project.

    Raises:
        CannotRun: it is not installed, or is and does not import (which happens with extensions built for another
            torch); the reason says which.
    """
    import importlib
    import importlib.util

    try:
        found = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing
        found = False
    if not found:
        raise CannotRun(f"{package} is not installed")
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever a foreign extension raises while loading
        raise CannotRun(f"{package} does not import: {type(error).__name__}: {error}") from error
