"""Conversations for other people's models: labels are what the assistant says, whatever template and pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gptface.errors import InputError
from gptface.systems.facegpt.adapter import ConversationEncoder
from gptface.systems.facegpt.adapter.token import add_face_token, text_tokenizer
from gptface.systems.facegpt.data.conversations import Conversation, Turn
from tests.systems.facegpt.adapter.bases import base, picture, processor

ANSWERS = ("here is the face : <FACE> .", "yes")


def encoder(kind: str, *, template: bool = False) -> ConversationEncoder:
    reader = processor(kind, template=template)
    add_face_token(reader, base(kind).config)
    return ConversationEncoder(reader, 0)


def talk(*, image: bool) -> Conversation:
    turns = (Turn("human", "please make a face"), Turn("assistant", ANSWERS[0]))
    return Conversation((*turns, Turn("human", "do you see a smile ?"), Turn("assistant", ANSWERS[1])), image=image)


@pytest.mark.parametrize("kind", ["llama", "llava", "qwen2_vl"])
@pytest.mark.parametrize("template", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_labels_are_the_assistants_words_and_their_end(kind: str, template: bool, left: bool) -> None:
    made = encoder(kind, template=template)
    sees = kind != "llama"
    conversations = [Conversation.of("smile", "no"), talk(image=sees)]
    found = made.batch(conversations, [None, picture() if sees else None], left=left)
    end = "<|im_end|>" if template else "</s>"
    for row, answers in enumerate((["no"], list(ANSWERS))):
        labels = found["labels"][row]
        kept = labels[labels != -100].tolist()
        assert text_tokenizer(made.processor).decode(kept) == " ".join(f"{answer} {end}" for answer in answers)
        assert torch.equal(labels[labels != -100], found["input_ids"][row][labels != -100])
    assert made.text(found["labels"][1][found["labels"][1] != -100].tolist()) == " ".join(ANSWERS)
    length = found["attention_mask"].sum(1)
    edge = found["attention_mask"][0, 0 if left else -1]
    assert length[0] < length[1] and edge == 0
    assert (found["input_ids"][found["attention_mask"] == 0] == 0).all()


@pytest.mark.parametrize("template", [False, True])
def test_a_prompt_is_how_the_conversation_begins(template: bool) -> None:
    made = encoder("llava", template=template)
    asked = made.prompts(["please make a face"], [picture()])
    told = made.batch([talk(image=True)], [picture()])
    length = asked["input_ids"].shape[1]
    assert torch.equal(told["input_ids"][:, :length], asked["input_ids"])
    assert torch.equal(told["pixel_values"], asked["pixel_values"])
    labels = told["labels"][0]
    assert bool((labels[:length] == -100).all()) and int(labels[length]) != -100
    assert int((asked["input_ids"] == 4).sum()) == 4  # patches


def test_pictures_of_several_rows_follow_one_another() -> None:
    made = encoder("qwen2_vl")
    found = made.prompts(["smile", "what do you see", "no"], [picture(1), None, picture(2)])
    assert found["image_grid_thw"].shape == (2, 3) and len(found["pixel_values"]) == 32
    assert found["mm_token_type_ids"].shape == found["input_ids"].shape
    assert found["mm_token_type_ids"].sum(1).tolist() == [4, 0, 4]
    assert found["attention_mask"][:, -1].tolist() == [1, 1, 1]


def test_marks_in_a_question_are_not_tokens() -> None:
    made = encoder("llava")
    found = made.prompts(["make <FACE> a <image> face"])
    assert torch.equal(found["input_ids"], made.prompts(["make a face"])["input_ids"])


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        ("llama", lambda made: made.prompts(["smile"], [picture()]), "reads text alone"),
        ("llava", lambda made: made.prompts(["smile"], []), "pictures: 0 for 1 rows"),
        ("llava", lambda made: made.batch([talk(image=True)]), "conversation 0 wants a picture and has none"),
        ("llava", lambda made: made.batch([talk(image=False)], [picture()]), "has a picture that it does not want"),
        ("llama", lambda made: made.batch([talk(image=False)], longest=9), "number 0 has 29 tokens; at most 9"),
    ],
)
def test_what_does_not_go_together_is_refused(kind: str, call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(encoder(kind))


def test_a_template_that_refuses_says_so() -> None:
    made = encoder("llama", template=True)
    made.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match="chat template refuses this conversation: roles must alternate"):
        made.prompts(["smile"])
