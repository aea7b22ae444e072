"""Measured numbers, in groups that may be nested: as text for people, as a JSON file for programs."""

from __future__ import annotations

import json
import math
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
    """Write them as JSON, in one step; what is no finite number becomes null, for JSON has no NaN."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_finite(numbers), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
