"""From "this photo, but blond" to the caption of the picture that is wanted.

A wish alone ("blond hair") leaves everything else open. Where the system has a parser, the photo's own attributes are
read off it, what the wish excludes is dropped, and the caption states the whole face: nearer to the captions the system
has learned from, and less of the person is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gptface.faces.attributes import ATTRIBUTES, split_attribute
from gptface.faces.expressions import EXPRESSIONS
from gptface.faces.names import find
from gptface.models.parser import FaceParser

__all__ = ["DescribeWish", "attribute_wish", "expression_wish", "plain_caption", "seen_facts"]

# (attributes by name: 1 or 0, expression or None, names that must be said) -> caption.
DescribeWish = Callable[[Mapping[str, int], str | None, Sequence[str]], str]

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

    Raises:
        InputError: not one of CelebA's attributes.
    """
    name, wanted = split_attribute(wish)
    result = {**attributes, name: int(wanted)}
    if wanted:
        result.update(dict.fromkeys((other for other in ATTRIBUTES[name].excludes if other in result), 0))
    if name == "Smiling":
        expression = "happiness" if wanted else "neutral"
    return result, expression, [name]


def expression_wish(wish: str, attributes: Mapping[str, int]) -> tuple[dict[str, int], str | None, list[str]]:
    """As :func:`attribute_wish`, for an expression."""
    find("expression", wish, EXPRESSIONS)
    rest = {name: value for name, value in attributes.items() if name not in ("Smiling", "Mouth_Slightly_Open")}
    return rest, wish, []


def plain_caption(attributes: Mapping[str, int], expression: str | None, names: Sequence[str]) -> str:
    """A caption of the wish alone, where no describer knows the rest: "a person with blond hair"."""
    shown = EXPRESSIONS.get(expression or "") if "Smiling" not in names else None
    words = [] if shown is None else [shown.nouns[0]]
    words += [(ATTRIBUTES[name].present if attributes[name] else ATTRIBUTES[name].absent)[0] for name in names]
    return "a person" + (f" with {' and '.join(words)}" if words else "")
