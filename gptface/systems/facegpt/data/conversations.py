"""Conversations: questions about a face, a picture or anything else and their answers, with `<FACE>` or without.

A picture, where there is one, comes before the first question. `<FACE>` in an answer stands for a face in 3D: the model
reads its parameters off the hidden state there. Every conversation here is drawn from :class:`Draws`, so that the same
(seed, number) gives the same words everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gptface.data.procedural.randomness import Draws
from gptface.errors import InputError

__all__ = [
    "FACE",
    "Conversation",
    "Turn",
    "about_picture",
    "capitalised",
    "reconstruction",
    "reconstruction_with_words",
    "sculpture",
    "spoken",
    "without_markers",
]

FACE = "<FACE>"
"""How a face in 3D is written in an answer."""

Role = Literal["human", "assistant"]
_MARKERS = re.compile(r"<\s*(face|image|human|assistant)\s*>", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    """What one of the two says."""

    role: Role
    text: str


@dataclass(frozen=True)
class Conversation:
    """Questions and answers in turn.

    Attributes:
        turns: ``human`` and ``assistant`` alternate; ``human`` begins, ``assistant`` ends.
        image: whether a picture stands before the first question.
        shapes: expression shapes that a sentence asks for or that are known otherwise, name → weight; all others are
            0. ``None`` where the expression is not known.
        attributes: traits of the head asked for, name → standard deviations (:mod:`.traits`); ``None`` where nothing
            is known of the identity. Traits that are not named are average.
        kind: where it comes from (``reconstruction``, ``sculpture``, ``picture words``, ``general`` …): for counting.

    Raises:
        InputError: turns out of order, or `<FACE>` in a question.
    """

    turns: tuple[Turn, ...]
    image: bool = False
    shapes: Mapping[str, float] | None = None
    attributes: Mapping[str, float] | None = None
    kind: str = field(default="general", compare=False)

    def __post_init__(self) -> None:
        roles = [turn.role for turn in self.turns]
        if not roles or len(roles) % 2 or roles != ["human", "assistant"] * (len(roles) // 2):
            raise InputError(
                f"conversation: its turns are {', '.join(roles) or 'none'}; human and assistant must take turns, "
                "beginning with human and ending with assistant"
            )
        if any(FACE in turn.text for turn in self.turns if turn.role == "human"):
            raise InputError(f"conversation: {FACE} stands in a question; only answers may hold it")

    @property
    def face(self) -> bool:
        """Whether an answer holds `<FACE>`."""
        return self.faces > 0

    @property
    def faces(self) -> int:
        """How many times answers hold `<FACE>`."""
        return sum(turn.text.count(FACE) for turn in self.turns)

    @classmethod
    def of(
        cls,
        question: str,
        answer: str,
        *,
        image: bool = False,
        shapes: Mapping[str, float] | None = None,
        attributes: Mapping[str, float] | None = None,
        kind: str = "general",
    ) -> Conversation:
        """One question and one answer."""
        turns = (Turn("human", question), Turn("assistant", answer))
        return cls(turns, image=image, shapes=shapes, attributes=attributes, kind=kind)


def without_markers(text: str) -> str:
    """A text of somebody else's in one line, without what would read as one of the model's own tokens."""
    return " ".join(_MARKERS.sub(" ", text).split())


# Words ---------------------------------------------------------------------------------------------------------------

_MAKE = ("reconstruct", "build", "make", "create", "estimate", "recover", "give me", "show me")
_THING = (
    "this face in 3D",
    "the face in 3D",
    "this person's face in 3D",
    "a 3D model of this face",
    "a 3D face of this person",
    "the 3D shape of this face",
    "a 3D head for this picture",
    "the face in the picture as a mesh",
    "a mesh of this face",
    "a 3D reconstruction of the face",
)
_WHO = ("this face", "this person", "the face in the photo", "the person in the picture", "the face you see")
_INTO = ("a 3D model", "a 3D face", "a mesh", "a 3D head", "a morphable face")
_POLITE = ("", "", "please ", "could you ", "can you ", "would you ", "I would like you to ", "now ")
_FACE_ANSWERS = (
    f"Here is the face: {FACE}.",
    f"{FACE}",
    f"This is the face in 3D: {FACE}.",
    f"Sure, it is {FACE}.",
    f"The face looks like this: {FACE}.",
    f"Sure. {FACE}",
    f"The 3D face is {FACE}.",
    f"I see this face: {FACE}.",
    f"Here you are: {FACE}.",
)
_SCULPT = ("sculpt", "make", "create", "model", "build", "show me", "give me", "generate", "form")
_SCULPT_ANSWERS = (
    f"Here is the face: {FACE}.",
    f"{FACE}",
    f"Such a face looks like this: {FACE}.",
    f"Sure. {FACE}",
    f"Sure, it is {FACE}.",
    f"This is how it looks: {FACE}.",
    f"Here you are: {FACE}.",
    f"I would sculpt it so: {FACE}.",
)
_DESCRIBE = (
    "describe this picture.",
    "describe the picture in a few words.",
    "what is shown here?",
    "what do you see?",
    "what can be seen in the photo?",
    "write a caption for this photo.",
    "who or what is in this picture?",
    "what does this picture show?",
    "give the photo a short caption.",
    "put this picture into words.",
    "say in one sentence what you see.",
    "describe the person in this photo.",
    "tell me in words what the face looks like.",
)
_BOTH = (
    "describe the picture and {make} {thing}.",
    "what do you see? also {make} {thing}.",
    "{make} {thing} and say in words what you see.",
    "write a caption and {make} {thing}.",
    "first describe this photo, then {make} {thing}.",
    "say who is shown, and {make} {thing}.",
)
_BOTH_ANSWERS = (
    "{caption}. " + f"The face in 3D: {FACE}.",
    "it shows {caption}. " + f"Here is the face: {FACE}.",
    "I see {caption}. " + FACE,
    f"{FACE}." + " It shows {caption}.",
    "{caption}: " + f"{FACE}.",
)


def capitalised(text: str) -> str:
    """A text with its first letter as at the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _ended(text: str, polite: str) -> str:
    return text + ("?" if polite.startswith(("could", "can", "would")) else ".")


def reconstruction(draws: Draws, *, shapes: Mapping[str, float] | None = None) -> Conversation:
    """The face of a picture in 3D is asked for, and given."""
    polite, who = draws.choice("polite", _POLITE), draws.choice("who", _WHO)
    form = draws.choice("form", (0, 1, 2, 3), (6, 2, 2, 1))
    if form == 0:
        question = _ended(f"{polite}{draws.choice('make', _MAKE)} {draws.choice('thing', _THING)}", polite)
    elif form == 1:
        question = _ended(f"{polite}turn {who} into {draws.choice('into', _INTO)}", polite)
    elif form == 2:
        question = f"what does {who} look like in 3D?"
    else:
        question = f"3D face of {who}, please."
    answer = draws.choice("answer", _FACE_ANSWERS)
    return Conversation.of(capitalised(question), answer, image=True, shapes=shapes, kind="reconstruction")


def about_picture(draws: Draws, caption: str) -> Conversation | None:
    """A picture is asked about, and answered by its caption; no face. ``None`` where the caption says nothing."""
    caption = without_markers(caption)
    if not caption:
        return None
    question = capitalised(draws.choice("question", _DESCRIBE))
    return Conversation.of(question, capitalised(caption), image=True, kind="picture words")


def reconstruction_with_words(
    draws: Draws, caption: str, *, shapes: Mapping[str, float] | None = None
) -> Conversation | None:
    """Caption and face of a picture are asked for, and given. ``None`` where the caption says nothing."""
    caption = without_markers(caption).rstrip(".")
    if not caption:
        return None
    question = draws.choice("question", _BOTH)
    question = question.format(make=draws.choice("make", _MAKE), thing=draws.choice("thing", _THING))
    answer = draws.choice("answer", _BOTH_ANSWERS).replace("{caption}", caption)
    return Conversation.of(
        _each_capitalised(question), capitalised(answer), image=True, shapes=shapes, kind="reconstruction with words"
    )


def _each_capitalised(text: str) -> str:
    return re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda found: found[0].upper(), text)


def sculpture(
    draws: Draws,
    phrase: str,
    *,
    shapes: Mapping[str, float] | None = None,
    attributes: Mapping[str, float] | None = None,
    keywords: bool = False,
) -> Conversation:
    """A face described in words is asked for without a picture, and given.

    Args:
        draws: choices.
        phrase: "an astonished man with a wide nose", or one or more sentences that end with a full stop.
        shapes, attributes: what the phrase says, see :class:`Conversation`.
        keywords: whether the phrase is no part of speech that a verb can take: "portrait, a wide nose, a smile".
    """
    phrase = without_markers(phrase)
    polite, verb = draws.choice("polite", _POLITE), draws.choice("verb", _SCULPT)
    if phrase.endswith("."):
        form = draws.choice("form", (0, 1, 2))
        if form == 0:
            question = f"{polite}{verb} a 3D face from this description: {phrase}"
        elif form == 1:
            question = f"which 3D face fits this description? {phrase}"
        else:
            question = f"{phrase} {capitalised(_ended(f'{polite}{verb} this face', polite))}"
    else:
        form = draws.choice("form", (0, 1, 2, 3), (0, 0, 2, 1) if keywords else (6, 2, 2, 1))
        if form == 0:
            question = _ended(f"{polite}{verb} {phrase}", polite)
        elif form == 1:
            question = f"what does {phrase} look like in 3D?"
        elif form == 2:
            question = _ended(f"{polite}{verb} a 3D face: {phrase}", polite)
        else:
            question = f"{phrase}, in 3D."
    answer = draws.choice("answer", _SCULPT_ANSWERS)
    return Conversation.of(capitalised(question), answer, shapes=shapes, attributes=attributes, kind="sculpture")


def spoken(conversations: Iterable[Conversation]) -> Iterator[str]:
    """All that is said in conversations, without `<FACE>`: what a tokenizer is trained on."""
    for conversation in conversations:
        for turn in conversation.turns:
            yield turn.text.replace(FACE, " ")
