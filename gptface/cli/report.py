"""``gptface report``: a system's pictures and numbers on one HTML page."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from gptface.cli.paths import local_path
from gptface.cli.system import add_system_option, load_system

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "report",
        help="write one HTML page with trained systems' pictures and numbers",
        description="Measures a trained system on fresh procedural faces, edits some of them with and without matching "
        "guidance, has a judge count the successes, and writes report.html, its PNGs and numbers.json.",
        epilog="example: gptface report --system runs/demo/system --output runs/demo/report",
    )
    add_system_option(parser)
    parser.add_argument(
        "--judge",
        type=local_path,
        metavar="DIR",
        help="a parser that took no part in the system (default: the one inside the package)",
    )
    parser.add_argument("--output", type=local_path, required=True, help="folder for the page and its pictures")
    parser.add_argument(
        "--run", nargs=2, action="append", default=[], metavar=("TITLE", "METRICS"), help="a metrics.jsonl to draw"
    )
    parser.add_argument(
        "--facegpt", type=local_path, metavar="DIR", help="what `gptface train facegpt` leaves: adds faces in 3D"
    )
    parser.add_argument("--faces", type=int, default=512, help="held-out faces for the figures (default 512)")
    parser.add_argument("--trials", type=int, default=120, help="edits of each kind (default 120)")
    parser.add_argument("--seed", type=int, default=0, help="of masks and decoding (default 0)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    import torch

    from gptface.files import refuse_url
    from gptface.models import FaceParser
    from gptface.systems.gptface.bundled import bundled_judge
    from gptface.systems.gptface.evaluation.report import ReportRequest, write_report

    for _, metrics in arguments.run:
        refuse_url("--run", metrics)
    further = []
    if arguments.facegpt is not None:
        from gptface.systems.facegpt import FaceGPTSystem
        from gptface.systems.facegpt.showcase import faces_in_3d

        further.append(("Faces in 3D", partial(faces_in_3d, FaceGPTSystem.load(arguments.facegpt))))
    if arguments.judge is None:
        judge = bundled_judge()
    else:
        judge = FaceParser.from_pretrained(arguments.judge, dtype=torch.float32)
    path = write_report(
        ReportRequest(
            system=load_system(arguments.system),
            judge=judge,
            output=arguments.output,
            runs=[(title, Path(metrics)) for title, metrics in arguments.run],
            faces=arguments.faces,
            trials=arguments.trials,
            seed=arguments.seed,
            further=further,
        )
    )
    print(path)
    return 0
