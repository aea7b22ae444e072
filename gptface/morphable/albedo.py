"""Colours for models that bring none: a painted mean, modes of skin, lips, brows, hair and eyes, and smooth variation.

No albedo basis of people is openly licensed. These modes are made up: they span tones of skin, they measure nobody.
"""

from __future__ import annotations

import numpy as np
import torch

from gptface.errors import InputError
from gptface.integers import whole_number
from gptface.morphable.complexion import Complexion, paint
from gptface.morphable.model import MorphableModel

__all__ = ["add_analytic_albedo", "laplacian_modes"]

LAPLACIAN_MODES = 12


def laplacian_modes(vertices: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    """The lowest eigenvectors of a mesh's Laplacian after the constant one: the smoothest ways to vary over it.

    Cotangent weights and lumped areas (Pinkall & Polthier 1993); each has a mean square of 1 and its largest value is
    positive. Vertices of no triangle get 0.

    Args:
        vertices: ``(V, 3)``.
        triangles: ``(T, 3)``.
        count: of modes.

    Returns:
        ``(count, V)``.

    Raises:
        InputError: scipy is missing, or the mesh has too few vertices.
    """
    try:
        import scipy.sparse as sparse
        from scipy.sparse.linalg import eigsh
    except ModuleNotFoundError:
        raise InputError('eigenvectors of a mesh need scipy: pip install "gptface[morphable]"') from None
    used, local = np.unique(triangles, return_inverse=True)
    if len(used) < count + 2:
        raise InputError(f"{count} smooth modes need a mesh of at least {count + 2} vertices; this one has {len(used)}")
    local = local.reshape(-1, 3)
    corners = vertices[used].astype(np.float64)[local]
    size = len(used)
    weights = sparse.csr_matrix((size, size))
    areas = np.zeros(size)
    for corner in range(3):
        i, j = local[:, (corner + 1) % 3], local[:, (corner + 2) % 3]
        first = corners[:, (corner + 1) % 3] - corners[:, corner]
        second = corners[:, (corner + 2) % 3] - corners[:, corner]
        double_area = np.linalg.norm(np.cross(first, second), axis=1)
        # Thin triangles would otherwise give weights without bound.
        cotangent = np.clip((first * second).sum(1) / np.maximum(double_area, 1e-12), -20.0, 20.0)
        weights = weights + sparse.csr_matrix((0.5 * cotangent, (i, j)), shape=(size, size))
        np.add.at(areas, local[:, corner], double_area / 6)
    weights = weights + weights.T
    laplacian = sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights
    areas = np.maximum(areas, 1e-6 * areas.mean())
    _, pieces = sparse.csgraph.connected_components(weights, directed=False)
    # Every separate piece has a constant of its own; only the largest piece varies.
    keep = pieces == np.bincount(pieces).argmax()
    if keep.sum() < count + 2:
        raise InputError(f"{count} smooth modes need a connected mesh of at least {count + 2} vertices")
    inside = sparse.diags(areas[keep])
    start = np.sin(np.arange(keep.sum()) * 1.7)
    values, vectors = eigsh(laplacian[keep][:, keep].tocsc(), count + 1, M=inside.tocsc(), sigma=-1e-3, v0=start)
    vectors = vectors[:, np.argsort(values)][:, 1:]
    vectors = vectors / np.sqrt(np.square(vectors).mean(0))
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(count)])
    modes = np.zeros((count, len(vertices)))
    modes[:, used[keep]] = vectors.T
    return modes


def _modes(complexion: Complexion) -> dict[str, np.ndarray]:
    """Name → change of colour ``(V, 3)`` for one standard deviation."""

    def over(share: np.ndarray, red: float, green: float, blue: float) -> np.ndarray:
        return share[:, None] * np.array([red, green, blue])

    skin, lips, brows, hair = complexion.skin, complexion.lips, complexion.brows, complexion.hair
    modes = {
        "skinLightness": over(skin, 0.160, 0.105, 0.076) + over(lips, 0.090, 0.035, 0.030),
        "skinRedness": over(skin, 0.020, -0.014, -0.012),
        "skinYellowness": over(skin, 0.005, 0.004, -0.022),
        "cheekRedness": over(skin * complexion.cheeks, 0.020, -0.050, -0.040),
        "stubble": over(skin * complexion.beard, -0.120, -0.068, -0.046),
        "lipRedness": over(lips, 0.045, -0.035, -0.025),
        "lipLightness": over(lips, 0.075, 0.055, 0.045),
        "browLightness": over(brows, 0.060, 0.042, 0.028),
        "hairLightness": over(hair, 0.060, 0.042, 0.028),
        "irisLightness": over(complexion.iris, 0.040, 0.045, 0.045),
        "irisBlueness": over(complexion.iris, -0.030, 0.004, 0.060),
    }
    return {name: change for name, change in modes.items() if np.abs(change).max() > 0}


def add_analytic_albedo(
    model: MorphableModel, *, smooth_modes: int = LAPLACIAN_MODES, keep_mean: bool = False
) -> MorphableModel:
    """Give a model a mean colour and an albedo basis; returns the same model.

    Lips, brows and eyes are found by the 68 landmarks and the regions of the model; without them, the whole is skin.

    Args:
        model: changed in place.
        smooth_modes: how many eigenvectors of the mesh's Laplacian to add: gentle, smooth shading of the skin.
        keep_mean: leave the mean colour as it is.

    Raises:
        InputError: ``smooth_modes`` is negative, or scipy is missing where it is not 0.
    """
    if whole_number(smooth_modes, "smooth_modes") < 0:
        raise InputError(f"smooth_modes={smooth_modes}; allowed: 0 or more")
    complexion, mean = paint(model)
    modes = _modes(complexion)
    if smooth_modes:
        smooth = laplacian_modes(model.mean.cpu().numpy(), model.triangles.cpu().numpy(), smooth_modes)
        for index, mode in enumerate(smooth):
            strength = 0.032 / (1 + 0.1 * index)
            shade = strength * (complexion.skin * mode)[:, None] * np.array([1.0, 0.66, 0.5])
            modes[f"smooth{index + 1:02d}"] = shade
    basis = torch.from_numpy(np.stack(list(modes.values())).astype(np.float32))
    colours = model.albedo_mean if keep_mean else torch.from_numpy(mean.astype(np.float32))
    model.set_albedo(colours, basis, list(modes))
    return model
