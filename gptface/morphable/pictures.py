"""Pictures of heads for people: a portrait, a turntable strip, a contact sheet of all shapes."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import torch

from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.integers import whole_number
from gptface.morphable.model import MorphableModel
from gptface.morphable.parameters import FaceParameters, draw
from gptface.morphable.rotation import angles_to_matrix, matrix_to_rotation_6d, rotation_6d_to_matrix

__all__ = ["check_picture_path", "check_picture_size", "contact_sheet", "portrait", "turntable", "write_picture"]

BACKGROUND = 0.90
CLOSER = 1.6
"""How much closer a contact sheet's camera stands than a portrait's: shapes are seen in the face."""


def _pillow() -> ModuleType:
    """Pillow's ``Image``; an error names the extra where it is missing."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise InputError('pictures need Pillow: pip install "gptface[morphable]"') from None
    return Image


@torch.no_grad()
def portrait(
    model: MorphableModel, parameters: FaceParameters, size: int = 512, *, supersampling: int = 2
) -> np.ndarray:
    """A square picture, uint8 ``(size, size, 3)``, of the first head, its edges smoothed.

    Args:
        model: the model.
        parameters: of one head or more.
        size: side in pixels, 8 to 4096.
        supersampling: how many samples a side each pixel is averaged from.

    Raises:
        InputError: parameters that are not finite, a size that is no picture, or nothing of the head is to be seen.
    """
    check_picture_size(size)
    if whole_number(supersampling, "supersampling") < 1:
        raise InputError(f"supersampling={supersampling}; allowed: 1 or more")
    parameters.check()
    side = size * supersampling
    plain = torch.full((side, side, 3), BACKGROUND, device=model.mean.device)
    drawn = draw(model, parameters, side, side, background=plain)
    if not bool((drawn.raster.triangle[:1] >= 0).any()):
        raise InputError(f"nothing of {model.name} is in the picture: its weights or its place carry it out of sight")
    image = drawn.image[:1].permute(0, 3, 1, 2)
    smooth = torch.nn.functional.avg_pool2d(image, supersampling)[0].permute(1, 2, 0)
    return (smooth.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def turntable(
    model: MorphableModel,
    parameters: FaceParameters,
    size: int = 256,
    *,
    yaws: Sequence[float] = (-60, -30, 0, 30, 60),
) -> np.ndarray:
    """Portraits side by side, uint8 ``(size, len(yaws)·size, 3)``, the head turned by each yaw on top of its pose."""
    if len(yaws) == 0:
        raise InputError("yaws names no angle; a turntable needs one or more")
    pictures = []
    matrix = rotation_6d_to_matrix(parameters.rotation)
    for yaw in yaws:
        angle = torch.tensor([float(yaw)], device=matrix.device)
        turn = angles_to_matrix(angle, torch.zeros_like(angle), torch.zeros_like(angle))
        turned = parameters.replace(rotation=matrix_to_rotation_6d(turn @ matrix))
        pictures.append(portrait(model, turned, size))
    return np.concatenate(pictures, 1)


def contact_sheet(
    model: MorphableModel,
    *,
    kind: Literal["expression", "identity", "albedo"] = "expression",
    size: int = 128,
    columns: int = 9,
    weight: float | None = None,
) -> np.ndarray:
    """All shapes of a kind in one picture, uint8, each with its name; the neutral face comes first.

    Args:
        model: the model.
        kind: which shapes.
        size: side of a cell in pixels.
        columns: cells in a row.
        weight: of each shape; ``None`` takes 1 for blendshapes and 2 standard deviations otherwise.

    Raises:
        InputError: an unknown kind, the model has no such shapes, or no columns.
    """
    if kind not in ("expression", "identity", "albedo"):
        raise InputError(f"kind {kind!r} is unknown; allowed: expression, identity, albedo")
    if whole_number(columns, "columns") < 1:
        raise InputError(f"columns={columns}; allowed: 1 or more")
    Image = _pillow()
    from PIL import ImageDraw

    names: tuple[str, ...] = getattr(model, f"{kind}_names")
    if not names:
        raise InputError(f"{model.name} has no {kind} shapes to show")
    if weight is None:
        weight = 1.0 if kind == "expression" and model.expression_kind == "blendshape" else 2.0
    neutral = FaceParameters.neutral(model)
    neutral = neutral.replace(focal=neutral.focal * CLOSER)
    line = 13
    rows = -(-(len(names) + 1) // columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + line)), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for index, name in enumerate(("neutral", *names)):
        shown = neutral if index == 0 else neutral.replace(**{kind: model.weights(kind, {name: weight})})
        left, top = index % columns * size, index // columns * (size + line)
        sheet.paste(Image.fromarray(portrait(model, shown, size)), (left, top))
        pen.text((left + 2, top + size), name, fill=(40, 40, 40))
    return np.asarray(sheet)


def check_picture_size(size: int) -> None:
    """Refuse a side in pixels that no picture of a head has.

    Raises:
        InputError: it is no whole number from 8 to 4096.
    """
    if not 8 <= whole_number(size, "size") <= 4096:
        raise InputError(f"a picture of {size} pixels a side cannot be drawn; allowed: 8 to 4096")


def check_picture_path(path: str | os.PathLike[str]) -> None:
    """Refuse a path whose suffix is no picture format.

    Raises:
        InputError: a suffix that Pillow cannot write, or Pillow is missing.
    """
    Image = _pillow()
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    try:
        if kind not in Image.SAVE:
            raise OSError
        Image.new("RGB", (8, 8)).save(io.BytesIO(), kind)  # some formats are known by name alone, or take no colours
    except (OSError, ValueError):
        raise InputError(
            f"{path} names no picture format that can be written; allowed are .png, .jpg and others"
        ) from None


def write_picture(path: str | os.PathLike[str], picture: np.ndarray) -> None:
    """Write a uint8 ``(H, W, 3)`` picture; the suffix chooses the format.

    Raises:
        InputError: see :func:`check_picture_path`; a size that the format does not have.
    """
    check_picture_path(path)
    with atomic_write(path) as temporary:
        try:
            _pillow().fromarray(picture).save(temporary)
        except ValueError as error:  # such as a WebP wider than its format allows
            raise InputError(f"{path}: a picture of this size cannot be written in this format ({error})") from None
