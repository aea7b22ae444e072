"""Labels from metadata: what is unknown or hidden is never taught."""

from __future__ import annotations

import json

import numpy as np

from gptface.data.labels import UNKNOWN, attribute_labels, expression_label
from gptface.data.procedural import ProceduralFaces
from gptface.faces.attributes import ATTRIBUTES, LABELLED_ATTRIBUTES
from gptface.faces.expressions import EXPRESSIONS, LABELLED_EXPRESSIONS
from gptface.faces.occluders import OCCLUDERS


def named(metadata: dict[str, object]) -> dict[str, float]:
    labels = attribute_labels(metadata)
    assert labels.dtype == np.float32
    return {name: value for name, value in zip(LABELLED_ATTRIBUTES, labels.tolist(), strict=True) if value == value}


def test_labels_say_what_is_unknown_and_what_is_hidden() -> None:
    known = {"Male": 1, "Smiling": 0}
    assert named({"attributes": known, "hidden_attributes": ["Bald"]}) == known
    assert named({"attributes": known, "hidden_attributes": ["Smiling"]}) == {"Male": 1}
    for nothing in ({}, {"attributes": None}, {"attributes": {"Oval_Face": 1}}):
        assert named(nothing) == {}
    assert named({"attributes": dict.fromkeys(ATTRIBUTES, 1)}) == dict.fromkeys(LABELLED_ATTRIBUTES, 1)
    for name in EXPRESSIONS:
        label = expression_label({"expression": name})
        assert label == (LABELLED_EXPRESSIONS.index(name) if name in LABELLED_EXPRESSIONS else UNKNOWN)
    assert expression_label({}) == expression_label({"expression": "boredom"}) == UNKNOWN


def test_behind_an_occluder_nobody_is_taught_to_see() -> None:
    samples = [ProceduralFaces(seed=4, size=16, count=24, occluder_probability=1)[index] for index in range(24)]
    assert {sample.metadata["occluder"] for sample in samples} == set(OCCLUDERS)
    for sample in samples:
        metadata = json.loads(json.dumps({**sample.metadata, "landmarks": None}))  # as shards keep them
        hidden = OCCLUDERS[metadata["occluder"]].hides
        assert hidden and set(named(metadata)) == set(LABELLED_ATTRIBUTES) - hidden
    faces = ProceduralFaces(seed=4, size=16, count=3, occluder_probability=0)
    assert all(len(named(faces[index].metadata)) == len(LABELLED_ATTRIBUTES) for index in range(3))
