"""``gptface ask``: a question, with or without a photo, answered in words and faces."""

from __future__ import annotations

import argparse
import sys

from gptface.cli.facegpt_arguments import (
    add_mesh_options,
    add_system_options,
    check_outputs,
    head_lines,
    load_system,
    mesh_paths,
    write_parameters,
)
from gptface.cli.generation_arguments import caption_text
from gptface.cli.paths import local_path
from gptface.cli.photos import read_photos
from gptface.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "ask",
        help="a question, with or without a photo, answered in words and faces",
        description="Answer a question. Where the answer holds <FACE>, that is a face in 3D: it is written to --output "
        "and drawn on --picture.",
        epilog='example: gptface ask photo.jpg "show this person in 3D" --system runs/demo/facegpt '
        "--output face.glb",
    )
    parser.add_argument("photo", type=local_path, nargs="?", help="a photo of any size; without one, words alone")
    parser.add_argument("question", type=caption_text, help="what to ask")
    add_system_options(parser)
    group = parser.add_argument_group("decoding")
    group.add_argument(
        "--emission",
        choices=("free", "forced", "forbidden"),
        default="free",
        help="<FACE> as the model likes (free, the default), once at least (forced; exactly once of an adapter), or "
        "never (forbidden)",
    )
    group.add_argument("--max-length", type=int, metavar="N", help="most word pieces (default: all there is room for)")
    group.add_argument("--temperature", type=float, default=0.0, help="of the draw, 0 = likeliest (default 0)")
    group.add_argument("--seed", type=int, default=0, help="same seed, same answer (default 0)")
    add_mesh_options(parser, "for those of an answer with several")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    check_outputs(arguments, mesh_paths(arguments.output, ["face"], arguments.format))
    if not arguments.question.strip():
        raise InputError("question: is empty; ask something")
    photo = None if arguments.photo is None else read_photos([arguments.photo])[0]
    system = load_system(arguments)
    answer = system.ask(
        photo,
        arguments.question,
        emission=arguments.emission,
        max_length=arguments.max_length,
        temperature=arguments.temperature,
        seed=arguments.seed,
    )
    print(answer.text)
    if answer.faces is None:
        if arguments.output or arguments.picture or arguments.parameters:
            print("no <FACE> in the answer, so there is no mesh to write; --emission forced asks for one")
        return 0

    import numpy as np

    from gptface.morphable import overlay_strip, turntable, without_pose, write_head, write_picture
    from gptface.systems.facegpt.face_system import LEAST_LIKENESS
    from gptface.systems.facegpt.photos import square
    from gptface.systems.facegpt.system import single

    model = system.morphable
    count = len(answer.faces.rotation)
    names = ["face"] if count == 1 else [f"face-{number}" for number in range(1, count + 1)]
    meshes = mesh_paths(arguments.output, names, arguments.format)
    check_outputs(arguments, meshes)  # once more: several faces have other names than one
    heads = [single(answer.faces, index) for index in range(count)]
    if arguments.picture is not None:
        rows = [
            turntable(model, without_pose(model, head), arguments.size)
            if photo is None
            else overlay_strip(model, head, square(photo), arguments.size)
            for head in heads
        ]
        write_picture(arguments.picture, np.concatenate(rows))
        print(f"picture: {arguments.picture}")
    for path, head in zip(meshes, heads, strict=False):  # no meshes without --output
        write_head(path, model, head, turned=arguments.posed)
        print(f"mesh: {path}")
    if arguments.parameters is not None:
        write_parameters(arguments.parameters, names, model, answer.faces)
        print(f"parameters: {arguments.parameters}")
    likeness = None if photo is None else system.likeness([photo] * count, answer.faces)
    for number, (name, line) in enumerate(
        zip(names, head_lines(model, answer.faces, pose=photo is not None), strict=True)
    ):
        print(f"{name}: {line}" + ("" if likeness is None else f"; likeness {likeness[number]:.2f}"))
    if likeness is not None and min(likeness) < LEAST_LIKENESS:
        print(
            f"gptface: note: {arguments.photo} and a head made of it are less alike ({min(likeness):.2f}) than "
            f"{LEAST_LIKENESS}: there may be no face in the photo",
            file=sys.stderr,
        )
    return 0
