"""Lessons, batch after batch: drawn faces, photos, words and general questions, so many parts of each.

Everything but the photos is a function of (seed, number), so a batch is known by its number; the photos know their own
position. Every batch is made of the same numbers of each source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gptface.data.batches import Batches, FaceBatch
from gptface.data.order import epoch_order
from gptface.data.procedural.randomness import Draws
from gptface.errors import InputError
from gptface.morphable import MorphableModel
from gptface.systems.facegpt.data.conversations import (
    Conversation,
    about_picture,
    reconstruction,
    reconstruction_with_words,
)
from gptface.systems.facegpt.data.descriptions import about_drawn_face
from gptface.systems.facegpt.data.rendered import RenderedFaces
from gptface.systems.facegpt.data.sentences import Sentences
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.objective import Lesson
from gptface.systems.facegpt.sequence import ConversationTokens, collate

__all__ = [
    "CaptionedPhotos",
    "DrawnFaces",
    "GeneralQuestions",
    "LessonBatches",
    "Lessons",
    "Material",
    "PhotoFaces",
    "SculptedFaces",
    "Source",
    "apportioned",
]

_STREAM = 0x6C6573736F6E
"""Of the words: keeps these draws apart from others of the same seed."""


@dataclass
class Material:
    """What a source gives for n conversations; p of them have a picture.

    Attributes:
        conversations: n of them.
        images: float32 (p, 3, s, s) in [−1, 1], in the order of the conversations that have one.
        numbers: float32 (n, ``face_size``), what is known of the faces; NaN for what is not.
        landmarks: float32 (n, 68, 2), where a side of the picture is 1; NaN where unknown.
        described: whether the faces are known from words.
    """

    conversations: list[Conversation]
    images: Tensor
    numbers: Tensor
    landmarks: Tensor
    described: bool = False


class Source(Protocol):
    """Something that conversations come from."""

    def __call__(self, numbers: Sequence[int], photos: FaceBatch | None) -> Material:
        """Those of ``numbers``; of a source that takes photos, those of as many ``photos``."""
        ...


def apportioned(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """``count`` places for parties by their weights: largest remainders; every weight above 0 gets one at least.

    Raises:
        InputError: more weights above 0 than places.
    """
    parties = {name: weight for name, weight in weights.items() if weight > 0}
    if len(parties) > count:
        raise InputError(
            f"batch_size: {count} has no place for each of the {len(parties)} sources of the mixture; allowed: "
            f"{len(parties)} or more"
        )
    left, total = count - len(parties), sum(parties.values())
    # One place each, the rest so that the sums come as near to the weights as they can.
    wanted = {name: max(0.0, count * weight / total - 1) for name, weight in parties.items()}
    scale = left / max(sum(wanted.values()), 1e-9)
    places = {name: 1 + int(share * scale + 1e-9) for name, share in wanted.items()}
    remainders = sorted(parties, key=lambda name: places[name] - 1 - wanted[name] * scale)
    for name in remainders[: count - sum(places.values())]:
        places[name] += 1
    return places


class DrawnFaces:
    """Drawn faces whose every parameter is known, and questions about them: for the face in 3D, or what it does.

    Args:
        faces: what is drawn.
        layout: of the numbers.
        sentences: how movements are said; ``None``: the face in 3D is all that is asked for.
        words: share of questions that want words.
    """

    def __init__(
        self, faces: RenderedFaces, layout: FaceLayout, sentences: Sentences | None = None, words: float = 0.0
    ) -> None:
        self.faces = faces
        self.layout = layout
        self.sentences = sentences
        self.words = words

    def conversation(self, number: int, yaw: float | None = None) -> Conversation:
        """What is said about a drawn face, whose yaw in degrees is asked for where it is known."""
        draws = Draws(self.faces.seed ^ _STREAM, number)
        if self.sentences is None:
            return reconstruction(draws)
        return about_drawn_face(draws, self.sentences, self.faces.expression(number), yaw, words=self.words)

    def __call__(self, numbers: Sequence[int], photos: FaceBatch | None) -> Material:
        drawn = self.faces.batch(numbers)
        yaws = drawn.angles[:, 0].tolist()
        images = drawn.images.movedim(-1, 1).mul(2).sub(1).float().contiguous()
        return Material(
            [self.conversation(number, yaw) for number, yaw in zip(numbers, yaws, strict=True)],
            images,
            self.layout.numbers(drawn.parameters).float(),
            _every_landmark(drawn.landmarks / self.faces.size),
        )


class PhotoFaces:
    """Photos, and the question for the face in them.

    Args:
        size: of the layout's numbers.
        seed: of the words.
        known: float32 (B, ``size``) of the photos of a batch, such as pseudo-labels; ``None``: nothing.
    """

    def __init__(self, size: int, seed: int, known: Callable[[FaceBatch], Tensor] | None = None) -> None:
        self.size = size
        self.seed = seed ^ _STREAM
        self.known = known

    def conversations(self, numbers: Sequence[int], photos: FaceBatch) -> list[Conversation]:
        return [reconstruction(Draws(self.seed, number)) for number in numbers]

    def __call__(self, numbers: Sequence[int], photos: FaceBatch | None) -> Material:
        assert photos is not None and photos.images is not None
        nothing = torch.full((len(numbers), self.size), torch.nan)
        marks = torch.full((len(numbers), 68, 2), torch.nan)
        if photos.landmarks is not None:
            marks = photos.landmarks / photos.images.shape[-1]
        known = nothing if self.known is None else self.known(photos)
        return Material(self.conversations(numbers, photos), photos.images, known, marks)


class CaptionedPhotos(PhotoFaces):
    """Photos with their captions: what is seen, and every other time the face in 3D as well."""

    def conversations(self, numbers: Sequence[int], photos: FaceBatch) -> list[Conversation]:
        assert photos.captions is not None
        found = []
        for number, caption in zip(numbers, photos.captions, strict=True):
            draws = Draws(self.seed ^ 1, number)
            make = reconstruction_with_words if draws.chance("face", 0.5) else about_picture
            found.append(make(draws, caption) or reconstruction(draws))
        return found


class SculptedFaces:
    """Faces described in words, without a picture: neutral portraits but for what the words ask for."""

    def __init__(self, sentences: Sentences, layout: FaceLayout, model: MorphableModel) -> None:
        self.sentences = sentences
        self.layout = layout
        expression, identity = layout.slices["expression"], layout.modes("identity")
        self._places = {name: expression.start + place for place, name in enumerate(model.expression_names)}
        self._places = {name: place for name, place in self._places.items() if place < expression.stop}
        self._identity = identity

    def __call__(self, numbers: Sequence[int], photos: FaceBatch | None) -> Material:
        conversations = [self.sentences.conversation(number) for number in numbers]
        known = torch.zeros(len(conversations), self.layout.size)
        for row, conversation in zip(known, conversations, strict=True):
            for name, weight in (conversation.shapes or {}).items():
                if name in self._places:
                    row[self._places[name]] = weight
            traits = self.sentences.directions.weights(conversation.attributes or {})
            row[: self._identity] = traits[: self._identity]
        return without_pictures(conversations, self.layout.size, known, described=True)


class GeneralQuestions:
    """Questions without faces, each once an epoch in another order.

    Args:
        conversations: without pictures and faces.
        size: of the layout's numbers.
        seed: of the order.
    """

    def __init__(self, conversations: Sequence[Conversation], size: int, seed: int) -> None:
        if not conversations:
            raise InputError("instructions: there are no conversations for the mixture's general questions")
        self._conversations = conversations
        self._size = size
        self._seed = seed

    def __call__(self, numbers: Sequence[int], photos: FaceBatch | None) -> Material:
        count = len(self._conversations)
        places = [epoch_order(count, self._seed, number // count)[number % count] for number in numbers]
        return without_pictures([self._conversations[place] for place in places], self._size)


def without_pictures(
    conversations: list[Conversation], size: int, numbers: Tensor | None = None, described: bool = False
) -> Material:
    """Material of conversations that have no picture.

    Args:
        conversations: n of them.
        size: of the layout's numbers.
        numbers: float32 (n, size), what is known of their faces; by default nothing.
        described: whether that is known from words.
    """
    nothing = torch.full((len(conversations), size), torch.nan)
    marks = torch.full((len(conversations), 68, 2), torch.nan)
    images = torch.zeros(0, 3, 1, 1)
    return Material(conversations, images, nothing if numbers is None else numbers, marks, described)


def _every_landmark(points: Tensor) -> Tensor:
    """``(B, 68, 2)``; NaN for a model that has none."""
    if points.shape[1] == 68:
        return points.float()
    return torch.full((len(points), 68, 2), torch.nan)


class Lessons:
    """Batches of lessons by their number.

    Args:
        sources: by name.
        counts: how many conversations of each a batch has; those that take photos come first.
        tokens: of the model.
        image_size: side of its pictures.
        packed: conversations side by side in one row, or a row each.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        counts: Mapping[str, int],
        tokens: ConversationTokens,
        image_size: int,
        *,
        packed: bool = True,
    ) -> None:
        self.sources = dict(sources)
        self.counts = {name: count for name, count in counts.items() if count}
        self.tokens = tokens
        self.image_size = image_size
        self.packed = packed

    @property
    def photos(self) -> int:
        """How many photos a batch takes."""
        return sum(count for name, count in self.counts.items() if isinstance(self.sources[name], PhotoFaces))

    def make(self, number: int, photos: FaceBatch | None = None) -> Lesson:
        """The batch of that number; on the host.

        Args:
            number: counted over all processes.
            photos: as many as it takes.
        """
        parts: list[Material] = []
        taken = 0
        for name, count in self.counts.items():
            source = self.sources[name]
            own = None
            if isinstance(source, PhotoFaces):
                assert photos is not None
                own = _some(photos, slice(taken, taken + count))
                taken += count
            parts.append(source(range(number * count, (number + 1) * count), own))
        conversations = [one for part in parts for one in part.conversations]
        images = [self._sized(part.images) for part in parts if len(part.images)]
        empty = torch.zeros(0, 3, self.image_size, self.image_size)
        encoded = [self.tokens.encode(one) for one in conversations]
        batch = collate(encoded, torch.cat([empty, *images]), self.tokens, packed=self.packed)
        pictures = torch.full((len(conversations),), -1)
        pictures[batch.image_rows] = torch.arange(len(batch.image_rows))
        seen = pictures[batch.face_rows]
        return Lesson(
            batch,
            faces_seen=(seen >= 0).nonzero().flatten(),
            pictures_seen=seen[seen >= 0],
            numbers=torch.cat([part.numbers for part in parts]),
            described=torch.cat([torch.full((len(part.conversations),), part.described) for part in parts]),
            landmarks=torch.cat([part.landmarks for part in parts]),
        )

    def _sized(self, images: Tensor) -> Tensor:
        size = (self.image_size, self.image_size)
        if tuple(images.shape[2:]) == size:
            return images
        return torch.nn.functional.interpolate(images, size, mode="bilinear", antialias=True)


def _some(photos: FaceBatch, rows: slice) -> FaceBatch:
    values = {name: value for name, value in vars(photos).items() if value is not None}
    return FaceBatch(**{name: value[rows] for name, value in values.items()})


class LessonBatches:
    """Endless batches of one process, which know where they are.

    Args:
        lessons: what they are made of.
        photos: batches of as many photos as a lesson takes; ``None`` where it takes none.
        device: where lessons are to be.
        rank, world_size: which of how many processes this one is.
    """

    def __init__(
        self,
        lessons: Lessons,
        photos: Batches[FaceBatch] | None,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lessons = lessons
        self.photos = photos
        self.device = device
        self.rank = rank
        self.world_size = world_size
        self.made = 0

    def __iter__(self) -> Iterator[Lesson]:
        return self

    def __next__(self) -> Lesson:
        photos = None if self.photos is None else next(self.photos).to(torch.device("cpu"))
        lesson = self.lessons.make(self.made + self.rank, photos)
        self.made += self.world_size
        return lesson.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """The position, counted in photos where lessons take some, else in conversations."""
        if self.photos is not None:
            return self.photos.state_dict()
        return {"position": self.made * sum(self.lessons.counts.values())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position; with another number of processes or conversations too, and then nothing comes twice."""
        a_batch = self.lessons.photos or sum(self.lessons.counts.values())
        if self.photos is not None:
            self.photos.load_state_dict(state)
        self.made = -(-int(state["position"]) // a_batch)
