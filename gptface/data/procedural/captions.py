"""Captions: short English sentences over a small vocabulary that state some visible facts of a face.

Weakly correlated image–text pairs are what such models are trained on, so the correlation is a parameter. With
probability ``correlation`` a caption speaks of its face. Otherwise, with equal chances, it is a line that says nothing
of any face ("posted yesterday from my phone") or an honest caption of another face of the same distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gptface.faces.attributes import ATTRIBUTES
from gptface.faces.expressions import EXPRESSIONS
from gptface.faces.names import find
from gptface.faces.occluders import OCCLUDERS

from .randomness import Draws
from .sampling import sample_specification
from .specification import FaceSpecification, attributes, hidden_attributes

__all__ = ["UNINFORMATIVE_CAPTIONS", "describe", "wish_caption"]

SHORTEST, LONGEST = 8, 22  # words


UNINFORMATIVE_CAPTIONS = (
    "posted yesterday from my phone and not edited",
    "click here to see all pictures of the evening",
    "a picture from the archive, the date is not known",
    "please do not copy this image, all rights reserved",
    "one of many photos that we took last summer",
    "read more about it on the front page today",
    "the best day of the year with all our friends",
    "this image was uploaded by a user of the site",
    "free download of this image in high resolution now",
    "new profile picture, what do you think about it",
    "the meeting starts on monday at nine in the morning",
    "photo number twelve of the album, more to come",
)


@dataclass(frozen=True)
class _Fact:
    slot: str  # "age", "mood", "have", "wear" or "cover"
    text: str
    weight: float


def _pick(d: Draws, name: str, options: Sequence[str]) -> str:
    return d.choice(name, options)


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _hair_phrase(d: Draws, known: Mapping[str, int], length: str | None, full: bool) -> str | None:
    """ "long wavy blond hair", or as much of it as is known and drawn."""
    parts: list[str] = []
    if length is not None and (full or d.chance("hair.length", 0.6)):
        parts.append(length)
    texture = "wavy" if known.get("Wavy_Hair") else "straight" if known.get("Straight_Hair") else None
    if length == "curly" and parts:
        texture = None
    if texture and (full or d.chance("hair.texture", 0.6)):
        parts.append(texture)
    for name, word in (
        ("Black_Hair", "black"),
        ("Brown_Hair", "brown"),
        ("Blond_Hair", "blond"),
        ("Gray_Hair", "gray"),
    ):
        if known.get(name) and (full or not parts or d.chance("hair.colour", 0.85)):
            parts.append(word)
    return " ".join(parts) + " hair" if parts else None


def _facts(
    d: Draws,
    known: Mapping[str, int],
    expression: str | None,
    occluder: str,
    length: str | None,
    full: bool,
    asked: frozenset[str] = frozenset(),
) -> list[_Fact]:
    """What could be said, with weights. ``full`` leaves nothing to chance; the names ``asked`` are always said."""
    facts: list[_Fact] = []
    if "Young" in known:
        age = d.choice("age", ("young",) if known["Young"] else ("old", "older", "elderly"))
        facts.append(_Fact("age", age, 20.0 if "Young" in asked else 1.6))
    if expression is not None:
        words = EXPRESSIONS[expression]
        weight = 20.0 if "Smiling" in asked else 2.6
        if full or d.chance("mood.adjective", 0.6):
            facts.append(_Fact("mood", _pick(d, "mood", words.adjectives), weight))
        else:
            facts.append(_Fact("have", _pick(d, "mood", words.nouns), weight))
    hair = _hair_phrase(d, known, length, full)
    if hair:
        facts.append(_Fact("have", hair, 20.0 if any(name.endswith("_Hair") for name in asked) else 3.0))
    for name, attribute in ATTRIBUTES.items():
        if name not in known or (name == "Smiling" and expression is not None):
            continue
        value = known[name]
        if name in _IN_OTHER_WORDS:
            # Hair of another kind says that it is not of this one; without, the absence has to be said.
            if name in asked and name in _OF_HAIR and not value and not any(map(known.get, attribute.excludes)):
                facts.append(_Fact("have", attribute.absent[0], 20.0))
            continue
        slot = "wear" if attribute.worn else "have"
        if name in asked:
            facts.append(_Fact(slot, attribute.present[0], 20.0) if value else _Fact("have", attribute.absent[0], 20.0))
            continue
        if name == "No_Beard":
            # "no beard" is worth saying of men only; a beard is said by whoever knows that there is a full one.
            if value and known.get("Male") and not full:
                facts.append(_Fact("have", _pick(d, name, attribute.present), 0.5))
            elif not value and known.get("Mustache", 0) and not known.get("Goatee", 0) and known.get("_full_beard", 1):
                facts.append(_Fact("have", _pick(d, name, attribute.absent), 2.4))
            continue
        if name == "Mustache" and value and known.get("_full_beard"):
            continue
        if value:
            weight = 2.4 if slot == "wear" or name in ("Bald", "Mouth_Slightly_Open") else 1.8
            facts.append(_Fact(slot, _pick(d, name, attribute.present), weight))
        elif not full and name in (
            "Eyeglasses",
            "Wearing_Hat",
            "Mouth_Slightly_Open",
            "Wearing_Lipstick",
            "Wearing_Earrings",
        ):
            # What is absent is worth a word now and then, or "no glasses" could not be asked for.
            if name in ("Wearing_Lipstick", "Wearing_Earrings") and known.get("Male", 0):
                continue
            facts.append(_Fact("have", _pick(d, name, attribute.absent), 0.35))
        elif not full and name in (
            "Bushy_Eyebrows",
            "Big_Lips",
            "Big_Nose",
            "Bangs",
            "Mustache",
            "Pale_Skin",
            "Double_Chin",
        ):
            if name == "Bangs" and (known.get("Bald") or known.get("Wearing_Hat")):
                continue
            if name in ("Pale_Skin", "Double_Chin") or (name == "Mustache" and not known.get("Male", 0)):
                continue
            facts.append(_Fact("have", _pick(d, name, attribute.absent), 0.2))
    if occluder != "none":
        things, clauses = OCCLUDERS[occluder].things, OCCLUDERS[occluder].clauses
        if things and d.chance("occluder.worn", 0.6):
            facts.append(_Fact("wear", _pick(d, "occluder", things), 6.0))
        else:
            facts.append(_Fact("cover", _pick(d, "occluder", clauses), 6.0))
    return facts


_OF_HAIR = frozenset(("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair", "Straight_Hair", "Wavy_Hair"))
_IN_OTHER_WORDS = _OF_HAIR | {"Male", "Young"}
_LENGTHS = {
    "crop": "very short",
    "short": "short",
    "curly": "curly",
    "updo": "tied",
    "bob": "chin length",
    "long": "long",
}


def _visible(s: FaceSpecification) -> tuple[dict[str, int], str | None]:
    """What can be seen: attributes by name, and a word for the haircut."""
    known = attributes(s)
    hair_seen = any(known[name] for name in ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair"))
    length = _LENGTHS[s.hair_cut] if hair_seen else None
    for name in hidden_attributes(s):
        del known[name]
    if "No_Beard" in known:
        known["_full_beard"] = int(s.beard)
    return known, length


def _sentence(d: Draws, noun: str, pronoun: str, facts: Sequence[_Fact], template: int) -> str:
    slots = {
        slot: [fact.text for fact in facts if fact.slot == slot] for slot in ("age", "mood", "have", "wear", "cover")
    }
    subject = " ".join([*slots["mood"], *slots["age"], noun])
    have, wear, cover = slots["have"], slots["wear"], slots["cover"]
    tail = f", {cover[0]}" if cover else ""
    if template == 0:
        text = _article(subject)
        if d.chance("merge", 0.5):
            have, wear = have + wear, []
        text += f" with {_joined(have)}" if have else ""
        text += f" wearing {_joined(wear)}" if wear else ""
    elif template == 1:
        text = f"{_pick(d, 'kind', ('portrait', 'photo', 'picture', 'close up', 'headshot'))} of {_article(subject)}"
        text += f" who has {_joined(have)}" if have else ""
        text += f"{' and' if have else ' who'} wears {_joined(wear)}" if wear else ""
    elif template == 2:
        adjectives = [*slots["mood"], *slots["age"]]
        verbs = [f"is {_joined(adjectives)}"] if adjectives else []
        verbs += [f"has {_joined(have)}"] if have else []
        verbs += [f"wears {_joined(wear)}"] if wear else []
        text = f"{pronoun} {', '.join(verbs[:-1])}{' and ' if len(verbs) > 1 else ''}{verbs[-1]}"
    elif template == 3:
        text = ", ".join([subject, *have, *wear])
    else:
        text = f"the {' '.join([*slots['age'], noun])}"
        text += f" looks {slots['mood'][0]}" if slots["mood"] else " is seen from the front"
        text += f", has {_joined(have)}" if have else ""
        text += f"{' and' if have else ','} wears {_joined(wear)}" if wear else ""
    return text + tail


def _words(text: str) -> int:
    return len(text.split())


def _honest_caption(d: Draws, s: FaceSpecification, detail: float) -> str:
    known, length = _visible(s)
    facts = _facts(d, known, s.expression, s.occluder, length, full=False)
    # Weighted sampling without replacement (Efraimidis and Spirakis 2006): the largest keys u^(1/w) are taken.
    ranked = sorted(
        facts, key=lambda fact: d.uniform("rank." + fact.slot + fact.text) ** (1 / fact.weight), reverse=True
    )
    noun = d.choice("noun", ("man" if s.male else "woman", "person"), (8, 1))
    pronoun = ("he" if s.male else "she") if noun != "person" else "this person"
    template = d.choice("template", (0, 1, 2, 3, 4), (4, 2.5, 1.5, 1.5, 1.5))
    count = len(ranked) if d.chance("detailed", detail) else 3 + d.integer("count", 4)
    while True:
        text = _sentence(d, noun, pronoun, ranked[:count], template)
        if _words(text) < SHORTEST and count < len(ranked):
            count += 1
        elif _words(text) > LONGEST and count > 2:
            count -= 1
        else:
            break
    if _words(text) < SHORTEST:
        text += _pick(d, "filler", (", looking at the camera", " in front of a plain background"))
    return text


def describe(
    specification: FaceSpecification,
    seed: int = 0,
    index: int = 0,
    correlation: float = 1.0,
    detail: float = 0.0,
) -> str:
    """A caption for face ``index`` of generator ``seed``, 8 to 22 words.

    With probability ``correlation`` it states 3 to 6 visible facts of this face in one of five templates; otherwise it
    speaks of nothing or of another face. With probability ``detail`` it states as many facts as its length
    allows. The draws depend on (seed, index) only, so a counterfactual face keeps its template.
    """
    d = Draws(seed ^ 0x63617074, index)
    if d.chance("correlated", correlation):
        return _honest_caption(d, specification, detail)
    if d.chance("says_nothing", 0.5):
        return _pick(d, "uninformative", UNINFORMATIVE_CAPTIONS)
    return _honest_caption(d, sample_specification(seed ^ 0x6F74686572, index), detail)


def wish_caption(
    face: FaceSpecification | Mapping[str, int],
    expression: str | None = None,
    focus: Iterable[str] = (),
    occluder: str = "none",
) -> str:
    """One plain caption that states a face as it is wished for, the same each time.

    Args:
        face: a specification, of which everything visible is stated, or attributes by CelebA's names (those missing are
            unknown and left out).
        expression: of the face when attributes are given; ignored for a specification.
        focus: attributes that must be stated whether present or absent ("no glasses"), before the others.
        occluder: when attributes are given; ignored for a specification.

    Raises:
        InputError: an unknown attribute, expression or occluder.
    """
    length: str | None = None
    if isinstance(face, FaceSpecification):
        known, length = _visible(face)
        expression, occluder = face.expression, face.occluder
    else:
        known = {name: int(value) for name, value in face.items()}
    focus = tuple(focus)
    for name in [*(name for name in known if name[0] != "_"), *focus]:
        find("attribute", name, ATTRIBUTES)
    if expression is not None:
        find("expression", expression, EXPRESSIONS)
    if occluder != "none":
        find("occluder", occluder, OCCLUDERS)
    d = Draws(0x77697368, 0)
    facts = _facts(d, known, expression, occluder, length, full=True, asked=frozenset(focus))
    noun = "person" if "Male" not in known else "man" if known["Male"] else "woman"
    ranked = sorted(facts, key=lambda fact: -fact.weight)
    count = len(ranked)
    while count > 2 and _words(_sentence(d, noun, noun, ranked[:count], 0)) > LONGEST:
        count -= 1
    return _sentence(d, noun, noun, ranked[:count], 0)
