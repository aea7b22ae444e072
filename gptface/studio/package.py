"""Everything of a history as files: settings as JSON, and one archive that holds all that its commands need."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gptface import __version__
from gptface.data.images import encode_image
from gptface.studio.commands import Place, history_commands, mask_name, picture_name
from gptface.studio.history import Step

__all__ = ["package", "settings_json"]


def settings_json(path: Sequence[Step], place: Place) -> str:
    """What was asked for, step by step, and of which picture."""
    start = path[0]
    record = {
        "gptface": __version__,
        "system": place.system or "bundled",
        "start": {
            "title": start.title,
            "width": start.picture.shape[1],
            "height": start.picture.shape[0],
            "sha256_of_pixels": hashlib.sha256(np.ascontiguousarray(start.picture).tobytes()).hexdigest(),
        },
        "steps": [_entry(number, step) for number, step in enumerate(path[1:], 1)],
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _entry(number: int, step: Step) -> dict[str, Any]:
    wish, made = step.wish, step.candidate
    assert wish is not None
    return {
        "kind": wish.kind,
        "name": wish.name or None,
        "regions": list(wish.regions) or None,
        "mask": None if wish.mask is None else mask_name(number),
        "words": wish.words,
        **asdict(wish.decoding),
        "seed": made.seed,
        "caption": made.said,
        "match": round(made.match, 4),
    }


def package(path: Sequence[Step], place: Place) -> bytes:
    """A ZIP archive: all pictures and masks, ``settings.json``, and ``commands.sh``, which runs in its folder."""
    files: dict[str, bytes] = {}
    for number, step in enumerate(path):
        files[picture_name(number)] = step.candidate.png
        if step.wish is not None and number > 0 and step.wish.mask is not None:
            files[mask_name(number)] = encode_image(step.wish.mask.astype(np.uint8) * 255)
    files["settings.json"] = settings_json(path, place).encode()
    files["commands.sh"] = history_commands(path, place).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed as they are
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
