"""``gptface evaluate smiles``: portraits at rest made to smile, beside the smiling portraits of the same people.

Landmarks are seen by a regression (``gptface evaluate landmarks --save``) in all pictures alike. Which of them a smile
moves is read off the people's own portraits: points that go somewhere on average, not just about. Heads move between
two portraits; a person's smile is therefore laid upon the portrait at rest by the points that a smile leaves where they
are (a similarity), and so is every result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gptface.errors import InputError
from gptface.evaluation.landmark_faces import eye_distance, read_landmark_faces
from gptface.evaluation.landmark_regression import PatchRegressor, predict_landmarks
from gptface.evaluation.metrics import bootstrap_interval, outside_change_share
from gptface.evaluation.numbers import write_numbers
from gptface.evaluation.pictures import SheetRow, draw_sheet
from gptface.evaluation.portrait_pairs import PortraitPairs, read_pairs
from gptface.evaluation.result_tables import write_text
from gptface.faces.landmark_schemes import SCHEMES
from gptface.faces.landmarks import landmark_region_map
from gptface.progress import Countdown, Display
from gptface.systems.gptface.generation import DecodingSettings, FaceGenerator
from gptface.systems.gptface.system import FaceSystem

__all__ = ["SmileTest", "measure_smiles", "moved_points", "smile_lines", "smile_table"]

SYSTEM, CONTROL, KEPT, OTHERS = "GPTFace, a smile", "GPTFace, at rest again", "left at rest", "mean smile of the others"
MOVED = 0.5  # of the farthest point's mean movement, from which on a point counts as one that a smile moves
STILL = 0.25  # below which it counts as one that it leaves where it is
SHOWN = 8  # people of the sheet
AT_A_TIME = 16


@dataclass(frozen=True)
class SmileTest:
    """What is to be measured; the fields are the options of ``gptface evaluate smiles``.

    Attributes:
        portraits: shards, globs or directories with ``person`` and ``expression`` in each picture's json.
        portrait_landmarks: .npz file whose points 0 and 1 are the pupils, with ``like``; the window is placed by it.
        like, like_landmarks: photos and their points, as the system knows faces.
        caption, control: the wish for a smile, and for the same face at rest; by default in the package's own words.
        grey: make the portraits grey, for a system that knows no colours.
        settings: decoding.
        seed: of the decoding.
        output, table, sheet: JSON, Markdown and PNG files, or ``None``.
        facts: further entries of the JSON.
    """

    portraits: Sequence[str]
    portrait_landmarks: str | None = None
    like: Sequence[str] = ()
    like_landmarks: str | None = None
    caption: str | None = None
    control: str | None = None
    grey: bool = False
    settings: DecodingSettings | None = None
    seed: int = 0
    output: Path | None = None
    table: Path | None = None
    sheet: Path | None = None
    facts: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if len({bool(self.portrait_landmarks), bool(self.like), bool(self.like_landmarks)}) > 1:
            raise InputError(
                "--portrait-landmarks, --like and --like-landmarks: give all three, so that portraits are cut like the "
                "photos, or none of them"
            )
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise InputError(f"--sheet: {self.sheet}; its name must end in .png")


@dataclass(frozen=True)
class Smiles:
    """Points of N people, in shares of the eyes' distance at rest, all laid upon those at rest.

    Attributes:
        at_rest, smiling: float ``(N, P, 2)``.
        moved, still: bool ``(P,)``, the points that a smile moves, and those that it leaves where they are.
    """

    at_rest: np.ndarray
    smiling: np.ndarray
    moved: np.ndarray
    still: np.ndarray


def measure_smiles(test: SmileTest, system: FaceSystem, regressor: PatchRegressor) -> dict[str, Any]:
    """Edit, look and compare; write what was asked for.

    Returns:
        ``rows`` of ``name`` and, each with an ``…_interval`` (95 %, over people): ``distance``: of the points that a
        smile moves from where they are in the person's own smile, in shares of the eyes' distance; ``way``: how much of
        the way to the own smile those points have gone, 1 for all of it; ``still``: how far the other points went from
        where they were at rest. Of what the system made also ``outside``, the share of the pixels outside the mask that
        changed, and ``inside``, the share of the picture that might change. With ``moved_points`` and
        ``still_points``, and what was asked for.

    Raises:
        InputError: too few people with both portraits, or points of which no regions are known.
    """
    count = regressor.output.out_features // 2
    if count not in SCHEMES:
        known = ", ".join(map(str, SCHEMES))
        raise InputError(f"landmark model: it has {count} points; regions are known of {known} alone")
    size = max(regressor.size, int(system.tokenizer.config.image_size))
    like = None
    if test.like_landmarks is not None:
        like = read_landmark_faces(test.like, test.like_landmarks, size, name="like").points
    pairs = read_pairs(test.portraits, size, landmarks=test.portrait_landmarks, like=like)
    if test.grey:
        pairs = PortraitPairs(_grey(pairs.at_rest), _grey(pairs.smiling), pairs.people)
    seen = _seen(regressor, pairs.at_rest)
    units = eye_distance(seen)[:, None, None]
    own = _seen(regressor, pairs.smiling)
    moved, still = moved_points(seen / units, own / units)
    smiles = Smiles(seen / units, _laid(own / units, seen / units, still), moved, still)
    maps = [landmark_region_map(points.astype(np.float64) * size, (size, size), hair=True) for points in seen]
    rows = [_row(KEPT, smiles, smiles.at_rest), _row(OTHERS, smiles, _mean_smile(smiles))]
    generator = FaceGenerator(system, settings=test.settings)
    pictures: list[tuple[str, np.ndarray]] = [("at rest", pairs.at_rest), ("own smile", pairs.smiling)]
    with Display("smiles") as display:
        for name, expression, caption in ((SYSTEM, "happiness", test.caption), (CONTROL, "neutral", test.control)):
            images, masks = _edited(
                generator, pairs.at_rest, maps, expression, caption, test.seed, Countdown(display, name, len(maps))
            )
            found = _laid(_seen(regressor, images) / units, smiles.at_rest, still)
            row = _row(name, smiles, found)
            row["outside"] = outside_change_share(pairs.at_rest, images, masks)
            row["inside"] = float(masks.mean())
            rows.append(row)
            pictures.append((name, images))
    summary = {
        **dict(test.facts),
        "portraits": " ".join(map(str, test.portraits)),
        "people": len(pairs.people),
        "size": size,
        "caption": test.caption,
        "control": test.control,
        "decoding": str(test.settings or generator.settings),
        "points": count,
        "moved_points": np.flatnonzero(moved).tolist(),
        "still_points": int(still.sum()),
        "rows": rows,
    }
    if test.sheet is not None:
        draw_sheet(test.sheet, [SheetRow(list(images[:SHOWN]), name) for name, images in pictures])
    if test.table is not None:
        write_text(test.table, smile_table(summary))
    if test.output is not None:
        write_numbers(test.output, summary)
    return summary


def moved_points(at_rest: np.ndarray, smiling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points that a smile moves, and those that it leaves where they are: bool ``(P,)`` twice.

    A point's movement is that of its mean over the people, once heads are laid upon one another by all points and then
    by those that moved least.

    Args:
        at_rest, smiling: float ``(N, P, 2)``.
    """
    still = np.ones(at_rest.shape[1], dtype=bool)
    movement = np.zeros(at_rest.shape[1])
    for _ in range(3):
        movement = np.linalg.norm((_laid(smiling, at_rest, still) - at_rest).mean(0), axis=-1)
        still = movement <= max(STILL * movement.max(), float(np.sort(movement)[min(2, len(movement) - 1)]))
    return movement >= MOVED * movement.max(), still


def _laid(points: np.ndarray, upon: np.ndarray, by: np.ndarray) -> np.ndarray:
    """``points (N, P, 2)`` turned, moved and scaled so that those that ``by (P,)`` marks lie nearest to ``upon``'s."""
    own, target = points[:, by], upon[:, by]
    own_mean, target_mean = own.mean(1, keepdims=True), target.mean(1, keepdims=True)
    # Complex numbers turn and scale in one product.
    first, second = ((each - mean) @ np.array([1, 1j]) for each, mean in ((own, own_mean), (target, target_mean)))
    factor = (first.conj() * second).sum(1) / np.maximum((np.abs(first) ** 2).sum(1), 1e-12)
    turned = ((points - own_mean) @ np.array([1, 1j])) * factor[:, None]
    return np.stack([turned.real, turned.imag], -1) + target_mean


def _mean_smile(smiles: Smiles) -> np.ndarray:
    """Everybody's points at rest, moved as those of the others are on average: told that a smile is wanted, and where
    the face is, and nothing of how this person smiles."""
    movement = smiles.smiling - smiles.at_rest
    return smiles.at_rest + (movement.sum(0) - movement) / (len(movement) - 1)


def _row(name: str, smiles: Smiles, found: np.ndarray) -> dict[str, Any]:
    people = np.arange(len(found))
    wanted = (smiles.smiling - smiles.at_rest)[:, smiles.moved]
    gone = (found - smiles.at_rest)[:, smiles.moved]
    left = np.linalg.norm(gone - wanted, axis=-1).mean(1)
    drift = np.linalg.norm((found - smiles.at_rest)[:, smiles.still], axis=-1).mean(1)
    along, length = (gone * wanted).sum((1, 2)), (wanted * wanted).sum((1, 2))
    row: dict[str, Any] = {"name": name, "n": len(found)}
    for key, statistic in (
        ("distance", lambda rows: float(left[rows].mean())),
        ("way", lambda rows: float(along[rows].sum() / max(length[rows].sum(), 1e-12))),
        ("still", lambda rows: float(drift[rows].mean())),
    ):
        row[key] = statistic(people)
        row[f"{key}_interval"] = list(bootstrap_interval(statistic, people))
    return row


def _edited(
    generator: FaceGenerator,
    photos: np.ndarray,
    maps: Sequence[np.ndarray],
    expression: str,
    caption: str | None,
    seed: int,
    progress: Countdown,
) -> tuple[np.ndarray, np.ndarray]:
    """The portraits with another expression, uint8 ``(N, S, S, 3)``, and what might change, bool ``(N, S, S)``."""
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for start in range(0, len(photos), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        chosen = list(photos[part])
        result = generator.edit(
            chosen,
            None if caption is None else [caption] * len(chosen),
            # One area for both wishes, so that the control renews what the smile does.
            expressions=expression,
            region_maps=list(maps[part]),
            seeds=[seed + start + place for place in range(len(chosen))],
            best_of=1,  # chosen by a parser, systems with and without one could not be compared
        )
        images += result.images
        masks += result.masks
        progress.advance(len(images))
    return np.stack(images), np.stack(masks)


def _seen(regressor: PatchRegressor, images: np.ndarray) -> np.ndarray:
    return predict_landmarks(regressor, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _grey(images: np.ndarray) -> np.ndarray:
    return np.stack([np.array(Image.fromarray(image).convert("L").convert("RGB")) for image in images])


def _told(row: Mapping[str, Any], key: str) -> str:
    low, high = row[f"{key}_interval"]
    return f"{row[key]:.3f} [{low:.3f}, {high:.3f}]"


def smile_lines(summary: Mapping[str, Any]) -> list[str]:
    """A line a row."""
    lines = []
    for row in summary["rows"]:
        pixels = f", changed outside the mask {row['outside']:.1%}" if "outside" in row else ""
        lines.append(
            f"{row['name']}: distance to the own smile {_told(row, 'distance')}, way {_told(row, 'way')}, other points "
            f"{_told(row, 'still')}{pixels}, n {row['n']}"
        )
    return lines


def smile_table(summary: Mapping[str, Any]) -> str:
    """The rows as Markdown, with what was measured on what."""
    lines = [
        f"{summary['people']} people of {summary['portraits']} at {summary['size']}², "
        f"{len(summary['moved_points'])} of {summary['points']} points that a smile moves, {summary['decoding']}",
        "",
        "| portrait | distance to the own smile | way gone | other points | pixels changed outside |",
        "|---|---|---|---|---|",
    ]
    for row in summary["rows"]:
        outside = f"{row['outside']:.1%}" if "outside" in row else "–"
        told = " | ".join(_told(row, key) for key in ("distance", "way", "still"))
        lines.append(f"| {row['name']} | {told} | {outside} |")
    return "\n".join(lines) + "\n"
