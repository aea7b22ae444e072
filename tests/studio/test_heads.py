"""Heads in 3D: sliders, meshes as their command writes them, and a FaceGPT's photos and sentences."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from gptface.cli.main import main
from gptface.errors import InputError
from gptface.morphable import MorphableModel
from gptface.studio.heads import MOST_SLIDERS, Head, Heads, told_weights
from gptface.studio.names import readable_shape
from tests.systems.facegpt.small_system import small_system


@pytest.fixture(scope="module")
def heads() -> Heads:
    return Heads(facegpt=small_system(), folder="runs/facegpt")


def test_sliders_go_as_far_as_the_models_shapes_do(heads: Heads) -> None:
    expression, identity = (heads.sliders("synthetic", kind).shown for kind in ("expression", "identity"))
    assert (len(expression), len(identity)) == (53, 32)
    assert {(each.low, each.high) for each in expression} == {(0.0, 1.0)}
    assert {(each.low, each.high) for each in identity} == {(-3.0, 3.0)}


def test_of_many_shapes_the_first_have_sliders_and_the_others_are_found_by_name(
    statistical: MorphableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptface.studio.heads.load_morphable_model", lambda name: statistical)
    heads = Heads(["many.npz"])
    first = heads.sliders("many.npz", "identity")
    assert [each.name for each in first.shown] == [f"identity{index:03d}" for index in range(MOST_SLIDERS)]
    assert first.told == "60 of 150: Identity 000 to Identity 059. Find others by name."
    found = heads.sliders("many.npz", "identity", " Identity 14 ")
    assert [each.name for each in found.shown] == [f"identity14{digit}" for digit in range(10)]
    assert found.told == "10 of 150: Identity 140 to Identity 149."
    assert heads.sliders("many.npz", "identity", "identity149").told == "1 of 150: Identity 149."
    assert heads.sliders("many.npz", "identity", "jaw").told == "None of 150 is called so."
    assert heads.sliders("many.npz", "expression").told == ""


def test_the_command_writes_the_same_mesh(heads: Heads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = heads.somebody("synthetic", 4).changed({"noseWidth": -1.234}, {"jawOpen": 0.301, "mouthSmile_L": 0.0})
    assert head.identity["noseWidth"] == -1.23 and head.expression == {"jawOpen": 0.3}
    heads.write(head, tmp_path / "page.glb")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(head.command())[1:]) == 0
    assert (tmp_path / "face.glb").read_bytes() == (tmp_path / "page.glb").read_bytes()
    assert Head("synthetic").command() == "gptface face3d --output face.glb"
    assert "--model 'my models/m.npz'" in Head("my models/m.npz").command()


def test_a_sentence_becomes_a_mesh_and_its_sliders(heads: Heads, tmp_path: Path) -> None:
    found = heads.of_words("a man with a wide nose", tmp_path / "words.glb")
    assert (tmp_path / "words.glb").stat().st_size > 100_000
    assert found.head is not None and found.head.model == "synthetic" and found.head.identity
    caption = "--caption 'a man with a wide nose' --system runs/facegpt --output face.glb"
    assert found.command == f"gptface sculpt {caption}"
    with pytest.raises(InputError, match="Describe a face"):
        heads.of_words("", tmp_path / "none.glb")


def test_a_photo_without_a_face_is_refused_in_a_sentence(heads: Heads, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no face is found"):
        heads.of_photo(np.full((64, 64, 3), 120, dtype=np.uint8), tmp_path / "photo.glb")
    assert not (tmp_path / "photo.glb").exists()


def test_the_command_of_a_photo_is_reconstruct(
    heads: Heads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = heads.facegpt
    assert system is not None
    monkeypatch.setattr("gptface.systems.facegpt.face_system.LEAST_LIKENESS", -1.0)  # random weights see no face
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = heads.of_photo(photo, tmp_path / "photo.glb")
    assert found.command == "gptface reconstruct gptface.png --system runs/facegpt --output face.glb"
    assert "likeness" in found.told and (tmp_path / "photo.glb").exists()


def test_without_a_facegpt_that_is_said_and_unknown_models_are_refused(tmp_path: Path) -> None:
    plain = Heads()
    with pytest.raises(InputError, match="--facegpt DIR"):
        plain.of_words("a man", tmp_path / "none.glb")
    with pytest.raises(InputError, match="no morphable model '/etc/passwd' here"):
        plain.morphable("/etc/passwd")


def test_weights_are_told_with_two_decimals_and_names_are_readable() -> None:
    assert told_weights({"a": 0.004, "b": 0.126, "c": -2}) == {"b": 0.13, "c": -2.0}
    assert readable_shape("mouthSmile_L") == "Mouth smile, left"
    assert readable_shape("identity012") == "Identity 012"
