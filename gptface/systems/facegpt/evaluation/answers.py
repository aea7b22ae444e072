"""What a system says to questions, many at once, and the face that its answer holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gptface.data.pixels import images_to_tensor
from gptface.morphable import FaceParameters, MorphableModel
from gptface.progress import Countdown, Display
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.decoding import Answer, Emission, answer
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.model import FaceGPT
from gptface.systems.facegpt.sequence import ConversationTokens, collate

__all__ = ["Speaker", "answers", "first_faces", "spoken_losses"]

BATCH = 32


class Speaker(Protocol):
    """The parts of a trained system (:class:`gptface.systems.facegpt.FaceGPTSystem`)."""

    model: FaceGPT
    tokens: ConversationTokens
    layout: FaceLayout
    morphable: MorphableModel


def answers(
    speaker: Speaker,
    conversations: Sequence[Conversation],
    pictures: np.ndarray | None = None,
    *,
    emission: Emission = "free",
    name: str = "answers",
    display: Display | None = None,
) -> list[Answer]:
    """Greedy answers to the first questions of conversations.

    Args:
        speaker: who is asked.
        conversations: whose first questions.
        pictures: uint8 ``(P, s, s, 3)`` of the model's size, those of the conversations that have one, in their order.
        emission: who decides on ``<FACE>``.
        name: in what is shown.
    """
    tokens, said, taken = speaker.tokens, [], 0
    countdown = Countdown(display or Display(name, shown=False), f"{name}: {len(conversations)}", len(conversations))
    for start in range(0, len(conversations), BATCH):
        asked = conversations[start : start + BATCH]
        prompts = [tokens.prompt(one.turns[0].text, image=one.image) for one in asked]
        count = sum(one.image for one in asked)
        images = _images(speaker, pictures, taken, count)
        taken += count
        said += answer(speaker.model, tokens, prompts, images, emission=emission)
        countdown.advance(min(len(conversations), start + BATCH))
    return said


def first_faces(speaker: Speaker, said: Sequence[Answer]) -> tuple[FaceParameters, np.ndarray]:
    """The first face of every answer, and bool ``(N,)``: whether it has one; the neutral portrait stands for none."""
    size = speaker.layout.size
    numbers = [one.numbers[:1] if len(one.numbers) else one.numbers.new_zeros(1, size) for one in said]
    emitted = np.array([len(one.numbers) > 0 for one in said], dtype=bool)
    return speaker.layout.parameters(torch.cat(numbers).to(speaker.morphable.mean.device)), emitted


@torch.no_grad()
def spoken_losses(
    speaker: Speaker, conversations: Sequence[Conversation], pictures: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of all that the assistant says in each conversation, summed, and the number of its tokens.

    Returns:
        float64 and int64 ``(N,)``.
    """
    model, tokens = speaker.model, speaker.tokens
    sums, counts, taken = [], [], 0
    for start in range(0, len(conversations), BATCH):
        part = conversations[start : start + BATCH]
        count = sum(one.image for one in part)
        images = _images(speaker, pictures, taken, count)
        taken += count
        batch = collate([tokens.encode(one) for one in part], images, tokens, packed=False).to(model.device)
        hidden = model(batch).hidden
        logits = model.word_logits(hidden.flatten(0, 1)[batch.predicted_from]).float()
        losses = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none").double()
        rows = batch.document_ids.flatten()[batch.predicted_from]
        total = losses.new_zeros(len(part)).index_add_(0, rows, losses)
        sums.append(total.cpu().numpy())
        counts.append(torch.bincount(rows, minlength=len(part)).cpu().numpy())
    return np.concatenate(sums), np.concatenate(counts)


def _images(speaker: Speaker, pictures: np.ndarray | None, start: int, count: int) -> Tensor:
    size = speaker.model.config.image_size
    if not count:
        return torch.zeros(0, 3, size, size)
    assert pictures is not None and len(pictures) >= start + count, "a picture for every conversation that has one"
    return images_to_tensor(np.ascontiguousarray(pictures[start : start + count]))
