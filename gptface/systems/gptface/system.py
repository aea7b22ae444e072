"""``FaceSystem``: everything a trained system consists of, as one folder on disk.

* ``tokenizer/``: image tokenizer
* ``model/``: face–language transformer
* ``text_tokenizer/``: word pieces
* ``parser/``: facial regions and attributes (optional)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from gptface.errors import InputError
from gptface.files import atomic_directory, refuse_url
from gptface.hub import Description, share
from gptface.models.parser import FaceParser
from gptface.models.tokenizer import FaceTokenizer
from gptface.systems.gptface.transformer import FaceLanguageModel

__all__ = ["FaceSystem"]

DESCRIPTION = Description(
    title="GPTFace system",
    summary=(
        "Generates faces from captions, edits them by attributes, expressions and words, and captions them: image "
        "tokenizer, transformer, text tokenizer and, for edits, a face parser, in a folder each."
    ),
    code=(
        "from huggingface_hub import snapshot_download\n"
        "from gptface.systems.gptface import FaceSystem\n"
        "from gptface.systems.gptface.generation import FaceGenerator\n"
        "\n"
        'generator = FaceGenerator(FaceSystem.from_pretrained(snapshot_download("REPOSITORY")))'
    ),
    limits=(
        "Faces that are unlike those it was trained on come out like those. Look at what it makes before you believe "
        "a figure: eyes and mouths are the first to be wrong."
    ),
    tags=("text-to-image", "image-editing"),
    task="text-to-image",
    paper="2510.18345",
)


@dataclass
class FaceSystem:
    """The parts of a trained system, checked against one another.

    Attributes:
        tokenizer: pictures to codes and back.
        model: the transformer over word pieces and codes.
        text_tokenizer: captions to word pieces.
        parser: finds facial regions for editing; ``None`` where the system has none.

    Raises:
        InputError: where the parts do not belong together.
    """

    tokenizer: FaceTokenizer
    model: FaceLanguageModel
    text_tokenizer: PreTrainedTokenizerFast
    parser: FaceParser | None = None

    def __post_init__(self) -> None:
        codes, model = self.tokenizer.config, self.model.config
        if codes.codebook_size != model.codebook_size:
            raise InputError(
                f"the image tokenizer has {codes.codebook_size} codes, but the model was made for {model.codebook_size}"
            )
        if tuple(codes.grid) != tuple(model.image_grid):
            raise InputError(
                f"the image tokenizer's grid is {tuple(codes.grid)}, "
                f"but the model was made for {tuple(model.image_grid)}"
            )
        if len(self.text_tokenizer) > model.text_vocab_size:
            raise InputError(
                f"the text tokenizer has {len(self.text_tokenizer)} pieces, but the model was made for "
                f"{model.text_vocab_size}"
            )
        for name in ("pad", "cls", "sep", "mask"):
            ours = getattr(model, f"{name}_token_id")
            theirs = getattr(self.text_tokenizer, f"{name}_token_id")
            if ours != theirs:
                raise InputError(
                    f"the text tokenizer's {name} token has the id {theirs}, but the model was made for {ours}"
                )
        if self.parser is not None and self.parser.config.image_size != codes.image_size:
            raise InputError(
                f"the parser was made for images of {self.parser.config.image_size} pixels, "
                f"the image tokenizer for {codes.image_size}"
            )

    def _networks(self) -> list[PreTrainedModel]:
        return [part for part in (self.tokenizer, self.model, self.parser) if part is not None]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def to(self, device: torch.device | str | torch.dtype, dtype: torch.dtype | None = None) -> FaceSystem:
        """Move every network to ``device``, convert them to ``dtype``, or both, in place."""
        if isinstance(device, torch.dtype):
            return self.to(self.device, device)
        for network in self._networks():
            nn.Module.to(network, device, dtype)
        return self

    def float(self) -> FaceSystem:
        """Convert every network to float32, in place."""
        return self.to(torch.float32)

    def half(self) -> FaceSystem:
        """Convert every network to float16, in place; the tokenizer's codebook stays float32."""
        return self.to(torch.float16)

    def bfloat16(self) -> FaceSystem:
        """Convert every network to bfloat16, in place; the tokenizer's codebook stays float32."""
        return self.to(torch.bfloat16)

    def eval(self) -> FaceSystem:
        """Put every network into evaluation mode, in place."""
        for network in self._networks():
            network.eval()
        return self

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the parts into ``folder``. Each part appears whole or not at all; other files are left alone."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        parts = {"tokenizer": self.tokenizer, "model": self.model, "text_tokenizer": self.text_tokenizer}
        if self.parser is not None:
            parts["parser"] = self.parser
        for name, part in parts.items():
            with atomic_directory(target / name) as temporary:
                part.save_pretrained(temporary)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the system with a card that is filled from its run.

        Args:
            repo_id: ``owner/name``, or a name among one's own repositories.
            options: ``run``, ``licence``, ``private``, ``token`` … of :func:`gptface.hub.share`.

        Returns:
            the commit's address. ``from_pretrained(huggingface_hub.snapshot_download(repo_id))`` loads it.

        Raises:
            InputError: see :func:`gptface.hub.share`.
        """
        weights = sum(value.numel() for network in self._networks() for value in network.parameters())
        return share(self.save_pretrained, DESCRIPTION, repo_id, weights, **options)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> FaceSystem:
        """Load a system folder, ready for use (evaluation mode).

        Args:
            folder: what :meth:`save_pretrained` or ``gptface train pretrain`` left.
            device: where the networks go.
            dtype: of the networks, such as ``torch.bfloat16``; by default as they were saved.

        Raises:
            InputError: the folder or one of its parts is missing, unreadable, or does not fit the others.
        """
        refuse_url("folder", folder)
        source = Path(folder)
        if not source.is_dir():
            raise InputError(
                f"{source}: there is no such folder; a trained system is what `gptface train pretrain` leaves"
            )
        missing = [name for name in ("tokenizer", "model", "text_tokenizer") if not (source / name).is_dir()]
        if missing:
            raise InputError(f"{source}: is not a trained system, it lacks {', '.join(name + '/' for name in missing)}")
        try:
            text_tokenizer: Any = AutoTokenizer.from_pretrained(str(source / "text_tokenizer"), local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{source / 'text_tokenizer'}: cannot be loaded as a text tokenizer: {error}") from error
        options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
        parser = source / "parser"
        system = cls(
            tokenizer=FaceTokenizer.from_pretrained(source / "tokenizer", **options),
            model=FaceLanguageModel.from_pretrained(source / "model", **options),
            text_tokenizer=text_tokenizer,
            parser=FaceParser.from_pretrained(parser, **options) if parser.is_dir() else None,
        )
        return system.to(device).eval()
