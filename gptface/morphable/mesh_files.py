"""Meshes written for other programs: OBJ, PLY and GLB with a colour a vertex."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.morphable.camera import place
from gptface.morphable.model import MorphableModel
from gptface.morphable.parameters import FaceParameters
from gptface.morphable.renderer import linear_to_srgb
from gptface.morphable.rotation import rotation_6d_to_matrix

__all__ = ["MESH_SUFFIXES", "check_mesh_path", "write_head", "write_mesh"]

MESH_SUFFIXES = (".obj", ".ply", ".glb")


def check_mesh_path(path: str | os.PathLike[str]) -> None:
    """Refuse a path whose suffix is no mesh format that is written.

    Raises:
        InputError: another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{path} names no mesh format; allowed suffixes: {', '.join(MESH_SUFFIXES)}")


def write_mesh(
    path: str | os.PathLike[str], vertices: Tensor, triangles: Tensor, albedo: Tensor | None = None
) -> None:
    """Write one mesh; vertices that no triangle uses are left out.

    OBJ and PLY are in centimetres with sRGB colours; GLB, as its standard wants, in metres with linear colours, and
    with normals and a matt material, without which viewers show facets of metal.

    Args:
        path: its suffix chooses the format: ``.obj``, ``.ply`` or ``.glb``.
        vertices: ``(V, 3)`` centimetres.
        triangles: ``(T, 3)``.
        albedo: ``(V, 3)`` linear light.

    Raises:
        InputError: a suffix that is no mesh format, coordinates or colours that are not finite or have another shape,
            no triangles, indices out of range, or trimesh is missing.
    """
    check_mesh_path(path)
    path = Path(path)
    try:
        import trimesh
    except ModuleNotFoundError:
        raise InputError('meshes are written with trimesh: pip install "gptface[morphable]"') from None
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise InputError(f"vertices has the shape {tuple(vertices.shape)}; it must be (vertices, 3)")
    if not bool(torch.isfinite(vertices).all()):
        raise InputError("vertices holds values that are not finite; a mesh file needs finite coordinates")
    if albedo is not None and albedo.shape != vertices.shape:
        raise InputError(f"albedo has the shape {tuple(albedo.shape)}; it must be {tuple(vertices.shape)}, as vertices")
    if albedo is not None and not bool(torch.isfinite(albedo).all()):
        raise InputError("albedo holds values that are not finite; a mesh file needs finite colours")
    if triangles.numel() == 0:
        raise InputError("triangles holds none; a mesh file needs one or more")
    corners = triangles.detach().cpu().numpy().astype(np.int64)
    if corners.min() < 0 or corners.max() >= len(vertices):
        raise InputError(f"triangles name vertices that do not exist; allowed: 0 to {len(vertices) - 1}")
    suffix = path.suffix.lower()
    scale = 0.01 if suffix == ".glb" else 1.0
    mesh = trimesh.Trimesh(vertices.detach().cpu().numpy().astype(np.float64) * scale, corners, process=False)
    if albedo is not None:
        shown = albedo.detach().clamp(0, 1) if suffix == ".glb" else linear_to_srgb(albedo.detach())
        colours = (shown.cpu().numpy() * 255).round().astype(np.uint8)
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)
    mesh.remove_unreferenced_vertices()
    matt: dict[str, Any] = {"include_normals": True, "tree_postprocessor": _matt} if suffix == ".glb" else {}
    data: Any = mesh.export(file_type=suffix[1:], **matt)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


def write_head(
    path: str | os.PathLike[str], model: MorphableModel, parameters: FaceParameters, *, turned: bool = True
) -> None:
    """Write the first head of parameters as a mesh, see :func:`write_mesh`.

    Args:
        path: its suffix chooses the format.
        model: the model.
        parameters: of one head or more.
        turned: turn it about its centre by its rotation; otherwise it faces forward.

    Raises:
        InputError: parameters that are not finite, and as of :func:`write_mesh`.
    """
    first = FaceParameters(**{name: value[:1].detach() for name, value in vars(parameters).items()}).check()
    vertices = first.vertices(model)
    if turned:
        vertices = place(vertices, rotation_6d_to_matrix(first.rotation), model.centre[None], model.centre)
    write_mesh(path, vertices[0], model.triangles, model.albedo(first.albedo)[0])


def _matt(tree: dict[str, Any]) -> None:
    """Give every surface of a glTF file a material without metal: without any, the standard's default is all metal."""
    tree["materials"] = [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}]
    for mesh in tree["meshes"]:
        for surface in mesh["primitives"]:
            surface["material"] = 0
