"""The work of ``gptface evaluate``: read faces, measure a system on them, write the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptface.errors import InputError
from gptface.evaluation.face_set import HELD_OUT_SEED, procedural_faces, shard_faces
from gptface.evaluation.numbers import write_numbers
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.evaluation.measurements import measure_system, probe_system

__all__ = ["EvaluationRequest", "evaluate"]


@dataclass(frozen=True)
class EvaluationRequest:
    """A system and the faces to measure it on; the fields are the options of ``gptface evaluate``."""

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


def evaluate(request: EvaluationRequest) -> dict[str, Any]:
    """Measure, and write ``request.output`` if it is given. Nothing is written unless everything was measured."""
    system = FaceSystem.from_pretrained(request.system)
    size = system.tokenizer.config.image_size
    if request.faces:
        faces = shard_faces(request.faces, size, request.count)
    else:
        faces = procedural_faces(request.count, size, request.faces_seed)
    numbers: dict[str, Any] = dict(measure_system(system, faces, seed=request.seed)[0])
    numbers["skipped"] = faces.skipped
    if request.probe is not None:
        train = shard_faces(request.probe_train or (), size, request.probe_count)
        found = probe_system(
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
        write_numbers(request.output, numbers)
    return numbers
