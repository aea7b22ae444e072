"""Pairs for pre-training: images as codes, encoded once or as they come, and captions as word pieces."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gptface.data.batches import FaceBatch
from gptface.data.cache import FaceCache
from gptface.data.pixels import images_to_tensor
from gptface.data.text import load_text_tokenizer, train_text_tokenizer
from gptface.errors import InputError
from gptface.files import atomic_directory, atomic_write
from gptface.models import FaceTokenizer
from gptface.progress import Display, format_duration
from gptface.systems.gptface.configuration import Configuration

__all__ = [
    "PairMaker",
    "Pairs",
    "encode_images",
    "prepare_text_tokenizer",
    "tokenizer_identity",
]

ENCODING_BATCH = 128


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
        codes: of all faces of the cache, as :func:`encode_images` gives them.
    """

    def __init__(self, tokenizer: FaceTokenizer, codes: Tensor | None = None) -> None:
        self.tokenizer = tokenizer
        self.codes = codes

    def __call__(self, faces: FaceBatch) -> Pairs:
        assert faces.text_ids is not None and faces.text_lengths is not None
        if faces.codes is not None:
            codes = faces.codes
        elif self.codes is not None:
            assert faces.rows is not None
            codes = self.codes[faces.mirrored.long(), faces.rows].long()
        else:
            assert faces.images is not None
            codes = self.tokenizer.encode(faces.images)
        return Pairs(
            codes,
            faces.text_ids,
            faces.text_lengths,
            faces.sample_ids,
            faces.rows,
            faces.token_regions,
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


def encode_images(
    cache: FaceCache,
    tokenizer: FaceTokenizer,
    identity: str,
    *,
    flips: bool,
    accelerator: Accelerator | None = None,
    verbose: bool = True,
) -> Tensor:
    """The codes of every image of ``cache``, and with ``flips`` of its mirror image: int32 (1 or 2, n, N).

    They lie on the tokenizer's device and are kept beside the cache, under a name made of ``identity``, the
    tokenizer's: a second run with the same tokenizer reads them.
    """
    path = cache.folder / f"codes-{identity}-{'both' if flips else 'once'}.npz"
    if (accelerator is None or accelerator.is_main_process) and not path.is_file():
        codes = _encode_images(cache, tokenizer, flips, verbose)
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, codes=codes.numpy())
    if accelerator is not None:
        accelerator.wait_for_everyone()
    try:
        return torch.from_numpy(np.load(path)["codes"]).to(tokenizer.device)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: is not a readable file of codes ({error}); remove it to have it made again"
        ) from None


@torch.no_grad()
def _encode_images(cache: FaceCache, tokenizer: FaceTokenizer, flips: bool, verbose: bool) -> Tensor:
    device = tokenizer.device
    begun, count, sides = time.monotonic(), len(cache), (False, True) if flips else (False,)
    result = torch.empty(len(sides), count, int(np.prod(tokenizer.config.grid)), dtype=torch.int32)
    with Display("encoding", verbose) as display:
        for side, mirrored in enumerate(sides):
            for start in range(0, count, ENCODING_BATCH):
                images = cache.image_tensor[start : start + ENCODING_BATCH]
                pixels = images_to_tensor(images.flip(2) if mirrored else images, device)
                result[side, start : start + len(images)] = tokenizer.encode(pixels).int().cpu()
                share = (side * count + start + len(images)) / (len(sides) * count)
                display.advance(share, f"{format_duration((time.monotonic() - begun) * (1 - share) / share)} left")
    return result


def tokenizer_identity(folder: Path) -> str:
    """A short digest of a saved tokenizer's configuration and weights."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:12]
