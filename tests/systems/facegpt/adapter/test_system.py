"""An adapter in use: the answers and heads of the compact system's interface, in Python and by the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.cli.main import main
from gptface.errors import InputError
from gptface.systems.facegpt import Answer
from gptface.systems.facegpt.adapter import AdapterSystem, FaceAdapter, save_adapter
from gptface.systems.facegpt.face_system import FaceSystem
from tests.systems.facegpt.adapter.bases import base, picture, processor
from tests.systems.facegpt.adapter.test_model import adapter

PHOTOS = [np.asarray(picture(seed)) for seed in range(2)]


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_photos_and_words_become_faces(kind: str) -> None:
    system = AdapterSystem(adapter(kind))
    assert isinstance(system, FaceSystem) and not system.adapter.training
    heads = system.reconstruct(PHOTOS, check=False)
    assert heads.expression.shape == (2, 3) and not torch.allclose(heads.light[0], heads.light[1])
    alone = system.reconstruct([PHOTOS[1]], check=False)
    torch.testing.assert_close(alone.light, heads.light[1:], rtol=1e-4, atol=1e-5)
    assert len(system.likeness(PHOTOS, heads)) == 2
    told = system.sculpt(["a face", "wide open mouth"])
    assert told.light.shape == (2, 9, 3) and not torch.allclose(told.light[0], told.light[1])


@pytest.mark.parametrize("photo", [None, PHOTOS[0]])
def test_questions_are_answered_with_or_without_a_face(photo: np.ndarray | None) -> None:
    system = AdapterSystem(adapter("llava"))
    forced = system.ask(photo, "please make a face", emission="forced", max_length=6)
    assert isinstance(forced, Answer) and forced.text.count("<FACE>") == 1
    assert forced.faces is not None and forced.faces.identity.shape == (1, 3)
    forbidden = system.ask(photo, "please make a face", emission="forbidden", max_length=6)
    assert "<FACE>" not in forbidden.text and forbidden.faces is None
    free = system.ask(photo, "please make a face", max_length=6)
    assert (free.faces is None) == ("<FACE>" not in free.text)


def test_a_seed_draws_the_same_answer_and_leaves_the_generator_alone() -> None:
    system = AdapterSystem(adapter("llama"))
    state = torch.get_rng_state()
    drawn = [system.ask(None, "what do you see", temperature=5.0, seed=seed, max_length=12).text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_asked_is_refused() -> None:
    system = AdapterSystem(adapter("llama"))
    with pytest.raises(InputError, match="reads text alone"):
        system.reconstruct(PHOTOS, check=False)
    with pytest.raises(InputError, match="temperature: -1"):
        system.ask(None, "smile", temperature=-1)
    with pytest.raises(InputError, match="max_length: 0"):
        system.ask(None, "smile", max_length=0)
    with pytest.raises(InputError, match="question: is empty"):
        system.ask(None, " <FACE> ")
    with pytest.raises(InputError, match="emission: 'always'"):
        system.ask(None, "smile", emission="always")  # type: ignore[arg-type]


def test_the_commands_take_an_adapter_for_a_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base("llava").save_pretrained(tmp_path / "base")
    plain = type(base("llava")).from_pretrained(tmp_path / "base")
    save_adapter(FaceAdapter(plain, processor("llava"), "synthetic"), tmp_path / "adapter")
    system = ["--system", str(tmp_path / "adapter")]
    assert main(["sculpt", "--caption", "a wide mouth", *system, "--output", str(tmp_path / "face.ply")]) == 0
    assert (tmp_path / "face.ply").stat().st_size > 10_000
    (tmp_path / "adapter" / "face.safetensors").write_bytes(b"no")
    capsys.readouterr()
    assert main(["ask", "smile", *system]) == 2
    assert "face.safetensors: cannot be read" in capsys.readouterr().err
