"""``load_morphable_model``: any morphable model by its file, its folder or its name."""

from __future__ import annotations

import os
from pathlib import Path

from gptface.errors import InputError
from gptface.files import refuse_url
from gptface.morphable.albedo import LAPLACIAN_MODES, add_analytic_albedo
from gptface.morphable.arrays import npz_names
from gptface.morphable.model import MorphableModel

__all__ = ["MODEL_NAMES", "load_morphable_model"]

MODEL_NAMES = ("synthetic", "anny")
"""Models that need no file."""

_ALLOWED = (
    "a name (synthetic, anny), ICT's folder of .obj files or its .npz, Basel 2009 (.mat), Basel 2017 or 2019 (.h5), or "
    "FLAME (.pkl, .npz)"
)


def load_morphable_model(
    path_or_name: str | os.PathLike[str], *, smooth_modes: int = LAPLACIAN_MODES
) -> MorphableModel:
    """Read a morphable model; nothing in its file is executed.

    A model without colours of its own (all but Basel) gets painted ones (:func:`add_analytic_albedo`).

    Args:
        path_or_name: ``"synthetic"``, ``"anny"`` (needs the extra ``anny``), or the path of ICT Face Model Light (its
            published folder, or condensed as ``.npz``), Basel 2009 (``.mat``), Basel 2017 or 2019 (``.h5``), FLAME
            (``.pkl`` or ``.npz``).
        smooth_modes: how many eigenvectors of the mesh to add to painted colours; more than 0 needs scipy.

    Raises:
        InputError: no such file, a file that is no morphable model, or one whose parts do not fit together.
    """
    name = os.fspath(path_or_name)
    if name == "synthetic":
        from gptface.morphable.synthetic import synthetic_head

        return add_analytic_albedo(synthetic_head(), smooth_modes=smooth_modes, keep_mean=True)
    if name == "anny":
        from gptface.morphable.anny import anny_head

        return add_analytic_albedo(anny_head(), smooth_modes=smooth_modes)
    refuse_url("model", name)
    path = Path(name)
    if not path.exists():
        raise InputError(f"there is no morphable model {name!r}; allowed: {_ALLOWED}")
    model = _read(path)
    if not model.albedo_names:
        add_analytic_albedo(model, smooth_modes=smooth_modes)
    return model


def _read(path: Path) -> MorphableModel:
    """The model of a file or folder, by its suffix and what it holds."""
    from gptface.morphable import basel, flame, ict

    if path.is_dir():
        for folder in (path, path / "FaceXModel"):
            if ict.is_ict_folder(folder):
                return ict.read_ict_folder(folder)
        raise InputError(f"the folder {path} is no morphable model: ICT's has {ict.NEUTRAL} in it; allowed: {_ALLOWED}")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return ict.read_ict_npz(path) if "neutral" in npz_names(path) else flame.read_flame_npz(path)
    if suffix == ".mat":
        return basel.read_basel_2009(path)
    if suffix in (".h5", ".hdf5"):
        return basel.read_basel_h5(path)
    if suffix in (".pkl", ".pickle"):
        return flame.read_flame_pickle(path)
    meshes = (".obj", ".ply", ".stl", ".glb", ".gltf", ".off")
    kind = (
        "a single mesh" if suffix in meshes else f"a file {f'of the kind {suffix}' if suffix else 'without a suffix'}"
    )
    raise InputError(f"{path} is {kind}, not a morphable model; allowed: {_ALLOWED}")
