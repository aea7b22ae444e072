"""``gptface face3d``: a morphable face by named shapes, as a picture, a mesh or a sheet of all its shapes."""

from __future__ import annotations

import argparse

from gptface.cli.paths import local_path, local_pattern
from gptface.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "face3d",
        help="draw a morphable 3D face by named shapes, and write it as a mesh",
        description="A morphable face model with named weights, drawn and exported. Without --picture, --turntable, "
        "--output or --contact-sheet, its shapes are listed.",
        epilog="example: gptface face3d --expression mouthSmile_L=1 mouthSmile_R=1 --pose yaw=20 --picture face.png",
    )
    parser.add_argument(
        "--model",
        type=local_pattern,
        default="synthetic",
        help="synthetic (default), anny, or the file or folder of ICT Face Model Light, Basel 2009/2017/2019 or FLAME",
    )
    for kind, example in (("identity", "noseWidth=2"), ("expression", "jawOpen=0.5"), ("albedo", "skinLightness=-1")):
        parser.add_argument(
            f"--{kind}", nargs="+", action="extend", default=[], metavar="NAME=WEIGHT", help=f"such as {example}"
        )
    parser.add_argument(
        "--pose", nargs="+", action="extend", default=[], metavar="ANGLE=DEGREES", help="yaw, pitch and roll in degrees"
    )
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels (default 512)")
    parser.add_argument("--picture", type=local_path, metavar="PNG", help="draw the face")
    parser.add_argument("--turntable", type=local_path, metavar="PNG", help="draw the face from five sides in a strip")
    parser.add_argument(
        "--output", type=local_path, metavar="FILE", help="write the mesh, turned as --pose says: .glb, .ply or .obj"
    )
    parser.add_argument(
        "--contact-sheet", type=local_path, metavar="PNG", help="draw all expression shapes, each with its name"
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.morphable import (
        check_mesh_path,
        check_picture_path,
        check_picture_size,
        contact_sheet,
        load_morphable_model,
        named_parameters,
        named_weights,
        portrait,
        turntable,
        write_head,
        write_picture,
    )

    if arguments.output is not None:
        check_mesh_path(arguments.output)
    paths = [path for path in (arguments.picture, arguments.turntable, arguments.contact_sheet) if path is not None]
    for path in paths:
        check_picture_path(path)
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("--picture, --turntable and --contact-sheet name one file; give each its own")
    check_picture_size(arguments.size)
    weights = {
        name: named_weights(f"--{name}", getattr(arguments, name))
        for name in ("identity", "expression", "albedo", "pose")
    }
    model = load_morphable_model(arguments.model)
    parameters = named_parameters(model, **weights)
    print(model.extra_repr())
    if arguments.picture is not None:
        write_picture(arguments.picture, portrait(model, parameters, arguments.size))
        print(f"picture: {arguments.picture}")
    if arguments.turntable is not None:
        write_picture(arguments.turntable, turntable(model, parameters, arguments.size))
        print(f"turntable: {arguments.turntable}")
    if arguments.output is not None:
        write_head(arguments.output, model, parameters)
        print(f"mesh: {arguments.output}")
    if arguments.contact_sheet is not None:
        write_picture(arguments.contact_sheet, contact_sheet(model))
        print(f"contact sheet: {arguments.contact_sheet}")
    if all(getattr(arguments, name) is None for name in ("picture", "turntable", "output", "contact_sheet")):
        for kind in ("identity", "expression", "albedo"):
            print(f"{kind}: {', '.join(getattr(model, f'{kind}_names')) or 'none'}")
    return 0
