"""Pairs for pre-training: images as codes, encoded once or as they come, and captions as word pieces."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gptface.data.batches import FaceBatch
from gptface.data.text import load_text_tokenizer, train_text_tokenizer
from gptface.files import atomic_directory
from gptface.models import FaceTokenizer
from gptface.systems.gptface.configuration import Configuration
from gptface.systems.gptface.picture_codes import PictureCodes

__all__ = [
    "PairMaker",
    "Pairs",
    "prepare_text_tokenizer",
    "tokenizer_identity",
]


@dataclass
class Pairs:
    """A batch as the objective takes it.

    Attributes:
        codes: int64 (B, N).
        text_ids: int64 (B, T), padded, without [CLS] and [SEP].
        text_lengths: int64 (B,).
        sample_ids: int64 (B,), identities that key every random choice.
        rows: int64 (B,), place of each pair in the data set; ``None`` where pictures are not cached.
        regions: int64 (B, N), facial region of every image token; ``None`` where the data have no region maps.
        host_lengths: ``text_lengths`` on the host, for sizes that must be known there; ``None`` where only the device
            knows them.
    """

    codes: Tensor
    text_ids: Tensor
    text_lengths: Tensor
    sample_ids: Tensor
    rows: Tensor | None = None
    regions: Tensor | None = None
    host_lengths: Tensor | None = None

    def first(self, count: int) -> Pairs:
        """The first ``count`` pairs."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        kept = {name: value[:count] for name, value in values.items() if value is not None}
        return dataclasses.replace(self, **kept)


class PairMaker:
    """Makes pairs of faces: their codes are theirs, or looked up where all images were encoded before, or encoded now.

    Args:
        tokenizer: encodes.
        codes: of all faces of the cache.
    """

    def __init__(self, tokenizer: FaceTokenizer, codes: PictureCodes | None = None) -> None:
        self.tokenizer = tokenizer
        self.codes = codes

    def __call__(self, faces: FaceBatch) -> Pairs:
        assert faces.text_ids is not None and faces.text_lengths is not None
        regions = faces.token_regions
        if faces.codes is not None:
            codes = faces.codes
        elif self.codes is not None:
            codes, regions = self.codes.of(faces)
        else:
            assert faces.images is not None
            codes = self.tokenizer.encode(faces.images)
        return Pairs(
            codes,
            faces.text_ids,
            faces.text_lengths,
            faces.sample_ids,
            faces.rows,
            regions,
            faces.host_lengths,
        )


def prepare_text_tokenizer(
    configuration: Configuration,
    captions: Iterator[str],
    folder: Path,
    accelerator: Accelerator | None = None,
    keep: bool = False,
) -> PreTrainedTokenizerFast:
    """The text tokenizer of a run, in ``folder``: the one named by path, else trained on ``captions``.

    With ``keep`` (a run that is resumed) the one already in ``folder`` is taken.
    """
    if (accelerator is None or accelerator.is_main_process) and not (keep and folder.is_dir()):
        section = configuration.pretrain
        if section.text_tokenizer is not None:
            tokenizer = load_text_tokenizer(Path(section.text_tokenizer).expanduser())
        else:
            tokenizer = train_text_tokenizer(captions, section.vocabulary_size)
        with atomic_directory(folder) as temporary:
            tokenizer.save_pretrained(temporary)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    return load_text_tokenizer(folder)


def tokenizer_identity(folder: Path) -> str:
    """A short digest of a saved tokenizer's (or other model's) configuration and weights."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:12]
