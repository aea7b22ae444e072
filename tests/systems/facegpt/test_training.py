"""Runs of FaceGPT's stage: what they leave, resumption to the bit, photos with pseudo-labels, several processes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel

from gptface.cli.main import main
from gptface.data.text import load_text_tokenizer
from gptface.errors import InputError
from gptface.morphable import FaceParameters, load_morphable_model, project_landmarks
from gptface.systems import open_encoder
from gptface.systems.facegpt import ConversationTokens, FaceGPT
from gptface.systems.facegpt.configuration import Configuration
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.data.instructions import Instruction, write_instructions
from gptface.systems.facegpt.lessons import apportioned
from gptface.systems.facegpt.morphable_reference import MorphableReference
from gptface.systems.facegpt.pseudo_labels import PseudoLabels
from gptface.systems.facegpt.stages import FACEGPT
from gptface.training import loop as loop_module
from gptface.training.checkpoint import checkpoint_folders, load_checkpoint
from gptface.training.run import run_stage
from tests.helpers.tiny_runs import launch, tiny_facegpt

SPEED = ("seconds", "images_per_second", "mfu", "memory_gib")
TINY = (
    "facegpt.batch_size=5",
    "facegpt.log_every=1",
    "facegpt.warmup_steps=2",
    "facegpt.mesh_spacing=2",
    "facegpt.draw_size=16",
)


def tiny(cache: Path, *overrides: str) -> Configuration:
    return tiny_facegpt(cache, *TINY, *overrides)


def lines(output: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The lines of a metrics file without what depends on the machine."""
    found = [json.loads(line) for line in (output / name).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in SPEED} for line in found]


def weights(output: Path) -> dict[str, torch.Tensor]:
    state = load_checkpoint(checkpoint_folders(output / "checkpoints")[-1])
    found: dict[str, torch.Tensor] = state.shared["modules"][0]
    return found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of noise, with captions, and the landmarks of a head that turns; the last has none."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "faces").mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        picture = generator.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(picture).save(folder / "faces" / f"{number}.png")
        (folder / "faces" / f"{number}.txt").write_text("a smiling woman" if number % 2 else "a man at a desk")
    model = load_morphable_model("synthetic", smooth_modes=0)
    turned = FaceParameters.neutral(model, 11)
    rotation = turned.rotation + 0.2 * torch.from_numpy(generator.standard_normal((11, 6), np.float32))
    points = project_landmarks(model, turned.replace(rotation=rotation), 32, 32)
    np.savez(folder / "points.npz", key=np.array([str(n) for n in range(11)]), points=points.numpy())
    return folder


def of_photos(photos: Path) -> tuple[str, ...]:
    return (
        "data.source=shards", f"data.train=[{photos / 'faces'}]", f"data.landmarks=[{photos / 'points.npz'}]",
        "data.template=tight", "data.image_size=32", f"data.cache_directory={photos}",
        "facegpt.mixture={photos: 3, captions: 1, drawn: 0, sculpture: 0}",
    )  # fmt: skip


def test_a_run_leaves_a_model_a_tokenizer_and_a_note_on_the_head(tmp_path: Path) -> None:
    write_instructions(tmp_path / "some.json", [Instruction(Conversation.of("What is two plus two?", "Four."))])
    general = (f"facegpt.instructions=[{tmp_path / 'some.json'}]", "facegpt.mixture.general=1")
    configuration = tiny(tmp_path, "facegpt.steps=2", "facegpt.validate_every=1", *general)
    folder = run_stage(FACEGPT, configuration, tmp_path / "run", verbose=False)
    model = FaceGPT.from_pretrained(folder).eval()
    tokens = ConversationTokens.of(load_text_tokenizer(folder), model.config)
    assert tokens.decode(tokens.answer("Here: <FACE>.")) == "here : <FACE> ."
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    wanted = model.forward_features(images)
    assert torch.equal(open_encoder(folder).forward_features(images), wanted)
    assert torch.equal(AutoModel.from_pretrained(folder).eval().forward_features(images), wanted)
    assert MorphableReference.load(folder).open().vertex_count == MorphableReference.load(folder).vertices
    names = {"language", "emission", "false_emission", "photometric", "landmarks", "parameters", "shapes", "prior"}
    logged, held_out = lines(tmp_path / "run"), lines(tmp_path / "run", "validation.jsonl")
    assert [line["step"] for line in logged] == [1, 2] == [line["step"] for line in held_out]
    assert all(names < set(line) for line in (*logged, *held_out))
    assert all(math.isfinite(value) for line in (*logged, *held_out) for value in line.values())


def test_losses_of_weight_0_leave_no_trace(tmp_path: Path) -> None:
    off = "facegpt.losses={photometric: 0, landmarks: 0, shapes: 0, prior: 0}"
    run_stage(FACEGPT, tiny(tmp_path, "facegpt.steps=1", off), tmp_path / "off", verbose=False)
    run_stage(
        FACEGPT,
        tiny(tmp_path, "facegpt.steps=1", "facegpt.self_supervision=false"),
        tmp_path / "known",
        verbose=False,
    )
    assert not {"photometric", "landmarks", "shapes", "prior"} & set(lines(tmp_path / "off")[0])
    assert not {"photometric", "landmarks"} & set(lines(tmp_path / "known")[0])


@pytest.mark.parametrize("kind", ["drawn", "photos"])
def test_a_run_resumes_to_the_bit(kind: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped behind a checkpoint and run again, with other validations in between: the same losses and weights."""
    overrides = ["facegpt.steps=5", "facegpt.checkpoint_every=2", "facegpt.log_every=2"]
    if kind == "photos":
        overrides += [*of_photos(photos), "facegpt.pseudo_labels=true"]
    run_stage(FACEGPT, tiny(tmp_path, *overrides), tmp_path / "whole", verbose=False)

    def stop(self: loop_module.Loop, share: float) -> None:
        if self.step == 3:
            raise RuntimeError("pulled the plug")
        original(self, share)

    original = loop_module.Loop._one_step
    other = tiny(tmp_path, *overrides, "facegpt.validate_every=2")
    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "_one_step", stop)
        with pytest.raises(RuntimeError, match="plug"):
            run_stage(FACEGPT, other, tmp_path / "broken", verbose=False)
    assert not (tmp_path / "broken" / "model").exists()
    run_stage(FACEGPT, other, tmp_path / "broken", verbose=False)
    assert lines(tmp_path / "broken") == lines(tmp_path / "whole")
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert whole.keys() == broken.keys() and all(torch.equal(value, broken[name]) for name, value in whole.items())


def test_pseudo_labels_are_fitted_once_and_go_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptface.systems.facegpt.pseudo_labels.AT_A_TIME", 5)
    configuration = tiny(tmp_path, *of_photos(photos), "facegpt.steps=1", "facegpt.pseudo_labels=true")
    run_stage(FACEGPT, configuration, tmp_path / "run", verbose=False)
    assert {"parameters", "photometric", "landmarks", "prior"} < set(lines(tmp_path / "run")[0])
    path = tmp_path / "run" / "pseudo_labels.npz"
    size = int(np.load(path)["numbers"].shape[2])
    labels = PseudoLabels.read(path, size)
    assert len(labels) == 11 and labels.numbers.shape == (12, 2, size)
    assert np.isnan(labels.numbers[:, :, -27:]).all(), "light cannot be told from landmarks"
    PseudoLabels(labels.sample_ids[:5], labels.numbers[:5]).save(path)  # as it was stopped after the first lot
    run_stage(FACEGPT, configuration, tmp_path / "run", restart=True, verbose=False)
    again = PseudoLabels.read(path, size)
    np.testing.assert_allclose(again.numbers, labels.numbers, atol=1e-5)
    named = tiny(tmp_path, *of_photos(photos), "facegpt.steps=1", "facegpt.pseudo_labels=true",
                 f"facegpt.pseudo_label_file={path}")  # fmt: skip
    run_stage(FACEGPT, named, tmp_path / "other", verbose=False)
    assert lines(tmp_path / "other")[0]["parameters"] == pytest.approx(lines(tmp_path / "run")[0]["parameters"])
    assert not (tmp_path / "other" / "pseudo_labels.npz").exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["facegpt.model={identity_modes: 99}"], "facegpt.model.identity_modes: 99; "),
        (["facegpt.model={face_size: 9}"], "facegpt.model.face_size: follows from the text tokenizer and the"),
        (["facegpt.model={depth: 9}"], "facegpt.model: FaceGPTConfig has no field 'depth'; it has albedo_modes,"),
        (["facegpt.morphable=nowhere.npz"], "there is no morphable model 'nowhere.npz'; allowed: a name"),
        (["facegpt.morphable=$NOWHERE/a.npz"], "morphable: '$NOWHERE/a.npz' names an environment variable that is not"),
        (["facegpt.mixture.general=1"], "facegpt.instructions: must name files of questions"),
        (["facegpt.mixture={drawn: 0, sculpture: 0}"], "facegpt.mixture.drawn: all weights of the mixture are 0"),
        (["facegpt.batch_size=1"], "batch_size: 1 has no place for each of the 2 sources of the mixture; allowed: 2"),
        (["facegpt.pseudo_labels=true"], "facegpt.pseudo_labels: no photos are in the mixture"),
        (["facegpt.mixture.photos=1", "data.count=8", "data.image_size=16"], "data.image_size: 16 pixels, but the"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_before_any_work(
    overrides: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, cache = tmp_path / "run", f"data.cache_directory={tmp_path}"
    arguments = ["train", "facegpt", "--config", "tiny", "--output", str(output), *TINY, cache, *overrides]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert sentence in said.err.strip().splitlines()[-1]
    assert not output.exists() or not list(output.iterdir())


def test_pseudo_labels_of_photos_without_landmarks_are_refused(photos: Path, tmp_path: Path) -> None:
    configuration = tiny(tmp_path, *of_photos(photos), "data.landmarks=[]", "facegpt.pseudo_labels=true")
    with pytest.raises(InputError, match="no photo has landmarks to fit"):
        run_stage(FACEGPT, configuration, tmp_path / "run", verbose=False)


def test_places_go_by_weight() -> None:
    assert apportioned({"a": 3, "b": 1, "c": 0}, 32) == {"a": 24, "b": 8}
    assert apportioned({"a": 100, "b": 1}, 4) == {"a": 3, "b": 1}
    assert sum(apportioned({"a": 0.2, "b": 0.3, "c": 0.11}, 17).values()) == 17


TOGETHER = ("facegpt.steps=4", "facegpt.checkpoint_every=2", "facegpt.optimizer=adamw", "facegpt.ema_decay=0")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["drawn", "photos"])
def test_two_processes_learn_what_two_accumulated_passes_do_and_resume(
    kind: str, photos: Path, tmp_path: Path
) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    overrides = TOGETHER if kind == "drawn" else (*TOGETHER, *of_photos(photos), "facegpt.pseudo_labels=true")
    process = launch(2, "facegpt", tiny(tmp_path, *overrides), together)
    assert process.wait(timeout=300) == 0, (tmp_path / "together.log").read_text()
    run_stage(FACEGPT, tiny(tmp_path, *overrides, "facegpt.accumulation=2"), alone, verbose=False)
    for found, wanted in zip(lines(together), lines(alone), strict=True):
        assert found.keys() == wanted.keys()
        for name in ("loss", "language", "photometric", "landmarks", "parameters", "prior"):
            assert found[name] == pytest.approx(wanted[name], rel=1e-3, abs=1e-5), name
    before, state = lines(together), weights(together)

    newest = checkpoint_folders(together / "checkpoints")[-1]
    for path in sorted(newest.iterdir()):
        path.unlink()
    newest.rmdir()
    (together / "summary.json").unlink()
    process = launch(2, "facegpt", tiny(tmp_path, *overrides), together)
    assert process.wait(timeout=300) == 0, (tmp_path / "together.log").read_text()
    assert lines(together) == before
    assert all(torch.equal(value, weights(together)[name]) for name, value in state.items())
