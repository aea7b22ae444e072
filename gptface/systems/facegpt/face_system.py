"""What a trained system of faces does, whatever language model is in it: reconstruct, sculpt and answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptface.data.inputs import as_photos
from gptface.data.pixels import images_to_tensor
from gptface.errors import InputError
from gptface.morphable import FaceParameters, MorphableModel
from gptface.systems.facegpt.data.conversations import FACE, Conversation, without_markers
from gptface.systems.facegpt.decoding import Emission
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.likeness import face_likeness
from gptface.systems.facegpt.photos import photo_problem, square
from gptface.systems.facegpt.refinement import SIZE, STEPS, Refiner, check_steps

__all__ = ["Answer", "FaceSystem", "single"]

BATCH = 32
"""Conversations that go through the model together."""
RECONSTRUCT = "reconstruct this face in 3D."
SCULPT = "sculpt {}."
LEAST_LIKENESS = 0.12
"""Of a photo with a face. The demo's system, which knows faces badly, gives most faces more and most other pictures
less; a better one tells them further apart."""


@dataclass(frozen=True)
class Answer:
    """What a system says.

    Attributes:
        text: the words, with ``<FACE>`` where a face is meant.
        faces: those faces, in their order; ``None`` without one.
    """

    text: str
    faces: FaceParameters | None


def single(parameters: FaceParameters, index: int) -> FaceParameters:
    """One head of several."""
    return FaceParameters(**{name: value[index : index + 1] for name, value in vars(parameters).items()})


class FaceSystem(ABC):
    """A language model of faces with the morphable model whose parameters it gives.

    Attributes:
        layout: how its numbers are read.
        morphable: the morphable model it was trained with, on :attr:`device`.
    """

    layout: FaceLayout
    morphable: MorphableModel

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side in pixels of the pictures that the model sees."""

    def reconstruct(
        self, images: Any, refine: int = 0, *, names: Sequence[str] | None = None, check: bool = True
    ) -> FaceParameters:
        """The faces of photos, one each; of a photo the largest centred square is looked at.

        Args:
            images: one picture or a list: files, Pillow images, arrays ``(H, W, 3)`` or tensors ``(3, H, W)``
                (:func:`gptface.data.inputs.as_photo`).
            refine: steps of descent (:func:`gptface.systems.facegpt.refinement.refine`) that fit each head to its photo
                after the model has said what it is like.
            names: what errors call them.
            check: refuse photos in which no face is found: those too small, blank, or less alike to the head made of
                them (:func:`face_likeness`) than ``LEAST_LIKENESS``. ``False`` makes a head of anything.

        Returns:
            parameters of ``B`` heads, in whose picture the head lies as in the square of the photo.

        Raises:
            InputError: a picture that cannot be read; one without a face, if that is checked; steps below 0.
        """
        check_steps(refine)
        photos = as_photos(images)
        names = [f"image {number}" for number in range(1, len(photos) + 1)] if names is None else names
        problems = [photo_problem(photo) if check else None for photo in photos]
        _refuse(names, problems)
        conversation = Conversation.of(RECONSTRUCT, FACE, image=True)
        parameters = self._faces([conversation] * len(photos), photos)
        if check:
            unlike = (
                "the head made of it is not like it (likeness {:.2f}, at least {} is asked for; "
                "--unchecked or check=False makes one all the same)"
            )
            likeness = self.likeness(photos, parameters)
            _refuse(
                names,
                [None if value >= LEAST_LIKENESS else unlike.format(value, LEAST_LIKENESS) for value in likeness],
            )
        return self.refined(photos, parameters, refine) if refine else parameters

    def refined(self, images: Any, parameters: FaceParameters, steps: int = STEPS) -> FaceParameters:
        """The heads of photos, fitted to them by descent; see :func:`gptface.systems.facegpt.refinement.refine`.

        Args:
            images: as :meth:`reconstruct` takes them.
            parameters: of the head of each, to start from.
            steps: of descent.
        """
        photos = [square(photo, SIZE) for photo in as_photos(images)]
        pictures = (images_to_tensor(np.stack(photos), self.device) + 1) / 2
        return self._refiner(pictures.movedim(1, -1), parameters, steps)

    @cached_property
    def _refiner(self) -> Refiner:
        """Kept with its mesh, which takes seconds to make."""
        return Refiner(self.morphable, self.layout)

    def likeness(self, images: Any, parameters: FaceParameters) -> list[float]:
        """How alike photos and heads are, from −1 to 1, see :func:`face_likeness`."""
        photos = [square(photo, self.image_size) for photo in as_photos(images)]
        tensor = (images_to_tensor(np.stack(photos), self.device) + 1) / 2
        return [float(value) for value in face_likeness(self.morphable, parameters, tensor)]

    def sculpt(self, captions: str | Sequence[str]) -> FaceParameters:
        """Faces that captions describe, such as "an astonished man with a wide nose": one each.

        Raises:
            InputError: a caption without words.
        """
        wishes = [captions] if isinstance(captions, str) else list(captions)
        if not wishes:
            raise InputError("captions: at least one is needed")
        conversations = []
        for wish in wishes:
            words = without_markers(wish).rstrip(".")
            if not words:
                raise InputError(f"caption {wish!r} says nothing; describe a face")
            conversations.append(Conversation.of(SCULPT.format(words), FACE))
        return self._faces(conversations, [])

    def ask(
        self,
        image: Any | None,
        question: str,
        *,
        emission: Emission = "free",
        temperature: float = 0.0,
        seed: int = 0,
        max_length: int | None = None,
    ) -> Answer:
        """The answer to a question, about a picture or none.

        Args:
            image: a picture as :meth:`reconstruct` takes them, or ``None``.
            question: in plain words.
            emission: whether ``<FACE>`` is left to the model (``"free"``), in the answer once at least
                (``"forced"``; of an adapter exactly once) or never (``"forbidden"``).
            temperature: 0 takes the most probable word every time; above it, words are drawn.
            seed: of the draws.
            max_length: most tokens of the answer; by default as many as there is room for.

        Raises:
            InputError: a question without words, a picture that cannot be read, or a number out of its range.
        """
        question = without_markers(question)
        if not question:
            raise InputError("question: is empty; ask something")
        if not 0 <= seed < 1 << 63:
            raise InputError(f"seed: {seed}; it must be from 0 to 2^63 - 1")
        text, numbers = self._said(
            None if image is None else as_photos([image])[0],
            question,
            emission=emission,
            temperature=temperature,
            seed=seed,
            max_length=max_length,
        )
        return Answer(text, self.layout.parameters(numbers).check() if len(numbers) else None)

    @torch.no_grad()
    def _faces(self, conversations: Sequence[Conversation], photos: Sequence[np.ndarray]) -> FaceParameters:
        """The face at the one ``<FACE>`` of each conversation; ``photos`` are for all of them or none."""
        parts = [slice(start, start + BATCH) for start in range(0, len(conversations), BATCH)]
        numbers = [self._numbers(conversations[part], photos[part]) for part in parts]
        return self.layout.parameters(torch.cat(numbers)).check()

    @abstractmethod
    def _numbers(self, conversations: Sequence[Conversation], photos: Sequence[np.ndarray]) -> Tensor:
        """The numbers ``(B, size)`` at the one ``<FACE>`` of each conversation; ``photos`` for all of them or none."""

    @abstractmethod
    def _said(
        self,
        photo: np.ndarray | None,
        question: str,
        *,
        emission: Emission,
        temperature: float,
        seed: int,
        max_length: int | None,
    ) -> tuple[str, Tensor]:
        """The answer to a question, and the numbers ``(F, size)`` of its faces."""


def _refuse(names: Sequence[str], problems: Sequence[str | None]) -> None:
    """Refuse photos that have a problem, naming the first; the others are counted."""
    found = [(name, problem) for name, problem in zip(names, problems, strict=True) if problem is not None]
    if found:
        (name, problem), *others = found
        more = f"; nor in {len(others)} more of {len(names)} photos" if others else ""
        raise InputError(f"{name}: no face is found in this photo: {problem}{more}")
