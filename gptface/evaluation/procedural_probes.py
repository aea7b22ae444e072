"""What frozen features know of procedural faces, whose labels are exact: regions, attributes, expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gptface.data.labels import UNKNOWN, known_labels
from gptface.data.procedural import ProceduralFaces
from gptface.data.sample import Sample
from gptface.errors import InputError
from gptface.evaluation.encoder_features import EncodedFaces, encode_faces
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.face_set import HELD_OUT_SEED
from gptface.evaluation.metrics import class_counts, mean_f1
from gptface.evaluation.probe import probe_candidates
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from gptface.faces.region_grid import region_grid
from gptface.faces.regions import REGIONS
from gptface.models.patches import patchify
from gptface.progress import Countdown, Display

__all__ = [
    "PatchPixels",
    "ProceduralSet",
    "draw_procedural_set",
    "measure_on_procedural_faces",
    "probe_lines",
    "probe_procedural_faces",
]

# Patches of so many training faces are tens of thousands of rows, which is enough for a linear map.
REGION_FACES = 200
TEST_START = 1_000_000  # index of the first test face: the same generator, other faces
REPLICATES = 2000


class PatchPixels:
    """The pixels of each patch and nothing else, as an encoder: what features of patches are compared with.

    Args:
        encoder: whose picture size and grid are taken.
    """

    def __init__(self, encoder: FaceEncoder) -> None:
        self.image_size, self.grid = encoder.image_size, encoder.grid
        self._side = encoder.image_size // encoder.grid[0]
        self.width = 3 * self._side**2

    def forward_features(self, images: Tensor) -> Tensor:
        return patchify(images, self._side)


@dataclass(frozen=True)
class ProceduralSet:
    """Procedural faces with exact labels.

    Attributes:
        images: uint8 ``(N, 3, S, S)``.
        regions: int64 ``(N, h*w)``, the region of each patch.
        attributes: float32 ``(N, A)``, 0 or 1, NaN where an occluder hides it.
        expressions: int64 ``(N,)``.
    """

    images: np.ndarray
    regions: np.ndarray
    attributes: np.ndarray
    expressions: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def draw_procedural_set(
    count: int,
    encoder: FaceEncoder,
    *,
    seed: int = HELD_OUT_SEED,
    start: int = 0,
    advance: Callable[[int], None] | None = None,
) -> ProceduralSet:
    """Render ``count`` faces at an encoder's size, with the regions of its patches."""
    dataset = ProceduralFaces(seed=seed, size=encoder.image_size, start=start, count=count)
    samples: list[Sample] = []
    for number in range(count):
        samples.append(dataset[number])
        if advance is not None:
            advance(number + 1)
    attributes, expressions = known_labels(samples)
    assert (expressions != UNKNOWN).all()  # the generator names every one
    regions = [region_grid(sample.region_map, encoder.grid) for sample in samples if sample.region_map is not None]
    images = np.stack([sample.image for sample in samples]).transpose(0, 3, 1, 2)
    return ProceduralSet(np.ascontiguousarray(images), np.stack(regions), attributes, expressions)


def probe_procedural_faces(
    train: ProceduralSet,
    test: ProceduralSet,
    encoders: Mapping[str, FaceEncoder],
    display: Display | None = None,
) -> list[dict[str, Any]]:
    """Linear probes of every encoder's last layer for regions, attributes and expressions.

    Regions are read off each patch's own features, as the mean F1 over the regions; the rest off the patches averaged
    to 4 × 4 cells. Held-out training faces choose the penalty.

    Args:
        train, test: drawn for these encoders: all of one size and grid.
        encoders: in evaluation mode, by name.

    Returns:
        Rows with ``name``, ``task``, ``score`` (``measure`` says which), its 95 % ``interval`` over another draw of
        test faces (bootstrap), ``n`` and, by name, the figure of each region or attribute.
    """
    display = display or Display("regions", shown=False)
    rows = []
    for name, encoder in encoders.items():
        total = len(train) + len(test)
        countdown = Countdown(display, f"{name}: features of {total} faces", total)
        ours = encode_faces(encoder, train.images, encoder.grid, advance=countdown.after(0))
        theirs = encode_faces(encoder, test.images, encoder.grid, advance=countdown.after(len(train)))
        tasks = (_regions, _attributes, _expressions)
        countdown = Countdown(display, f"{name}: probes", len(tasks))
        for done, task in enumerate(tasks, 1):
            rows.append({"name": name, **task(ours, theirs, train, test), "n": len(test)})
            countdown.advance(done)
    return rows


def measure_on_procedural_faces(
    encoder: FaceEncoder,
    random: FaceEncoder,
    *,
    faces: int = 2000,
    test_faces: int = 500,
    seed: int = HELD_OUT_SEED,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """:func:`probe_procedural_faces` of an encoder, its architecture with random weights and its patches' own pixels.

    Raises:
        InputError: fewer than 50 faces to fit on, or than 10 to measure on.
    """
    if faces < 50 or test_faces < 10:
        raise InputError(f"faces: {faces} to fit on and {test_faces} to measure on; at least 50 and 10 are needed")
    encoders = {"encoder": encoder, "random weights": random, "patch pixels": PatchPixels(encoder)}
    for network in encoders.values():
        if isinstance(network, nn.Module):
            network.to(device)
    with Display("regions") as display:
        countdown = Countdown(display, f"{faces + test_faces} procedural faces", faces + test_faces)
        train = draw_procedural_set(faces, encoder, seed=seed, advance=countdown.after(0))
        test = draw_procedural_set(test_faces, encoder, seed=seed, start=TEST_START, advance=countdown.after(faces))
        rows = probe_procedural_faces(train, test, encoders, display)
    return {"faces": faces, "test_faces": test_faces, "faces_seed": seed, "rows": rows}


def _interval(counts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """95 % bootstrap interval of a statistic of sums over faces; ``counts (faces, ...)``."""
    faces = len(counts)
    draws = np.random.default_rng(0).multinomial(faces, np.full(faces, 1 / faces), size=REPLICATES)
    sums = (draws @ counts.reshape(faces, -1)).reshape(REPLICATES, *counts.shape[1:])
    return [float(bound) for bound in np.quantile(statistic(sums), [0.025, 0.975])]


def _regions(ours: EncodedFaces, theirs: EncodedFaces, train: ProceduralSet, test: ProceduralSet) -> dict[str, Any]:
    faces = min(REGION_FACES, len(train))
    labels, truth = train.regions[:faces], test.regions
    present, known = np.unique(labels, return_inverse=True)

    def score(predicted: np.ndarray, wanted: np.ndarray) -> float:
        return float(mean_f1(class_counts(predicted, wanted, len(REGIONS))))

    result = probe_candidates(
        {"patch": ours.tokens[:faces].reshape(labels.size, -1).astype(np.float32)},
        known.ravel(),
        {"patch": theirs.tokens.reshape(truth.size, -1).astype(np.float32)},
        truth.ravel(),
        groups=np.repeat(np.arange(faces), labels.shape[1]),
        balanced=False,
        score=score,
    )
    predicted = present[result.predictions].reshape(truth.shape)
    counts = np.stack([class_counts(*pair, len(REGIONS)) for pair in zip(predicted, truth, strict=True)])
    each = {
        REGIONS[label]: float(mean_f1(counts.sum(0)[:, label : label + 1]))
        for label in np.unique(np.concatenate([present, truth.ravel()])).tolist()
    }
    return {
        "task": "regions",
        "measure": "mean F1",
        "score": float(mean_f1(counts.sum(0))),
        "interval": _interval(counts, mean_f1),
        "penalty": result.penalty,
        "each": each,
    }


def _cells(faces: EncodedFaces) -> np.ndarray:
    return next(values for name, values in faces.summaries.items() if name.startswith("last layer, ") and "×" in name)


def _attributes(ours: EncodedFaces, theirs: EncodedFaces, train: ProceduralSet, test: ProceduralSet) -> dict[str, Any]:
    features, others = _cells(ours), _cells(theirs)
    each: dict[str, dict[str, float]] = {}
    right: list[np.ndarray] = []
    seen: list[np.ndarray] = []
    for number, name in enumerate(LABELLED_ATTRIBUTES):
        rows, places = (np.flatnonzero(~np.isnan(faces.attributes[:, number])) for faces in (train, test))
        labels, truth = train.attributes[rows, number].astype(int), test.attributes[places, number].astype(int)
        if min(np.bincount(labels, minlength=2)) < 10 or not len(truth):
            continue  # next to nobody has it, or lacks it
        result = probe_candidates(
            {"cells": features[rows]},
            labels,
            {"cells": others[places]},
            truth,
            balanced=False,
            score=lambda predicted, wanted: float((predicted == wanted).mean()),
        )
        each[name] = {"accuracy": result.accuracy, "balanced": result.balanced, "commonest": result.majority}
        hits, known = np.zeros(len(test)), np.zeros(len(test))
        hits[places], known[places] = result.predictions == truth, 1
        right.append(hits)
        seen.append(known)
    if not each:
        raise InputError(f"faces: among {len(train)} training faces no attribute is there and absent ten times")
    counts = np.stack([np.stack(right, 1), np.stack(seen, 1)], 1)  # (faces, 2, attributes)

    def mean_accuracy(sums: np.ndarray) -> np.ndarray:
        return (sums[..., 0, :] / np.maximum(sums[..., 1, :], 1)).mean(-1)

    return {
        "task": "attributes",
        "measure": "mean accuracy",
        "score": float(mean_accuracy(counts.sum(0))),
        "interval": _interval(counts, mean_accuracy),
        "commonest": float(np.mean([own["commonest"] for own in each.values()])),
        "balanced": float(np.mean([own["balanced"] for own in each.values()])),
        "each": each,
    }


def _expressions(ours: EncodedFaces, theirs: EncodedFaces, train: ProceduralSet, test: ProceduralSet) -> dict[str, Any]:
    result = probe_candidates({"cells": _cells(ours)}, train.expressions, {"cells": _cells(theirs)}, test.expressions)
    hits = (result.predictions == test.expressions).astype(float)
    return {
        "task": "expressions",
        "measure": "accuracy",
        "score": result.accuracy,
        "interval": _interval(hits, lambda sums: sums / len(test)),
        "commonest": result.majority,
        "balanced": result.balanced,
        "penalty": result.penalty,
        "each": {
            LABELLED_EXPRESSIONS[label]: float(hits[test.expressions == label].mean())
            for label in np.unique(test.expressions).tolist()
        },
    }


def probe_lines(rows: list[dict[str, Any]]) -> list[str]:
    """``NAME, TASK MEASURE 0.812 [0.801, 0.823] n 500``, a line a row."""
    return [
        f"{row['name']}, {row['task']} {row['measure']} {row['score']:.3f} "
        f"[{row['interval'][0]:.3f}, {row['interval'][1]:.3f}] n {row['n']}"
        for row in rows
    ]
