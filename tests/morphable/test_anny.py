"""Anny's head, where the package is installed; and the sentence where it is not."""

from __future__ import annotations

import sys

import pytest

from gptface.errors import InputError
from gptface.morphable import load_morphable_model


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(InputError, match=r"pip install 'gptface\[anny\]'"):
        load_morphable_model("anny")


@pytest.mark.slow
def test_head_has_named_shapes_and_landmarks() -> None:
    pytest.importorskip("anny", reason="the package anny is not installed")
    model = load_morphable_model("anny", smooth_modes=0)
    assert {"jawOpen", "mouthSmile_L", "browDown_R", "jawLeft"} <= set(model.expression_names)
    assert {"gender", "age", "nose-width1-incr"} <= set(model.identity_names)
    rest = model.landmarks(model.mean[None])[0]
    opened = model.landmarks(model(None, model.weights("expression", {"jawOpen": 1.0})))[0]
    assert len(rest) == 68 and opened[8, 1] < rest[8, 1] - 1.5
    smiling = model.landmarks(model(None, model.weights("expression", {"mouthSmile_L": 1.0})))[0]
    assert smiling[54, 1] > rest[54, 1] + 0.5 and (smiling[48] - rest[48]).norm() < 0.1
