"""``gptface evaluate probe``: rows and JSON, and one sentence for what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gptface.systems
from gptface.cli.main import main
from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.evaluation import attentive_probe, probe
from tests.helpers.tiny_encoder import TinyEncoder
from tests.systems.gptface.generation.systems import tiny_system


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey noise, light below where the mood is glad; ``mixed`` shares people, ``unlabelled`` lacks some labels."""
    folder = tmp_path_factory.mktemp("faces")
    for name, count, first in (("train", 40, 0), ("test", 16, 100), ("mixed", 16, 30), ("unlabelled", 16, 200)):
        generator = np.random.default_rng(first)
        samples = []
        for number in range(count):
            image = np.repeat(generator.integers(60, 140, (24, 24, 1), dtype=np.uint8), 3, axis=2)
            image[12:] += np.uint8(60 * (number % 2))
            metadata = {"mood": "glad" if number % 2 else "sad", "person": first + number}
            if name == "unlabelled" and number % 8 == 3:
                del metadata["mood"]
            samples.append(Sample(image, "a face", number, metadata))
        write_shards(samples, folder / name)
    return folder


@pytest.fixture(autouse=True)
def short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attentive_probe, "MOST_LOOKS", 2)
    monkeypatch.setattr(probe, "PENALTIES", (1e-2, 1e-4))


@pytest.fixture
def tiny_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptface.systems, "open_encoder", lambda folder: TinyEncoder())
    monkeypatch.setattr(gptface.systems, "random_encoder", lambda folder, seed: TinyEncoder(seed=seed + 1))


def command(faces: Path, *more: str, train: str = "train", test: str = "test", classes: str = "sad,glad") -> list[str]:
    return ["evaluate", "probe", "--encoder", "somewhere", "--train", str(faces / train), "--test", str(faces / test),
            "--label", "mood", "--classes", classes, *more]  # fmt: skip


@pytest.mark.usefixtures("tiny_encoders")
def test_a_line_a_row_and_the_same_as_json(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.json"
    more = ["--group", "person", "--label-share", "0.5,1", "--output", str(output)]
    assert main(command(faces, *more)) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split(" accuracy ")[0] for line in lines[6:]] == [
        "encoder, linear", "encoder, attentive pooling", "random weights, linear",
        "random weights, attentive pooling", "pixels", "HOG",
    ]  # fmt: skip
    assert lines[0].startswith("encoder, linear, 50 % of the labels accuracy ")
    assert all(line.endswith(" n 16") for line in lines) and len(lines) == 12
    assert "training faces: 40 faces" in printed.err and "bootstrap over the 16 people" in printed.err
    found = json.loads(output.read_text())
    assert found["encoder"] == "somewhere" and found["test"] == {
        "faces": 16, "classes": {"sad": 8, "glad": 8}, "people": 16
    }  # fmt: skip
    assert found["commonest_class"]["accuracy"] == 0.5 and found["hog"]["size"] == 128
    pixels = found["rows"][-2]
    assert pixels["name"] == "pixels" and pixels["accuracy"] > 0.9
    assert f"accuracy {pixels['accuracy']:.3f} [{pixels['interval'][0]:.3f}, " in lines[-2]


@pytest.mark.usefixtures("tiny_encoders")
def test_several_encoders_are_compared_on_the_same_faces(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(faces)
    words.insert(words.index("--encoder") + 2, "elsewhere")
    assert main(words) == 0
    names = [line.split(", ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names[:6:2] == ["somewhere", "elsewhere", "random weights"]
    assert main([*words, "--encoder", "here", "here"]) == 2
    assert "--encoder: a folder was given twice" in capsys.readouterr().err


def test_the_folder_of_a_gptface_system_is_an_encoder(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_system().save_pretrained(tmp_path / "system")
    arguments = command(faces)
    arguments[arguments.index("somewhere")] = str(tmp_path / "system")
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("encoder, linear accuracy ") and "Wilson" in printed.err


@pytest.mark.usefixtures("tiny_encoders")
@pytest.mark.parametrize(
    ("changed", "more", "sentence"),
    [
        ({"classes": "sad,cross"}, [], r"no training face has mood cross; found: "),
        ({"classes": "sad"}, [], "at least two different ones"),
        ({"train": "unlabelled"}, [], "2 of 16 training faces have no metadata field 'mood'"),
        ({"test": "absent-*.tar"}, [], "absent"),
        ({"test": "mixed"}, ["--group", "person"], "10 people of the test faces are among the training faces"),
        ({}, ["--group", "family"], "has no metadata field 'family'"),
        ({}, ["--label-share", "0.01"], "label share: 0.01 leaves 0 of the 20 training faces of sad"),
        ({}, ["--label-share", "0"], "more than 0"),
        ({}, ["--label-share", "few"], "--label-share: got few"),
        ({}, ["--seeds", "0"], "seeds: got 0"),
        ({}, ["--device", "abacus"], "abacus"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_written(
    faces: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    more: list[str],
    sentence: str,
) -> None:
    output = tmp_path / "out.json"
    assert main([*command(faces, *more, **changed), "--output", str(output)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("gptface: error: ") and sentence in error
    assert not output.exists()


def test_a_folder_that_is_no_encoder_is_one_sentence(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(faces)) == 2
    assert "encoder: somewhere: there is no such folder; allowed: " in capsys.readouterr().err
