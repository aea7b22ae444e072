"""``FaceGPTSystem``: a trained FaceGPT with its morphable model, ready to reconstruct, sculpt and answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from gptface.data.pixels import images_to_tensor
from gptface.errors import InputError
from gptface.files import atomic_directory, refuse_url
from gptface.hub import Description, share
from gptface.morphable import MorphableModel
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.decoding import Emission, answer
from gptface.systems.facegpt.face_system import Answer, FaceSystem, single
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.model import FaceGPT
from gptface.systems.facegpt.morphable_reference import MorphableReference
from gptface.systems.facegpt.photos import square
from gptface.systems.facegpt.sequence import ConversationTokens, collate

__all__ = ["Answer", "FaceGPTSystem", "single"]

DESCRIPTION = Description(
    title="FaceGPT system",
    summary=(
        "Makes 3D heads of photos and of sentences and answers questions about them: a language model of faces with "
        "its tokenizer."
    ),
    code=(
        "from huggingface_hub import snapshot_download\n"
        "from gptface.systems.facegpt.system import FaceGPTSystem\n"
        "\n"
        'system = FaceGPTSystem.load(snapshot_download("REPOSITORY"), morphable="MORPHABLE")'
    ),
    limits=(
        "It needs the morphable model it was trained with (named in morphable.json), whose data are not in this "
        "repository. A head that it makes is a plausible one, not a measurement of anybody."
    ),
    tags=("3d-face", "morphable-model"),
    task="image-to-3d",
    paper="2406.07163",
)


class FaceGPTSystem(FaceSystem):
    """A language model of faces, its tokenizer and the morphable model whose parameters it gives.

    Args:
        model: the language model.
        tokens: its tokenizer.
        morphable: the morphable model it was trained with.

    Raises:
        InputError: the parts do not belong together.
    """

    def __init__(self, model: FaceGPT, tokens: ConversationTokens, morphable: MorphableModel) -> None:
        config = model.config
        self.layout = FaceLayout(morphable, config.identity_modes, config.expression_modes, config.albedo_modes)
        if self.layout.size != config.face_size:
            raise InputError(
                f"a face of {morphable.name} has {self.layout.size} numbers, but the model gives {config.face_size}: "
                "it was trained with another morphable model"
            )
        self.model = model.eval()
        self.tokens = tokens
        self.morphable = morphable.to(model.device)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        morphable: str | os.PathLike[str] | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> FaceGPTSystem:
        """Load what training left.

        Args:
            folder: that of a run of ``gptface train facegpt``, or ``model`` in it.
            morphable: name or path of the morphable model, where it is no longer where it was in training.
            device: where the networks go.

        Raises:
            InputError: the folder or a part of it is missing or damaged, or the parts do not belong together.
        """
        refuse_url("folder", folder)
        source = Path(folder)
        if (source / "model").is_dir():
            source = source / "model"
        if not (source / "config.json").is_file():
            missing = "there is no such folder" if not source.is_dir() else "holds no trained FaceGPT"
            raise InputError(f"{Path(folder)}: {missing}; allowed is what `gptface train facegpt` leaves")
        model = FaceGPT.from_pretrained(source)
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(str(source), local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{source}: holds no text tokenizer that can be loaded: {error}") from error
        tokens = ConversationTokens.of(tokenizer, model.config)
        nn.Module.to(model, device)
        return cls(model, tokens, MorphableReference.load(source).open(morphable))

    def save(self, folder: str | os.PathLike[str], morphable: str | os.PathLike[str]) -> None:
        """Write the model, its tokenizer and which morphable model it is for into a folder, whole or not at all.

        Args:
            folder: that :meth:`load` takes.
            morphable: name or path of the morphable model.
        """
        with atomic_directory(folder) as temporary:
            self.model.save_pretrained(temporary)
            self.tokens.tokenizer.save_pretrained(temporary)
            MorphableReference.of(self.morphable, morphable).save(temporary)

    def push_to_hub(self, repo_id: str, morphable: str | os.PathLike[str], **options: Any) -> str:
        """Upload the system with a card that is filled from its run; nothing of the morphable model's data.

        Args:
            repo_id: ``owner/name``, or a name among one's own repositories.
            morphable: name or path of the morphable model, as for :meth:`save`; of a path only the last part is told.
            options: ``run``, ``licence``, ``private``, ``token`` … of :func:`gptface.hub.share`.

        Returns:
            the commit's address. ``load(huggingface_hub.snapshot_download(repo_id), morphable)`` loads it.

        Raises:
            InputError: see :func:`gptface.hub.share`.
        """
        told = Path(morphable).name
        described = replace(DESCRIPTION, code=DESCRIPTION.code.replace("MORPHABLE", told))
        weights = sum(value.numel() for value in self.model.parameters())
        return share(lambda folder: self.save(folder, told), described, repo_id, weights, **options)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def image_size(self) -> int:
        return int(self.model.config.image_size)

    def _numbers(self, conversations: Sequence[Conversation], photos: Sequence[np.ndarray]) -> Tensor:
        if not photos and not self.model.config.language:
            raise InputError("this model was trained without language: it makes heads of photos, not of words")
        encoded = [self.tokens.encode(conversation) for conversation in conversations]
        batch = collate(encoded, self._images(photos), self.tokens, packed=False)
        numbers: Tensor = self.model(batch.to(self.device)).numbers
        return numbers

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
        (said,) = answer(
            self.model,
            self.tokens,
            [self.tokens.prompt(question, image=photo is not None)],
            self._images([] if photo is None else [photo]),
            emission=emission,
            temperature=temperature,
            seed=seed,
            max_new_tokens=max_length,
        )
        return said.text, said.numbers

    def _images(self, photos: Sequence[np.ndarray]) -> Tensor:
        size = self.image_size
        if not photos:
            return torch.zeros(0, 3, size, size)
        return images_to_tensor(np.stack([square(photo, size) for photo in photos]))
