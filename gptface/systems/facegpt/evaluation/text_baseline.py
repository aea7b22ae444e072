"""The baseline for faces from words: a frozen text encoder, and the face head trained on what it gives."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.morphable import FaceParameters
from gptface.progress import Countdown, Display
from gptface.systems.facegpt.configuration import FaceGPTSection
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.evaluation.answers import Speaker
from gptface.systems.facegpt.evaluation.methods import complete
from gptface.systems.facegpt.evaluation.text_alone import Sculpt
from gptface.systems.facegpt.head import FaceHead
from gptface.systems.facegpt.lessons import Material
from gptface.systems.facegpt.model import FaceGPT
from gptface.systems.facegpt.objective import FaceGPTObjective
from gptface.systems.facegpt.sequence import collate

__all__ = ["EncodeTexts", "random_encoder", "speaker_encoder", "train_text_baseline", "transformers_encoder"]

EncodeTexts = Callable[[Sequence[str]], Tensor]
"""From N texts to features ``(N, D)``."""

TEXTS_AT_ONCE = 32
BATCH = 256
LEARNING_RATE = 2e-3
HEAD_WIDTH = 512


def speaker_encoder(speaker: Speaker, model: FaceGPT | None = None) -> EncodeTexts:
    """The mean of a system's own states over a question's words, frozen.

    Args:
        speaker: whose tokenizer, and whose model unless another is given.
        model: of the same vocabulary.
    """
    frozen = speaker.model if model is None else model
    tokens = speaker.tokens

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        prompts = [tokens.prompt(text, image=False) for text in texts]
        size = frozen.config.image_size
        batch = collate(prompts, torch.zeros(0, 3, size, size), tokens, packed=False).to(frozen.device)
        states = frozen.contextualise(
            frozen.embed(batch.ids, batch.position_ids, batch.images, batch.image_slots), batch.mask()
        )
        words = (batch.document_ids >= 0)[..., None]
        return (states * words).sum(1) / words.sum(1)

    return encode


def random_encoder(speaker: Speaker, seed: int = 0) -> EncodeTexts:
    """The same of a model of the system's shape with fresh weights: what architecture and tokenizer alone tell."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FaceGPT(speaker.model.config).eval()
    nn.Module.to(model, speaker.model.device)
    return speaker_encoder(speaker, model)


def transformers_encoder(folder: str | os.PathLike[str], device: torch.device | str = "cpu") -> EncodeTexts:
    """The mean of the last hidden states of any text model in a ``transformers`` folder; nothing is fetched.

    Raises:
        InputError: the folder is not there, or holds no tokenizer or no model that can be read.
    """
    name = os.fspath(folder)
    if not os.path.isdir(name):
        raise InputError(f"text encoder: {name} is no folder; give one with a transformers model and its tokenizer")
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, local_files_only=True)
        model: Any = AutoModel.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"text encoder: {name} holds no model that can be read ({error})") from error
    nn.Module.to(model, device).eval()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        batch = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=128).to(device)
        found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        words = batch["attention_mask"][..., None].to(found.last_hidden_state)
        return (found.last_hidden_state * words).sum(1) / words.sum(1)

    return encode


class _Regressor(nn.Module):
    """Features, standardised as those of training, to the numbers of faces."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: Tensor, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("deviation", features.std(0).clamp_min(1e-4))
        self.head = FaceHead(features.shape[1], size, HEAD_WIDTH)

    def forward(self, features: Tensor) -> Tensor:
        return self.head((features - self.mean) / self.deviation)


def train_text_baseline(
    encode: EncodeTexts,
    speaker: Speaker,
    training: Callable[[Sequence[int]], Material],
    *,
    sentences: int = 20_000,
    steps: int = 4_000,
    seed: int = 0,
    name: str = "text encoder",
    display: Display | None = None,
) -> Sculpt:
    """The face head trained on frozen features of described faces, with the loss that the system has for them.

    Args:
        encode: the frozen encoder, which is given the questions.
        speaker: whose layout and morphable model.
        training: described faces by number, never held-out ones.
        sentences: how many of them are encoded, once.
        steps: of 256 sentences each, AdamW, the learning rate falling along half a cosine.
        seed: of the head's weights and the order.
        name: in what is shown.

    Raises:
        InputError: no sentence, or no step.
    """
    if sentences < 2 or steps < 1:
        raise InputError(f"text baseline: {sentences} sentences and {steps} steps; at least 2 and 1 are needed")
    device = speaker.morphable.mean.device
    countdown = Countdown(display or Display(name, shown=False), f"{name}: {sentences} sentences", sentences)
    features, numbers = [], []
    for start in range(0, sentences, TEXTS_AT_ONCE):
        material = training(range(start, min(sentences, start + TEXTS_AT_ONCE)))
        features.append(encode([one.turns[0].text for one in material.conversations]).float())
        numbers.append(material.numbers.to(device))
        countdown.advance(min(sentences, start + TEXTS_AT_ONCE))
    rows, known = torch.cat(features).to(device), torch.cat(numbers)
    objective = FaceGPTObjective(speaker.model, FaceGPTSection(), speaker.layout, speaker.morphable).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        regressor = _Regressor(rows, speaker.layout.size).to(device)
    optimizer = torch.optim.AdamW(regressor.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    generator = torch.Generator().manual_seed(seed)
    countdown = Countdown(display or Display(name, shown=False), f"{name}: {steps} steps", steps)
    for step in range(steps):
        chosen = torch.randint(len(rows), (min(BATCH, len(rows)),), generator=generator).to(device)
        found = regressor(rows[chosen])
        loss = objective.distances(speaker.layout.parameters(found), found, known[chosen]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        countdown.advance(step + 1)
    regressor.eval()

    @torch.no_grad()
    def sculpt(conversations: Sequence[Conversation]) -> tuple[FaceParameters, np.ndarray]:
        texts = [one.turns[0].text for one in conversations]
        parts = [encode(texts[start : start + TEXTS_AT_ONCE]) for start in range(0, len(texts), TEXTS_AT_ONCE)]
        heads = speaker.layout.parameters(regressor(torch.cat(parts).float().to(device)))
        return complete(speaker.morphable, heads, len(texts)), np.ones(len(texts), dtype=bool)

    return sculpt
