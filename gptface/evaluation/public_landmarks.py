"""Faces of public landmark sets, 300-W, WFLW, AFLW-19 and LaPa, cut out of their pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image

from gptface.data.public.recognition import TEST_SPLITS, open_public_set
from gptface.data.sample import Sample
from gptface.errors import InputError
from gptface.evaluation.compact_images import compact_image, stack_images
from gptface.evaluation.landmark_faces import LandmarkFaces
from gptface.evaluation.set_faces import FaceSource
from gptface.progress import Display

__all__ = ["POINTS_OF", "cut_face", "read_public_landmarks"]

POINTS_OF = {"300-W": "landmarks", "WFLW": "landmarks_98", "AFLW-19": "landmarks_19", "LaPa": "landmarks_106"}
"""The metadata field of the points, by public set."""
ROOM = 1.5  # side of the cut, by the longer side of the box around the points, which end at the brows


def cut_face(image: np.ndarray, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The square about the middle of the box around a face's points, and the points in shares of its side.

    Args:
        image: uint8 ``(H, W, 3)``; what the square has beyond it is black.
        points: float ``(P, 2)`` in its pixels.
        size: side of the result in pixels.

    Returns:
        uint8 ``(size, size, 3)``; float32 ``(P, 2)``.

    Raises:
        InputError: the points lie in one place.
    """
    low, high = points.min(0), points.max(0)
    side = ROOM * float((high - low).max())
    if not side >= 1:
        raise InputError(f"the points lie in one place, ({low[0]:g}, {low[1]:g})")
    left, top = (low + high) / 2 - side / 2
    # One bilinear map of the right scale leaves aliases, so larger faces are cut first and averaged down.
    whole = max(size, round(side))
    steps = (side / whole, 0.0, left, 0.0, side / whole, top)
    cut = Image.fromarray(image).transform((whole, whole), Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR)
    if whole > size:
        cut = cut.resize((size, size), Image.Resampling.LANCZOS)
    return np.array(cut), ((points - [left, top]) / side).astype(np.float32)


def read_public_landmarks(paths: Sequence[str], size: int, *, name: str) -> LandmarkFaces:
    """The faces of a folder of a public set, cut out; ``training`` ones of its training split, all others to test on.

    AFLW-19's also have their boxes, by which its errors are divided, and its frontal faces are a subset.

    Says on stderr what was read.

    Args:
        size: side in pixels.
        name: which faces these are, for messages.

    Raises:
        InputError: no such set, or none of its faces can be used.
    """
    source = FaceSource(paths, "train" if name == "training" else "test", name)
    public = source.public_set()
    if public not in POINTS_OF:
        what = "are shards" if public is None else f"are of {public}"
        known = ", ".join(POINTS_OF)
        raise InputError(f"{name} landmarks: the faces {what}: give a file of their points; only {known} have theirs")
    split = TEST_SPLITS.get(public, "test") if source.split == "test" else source.split
    dataset = open_public_set(paths[0], split, None, public)
    images, points, keys = [], [], []
    boxes, frontal = [], []
    skipped: Counter[str] = Counter()
    for number in range(len(dataset)):
        item = dataset[number]
        if not isinstance(item, Sample):
            skipped[item.reason] += 1
            continue
        placed = item.metadata.get(POINTS_OF[public])
        if placed is None:
            skipped["no_landmarks"] += 1
            continue
        try:
            image, own = cut_face(item.image, placed, size)
            if public == "AFLW-19":
                boxes.append(_box_sides(item.metadata["box"], placed))
                frontal.append(bool(np.all(item.metadata["visible"])))
        except InputError:
            skipped["bad_landmarks"] += 1
            continue
        images.append(compact_image(image))
        points.append(own)
        keys.append(str(item.metadata["key"]))
    told = ", ".join(f"{count} {reason}" for reason, count in skipped.most_common())
    if not images:
        raise InputError(f"{name} faces: none of {len(dataset)} of {public} can be used ({told})")
    display = Display(name)
    display.line(f"{name} faces: {len(images)} of {len(dataset)} faces of {public} ({split}), cut out by their points")
    if skipped:
        display.line(f"{name} faces: skipped {told}")
    return LandmarkFaces(
        stack_images(images),
        np.stack(points),
        tuple(keys),
        np.array(keys),
        np.stack(boxes) if boxes else None,
        {"frontal faces": np.array(frontal)} if any(frontal) else {},
    )


def _box_sides(box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Width and height of a face's box (left, top, right, bottom) in shares of the side of its :func:`cut_face`."""
    sides = (box[2:] - box[:2]) / (ROOM * float(np.ptp(points, axis=0).max()))
    if not (sides > 0).all():
        raise InputError(f"the face's box is empty ({', '.join(f'{number:g}' for number in box)})")
    return sides.astype(np.float32)
