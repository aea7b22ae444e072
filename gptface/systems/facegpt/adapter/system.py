"""``AdapterSystem``: an adapter and its base, ready to reconstruct, sculpt and answer as the compact model does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from gptface.errors import InputError
from gptface.systems.facegpt.adapter.model import FaceAdapter
from gptface.systems.facegpt.adapter.saving import load_adapter, save_adapter
from gptface.systems.facegpt.adapter.words import ConversationEncoder
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.decoding import Emission
from gptface.systems.facegpt.face_system import FaceSystem
from gptface.systems.facegpt.photos import square

__all__ = ["AdapterSystem"]

LONGEST = 128
"""Tokens of an answer, where nobody says how many."""


class AdapterSystem(FaceSystem):
    """Any causal or vision–language model with an adapter.

    Args:
        adapter: put into evaluation mode.
    """

    def __init__(self, adapter: FaceAdapter) -> None:
        self.adapter = adapter.eval()
        self.layout = adapter.layout
        self.morphable = adapter.morphable
        self.encoder = ConversationEncoder(adapter.processor, adapter.padding)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        morphable: str | os.PathLike[str] | None = None,
        *,
        base: PreTrainedModel | str | os.PathLike[str] | None = None,
        device: torch.device | str | None = None,
        **options: Any,
    ) -> AdapterSystem:
        """Load an adapter beside its base, see :func:`load_adapter`.

        Args:
            folder: of the adapter.
            morphable: name or path of the morphable model, where it is no longer where it was in training.
            base: the model, or its name or path, where it is no longer where it was.
            device: where all of it goes; by default, where the base is.
            options: for the base's ``from_pretrained``.
        """
        adapter = load_adapter(folder, base, morphable=morphable, **options)
        return cls(adapter if device is None else adapter.to(device=torch.device(device)))

    def save(self, folder: str | os.PathLike[str], morphable: str | os.PathLike[str] | None = None) -> None:
        """Write the adapter, see :func:`save_adapter`."""
        save_adapter(self.adapter, folder, morphable)

    @property
    def device(self) -> torch.device:
        return self.adapter.device

    @property
    def image_size(self) -> int:
        """Side in pixels at which photos are compared with heads; the base's processor sizes them for itself."""
        return 224

    def _numbers(self, conversations: Sequence[Conversation], photos: Sequence[np.ndarray]) -> Tensor:
        inputs = self.encoder.batch(conversations, [_picture(photo) for photo in photos] or None)
        del inputs["labels"]
        return self.adapter(**self._moved(inputs)).numbers

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
        if not 0 <= temperature < float("inf"):
            raise InputError(f"temperature: {temperature!r}; it must be 0 or more")
        if max_length is not None and max_length < 1:
            raise InputError(f"max_length: {max_length!r}; it must be at least 1")
        options: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            options["temperature"] = float(temperature)
        options |= self._moved(self.encoder.prompts([question], [None if photo is None else _picture(photo)]))
        elsewhere = self.device.type != "cpu"
        kind = {"device_type": self.device.type} if elsewhere else {}
        with torch.random.fork_rng([self.device] if elsewhere else [], **kind):
            torch.manual_seed(seed)
            written = self.adapter.generate(**options, max_new_tokens=max_length or LONGEST, emission=emission)
        return self.encoder.text(written.answers[0].tolist()), written.numbers

    def _moved(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in inputs.items()}


def _picture(photo: np.ndarray) -> Image.Image:
    return Image.fromarray(square(photo))
