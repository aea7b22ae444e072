"""``gptface evaluate finetune``: rows and JSON, and one sentence for what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.cli.main import main
from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.evaluation.classifier import load_classifier
from gptface.systems import open_encoder
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.encoder import PaCoFREncoder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train``, ``test`` and ``mixed``: grey noise, light below where the mood is glad; the last shares people."""
    folder = tmp_path_factory.mktemp("faces")
    for name, count, first in (("train", 60, 0), ("test", 20, 100), ("mixed", 20, 40)):
        generator = np.random.default_rng(first)
        samples = []
        for number in range(count):
            image = np.repeat(generator.integers(60, 140, (24, 24, 1), dtype=np.uint8), 3, axis=2)
            image[12:] += np.uint8(60 * (number % 2))
            mood = "glad" if number % 2 else "sad"
            samples.append(Sample(image, "a face", number, {"mood": mood, "person": first + number}))
        write_shards(samples, folder / name)
    return folder


def command(faces: Path, *more: str, test: str = "test") -> list[str]:
    return ["evaluate", "finetune", "--train", str(faces / "train"), "--test", str(faces / test), "--label", "mood",
            "--classes", "sad,glad", "--group", "person", *more]  # fmt: skip


def test_rows_json_and_a_classifier_that_is_kept(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PaCoFREncoder(PaCoFRConfig.tiny().encoder()).save_pretrained(tmp_path / "encoder")
    capsys.readouterr()  # the bar of what was saved here
    more = ["--encoder", str(tmp_path / "encoder"), "--network-epochs", "0", "--epochs", "1", "--minutes", "0.02"]
    kept, output = tmp_path / "kept", tmp_path / "out.json"
    assert main(command(faces, *more, "--label-share", "0.5,1", "--output", str(output), "--save", str(kept))) == 0
    printed = capsys.readouterr()
    rows, gains = printed.out.splitlines()[:4], printed.out.splitlines()[4:]
    names = [line.split(" accuracy ")[0] for line in rows]
    assert names == ["encoder fine-tuned, 50 % of the labels", "same from random weights, 50 % of the labels",
                     "encoder fine-tuned", "same from random weights"]  # fmt: skip
    assert all(" n 20" in line for line in rows)
    assert len(gains) == 2 and all("encoder fine-tuned above same from random weights" in line for line in gains)
    assert "training faces: 60 faces" in printed.err and "4 of 4:" in printed.err
    assert "Writing model shards" not in printed.err
    found = json.loads(output.read_text())
    assert found["encoder"] == str(tmp_path / "encoder") and found["test_people"] == 20 and len(found["rows"]) == 4
    assert found["recipes"]["encoder fine-tuned"]["epochs"] == 1
    classifier = load_classifier(kept, open_encoder(kept / "encoder"))
    assert classifier.classes == ("sad", "glad")
    logits = classifier(torch.full((1, 3, 32, 32), -0.5))
    assert logits.isfinite().all() and logits.abs().max() > 0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--label-share", "0.1,2"], "shares: got 2.0; each must be more than 0 and at most 1"),
        (["--label-share", "all"], "--label-share: got all; allowed are numbers"),
        (["--seeds", "0"], "seeds: got 0"),
        (["--network-epochs", "0"], "encoder: there is none"),
        (["--save", "x"], "save: there is no encoder"),
        (["--device", "tpu"], "device: got tpu; allowed are auto, cpu and cuda"),
        (["--network-epochs", "-1"], "epochs: got -1.0"),
        (["--encoder", "/absent"], "encoder: /absent: there is no such folder"),
        (["--classes", "sad,bored"], "classes: no training face has mood bored; found: "),
    ],
)
def test_bad_input_is_one_sentence(
    faces: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    assert main(command(faces, *more, "--output", str(output))) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()


def test_people_on_both_sides_are_refused(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(faces, test="mixed")) == 2
    assert "20 people of the test faces are among the training faces" in capsys.readouterr().err
