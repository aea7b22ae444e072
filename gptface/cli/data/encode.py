"""``gptface data encode``: shards of pictures and captions to token shards."""

from __future__ import annotations

import argparse
from pathlib import Path

from gptface.cli.device import add_device_option, usable_device
from gptface.cli.paths import local_path, local_pattern

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "encode",
        help="shards of pictures and captions to token shards for `train pretrain`",
        description="Encodes the pictures of shards and their mirror images by a trained image tokenizer: codes beside "
        "captions, which `gptface train pretrain` reads with data.source=tokens. Goes on where it was interrupted; "
        "called again, it takes in what shards were added. `torchrun -m gptface data encode ...` shares the shards "
        "among its processes.",
        epilog="example: gptface data encode --tokenizer runs/web/tokenizer --input 'shards/*.tar' --output tokens "
        "--processes 16; docs: docs/scale.md",
    )
    add = parser.add_argument
    add("--tokenizer", type=local_path, required=True, metavar="DIR", help="a trained tokenizer or its run's folder")
    add("--input", nargs="+", required=True, type=local_pattern, metavar="PATH", help="shards, or folders of them")
    add("--output", type=local_path, required=True, metavar="DIR", help="folder for the result")
    add("--no-mirror", action="store_true", help="leave mirror images out: half the time and size, data.flip=false")
    add("--template", choices=("tight", "portrait"), help="regions of aligned faces of which nothing else is known")
    add("--landmarks", nargs="+", default=[], type=local_pattern, metavar="NPZ", help="arrays key and points, by key")
    add_device_option(parser)
    add("--processes", type=int, default=1, help="that work side by side (default 1)")
    add("--ray", metavar="ADDRESS", help='of a Ray cluster that does the work instead; "local" starts one here')
    add("--quiet", action="store_true", help="no progress")
    parser.set_defaults(func=_run)


def _run(arguments: argparse.Namespace) -> int:
    from gptface.systems.gptface.token_encoding import EncodeWish, encode_shards

    if arguments.ray is None:  # with Ray, the devices are other machines'
        usable_device(arguments.device)
    wish = EncodeWish(
        Path(arguments.tokenizer),
        mirrored=not arguments.no_mirror,
        template=arguments.template,
        landmarks=tuple(arguments.landmarks),
        device=arguments.device,
    )
    done = encode_shards(
        arguments.input,
        arguments.output,
        wish,
        processes=arguments.processes,
        ray=arguments.ray,
        quiet=arguments.quiet,
    )
    return 0 if done.get("complete", True) else 1
