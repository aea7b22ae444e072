"""A system finds its morphable model again, and takes no other for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import load_morphable_model
from gptface.systems.facegpt.morphable_reference import REFERENCE, load_reference, write_reference

MODEL = load_morphable_model("synthetic")


def test_the_built_in_head_is_found_by_its_name(tmp_path: Path) -> None:
    write_reference(tmp_path, "synthetic", MODEL)
    assert torch.equal(load_reference(tmp_path).expression_basis, MODEL.expression_basis)
    assert json.loads((tmp_path / REFERENCE).read_text())["source"] == "synthetic"


def test_a_head_that_differs_in_last_bits_is_the_same(tmp_path: Path) -> None:
    other = load_morphable_model("synthetic")
    other.mean += 1e-5 * torch.randn(other.mean.shape, generator=torch.Generator().manual_seed(0))
    write_reference(tmp_path, "synthetic", other)
    assert load_reference(tmp_path).name == MODEL.name


def test_another_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    other = load_morphable_model("synthetic")
    other.mean *= 1.01
    write_reference(tmp_path, "synthetic", other)
    with pytest.raises(InputError, match="not the morphable model .* its mean holds other numbers"):
        load_reference(tmp_path)
    text = json.loads((tmp_path / REFERENCE).read_text())
    for change, sentence in (
        ({"vertices": 5}, "it has 9474 vertices, that one 5"),
        ({"expression": ["jawOpen"]}, "it has 53 expression shapes, that one 1"),
        ({"identity": list(reversed(text["identity"]))}, "its identity shapes have other names"),
    ):
        (tmp_path / REFERENCE).write_text(json.dumps(text | change))
        with pytest.raises(InputError, match=sentence):
            load_reference(tmp_path)


def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_reference(tmp_path)
    for text in ("", "[]", '{"source": "synthetic"}'):
        (tmp_path / REFERENCE).write_text(text)
        with pytest.raises(InputError, match="is damaged"):
            load_reference(tmp_path)
    write_reference(tmp_path, tmp_path / "gone.npz", MODEL)
    with pytest.raises(InputError, match=r"gone\.npz: the morphable model of this system is no longer there"):
        load_reference(tmp_path)
    assert load_reference(tmp_path, "synthetic").name == MODEL.name
