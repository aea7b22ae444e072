"""``gptface evaluate landmarks``: how well landmarks are read off an encoder's features, on people it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gptface.errors import InputError
from gptface.evaluation.classifier import check_savable
from gptface.evaluation.device import pick_device
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.fine_tuning import Recipe
from gptface.evaluation.labelled_faces import people_apart
from gptface.evaluation.landmark_faces import (
    LandmarkFaces,
    Portraits,
    eye_centres,
    normalised_errors,
    read_landmark_faces,
    read_portraits,
)
from gptface.evaluation.landmark_metrics import (
    BOX_FAILURE,
    area_under_error_curve,
    diagonal,
    failure_rate,
    outer_eye_distance,
    point_errors,
)
from gptface.evaluation.landmark_model import save_landmark_model
from gptface.evaluation.landmark_regression import (
    LANDMARK_RECIPE,
    PatchRegressor,
    fine_tune_landmarks,
    fit_frozen,
    predict_landmarks,
)
from gptface.evaluation.metrics import cluster_bootstrap_interval
from gptface.evaluation.numbers import write_numbers
from gptface.evaluation.pictures import SheetRow, draw_sheet
from gptface.evaluation.public_landmarks import read_public_landmarks
from gptface.evaluation.result_tables import check_result_files, draw_error_curves, landmark_table, write_text
from gptface.evaluation.training_pictures import training_size
from gptface.progress import Countdown, Display

__all__ = ["LandmarkTest", "landmark_lines", "measure_landmarks", "published_figures"]

HELD_OUT_SHARE = 0.1
MEAN, RANDOM = "mean shape", "random encoder, frozen"
FROZEN, FINE_TUNED = "encoder, frozen", "encoder, fine-tuned"
SHOWN = 8  # faces of the sheet
_CELL = 256


@dataclass(frozen=True)
class LandmarkTest:
    """What is to be measured.

    Attributes:
        train, test: shards, globs or directories; or 300-W, WFLW, AFLW-19 or LaPa as published.
        train_landmarks, test_landmarks: .npz files of the shards' points; ``None`` for a public set, which has its own.
        group: metadata field of the person, or ``None``.
        portraits, portrait_landmarks: portraits of one window, and an .npz file whose points 0 and 1 are the pupils.
        recipe: of the fine-tuning; ``None``: frozen features only.
        watch_test: also tell the error of the look that was best on the test faces, FaRL's convention.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        seed: of the random encoder, the faces held out and the fine-tuning.
        output: JSON file, or ``None``.
        sheet: PNG of the first test faces with the points found, or ``None``.
        table: Markdown file, or ``None``.
        plot: PNG of the distribution of the test faces' errors, or ``None``.
        save: folder for the last regressor (``landmark_model``), or ``None``.
        facts: further entries of the JSON.
    """

    train: Sequence[str]
    train_landmarks: str | None
    test: Sequence[str]
    test_landmarks: str | None
    group: str | None = None
    portraits: Sequence[str] = ()
    portrait_landmarks: str | None = None
    recipe: Recipe | None = field(default_factory=lambda: LANDMARK_RECIPE)
    watch_test: bool = False
    device: str = "auto"
    seed: int = 0
    output: Path | None = None
    sheet: Path | None = None
    table: Path | None = None
    plot: Path | None = None
    save: Path | None = None
    facts: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if bool(self.portraits) != (self.portrait_landmarks is not None):
            raise InputError("portraits: give both the portraits and their landmarks, or neither")
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise InputError(f"sheet: {self.sheet}; its name must end in .png")
        check_result_files(self.table, self.plot)
        if self.watch_test and self.recipe is None:
            raise InputError("watch_test: there are no looks to choose from without fine-tuning")
        if self.group is not None and (self.train_landmarks is None or self.test_landmarks is None):
            raise InputError(f"group: {self.group}; a public set's faces have no such field")


def measure_landmarks(
    wish: LandmarkTest, encoder: Callable[[], FaceEncoder], random: Callable[[int], FaceEncoder] | None = None
) -> dict[str, Any]:
    """Fit on the training faces, measure once on the test faces and the portraits; write what was asked for.

    Args:
        encoder: opens the pre-trained encoder.
        random: its architecture with fresh weights of a seed; ``None``: without.

    Returns:
        ``rows`` (name, ``nme`` and its 95 % interval over the people, ``n``, ``set``; of the test faces also the
        figures of :func:`published_figures`) and ``gains`` (how far the encoder's errors are below those of random
        weights, face by face), with what was asked for.

    Raises:
        InputError: whatever of the wish cannot be had, before anything is fitted.
    """
    device = pick_device(wish.device)
    opened = encoder()
    if wish.save is not None:
        check_savable(opened)
    size = training_size(opened.image_size)
    train = _read(wish.train, wish.train_landmarks, size, wish.group, "training")
    test = _read(wish.test, wish.test_landmarks, size, wish.group, "test")
    if train.points.shape[1] != test.points.shape[1]:
        raise InputError(
            f"test landmarks: {test.points.shape[1]} points a face, while the training faces have "
            f"{train.points.shape[1]}; they must be the same"
        )
    both = set(train.people.tolist()) & set(test.people.tolist()) if wish.group is not None else ()
    if both:
        raise InputError(f"group: {len(both)} people, such as {min(both)}, are among training and test faces")
    portraits = None
    if wish.portrait_landmarks is not None:
        portraits = read_portraits(wish.portraits, wish.portrait_landmarks, train.points, size)
    apart = people_apart(train.people, HELD_OUT_SHARE, wish.seed)
    if apart.all():
        raise InputError("group: all training faces are of one person; two at least are needed, to choose by one")
    found: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    facts: dict[str, Any] = {}
    with Display("landmarks") as display:

        def measure(name: str, regressor: PatchRegressor) -> None:
            found[name] = (
                predict_landmarks(regressor, test.images),
                None if portraits is None else predict_landmarks(regressor, portraits.images),
            )
            display.line(f"{name}: error {normalised_errors(found[name][0], test.points, test.lengths).mean():.4f}")

        mean = train.points.mean(0, keepdims=True)
        found[MEAN] = (
            np.repeat(mean, len(test), 0),
            None if portraits is None else np.repeat(mean, len(portraits.images), 0),
        )
        count = train.points.shape[1]
        if random is not None:
            regressor = PatchRegressor(random(wish.seed), count).to(device)
            progress = Countdown(display, f"{RANDOM}: features of {len(train)} faces", len(train))
            facts[RANDOM] = fit_frozen(regressor, train, apart, advance=progress.advance)
            measure(RANDOM, regressor)
        regressor = PatchRegressor(encoder(), count).to(device)
        progress = Countdown(display, f"{FROZEN}: features of {len(train)} faces", len(train))
        facts[FROZEN] = fit_frozen(regressor, train, apart, advance=progress.advance)
        measure(FROZEN, regressor)
        if wish.recipe is not None:
            record = fine_tune_landmarks(
                regressor,
                train,
                apart,
                wish.recipe,
                seed=wish.seed,
                display=display,
                watched=test if wish.watch_test else None,
            )
            facts[FINE_TUNED] = {"recipe": asdict(wish.recipe), **asdict(record)}
            measure(FINE_TUNED, regressor)
    measured = _summarise(found, test, portraits)
    for row in measured["rows"]:
        watched = facts.get(row["name"], {}).get("watched") if row["set"] == "test faces" else None
        row["best_on_test"] = min(error for _, error in watched) if watched else None
    summary = {
        **dict(wish.facts),
        "train_paths": " ".join(map(str, wish.train)),
        "test_paths": " ".join(map(str, wish.test)),
        "train_faces": len(train),
        "test_faces": len(test),
        "points": count,
        "divided_by": "the distance of the eyes' centres" if test.boxes is None else "the diagonal of the face's box",
        "fits": facts,
        "portrait_window": None if portraits is None else list(portraits.window),
        **measured,
    }
    if wish.save is not None:
        save_landmark_model(regressor, wish.save, train_paths=summary["train_paths"], train_faces=len(train))
    if wish.sheet is not None:
        _draw(wish.sheet, test, {name: points for name, (points, _) in found.items()})
    if wish.table is not None:
        write_text(wish.table, landmark_table(summary, "Landmarks"))
    if wish.plot is not None:
        distances = outer_eye_distance(test.points) if test.boxes is None else np.sqrt(test.boxes.prod(-1))
        curves = {name: point_errors(points, test.points) / distances for name, (points, _) in found.items()}
        if test.boxes is None:
            draw_error_curves(wish.plot, curves)
        else:
            draw_error_curves(wish.plot, curves, BOX_FAILURE, "the side of the face's box")
    if wish.output is not None:
        write_numbers(wish.output, summary)
    return summary


def _read(paths: Sequence[str], landmarks: str | None, size: int, group: str | None, name: str) -> LandmarkFaces:
    if landmarks is None:
        return read_public_landmarks(paths, size, name=name)
    return read_landmark_faces(paths, landmarks, size, group_field=group, name=name)


def _summarise(
    found: dict[str, tuple[np.ndarray, np.ndarray | None]], test: LandmarkFaces, portraits: Portraits | None
) -> dict[str, Any]:
    people = {"test faces": test.people}
    whole = {name: normalised_errors(points, test.points, test.lengths) for name, (points, _) in found.items()}
    errors = {"test faces": whole}
    for title, chosen in test.subsets.items():
        people[title] = test.people[chosen]
        errors[title] = {name: values[chosen] for name, values in whole.items()}
    if portraits is not None:
        distance = np.linalg.norm(portraits.pupils[:, 0] - portraits.pupils[:, 1], axis=-1)
        people["pupils of portraits"] = np.arange(len(distance))
        errors["pupils of portraits"] = {
            name: np.linalg.norm(eye_centres(points) - portraits.pupils, axis=-1).mean(1) / distance
            for name, (_, points) in found.items()
            if points is not None
        }
    rows = [_row(name, which, own, people[which]) for which, by_name in errors.items() for name, own in by_name.items()]
    for row in rows:
        if row["set"] == "test faces":
            row.update(published_figures(found[row["name"]][0], test.points, test.boxes))
    gains = []
    for which, by_name in errors.items():
        for name in by_name.keys() & {FROZEN, FINE_TUNED} if RANDOM in by_name else ():
            row = _row(name, which, by_name[RANDOM] - by_name[name], people[which])
            gains.append({key: row[key] for key in ("name", "set", "interval", "n")} | {"below_random": row["nme"]})
    return {"rows": rows, "gains": sorted(gains, key=lambda gain: (gain["set"], gain["name"]))}


def _row(name: str, which: str, errors: np.ndarray, people: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "set": which,
        "nme": float(errors.mean()),
        "interval": list(cluster_bootstrap_interval(errors, people)),
        "median": float(np.median(errors)),
        "worst_tenth": float(np.quantile(errors, 0.9)),
        "n": len(errors),
    }


def published_figures(
    found: np.ndarray, truth: np.ndarray, boxes: np.ndarray | None = None
) -> dict[str, float | None]:
    """What tables of landmark results report, of points ``(N, P, 2)``.

    ``nme_corners`` (by the distance of the eyes' outer corners), ``failure_rate`` (share of faces for which it is above
    10 %) and ``auc`` (area below its distribution up to 10 %), as on 300-W, WFLW and LaPa; ``nme_diagonal`` (by the
    diagonal of the box around the true points). Of faces with ``boxes (N, 2)``, as on AFLW: ``nme_diagonal`` by their
    diagonal, ``nme_box`` by the root of their area, failures and area of the latter up to 7 %.
    """
    errors = point_errors(found, truth)
    if boxes is not None:
        by_box = errors / np.sqrt(boxes.prod(-1))
        return {
            "nme_corners": None,
            "nme_box": float(by_box.mean()),
            "nme_diagonal": float((errors / np.linalg.norm(boxes, axis=-1)).mean()),
            "failure_rate": failure_rate(by_box, BOX_FAILURE),
            "auc": area_under_error_curve(by_box, BOX_FAILURE),
        }
    by_corners = errors / outer_eye_distance(truth)
    return {
        "nme_corners": float(by_corners.mean()),
        "nme_box": None,
        "nme_diagonal": float((errors / diagonal(truth)).mean()),
        "failure_rate": failure_rate(by_corners),
        "auc": area_under_error_curve(by_corners),
    }


def landmark_lines(summary: Mapping[str, Any]) -> list[str]:
    """``NAME NME 0.0312 [0.0301, 0.0324] median 0.0295 n 740``, a line a row, in shares of what errors are
    divided by, for the test faces with the figures of :func:`published_figures` before ``n``; then a line a gain."""
    lines = []
    for row in summary["rows"]:
        low, high = row["interval"]
        told = f"median {row['median']:.4f} "
        if "auc" in row:
            by, value = ("box", row["nme_box"]) if row["nme_corners"] is None else ("corners", row["nme_corners"])
            told += f"by {by} {value:.4f} by diagonal {row['nme_diagonal']:.4f} "
            told += f"failures {100 * row['failure_rate']:.1f} % AUC {row['auc']:.3f} "
        if row.get("best_on_test") is not None:
            told += f"(best look on the test faces, as FaRL reports: NME {row['best_on_test']:.4f}) "
        lines.append(f"{_named(row)} NME {row['nme']:.4f} [{low:.4f}, {high:.4f}] {told}n {row['n']}")
    for gain in summary["gains"]:
        low, high = gain["interval"]
        lines.append(f"{_named(gain)}, below random weights: {gain['below_random']:+.4f} [{low:+.4f}, {high:+.4f}]")
    return lines


def _named(row: Mapping[str, Any]) -> str:
    return row["name"] if row["set"] == "test faces" else f"{row['name']}, {row['set']}"


def _draw(path: Path, test: LandmarkFaces, found: dict[str, np.ndarray]) -> None:
    """Faces spread over the test set, a row each: the true points in green, then those of each method in red."""
    rows = []
    for number in np.linspace(0, len(test) - 1, min(SHOWN, len(test))).astype(int).tolist():
        face = test.images[number].transpose(1, 2, 0)
        cells = [_dotted(face, test.points[number], (40, 220, 60))]
        cells += [_dotted(face, points[number], (255, 60, 40)) for points in found.values()]
        place = [number]
        errors = [
            normalised_errors(points[place], test.points[place], test.lengths[place])[0] for points in found.values()
        ]
        told = ", ".join(f"{name} {error:.3f}" for name, error in zip(found, errors, strict=True))
        rows.append(SheetRow(cells, f"{test.keys[number]}: {told}"))
    draw_sheet(path, rows, ["given", *found], cell=_CELL)


def _dotted(face: np.ndarray, points: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    picture = Image.fromarray(np.broadcast_to(face, (*face.shape[:2], 3)).copy())
    picture = picture.resize((_CELL, _CELL), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for x, y in (points * _CELL).tolist():
        draw.rectangle((x - 1, y - 1, x, y), fill=colour)
    return np.array(picture)
