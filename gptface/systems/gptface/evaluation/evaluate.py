"""The work of ``gptface evaluate system``: read faces, measure a system on them, write the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptface.errors import InputError
from gptface.evaluation.face_set import HELD_OUT_SEED, procedural_faces, shard_faces
from gptface.evaluation.numbers import write_numbers
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.evaluation.measurements import measure_system

__all__ = ["EvaluationRequest", "evaluate"]


@dataclass(frozen=True)
class EvaluationRequest:
    """A system and the faces to measure it on; the other fields are the options of ``gptface evaluate system``."""

    system: FaceSystem
    faces: Sequence[str] | None = None
    count: int = 512
    seed: int = 0
    faces_seed: int = HELD_OUT_SEED
    group: str | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InputError(f"--count must be at least 2, got {self.count}")


def evaluate(request: EvaluationRequest) -> dict[str, Any]:
    """Measure, and write ``request.output`` if it is given. Nothing is written unless everything was measured."""
    system = request.system
    size = system.tokenizer.config.image_size
    if request.faces:
        faces = shard_faces(request.faces, size, request.count)
    else:
        faces = procedural_faces(request.count, size, request.faces_seed)
    if request.group is not None and not any(request.group in sample.metadata for sample in faces.samples):
        raise InputError(f"--group: no face has a field {request.group!r} in its metadata")
    numbers: dict[str, Any] = dict(measure_system(system, faces, group=request.group, seed=request.seed)[0])
    numbers["skipped"] = faces.skipped
    if request.output is not None:
        write_numbers(request.output, numbers)
    return numbers
