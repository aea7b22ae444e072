"""What people write into the json beside an image: odd fields cost themselves and a note, never a sample or a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data.augmentation import mirrored
from gptface.data.decoding import decode_chunk
from gptface.data.labels import attribute_labels, expression_label
from gptface.data.metadata import parse_metadata
from gptface.data.sample import Sample
from gptface.data.shards import SAMPLE_NOTES, FaceShards
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from tests.helpers.archives import write_members
from tests.helpers.image_files import encode, gradient


def parsed(fields: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    notes: list[str] = []
    return parse_metadata(json.dumps(fields).encode(), notes), notes


@pytest.mark.parametrize(
    ("given", "left", "noted"),
    [
        ({"captions": ["a  face\n", "b"]}, {"captions": ["a face", "b"]}, False),
        ({"captions": ["a", " ", "b"]}, {"captions": ["a", "b"]}, False),
        ({"captions": "a smiling face"}, {}, True),  # was read letter by letter
        ({"captions": []}, {}, True),
        ({"captions": [" "]}, {}, True),
        ({"captions": None}, {}, True),
        ({"captions": 7}, {}, True),
        ({"captions": ["a", None]}, {}, True),
        ({"captions": [["a"]]}, {}, True),
        ({"captions": {"a": 1}}, {}, True),
        ({"caption": ["a"]}, {}, True),
        ({"caption": None}, {}, False),  # img2dataset's word for none
    ],
)
def test_captions_are_a_list_of_texts_or_left_out_with_a_note(given: Any, left: Any, noted: bool) -> None:
    assert parsed(given) == (left, ["bad_captions"] if noted else [])


@pytest.mark.parametrize(
    ("given", "left", "noted"),
    [
        ({"Smiling": 1, "Male": -1, "Young": 0}, {"Smiling": 1, "Male": 0, "Young": 0}, False),  # CelebA's -1 is 0
        ({"Smiling": True, "Male": False}, {"Smiling": 1, "Male": 0}, False),
        ({"Smiling": 1.0, "Male": -1.0}, {"Smiling": 1, "Male": 0}, False),
        ({"Smiling": "yes", "Male": 1}, {"Male": 1}, True),
        ({"Smiling": None, "Male": 1}, {"Male": 1}, True),
        ({"Smiling": [1], "Male": 1}, {"Male": 1}, True),
        ({"Smiling": 0.7}, {}, True),
        ({"Smiling": float("nan")}, {}, True),
        (["Smiling"], None, True),
        ("Smiling", None, True),
        (None, None, True),
        (3, None, True),
    ],
)
def test_attributes_are_zero_or_one(given: Any, left: Any, noted: bool) -> None:
    metadata, notes = parsed({"attributes": given})
    assert metadata.get("attributes") == left
    assert notes == (["bad_attributes"] if noted else [])
    labels = attribute_labels(metadata)
    expected = [np.nan if not left or name not in left else left[name] for name in LABELLED_ATTRIBUTES]
    assert np.array_equal(labels, np.array(expected, np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("field", "given", "left", "note"),
    [
        ("hidden_attributes", ["Smiling"], ["Smiling"], None),
        ("hidden_attributes", "Smiling", None, "bad_attributes"),
        ("hidden_attributes", None, None, "bad_attributes"),
        ("hidden_attributes", 3, None, "bad_attributes"),
        ("hidden_attributes", ["Smiling", 3], ["Smiling"], "bad_attributes"),
        ("expression", "anger", "anger", None),
        ("expression", None, None, "bad_expression"),
        ("expression", ["anger"], None, "bad_expression"),
        ("expression", {"anger": 1}, None, "bad_expression"),
        ("pose", {"yaw": 1.5, "roll": -2}, {"yaw": 1.5, "roll": -2}, None),
        ("pose", {"yaw": None}, None, "bad_pose"),
        ("pose", {"yaw": "12"}, None, "bad_pose"),
        ("pose", {"yaw": [1, 2]}, None, "bad_pose"),
        ("pose", [1, 2, 3], None, "bad_pose"),
        ("pose", "front", None, "bad_pose"),
        ("pose", None, None, "bad_pose"),
        ("landmarks", [[1, 2.5]] * 5, [[1, 2.5]] * 5, None),
        ("landmarks", [[None, 1]] * 5, None, "bad_landmarks"),
        ("landmarks", [[1, 2, 3]] * 5, None, "bad_landmarks"),
        ("landmarks", [[1, float("inf")]], None, "bad_landmarks"),
        ("landmarks", [[1, 10**400]], None, "bad_landmarks"),
        ("landmarks", {"eyes": [1, 2]}, None, "bad_landmarks"),
        ("landmarks", 5, None, "bad_landmarks"),
        ("landmarks", "x", None, "bad_landmarks"),
        ("landmarks", [], None, "bad_landmarks"),
        ("flipped", "no", None, None),  # the augmentation's own word
        ("reading_notes", 3, None, None),
    ],
)
def test_a_field_that_is_not_of_its_kind_is_left_out_with_a_note(field: str, given: Any, left: Any, note: Any) -> None:
    metadata, notes = parsed({field: given, "url": "kept"})
    assert metadata.get(field) == left and metadata["url"] == "kept"
    assert notes == ([] if note is None else [note])
    expression_label(metadata)


def test_lone_surrogates_become_replacement_characters_and_pairs_stay(tmp_path: Path) -> None:
    texts = b'{"captions": ["a \\ud83d face", "a \\ud83d\\ude00 face"], "url": ["\\udfff"]}'
    path = write_members(tmp_path / "0.tar", [("0.png", encode(gradient())), ("0.json", texts)])
    sample = FaceShards(path, 32)[0]
    assert isinstance(sample, Sample)
    assert sample.captions == ["a \ufffd face", "a \U0001f600 face"]
    assert sample.metadata["url"] == ["\ufffd"]
    assert sample.metadata["reading_notes"] == ["lone_surrogates"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    *("captions", "caption", "attributes", "hidden_attributes", "expression", "pose", "landmarks", "width", "height"),
    *("flipped", "key", "reading_notes"),
]


@settings(max_examples=150, deadline=None)
@given(fields=st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_no_metadata_end_a_run(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any]) -> None:
    """The reader, the mirror and the cache's decoder take any json; every text that is left can be encoded."""
    path = tmp_path_factory.getbasetemp() / "any.tar"
    members = [("0.png", encode(gradient())), ("0.txt", b"a face"), ("0.json", json.dumps(fields).encode())]
    dataset = FaceShards(write_members(path, members), 32)
    sample = dataset[0]
    assert isinstance(sample, Sample) and sample.caption == "a face"
    assert all(caption and isinstance(caption, str) for caption in sample.captions)
    json.dumps(sample.metadata["key"], ensure_ascii=False).encode()
    "".join(sample.captions).encode()
    assert set(sample.metadata.get("reading_notes", ())) <= set(SAMPLE_NOTES)
    assert mirrored(sample).metadata["flipped"] is True
    decoded = decode_chunk(dataset, range(1))
    assert len(decoded.captions) == 1 and not decoded.skipped
    known = decoded.attributes[~np.isnan(decoded.attributes)]
    assert set(known.tolist()) <= {0.0, 1.0}
