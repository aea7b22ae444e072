"""``gptface evaluate regions``: what an encoder's frozen features know of procedural faces."""

from __future__ import annotations

import argparse

from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "regions",
        help="an encoder's features of procedural faces: regions, attributes, expressions",
        description="Linear probes of frozen features on procedural faces, whose labels are exact: the facial region "
        "of each patch (mean F1), attributes (mean accuracy) and expressions (accuracy), of the encoder, of the same "
        "architecture with random weights, and of the patches' own pixels.",
        epilog="example: gptface evaluate regions --encoder runs/pacofr/model/encoder --output regions.json",
    )
    add = parser.add_argument
    add("--encoder", type=local_path, required=True, metavar="DIR", help="what pre-training leaves, of any system")
    add("--faces", type=int, default=2000, help="training faces (default 2000; regions are fitted on 200)")
    add("--test-faces", type=int, default=500, help="faces to measure on (default 500)")
    add("--faces-seed", type=int, help="seed of the procedural faces (default: one that no training uses)")
    add("--random-seed", type=int, default=0, help="of the random weights (default 0)")
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.evaluation.device import pick_device
    from gptface.evaluation.face_set import HELD_OUT_SEED
    from gptface.evaluation.numbers import write_numbers
    from gptface.evaluation.procedural_probes import measure_on_procedural_faces, probe_lines
    from gptface.systems import open_encoder, random_encoder

    summary = measure_on_procedural_faces(
        open_encoder(arguments.encoder),
        random_encoder(arguments.encoder, arguments.random_seed),
        faces=arguments.faces,
        test_faces=arguments.test_faces,
        seed=HELD_OUT_SEED if arguments.faces_seed is None else arguments.faces_seed,
        device=pick_device(arguments.device),
    )
    if arguments.output is not None:
        facts = {"encoder": str(arguments.encoder), "random_seed": arguments.random_seed}
        write_numbers(arguments.output, {**facts, **summary})
    for line in probe_lines(summary["rows"]):
        print(line)
    return 0
