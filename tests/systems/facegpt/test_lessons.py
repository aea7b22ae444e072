"""Drawn faces are talked about in words, some of them, and what is said is the same for the same number."""

from __future__ import annotations

import pytest

from gptface.morphable import MorphableModel, load_morphable_model
from gptface.systems.facegpt.data.rendered import RenderedFaces
from gptface.systems.facegpt.data.sentences import Sentences
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.lessons import DrawnFaces


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_morphable_model("synthetic")


def test_a_share_of_drawn_faces_is_talked_about(model: MorphableModel) -> None:
    faces, layout = RenderedFaces(model, size=16), FaceLayout(model)
    sentences = Sentences(model, traits=False)
    for words, low, high in ((0.0, 0, 0), (0.25, 20, 90), (1.0, 130, 240)):
        source = DrawnFaces(faces, layout, sentences, words)
        said = [source.conversation(number, 20.0) for number in range(240)]
        assert low <= sum(conversation.kind != "reconstruction" for conversation in said) <= high
        assert said == [source.conversation(number, 20.0) for number in range(240)]
    assert not any(not DrawnFaces(faces, layout).conversation(number).face for number in range(50))


def test_material_is_the_faces_in_the_order_of_the_conversations(model: MorphableModel) -> None:
    source = DrawnFaces(RenderedFaces(model, size=16), FaceLayout(model), Sentences(model, traits=False), 1.0)
    material = source([7, 3, 5], None)
    assert len(material.conversations) == len(material.images) == len(material.numbers) == 3
    assert all(conversation.image for conversation in material.conversations)
    alone = source([3], None)
    assert material.conversations[1] == alone.conversations[0]
    assert (material.numbers[1] - alone.numbers[0]).abs().max() < 1e-4
