"""Pairs of portraits, at rest and smiling: a person's identity nearer to itself than to others', a smile seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gptface.evaluation.portrait_pairs import AT_REST, SMILING, PortraitPairs
from gptface.morphable import FaceParameters, MorphableModel, vertex_distances
from gptface.progress import Display
from gptface.systems.facegpt.evaluation import measures
from gptface.systems.facegpt.evaluation.methods import Reconstruct, array_of, complete, part, reconstructed

__all__ = ["measure_pairs", "pair_lines"]

PIXELS = "pixels"
_SMILE = ("mouthSmile_L", "mouthSmile_R", "mouthSmile")


def measure_pairs(
    model: MorphableModel,
    pairs: PortraitPairs,
    methods: Mapping[str, Reconstruct],
    display: Display | None = None,
) -> tuple[list[dict[str, Any]], dict[str, tuple[FaceParameters, FaceParameters]]]:
    """A row a method.

    Returns:
        rows of ``name``, ``identity``: how often a person's two portraits are nearer in identity weights than a
        portrait at rest and another person's smiling one (AUC), ``identity_shape``: the same by millimetres between
        the heads at rest, ``smile``: how often smile weights are larger in a smiling portrait than in any at rest
        (AUC), and ``smile_of_person``: the share of people of whom that holds for their own two; intervals over
        people. The first row are the pixels themselves, grey, 16 a side: two portraits of one sitting share light and
        hair too. And the heads at rest and smiling of each method.
    """
    columns = [model.expression_names.index(name) for name in _SMILE if name in model.expression_names]
    count = len(pairs.people)
    found: dict[str, tuple[FaceParameters, FaceParameters]] = {}
    nothing: measures.Measure = {"value": None, "interval": [None, None], "n": count}
    pixels = torch.cdist(_thumbnails(pairs.at_rest), _thumbnails(pairs.smiling))
    rows: list[dict[str, Any]] = [
        {
            "name": PIXELS,
            "n": count,
            "identity": _nearer(array_of(pixels)),
            "identity_shape": nothing,
            "smile": nothing,
            "smile_of_person": None,
        }
    ]
    for name, reconstruct in methods.items():
        heads = [
            complete(model, reconstructed(f"{name}, {which}", reconstruct, images, model, display), count)
            for which, images in ((AT_REST, pairs.at_rest), (SMILING, pairs.smiling))
        ]
        found[name] = (heads[0], heads[1])
        row: dict[str, Any] = {"name": name, "n": count}
        weights = torch.cdist(heads[0].identity.double(), heads[1].identity.double())
        row["identity"] = _nearer(array_of(weights))
        shapes = [
            vertex_distances(model, part(heads[0], slice(person, person + 1)), heads[1], expression=False)
            for person in range(count)
        ]
        row["identity_shape"] = _nearer(array_of(torch.stack(shapes)))
        smiles = [array_of(each.expression[:, columns].mean(1)) for each in heads] if columns else None
        row["smile"] = _smile_area(smiles, count)
        row["smile_of_person"] = None if smiles is None else measures.share(smiles[1] > smiles[0])
        rows.append(row)
    return rows, found


def _thumbnails(images: np.ndarray) -> torch.Tensor:
    """float64 ``(N, 256)``: 16² grey pixels of each picture, without their mean."""
    grey = torch.from_numpy(images).double().mean(-1)[:, None]
    small = torch.nn.functional.interpolate(grey, (16, 16), mode="area").flatten(1)
    return small - small.mean(1, keepdim=True)


def _nearer(distances: np.ndarray) -> measures.Measure:
    """AUC of a person's own distance, on the diagonal, being below those to others ``(N, N)``."""

    def own(rows: np.ndarray) -> np.ndarray:
        return -distances[rows, rows]

    def others(rows: np.ndarray) -> np.ndarray:
        # A person drawn twice is no other person to herself.
        square = -distances[np.ix_(rows, rows)]
        return square[rows[:, None] != rows[None, :]]

    return measures.area(others, own, len(distances))


def _smile_area(smiles: Sequence[np.ndarray] | None, count: int) -> measures.Measure:
    if smiles is None:
        return {"value": None, "interval": [None, None], "n": count}
    at_rest, smiling = smiles
    return measures.area(lambda rows: at_rest[rows], lambda rows: smiling[rows], count)


def pair_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a row."""
    lines = []
    for row in rows:
        person = "–" if row["smile_of_person"] is None else measures.told(row["smile_of_person"])
        lines.append(
            f"{row['name']}: AUC of identity {measures.told(row['identity'])}, of the shape at rest "
            f"{measures.told(row['identity_shape'])}, of the smile {measures.told(row['smile'])} "
            f"(by person {person}); {row['n']} people"
        )
    return lines
