"""Which of several candidates is kept: the one that shows best what was wished for.

A caption as a whole is the matching head's to judge. Where an edit names one attribute or one expression and the
system's parser knows it, the parser reads it off the finished picture, which tells candidates apart far better: most of
them differ in how a mouth or a brow came out, and little else in a caption speaks of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.data.inputs import strings
from gptface.faces.attributes import split_attribute
from gptface.models.parser import FaceParser
from gptface.systems.gptface.generation.sampler import Decoded
from gptface.systems.gptface.generation.where import Where

__all__ = ["CANDIDATES", "Score", "WishVerdict", "match_score", "wish_verdict"]

# Candidates of an edit where the parser can tell which shows the wish, if the caller does not say how many.
CANDIDATES = 8

# (B,) floats, higher is better.
Score = Callable[[Decoded], Tensor]


def match_score(decoded: Decoded) -> Tensor:
    """The matching head's log-odds of "caption and picture belong together"."""
    return decoded.match_log_odds


@dataclass(frozen=True)
class WishVerdict:
    """A parser's log-odds that pictures show what was wished for, each its own.

    Attributes:
        parser: in evaluation mode.
        kind: of what is wished for, ``"attribute"`` or ``"expression"``.
        columns: of each picture's wish among the parser's names.
        signs: 1, or −1 where an attribute is to be absent.
    """

    parser: FaceParser
    kind: str
    columns: tuple[int, ...]
    signs: tuple[int, ...]

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """``pictures (B, 3, H, W)`` in [−1, 1] to float32 ``(B,)``, on the CPU. One picture at a time."""
        rows = []
        for picture, column, sign in zip(pictures, self.columns, self.signs, strict=True):
            output = self.parser(picture[None].to(self.parser.device))
            if self.kind == "attribute":
                rows.append(sign * output.attribute_logits[0, column].float().cpu())
            else:
                logits = output.expression_logits[0].float().cpu()
                others = torch.cat([logits[:column], logits[column + 1 :]])
                rows.append(logits[column] - others.logsumexp(0))
        return torch.stack(rows)


def wish_verdict(parser: FaceParser | None, where: Where, count: int) -> WishVerdict | None:
    """How a parser judges the edit of ``count`` photos that ``where`` names; ``None`` where it cannot.

    Args:
        parser: of the system, or ``None``.
        where: names an attribute or an expression for each photo, or neither.
        count: of photos.
    """
    if parser is None:
        return None
    known: Sequence[str]
    if where.attributes is not None:
        kind, known = "attribute", parser.config.attribute_names
        wishes = [split_attribute(name) for name in strings(where.attributes, count, "attributes")]
    elif where.expressions is not None:
        kind, known = "expression", parser.config.expression_names
        wishes = [(name, True) for name in strings(where.expressions, count, "expressions")]
    else:
        return None
    if any(name not in known for name, _ in wishes) or (kind == "expression" and len(known) < 2):
        return None
    columns = tuple(list(known).index(name) for name, _ in wishes)
    return WishVerdict(parser, kind, columns, tuple(1 if wanted else -1 for _, wanted in wishes))
