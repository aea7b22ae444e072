"""The json beside an image, which anybody may have written: what the library reads of it is checked once, here.

Fields that nobody here reads stay as they are. A field that is not of its kind is left out and noted, so that one odd
file costs one field of one sample, never a run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from gptface.data.images import centre_square

__all__ = ["METADATA_NOTES", "fit_landmarks", "fit_points", "one_line", "parse_metadata", "without_surrogates"]

METADATA_NOTES: dict[str, str] = {
    "bad_json": "the metadata do not parse as a JSON object: they are empty",
    "bad_captions": "`captions` is no list of texts, or `caption` no text: it is left out, and the caption file counts",
    "bad_attributes": "`attributes` are not names with 1, 0 or -1 (as CelebA writes 0), or `hidden_attributes` no list "
    "of names: what is odd is left out",
    "bad_expression": "`expression` is no text: it is left out",
    "bad_pose": "`pose` is not names with numbers: it is left out",
    "bad_landmarks": "no (N, 2) coordinates, or the metadata do not give the image's width and height: there are none",
    "lone_surrogates": "texts hold halves of surrogate pairs, which are no characters: they became U+FFFD",
}

# What reader and augmentation write into a sample's metadata.
OWN_WORDS = ("key", "reading_notes", "regions_from", "epoch", "flipped")

LARGEST = 1e30  # numbers that float32 holds, with room for sums; neither NaN nor infinity is below
Notes = list[str]


def parse_metadata(text: bytes | None, notes: Notes) -> dict[str, Any]:
    """The fields of a JSON object, those that the library reads checked; what is amiss is added to ``notes``."""
    if text is None:
        return {}
    try:
        parsed = json.loads(text)
        repaired = _repaired(parsed)
        odd = repaired != parsed
    except (ValueError, RecursionError):
        repaired, odd = None, False
    if not isinstance(repaired, dict):
        notes.append("bad_json")
        return {}
    if odd:
        notes.append("lone_surrogates")
    metadata = {name: value for name, value in repaired.items() if name not in OWN_WORDS}
    for name, (check, note) in _CHECKS.items():
        if name not in metadata:
            continue
        checked, whole = check(metadata.pop(name))
        if checked is not None:
            metadata[name] = checked
        if not whole and note not in notes:
            notes.append(note)
    return metadata


def fit_landmarks(metadata: dict[str, Any], size: int, notes: Notes) -> None:
    """Bring checked ``landmarks`` from the stored image's pixels to those of its centred square at ``size``."""
    width, height = (metadata.get(name, 0) for name in ("width", "height"))
    points = np.array(metadata.pop("landmarks"), dtype=np.float32)
    if not (_is_number(width) and _is_number(height) and min(width, height) >= 1):
        notes.append("bad_landmarks")
        return
    metadata["landmarks"] = fit_points(points, (int(width), int(height)), size)


def fit_points(points: np.ndarray, stored: tuple[int, int], size: int) -> np.ndarray:
    """float32 (N, 2) from pixels of an image of ``stored`` = (width, height) to those of its centred square."""
    left, top, right, _ = centre_square(*stored)
    return (points - np.array([left, top], dtype=np.float32)) * np.float32(size / (right - left))


def one_line(text: str) -> str:
    """A text without line breaks, NULs and spaces at its ends."""
    return re.sub(r"[\s\x00]+", " ", text).strip()


def without_surrogates(text: str) -> str:
    """A text with U+FFFD for every lone surrogate.

    They come from JSON's ``\\ud83d`` escapes and from bytes of a command line that are not UTF-8; no encoding has them,
    so tokenizers, files and terminals fail on them.
    """
    return _SURROGATES.sub("\ufffd", text)


_SURROGATES = re.compile("[\ud800-\udfff]")


def _repaired(value: Any) -> Any:
    """A JSON value with all its texts free of lone surrogates."""
    if isinstance(value, str):
        return value if value.isascii() else without_surrogates(value)
    if isinstance(value, list):
        return [_repaired(item) for item in value]
    if isinstance(value, dict):
        return {_repaired(name): _repaired(item) for name, item in value.items()}
    return value


# Checks: (what can be used or None, whether that is all of it) --------------------------------------------------------


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _text(value: Any) -> tuple[str | None, bool]:
    return (value, True) if isinstance(value, str) else (None, False)


def _caption(value: Any) -> tuple[str | None, bool]:
    return (None, True) if value is None else _text(value)  # img2dataset writes null where there is none


def _captions(value: Any) -> tuple[list[str] | None, bool]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return None, False
    lines = [line for text in value if (line := one_line(text))]
    return (lines, True) if lines else (None, False)


def _attributes(value: Any) -> tuple[dict[str, int] | None, bool]:
    if not isinstance(value, dict):
        return None, False
    known = {name: max(0, int(flag)) for name, flag in value.items() if _is_flag(flag)}
    return known, all(map(_is_flag, value.values()))


def _is_flag(value: object) -> bool:
    return isinstance(value, int | float) and value in (0, 1, -1)


def _names(value: Any) -> tuple[list[str] | None, bool]:
    if not isinstance(value, list):
        return None, False
    names = [name for name in value if isinstance(name, str)]
    return names, len(names) == len(value)


def _pose(value: Any) -> tuple[dict[str, float] | None, bool]:
    whole = isinstance(value, dict) and all(_is_number(angle) for angle in value.values())
    return (value, True) if whole else (None, False)


def _landmarks(value: Any) -> tuple[list[list[float]] | None, bool]:
    whole = isinstance(value, list) and bool(value) and all(_is_point(point) for point in value)
    return (value, True) if whole else (None, False)


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


Check = Callable[[Any], tuple[Any, bool]]
_CHECKS: dict[str, tuple[Check, str]] = {
    "caption": (_caption, "bad_captions"),
    "captions": (_captions, "bad_captions"),
    "attributes": (_attributes, "bad_attributes"),
    "hidden_attributes": (_names, "bad_attributes"),
    "expression": (_text, "bad_expression"),
    "pose": (_pose, "bad_pose"),
    "landmarks": (_landmarks, "bad_landmarks"),
}
