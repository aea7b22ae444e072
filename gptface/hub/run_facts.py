"""Reads a run's folder for its model card: configuration, how it ended, figures that were measured; computes nothing.

Paths of the machine on which it ran are no facts about a model: of each only the last part is kept.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gptface.errors import InputError

__all__ = ["RunFacts", "without_folders"]

# Files of a run that are not figures somebody measured.
NO_FIGURES = {"summary.json", "loggers.json"}
MOST_FIGURES = 80


@dataclass(frozen=True)
class RunFacts:
    """What a run says of itself.

    Attributes:
        summary: ``summary.json``: stage, steps, seconds, parameters, precision, device, versions, validation figures.
        configuration: ``config.yaml``, without folders.
        figures: by file of the folder, what ``gptface evaluate … --output`` wrote there, as names like
            ``"edits.attributes.reached"`` and numbers.
        unlisted: files with so many that a card would be a table of its own.
    """

    summary: dict[str, Any]
    configuration: dict[str, Any]
    figures: dict[str, dict[str, float]]
    unlisted: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> RunFacts:
        """Read a complete run of ``gptface train``.

        Raises:
            InputError: the folder holds no complete run, or one of its files is damaged.
        """
        source = Path(folder)
        if not (source / "summary.json").is_file():
            raise InputError(f"run: {source} holds no complete run; allowed: the output folder of `gptface train`")
        try:
            summary = json.loads((source / "summary.json").read_text(encoding="utf-8"))
            configuration = yaml.safe_load((source / "config.yaml").read_text(encoding="utf-8"))
            found = {
                path.name: _numbers(json.loads(path.read_text(encoding="utf-8")))
                for path in sorted(source.glob("*.json"))
                if path.name not in NO_FIGURES
            }
            unlisted = tuple(name for name, numbers in found.items() if len(numbers) > MOST_FIGURES)
            figures = {name: numbers for name, numbers in found.items() if numbers and name not in unlisted}
            wanted = {name: summary[name] for name in ("stage", "steps", "seconds", "validation", "versions", "device")}
            return cls({**summary, **wanted}, dict(without_folders(configuration)), figures, unlisted)
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise InputError(f"run: {source} cannot be read: {type(error).__name__}: {error}") from error

    @property
    def drawn(self) -> bool:
        """Whether all faces were drawn by the package: no photo of anybody had a part in it."""
        data = self.configuration.get("data")
        return isinstance(data, dict) and data.get("source") == "procedural"


def without_folders(value: Any) -> Any:
    """A configuration in which of every path only the last part is left."""
    if isinstance(value, dict):
        return {key: without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_folders(entry) for entry in value]
    if isinstance(value, str) and ("/" in value or os.sep in value):
        return value.rstrip("/" + os.sep).replace(os.sep, "/").rpartition("/")[2]
    return value


def _numbers(value: Any, name: str = "") -> dict[str, float]:
    """Numbers of nested JSON, by the way to them."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return {}
    if isinstance(value, (int, float)):
        return {name: float(value)}
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, float] = {}
    for key, entry in entries:
        found.update(_numbers(entry, f"{name}.{key}" if name else str(key)))
    return found
