"""generate, edit, inpaint, unmask and caption, as people call them: results, and what bad input brings."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.cli.main import main
from gptface.data.procedural import RenderedFace, render_face, sample_specification
from gptface.systems.gptface.generation import ORDERS
from tests.systems.gptface.generation.systems import tiny_system

FACE: RenderedFace = render_face(replace(sample_specification(5, 1), occluder="medical_mask"), 48)
COMMANDS = ("edit", "inpaint", "unmask")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system folder, a photo, its mask and its region map."""
    root = tmp_path_factory.mktemp("generation")
    tiny_system().save_pretrained(root / "system")
    Image.fromarray(FACE.image).save(root / "photo.png")
    Image.fromarray(FACE.region_map).save(root / "regions.png")
    mask = np.zeros((48, 48), dtype=np.uint8)
    mask[10:30, 12:40] = 255
    Image.fromarray(mask).save(root / "mask.png")
    Image.fromarray(mask[:40]).save(root / "other-size.png")
    Image.fromarray(mask * 0).save(root / "empty.png")
    return root


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def call(folder: Path, command: str, *arguments: str | Path, photo: str = "photo.png") -> int:
    images = [] if command == "generate" else [str(folder / photo)]
    return main([command, *images, "--system", str(folder / "system"), *map(str, arguments)])


def test_generate_writes_one_picture_or_several(folder: Path, tmp_path: Path) -> None:
    assert call(folder, "generate", "--caption", "a man", "--output", tmp_path / "one.png") == 0
    assert read(tmp_path / "one.png").shape == (32, 32, 3)
    history = tmp_path / "history.png"
    options = ("--count", "3", "--steps", "4", "--seed", "0", "--caption", "a man")
    assert call(folder, "generate", *options, "--output", tmp_path / "three.png", "--history", history) == 0
    assert read(tmp_path / "three.png").shape == (32, 96, 3) and read(history).shape == (32, 5 * 32, 3)
    assert call(folder, "generate", *options, "--output", tmp_path / "faces") == 0
    names = sorted(path.name for path in (tmp_path / "faces").iterdir())
    assert names == ["seed-0.png", "seed-1.png", "seed-2.png"]
    # The same seeds give the same faces, one by one or together.
    third = read(tmp_path / "faces" / "seed-2.png")
    assert np.array_equal(third, read(tmp_path / "three.png")[:, 64:])
    assert call(folder, "generate", "--method", "autoregressive", "--output", tmp_path / "drawn.png") == 0


def test_bytes_of_a_caption_that_are_no_text_are_said_and_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "face.png"
    argument = b"a caf\xe9 face".decode("utf-8", "surrogateescape")  # as Python hands over such a command line
    given = ("--caption", argument, "--negative-caption", argument)
    assert call(folder, "generate", *given, "--output", output) == 0
    assert capsys.readouterr().err.count("a caf\\ufffd face") == 2
    assert output.is_file()


@pytest.mark.parametrize("guidance", ["none", "first_order", "exact"])
def test_edit_keeps_what_it_was_not_asked_to_change(folder: Path, tmp_path: Path, guidance: str) -> None:
    output, strip = tmp_path / "out.png", tmp_path / "strip.png"
    options = ("--match-guidance", guidance, "--match-weight", "2", "--steps", "3", "--output", output)
    assert call(folder, "edit", "--caption", "a man", "--mask", folder / "mask.png", "--strip", strip, *options) == 0
    mask = read(folder / "mask.png") > 0
    assert np.array_equal(read(output)[~mask], FACE.image[~mask])
    assert read(strip).shape == (48, 3 * 48 + 2, 3)


def test_the_order_of_decoding_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    pictures = {}
    for order in ORDERS:
        output = tmp_path / f"{order}.png"
        assert call(folder, "generate", "--caption", "a man", "--order", order, "--output", output) == 0
        pictures[order] = read(output).tobytes()
    assert len(set(pictures.values())) == 3


@pytest.mark.parametrize(
    "wish",
    [
        ("--attribute", "Blond_Hair"),
        ("--attribute", "no Eyeglasses"),
        ("--expression", "happiness"),
        ("--region", "hair, forehead", "--caption", "blond hair"),
    ],
    ids=lambda wish: wish[1],
)
def test_edit_by_name_chooses_the_place(
    folder: Path, tmp_path: Path, wish: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.png"
    options = ("--output", output, "--region-map", folder / "regions.png", "--steps", "2")
    assert call(folder, "edit", *wish, *options) == 0
    changed = (read(output) != FACE.image).any(-1)
    assert 0 < changed.mean() < 0.8
    assert "found by the region map" in capsys.readouterr().out


def test_inpaint_and_unmask(folder: Path, tmp_path: Path) -> None:
    mask = read(folder / "mask.png") > 0
    filled, uncovered = tmp_path / "filled.png", tmp_path / "uncovered.png"
    assert call(folder, "inpaint", "--mask", folder / "mask.png", "--output", filled) == 0
    assert np.array_equal(read(filled)[~mask], FACE.image[~mask])
    assert call(folder, "unmask", "--region-map", folder / "regions.png", "--output", uncovered) == 0
    changed = (read(uncovered) != FACE.image).any(-1)
    assert changed.any() and not changed[:10].any()


def test_a_palette_region_map_edits_the_region_it_names(folder: Path, tmp_path: Path) -> None:
    indexed = Image.frombytes("P", FACE.region_map.shape[::-1], FACE.region_map.tobytes())
    indexed.putpalette([value for index in range(13) for value in (12 - index, 0, 0)])
    indexed.save(tmp_path / "indexed.png")
    for region_map in (folder / "regions.png", tmp_path / "indexed.png"):
        options = ("--region-map", region_map, "--steps", "2", "--output", tmp_path / f"of-{region_map.name}")
        assert call(folder, "edit", "--region", "hair", "--caption", "blond hair", *options) == 0
    assert np.array_equal(read(tmp_path / "of-regions.png"), read(tmp_path / "of-indexed.png"))


def test_unmask_moves_away_from_the_negative_caption(folder: Path, tmp_path: Path) -> None:
    made = []
    for number, negative in enumerate(((), ("--negative-caption", "a woman with blond hair"))):
        output = tmp_path / f"{number}.png"
        options = ("--mask", folder / "mask.png", "--caption", "a man", "--temperature", "3", "--output", output)
        assert call(folder, "unmask", *options, *negative) == 0
        made.append(read(output))
    assert (made[0] != made[1]).any()


def test_caption_prints_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folder, "caption", "--candidates", "2") == 0
    assert capsys.readouterr().out.count("\n") == 1
    photos = [str(folder / "photo.png")] * 2
    options = ["--system", str(folder / "system"), "--json", "--method", "masked", "--steps", "2"]
    assert main(["caption", *photos, *options]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2 and lines[0]["caption"] == lines[0]["candidates"][0]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"photo": "missing.png"}, "missing.png"),
        ({"photo": "not-an-image.png"}, "not-an-image.png"),
        ({"--system": "nowhere"}, "no such folder"),
        ({"--system": "system/model"}, "is not a trained system"),
        ({"--mask": "other-size.png"}, "48x40 pixels, but its image is 48x48"),
        ({"--mask": "empty.png"}, "marks no pixel"),
        ({"--mask": "missing.png"}, "missing.png"),
        ({"--output": "out.txt"}, "suffix"),
        ({"--steps": "0"}, "steps"),
        ({"--match-weight": "nan"}, "weight"),
        ({"--device": "cuda:77"}, "--device"),
        ({"--window": "40 40 20"}, "window"),
    ],
    ids=lambda value: " ".join(f"{key} {word}" for key, word in value.items()) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    folder: Path,
    tmp_path: Path,
    command: str,
    change: dict[str, str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "not-an-image.png").write_text("words", encoding="utf-8")
    options = {"--mask": "mask.png", "--output": "out.png", "--caption": "a man", **change}
    photo = options.pop("photo", "photo.png")
    arguments = [command, str(folder / photo), "--system", str(folder / options.pop("--system", "system"))]
    for name, value in options.items():
        if name == "--mask":
            value = str(folder / value)
        elif name == "--output":
            value = str(tmp_path / value)
        arguments += [name, *(value.split() if name == "--window" else [value])]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("gptface: error: ") and error.count("\n") == 1, error
    assert sentence in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("edit", "missing.png", "--region", "hair", "--caption", "blond hair"),
        ("edit", "not-an-image.png", "--region", "hair", "--caption", "blond hair"),
        ("edit", "system", "--region", "hair", "--caption", "blond hair"),
        ("edit", "photo.png", "--attribute", "Blonde_Hair"),
        ("edit", "photo.png", "--region", "hare"),
        ("edit", "photo.png"),
        ("edit", "photo.png", "--attribute", "Blond_Hair", "--region-map", "missing.png"),
        ("edit", "photo.png", "--attribute", "Blond_Hair", "--window", "40", "40", "20"),
        ("inpaint", "photo.png", "--mask", "missing.png"),
        ("inpaint", "photo.png", "--mask", "other-size.png"),
        ("inpaint", "photo.png", "--mask", "empty.png"),
        ("unmask", "photo.png", "--region-map", "other-size.png"),
        ("caption", "photo.png", "missing.png"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_with_the_input_is_said_before_the_system_is_read(
    folder: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the system was read first")

    monkeypatch.setattr("gptface.systems.gptface.FaceSystem.from_pretrained", read)
    (folder / "not-an-image.png").write_text("words", encoding="utf-8")
    here = [str(folder / word) if (folder / word).exists() or word == "missing.png" else word for word in arguments]
    output = [] if arguments[0] == "caption" else ["--output", str(tmp_path / "out.png")]
    assert main([*here, "--system", str(folder / "system"), *output]) == 2
    error = capsys.readouterr().err
    assert error.startswith("gptface: error: ") and error.count("\n") == 1


def test_an_unknown_attribute_brings_the_nearest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(folder, "edit", "--attribute", "Blonde_Hair", "--output", tmp_path / "out.png") == 2
    assert "Blond_Hair" in capsys.readouterr().err
    assert call(folder, "edit", "--output", tmp_path / "out.png") == 2
    assert "where" in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_write_permission_is_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert call(folder, "inpaint", "--mask", folder / "mask.png", "--output", tmp_path / "out.png") == 2
    assert "ermission" in capsys.readouterr().err
    tmp_path.chmod(0o700)


def test_an_output_that_cannot_be_written_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    output = tmp_path / "file" / "out.png"
    assert call(folder, "inpaint", "--mask", folder / "mask.png", "--output", output) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--temperature", "inf"), "temperature must be finite and not negative, got inf"),
        (("--guidance-scale", "inf"), "guidance scale must be finite and not negative, got inf"),
        (("--dilation", "-1"), "dilation must not be negative, got -1"),
    ],
)
def test_an_option_without_bounds_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str], sentence: str
) -> None:
    command = ["inpaint", str(folder / "photo.png"), "--mask", str(folder / "mask.png")]
    where = ["--system", str(folder / "system"), "--output", str(tmp_path / "out.png")]
    assert main([*command, *where, *options]) == 2
    assert sentence in capsys.readouterr().err


def test_a_strip_does_not_overwrite_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(tmp_path / "out.png")
    command = ["inpaint", "photo.png", "--mask", "mask.png", "--system", "system"]
    assert main([*command, "--output", picture, "--strip", picture]) == 2
    assert "out.png: is given for two pictures" in capsys.readouterr().err
