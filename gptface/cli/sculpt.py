"""``gptface sculpt``: words to faces in 3D."""

from __future__ import annotations

import argparse

from gptface.cli.facegpt_arguments import (
    add_mesh_options,
    add_system_options,
    check_outputs,
    head_lines,
    load_system,
    mesh_paths,
    plain_name,
    write_parameters,
)
from gptface.cli.generation_arguments import caption_text
from gptface.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "sculpt",
        help="words to faces in 3D",
        description="Make a 3D face that a sentence describes: a mesh, and a picture of it from five sides.",
        epilog='example: gptface sculpt --caption "an astonished man with a wide nose" --system runs/demo/facegpt '
        "--output face.glb --picture face.png",
    )
    parser.add_argument(
        "--caption",
        type=caption_text,
        nargs="+",
        action="extend",
        required=True,
        metavar="TEXT",
        help="what the face is like; several captions make several faces",
    )
    add_system_options(parser)
    add_mesh_options(parser, "for those of several captions")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    captions: list[str] = arguments.caption
    if arguments.output is None and arguments.picture is None and arguments.parameters is None:
        raise InputError("nothing to write: give --output, --picture or --parameters")
    meshes = mesh_paths(arguments.output, [plain_name(caption) for caption in captions], arguments.format)
    check_outputs(arguments, meshes)
    system = load_system(arguments)
    parameters = system.sculpt(captions)

    import numpy as np

    from gptface.morphable import turntable, without_pose, write_head, write_picture
    from gptface.systems.facegpt.system import single

    model = system.morphable
    heads = [single(parameters, index) for index in range(len(captions))]
    if arguments.picture is not None:
        rows = [turntable(model, without_pose(model, head), arguments.size) for head in heads]
        write_picture(arguments.picture, np.concatenate(rows))
        print(f"picture: {arguments.picture}")
    for path, head in zip(meshes, heads, strict=False):  # no meshes without --output
        write_head(path, model, head, turned=arguments.posed)
        print(f"mesh: {path}")
    if arguments.parameters is not None:
        write_parameters(arguments.parameters, captions, model, parameters)
        print(f"parameters: {arguments.parameters}")
    for caption, line in zip(captions, head_lines(model, parameters, pose=False), strict=True):
        print(f"{caption}: {line}")
    return 0
