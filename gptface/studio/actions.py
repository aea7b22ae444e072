"""What can be done on the page, as plain functions over a generator: edit, make, describe, draw."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gptface import decoding_defaults as usual
from gptface.data.procedural import ProceduralFaces
from gptface.errors import InputError
from gptface.studio.commands import Place, drawn_face_command, generate_command
from gptface.studio.history import Candidate, History, Step
from gptface.studio.names import readable
from gptface.studio.stopping import StopSign, stoppable
from gptface.studio.wishes import LARGEST_SEED, Decoding, Wish
from gptface.systems.gptface.generation import AutoregressiveSettings, FaceGenerator

__all__ = ["MOST_CANDIDATES", "Actions", "sentence", "step_of", "wish_title"]

MOST_CANDIDATES = 8
_LOG = logging.getLogger("gptface.studio")


@dataclass(frozen=True)
class Actions:
    """A generator and where it runs.

    Attributes:
        generator: shared by all who use the page.
        place: for the commands.
        turn: held while the generator works, so that calls come one after another whoever makes them.
    """

    generator: FaceGenerator
    place: Place = field(default_factory=Place)
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def image_size(self) -> int:
        """Side in pixels of the pictures that the system sees."""
        return self.generator.codec.image_size

    @property
    def known_attributes(self) -> tuple[str, ...]:
        """Those that the system's parser knows."""
        parser = self.generator.system.parser
        return () if parser is None else tuple(parser.config.attribute_names)

    def drawn_face(self, number: int, covered: bool = False) -> History:
        """A history that starts with a procedural face.

        Args:
            number: seed of the face.
            covered: by a medical mask, sunglasses or a hand.
        """
        if not 0 <= number <= LARGEST_SEED:
            raise InputError(f"The number of the face is {number}; it may be 0 to {LARGEST_SEED}.")
        size = self.image_size
        face = ProceduralFaces(number, size, occluder_probability=float(covered))[0]
        return History.start(face.image, f"Drawn face {number}", drawn_face_command(number, size, covered))

    def edits(
        self, photo: np.ndarray, wish: Wish, count: int = 1, sign: StopSign | None = None
    ) -> Iterator[Candidate]:
        """Candidates of an edit, one as soon as it is made; each as its own command makes it, whatever their number.

        Args:
            photo: what is edited.
            wish: how.
            count: of candidates.
            sign: ends it.

        Raises:
            InputError: nothing is found where the wish takes place, or a count out of range.
            Stopped: the sign is up.
        """
        _check_count(count, wish.decoding.seed)
        sign = sign or StopSign()
        settings = stoppable(wish.decoding.settings(), sign)
        for seed in range(wish.decoding.seed, wish.decoding.seed + count):
            with self.turn:
                sign.check()
                result = wish.apply(self.generator, photo, seed, settings)
            mask, source = result.masks[0], result.sources[0].replace("_", " ")
            told = (
                f"{mask.mean():.0%} of the picture renewed (found by the {source}), seed {seed}, "
                f"match {float(result.match[0]):+.1f}"
            )
            yield Candidate(result.images[0], seed, float(result.match[0]), result.captions[0], told)

    def faces(
        self, words: str, decoding: Decoding, count: int = 1, sign: StopSign | None = None
    ) -> Iterator[Candidate]:
        """Faces of words, one as soon as it is made; no words ask for any face.

        Raises:
            InputError: a count out of range.
            Stopped: the sign is up.
        """
        _check_count(count, decoding.seed)
        sign = sign or StopSign()
        settings = stoppable(decoding.settings(), sign)
        for seed in range(decoding.seed, decoding.seed + count):
            with self.turn:
                sign.check()
                result = self.generator.generate(
                    words, seed, settings=settings, negative_captions=decoding.negative or None
                )
            match = float(result.match[0])
            yield Candidate(result.images[0], seed, match, words, f"seed {seed}, match {match:+.1f}")

    def made_face(self, candidate: Candidate, decoding: Decoding) -> History:
        """A history that starts with a face made of words."""
        origin = generate_command(candidate.said, decoding, candidate.seed, self.place)
        return History.start(candidate.picture, f"“{candidate.said}”" if candidate.said else "Any face", origin)

    def describe(
        self, photo: np.ndarray, seed: int = usual.SEED, candidates: int = usual.CAPTION_CANDIDATES
    ) -> list[str]:
        """Captions of a photo, the one that fits best first."""
        with self.turn:
            result = self.generator.caption(
                photo,
                candidates=candidates,
                seeds=seed,
                autoregressive=AutoregressiveSettings(usual.CAPTION_TEMPERATURE),
            )
        return list(dict.fromkeys(result.candidates[0]))

    def warm_up(self) -> None:
        """One small edit, so that nobody's first is slower than the next."""
        face = self.drawn_face(0).now.picture
        for _ in self.edits(face, Wish("attribute", "Blond_Hair", decoding=Decoding(steps=2))):
            pass


def step_of(wish: Wish, candidates: list[Candidate]) -> Step:
    """The step that an edit adds to a history."""
    return Step(tuple(candidates), wish, wish_title(wish))


def wish_title(wish: Wish) -> str:
    """A wish in a few words."""
    if wish.kind == "attribute":
        name = wish.name.removeprefix("no ")
        title = readable(name) if name == wish.name else f"No {readable(name).lower()}"
    elif wish.kind == "expression":
        title = readable(wish.name)
    elif wish.kind == "cover":
        title = "Uncovered"
    elif wish.kind == "region":
        title = ", ".join(readable(name) for name in wish.regions)
    else:
        title = "Filled" if wish.fills else "Brushed"
    return f"{title}: “{wish.words}”" if wish.words else title


def sentence(error: BaseException) -> str:
    """What the page says of a failure: bad input in its own words; of anything else the terminal has the details."""
    if isinstance(error, InputError):
        return str(error)
    _LOG.error("the studio failed at a request", exc_info=error)
    if isinstance(error, MemoryError):
        return "This machine has too little memory for that; ask for less at once."
    kind = type(error).__name__
    return f"That failed ({kind}), and nothing was changed. The terminal has the details; the page goes on."


def _check_count(count: int, seed: int) -> None:
    if not 1 <= count <= MOST_CANDIDATES:
        raise InputError(f"{count} at once; 1 to {MOST_CANDIDATES} are made.")
    if seed + count - 1 > LARGEST_SEED:
        raise InputError(f"The seeds end at {LARGEST_SEED}; {count} from {seed} on go beyond.")
