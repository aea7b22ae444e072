"""The command line that the page shows does what the page did: the same pictures, and the same arguments."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gptface.cli.generation_arguments import decoding_settings
from gptface.cli.main import build_parser, main
from gptface.data.images import save_image
from gptface.faces.attributes import ATTRIBUTES
from gptface.studio import Actions, Decoding, History, Wish
from gptface.studio.actions import step_of
from gptface.studio.commands import Place, edit_command, generate_command, history_commands
from gptface.studio.package import package
from gptface.studio.wishes import LARGEST_SEED, Kind

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=30).map(str.strip)
DECODINGS = st.builds(
    Decoding,
    seed=st.integers(0, LARGEST_SEED),
    steps=st.integers(1, 64),
    guidance_scale=st.floats(0, 8),
    match_guidance=st.sampled_from(["none", "first_order", "exact"]),
    temperature=st.floats(0, 2),
    negative=WORDS,
)
MASK = np.ones((4, 4), dtype=bool)


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    kind: Kind = draw(st.sampled_from(["attribute", "expression", "region", "brush", "cover"]))
    names = {
        "attribute": st.sampled_from([*ATTRIBUTES, *(f"no {name}" for name in ATTRIBUTES)]),
        "expression": st.sampled_from(["happiness", "anger"]),
    }
    return Wish(
        kind,
        draw(names[kind]) if kind in names else "",
        tuple(draw(st.lists(st.sampled_from(["hair", "mouth", "jaw"]), min_size=1))) if kind == "region" else (),
        MASK if kind == "brush" or (kind == "cover" and draw(st.booleans())) else None,
        draw(WORDS),
        draw(DECODINGS),
    )


@given(wishes(), st.integers(0, LARGEST_SEED), st.booleans())
def test_an_edits_command_says_all_that_the_wish_says(wish: Wish, seed: int, elsewhere: bool) -> None:
    place = Place("runs/my own/system", "cuda") if elsewhere else Place()
    program, command, *words = shlex.split(edit_command(wish, seed, 3, place))
    parsed = build_parser(command).parse_args([command, *words])
    assert program == "gptface"
    assert command == ("unmask" if wish.kind == "cover" else "inpaint" if wish.fills else "edit")
    assert (parsed.image, parsed.output) == (Path("step-2.png"), Path("step-3.png"))
    assert parsed.mask == (None if wish.mask is None else Path("mask-3.png"))
    assert getattr(parsed, "attribute", None) == (wish.name if wish.kind == "attribute" else None)
    assert getattr(parsed, "expression", None) == (wish.name if wish.kind == "expression" else None)
    assert getattr(parsed, "region", None) == (list(wish.regions) or None)
    # What the generator is told where nothing is said: the wish of the name itself, else no words.
    by_name = wish.kind in ("attribute", "expression") and not wish.words
    assert parsed.caption == (None if by_name else wish.words)
    assert decoding_settings(parsed) == wish.decoding.settings()
    assert parsed.seed == seed and (parsed.negative_caption or "") == wish.decoding.negative
    assert (parsed.best_of, parsed.dilation, parsed.window) == (None, 0, None)
    assert parsed.device == place.device
    assert parsed.system == (None if place.system is None else Path(place.system))


@given(WORDS, DECODINGS, st.integers(0, LARGEST_SEED))
def test_the_command_of_a_made_face_says_all(words: str, decoding: Decoding, seed: int) -> None:
    parsed = build_parser("generate").parse_args(shlex.split(generate_command(words, decoding, seed, Place()))[1:])
    assert (parsed.caption, parsed.seed, parsed.count) == (words, seed, 1)
    assert decoding_settings(parsed) == decoding.settings()
    assert (parsed.negative_caption or "") == decoding.negative


@pytest.mark.parametrize("command", ["edit", "inpaint", "unmask", "generate"])
def test_what_the_page_starts_with_is_what_the_commands_do_where_nothing_is_said(command: str) -> None:
    given = {"generate": [], "edit": ["a.png", "--attribute", "Bald"], "inpaint": ["a.png", "--mask", "m.png"]}
    words = [command, *given.get(command, ["a.png"]), "--output", "b.png"]
    parsed = build_parser(command).parse_args(words)
    assert decoding_settings(parsed) == Decoding().settings() and parsed.seed == Decoding().seed


def run(commands: str, folder: Path) -> None:
    """The lines as a shell runs them, `gptface` in this process."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for line in commands.splitlines():
            program, *words = shlex.split(line, comments=True) or [""]
            if program == "gptface":
                assert main(words) == 0, line
            elif program:
                subprocess.run([sys.executable if program == "python" else program, *words], check=True)
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def edited(actions: Actions) -> History:
    """A history with every kind of edit, from a drawn face behind a medical mask."""
    history = actions.drawn_face(3, covered=True)
    brushed = np.zeros(history.now.picture.shape[:2], dtype=bool)
    brushed[4:20, 10:50] = True
    quick = Decoding(steps=2, match_guidance="none")
    for wish in (
        Wish("cover", decoding=quick),
        Wish("attribute", "Blond_Hair", decoding=Decoding(seed=4, steps=2)),
        Wish("expression", "happiness", decoding=Decoding(steps=2, guidance_scale=3.5, temperature=0.5)),
        Wish("region", regions=("hair", "forehead"), decoding=quick),
        Wish("brush", mask=brushed, decoding=quick),
        Wish("brush", mask=brushed, words="it's a \"hat\", $HOME", decoding=Decoding(steps=2, negative="-bald")),
    ):
        made = list(actions.edits(history.now.picture, wish, 2))
        history = history.add(step_of(wish, made)).choose(1)
    return history


def test_the_commands_of_the_package_make_the_same_pictures(edited: History, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(package(edited.path, Place()))) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    for name in ("photo.png", "mask-5.png", "mask-6.png"):
        (tmp_path / name).write_bytes(kept[name])
    run(kept["commands.sh"].decode(), tmp_path)  # draws photo.png anew as well
    for number in range(7):
        name = "photo.png" if number == 0 else f"step-{number}.png"
        made = np.asarray(Image.open(tmp_path / name))
        assert np.array_equal(made, edited.steps[number].picture), name
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(kept[name]))), made), name


def test_an_opened_photo_and_a_made_face_start_their_commands(actions: Actions, tmp_path: Path) -> None:
    photo = actions.drawn_face(8).now.picture
    assert history_commands(History.start(photo, "Photo").path, Place()).startswith("# photo.png: the photo")
    save_image(tmp_path / "photo.png", photo)
    decoding = Decoding(seed=6, steps=2)
    made = next(actions.faces("a smiling man", decoding))
    run(history_commands(actions.made_face(made, decoding).path, actions.place), tmp_path)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "photo.png")), made.picture)


def test_settings_say_what_was_asked_for(edited: History) -> None:
    with zipfile.ZipFile(io.BytesIO(package(edited.path, Place()))) as archive:
        record = json.loads(archive.read("settings.json"))
    assert record["system"] == "bundled" and record["start"]["width"] == 64
    kinds = [step["kind"] for step in record["steps"]]
    assert kinds == ["cover", "attribute", "expression", "region", "brush", "brush"]
    assert record["steps"][1]["name"] == "Blond_Hair" and record["steps"][1]["seed"] == 5
    assert record["steps"][1]["caption"], "the words that the name became"
    assert record["steps"][4]["mask"] == "mask-5.png" and record["steps"][3]["regions"] == ["hair", "forehead"]
