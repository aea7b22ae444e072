"""Parameters in words are the parameters: what is told makes the same head again."""

from __future__ import annotations

import json

import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import FaceParameters, load_morphable_model, named_parameters, named_values

MODEL = load_morphable_model("synthetic")


def test_names_and_angles_make_the_same_head_again() -> None:
    wanted = named_parameters(
        MODEL, identity={"noseWidth": -1.5}, expression={"jawOpen": 0.25}, pose={"yaw": 20, "pitch": -10, "roll": 5}
    )
    (told,) = json.loads(json.dumps(named_values(MODEL, wanted)))
    again = named_parameters(MODEL, **{kind: told[kind] for kind in ("identity", "expression", "albedo", "pose")})
    torch.testing.assert_close(again.rotation, wanted.rotation, atol=1e-5, rtol=0)
    assert torch.equal(again.identity, wanted.identity) and torch.equal(again.expression, wanted.expression)
    assert told["focal"] == pytest.approx(float(wanted.focal))


def test_one_entry_a_head_where_a_field_is_of_one_head_only() -> None:
    several = FaceParameters.neutral(MODEL, 1).replace(expression=torch.eye(3, len(MODEL.expression_names)))
    told = named_values(MODEL, several)
    first = MODEL.expression_names[:3]
    assert [max(entry["expression"], key=entry["expression"].get) for entry in told] == list(first)


def test_values_that_are_not_finite_are_refused() -> None:
    neutral = FaceParameters.neutral(MODEL)
    with pytest.raises(InputError, match="rotation holds values that are not finite"):
        named_values(MODEL, neutral.replace(rotation=neutral.rotation * torch.nan))
