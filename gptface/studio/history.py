"""What one person did, step by step: values that never change, so that two people cannot meet in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gptface.data.images import encode_image
from gptface.errors import InputError
from gptface.studio.wishes import Wish

__all__ = ["MOST_STEPS_KEPT", "Candidate", "History", "Step"]

MOST_STEPS_KEPT = 20
"""Steps of a history; the oldest is let go first. Twenty pictures of the largest size are 60 MB."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One outcome of a wish.

    Attributes:
        picture: uint8 ``(H, W, 3)``.
        seed: it was made from.
        match: log-odds that it and the words belong together.
        said: the words that it was made for.
        told: a line about it.
    """

    picture: np.ndarray
    seed: int
    match: float = 0.0
    said: str = ""
    told: str = ""

    @cached_property
    def png(self) -> bytes:
        """The picture as a file, made once."""
        return encode_image(self.picture)


@dataclass(frozen=True)
class Step:
    """A picture of the history and how it came to be.

    Attributes:
        candidates: one or more, of which ``chosen`` counts.
        wish: ``None`` for the picture that a history starts with.
        title: a few words.
        origin: of a start: the command line that makes ``photo.png``; empty for an upload.
    """

    candidates: tuple[Candidate, ...]
    wish: Wish | None = None
    title: str = ""
    origin: str = ""
    chosen: int = 0

    @property
    def candidate(self) -> Candidate:
        return self.candidates[self.chosen]

    @property
    def picture(self) -> np.ndarray:
        return self.candidate.picture


@dataclass(frozen=True)
class History:
    """Steps, and at which of them the person is; those after it can be done again until something else is done."""

    steps: tuple[Step, ...] = ()
    position: int = -1

    @classmethod
    def start(cls, picture: np.ndarray, title: str, origin: str = "") -> History:
        """A history of one picture."""
        return cls((Step((Candidate(picture, 0),), title=title, origin=origin),), 0)

    @property
    def now(self) -> Step:
        """Where the person is.

        Raises:
            InputError: there is no picture yet.
        """
        if not self.steps:
            raise InputError("There is no picture yet: open a photo, or draw a face.")
        return self.steps[self.position]

    @property
    def before(self) -> Step | None:
        """The step that the present one came from."""
        return self.steps[self.position - 1] if self.position > 0 else None

    @property
    def path(self) -> tuple[Step, ...]:
        """The steps that led here, the first picture among them."""
        return self.steps[: self.position + 1]

    @property
    def full(self) -> bool:
        """Whether one more step lets the first go."""
        return len(self.path) == MOST_STEPS_KEPT

    @property
    def can_undo(self) -> bool:
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        return self.position + 1 < len(self.steps)

    def add(self, step: Step) -> History:
        """After one more step; what had been undone is gone, and candidates that were not chosen are let go."""
        settled = [replace(old, candidates=(old.candidate,), chosen=0) for old in self.path]
        steps = (*settled, step)[-MOST_STEPS_KEPT:]
        return History(steps, len(steps) - 1)

    def undo(self) -> History:
        return self.at(self.position - 1) if self.can_undo else self

    def redo(self) -> History:
        return self.at(self.position + 1) if self.can_redo else self

    def at(self, position: int) -> History:
        """The same steps, seen from another of them."""
        if not 0 <= position < len(self.steps):
            raise InputError(f"The history has {len(self.steps)} steps; there is no step {position}.")
        return replace(self, position=position)

    def choose(self, candidate: int) -> History:
        """Another candidate of the present step; what had been done after it is gone, since it grew on the first."""
        now = self.now
        if not 0 <= candidate < len(now.candidates):
            raise InputError(f"The step has {len(now.candidates)} candidates; there is no candidate {candidate}.")
        if candidate == now.chosen:
            return self
        return History((*self.steps[: self.position], replace(now, chosen=candidate)), self.position)
