"""The Basel Face Models: 2009 (``01_MorphableModel.mat``), 2017 and 2019 (``.h5``); the files are their users' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gptface.errors import InputError
from gptface.morphable.arrays import array_of
from gptface.morphable.geometry import facing_outward
from gptface.morphable.model import MorphableModel

__all__ = ["read_basel_2009", "read_basel_h5"]

MICROMETRES = 1e-4
_BASEL_2009 = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl", "segbin")
MILLIMETRES = 0.1


def _linear(srgb: np.ndarray, basis: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and basis of colours in linear light, from ones for screens: the basis through the slope at the mean."""
    mean = np.clip(srgb * scale, 0.0, 1.0)
    high = mean > 0.04045
    root = ((mean + 0.055) / 1.055).clip(1e-6)
    linear = np.where(high, root**2.4, mean / 12.92)
    slope = np.where(high, 2.4 / 1.055 * root**1.4, 1 / 12.92)
    return linear, basis * scale * slope[None]


def _modes(components: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Columns ``(3V, N)`` times their standard deviations, as ``(N, V, 3)``."""
    return (components * deviations[None]).T.reshape(len(deviations), -1, 3)


def read_basel_2009(path: Path) -> MorphableModel:
    """Basel 2009 from ``01_MorphableModel.mat``: 199 shapes, 199 colours, no expressions, no landmarks.

    Its lengths are micrometres, its colours 0 to 255, its triangles count from 1; ``segbin`` gives four regions.
    """
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError:
        raise InputError('.mat files need scipy: pip install "gptface[morphable]"') from None
    try:
        file = loadmat(path, variable_names=_BASEL_2009)
    except Exception as error:  # a broken file fails in any way there is
        raise InputError(f"{path} is no MATLAB file that can be read ({error})") from None
    shape_mean = array_of(file, path, "shapeMU", (None, 1), "f").astype(np.float64)
    length = len(shape_mean)
    deviation = array_of(file, path, "shapeEV", (None, 1), "f")[:, 0]
    components = array_of(file, path, "shapePC", (length, len(deviation)), "f")
    mean = (shape_mean.reshape(-1, 3) * MICROMETRES).astype(np.float32)
    colour_mean = array_of(file, path, "texMU", (length, 1), "f")
    colour_deviation = array_of(file, path, "texEV", (None, 1), "f")[:, 0]
    colours = array_of(file, path, "texPC", (length, len(colour_deviation)), "f")
    albedo, albedo_basis = _linear(colour_mean.reshape(-1, 3), _modes(colours, colour_deviation), 1 / 255)
    triangles = array_of(file, path, "tl", (None, 3), "fiu").astype(np.int64) - 1
    regions = {}
    if "segbin" in file:
        segments = array_of(file, path, "segbin", (len(mean), 4), "fiub")
        for column, name in enumerate(("nose", "eyes", "mouth", "rest")):
            regions[name] = torch.from_numpy(np.flatnonzero(segments[:, column]))
    return MorphableModel(
        torch.from_numpy(mean),
        facing_outward(torch.from_numpy(mean), torch.from_numpy(triangles)),
        identity_basis=_tensor(_modes(components, deviation) * MICROMETRES),
        albedo_mean=_tensor(albedo),
        albedo_basis=_tensor(albedo_basis),
        regions=regions,
        expression_kind="gaussian",
        name=f"Basel Face Model 2009 ({path})",
    )


def read_basel_h5(path: Path) -> MorphableModel:
    """Basel 2017 or 2019 from its ``.h5`` in Statismo's layout: shape, expression and colour models.

    Its lengths are millimetres, its colours 0 to 1; basis columns are orthonormal and their variances beside them.
    Named landmarks (``center.nose.tip``, …) become :attr:`MorphableModel.points`: the nearest vertices.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise InputError('.h5 files need h5py: pip install "gptface[morphable]"') from None
    try:
        with h5py.File(path, "r") as file:
            identity, mean = _statismo(file, path, "shape")
            expression, expression_mean = (
                _statismo(file, path, "expression", len(mean)) if "expression/model" in file else (None, 0.0)
            )
            albedo = albedo_basis = None
            if "color/model" in file:
                colours, colour_mean = _statismo(file, path, "color", len(mean))
                albedo, albedo_basis = _linear(colour_mean, colours, 1.0)
            name = "shape/representer/cells"
            cells = array_of({name: _dataset(file, path, name)}, path, name, (3, None), "iu").T.astype(np.int64)
            points = _named_points(file, path, mean)
    # What h5py raises where a file is broken, cut off, or asks for more memory than there is.
    except (OSError, KeyError, RuntimeError, MemoryError) as error:
        raise InputError(f"{path} is no HDF5 file that can be read ({error})") from None
    mean = (mean + expression_mean) * MILLIMETRES
    vertices = _tensor(mean)
    return MorphableModel(
        vertices,
        facing_outward(vertices, torch.from_numpy(cells)),
        identity_basis=_tensor(identity * MILLIMETRES),
        expression_basis=None if expression is None else _tensor(expression * MILLIMETRES),
        albedo_mean=None if albedo is None else _tensor(albedo),
        albedo_basis=None if albedo_basis is None else _tensor(albedo_basis),
        points=points,
        expression_kind="gaussian",
        name=f"Basel Face Model ({path})",
    )


def _tensor(value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(value.astype(np.float32))


def _dataset(file: Any, path: Path, name: str) -> np.ndarray:
    if name not in file:
        raise InputError(f"{path} is not the morphable model it looks like: it has no {name!r}")
    found = file[name]
    if not hasattr(found, "shape"):
        raise InputError(f"{path}: {name} is a group; it must be a data set")
    return np.asarray(found)


def _statismo(file: Any, path: Path, kind: str, vertices: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Basis ``(N, V, 3)`` with deviations folded in, and mean ``(V, 3)``, of one of the file's linear models."""
    parts = {name: _dataset(file, path, f"{kind}/model/{name}") for name in ("mean", "pcaBasis", "pcaVariance")}
    mean = array_of(parts, path, "mean", (None,), "f").astype(np.float64)
    if len(mean) % 3 or (vertices is not None and len(mean) != 3 * vertices):
        raise InputError(f"{path}: {kind}/model/mean has {len(mean)} numbers; three are needed for every vertex")
    variance = array_of(parts, path, "pcaVariance", (None,), "f").astype(np.float64)
    basis = array_of(parts, path, "pcaBasis", (len(mean), len(variance)), "f")
    return _modes(basis, np.sqrt(np.maximum(variance, 0.0))), mean.reshape(-1, 3)


def _named_points(file: Any, path: Path, mean: np.ndarray) -> dict[str, int]:
    """Landmarks of ``metadata/landmarks/json``, each the vertex of the mean shape nearest to it."""
    if "metadata/landmarks/json" not in file:
        return {}
    raw = _dataset(file, path, "metadata/landmarks/json")
    try:
        text: Any = raw[()] if raw.shape == () else raw[0]
        listed = json.loads(text)
        return {
            str(entry["id"]): int(np.square(mean - np.asarray(entry["coordinates"], dtype=float)).sum(1).argmin())
            for entry in listed
        }
    except (ValueError, KeyError, TypeError, IndexError):
        raise InputError(f"{path}: metadata/landmarks/json is no list of landmarks with id and coordinates") from None
