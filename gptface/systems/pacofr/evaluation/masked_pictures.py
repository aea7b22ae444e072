"""The work of ``gptface evaluate masked``: a sheet of faces, of what is masked of them, and of what is made of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptface.data.known_regions import KnownRegions
from gptface.data.landmark_files import LandmarkTable
from gptface.data.pixels import images_to_tensor, tensor_to_images
from gptface.data.region_masks import draw_groups
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.evaluation.device import pick_device
from gptface.evaluation.face_set import FaceSet, collect_faces
from gptface.evaluation.pictures import SheetRow, draw_sheet
from gptface.faces.names import find
from gptface.faces.templates import TEMPLATES
from gptface.faces.token_regions import TOKEN_REGIONS, token_regions
from gptface.models.patches import unpatchify
from gptface.objectives import restored_patches
from gptface.systems.pacofr.evaluation.masked_batches import masked_batches
from gptface.systems.pacofr.evaluation.region_outlines import GROUP_COLOURS, outline_regions, tint_patches
from gptface.systems.pacofr.leak import LinearDecoder, linear_decoder
from gptface.systems.pacofr.masking import PatchMask, draw_mask
from gptface.systems.pacofr.model import PaCoFR

__all__ = ["MaskedSheetRequest", "draw_masked_faces"]

# Faces beside those that are shown, on which the map from tokens to pixels is fitted.
FITTED_FACES = 256
CELL = 192  # pixels that a picture of the sheet has at least
GREY = (128, 128, 128)


@dataclass(frozen=True)
class MaskedSheetRequest:
    """A model and faces; the fields are the options of ``gptface evaluate masked``.

    Attributes:
        model: folder that ``gptface train pacofr`` leaves, ``model``.
        faces: held out; the first ``count`` are drawn.
        output: the PNG.
        landmarks, template: where region maps come from that the faces lack, as in ``data.landmarks`` and
            ``data.template`` of a training. Where a face has none after all, patches are masked at random.
        count: faces on the sheet.
        ratio: share of the patches that is masked.
        seed: of the masks.
    """

    model: Path
    faces: Sequence[str]
    output: Path
    landmarks: str | None = None
    template: str | None = None
    count: int = 8
    ratio: float = 0.75
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"count: got {self.count}; allowed: at least 1")
        if not 0 < self.ratio < 1:
            raise InputError(f"ratio: got {self.ratio}; allowed: more than 0 and less than 1")
        if self.output.suffix.lower() != ".png":
            raise InputError(f"output: {self.output}; its name must end in .png")
        if self.template is not None:
            find("template", self.template, TEMPLATES)


@torch.inference_mode()
def draw_masked_faces(request: MaskedSheetRequest) -> list[str]:
    """Draw the sheet; a line about each face on it.

    Columns: the original; its facial regions; what is masked, grey, and tinted the group that was masked whole; what
    the tokens say alone, each masked patch decoded by itself with the linear map of other faces (left out for models
    without tokens, and where those faces are too few to fit it); the reconstruction. Predictions are of normalised
    patches: each is shown with the mean and the spread of the true patch, and visible patches as they are.

    Raises:
        InputError: a folder that holds no such model, no usable faces, or landmarks of other faces.
    """
    model = PaCoFR.from_pretrained(request.model).eval().to(pick_device(request.device))
    faces = _faces(request, model.config.image_size)
    shown = _part(faces, slice(0, request.count))
    decoder = _decoder(model, _part(faces, slice(request.count, None)), request)
    images = images_to_tensor(shown.images, model.device)
    regions, groups, mask = _mask(model, shown, request)
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        out = model(images, mask)
    assert out.predicted is not None and out.targets is not None
    patches = model.encoder.cut(images)
    steps = [("reconstruction", out.predicted)]
    if decoder is not None and out.tokens is not None:
        steps.insert(0, ("tokens alone", decoder(out.tokens)))
    made = [(heading, _pictures(model, patches, mask, normalised)) for heading, normalised in steps]
    originals = _pictures(model, patches, mask, out.targets)
    masked = mask.masked.view(-1, *model.config.grid).cpu().numpy()
    errors = (out.predicted - out.targets).square().mean(1).view(len(images), -1).mean(1).tolist()
    scale = max(1, round(CELL / model.config.image_size))
    rows, lines = [], []
    for number, sample in enumerate(shown.samples):
        hidden = tint_patches(originals[number], masked[number], GREY, 1.0)
        text = f"{int(masked[number].sum())} of {masked[number].size} patches masked"
        cells = [originals[number]]
        if regions is not None and groups is not None and sample.region_map is not None:
            cells.append(outline_regions(shown.images[number], sample.region_map, scale))
            group = groups[number].view(model.config.grid).cpu().numpy().astype(bool)
            if group.any():
                name = TOKEN_REGIONS[int(regions[number][groups[number].bool()][0])]
                whole = "whole" if bool(masked[number][group].all()) else "in part"
                text += f", {name.replace('_', ' ')} {whole}"
                hidden = tint_patches(hidden, group & masked[number], GROUP_COLOURS[name], 0.6)
        cells += [hidden, *(pictures[number] for _, pictures in made)]
        lines.append(f"{text}; pixel error {errors[number]:.3f}")
        rows.append(SheetRow(cells, lines[-1]))
    headings = ["original", *(["regions"] if regions is not None else []), "masked", *(heading for heading, _ in made)]
    draw_sheet(request.output, rows, headings, cell=scale * model.config.image_size)
    return [f"{sample.metadata.get('key', '')}: {line}" for sample, line in zip(shown.samples, lines, strict=True)]


def _faces(request: MaskedSheetRequest, size: int) -> FaceSet:
    """The faces to show, then those to fit on, with region maps where something is known of them."""
    table = None if request.landmarks is None else LandmarkTable([request.landmarks])
    shards = FaceShards(list(request.faces), size, table)
    if table is not None:
        table.matched(shards.keys(), "the faces")
    return collect_faces(KnownRegions(shards, table, request.template), request.count + FITTED_FACES)


def _part(faces: FaceSet, which: slice) -> FaceSet:
    return FaceSet(faces.images[which], faces.captions[which], faces.samples[which], {})


def _decoder(model: PaCoFR, others: FaceSet, request: MaskedSheetRequest) -> LinearDecoder | None:
    """The linear map from tokens to patches of other faces; ``None`` without tokens, or with too few patches."""
    tokens, targets = [], []
    for out in masked_batches(model, others, request.ratio, request.seed):
        if out.tokens is None or out.targets is None:
            return None
        tokens.append(out.tokens)
        targets.append(out.targets)
    if sum(map(len, tokens)) < 2 * (model.config.code_dim + 1):
        return None
    return linear_decoder(torch.cat(tokens), torch.cat(targets))


def _mask(
    model: PaCoFR, shown: FaceSet, request: MaskedSheetRequest
) -> tuple[Tensor | None, Tensor | None, PatchMask]:
    """Regions (B, N) of the patches, which of them are of the drawn group, and the masks, as a training draws them."""
    ids = torch.from_numpy(np.array([sample.sample_id for sample in shown.samples], dtype=np.int64)).to(model.device)
    maps: list[Any] = [sample.region_map for sample in shown.samples]
    grid, seed = model.config.grid, request.seed
    if any(region_map is None for region_map in maps):
        return None, None, draw_mask(None, ids, grid, request.ratio, seed=seed, step=0)
    regions = token_regions(torch.from_numpy(np.stack(maps)).to(model.device), grid, boundary=True)
    groups = draw_groups(regions, ids, seed=seed, step=0)
    return regions, groups, draw_mask(regions, ids, grid, request.ratio, seed=seed, step=0)


def _pictures(model: PaCoFR, patches: Tensor, mask: PatchMask, normalised: Tensor) -> np.ndarray:
    """uint8 (B, S, S, 3): the pictures with other masked patches, given normalised (M, P)."""
    flat = patches.flatten(0, 1).clone()
    flat[mask.masked_rows] = restored_patches(normalised, flat[mask.masked_rows])
    pictures = unpatchify(flat.view_as(patches), model.config.patch_size, model.config.grid)
    return tensor_to_images(pictures.expand(-1, 3, -1, -1))
