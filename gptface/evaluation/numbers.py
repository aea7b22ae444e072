"""Measured numbers, in groups that may be nested: as text for people, as a JSON file for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptface.files import atomic_write

__all__ = ["format_numbers", "write_numbers"]


def format_numbers(numbers: Mapping[str, Any], indent: str = "") -> str:
    """One line a number, nested groups indented."""
    lines = []
    for name, value in numbers.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            if value:
                lines += [f"{indent}{label}", format_numbers(value, indent + "  ")]
        else:
            lines.append(f"{indent}{label:<{max(1, 40 - len(indent))}} {value:.4f}")
    return "\n".join(lines)


def write_numbers(path: Path, numbers: Mapping[str, Any]) -> None:
    """Write them as JSON, in one step."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
