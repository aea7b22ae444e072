"""A system finds its morphable model again, and takes no other for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import load_morphable_model
from gptface.systems.facegpt.morphable_reference import REFERENCE, MorphableReference

MODEL = load_morphable_model("synthetic")


def test_what_is_saved_is_loaded_and_the_built_in_head_found_by_its_name(tmp_path: Path) -> None:
    note = MorphableReference.of(MODEL, "synthetic")
    note.save(tmp_path)
    assert MorphableReference.load(tmp_path) == note
    assert torch.equal(note.open().expression_basis, MODEL.expression_basis)


def test_a_head_that_differs_in_last_bits_is_the_same() -> None:
    other = load_morphable_model("synthetic")
    other.mean += 1e-5 * torch.randn(other.mean.shape, generator=torch.Generator().manual_seed(0))
    assert MorphableReference.of(other, "synthetic").check(MODEL) is MODEL


def test_another_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    other = load_morphable_model("synthetic")
    other.mean *= 1.01
    with pytest.raises(InputError, match=r"not the morphable model .* its mean holds other numbers"):
        MorphableReference.of(other, "synthetic").check(MODEL)
    other = load_morphable_model("synthetic")
    other.expression_basis[:2] = other.expression_basis[:2].flip(0).clone()
    with pytest.raises(InputError, match="its expression basis holds other numbers"):
        MorphableReference.of(other, "synthetic").check(MODEL)
    MorphableReference.of(MODEL, "synthetic").save(tmp_path)
    values = json.loads((tmp_path / REFERENCE).read_text())
    for change, sentence in (
        ({"vertices": 5}, "it has 9474 vertices, that one 5"),
        ({"expression": ["jawOpen"]}, "it has 53 expression shapes, that one 1"),
        ({"identity": list(reversed(values["identity"]))}, "its identity shapes have other names"),
    ):
        (tmp_path / REFERENCE).write_text(json.dumps(values | change))
        with pytest.raises(InputError, match=sentence):
            MorphableReference.load(tmp_path).check(MODEL)


def test_what_is_missing_or_damaged_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="does not say which morphable model"):
        MorphableReference.load(tmp_path)
    for text in ("", "[]", '{"source": "synthetic"}', '{"mean_print": [0]}'):
        (tmp_path / REFERENCE).write_text(text)
        with pytest.raises(InputError, match="does not say which morphable model"):
            MorphableReference.load(tmp_path)
    monkeypatch.setenv("FACES", str(tmp_path))
    note = MorphableReference.of(MODEL, "$FACES/gone.npz")
    with pytest.raises(InputError, match=r"gone\.npz: the morphable model of this system is no longer there"):
        note.open()
    assert note.open("synthetic").name == MODEL.name
