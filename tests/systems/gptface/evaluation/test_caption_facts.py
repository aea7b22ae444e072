"""Counting true statements of captions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gptface.cli.main import main
from gptface.data.sample import Sample
from gptface.errors import InputError
from gptface.evaluation.face_set import procedural_faces
from gptface.systems.gptface.evaluation.caption_facts import FactCount, count_facts


def face(**metadata: object) -> Sample:
    return Sample(image=np.zeros((8, 8, 3), np.uint8), caption="", sample_id=0, metadata=metadata)


def test_counted_by_hand() -> None:
    faces = [
        face(attributes={"Blond_Hair": 1, "Eyeglasses": 0, "No_Beard": 1}, expression="anger"),
        face(attributes={"Blond_Hair": 0, "Eyeglasses": 1}, hidden_attributes=["Blond_Hair"], expression="fear"),
        face(expression="neutral"),
    ]
    captions = [
        "an angry woman with blond hair wearing glasses",  # two of three
        "a calm man with blond hair, eyeglasses and no beard",  # hair is hidden, the beard not labelled: one of two
        "posted yesterday from my phone",
    ]
    counts = count_facts(captions, faces)
    assert counts["colour of hair"] == FactCount(1, 1)
    assert counts["glasses"] == FactCount(1, 2)
    assert counts["beard"] == FactCount(0, 0)
    assert counts["expression"] == FactCount(1, 2)
    assert counts["all"] == FactCount(3, 5)


def test_the_generators_own_captions_are_all_true() -> None:
    faces = procedural_faces(40, 24)
    counts = count_facts(faces.captions, faces.samples)
    assert counts["all"].right == counts["all"].stated > 60


def test_labels_in_other_words_are_not_counted() -> None:
    faces = [face(expression="Happiness"), face(expression="happiness")]
    assert count_facts(["a happy man", "a happy man"], faces)["expression"] == FactCount(1, 1)


@pytest.mark.parametrize("metadata", [{}, {"attributes": {"Male": 1}}, {"expression": "joy"}])
def test_faces_without_labels_that_help_are_an_error(metadata: dict[str, object]) -> None:
    with pytest.raises(InputError, match="faces: none has a label that captions are checked by"):
        count_facts([""], [face(**metadata)])


def test_the_command_prints_a_line_a_kind_and_writes_what_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "captions.json"
    assert main(["evaluate", "captions", "--count", "3", "--candidates", "1", "--output", str(path)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split(" right ")[0] for line in lines][-2:] == ["expression", "all"] and len(lines) == 7
    written = json.loads(path.read_text())
    assert len(written["captions"]) == 3
    assert lines[-1].endswith(f"of {written['facts']['all']['stated']}")
