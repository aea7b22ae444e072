"""What ``gptface evaluate`` does: read faces, measure, write the numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptface.data.procedural import ProceduralFaces
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.evaluation.measurements import (
    HeldOutFaces,
    collect_faces,
    measure_system,
    probe_representations,
)

__all__ = ["EvaluationRequest", "evaluate", "format_numbers", "procedural_faces"]

# Fresh faces: the training sets' seeds are small, and another seed is another world of faces.
HELD_OUT_SEED = 1_000_003


@dataclass(frozen=True)
class EvaluationRequest:
    """What to measure on what; the fields are those of the command's options."""

    system: Path
    faces: Sequence[str] | None = None
    count: int = 512
    seed: int = 0
    faces_seed: int = HELD_OUT_SEED
    probe: str | None = None
    probe_train: Sequence[str] | None = None
    probe_count: int | None = None
    probe_group: str | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InputError(f"--count must be at least 2, got {self.count}")
        if self.probe is not None and not self.probe_train:
            raise InputError("--probe needs --probe-train: the faces that the probe is fitted on")


def procedural_faces(count: int, size: int, seed: int = HELD_OUT_SEED) -> HeldOutFaces:
    """``count`` procedural faces of ``seed`` in memory, captions fully correlated."""
    return collect_faces(ProceduralFaces(seed=seed, size=size, start=0, count=count))


def evaluate(request: EvaluationRequest) -> dict[str, Any]:
    """Measure, and write ``request.output`` if it is given. Nothing is written unless everything was measured."""
    system = FaceSystem.from_pretrained(request.system)
    size = system.tokenizer.config.image_size
    if request.faces:
        faces = collect_faces(FaceShards(list(request.faces), size), request.count)
    else:
        faces = procedural_faces(request.count, size, request.faces_seed)
    numbers: dict[str, Any] = dict(measure_system(system, faces, seed=request.seed)[0])
    numbers["skipped"] = faces.skipped
    if request.probe is not None:
        train = collect_faces(FaceShards(list(request.probe_train or ()), size), request.probe_count)
        found = probe_representations(
            system, train, faces, field=request.probe, group_field=request.probe_group, seed=request.seed
        )
        numbers[f"probe_{request.probe}"] = {
            name: {
                "accuracy": result.accuracy,
                "balanced_accuracy": result.balanced,
                "majority": result.majority,
                "penalty": result.penalty,
            }
            for name, result in found.items()
        }
    if request.output is not None:
        with atomic_write(request.output) as temporary:
            temporary.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    return numbers


def format_numbers(numbers: dict[str, Any], indent: str = "") -> str:
    """One line a number, nested groups indented."""
    lines = []
    for name, value in numbers.items():
        label = name.replace("_", " ")
        if isinstance(value, dict):
            if value:
                lines += [f"{indent}{label}", format_numbers(value, indent + "  ")]
        else:
            lines.append(f"{indent}{label:<{max(1, 40 - len(indent))}} {value:.4f}")
    return "\n".join(lines)
