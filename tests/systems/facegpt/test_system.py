"""A loaded system reconstructs, sculpts and answers; photos without a face and parts that do not fit are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.data.images import save_image
from gptface.data.procedural import render_face, sample_specification
from gptface.errors import InputError
from gptface.morphable import FaceParameters, draw, load_morphable_model
from gptface.systems.facegpt import FaceGPTSystem
from gptface.systems.facegpt.data.conversations import FACE
from tests.systems.facegpt.small_parts import small_model, small_tokens
from tests.systems.facegpt.small_system import small_system

SYSTEM = small_system()
PHOTOS = [render_face(sample_specification(5, index), 64 + 8 * index).image for index in range(3)]


def same(left: FaceParameters, right: FaceParameters) -> None:
    for name, value in vars(left).items():
        torch.testing.assert_close(value, getattr(right, name), atol=1e-5, rtol=1e-5, msg=name)


def test_photos_one_by_one_and_together_from_files_and_memory(tmp_path: Path) -> None:
    together = SYSTEM.reconstruct(PHOTOS, check=False)
    assert together.identity.shape == (3, 32) and together.rotation.shape == (3, 6)
    assert not torch.allclose(together.expression[0], together.expression[1]), "it looks at the photos"
    for index, photo in enumerate(PHOTOS):
        save_image(tmp_path / "photo.png", photo)
        alone = SYSTEM.reconstruct(tmp_path / "photo.png", check=False)
        same(alone, FaceParameters(**{name: value[index : index + 1] for name, value in vars(together).items()}))


def test_more_photos_than_go_through_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SYSTEM.reconstruct(PHOTOS, check=False)
    monkeypatch.setattr("gptface.systems.facegpt.face_system.BATCH", 2)
    same(SYSTEM.reconstruct(PHOTOS, check=False), whole)


def test_captions_make_different_faces_and_dots_do_not_matter() -> None:
    faces = SYSTEM.sculpt(["an astonished man", "a face", "an astonished man."])
    assert torch.equal(faces.expression[0], faces.expression[2])
    assert not torch.equal(faces.expression[0], faces.expression[1])
    same(SYSTEM.sculpt("an astonished man"), SYSTEM.sculpt(["an <FACE> astonished man"]))
    for nothing in ("", " . ", "<FACE>"):
        with pytest.raises(InputError, match="says nothing"):
            SYSTEM.sculpt(nothing)


def test_answers_with_a_face_for_certain_or_without() -> None:
    for image in (None, PHOTOS[0]):
        forced = SYSTEM.ask(image, "Reconstruct this face in 3D.", emission="forced", max_length=8)
        assert forced.text.count(FACE) == 1 and forced.faces is not None and len(forced.faces.rotation) == 1
        forbidden = SYSTEM.ask(image, "Reconstruct this face in 3D.", emission="forbidden", max_length=8)
        assert FACE not in forbidden.text and forbidden.faces is None
    assert SYSTEM.ask(None, "Hot?") == SYSTEM.ask(None, "Hot?")
    drawn = {SYSTEM.ask(None, "Hot?", temperature=5.0, seed=seed, max_length=8).text for seed in range(4)}
    assert len(drawn) > 1
    with pytest.raises(InputError, match="is empty"):
        SYSTEM.ask(None, " ")


def test_photos_without_a_face_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    blank = np.full((64, 64, 3), 90, dtype=np.uint8)
    with pytest.raises(InputError, match=r"b\.jpg: no face is found in this photo: it is blank$"):
        SYSTEM.reconstruct([PHOTOS[0], blank], names=["a.jpg", "b.jpg"])
    with pytest.raises(InputError, match=r"image 1: no face .* too few; .*; nor in 1 more of 3 photos"):
        SYSTEM.reconstruct([PHOTOS[0][:20], PHOTOS[1], blank])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="the head made of it is not like it"):
        SYSTEM.reconstruct(noise)
    # A head drawn as the system will say it looks is found.
    model = SYSTEM.morphable
    neutral = FaceParameters.neutral(model)
    drawn = draw(model, neutral, 64, 64, background=torch.full((64, 64, 3), 0.3)).image
    monkeypatch.setattr(SYSTEM, "_faces", lambda conversations, photos: neutral)
    assert SYSTEM.reconstruct((drawn[0] * 255).to(torch.uint8).numpy()) is neutral


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    SYSTEM.save(tmp_path / "run" / "model", "synthetic")
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        loaded = FaceGPTSystem.load(folder)
        same(loaded.reconstruct(PHOTOS, check=False), SYSTEM.reconstruct(PHOTOS, check=False))
        assert loaded.ask(PHOTOS[0], "Hot?", emission="forced").text == SYSTEM.ask(
            PHOTOS[0], "Hot?", emission="forced"
        ).text


def test_what_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        FaceGPTSystem.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no trained FaceGPT"):
        FaceGPTSystem.load(tmp_path)
    SYSTEM.save(tmp_path / "model", "synthetic")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="holds no text tokenizer"):
        FaceGPTSystem.load(tmp_path)


def test_a_model_without_language_makes_heads_of_photos_alone() -> None:
    tokens, morphable = small_tokens(), load_morphable_model("synthetic")
    model = small_model(tokens, face_size=SYSTEM.layout.size, language=False)
    system = FaceGPTSystem(model, tokens, morphable)
    assert system.reconstruct(PHOTOS, check=False).rotation.shape == (3, 6)
    for say in (lambda: system.sculpt("a man"), lambda: system.ask(PHOTOS[0], "Who is this?")):
        with pytest.raises(InputError, match="without language"):
            say()


def test_another_morphable_model_and_broken_weights_are_refused() -> None:
    tokens = small_tokens()
    with pytest.raises(InputError, match="was trained with another morphable model"):
        FaceGPTSystem(small_model(tokens, face_size=50), tokens, load_morphable_model("synthetic"))
    broken = small_system()
    with torch.no_grad():
        broken.model.face_head.last.bias.fill_(torch.nan)
    with pytest.raises(InputError, match="holds values that are not finite"):
        broken.sculpt("a man")
