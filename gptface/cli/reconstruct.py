"""``gptface reconstruct``: photos to faces in 3D."""

from __future__ import annotations

import argparse

from gptface.cli.facegpt_arguments import (
    add_mesh_options,
    add_system_options,
    check_outputs,
    head_lines,
    load_system,
    mesh_paths,
    write_parameters,
)
from gptface.cli.paths import local_path
from gptface.cli.photos import read_photos
from gptface.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "reconstruct",
        help="photos to faces in 3D",
        description="Make a 3D face of each photo: a mesh, and a picture with photo, head over photo, head, and the "
        "head turned. Of a photo the largest centred square is looked at; the face should fill it as faces did in "
        "training. Nothing is written where no face is found in one of the photos.",
        epilog="example: gptface reconstruct photo.jpg --system runs/demo/facegpt --output face.glb "
        "--picture overlay.png",
    )
    parser.add_argument("photos", type=local_path, nargs="+", metavar="photo", help="photos of any size, a face each")
    add_system_options(parser)
    parser.add_argument(
        "--window",
        type=int,
        nargs=3,
        metavar=("LEFT", "TOP", "SIDE"),
        help="the square of the one photo to look at, in pixels (default: the largest centred one)",
    )
    parser.add_argument(
        "--unchecked", action="store_true", help="make a head of anything, whether a face is found in it or not"
    )
    parser.add_argument(
        "--refine",
        type=int,
        default=0,
        metavar="STEPS",
        help="steps of descent that fit each head to its photo, such as 120 (default 0: what the system says)",
    )
    add_mesh_options(parser, "for those of several photos")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.refine < 0:
        raise InputError(f"--refine: {arguments.refine} steps; it must be 0 or more")
    if arguments.output is None and arguments.picture is None and arguments.parameters is None:
        raise InputError("nothing to write: give --output, --picture or --parameters")
    meshes = mesh_paths(arguments.output, [path.stem for path in arguments.photos], arguments.format)
    check_outputs(arguments, meshes)
    names = [str(path) for path in arguments.photos]
    photos = read_photos(arguments.photos)
    if arguments.window is not None:
        from gptface.systems.facegpt.photos import cut_window

        if len(photos) > 1:
            raise InputError(f"--window is a place in one photo, and {len(photos)} are given")
        photos = [cut_window(photos[0], *arguments.window)]
    system = load_system(arguments)
    parameters = system.reconstruct(photos, arguments.refine, names=names, check=not arguments.unchecked)
    likeness = system.likeness(photos, parameters)

    import numpy as np

    from gptface.morphable import overlay_strip, write_head, write_picture
    from gptface.systems.facegpt.photos import square
    from gptface.systems.facegpt.system import single

    model = system.morphable
    heads = [single(parameters, index) for index in range(len(photos))]
    if arguments.picture is not None:
        rows = [
            overlay_strip(model, head, square(photo), arguments.size)
            for head, photo in zip(heads, photos, strict=True)
        ]
        write_picture(arguments.picture, np.concatenate(rows))
        print(f"picture: {arguments.picture}")
    for path, head in zip(meshes, heads, strict=False):  # no meshes without --output
        write_head(path, model, head, turned=arguments.posed)
        print(f"mesh: {path}")
    if arguments.parameters is not None:
        write_parameters(arguments.parameters, names, model, parameters, likeness=likeness)
        print(f"parameters: {arguments.parameters}")
    for name, line, value in zip(names, head_lines(model, parameters), likeness, strict=True):
        print(f"{name}: {line}; likeness {value:.2f}")
    return 0
