"""``gptface evaluate masked``: pictures of masked faces and of what a PaCo-FR model makes of them."""

from __future__ import annotations

import argparse

from gptface.cli.paths import local_path, local_pattern

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "masked",
        help="pictures: a face, its regions, what is masked, what a PaCo-FR model predicts",
        description="Draws a sheet of faces: the original, its facial regions, what is masked, what the tokens of the "
        "masked patches say alone, and the reconstruction. Predicted patches are shown with the mean and the spread of "
        "the true ones. Colours of the regions, and of the group that is masked whole: brows orange, eyes blue, nose "
        "green, mouth red, the skin's boundary yellow, hair violet.",
        epilog="example: gptface evaluate masked --model runs/pacofr/model --faces 'faces/val-*.tar' "
        "--landmarks faces/landmarks468_val.npz --output sheet.png",
    )
    add = parser.add_argument
    add("--model", type=local_path, required=True, metavar="DIR", help="what `gptface train pacofr` leaves")
    add("--faces", type=local_pattern, nargs="+", required=True, metavar="PATH", help="held-out shards")
    add("--landmarks", type=local_pattern, metavar="NPZ", help="their points, to draw regions from")
    add("--template", metavar="NAME", help="regions of faces without landmarks: tight or portrait")
    add("--output", type=local_path, required=True, metavar="PNG", help="the sheet")
    add("--count", type=int, default=8, help="how many of the faces, the first ones (default 8)")
    add("--ratio", type=float, default=0.75, help="share of the patches that is masked (default 0.75)")
    add("--seed", type=int, default=0, help="of the masks (default 0)")
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.systems.pacofr.evaluation.masked_pictures import MaskedSheetRequest, draw_masked_faces

    request = MaskedSheetRequest(
        model=arguments.model,
        faces=arguments.faces,
        output=arguments.output,
        landmarks=arguments.landmarks,
        template=arguments.template,
        count=arguments.count,
        ratio=arguments.ratio,
        seed=arguments.seed,
        device=arguments.device,
    )
    print("\n".join(draw_masked_faces(request)))
    return 0
