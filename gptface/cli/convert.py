"""``gptface convert``: a VQGAN that somebody else trained, as a tokenizer of this package."""

from __future__ import annotations

import argparse
import sys
import warnings

from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="make an image tokenizer of a published VQGAN checkpoint",
        description="Make a tokenizer of a VQGAN checkpoint in the layout of taming-transformers (a file, or a log "
        "folder) or diffusers (the folder of a VQModel, or of a pipeline with one). It gives the codes and "
        "reconstructions of the original, and gptface train pretrain --tokenizer takes it.",
        epilog="example: gptface convert vqgan/last.ckpt --output runs/vqgan/tokenizer",
    )
    parser.add_argument("checkpoint", type=local_path, metavar="FILE|DIR", help="the checkpoint")
    parser.add_argument("--output", type=local_path, required=True, metavar="DIR", help="folder of the tokenizer")
    parser.add_argument(
        "--image-size", type=int, default=256, metavar="N", help="side of its images in pixels (default: 256)"
    )
    parser.add_argument(
        "--entry", metavar="NAME", help="which VQGAN to take where the file holds several, such as model or ema"
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from transformers.utils.logging import disable_progress_bar

    from gptface.errors import InputError
    from gptface.models import load_vqgan_checkpoint

    if arguments.output.exists() and (not arguments.output.is_dir() or any(arguments.output.iterdir())):
        raise InputError(f"--output {arguments.output}: is there already; allowed: a new or an empty folder")
    disable_progress_bar()
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        model = load_vqgan_checkpoint(arguments.checkpoint, image_size=arguments.image_size, entry=arguments.entry)
    for note in (note for note in notes if note.category is UserWarning):
        print(f"gptface: note: {note.message}", file=sys.stderr)
    model.save_pretrained(arguments.output)
    config = model.config
    height, width = config.grid
    print(
        f"{arguments.output}: {config.image_size}² images, {height}×{width} tokens, "
        f"{config.codebook_size} codes of dimension {config.code_dim}"
    )
    return 0
