"""What the commands of FaceGPT share: the system's options, names of meshes, and how heads are written and told."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptface.cli.device import add_device_option, usable_device
from gptface.cli.paths import local_path, local_pattern
from gptface.errors import InputError

if TYPE_CHECKING:
    from gptface.morphable import FaceParameters, MorphableModel
    from gptface.systems.facegpt.face_system import FaceSystem

__all__ = [
    "add_mesh_options",
    "add_system_options",
    "check_outputs",
    "head_lines",
    "load_system",
    "mesh_paths",
    "plain_name",
    "write_parameters",
]

FORMATS = ("glb", "ply", "obj")
TOLD = 4
"""How many expression shapes a line tells."""
LEAST_TOLD = 0.1
"""Weights below this are hardly seen."""


def add_system_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--system",
        type=local_path,
        required=True,
        metavar="DIR",
        help="what `gptface train facegpt` leaves, or an adapter of another language model",
    )
    parser.add_argument(
        "--model",
        type=local_pattern,
        metavar="NAME|PATH",
        help="the morphable model, where it is no longer where it was in training: the same one is needed",
    )
    add_device_option(parser)


def add_mesh_options(parser: argparse.ArgumentParser, several: str) -> None:
    """Where meshes, pictures and numbers go; ``several`` says when a folder is needed."""
    group = parser.add_argument_group("results")
    group.add_argument(
        "--output", type=local_path, metavar="PATH", help=f"the mesh (.glb, .ply or .obj), or a folder {several}"
    )
    group.add_argument("--format", choices=FORMATS, default="glb", help="of meshes in a folder (default glb)")
    group.add_argument(
        "--posed", action="store_true", help="turn the mesh as the head is turned; without, it faces forward"
    )
    group.add_argument("--picture", type=local_path, metavar="PNG", help="a picture of the heads, a row each")
    group.add_argument("--size", type=int, default=192, help="side of one head in that picture (default 192)")
    group.add_argument(
        "--parameters", type=local_path, metavar="JSON", help="all weights by name, pose and light, an entry a head"
    )


def mesh_paths(output: Path | None, names: Sequence[str], format: str) -> list[Path]:
    """One path a mesh: ``output`` itself for one, ``NAME.format`` in the folder ``output`` for several; none without.

    Raises:
        InputError: several meshes and the name of one, two of one name, or a file where the folder would be.
    """
    if output is None:
        return []
    from gptface.morphable import check_mesh_path

    if output.suffix and not output.is_dir():
        check_mesh_path(output)
        if len(names) > 1:
            raise InputError(f"{output}: is one mesh, and {len(names)} are to be written; give a folder to --output")
        return [output]
    if output.is_file():
        raise InputError(f"{output}: is a file; give a folder, or a name ending in .glb, .ply or .obj")
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise InputError(f"{output / f'{twice}.{format}'}: two meshes would have this name; call the command twice")
    return [output / f"{name}.{format}" for name in names]


def check_outputs(arguments: argparse.Namespace, meshes: Sequence[Path]) -> None:
    """Refuse names that cannot be written before any work is done.

    Raises:
        InputError: a name of no picture or no JSON file, a folder, one name given twice, or a size that is none.
    """
    from gptface.morphable import check_picture_path, check_picture_size

    check_picture_size(arguments.size)
    if arguments.picture is not None:
        check_picture_path(arguments.picture)
    if arguments.parameters is not None and arguments.parameters.suffix.lower() != ".json":
        raise InputError(f"{arguments.parameters}: parameters are written as .json")
    given = [path for path in (*meshes, arguments.picture, arguments.parameters) if path is not None]
    for index, path in enumerate(given):
        if path.is_dir():
            raise InputError(f"{path}: is a folder, not a file to write")
        if path.absolute() in [other.absolute() for other in given[:index]]:
            raise InputError(f"{path}: is given for two results, and one would overwrite the other; give two names")


def load_system(arguments: argparse.Namespace) -> FaceSystem:
    """The system that ``--system``, ``--model`` and ``--device`` name."""
    device = usable_device(arguments.device)
    from transformers.utils.logging import disable_progress_bar

    from gptface.systems.facegpt.opening import open_system

    disable_progress_bar()  # a bar for every file of weights says nothing to whom waits for a mesh
    return open_system(arguments.system, morphable=arguments.model, device=device)


def plain_name(text: str, longest: int = 48) -> str:
    """A file name of a caption: its letters and digits, joined by hyphens."""
    words = re.findall(r"[^\W_]+", text.lower())
    name = ""
    for word in words:
        if name and len(name) + len(word) >= longest:
            break
        name = f"{name}-{word}" if name else word[:longest]
    return name or "face"


def head_lines(model: MorphableModel, parameters: FaceParameters, *, pose: bool = True) -> list[str]:
    """A line a head: its strongest expression shapes, and its pose."""
    from gptface.morphable import named_values

    lines = []
    for entry in named_values(model, parameters):
        strongest = sorted(entry["expression"].items(), key=lambda item: -abs(item[1]))[:TOLD]
        shapes = [f"{name} {weight:.2f}" for name, weight in strongest if abs(weight) >= LEAST_TOLD]
        line = ", ".join(shapes) or "a neutral face"
        if pose:
            angles = entry["pose"]
            line += "; " + ", ".join(f"{name} {angles[name]:+.0f}°" for name in ("yaw", "pitch", "roll"))
        lines.append(line)
    return lines


def write_parameters(
    path: Path, names: Sequence[str], model: MorphableModel, parameters: FaceParameters, **further: Sequence[Any]
) -> None:
    """All values by name as JSON, an entry a head under the name of its photo or caption; ``further`` adds fields."""
    import json

    from gptface.files import atomic_write
    from gptface.morphable import named_values

    entries = [
        {"of": name, **{key: values[index] for key, values in further.items()}, **entry}
        for index, (name, entry) in enumerate(zip(names, named_values(model, parameters), strict=True))
    ]
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"model": model.name, "heads": entries}, indent=1) + "\n", encoding="utf-8")
