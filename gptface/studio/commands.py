"""The command line that does what was done on the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from gptface.studio.history import Step
from gptface.studio.wishes import Decoding, Wish

__all__ = [
    "START",
    "Place",
    "drawn_face_command",
    "edit_command",
    "generate_command",
    "history_commands",
    "mask_name",
    "picture_name",
]

START = "photo.png"


@dataclass(frozen=True)
class Place:
    """Which system the page runs and where: what every command must be told.

    Attributes:
        system: its folder as the command line takes it; ``None`` for the one inside the package.
        device: of torch.
    """

    system: str | None = None
    device: str = "cpu"

    def options(self) -> list[str]:
        """What differs from the commands' own defaults."""
        words = [] if self.system is None else _option("system", self.system)
        return words if self.device == "cpu" else [*words, *_option("device", self.device)]


def picture_name(number: int) -> str:
    """The file of a history's picture: 0 is the one it starts with."""
    return START if number == 0 else f"step-{number}.png"


def mask_name(number: int) -> str:
    """The file of the mask of step ``number``."""
    return f"mask-{number}.png"


def history_commands(path: Sequence[Step], place: Place) -> str:
    """Lines for a shell that make the last picture of ``path`` from its first, in a folder with its files."""
    if not path:
        return ""
    first = path[0]
    begun = "the photo that was opened" if first.wish is None else f"the picture after “{first.title}”, the first kept"
    lines = [first.origin or f"# {START}: {begun}"]
    for number, step in enumerate(path[1:], 1):
        assert step.wish is not None
        lines.append(edit_command(step.wish, step.candidate.seed, number, place))
    return "\n".join(lines) + "\n"


def edit_command(wish: Wish, seed: int, number: int, place: Place) -> str:
    """The command of step ``number`` of a history, made from ``seed``."""
    command = "unmask" if wish.kind == "cover" else "inpaint" if wish.fills else "edit"
    words = ["gptface", command, picture_name(number - 1)]
    if wish.kind in ("attribute", "expression"):
        words += _option(wish.kind, wish.name)
    elif wish.kind == "region":
        words += _option("region", ",".join(wish.regions))
    elif wish.mask is not None:
        words += _option("mask", mask_name(number))
    if wish.words or (command == "edit" and wish.kind in ("region", "brush")):
        words += _option("caption", wish.words)
    words += [*_decoding(wish.decoding, seed), *place.options(), *_option("output", picture_name(number))]
    return shlex.join(words)


def generate_command(words: str, decoding: Decoding, seed: int, place: Place, output: str = START) -> str:
    """The command that makes one face of words."""
    caption = _option("caption", words) if words else []
    options = [*caption, *_decoding(decoding, seed), *place.options(), *_option("output", output)]
    return shlex.join(["gptface", "generate", *options])


def drawn_face_command(number: int, size: int, covered: bool) -> str:
    """The line of Python that draws a procedural face."""
    code = (
        "from gptface.data.images import save_image; from gptface.data.procedural import ProceduralFaces; "
        f"save_image({START!r}, ProceduralFaces({number}, {size}, occluder_probability={int(covered)})[0].image)"
    )
    return shlex.join(["python", "-c", code])


def _decoding(decoding: Decoding, seed: int) -> list[str]:
    """Options of decoding that differ from the defaults."""
    usual = Decoding()
    words = _option("seed", str(seed)) if seed != usual.seed else []
    for name in ("steps", "guidance_scale", "match_guidance", "temperature"):
        value = getattr(decoding, name)
        if value != getattr(usual, name):
            words += _option(name.replace("_", "-"), str(value))
    return [*words, *_option("negative-caption", decoding.negative)] if decoding.negative else words


def _option(name: str, value: str) -> list[str]:
    """``--name value``, in one word where the value could be taken for an option."""
    return [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]
