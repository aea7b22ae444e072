"""The codes of all pictures of a cache, made once before the training: of each picture, and of views of it."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from gptface.data.batches import FaceBatch
from gptface.data.cache import FaceCache
from gptface.data.cached_batches import stacked_regions
from gptface.data.pixels import images_to_tensor
from gptface.data.views import Views
from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.models import FaceTokenizer
from gptface.progress import Display, format_duration
from gptface.systems.gptface.configuration import PictureViewSection

__all__ = ["ENCODING_BATCH", "PictureCodes", "encode_images"]

ENCODING_BATCH = 128


@dataclass
class PictureCodes:
    """Codes of n pictures with N tokens each, and of V views of each of them, on the tokenizer's device.

    Attributes:
        codes: int32 (1 or 2, n, N), of the pictures and, where some are mirrored, of their mirror images.
        views: int32 (V, 1 or 2, n, N), likewise.
        regions: uint8 (V, 1 or 2, n, N), facial regions of the views' tokens; ``None`` where nobody asked for them.
    """

    codes: Tensor
    views: Tensor
    regions: Tensor | None = None

    def of(self, faces: FaceBatch) -> tuple[Tensor, Tensor | None]:
        """Codes int64 (B, N) of the faces in their epochs, and the facial regions of these tokens, where known.

        A picture and its views come in turn, an epoch each; samples begin in different places.
        """
        assert faces.rows is not None
        side = faces.mirrored.long()
        codes, regions = self.codes[side, faces.rows].long(), faces.token_regions
        if len(self.views):
            turn = (faces.sample_ids + faces.epochs) % (len(self.views) + 1)
            view, seen = (turn - 1).clamp_min(0), (turn > 0)[:, None]
            codes = torch.where(seen, self.views[view, side, faces.rows].long(), codes)
            if regions is not None:
                assert self.regions is not None
                regions = torch.where(seen, self.regions[view, side, faces.rows].long(), regions)
        return codes, regions


def encode_images(
    cache: FaceCache,
    tokenizer: FaceTokenizer,
    identity: str,
    *,
    flips: bool,
    views: PictureViewSection | None = None,
    regions: bool = False,
    accelerator: Accelerator | None = None,
    verbose: bool = True,
) -> PictureCodes:
    """The codes of every image of ``cache``, with ``flips`` of its mirror image too, and those of ``views`` of it.

    They are kept beside the cache, under a name made of ``identity``, the tokenizer's, and of what the views are: a
    second run with the same ones reads them.

    Args:
        regions: also find the facial region of every token of the views.

    Raises:
        InputError: a file of codes that cannot be read.
    """
    count = 0 if views is None else views.count
    name = f"codes-{identity}-{'both' if flips else 'once'}"
    path = cache.folder / f"{name}.npz"
    main = accelerator is None or accelerator.is_main_process
    if main and not path.is_file():
        _save(path, codes=_encode_images(cache, tokenizer, flips, verbose).numpy())
    paths = [path]
    if views is not None and count:
        described = json.dumps({**views.model_dump(mode="json"), "regions": regions}, sort_keys=True)
        digest = hashlib.sha256(described.encode()).hexdigest()[:12]
        paths.append(cache.folder / f"{name}-views-{digest}.npz")
        if main and not paths[-1].is_file():
            _save(paths[-1], **_encode_views(cache, tokenizer, views, flips, regions, verbose))
    if accelerator is not None:
        accelerator.wait_for_everyone()
    codes, *further = (_read(each, tokenizer.device) for each in paths)
    if not further:
        return PictureCodes(codes["codes"], codes["codes"].new_empty(0, *codes["codes"].shape))
    return PictureCodes(codes["codes"], further[0]["codes"], further[0].get("regions"))


def _save(path: Path, **arrays: np.ndarray) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its last named parameter is no array


def _read(path: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        with np.load(path) as arrays:
            found = {name: torch.from_numpy(arrays[name]).to(device) for name in arrays.files}
        return {"codes": found["codes"], **found}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is not a readable file of codes ({error}); remove it to have it made again"
        ) from None


@torch.no_grad()
def _encode_images(cache: FaceCache, tokenizer: FaceTokenizer, flips: bool, verbose: bool) -> Tensor:
    sides = (False, True) if flips else (False,)
    result = torch.empty(len(sides), len(cache), int(np.prod(tokenizer.config.grid)), dtype=torch.int32)
    for side, rows in _parts(len(sides), len(cache), "encoding", verbose):
        images = cache.image_tensor[rows]
        pixels = images_to_tensor(images.flip(2) if sides[side] else images, tokenizer.device)
        result[side, rows] = tokenizer.encode(pixels).int().cpu()
    return result


@torch.no_grad()
def _encode_views(
    cache: FaceCache, tokenizer: FaceTokenizer, section: PictureViewSection, flips: bool, regions: bool, verbose: bool
) -> dict[str, np.ndarray]:
    """``codes`` and, where asked for, ``regions`` as :class:`PictureCodes` has them of its views."""
    sides, count, grid = (2 if flips else 1), len(cache), tokenizer.config.grid
    shape = (section.count * sides, count, int(np.prod(grid)))
    codes, found = np.empty(shape, np.int32), np.empty(shape if regions else (0,), np.uint8)
    views = Views(section, int(tokenizer.config.image_size), seed=0)
    for number, rows in _parts(section.count * sides, count, "encoding views", verbose):
        batch = _batch(cache, rows, number // sides, mirrored=number % sides == 1, regions=regions)
        view = views(batch)
        codes[number, rows] = tokenizer.encode(view.images.to(tokenizer.device)).int().cpu().numpy()
        if view.region_maps is not None:
            found[number, rows] = stacked_regions(view.region_maps.numpy(), (grid[0], grid[1])).numpy()
    shaped = {"codes": codes.reshape(section.count, sides, *shape[1:])}
    return shaped | ({"regions": found.reshape(section.count, sides, *shape[1:])} if regions else {})


def _batch(cache: FaceCache, rows: slice, epoch: int, *, mirrored: bool, regions: bool) -> FaceBatch:
    """Raw pictures, which :class:`Views` mirrors itself."""
    ids = torch.from_numpy(cache.sample_ids[rows])
    batch = FaceBatch(ids, torch.full_like(ids, mirrored, dtype=torch.bool), torch.full_like(ids, epoch))
    batch.images = cache.image_tensor[rows]
    if regions:
        assert cache.region_maps is not None
        batch.region_maps = torch.from_numpy(np.array(cache.region_maps[rows]))
    return batch


def _parts(passes: int, count: int, title: str, verbose: bool) -> Iterator[tuple[int, slice]]:
    """The rows of ``passes`` passes over ``count`` pictures, batch by batch, with progress shown."""
    begun = time.monotonic()
    with Display(title, verbose) as display:
        for number in range(passes):
            for start in range(0, count, ENCODING_BATCH):
                rows = slice(start, min(start + ENCODING_BATCH, count))
                yield number, rows
                share = (number * count + rows.stop) / (passes * count)
                display.advance(share, f"{format_duration((time.monotonic() - begun) * (1 - share) / share)} left")
