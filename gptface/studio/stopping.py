"""Ending what is being made before it is done, at the next step of its decoding."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from torch import Tensor

from gptface.systems.gptface.generation import DecodingSettings
from gptface.systems.gptface.generation.selection import Order

__all__ = ["Making", "StopSign", "Stopped", "stoppable"]


class Stopped(Exception):
    """What was being made is no longer wanted."""


class StopSign:
    """Whether one thing that is being made shall end. Put up in one thread, seen in another, and never taken down."""

    def __init__(self) -> None:
        self._up = threading.Event()

    def put_up(self) -> None:
        self._up.set()

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    def check(self) -> None:
        """
        Raises:
            Stopped: it is up.
        """
        if self.is_up:
            raise Stopped


class Making:
    """What is being made for one person, by its sign."""

    def __init__(self) -> None:
        self.sign = StopSign()

    def __deepcopy__(self, memo: object) -> Making:
        return Making()  # a page copies what its sessions start with, and each has its own

    def begin(self) -> StopSign:
        """The sign of something new. That of what was made before stays as it is: it may still be on its way out."""
        self.sign = StopSign()
        return self.sign

    def stop(self) -> None:
        """End what is being made."""
        self.sign.put_up()


@dataclass(frozen=True)
class _Watched(Order):
    """Another order, which looks at the sign whenever it is asked, once a step, and changes nothing else."""

    order: Order
    sign: StopSign

    def scores(self, log_probabilities: Tensor, progress: Tensor, uniform: Tensor) -> Tensor:
        self.sign.check()
        return self.order.scores(log_probabilities, progress, uniform)


def stoppable(settings: DecodingSettings, sign: StopSign) -> DecodingSettings:
    """Settings that make the same pictures, and of which decoding raises :class:`Stopped` once the sign is up."""
    return replace(settings, order=_Watched(settings.order, sign))
