"""``gptface evaluate inpainting``: photos with something painted over them, filled again and compared."""

from __future__ import annotations

import argparse

from gptface.cli.generation_arguments import add_decoding_options, decoding_settings
from gptface.cli.paths import local_path, local_pattern
from gptface.cli.system import add_system_option, load_system

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "inpainting",
        help="a trained GPTFace: photos with painted masks, sunglasses or patches, filled again",
        description="Paints a medical mask, sunglasses, a patch over the mouth or a block over faces, has a trained "
        "GPTFace fill them, and compares pixels and landmarks in the hole with the original's, beside fillings that "
        "need no system.",
        epilog="example: gptface evaluate inpainting --system runs/real/system --faces 'faces/val-*.tar' "
        "--landmarks faces/landmarks468_val.npz --landmark-model runs/landmarks --group person --match-guidance none "
        "--output inpainting.json --sheet inpainting.png",
    )
    add = parser.add_argument
    add_system_option(parser)
    add("--faces", type=local_pattern, nargs="+", required=True, metavar="PATH", help="shards, globs or directories")
    add(
        "--landmarks",
        type=local_pattern,
        metavar="NPZ",
        help="key (N,) and points (N, 5, 68 or 468, 2 or 3), for faces without region maps: where covers lie",
    )
    add(
        "--landmark-model",
        type=local_path,
        metavar="DIR",
        help="what `evaluate landmarks --save` left; without it only pixels are compared",
    )
    add("--covers", nargs="+", metavar="NAME", help="medical_mask, sunglasses, mouth, block (default: all of them)")
    add("--count", type=int, default=200, help="faces at most (default 200)")
    add("--group", metavar="FIELD", help="metadata field of the person, whom intervals draw anew")
    add("--captions", action="store_true", help="also fill with each face's caption as the wish")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    add("--table", type=local_path, metavar="MD", help="also write a Markdown table")
    add("--sheet", type=local_path, metavar="PNG", help="draw eight photos of each cover and what became of them")
    add_decoding_options(parser, choosing=False)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.evaluation.landmark_model import load_landmark_model
    from gptface.evaluation.painted_masks import COVERS
    from gptface.systems import open_encoder
    from gptface.systems.gptface.evaluation.inpainting import InpaintingTest, inpainting_lines, measure_inpainting

    test = InpaintingTest(
        faces=arguments.faces,
        landmarks=arguments.landmarks,
        covers=tuple(COVERS) if arguments.covers is None else tuple(arguments.covers),
        count=arguments.count,
        group=arguments.group,
        captions=arguments.captions,
        settings=decoding_settings(arguments),
        seed=arguments.seed,
        output=arguments.output,
        table=arguments.table,
        sheet=arguments.sheet,
        facts=(("system", str(arguments.system)), ("landmark_model", str(arguments.landmark_model))),
    )
    folder = arguments.landmark_model
    regressor = None if folder is None else load_landmark_model(folder, open_encoder(folder / "encoder"))
    print("\n".join(inpainting_lines(measure_inpainting(test, load_system(arguments.system), regressor))))
    return 0
