"""Contact sheets of heads beside their pictures: photo, overlay, the head alone, and turned to both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gptface.errors import InputError
from gptface.evaluation.pictures import SheetRow, draw_sheet
from gptface.morphable import FaceParameters, MorphableModel, portrait
from gptface.morphable.overlays import OVERLAY_COLUMNS, overlay_strip, without_pose
from gptface.systems.facegpt.evaluation.methods import part

__all__ = ["draw_heads", "draw_sentences"]

SHOWN = 6
CLOSER = 1.6
"""How much closer the camera of sentences' heads stands than a portrait's: what words ask for is in the face."""
CELL = 160


def _cells(strip: np.ndarray) -> list[np.ndarray]:
    return list(np.split(strip, strip.shape[1] // strip.shape[0], 1))


def draw_heads(
    path: Path,
    model: MorphableModel,
    images: np.ndarray,
    found: Mapping[str, FaceParameters],
    names: Sequence[str],
    *,
    shown: int = SHOWN,
) -> Path:
    """Some pictures, spread over all, a row for every method: :data:`OVERLAY_COLUMNS`.

    Args:
        path: PNG.
        model: of the heads.
        images: uint8 ``(N, S, S, 3)``.
        found: heads of all ``N`` pictures by method.
        names: of the pictures.
        shown: pictures at most.
    """
    rows = []
    for number in np.linspace(0, len(images) - 1, min(shown, len(images))).astype(int).tolist():
        for method, heads in found.items():
            strip = _strip(model, part(heads, slice(number, number + 1)), images[number])
            rows.append(SheetRow(_cells(strip), f"{names[number]}: {method}"))
    return draw_sheet(path, rows, OVERLAY_COLUMNS, cell=CELL)


def _strip(model: MorphableModel, head: FaceParameters, image: np.ndarray) -> np.ndarray:
    """The overlay; the photo alone where nothing of the head can be drawn, as of a system that failed."""
    try:
        return overlay_strip(model, head, image, CELL)
    except InputError:
        blank = np.full((CELL, CELL * len(OVERLAY_COLUMNS), 3), 255, np.uint8)
        side = min(CELL, image.shape[0])
        blank[:side, :side] = image[:side, :side]
        return blank


def draw_sentences(
    path: Path, model: MorphableModel, texts: Sequence[str], found: Mapping[str, FaceParameters], *, shown: int = 12
) -> Path:
    """Portraits of heads made from sentences, a row a sentence, a column a method, all at one pose and light."""
    rows = []
    for number in np.linspace(0, len(texts) - 1, min(shown, len(texts))).astype(int).tolist():
        heads = [without_pose(model, part(each, slice(number, number + 1))) for each in found.values()]
        heads = [head.replace(focal=CLOSER * head.focal) for head in heads]
        rows.append(SheetRow([portrait(model, head, CELL) for head in heads], texts[number]))
    return draw_sheet(path, rows, list(found), cell=CELL)
