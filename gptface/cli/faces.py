"""``gptface faces``: procedural faces with captions, as shards, and a contact sheet to look at."""

from __future__ import annotations

import argparse

from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "faces",
        help="make procedural faces with captions, as shards",
        description="Faces drawn from nothing but a seed, with captions, attributes, region maps and landmarks, in the "
        "layout that img2dataset writes (KEY.png, KEY.txt, KEY.json, and KEY.regions.png).",
        epilog="example: gptface faces --output faces --count 2000 --contact-sheet faces.png",
    )
    parser.add_argument("--output", type=local_path, help="folder for the shards")
    parser.add_argument("--count", type=int, default=1000, help="how many faces (default 1000)")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels, 16 to 1024 (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the generator (default 0)")
    parser.add_argument("--start", type=int, default=0, help="index of the first face (default 0)")
    parser.add_argument(
        "--correlation", type=float, default=1.0, help="share of captions that speak of their face (default 1)"
    )
    parser.add_argument(
        "--occluders", type=float, default=0.2, help="share of faces behind a mask, sunglasses or a hand (default 0.2)"
    )
    parser.add_argument(
        "--detail", type=float, default=0.0, help="share of captions that state all there is room for (default 0)"
    )
    parser.add_argument(
        "--unusual",
        type=float,
        default=0.0,
        help="share of faces with attributes that do not go with the rest, such as a bald woman (default 0)",
    )
    parser.add_argument("--per-shard", type=int, default=1000, help="faces in a shard (default 1000)")
    parser.add_argument("--workers", type=int, default=0, help="processes that make shards side by side (default 0)")
    parser.add_argument(
        "--contact-sheet",
        type=local_path,
        metavar="PNG",
        help="also lay the first faces, at most 96, out in one picture",
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.data.procedural import ProceduralFaces
    from gptface.data.procedural.contact_sheet import write_contact_sheet
    from gptface.data.shard_writer import write_shards
    from gptface.errors import InputError

    if arguments.output is None and arguments.contact_sheet is None:
        raise InputError("--output or --contact-sheet must be given: there is nowhere to put the faces")
    faces = ProceduralFaces(
        seed=arguments.seed,
        size=arguments.size,
        start=arguments.start,
        count=arguments.count,
        correlation=arguments.correlation,
        occluder_probability=arguments.occluders,
        detail=arguments.detail,
        unusual=arguments.unusual,
    )
    if arguments.contact_sheet is not None:
        write_contact_sheet(faces, arguments.contact_sheet)
        print(f"contact sheet: {arguments.contact_sheet}")
    if arguments.output is not None:
        signature = (
            f"procedural faces, seed {faces.seed}, size {faces.size}, from {faces.start}, "
            f"correlation {faces.correlation}, occluders {faces.occluder_probability}, "
            f"detail {faces.detail}, unusual {faces.unusual}"
        )
        shards = write_shards(
            faces, arguments.output, arguments.per_shard, workers=arguments.workers, signature=signature
        )
        print(f"{len(faces)} faces in {len(shards)} shard{'' if len(shards) == 1 else 's'}: {arguments.output}")
    return 0
