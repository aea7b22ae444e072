"""Pairs for pre-training: captions as word pieces, images as codes, encoded once or as they come."""

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

from gptface.data.augmentation import SIDES
from gptface.data.cache import FaceCache
from gptface.data.cached_batches import Selection
from gptface.data.collation import PairBatch
from gptface.data.pixels import images_to_tensor
from gptface.data.sample import Sample
from gptface.data.shard_writer import SampleDataset
from gptface.data.text import encode_captions, load_text_tokenizer, train_text_tokenizer
from gptface.errors import InputError
from gptface.faces.region_grid import region_grid
from gptface.files import atomic_directory, atomic_write
from gptface.models import FaceTokenizer
from gptface.progress import Display, format_duration
from gptface.systems.gptface.configuration import Configuration

__all__ = [
    "EncodedPairs",
    "Pairs",
    "captions_of",
    "encode_pairs",
    "encoded_on_the_fly",
    "prepare_text_tokenizer",
    "tokenizer_identity",
]

ENCODING_BATCH = 128
CAPTIONS_READ = 100_000  # as many captions as are read for the text tokenizer where captions are not cached


@dataclass
class Pairs:
    """A batch as the objective takes it.

    Attributes:
        codes: int64 (B, N).
        text_ids: int64 (B, T), padded, without [CLS] and [SEP].
        text_lengths: int64 (B,).
        sample_ids: int64 (B,), identities that key every random choice.
        rows: int64 (B,), place of each pair in the data set; ``None`` where data are not cached.
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


@dataclass
class EncodedPairs:
    """A whole data set as codes and word pieces; n pairs, F = 2 with mirrored copies, K captions a face.

    Attributes:
        codes: int32 (F, n, N).
        regions: uint8 (F, n, N) or ``None``.
        text_ids: int32 (n, K, T); text_lengths: int32 (n, K).
        sample_ids: int64 (n,).
        flippable: bool (n, K): the caption does not speak of left and right.
        host_lengths: ``text_lengths``, which stays on the host wherever the others go.
    """

    codes: Tensor
    regions: Tensor | None
    text_ids: Tensor
    text_lengths: Tensor
    sample_ids: Tensor
    flippable: Tensor
    host_lengths: Tensor

    def __len__(self) -> int:
        return len(self.sample_ids)

    def to(self, device: torch.device) -> EncodedPairs:
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if value is not None}
        return dataclasses.replace(self, **{**moved, "host_lengths": self.host_lengths})

    def select(self, selection: Selection) -> Pairs:
        """The batch that ``selection`` names, on the device where the data lie."""
        device = self.codes.device
        rows = selection.indices.to(device, non_blocking=True)
        turn = (rows + selection.epochs.to(device, non_blocking=True)) % self.text_ids.shape[1]
        flips = (selection.flips.to(device, non_blocking=True) & self.flippable[rows, turn]).long()
        return Pairs(
            self.codes[flips, rows].long(),
            self.text_ids[rows, turn].long(),
            self.text_lengths[rows, turn].long(),
            self.sample_ids[rows],
            rows,
            None if self.regions is None else self.regions[flips, rows].long(),
            self.host_lengths[selection.indices, (selection.indices + selection.epochs) % self.text_ids.shape[1]],
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


def captions_of(dataset: SampleDataset) -> Iterator[str]:
    """The captions of the first hundred thousand samples, read one after another."""
    for index in range(min(len(dataset), CAPTIONS_READ)):
        item = dataset[index]
        if isinstance(item, Sample) and item.caption:
            yield item.caption


def encode_pairs(
    cache: FaceCache,
    tokenizer: FaceTokenizer,
    identity: str,
    text_tokenizer: PreTrainedTokenizerFast,
    text_length: int,
    *,
    flips: bool,
    with_regions: bool,
    accelerator: Accelerator | None = None,
    verbose: bool = True,
) -> EncodedPairs:
    """Encode every image of ``cache`` (and its mirror image), and every caption.

    The codes are kept beside the cache, under a name made of ``identity``, the tokenizer's: a second run with the same
    tokenizer reads them. Columns of the text that no caption reaches are cut off.
    """
    path = cache.folder / f"codes-{identity}-{'both' if flips else 'once'}.npz"
    if (accelerator is None or accelerator.is_main_process) and not path.is_file():
        codes = _encode_images(cache, tokenizer, flips, verbose)
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, codes=codes.numpy())
    if accelerator is not None:
        accelerator.wait_for_everyone()
    try:
        codes = torch.from_numpy(np.load(path)["codes"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: is not a readable file of codes ({error}); remove it to have it made again"
        ) from None
    captions = [caption for several in cache.captions for caption in several]
    text_ids, lengths = encode_captions(text_tokenizer, captions, text_length)
    text_ids = text_ids[:, : max(1, int(lengths.max()))]
    shape = (len(cache), len(captions) // len(cache))
    regions = None
    if with_regions and cache.region_maps is not None:
        grids = [_grids(cache.region_maps, tokenizer.config.grid)]
        if flips:
            grids.append(_grids(cache.region_maps[:, :, ::-1], tokenizer.config.grid))
        regions = torch.stack(grids)
    lengths = lengths.int().view(shape)
    return EncodedPairs(
        codes,
        regions,
        text_ids.int().view(*shape, -1),
        lengths,
        torch.from_numpy(cache.sample_ids),
        torch.tensor([SIDES.search(caption) is None for caption in captions]).view(shape),
        lengths,
    )


def _grids(region_maps: np.ndarray, grid: tuple[int, int]) -> Tensor:
    return torch.from_numpy(np.stack([region_grid(labels, grid) for labels in region_maps]).astype(np.uint8))


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


def encoded_on_the_fly(batch: PairBatch, tokenizer: FaceTokenizer, needs_regions: bool) -> Pairs:
    """A loader's batch with its images encoded now."""
    if needs_regions and batch.region_grid is None:
        raise InputError(
            "pretrain.image_masks.regions: must be 0 for this data, which has samples without a region map"
        )
    host_lengths = batch.text_lengths
    batch = batch.to(tokenizer.device, non_blocking=True)
    assert batch.images is not None
    codes = tokenizer.encode(batch.images)
    return Pairs(codes, batch.text_ids, batch.text_lengths, batch.sample_ids, None, batch.region_grid, host_lengths)


def tokenizer_identity(folder: Path) -> str:
    """A short digest of a saved tokenizer's configuration and weights."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:12]
