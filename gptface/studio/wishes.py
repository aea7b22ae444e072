"""What a person asks for: where, what, in which words, and how it is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gptface import decoding_defaults as usual
from gptface.data.metadata import without_surrogates
from gptface.errors import InputError
from gptface.faces.areas import region_area
from gptface.faces.attributes import attribute_area
from gptface.faces.expressions import expression_area
from gptface.systems.gptface.generation import (
    ORDERS,
    ClassifierFreeGuidance,
    DecodingSettings,
    EditResult,
    FaceGenerator,
    ITMGuidance,
)
from gptface.systems.gptface.generation.guidance import MatchMode

__all__ = ["LARGEST_SEED", "LONGEST_WORDS", "MOST_STEPS", "Decoding", "Kind", "Wish", "checked_words"]

Kind = Literal["attribute", "expression", "region", "brush", "cover"]

LONGEST_WORDS = 300
"""Letters of a wish; models cut captions off long before."""
LARGEST_SEED = 2**31 - 1
MOST_STEPS = 64


def checked_words(words: str | None) -> str:
    """Words from a text box: without line breaks and spaces around them.

    Raises:
        InputError: too many.
    """
    plain = " ".join(without_surrogates(words or "").split())
    if len(plain) > LONGEST_WORDS:
        raise InputError(f"The words have {len(plain)} letters; up to {LONGEST_WORDS} are taken.")
    return plain


@dataclass(frozen=True)
class Decoding:
    """How tokens are decoded; what is not said here is as the commands' defaults have it.

    Attributes:
        seed: of the first candidate; the next has the next.
        steps: passes of the network.
        guidance_scale: of classifier-free guidance; 1 is off.
        match_guidance: by the matching head.
        temperature: of the draw; 0 takes the likeliest token.
        negative: words to move away from.
    """

    seed: int = usual.SEED
    steps: int = usual.STEPS
    guidance_scale: float = usual.GUIDANCE_SCALE
    match_guidance: MatchMode = usual.MATCH_GUIDANCE
    temperature: float = usual.TEMPERATURE
    negative: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"The seed is {self.seed}; it may be 0 to {LARGEST_SEED}.")
        if not 1 <= self.steps <= MOST_STEPS:
            raise InputError(f"{self.steps} steps; 1 to {MOST_STEPS} are taken.")

    def settings(self) -> DecodingSettings:
        """For the generator."""
        return DecodingSettings(
            steps=self.steps,
            order=ORDERS[usual.ORDER](),
            temperature=self.temperature,
            classifier_free=ClassifierFreeGuidance(self.guidance_scale),
            matching=ITMGuidance(
                self.match_guidance, usual.MATCH_WEIGHT, kl_bound=usual.MATCH_BOUND, candidates=usual.MATCH_CANDIDATES
            ),
        )


@dataclass(frozen=True, eq=False)
class Wish:
    """One edit of one photo.

    Attributes:
        kind: how the place is chosen: by an attribute or an expression that shows there, by regions, by the brush, or
            whatever covers the face.
        name: the attribute (``"no NAME"`` takes it away) or the expression.
        regions: names of regions and zones.
        mask: bool ``(H, W)``: what was brushed; for ``cover`` it may be ``None``, and the system looks for itself.
        words: what the photo is to show; may be empty.
        decoding: how.

    Raises:
        InputError: nothing says where, or a name is unknown.
    """

    kind: Kind
    name: str = ""
    regions: tuple[str, ...] = ()
    mask: np.ndarray | None = None
    words: str = ""
    decoding: Decoding = field(default_factory=Decoding)

    def __post_init__(self) -> None:
        if self.kind == "attribute":
            attribute_area(self.name)
        elif self.kind == "expression":
            expression_area(self.name)
        elif self.kind == "region":
            if not self.regions:
                raise InputError("Choose at least one part of the face that may change.")
            region_area(self.regions)
        elif self.kind == "brush" and self.mask is None:
            raise InputError("Nothing is brushed yet: paint over what may change, on the tab “Brush”.")

    @property
    def fills(self) -> bool:
        """Whether what was brushed is filled from around it: nothing was said of what it should show."""
        return self.kind == "brush" and not self.words

    def apply(
        self, generator: FaceGenerator, photo: np.ndarray, seed: int, settings: DecodingSettings | None = None
    ) -> EditResult:
        """Carry the wish out on uint8 ``(H, W, 3)``, as the command of :mod:`~gptface.studio.commands` does.

        Args:
            generator: that edits.
            photo: what is edited.
            seed: of the draw.
            settings: the wish's own, by default; or those in a wrapping that changes no picture.
        """
        options: dict[str, Any] = {
            "seeds": seed,
            "settings": settings or self.decoding.settings(),
            "negative_captions": self.decoding.negative or None,
        }
        if self.kind == "cover":
            return generator.unmask(photo, self.mask, self.words, **options)
        if self.fills:
            return generator.inpaint(photo, self.mask, "", **options)
        return generator.edit(
            photo,
            self.words or (None if self.kind in ("attribute", "expression") else ""),
            masks=self.mask if self.kind == "brush" else None,
            regions=self.regions or None,
            attributes=self.name if self.kind == "attribute" else None,
            expressions=self.name if self.kind == "expression" else None,
            **options,
        )
