"""Training an adapter: FaceGPT's own objective, and lessons of the same material as the compact model's.

A loop of one's own, with the sources of :mod:`gptface.systems.facegpt.lessons`::

    adapter = FaceAdapter(base, processor, "synthetic").train()
    objective = AdapterObjective(adapter)
    words = SculptedFaces(Sentences(adapter.morphable), adapter.layout, adapter.morphable)
    drawn = DrawnFaces(RenderedFaces(adapter.morphable, 224), adapter.layout)
    optimiser = torch.optim.AdamW(adapter.trainable_parameters(), lr=2e-4)
    for step in range(1000):
        numbers = range(8 * step, 8 * step + 8)
        loss, parts = objective(objective.lesson(words(numbers, None), drawn(numbers, None)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    save_adapter(adapter, "adapter")

:class:`Material` may as well be written by hand: conversations, pictures, what is known of the faces.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.systems.facegpt.adapter.model import NO_TARGET, FaceAdapter
from gptface.systems.facegpt.adapter.words import ConversationEncoder
from gptface.systems.facegpt.configuration import FaceGPTLossWeights, FaceGPTSection
from gptface.systems.facegpt.lessons import Material
from gptface.systems.facegpt.model import FaceGPTOutput
from gptface.systems.facegpt.objective import FaceGPTObjective, Lesson
from gptface.training.stage import Losses, Moment

__all__ = ["AdapterConversations", "AdapterObjective", "known_shapes"]


@dataclass
class AdapterConversations:
    """B conversations as a base reads them, with the fields of :class:`ConversationBatch` that an objective looks at.

    Attributes:
        inputs: what the base takes, ``labels`` ``(B, S)`` among it.
        labels: int64 (M,), the tokens to be said, row after row.
        predicted_from: int64 (M,), their places among the adapter's logits: 0, 1, 2 …
        face_rows: int64 (F,), which conversation each ``<FACE>`` belongs to.
        images: float32 (P, 3, s, s) in [−1, 1], the pictures that drawn faces are compared with.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    predicted_from: Tensor
    face_rows: Tensor
    images: Tensor

    def to(self, device: torch.device | str) -> AdapterConversations:
        """The same on a device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        inputs = {name: value.to(device) for name, value in values.pop("inputs").items()}
        return AdapterConversations(inputs, **{name: value.to(device) for name, value in values.items()})


class _Speaker(nn.Module):
    """An adapter as :class:`FaceGPTObjective` sees a model: its hidden states are the logits themselves."""

    def __init__(self, adapter: FaceAdapter, image_size: int) -> None:
        super().__init__()
        self.adapter = adapter
        self.config = SimpleNamespace(face_token_id=adapter.number, channels=3, image_size=image_size)

    def forward(self, conversations: AdapterConversations) -> FaceGPTOutput:
        output = self.adapter(**conversations.inputs)
        return FaceGPTOutput(hidden=output.logits[None], numbers=output.numbers)

    def word_logits(self, hidden: Tensor) -> Tensor:
        return hidden


class AdapterObjective(nn.Module):
    """``forward(lesson) -> (loss, parts)``: the losses of the compact model, see :class:`FaceGPTLossWeights`.

    Args:
        adapter: to be trained.
        losses: their weights; 0 leaves one out. As a mapping or a section, by default that of the compact model.
        self_supervision: draw the faces and compare them with their pictures and the landmarks there.
        draw_size: side in pixels of these comparisons.
        longest: tokens that a conversation may have, pictures included; ``None`` for any number.
    """

    def __init__(
        self,
        adapter: FaceAdapter,
        losses: FaceGPTLossWeights | dict[str, float] | None = None,
        *,
        self_supervision: bool = True,
        draw_size: int = 96,
        longest: int | None = None,
    ) -> None:
        super().__init__()
        weights = losses if isinstance(losses, FaceGPTLossWeights) else FaceGPTLossWeights(**(losses or {}))
        section = FaceGPTSection(losses=weights, self_supervision=self_supervision, draw_size=draw_size)
        speaker: Any = _Speaker(adapter, draw_size)
        self.objective = FaceGPTObjective(speaker, section, adapter.layout, adapter.morphable)
        self.encoder = ConversationEncoder(adapter.processor, adapter.padding)
        self.size = draw_size
        self.longest = longest

    @property
    def adapter(self) -> FaceAdapter:
        """What is trained."""
        speaker: Any = self.objective.model
        return speaker.adapter

    def lesson(self, *materials: Material) -> Lesson:
        """A batch of what sources give; on the device of the adapter.

        Raises:
            InputError: conversations and pictures that do not go together, a conversation that is too long, a picture
                for a base that sees none.
        """
        conversations = [one for material in materials for one in material.conversations]
        pictures: list[Any] = []
        for material in materials:
            wanted = sum(one.image for one in material.conversations)
            if len(material.images) != wanted:
                raise InputError(f"images: {len(material.images)} for {wanted} conversations with a picture")
            images = iter(material.images)
            pictures += [_picture(next(images)) if one.image else None for one in material.conversations]
        inputs = self.encoder.batch(conversations, pictures, longest=self.longest)
        following = inputs["labels"][:, 1:]
        labels = following[following != NO_TARGET]
        shown = (inputs["input_ids"] == self.adapter.number) & inputs["attention_mask"].bool()
        face_rows = shown.nonzero()[:, 0]
        sized = [_sized(material.images, self.size) for material in materials if len(material.images)]
        batch: Any = AdapterConversations(
            inputs,
            labels=labels,
            predicted_from=torch.arange(len(labels)),
            face_rows=face_rows,
            images=torch.cat([torch.zeros(0, 3, self.size, self.size), *sized]),
        )
        pictured = torch.tensor([one.image for one in conversations])
        numbers = torch.where(pictured, pictured.cumsum(0) - 1, -1)[face_rows]
        described = [torch.full((len(material.conversations),), material.described) for material in materials]
        return Lesson(
            batch,
            faces_seen=(numbers >= 0).nonzero()[:, 0],
            pictures_seen=numbers[numbers >= 0],
            numbers=torch.cat([material.numbers for material in materials]),
            described=torch.cat(described),
            landmarks=torch.cat([material.landmarks for material in materials]),
        ).to(self.adapter.device)

    def forward(self, lesson: Lesson, moment: Moment | None = None) -> Losses:
        """Loss to minimise, and its parts to log (``emission``: how often ``<FACE>`` would be said where it is)."""
        return self.objective(lesson, Moment(0, 0, 0.0) if moment is None else moment)


def known_shapes(adapter: FaceAdapter, shapes: dict[str, float]) -> Tensor:
    """Numbers ``(size,)`` of the neutral portrait with some expression shapes, by name: what a sentence says of a face.

    Raises:
        InputError: a name that the layout does not have.
    """
    place = adapter.layout.slices["expression"]
    names = adapter.morphable.expression_names[: adapter.layout.modes("expression")]
    numbers = torch.zeros(adapter.layout.size)
    for name, weight in shapes.items():
        if name not in names:
            raise InputError(f"shapes: {name!r} is none of the {len(names)} of {adapter.morphable.name}")
        numbers[place.start + names.index(name)] = weight
    return numbers


def _picture(image: Tensor) -> Image.Image:
    """A picture ``(3, s, s)`` in [−1, 1] as a base's processor takes it."""
    levels = image.detach().float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels.movedim(0, -1).cpu().numpy())


def _sized(images: Tensor, size: int) -> Tensor:
    if tuple(images.shape[2:]) == (size, size):
        return images
    return torch.nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
