"""Encoders compared by frozen features: linear and attentive probes, beside random weights, pixels and HOG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gptface.errors import InputError
from gptface.evaluation.attentive_probe import attentive_probe
from gptface.evaluation.encoder_features import EncodedFaces, encode_faces, token_grid
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.features import HOG_SIZE, hog_features, pixel_features, shape_features
from gptface.evaluation.labelled_faces import LabelledFaces, label_subset
from gptface.evaluation.metrics import accuracy_interval, cluster_bootstrap_interval
from gptface.evaluation.probe import probe_candidates
from gptface.progress import Countdown, Display

__all__ = ["HOG", "LANDMARKS", "PIXELS", "FrozenFaces", "compare_probes", "freeze_faces", "probe_lines", "reading_size"]

PIXELS, HOG, LANDMARKS = "pixels", "HOG", "landmarks"
FEWEST_OF_A_CLASS = 2  # one to fit on and one to choose by


def reading_size(*encoders: FaceEncoder) -> int:
    """Side at which faces are read, once: the largest that an encoder or HOG takes."""
    return max(HOG_SIZE, *(encoder.image_size for encoder in encoders))


@dataclass(frozen=True)
class FrozenFaces:
    """One representation of the training and of the test faces, computed once for all probes of it.

    Attributes:
        name: in the rows of the result.
        train, test: float32 ``(N, D)`` by name: candidates, or patches ``(N, n, C)`` under ``"patches"`` alone.
    """

    name: str
    train: Mapping[str, np.ndarray]
    test: Mapping[str, np.ndarray]

    @property
    def attentive(self) -> bool:
        """Whether these are patches, for attentive pooling."""
        return set(self.train) == {"patches"}


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 ``(N, C, H, W)`` to ``(N, size, size, C)``, averaged down where they are larger."""
    parts = []
    for start in range(0, len(images), 256):
        part = torch.from_numpy(images[start : start + 256])
        if part.shape[-1] != size:
            part = torch.nn.functional.interpolate(part, (size, size), mode="bilinear", antialias=True)
        parts.append(part.movedim(1, -1).numpy())
    return np.concatenate(parts)


def freeze_faces(
    train: LabelledFaces,
    test: LabelledFaces,
    encoders: Mapping[str, FaceEncoder],
    display: Display | None = None,
) -> list[FrozenFaces]:
    """Every representation of the faces: of each encoder for both kinds of probe, pixels (32² grey), HOG, and
    the shape of their landmarks where they were read with them.

    Args:
        train, test: faces read at :func:`reading_size`.
        encoders: by the name that their rows begin with.
    """
    display = display or Display("probe", shown=False)
    sets = (train.images, test.images)
    total = len(train) + len(test)
    found: list[FrozenFaces] = []
    for name, encoder in encoders.items():
        grid = token_grid(encoder.grid, encoder.width, total)
        if grid != tuple(encoder.grid):
            rows, columns = encoder.grid
            display.line(f"{name}: {rows} × {columns} patches, averaged to {grid[0]} × {grid[1]} for attentive pooling")
        countdown = Countdown(display, f"{name}: features of {total} faces", total)
        ours, theirs = (
            encode_faces(encoder, images, grid, advance=countdown.after(past))
            for images, past in zip(sets, (0, len(train)), strict=True)
        )
        found += _both_kinds(name, ours, theirs)
    found.append(FrozenFaces(PIXELS, *({"32²": pixel_features(_resized(images, HOG_SIZE))} for images in sets)))
    countdown = Countdown(display, f"{HOG} of {total} faces", total)
    histograms = []
    for images, past in zip(sets, (0, len(train)), strict=True):
        resized = _resized(images, HOG_SIZE)
        histograms.append({"HOG": hog_features(resized, countdown.after(past))})
    found.append(FrozenFaces(HOG, *histograms))
    if train.points is not None and test.points is not None:
        shapes = ({"shape": shape_features(points, train.points)} for points in (train.points, test.points))
        found.append(FrozenFaces(LANDMARKS, *shapes))
    return found


def _both_kinds(name: str, train: EncodedFaces, test: EncodedFaces) -> list[FrozenFaces]:
    return [
        FrozenFaces(f"{name}, linear", train.summaries, test.summaries),
        FrozenFaces(f"{name}, attentive pooling", {"patches": train.tokens}, {"patches": test.tokens}),
    ]


def _refuse_empty_classes(train: LabelledFaces, shares: Sequence[float]) -> None:
    counts = np.bincount(train.labels, minlength=len(train.classes))
    for share in shares:
        if not 0 < share <= 1:
            raise InputError(f"label share: {share:g}; it must be above 0 and at most 1")
        for name, count in zip(train.classes, counts.tolist(), strict=True):
            left = round(share * count)
            if left < FEWEST_OF_A_CLASS:
                raise InputError(
                    f"label share: {share:g} leaves {left} of the {count} training faces of {name}; "
                    f"at least {FEWEST_OF_A_CLASS} of each class are needed"
                )


def compare_probes(
    train: LabelledFaces,
    test: LabelledFaces,
    encoders: Mapping[str, FaceEncoder],
    *,
    shares: Sequence[float] = (1.0,),
    seeds: int = 1,
    by_people: bool = True,
    display: Display | None = None,
) -> list[dict[str, Any]]:
    """Probe every representation on every share of the labels, ``seeds`` times, each measured once on the test faces.

    Seed ``s`` draws the labels in use, the people held out to choose by, and the attentive probe's order and weights,
    the same for every representation.

    Args:
        train, test: faces of the same classes, read at :func:`reading_size`, of different people.
        encoders: in evaluation mode, by the name that their rows begin with.
        shares: of the training labels.
        seeds: how many times.
        by_people: whether ``groups`` of the faces are people; if not, each face counts as independent.

    Returns:
        Rows by share, then representation. ``accuracy`` and ``balanced_accuracy`` are means over the seeds and
        ``deviation`` the accuracy's over them (``None`` of one); ``interval`` is the 95 % interval of the mean over
        another draw of test people (or faces, Wilson's); ``above_hog`` the paired difference with its interval;
        ``seeds`` say what was chosen: the representation and penalty, or the steps of training.

    Raises:
        InputError: a share that leaves too few faces of a class, and what the probes raise.
    """
    if seeds < 1:
        raise InputError(f"seeds: {seeds}; at least 1")
    _refuse_empty_classes(train, shares)
    display = display or Display("probe", shown=False)
    frozen = freeze_faces(train, test, encoders, display)
    rows = []
    for share in shares:
        subsets = [label_subset(train.labels, share, seed) for seed in range(seeds)]
        count = len(subsets[0])
        countdown = Countdown(display, f"probes on {count} labels", len(frozen) * seeds)
        found: list[dict[str, Any]] = []
        right: dict[str, np.ndarray] = {}
        for number, representation in enumerate(frozen):
            runs, answers = [], []
            for seed, subset in enumerate(subsets):
                begun = number * seeds + seed
                run, predictions = _probe(representation, train, test, subset, seed, by_people, countdown, begun)
                runs.append(run)
                answers.append(predictions == test.labels)
                countdown.advance(begun + 1)
            right[representation.name] = np.mean(answers, axis=0)
            found.append(_row(representation.name, share, count, runs, right[representation.name], test, by_people))
        for row in found:
            row["above_hog"] = _above(right[row["name"]], right[HOG], test, by_people)
        rows += found
    return rows


def _probe(
    faces: FrozenFaces,
    train: LabelledFaces,
    test: LabelledFaces,
    subset: np.ndarray,
    seed: int,
    by_people: bool,
    countdown: Countdown,
    begun: int,
) -> tuple[dict[str, Any], np.ndarray]:
    """One probe: what it chose and came to, and its answers."""
    ours = {name: values[subset] for name, values in faces.train.items()}
    labels = train.labels[subset]
    groups = train.groups[subset] if by_people else None
    if faces.attentive:
        attentive = attentive_probe(
            ours["patches"],
            labels,
            faces.test["patches"],
            test.labels,
            groups=groups,
            seed=seed,
            advance=lambda done: countdown.advance(begun + 0.99 * done),
        )
        chosen: dict[str, Any] = {"steps": attentive.steps, "selection": attentive.selection}
        return _run(seed, attentive.accuracy, attentive.balanced, chosen), attentive.predictions
    linear = probe_candidates(ours, labels, faces.test, test.labels, groups=groups, seed=seed)
    chosen = {"candidate": linear.candidate, "penalty": linear.penalty, "selection": linear.selection}
    return _run(seed, linear.accuracy, linear.balanced, chosen), linear.predictions


def _run(seed: int, accuracy: float, balanced: float, chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {"seed": seed, "accuracy": accuracy, "balanced_accuracy": balanced, **chosen}


def _row(
    name: str,
    share: float,
    count: int,
    runs: list[dict[str, Any]],
    right: np.ndarray,
    test: LabelledFaces,
    by_people: bool,
) -> dict[str, Any]:
    accuracies = [run["accuracy"] for run in runs]
    return {
        "name": name,
        "label_share": share,
        "labels": count,
        "accuracy": float(np.mean(accuracies)),
        "interval": list(accuracy_interval(right, test.groups if by_people else None)),
        "deviation": float(np.std(accuracies, ddof=1)) if len(runs) > 1 else None,
        "balanced_accuracy": float(np.mean([run["balanced_accuracy"] for run in runs])),
        "n": len(test),
        "seeds": runs,
    }


def _above(right: np.ndarray, reference: np.ndarray, test: LabelledFaces, by_people: bool) -> dict[str, Any]:
    difference = right - reference
    groups = test.groups if by_people else np.arange(len(test))
    interval = cluster_bootstrap_interval(difference, groups)
    return {"difference": float(difference.mean()), "interval": list(interval)}


def probe_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """``NAME accuracy 0.931 [0.909, 0.949] balanced 0.928 n 677``, a line a row; several seeds with the deviation."""
    lines = []
    for row in rows:
        share = "" if row["label_share"] == 1 else f", {100 * row['label_share']:g} % of the labels"
        deviation = "" if row["deviation"] is None else f" ± {row['deviation']:.3f}"
        low, high = row["interval"]
        told = f"[{low:.3f}, {high:.3f}] balanced {row['balanced_accuracy']:.3f} n {row['n']}"
        lines.append(f"{row['name']}{share} accuracy {row['accuracy']:.3f}{deviation} {told}")
    return lines
