"""Questions and answers about anything but a picture: opposites, plurals, sums, sorting, days, colours, and so on.

They are what a small model can learn of general instructions, and what shows whether it forgets them when it learns
faces. Some speak of faces, smiles and 3D models all the same, and want words: `<FACE>` is an answer to a request for a
face, not to a word. As a file in LLaVA's layout:

    python -m gptface.systems.facegpt.data.general_questions questions.json --count 5000 --seed 0
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from gptface.data.procedural.randomness import Draws
from gptface.errors import InputError
from gptface.integers import whole_number
from gptface.systems.facegpt.data.conversations import Conversation, Turn, capitalised
from gptface.systems.facegpt.data.instructions import Instruction, write_instructions
from gptface.systems.facegpt.data.wording import joined, with_article

__all__ = ["KINDS", "general_conversation", "general_questions"]

_OPPOSITES = (
    "hot cold;big small;fast slow;high low;old new;early late;full empty;hard soft;light dark;long short;loud quiet;"
    "near far;open closed;rich poor;right wrong;strong weak;thick thin;wet dry;wide narrow;happy sad;clean dirty;"
    "deep shallow;easy difficult;first last;heavy light;left right;up down;inside outside;begin end;buy sell;come go;"
    "find lose;give take;love hate;push pull;remember forget;win lose;asleep awake;brave cowardly;cheap expensive;"
    "polite rude;safe dangerous;sharp blunt;smooth rough;sweet sour;true false;young old;day night;friend enemy;"
    "summer winter;north south;east west;always never;before after;above below;smile frown;laugh cry"
)
_PLURALS = (
    "cat cats;dog dogs;box boxes;bus buses;child children;city cities;foot feet;goose geese;house houses;knife knives;"
    "leaf leaves;man men;mouse mice;ox oxen;party parties;person people;potato potatoes;sheep sheep;tooth teeth;"
    "watch watches;wife wives;wolf wolves;woman women;baby babies;berry berries;brush brushes;country countries;"
    "dish dishes;fish fish;fox foxes;hero heroes;key keys;life lives;piano pianos;shelf shelves;story stories;"
    "tomato tomatoes;tree trees;face faces;eye eyes;nose noses;lip lips;cheek cheeks;eyebrow eyebrows"
)
_PASTS = (
    "go went;see saw;eat ate;drink drank;write wrote;read read;run ran;sing sang;swim swam;take took;give gave;"
    "come came;buy bought;bring brought;think thought;catch caught;teach taught;sleep slept;keep kept;feel felt;"
    "walk walked;play played;talk talked;smile smiled;look looked;open opened;close closed;stop stopped;try tried;"
    "make made;build built;find found;speak spoke;break broke;drive drove;fly flew;know knew;grow grew;begin began"
)
_COLOURS = (
    "grass green;snow white;coal black;blood red;a lemon yellow;the sky blue;a carrot orange;a banana yellow;"
    "a tomato red;milk white;the sea blue;a frog green;a raven black;chocolate brown;a swan white;a strawberry red;"
    "a leaf in summer green;an elephant grey;a flamingo pink;a plum purple;a sunflower yellow;a tree trunk brown"
)
_MIXTURES = "blue yellow green;red yellow orange;red blue purple;black white grey;red white pink"
_SOUNDS = (
    "dog barks;cat meows;cow moos;horse neighs;duck quacks;lion roars;sheep bleats;pig grunts;wolf howls;bee buzzes;"
    "snake hisses;owl hoots;frog croaks;rooster crows;mouse squeaks;bird sings"
)
_YOUNG = (
    "dog puppy;cat kitten;cow calf;horse foal;sheep lamb;pig piglet;hen chick;duck duckling;goose gosling;bear cub;"
    "goat kid;deer fawn;frog tadpole;swan cygnet"
)
_PLACES = (
    "bread bakery;books library;medicine pharmacy;meat butcher;stamps post office;films cinema;money bank;"
    "paintings museum;flowers florist;trains station;planes airport;ships harbour"
)
_CLASSES: dict[str, tuple[str, ...]] = {
    "an animal": ("dog", "horse", "eagle", "shark", "mouse", "tiger", "frog", "bee"),
    "a fruit": ("apple", "pear", "plum", "cherry", "banana", "orange", "grape"),
    "a vegetable": ("carrot", "onion", "cabbage", "leek", "spinach", "potato"),
    "a tool": ("hammer", "saw", "drill", "wrench", "screwdriver", "chisel"),
    "a vehicle": ("car", "bus", "train", "bicycle", "truck", "tram"),
    "an instrument": ("piano", "violin", "flute", "trumpet", "guitar", "drum"),
    "a colour": ("red", "green", "blue", "yellow", "purple", "brown"),
    "a part of the face": ("nose", "chin", "cheek", "eyebrow", "forehead", "lip"),
    "a piece of clothing": ("shirt", "coat", "skirt", "jacket", "sock", "scarf"),
    "a profession": ("teacher", "doctor", "baker", "pilot", "carpenter", "nurse"),
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_WORDS = (
    *("apple", "bread", "candle", "desk", "engine", "flower", "garden", "hammer", "island"),
    *("jacket", "kettle", "lemon", "market", "needle", "orange", "paper", "queen", "river"),
    *("silver", "table", "umbrella", "valley", "window", "yellow", "zebra", "bottle", "castle"),
    *("dragon", "forest", "guitar", "honey", "letter", "mirror", "planet", "rabbit", "summer"),
    *("thunder", "village", "winter", "smile", "mouth"),
)
_THINGS = ("apples", "books", "coins", "eggs", "flowers", "pencils", "stones", "cups", "keys", "pictures of faces")
_PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Henry", "Ida", "Jonas", "Karim", "Lena", "Mei")
_ABOUT_FACES = (
    ("What are eyes for?", "For seeing."),
    ("What is a nose for?", "For breathing and smelling."),
    ("What are ears for?", "For hearing."),
    ("What do people do with the mouth?", "They speak, eat and drink with it."),
    ("How many eyes does a face have?", "Two."),
    ("How many noses does a face have?", "One."),
    ("Where is the chin?", "Below the mouth."),
    ("Where are the eyebrows?", "Above the eyes."),
    ("What is between the eyes and the mouth?", "The nose."),
    ("What is a smile?", "Raised corners of the mouth that show joy."),
    ("What is a frown?", "Lowered brows or corners of the mouth that show displeasure."),
    ("Why do people smile?", "Because they are happy or want to be friendly."),
    ("What does a sad face look like?", "The corners of the mouth hang and the inner brows rise."),
    ("What does an angry face look like?", "The brows are lowered and the lips are pressed together."),
    ("What does a surprised face look like?", "The eyes are wide, the brows raised and the mouth open."),
    ("What is a 3D model?", "A shape described by points and triangles in space."),
    ("What is a mesh?", "Points in space that are joined to triangles."),
    ("What is a portrait?", "A picture of a person."),
    ("What is an expression?", "What the movements of a face show."),
    ("What is a morphable model?", "A mean shape and the ways in which shapes differ from it."),
    ("What does a sculptor do?", "A sculptor makes figures of stone, clay or wood."),
    ("What is the opposite of a smiling face?", "A frowning face."),
    ("Which word means a very happy smile?", "A grin."),
    ("Name the parts of a face.", "Forehead, brows, eyes, nose, cheeks, mouth and chin."),
    ("Name an expression.", "Happiness."),
    ("What colour can eyes have?", "Brown, blue, green or grey."),
    ("Can people wink with one eye?", "Yes, many can."),
    ("What is a yawn?", "A deep breath with a wide open mouth."),
    ("What is a sculpture?", "A figure made of stone, clay, wood or metal."),
    ("Who makes portraits?", "Painters and photographers."),
)
_HELLO = (
    ("Hello!", "Hello. How can I help?"),
    ("Good morning.", "Good morning."),
    ("Thank you.", "You are welcome."),
    ("Thanks a lot!", "You are welcome."),
    ("Goodbye.", "Goodbye."),
    ("How are you?", "I am well, thank you."),
    ("Who are you?", "I am a model that talks about faces and other things."),
    ("What can you do?", "I answer questions and sculpt faces in 3D."),
)


def _table(text: str) -> list[tuple[str, str]]:
    return [(line.rpartition(" ")[0], line.rpartition(" ")[2]) for line in text.split(";")]


def _asked(draws: Draws, *ways: str) -> str:
    return draws.choice("way", ways)


def _opposite(draws: Draws) -> tuple[str, str]:
    one, other = draws.choice("pair", _table(_OPPOSITES))
    if draws.chance("turned", 0.5) and other not in ("light", "lose", "old", "right"):  # each the opposite of two words
        one, other = other, one
    ways = ("What is the opposite of {}?", "Which word means the opposite of {}?", "Name the opposite of {}.")
    return _asked(draws, *ways).format(one), f"{capitalised(other)}."


def _plural(draws: Draws) -> tuple[str, str]:
    one, many = draws.choice("pair", _table(_PLURALS))
    if draws.chance("turned", 0.25) and one != many:
        return _asked(draws, "What is the singular of {}?", "One of many {} is called what?").format(many), f"{one}."
    ways = ("What is the plural of {}?", "One {}, two what?", "Give the plural of {}.")
    return _asked(draws, *ways).format(one), f"{many}."


def _past(draws: Draws) -> tuple[str, str]:
    now, then = draws.choice("pair", _table(_PASTS))
    ways = ("What is the past tense of {}?", "Today I {}, yesterday I what?", "Put {} into the past.")
    return _asked(draws, *ways).format(now), f"{then}."


def _colour(draws: Draws) -> tuple[str, str]:
    if draws.chance("mix", 0.25):
        one, other, mixed = draws.choice("mixture", [line.split(" ") for line in _MIXTURES.split(";")])
        if draws.chance("turned", 0.5):
            one, other = other, one
        ways = ("What do {} and {} give when they are mixed?", "Which colour do {} and {} make?")
        return _asked(draws, *ways).format(one, other), f"{mixed}."
    thing, colour = draws.choice("pair", _table(_COLOURS))
    asked = _asked(draws, "What colour is {}?", "Which colour does {} have?", "Name the colour of {}.")
    return asked.format(thing), f"{colour}."


def _sum(draws: Draws) -> tuple[str, str]:
    one, other = draws.integer("one", 21), draws.integer("other", 21)
    if draws.chance("minus", 0.4):
        one, other = max(one, other), min(one, other)
        ways = ("What is {} minus {}?", "How much is {} - {}?", "Take the second number from the first: {}, {}.")
        return _asked(draws, *ways).format(one, other), f"{one - other}."
    ways = ("What is {} plus {}?", "How much is {} + {}?", "Add {} and {}.")
    return _asked(draws, *ways).format(one, other), f"{one + other}."


def _story_sum(draws: Draws) -> tuple[str, str]:
    who, thing = draws.choice("who", _PEOPLE), draws.choice("thing", _THINGS)
    one, other = 2 + draws.integer("one", 9), 1 + draws.integer("other", 9)
    if draws.chance("minus", 0.5):
        one = max(one, other + 1)
        return f"{who} has {one} {thing} and gives {other} away. How many are left?", f"{one - other}."
    return f"{who} has {one} {thing} and gets {other} more. How many are there now?", f"{one + other}."


def _larger(draws: Draws) -> tuple[str, str]:
    one, other = draws.integer("one", 100), draws.integer("other", 100)
    other = other if other != one else one + 1
    if draws.chance("small", 0.5):
        return _asked(draws, "Which is smaller, {} or {}?", "Name the smaller of {} and {}.").format(one, other), (
            f"{min(one, other)}."
        )
    return _asked(draws, "Which is larger, {} or {}?", "Name the larger of {} and {}.").format(one, other), (
        f"{max(one, other)}."
    )


def _sorting(draws: Draws) -> tuple[str, str]:
    if draws.chance("words", 0.5):
        words = _some(draws, _WORDS, 3)
        return _asked(draws, "Sort these words: {}.", "Put these words in order: {}.").format(", ".join(words)), (
            ", ".join(sorted(words)) + "."
        )
    numbers = [int(number) for number in _some(draws, list(map(str, range(100))), 3 + draws.integer("n", 2))]
    up = draws.chance("up", 0.6)
    way = "from small to large" if up else "from large to small"
    asked = _asked(draws, "Sort these numbers {}: {}.", "Put these numbers in order {}: {}.")
    return asked.format(way, ", ".join(map(str, numbers))), ", ".join(map(str, sorted(numbers, reverse=not up))) + "."


def _some(draws: Draws, options: Sequence[str], count: int) -> list[str]:
    """``count`` different ones."""
    return sorted(options, key=lambda option: draws.bits(f"some {option}"))[:count]


def _counting(draws: Draws) -> tuple[str, str]:
    start, steps = draws.integer("start", 12), 4 + draws.integer("steps", 4)
    if draws.chance("back", 0.3):
        numbers = [str(start + steps - 1 - step) for step in range(steps)]
    else:
        by = draws.choice("by", (1, 1, 2, 5, 10))
        numbers = [str(start + by * step) for step in range(steps)]
    if draws.chance("next", 0.5):
        return f"Which number comes next: {', '.join(numbers[:-1])}?", f"{numbers[-1]}."
    if int(numbers[0]) > int(numbers[-1]):
        return f"Count down from {numbers[0]} to {numbers[-1]}.", ", ".join(numbers) + "."
    return f"Count from {numbers[0]} to {numbers[-1]} in {len(numbers)} equal steps.", ", ".join(numbers) + "."


def _how_many(draws: Draws) -> tuple[str, str]:
    word = draws.choice("word", _WORDS)
    if draws.chance("words", 0.4):
        words = _some(draws, _WORDS, 2 + draws.integer("count", 5))
        return f"How many words are these: {', '.join(words)}?", f"{capitalised(_NUMBERS[len(words)])}."
    ways = ("How many letters does the word {} have?", "Count the letters of {}.")
    return _asked(draws, *ways).format(word), f"{capitalised(_NUMBERS[len(word)])}."


def _letters(draws: Draws) -> tuple[str, str]:
    word = draws.choice("word", _WORDS)
    form = draws.integer("form", 3)
    if form == 0:
        return _asked(draws, "What is the first letter of {}?", "Which letter does {} begin with?").format(word), (
            f"{capitalised(word[0])}."
        )
    if form == 1:
        return _asked(draws, "What is the last letter of {}?", "Which letter does {} end with?").format(word), (
            f"{capitalised(word[-1])}."
        )
    return _asked(draws, "Spell the word {}.", "How is {} spelled?").format(word), ", ".join(word.upper()) + "."


def _calendar(draws: Draws) -> tuple[str, str]:
    names, kind = (_DAYS, "day") if draws.chance("days", 0.5) else (_MONTHS, "month")
    place = draws.integer("place", len(names))
    if kind == "day" and draws.chance("tomorrow", 0.3):
        return f"Today is {names[place]}. What day is tomorrow?", f"{names[(place + 1) % 7]}."
    if draws.chance("before", 0.5):
        asked = _asked(draws, "Which {} comes before {}?", "Name the {} before {}.")
        return asked.format(kind, names[place]), f"{names[place - 1]}."
    asked = _asked(draws, "Which {} comes after {}?", "Name the {} after {}.")
    return asked.format(kind, names[place]), f"{names[(place + 1) % len(names)]}."


def _animal(draws: Draws) -> tuple[str, str]:
    if draws.chance("young", 0.5):
        old, young = draws.choice("young animal", _table(_YOUNG))
        return _asked(draws, "What is a young {} called?", "How do we call the young of a {}?").format(old), (
            f"{capitalised(with_article(young))}."
        )
    animal, sound = draws.choice("pair", _table(_SOUNDS))
    who = with_article(animal)
    if draws.chance("who", 0.4):
        return f"Which animal {sound}?", f"{capitalised(who)}."
    return f"What sound does {who} make?", f"{capitalised(who)} {sound}."


def _class_of(draws: Draws) -> tuple[str, str]:
    kind = draws.choice("class", tuple(_CLASSES))
    member = draws.choice("member", _CLASSES[kind])
    form = draws.integer("form", 3)
    if form == 0:
        return f"What is {member if kind == 'a colour' else with_article(member)}?", f"{capitalised(kind)}."
    if form == 1:
        return f"Name {kind}.", f"{capitalised(member)}."
    other = draws.choice("other", tuple(name for name in _CLASSES if name != kind))
    strangers = _some(draws, _CLASSES[other], 1)
    words = [*_some(draws, _CLASSES[kind], 3), *strangers]
    if strangers[0] in _CLASSES[kind]:  # an orange is a fruit, and orange is a colour
        return f"Name {kind}.", f"{capitalised(member)}."
    words.insert(draws.integer("place", 4), words.pop())
    return f"Which does not belong: {joined(words, ' or ')}?", f"{capitalised(strangers[0])}."


def _place(draws: Draws) -> tuple[str, str]:
    thing, _, where = draws.choice("pair", _PLACES.split(";")).partition(" ")
    return _asked(draws, "Where do people look for {}?", "Where does one find {}?").format(thing), f"At the {where}."


def _repeat(draws: Draws) -> tuple[str, str]:
    words = _some(draws, _WORDS, 1 + draws.integer("count", 3))
    if draws.chance("back", 0.3) and len(words) > 1:
        return f"Say these words in reverse order: {', '.join(words)}.", ", ".join(reversed(words)) + "."
    said = ", ".join(words)
    return _asked(draws, "Say after me: {}.", "Repeat these words: {}.").format(said), f"{said}."


def _sentence(draws: Draws) -> tuple[str, str]:
    """A request that begins like one for a face, and wants words."""
    who, what = draws.choice("who", ("man", "woman", "child", "person")), draws.choice("what", _SENTENCE_WORDS)
    place = draws.choice("place", ("in the street", "in the garden", "on the train", "at the market", "at home"))
    ways = (
        "Write a sentence about {}.",
        "Make a sentence with {}.",
        "Give me a sentence about {}.",
        "Create a short sentence about {}.",
        "Say something about {}.",
    )
    subject = with_article(f"{what} {who}")
    return _asked(draws, *ways).format(subject), f"{capitalised(subject)} is {place}."


_SENTENCE_WORDS = ("smiling", "sad", "angry", "surprised", "laughing", "tired", "happy", "calm", "sleeping", "frowning")


def _fixed(pairs: Sequence[tuple[str, str]]) -> Callable[[Draws], tuple[str, str]]:
    return lambda draws: draws.choice("pair", pairs)


KINDS: dict[str, tuple[float, Callable[[Draws], tuple[str, str]]]] = {
    "opposite": (2.0, _opposite),
    "plural": (1.5, _plural),
    "past": (1.2, _past),
    "colour": (1.0, _colour),
    "sum": (2.0, _sum),
    "story sum": (1.2, _story_sum),
    "larger": (1.0, _larger),
    "sorting": (1.2, _sorting),
    "counting": (1.0, _counting),
    "how many": (1.0, _how_many),
    "letters": (1.2, _letters),
    "calendar": (1.2, _calendar),
    "animal": (1.0, _animal),
    "class": (1.5, _class_of),
    "place": (0.5, _place),
    "repeat": (1.0, _repeat),
    "sentence": (1.2, _sentence),
    "about faces": (2.0, _fixed(_ABOUT_FACES)),
    "hello": (0.4, _fixed(_HELLO)),
}
"""Kinds of question by name, with how often each is drawn."""


def general_conversation(seed: int, number: int) -> Conversation:
    """Conversation ``number`` of collection ``seed``: one question, sometimes two; without pictures and faces."""
    draws = Draws(seed ^ 0x67656E65, number)
    turns: list[Turn] = []
    for turn in range(2 if draws.chance("two", 0.15) else 1):
        own = Draws(seed ^ 0x67656E65 ^ (turn + 1) << 40, number)
        kind = own.choice("kind", tuple(KINDS), tuple(weight for weight, _ in KINDS.values()))
        question, answer = KINDS[kind][1](own)
        turns += [Turn("human", question), Turn("assistant", capitalised(answer))]
    return Conversation(tuple(turns), kind="general")


def general_questions(count: int, seed: int = 0) -> list[Conversation]:
    """The first ``count`` conversations of collection ``seed``.

    Raises:
        InputError: ``count`` is below 1.
    """
    if whole_number(count, "count") < 1:
        raise InputError(f"count: {count}; it must be at least 1")
    return [general_conversation(whole_number(seed, "seed"), number) for number in range(count)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write conversations into a file; returns an exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gptface.systems.facegpt.data.general_questions",
        description="Write questions and answers without faces in LLaVA's layout.",
    )
    parser.add_argument("output", help="a .json or .jsonl file")
    parser.add_argument("--count", type=int, default=5000, help="conversations (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other conversations (default: 0)")
    options = parser.parse_args(arguments)
    try:
        written = write_instructions(options.output, map(Instruction, general_questions(options.count, options.seed)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {written} conversations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
