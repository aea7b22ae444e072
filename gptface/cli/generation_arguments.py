"""The options that the generating commands share, the generator they load, and how an edit is written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptface import decoding_defaults as usual
from gptface.cli.device import add_device_option, usable_device
from gptface.cli.paths import local_path
from gptface.cli.photos import check_files, read_photos
from gptface.cli.system import add_system_option, load_system
from gptface.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from gptface.systems.gptface.generation import DecodingSettings, EditResult, FaceGenerator

__all__ = [
    "PICTURE_SUFFIXES",
    "add_decoding_options",
    "add_photo_options",
    "add_system_options",
    "caption_text",
    "check_outputs",
    "decoding_settings",
    "load_generator",
    "photo_options",
    "read_inputs",
    "write_edit",
]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def caption_text(text: str) -> str:
    """A caption from the command line; bytes that the terminal's encoding has no characters for become U+FFFD."""
    from gptface.data.metadata import without_surrogates

    clean = without_surrogates(text)
    if clean != text:
        print(f"gptface: note: a caption holds bytes that are no characters; it is read as {clean!a}", file=sys.stderr)
    return clean


def add_system_options(parser: argparse.ArgumentParser) -> None:
    add_system_option(parser)
    add_device_option(parser)


def add_decoding_options(parser: argparse.ArgumentParser, *, choosing: bool = True) -> None:
    """The options of :func:`decoding_settings`; with ``choosing`` also those beside them, which measurements fix."""
    group = parser.add_argument_group("decoding")
    group.add_argument("--seed", type=int, default=usual.SEED, help="same seed, same picture (default %(default)s)")
    group.add_argument("--steps", type=int, default=usual.STEPS, help="passes of masked decoding (default %(default)s)")
    group.add_argument(
        "--order",
        choices=("confidence", "halton", "random"),
        default=usual.ORDER,
        help="which tokens are kept first: the surest, those spread widest, or any (default %(default)s)",
    )
    group.add_argument(
        "--temperature",
        type=float,
        default=usual.TEMPERATURE,
        help="of the token draw, 0 = likeliest (default %(default)g)",
    )
    group.add_argument(
        "--refresh",
        type=int,
        default=1,
        metavar="N",
        help="compute all tokens every N passes and between them only the unknown: faster, nearly the same (default 1)",
    )
    group.add_argument("--top-k", type=int, default=None, metavar="K", help="draw among the K likeliest tokens only")
    group.add_argument(
        "--guidance-scale",
        type=float,
        default=usual.GUIDANCE_SCALE,
        metavar="S",
        help="classifier-free guidance, 1 = off (default %(default)g)",
    )
    group.add_argument(
        "--match-guidance",
        choices=("none", "first_order", "exact"),
        default=usual.MATCH_GUIDANCE,
        help="guidance by the image-text matching head (default %(default)s)",
    )
    group.add_argument(
        "--match-weight",
        type=float,
        default=usual.MATCH_WEIGHT,
        metavar="W",
        help="weight of that guidance, 0 = off (default %(default)g)",
    )
    group.add_argument(
        "--match-bound",
        type=float,
        default=usual.MATCH_BOUND,
        metavar="NATS",
        help="first_order: how far it may move a token's distribution (default %(default)g)",
    )
    group.add_argument(
        "--match-candidates",
        type=int,
        default=usual.MATCH_CANDIDATES,
        metavar="N",
        help="exact: candidates scored a step (default %(default)s)",
    )
    if not choosing:
        return
    group.add_argument(
        "--best-of",
        type=int,
        metavar="N",
        help="make N and keep the best: by the system's parser where an attribute or an expression is named (default "
        "8), else by the matching head (default 1)",
    )
    group.add_argument(
        "--negative-caption", type=caption_text, metavar="TEXT", help="what to move away from, in place of no caption"
    )


def decoding_settings(arguments: argparse.Namespace) -> DecodingSettings:
    from gptface.systems.gptface.generation import ORDERS, ClassifierFreeGuidance, DecodingSettings, ITMGuidance

    return DecodingSettings(
        steps=arguments.steps,
        order=ORDERS[arguments.order](),
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        refresh=arguments.refresh,
        classifier_free=ClassifierFreeGuidance(arguments.guidance_scale),
        matching=ITMGuidance(
            arguments.match_guidance,
            arguments.match_weight,
            kl_bound=arguments.match_bound,
            candidates=arguments.match_candidates,
        ),
    )


def add_photo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=local_path, help="a photo of any size")
    parser.add_argument(
        "--output", type=local_path, required=True, metavar="FILE", help="the result (.png, .jpg or .webp)"
    )
    parser.add_argument(
        "--strip", type=local_path, metavar="FILE", help="also write photo, mask and result side by side"
    )
    group = parser.add_argument_group("where")
    group.add_argument(
        "--window",
        type=int,
        nargs=3,
        metavar=("LEFT", "TOP", "SIDE"),
        help="the square the system works on, in pixels (default: the largest centred one)",
    )
    group.add_argument("--dilation", type=int, default=0, metavar="N", help="renew N rings of tokens around the mask")


def photo_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the generator's editing methods."""
    return {
        "seeds": arguments.seed,
        "settings": decoding_settings(arguments),
        "negative_captions": arguments.negative_caption,
        "best_of": arguments.best_of,
        "dilation": arguments.dilation,
        "windows": None if arguments.window is None else [tuple(arguments.window)],
    }


def read_inputs(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The photo, the mask and the region map of an editing command, checked against one another.

    Raises:
        InputError: one of them is missing, cannot be read or does not fit, or ``--window`` lies outside the photo.
    """
    region_map = getattr(arguments, "region_map", None)
    check_files(arguments.image, arguments.mask, region_map)
    from gptface.data.inputs import as_labels, as_mask
    from gptface.systems.gptface.generation.editing import Frame

    photo = read_photos([arguments.image])[0]
    mask = None if arguments.mask is None else as_mask(arguments.mask, photo)
    labels = None if region_map is None else as_labels(region_map, photo)
    Frame.of(photo, 1, None if arguments.window is None else tuple(arguments.window))
    return photo, mask, labels


def load_generator(arguments: argparse.Namespace, template: str = "portrait") -> FaceGenerator:
    from transformers.utils.logging import disable_progress_bar

    from gptface.data.procedural import wish_caption
    from gptface.systems.gptface.generation import FaceGenerator

    device = usable_device(arguments.device)
    disable_progress_bar()  # a bar for every file of weights says nothing to whom waits for a picture
    return FaceGenerator(load_system(arguments.system, device), template=template, describe=wish_caption)


def check_outputs(*paths: Path | None) -> None:
    """Refuse names that cannot be written before any work is done."""
    for path in paths:
        if path is None:
            continue
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            raise InputError(f"{path}: pictures are written as {', '.join(PICTURE_SUFFIXES)}, by the file's suffix")
        if path.is_dir():
            raise InputError(f"{path}: is a folder, not a file to write")
    given = [path.absolute() for path in paths if path is not None]
    if len(set(given)) < len(given):
        raise InputError(f"{given[0]}: is given for two pictures, and one would overwrite the other; give two names")


def write_edit(arguments: argparse.Namespace, result: EditResult) -> int:
    """Write the edit of one photo, and the strip where one is asked for; print one line."""
    from gptface.data.images import save_image

    save_image(arguments.output, result.images[0])
    if arguments.strip is not None:
        save_image(arguments.strip, result.strip())
    mask = result.masks[0]
    wish = f' "{result.captions[0]}",' if result.captions[0] else ""
    print(
        f"{arguments.output}:{wish} seed {result.seeds[0]}, match {result.match[0]:+.2f}, "
        f"{int(mask.sum())} of {mask.size} pixels renewed (found by the {result.sources[0].replace('_', ' ')})"
    )
    return 0
