"""``gptface evaluate captions``: how often what a system's captions state is true."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from gptface.cli.paths import local_path, local_pattern
from gptface.cli.system import add_system_option, load_system
from gptface.decoding_defaults import CAPTION_CANDIDATES, CAPTION_TEMPERATURE

__all__ = ["add_parser", "run"]

AT_ONCE = 32  # faces described in one batch


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "captions",
        help="whether captions are true: colour of hair, baldness, glasses, hat, beard, expression",
        description="Describes held-out faces and compares what the captions state with the faces' labels, a line each "
        "for the kinds of facts, as NAME right 0.931 [0.909, 0.949] of 677. What a caption is silent about counts "
        "neither way.",
        epilog="example: gptface evaluate captions --system runs/demo/system --count 200 --output captions.json",
    )
    add_system_option(parser)
    parser.add_argument(
        "--faces",
        type=local_pattern,
        nargs="+",
        metavar="PATH",
        help="shards, globs or directories with attributes or expressions; default: fresh procedural faces",
    )
    parser.add_argument("--count", type=int, default=200, help="how many faces at most (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing (default 0)")
    parser.add_argument(
        "--candidates",
        type=int,
        default=CAPTION_CANDIDATES,
        help=f"drawn of each face, of which the best match is kept (default {CAPTION_CANDIDATES})",
    )
    parser.add_argument(
        "--temperature", type=float, default=CAPTION_TEMPERATURE, help=f"of the words (default {CAPTION_TEMPERATURE})"
    )
    parser.add_argument("--output", type=local_path, help="also write counts and captions as JSON")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.errors import InputError
    from gptface.evaluation.face_set import procedural_faces, shard_faces
    from gptface.faces.expressions import EXPRESSIONS
    from gptface.files import atomic_write
    from gptface.progress import Display
    from gptface.systems.gptface.evaluation.caption_facts import count_facts
    from gptface.systems.gptface.generation import AutoregressiveSettings, FaceGenerator

    if arguments.count < 1:
        raise InputError(f"--count must be at least 1, got {arguments.count}")
    system = load_system(arguments.system)
    generator, size = FaceGenerator(system), int(system.tokenizer.config.image_size)
    faces = (
        procedural_faces(arguments.count, size)
        if arguments.faces is None
        else shard_faces(arguments.faces, size, arguments.count)
    )
    count_facts(faces.captions, faces.samples)  # labels are there, before minutes are spent
    unknown = {str(face.metadata.get("expression")) for face in faces.samples} - {"None", *EXPRESSIONS}
    if unknown:
        print(
            f"note: expressions are not checked where they are called {', '.join(sorted(unknown)[:5])}; known are "
            f"{', '.join(EXPRESSIONS)}",
            file=sys.stderr,
        )
    settings = AutoregressiveSettings(temperature=arguments.temperature)
    captions: list[str] = []
    with Display("captions") as display:
        for first in range(0, len(faces.images), AT_ONCE):
            display.advance(first / len(faces.images), f"{first} of {len(faces.images)} faces")
            part = list(faces.images[first : first + AT_ONCE])
            seeds = [arguments.seed + first + row for row in range(len(part))]
            captions += generator.caption(
                part, candidates=arguments.candidates, seeds=seeds, autoregressive=settings
            ).captions
    counts = count_facts(captions, faces.samples)
    for name, count in counts.items():
        low, high = count.interval
        share = f"{count.right / count.stated:.3f} [{low:.3f}, {high:.3f}]" if count.stated else "nothing stated"
        print(f"{name} right {share} of {count.stated}")
    if arguments.output is not None:
        report = {
            "facts": {name: {"right": count.right, "stated": count.stated} for name, count in counts.items()},
            "captions": captions,
            "candidates": arguments.candidates,
            "temperature": arguments.temperature,
            "seed": arguments.seed,
        }
        with atomic_write(Path(arguments.output)) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0
