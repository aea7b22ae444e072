"""Landmarks from an encoder's patches: by ridge regression while it is frozen, and with all of it trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.fine_tuning import Fit, Recipe, fit
from gptface.evaluation.landmark_faces import LandmarkFaces, normalised_errors
from gptface.evaluation.ridge import fit_ridge
from gptface.evaluation.training_pictures import RandomLandmarkPictures, over_pictures
from gptface.progress import Display, format_duration

__all__ = ["LANDMARK_RECIPE", "PatchRegressor", "fine_tune_landmarks", "fit_frozen", "predict_landmarks"]

LANDMARK_RECIPE = Recipe(
    epochs=6, least_steps=200, learning_rate=1.5e-3, layer_decay=0.75, weight_decay=0.02, warm_up=0.1, averaging=0.99
)
# Where a feature is says where a landmark is, so patches stay apart; of each, as many principal components as make
# this many numbers a picture.
DESCRIPTOR = 4096
_SIDE = 12  # patches a side at most; more are averaged
_SAMPLE = 1000  # pictures whose patches give the components


class PatchRegressor(nn.Module):
    """Points as one linear map of an encoder's patches, each of which is projected to a few numbers first.

    Args:
        encoder: a module that satisfies :class:`~gptface.evaluation.encoders.FaceEncoder`.
        points: how many.
    """

    def __init__(self, encoder: FaceEncoder, points: int) -> None:
        super().__init__()
        self.encoder = cast(nn.Module, encoder)
        self.size = encoder.image_size
        self.grid = encoder.grid
        self.cells = (min(encoder.grid[0], _SIDE), min(encoder.grid[1], _SIDE))
        count = self.cells[0] * self.cells[1]
        channels = max(1, min(encoder.width, DESCRIPTOR // count))
        self.project = nn.Linear(encoder.width, channels)
        self.output = nn.Linear(channels * count, 2 * points)

    def cell_features(self, pictures: Tensor) -> Tensor:
        """``pictures (B, 3, S, S)`` in [−1, 1] to features of the cells, float32 ``(B, cells, C)``."""
        patches = cast(FaceEncoder, self.encoder).forward_features(pictures).float()
        if self.cells == self.grid:
            return patches
        pooled = functional.adaptive_avg_pool2d(patches.mT.unflatten(2, self.grid), self.cells)
        return pooled.flatten(2).mT

    def descriptors(self, pictures: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, D)``: what the last linear map is given."""
        return self.project(self.cell_features(pictures)).flatten(1)

    def forward(self, pictures: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to points ``(B, P, 2)`` in shares of the picture's side."""
        # Thousands of numbers are summed: without the factor, a learning rate that moves the encoder a little would
        # move the points by whole faces.
        descriptors = self.descriptors(pictures) * self.output.in_features**-0.5
        return self.output(descriptors).unflatten(1, (-1, 2))


@torch.no_grad()
def fit_frozen(
    regressor: PatchRegressor,
    faces: LandmarkFaces,
    apart: np.ndarray,
    *,
    advance: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Give a regressor, whose encoder stays as it is, the principal components of its patches and the ridge solution.

    Args:
        apart: bool ``(N,)``: faces by which the penalty is chosen.
        advance: is told of how many faces the features are there; the regression then takes seconds.

    Returns:
        ``penalty`` and ``dimensions``.
    """
    regressor.eval()
    device = next(regressor.parameters()).device
    spread = np.random.default_rng(0).permutation(len(faces))[:_SAMPLE]
    sample = over_pictures(faces.images[spread], regressor.size, device, regressor.cell_features)
    sample = sample.flatten(0, 1).cpu().double()
    mean = sample.mean(0)
    centred = sample - mean
    directions = torch.linalg.eigh(centred.mT @ centred / len(sample))[1].flip(1)[:, : regressor.project.out_features]
    regressor.project.weight.copy_(directions.mT)
    regressor.project.bias.copy_(-(mean @ directions))
    descriptors = over_pictures(faces.images, regressor.size, device, regressor.descriptors, advance=advance).cpu()
    solution = fit_ridge(descriptors, torch.from_numpy(faces.points).flatten(1), apart)
    # The same map on descriptors of a like size for every encoder, so that one learning rate suits all.
    scale = descriptors.std(0).mean().clamp_min(1e-6)
    regressor.project.weight.div_(scale)
    regressor.project.bias.div_(scale)
    regressor.output.weight.copy_(solution.weight.mT * scale * regressor.output.in_features**0.5)
    regressor.output.bias.copy_(solution.bias)
    return {"penalty": solution.penalty, "dimensions": descriptors.shape[1]}


def predict_landmarks(regressor: PatchRegressor, images: np.ndarray) -> np.ndarray:
    """uint8 ``(N, C, S, S)`` to points float32 ``(N, P, 2)`` in shares of the side."""
    regressor.eval()
    return over_pictures(images, regressor.size, next(regressor.parameters()).device, regressor).cpu().numpy()


def fine_tune_landmarks(
    regressor: PatchRegressor,
    faces: LandmarkFaces,
    apart: np.ndarray,
    recipe: Recipe = LANDMARK_RECIPE,
    *,
    seed: int = 0,
    display: Display | None = None,
    title: str = "landmarks fine-tuned",
    watched: LandmarkFaces | None = None,
) -> Fit:
    """Train a regressor from where it is, encoder and all, on turned, shifted, mirrored and lit pictures.

    The loss is the normalised error itself; weights are chosen by it on the faces that are ``apart``, the weights that
    it starts with among them.

    Args:
        watched: faces whose error is recorded at each look; they choose nothing.
    """
    device = next(regressor.parameters()).device
    fitting, choosing = np.flatnonzero(~apart), np.flatnonzero(apart)
    views = RandomLandmarkPictures(regressor.size, faces.points.shape[1])
    lengths = torch.from_numpy(faces.lengths).float()

    def loss(batch: Tensor) -> Tensor:
        rows = fitting[batch.numpy()]
        images, points = torch.from_numpy(faces.images[rows]).to(device), torch.from_numpy(faces.points[rows])
        pictures, moved, scale = views(images, points.to(device))
        # Enlarged faces have their eyes farther apart; the error is measured on the stored picture.
        by = lengths[rows].to(device) * scale
        errors = (regressor(pictures) - moved).square().sum(-1).add(1e-8).sqrt().mean(1)
        return (errors / by).mean()

    def held_out() -> float:
        found = predict_landmarks(regressor, faces.images[choosing])
        return float(normalised_errors(found, faces.points[choosing], faces.lengths[choosing]).mean())

    def watch() -> float:
        assert watched is not None
        found = predict_landmarks(regressor, watched.images)
        return float(normalised_errors(found, watched.points, watched.lengths).mean())

    return fit(
        regressor,
        recipe,
        len(fitting),
        loss,
        held_out,
        encoder=regressor.encoder,
        seed=seed,
        look_first=True,
        watch=None if watched is None else watch,
        display=display,
        title=title,
        rest=lambda own: f"remaining {format_duration(own)}",
    )
