"""What a caption states of a face: attributes and an expression, read off this vocabulary's wordings.

The opposite direction of :attr:`Attribute.present` and :attr:`Expression.nouns`. Words that are none of them state
nothing, so it reads captions in this project's own words; of other people's it finds what happens to be put alike. What
is denied with "no", "not" or "without" is stated to be absent, and of an expression then nothing is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gptface.faces.attributes import ATTRIBUTES
from gptface.faces.expressions import EXPRESSIONS

__all__ = ["Statements", "statements"]

_COLOURS = {word: f"{word.capitalize()}_Hair" for word in ("black", "brown", "blond", "gray")}
_COLOURS |= {"blonde": _COLOURS["blond"], "grey": _COLOURS["gray"]}
# "Or" stands here since nobody but grammar knows whether "no hat or glasses" denies both.
_DENIED = r"(?<![\w'])(?:(no|not|non|without|neither|nor|or)[ -](?:(?:a|an|any|wearing|very) )*)?"
# What else is said of hair stands before the colour: "very short wavy blond hair".
_HAIR = re.compile(
    _DENIED + r"(?:(?:very|short|long|chin|length|tied|curly|wavy|straight) )*"
    + f"({'|'.join(_COLOURS)}) hair\\b"
)


@dataclass(frozen=True)
class Statements:
    """Of one caption.

    Attributes:
        attributes: CelebA's names to whether the caption says that the face has them; those it does not speak of are
            missing.
        expression: ``None`` where it states none, or several.
    """

    attributes: dict[str, bool]
    expression: str | None


def _wordings() -> dict[str, tuple[str, str, bool]]:
    """Wording to what it is of, ``"attribute"`` or ``"expression"``, its name, and whether it is there."""
    found: dict[str, tuple[str, str, bool]] = {}
    for name, expression in EXPRESSIONS.items():
        for words in (*expression.adjectives, *expression.nouns):
            found[words] = ("expression", name, True)
    for name, attribute in ATTRIBUTES.items():
        for present, wordings in ((False, attribute.absent), (True, attribute.present)):
            for words in wordings:
                found.setdefault(words, ("attribute", name, present))  # "a smile" is an expression
    return found


_WORDINGS = _wordings()
# The longest first: "no glasses" is not "glasses", "a small beard on the chin" not "a beard".
_ANY = re.compile(
    _DENIED + "(" + "|".join(sorted(map(re.escape, _WORDINGS), key=len, reverse=True)) + r")(?![\w']| on the (?!head))"
)


def statements(caption: str) -> Statements:
    """What ``caption`` states, in this vocabulary's words; of an attribute stated twice, the first statement."""
    text = " ".join(caption.lower().split())
    attributes: dict[str, bool] = {}
    expressions: set[str] = set()
    for match in _HAIR.finditer(text):
        if match[1] != "or":
            attributes.setdefault(_COLOURS[match[2]], match[1] is None)
    for match in _ANY.finditer(_HAIR.sub("hair", text)):
        kind, name, present = _WORDINGS[match[2]]
        if kind == "expression":
            if match[1] is None:
                expressions.add(name)
        elif match[1] is None:
            attributes.setdefault(name, present)
        elif match[1] != "or" and present:
            attributes.setdefault(name, False)
    return Statements(attributes, expressions.pop() if len(expressions) == 1 else None)
