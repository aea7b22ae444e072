"""Training an adapter with the compact model's objective, down to a tiny Llama that learns to give faces."""

from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import FaceParameters, draw
from gptface.systems.facegpt.adapter import FaceAdapter
from gptface.systems.facegpt.adapter.objective import AdapterObjective, known_shapes
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.lessons import Material
from tests.systems.facegpt.adapter.bases import base, head, processor, tokenizer

GIVEN = "here is the face : <FACE> ."
TOLD = (
    ("please make a face smile", GIVEN, {"shape0": 0.9}),
    ("please make a face mouth wide open", GIVEN, {"shape2": 0.6}),
    ("do you see a smile ?", "no", None),
    ("what do you see ?", "a mouth", None),
)


def said(adapter: FaceAdapter) -> Material:
    """Faces from words, and questions without faces."""
    conversations = [Conversation.of(question, answer, shapes=shapes) for question, answer, shapes in TOLD]
    unknown = torch.full((adapter.layout.size,), torch.nan)
    numbers = [unknown if shapes is None else known_shapes(adapter, shapes) for _, _, shapes in TOLD]
    marks = torch.full((len(TOLD), 68, 2), torch.nan)
    return Material(conversations, torch.zeros(0, 3, 1, 1), torch.stack(numbers), marks, described=True)


def seen(adapter: FaceAdapter, *, numbers: torch.Tensor | None = None) -> Material:
    """Two pictures of the head, darker than it is drawn at the start."""
    parameters = FaceParameters.neutral(adapter.morphable, 2)
    image = draw(adapter.morphable, parameters.replace(light=0.5 * parameters.light), 16, 16).image
    conversations = [Conversation.of("please make a face", GIVEN, image=True)] * 2
    unknown = torch.full((2, adapter.layout.size), torch.nan)
    marks = torch.full((2, 68, 2), torch.nan)
    return Material(conversations, 2 * image.movedim(-1, 1) - 1, unknown if numbers is None else numbers, marks)


def test_a_tiny_llama_learns_in_a_few_steps_to_give_the_face_that_words_ask_for() -> None:
    torch.manual_seed(0)
    adapter = FaceAdapter(base("llama"), tokenizer(), head(4)).train()
    objective = AdapterObjective(adapter, self_supervision=False)
    lesson = objective.lesson(said(adapter))
    optimiser = torch.optim.AdamW(adapter.trainable_parameters(), lr=5e-3)
    for _ in range(45):
        loss, parts = objective(lesson)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(parts["emission"]) == 1.0 and float(parts["false_emission"]) == 0.0
    prompts = objective.encoder.prompts([question for question, _, _ in TOLD])
    written = adapter.generate(**prompts, max_new_tokens=8, do_sample=False)
    assert [objective.encoder.text(row.tolist()) for row in written.answers] == [answer for _, answer, _ in TOLD]
    assert written.face_rows.tolist() == [0, 1]
    wanted = torch.tensor([[0.9, 0.0, 0.0, 0.0], [0.0, 0.0, 0.6, 0.0]])
    torch.testing.assert_close(adapter.parameters_of(written.numbers).expression, wanted, atol=0.15, rtol=0)


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_pictures_teach_through_the_drawn_face(kind: str) -> None:
    adapter = FaceAdapter(base(kind), processor(kind), head()).train()
    objective = AdapterObjective(adapter, {"landmarks": 0.0}, draw_size=24)
    lesson = objective.lesson(said(adapter), seen(adapter))
    assert lesson.faces_seen.tolist() == [2, 3] and lesson.pictures_seen.tolist() == [0, 1]
    assert lesson.conversations.images.shape == (2, 3, 24, 24)
    optimiser = torch.optim.Adam(adapter.head.parameters(), lr=3e-3)
    errors = []
    for _ in range(15):
        loss, parts = objective(lesson)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(parts["photometric"].detach()))
    assert errors[-1] < 0.7 * errors[0]


def test_what_is_said_costs_the_cross_entropy_of_the_assistants_words_and_no_loss_of_weight_0_is_there() -> None:
    adapter = FaceAdapter(base("llama"), tokenizer(), head())
    lesson = AdapterObjective(adapter).lesson(said(adapter))
    nothing = {"photometric": 0.0, "landmarks": 0.0, "parameters": 0.0, "shapes": 0.0, "prior": 0.0}
    loss, parts = AdapterObjective(adapter, nothing)(lesson)
    inputs = dict(lesson.conversations.inputs)
    labels = inputs.pop("labels")
    wanted = adapter.base(**inputs, labels=labels).loss
    torch.testing.assert_close(loss, wanted)
    assert set(parts) == {"language", "emission", "false_emission"}
    full = AdapterObjective(adapter)(lesson)
    torch.testing.assert_close(full[1]["language"], wanted)
    assert float(full[1]["shapes"].detach()) > 0 and "photometric" not in full[1]


def test_known_parameters_pull_the_face_of_their_conversation_alone() -> None:
    adapter = FaceAdapter(base("llava"), processor("llava"), head())
    objective = AdapterObjective(adapter, {"language": 0.0, "prior": 0.0}, self_supervision=False)
    known = known_shapes(adapter, {"shape1": 1.0}).repeat(2, 1)
    known[0] = torch.nan
    lesson = objective.lesson(seen(adapter, numbers=known), said(adapter))
    numbers: list[torch.Tensor] = []
    adapter.head.register_forward_hook(lambda module, inputs, output: output.retain_grad() or numbers.append(output))
    objective(lesson)[0].backward()
    assert lesson.conversations.face_rows.tolist() == [0, 1, 2, 3]
    assert numbers[0].grad is not None and numbers[0].grad.abs().amax(1).gt(0).tolist() == [False, True, True, True]


def test_what_does_not_go_together_is_refused() -> None:
    adapter = FaceAdapter(base("llama"), tokenizer(), head())
    with pytest.raises(InputError, match="reads text alone"):
        AdapterObjective(adapter).lesson(seen(adapter))
    one = seen(adapter)
    one.images = one.images[:1]
    with pytest.raises(InputError, match="images: 1 for 2 conversations with a picture"):
        AdapterObjective(adapter).lesson(one)
    with pytest.raises(InputError, match=r"conversations: number 0 has 1\d tokens; at most 5"):
        AdapterObjective(adapter, longest=5).lesson(said(adapter))
    with pytest.raises(InputError, match="shapes: 'smile' is none of the 3 of"):
        known_shapes(adapter, {"smile": 1.0})
