"""Ways to make heads of pictures, all called alike: a system, a baseline, a fit, the mean face."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gptface.morphable import FaceParameters, MorphableModel, fit_light, pose_of_landmarks
from gptface.progress import Countdown, Display

__all__ = [
    "FITTING",
    "MEAN_FACE",
    "Reconstruct",
    "array_of",
    "complete",
    "joined",
    "mean_face",
    "part",
    "reconstructed",
]

Reconstruct = Callable[[np.ndarray], FaceParameters]
"""From pictures uint8 ``(B, S, S, 3)`` to the parameters of their heads."""

MEAN_FACE, FITTING = "mean face", "fitting to landmarks, 200 steps"
BATCH = 32


def part(parameters: FaceParameters, rows: slice | Tensor) -> FaceParameters:
    """Some of several heads; a field of one head stays."""
    values = {name: value if len(value) == 1 else value[rows] for name, value in vars(parameters).items()}
    return FaceParameters(**values)


def joined(parts: Sequence[FaceParameters]) -> FaceParameters:
    """The heads of several records in one."""
    return FaceParameters(**{name: torch.cat([getattr(each, name) for each in parts]) for name in vars(parts[0])})


def complete(model: MorphableModel, parameters: FaceParameters, count: int) -> FaceParameters:
    """``count`` heads, of one or as many, with a weight for every mode of the model: those not given are 0."""
    values = {name: value.expand(count, *value.shape[1:]) for name, value in vars(parameters).items()}
    for kind in ("identity", "expression", "albedo"):
        missing = len(getattr(model, f"{kind}_names")) - values[kind].shape[1]
        values[kind] = torch.nn.functional.pad(values[kind], (0, missing))
    return FaceParameters(**values)


@torch.no_grad()
def reconstructed(
    name: str, reconstruct: Reconstruct, images: np.ndarray, model: MorphableModel, display: Display | None = None
) -> FaceParameters:
    """The heads of ``images``, uint8 ``(N, S, S, 3)``, made batch by batch, as :func:`complete` gives them."""
    countdown = Countdown(display or Display(name, shown=False), f"{name}: {len(images)} faces", len(images))
    parts = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        parts.append(complete(model, reconstruct(batch), len(batch)))
        countdown.advance(min(len(images), start + BATCH))
    return joined(parts)


def mean_face(model: MorphableModel, landmarks: np.ndarray, images: np.ndarray) -> FaceParameters:
    """One head: the model's mean, in the mean pose and light of faces: what is known without looking at a picture.

    Args:
        model: the model.
        landmarks: float ``(N, 68, 2)`` pixels.
        images: uint8 ``(N, S, S, 3)``.
    """
    size = images.shape[1]
    points = torch.from_numpy(landmarks.mean(0, keepdims=True)).to(model.mean)
    placed = pose_of_landmarks(model, points, size, size)
    return fit_light(model, placed, torch.from_numpy(images.mean(0, keepdims=True) / 255).to(model.mean))


def array_of(tensor: Tensor) -> np.ndarray:
    """float64, on the CPU."""
    return tensor.detach().double().cpu().numpy()
