"""``gptface evaluate parsing``: parts of a face read off an encoder's frozen patches, as LaPa's tables have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gptface.data.sample import Sample, Samples
from gptface.errors import InputError
from gptface.evaluation.device import pick_device
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.metrics import class_counts, class_f1
from gptface.evaluation.numbers import write_numbers
from gptface.evaluation.result_tables import (
    check_result_files,
    draw_by_name,
    draw_label_shares,
    markdown_table,
    write_text,
)
from gptface.evaluation.set_faces import FaceSource, samples_in_batches
from gptface.evaluation.shares import check_shares, deviation, face_subset, share_words
from gptface.evaluation.training_pictures import plain_pictures
from gptface.progress import Countdown, Display

__all__ = ["ParsingTest", "PatchParser", "measure_parsing", "parsing_lines"]

LAYOUT = "mean layout"
LEARNING_RATE = 1e-2
BATCH = 32
LEAST_STEPS = 200  # of a training on a share of the faces
FINER = 4  # cells of the loss a side of a patch: patches are coarse, and their scores are interpolated between them
REPLICATES = 1000
MARKED = "best epoch on the test faces †"


@dataclass(frozen=True)
class ParsingTest:
    """What is to be measured.

    Attributes:
        train, test: shards, globs or directories whose faces have region maps, or a folder of LaPa or CelebAMask-HQ.
        validation: likewise, by which the epoch is chosen; ``None``: the last one is taken.
        epochs: passes over the training faces; of a share of them, as many more as make ``LEAST_STEPS`` steps.
        shares: of the training faces, each in (0, 1]; validation faces are not cut.
        seeds: how often the faces in use and their order are drawn.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        seed: the first of them.
        output, table, plot: JSON, Markdown and PNG files, or ``None``.
        facts: further entries of the JSON.
    """

    train: Sequence[str]
    test: Sequence[str]
    validation: Sequence[str] | None = None
    epochs: int = 3
    shares: Sequence[float] = (1.0,)
    seeds: int = 1
    device: str = "auto"
    seed: int = 0
    output: Path | None = None
    table: Path | None = None
    plot: Path | None = None
    facts: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        check_result_files(self.table, self.plot)
        check_shares(self.shares, self.seeds)
        if self.epochs < 1:
            raise InputError(f"epochs: got {self.epochs}; at least 1")


class PatchParser(nn.Module):
    """One linear map of a frozen encoder's patches, its scores interpolated between them.

    Args:
        encoder: stays as it is.
        classes: how many.
    """

    def __init__(self, encoder: FaceEncoder, classes: int) -> None:
        super().__init__()
        self._encoder = [encoder]  # no part of this module: it is neither trained nor moved with it
        self.norm = nn.LayerNorm(encoder.width, elementwise_affine=False)
        self.output = nn.Linear(encoder.width, classes)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, pictures: Tensor, size: int) -> Tensor:
        """``pictures (B, 3, S, S)`` in [−1, 1] to scores ``(B, classes, size, size)``."""
        encoder = self._encoder[0]
        with torch.no_grad():
            patches = encoder.forward_features(pictures).float()
        scores = self.output(self.norm(patches)).mT.unflatten(2, encoder.grid)
        return nn.functional.interpolate(scores, (size, size), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class _Set:
    """Faces with label maps, read anew at each pass."""

    samples: Samples
    labels: Callable[[Sample], np.ndarray | None]
    skipped: Counter[str]

    def batches(self, order: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pictures uint8 (B, S, S, 3) and their labels int64 (B, S, S)."""
        self.skipped.clear()
        samples = self.samples if order is None else _Ordered(self.samples, order)
        for batch in samples_in_batches(samples, lambda sample: self.labels(sample) is not None, self.skipped, BATCH):
            maps = [labels for sample in batch if (labels := self.labels(sample)) is not None]
            yield np.stack([sample.image for sample in batch]), np.stack(maps).astype(np.int64)


class _Ordered:
    def __init__(self, samples: Samples, order: np.ndarray) -> None:
        self.samples, self.order = samples, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int, /) -> Any:
        return self.samples[int(self.order[index])]


def measure_parsing(wish: ParsingTest, encoders: Mapping[str, Callable[[], FaceEncoder]]) -> dict[str, Any]:
    """Train on the training faces, choose the epoch by the validation faces, measure on the test faces.

    Args:
        encoders: what opens each encoder, by the name of its row.

    Returns:
        ``rows``, one a share and method (``name``, ``label_share``, ``labels`` (faces in use), ``mean_f1`` over the
        classes but the background (the mean over the seeds) with its 95 % interval over the faces and its ``deviation``
        over the seeds, ``each`` class's F1, ``best_on_test``, ``seeds`` with the ``epoch`` that was chosen in each,
        ``n``), with what was asked for and read.

    Raises:
        InputError: whatever of the wish cannot be had, or no face with a label map.
    """
    device = pick_device(wish.device)
    found: dict[tuple[float, str], list[_Trained]] = {}
    with Display("parsing") as display:
        for title, open_encoder in encoders.items():
            encoder = open_encoder()
            if isinstance(encoder, nn.Module):
                encoder.to(device)
            size = encoder.image_size
            train, classes = _open(FaceSource(wish.train, "train", "training"), size)
            test, theirs = _open(FaceSource(wish.test, "test", "test"), size)
            validation = None
            if wish.validation is not None:
                validation, others = _open(FaceSource(wish.validation, "validation", "validation"), size)
                theirs = theirs if theirs != classes else others
            if theirs != classes:
                raise InputError(f"test: its classes are {', '.join(theirs)}; those of the training faces are others")
            for share in sorted(set(wish.shares)):
                for seed in range(wish.seed, wish.seed + wish.seeds):
                    drawn = face_subset(len(train.samples), share, seed)
                    first = title == next(iter(encoders))
                    layout = np.zeros((len(classes), size, size), dtype=np.int64) if first else None
                    parser = PatchParser(encoder, len(classes)).to(device)
                    shown = f"{title}{share_words(share)}"
                    trained = _train(parser, train, drawn, validation, test, wish, seed, layout, shown, display)
                    found.setdefault((share, title), []).append(trained)
                    if layout is not None:
                        counts = _layout_counts(layout.argmax(0), test, len(classes))
                        found.setdefault((share, LAYOUT), []).append(_Trained(seed, trained.labels, counts))
            for reason, count in train.skipped.items():
                display.line(f"training faces: {count} left out ({reason})")
    rows = [
        _row(name, share, found[share, name], classes)
        for share in sorted(set(wish.shares))
        for name in (LAYOUT, *encoders)
    ]
    summary = {
        **dict(wish.facts),
        "train_paths": " ".join(map(str, wish.train)),
        "validation_paths": None if wish.validation is None else " ".join(map(str, wish.validation)),
        "test_paths": " ".join(map(str, wish.test)),
        "train_faces": rows[-1]["labels"],
        "test_faces": rows[-1]["n"],
        "classes": list(classes),
        "epochs": wish.epochs,
        "image_size": size,
        "device": device.type,
        "rows": rows,
    }
    if wish.table is not None:
        write_text(wish.table, _table(summary))
    if wish.plot is not None:
        if len(set(wish.shares)) > 1:
            draw_label_shares(wish.plot, [{**row, "accuracy": row["mean_f1"]} for row in rows], "mean F1")
        else:
            known = {row["name"]: {name: f1 for name, f1 in row["each"].items() if f1 is not None} for row in rows}
            draw_by_name(wish.plot, known, "F1")
    if wish.output is not None:
        write_numbers(wish.output, summary)
    return summary


def _open(source: FaceSource, size: int) -> tuple[_Set, tuple[str, ...]]:
    """Faces with label maps, and the names of their classes, the background first."""
    samples, classes = source.open_with_labels(size)

    def labels(sample: Sample) -> np.ndarray | None:
        return sample.metadata.get("published_labels", sample.region_map)

    return _Set(samples, labels, Counter()), classes


@dataclass(frozen=True)
class _Trained:
    """One training, and what it came to on the test faces.

    Attributes:
        seed: of the faces in use.
        labels: how many they were.
        counts: int64 (faces, 3, classes) at the epoch that was chosen.
        epoch: which one.
        best_on_test: mean F1 of the epoch that the test faces would have chosen.
    """

    seed: int
    labels: int
    counts: np.ndarray
    epoch: int | None = None
    best_on_test: float | None = None


def _layout_counts(layout: np.ndarray, test: _Set, classes: int) -> np.ndarray:
    """int64 (faces, 3, classes) of one layout for every test face."""
    return np.stack(
        [class_counts(layout.ravel(), own.ravel(), classes) for _, maps in test.batches() for own in maps]
    )


def _train(
    parser: PatchParser,
    train: _Set,
    drawn: np.ndarray,
    validation: _Set | None,
    test: _Set,
    wish: ParsingTest,
    seed: int,
    layout: np.ndarray | None,
    title: str,
    display: Display,
) -> _Trained:
    """Train on the faces ``drawn``; ``layout`` is given how often each pixel is of each class."""
    optimizer = torch.optim.Adam(parser.parameters(), lr=LEARNING_RATE)
    device = parser.output.weight.device
    encoder = parser._encoder[0]
    side = min(encoder.image_size, FINER * encoder.grid[0])
    places = (np.arange(side) * encoder.image_size + encoder.image_size // 2) // side  # the middle of each cell
    generator = np.random.default_rng(seed)
    steps = -(-len(drawn) // BATCH) * wish.epochs
    passes = 1 if len(drawn) == len(train.samples) else -(-LEAST_STEPS // steps)  # an epoch
    count = passes * len(drawn)
    total = wish.epochs * (count + len(test.samples) + (0 if validation is None else len(validation.samples)))
    progress = Countdown(display, f"{title}: {wish.epochs} epochs", total)
    done, looks = 0, []
    for number in range(1, wish.epochs + 1):
        parser.train()
        seen = 0
        for turn in range(passes):
            for images, maps in train.batches(drawn[generator.permutation(len(drawn))]):
                share = min(1.0, (number - 1 + seen / count) / wish.epochs)
                for group in optimizer.param_groups:
                    group["lr"] = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * share))
                labels = torch.from_numpy(np.ascontiguousarray(maps[:, places[:, None], places])).to(device)
                scores = parser(_pictures(images, encoder, device), side)
                loss = nn.functional.cross_entropy(scores, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if layout is not None and number == 1 and turn == 0:
                    for label in range(len(layout)):
                        layout[label] += (maps == label).sum(0)
                seen += len(images)
                done += len(images)
                progress.advance(done)
        if not seen:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in train.skipped.items()) or "there is none"
            raise InputError(f"training faces: none of {len(drawn)} can be used ({reasons})")
        score = 0.0 if validation is None else float(_mean_f1(_measure(parser, validation, "validation").sum(0)))
        looks.append((score, number, _measure(parser, test, "test")))
        done = number * total // wish.epochs
        progress.advance(done)
    _, chosen, counts = looks[-1] if validation is None else max(looks, key=lambda look: look[0])
    best = max(float(_mean_f1(found.sum(0))) for _, _, found in looks)
    return _Trained(seed, seen // passes, counts, chosen, best)


def _pictures(images: np.ndarray, encoder: FaceEncoder, device: torch.device) -> Tensor:
    return plain_pictures(torch.from_numpy(images).movedim(3, 1).to(device), encoder.image_size)


@torch.no_grad()
def _measure(parser: PatchParser, faces: _Set, name: str) -> np.ndarray:
    """int64 (faces, 3, classes), counted over every pixel."""
    parser.eval()
    encoder, device = parser._encoder[0], parser.output.weight.device
    found = []
    for images, maps in faces.batches():
        predicted = parser(_pictures(images, encoder, device), encoder.image_size).argmax(1).cpu().numpy()
        found += [
            class_counts(own.ravel(), truth.ravel(), parser.output.out_features)
            for own, truth in zip(predicted, maps, strict=True)
        ]
    if not found:
        raise InputError(f"{name} faces: none of {len(faces.samples)} has a label map that can be used")
    return np.stack(found)


def _mean_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes but the background, from counts (..., 3, classes)."""
    return np.nanmean(class_f1(counts)[..., 1:], axis=-1)


def _row(name: str, share: float, trained: Sequence[_Trained], classes: Sequence[str]) -> dict[str, Any]:
    """Means over the seeds; the interval is over the faces, the deviation over the seeds."""
    faces = len(trained[0].counts)
    draws = np.random.default_rng(0).multinomial(faces, np.full(faces, 1 / faces), size=REPLICATES)
    redrawn = [
        _mean_f1((draws @ one.counts.reshape(faces, -1)).reshape(REPLICATES, *one.counts.shape[1:])) for one in trained
    ]
    means = [float(_mean_f1(one.counts.sum(0))) for one in trained]
    best = [one.best_on_test for one in trained if one.best_on_test is not None]
    scores = np.mean([class_f1(one.counts.sum(0)) for one in trained], axis=0)
    each = {title: None if np.isnan(f1) else float(f1) for title, f1 in zip(classes, scores, strict=True)}
    return {
        "name": name,
        "label_share": share,
        "labels": trained[0].labels,
        "mean_f1": float(np.mean(means)),
        "interval": [float(bound) for bound in np.quantile(np.mean(redrawn, axis=0), [0.025, 0.975])],
        "deviation": deviation(means),
        "each": {title: f1 for title, f1 in each.items() if title != classes[0]},
        "best_on_test": float(np.mean(best)) if best else None,
        "seeds": [
            {"seed": one.seed, "mean_f1": mean, "epoch": one.epoch, "best_on_test": one.best_on_test}
            for one, mean in zip(trained, means, strict=True)
        ],
        "n": faces,
    }


def parsing_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """``NAME mean F1 0.871 [0.868, 0.874] n 2000``, a line a row."""
    lines = []
    for row in rows:
        low, high = row["interval"]
        best = row["best_on_test"]
        marked = "" if best is None else f" (best epoch on the test faces, as FaRL reports: {best:.3f})"
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.3f}"
        told = f"mean F1 {row['mean_f1']:.3f}{spread} [{low:.3f}, {high:.3f}]{marked}"
        lines.append(f"{row['name']}{share_words(row['label_share'])} {told} n {row['n']}")
    return lines


def _table(summary: Mapping[str, Any]) -> str:
    classes = summary["classes"][1:]
    columns = ["F1", "faces", *classes, "mean", "95 %", MARKED, "n"]
    rows = []
    for row in summary["rows"]:
        low, high = row["interval"]
        figures = [_percent(row["each"][name]) for name in classes]
        spread = "" if row["deviation"] is None else f" ± {100 * row['deviation']:.2f}"
        rest = [_percent(row["mean_f1"]) + spread, f"{100 * low:.2f}–{100 * high:.2f}", _percent(row["best_on_test"])]
        faces = f"{row['labels']} ({100 * row['label_share']:g} %)"
        rows.append([row["name"], faces, *figures, *rest, str(row["n"])])
    chosen_by = summary["validation_paths"]
    told = [
        f"Trained on {summary['train_paths']}: {summary['train_faces']} faces, {summary['epochs']} epochs.",
        f"Epoch chosen by {chosen_by}." if chosen_by else "The last epoch is taken: there are no validation faces.",
        f"Tested on {summary['test_paths']}: {summary['test_faces']} faces at {summary['image_size']}². Percent.",
    ]
    if len(summary["rows"][0]["seeds"]) > 1:
        told.append(f"Means over {len(summary['rows'][0]['seeds'])} draws of the faces in use, ± their deviation.")
    note = "† Chosen by the test faces, as FaRL's tables are: an upper bound, no measure."
    parts = ["# Parsing", "\n".join(f"- {line}" for line in told), markdown_table(columns, rows)]
    return "\n\n".join([*parts, note]) + "\n"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
