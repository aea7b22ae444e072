"""From "this photo, but blond" to the caption of the picture that is wanted.

A wish alone ("blond hair") leaves everything else open. Where the system has a parser, the photo's own attributes are
read off it, what the wish excludes is dropped, and the caption states the whole face: nearer to the captions the system
has learned from, and less of the person is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gptface.faces.areas import split_attribute
from gptface.models.parser import FaceParser

__all__ = ["DescribeWish", "attribute_wish", "expression_wish", "plain_caption", "seen_facts"]

# (attributes by name: 1 or 0, expression or None, names that must be said) -> caption.
DescribeWish = Callable[[Mapping[str, int], str | None, Sequence[str]], str]

_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
_HAIR = (*_COLOURS, "Bangs", "Straight_Hair", "Wavy_Hair")
_BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")
# What cannot be true of a face at the same time as the key.
_EXCLUDES: dict[str, tuple[str, ...]] = {
    **{colour: tuple(other for other in (*_COLOURS, "Bald") if other != colour) for colour in _COLOURS},
    **dict.fromkeys(_BEARDS, ("No_Beard",)),
    "Bald": (*_HAIR, "Wearing_Hat"),
    "Bangs": ("Bald", "Wearing_Hat"),
    "No_Beard": _BEARDS,
    "Straight_Hair": ("Wavy_Hair", "Bald"),
    "Wavy_Hair": ("Straight_Hair", "Bald"),
    "Wearing_Hat": ("Bald", "Bangs"),
}
# An attribute is taken as seen or unseen where the parser gives it odds of at least e¹ either way.
_CERTAIN = 1.0


def seen_facts(parser: FaceParser, image: Tensor) -> tuple[dict[str, int], str | None]:
    """Attributes a parser is sure of (name to 1 or 0), and the expression, of ``image (3, H, W)`` in [−1, 1]."""
    with torch.no_grad():
        output = parser(image[None].to(parser.device))
    assert output.attribute_logits is not None and output.expression_logits is not None
    logits = dict(zip(parser.config.attribute_names, output.attribute_logits[0].tolist(), strict=True))
    attributes = {name: int(logit > 0) for name, logit in logits.items() if abs(logit) >= _CERTAIN}
    expressions = parser.config.expression_names
    return attributes, expressions[int(output.expression_logits[0].argmax())] if expressions else None


def attribute_wish(
    wish: str, attributes: Mapping[str, int], expression: str | None
) -> tuple[dict[str, int], str | None, list[str]]:
    """A face's attributes and expression once an attribute is as wished, and the names to be said of it.

    Args:
        wish: CelebA's name, or ``"no NAME"``.
        attributes, expression: of the face as it is, as far as known.
    """
    name, wanted = split_attribute(wish)
    result = {**attributes, name: int(wanted)}
    if wanted:
        result.update(dict.fromkeys((other for other in _EXCLUDES.get(name, ()) if other in result), 0))
    if name == "Smiling":
        expression = "happiness" if wanted else "neutral"
    return result, expression, [name]


def expression_wish(wish: str, attributes: Mapping[str, int]) -> tuple[dict[str, int], str | None, list[str]]:
    """As :func:`attribute_wish`, for an expression."""
    rest = {name: value for name, value in attributes.items() if name not in ("Smiling", "Mouth_Slightly_Open")}
    return rest, wish, []


def plain_caption(attributes: Mapping[str, int], expression: str | None, names: Sequence[str]) -> str:
    """A caption from the names alone, where no describer knows better: "a face with blond hair"."""
    said = [name for name in names if name in attributes]
    words = [("" if attributes[name] else "no ") + name.removeprefix("Wearing_").replace("_", " ") for name in said]
    head = f"a face showing {expression}" if expression else "a face"
    return head + (f" with {', '.join(words).lower()}" if words else "")
