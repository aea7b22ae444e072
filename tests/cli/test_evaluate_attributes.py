"""``gptface evaluate attributes``: a public set's three splits, and one sentence for what cannot be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gptface.systems
from gptface.cli.main import main
from gptface.faces.attributes import ATTRIBUTES
from tests.helpers.tiny_encoder import TinyEncoder

NAMES = sorted(ATTRIBUTES)
COUNTS = (40, 12, 12)


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CelebA in small: who is bald is light."""
    folder = tmp_path_factory.mktemp("celeba")
    generator = np.random.default_rng(0)
    (folder / "img_align_celeba").mkdir()
    rows, points, splits = [], [], []
    for number in range(sum(COUNTS)):
        name, bald = f"{number:06d}.jpg", int(generator.integers(0, 2))
        image = generator.integers(40, 90, (22, 18, 3)) + 120 * bald
        Image.fromarray(image.astype(np.uint8)).save(folder / "img_align_celeba" / name, quality=95)
        flags = ["1" if bald and title == "Bald" else "-1" for title in NAMES]
        rows.append(f"{name} {' '.join(flags)}")
        points.append(f"{name} 6 8 11 8 9 11 7 14 10 14")
        splits.append(f"{name} {int(number >= COUNTS[0]) + int(number >= COUNTS[0] + COUNTS[1])}")
    title = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), " ".join(NAMES), *rows]))
    (folder / "list_landmarks_align_celeba.txt").write_text("\n".join([str(len(rows)), title, *points]))
    (folder / "list_eval_partition.txt").write_text("\n".join(splits))
    return folder


@pytest.fixture(autouse=True)
def encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptface.systems, "open_encoder", lambda folder: TinyEncoder())
    monkeypatch.setattr(gptface.systems, "random_encoder", lambda folder, seed: TinyEncoder(seed=seed + 1))


def test_a_public_set_as_it_is_published(celeba: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    more = ["--table", str(tmp_path / "a.md"), "--output", str(tmp_path / "a.json")]
    assert main(["evaluate", "attributes", "--encoder", "x", "--data", str(celeba), *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" mean accuracy ")[0] for line in lines] == ["commonest answer", "encoder", "random weights"]
    assert all(line.endswith(" n 12") for line in lines) and "mean accuracy 1.000" in lines[1]
    assert "| Bald |" in (tmp_path / "a.md").read_text() and "| Smiling |" not in (tmp_path / "a.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--data: give either it, or --train and --test"),
        (["--train", "x"], "--train and --test: one of them was given; both are needed"),
        (["--data", "x", "--test", "x"], "--test: --data has its own"),
        (["--data", "x", "--validation", "x"], "--validation: --data has its own"),
        (["--train", "x", "--test", "x", "--attributes", "Grinning"], "attributes: 'Grinning' is none of CelebA's"),
        (["--train", "x", "--test", "x", "--plot", "x.jpg"], "plot: x.jpg; its name must end in .png"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--data", "."], ".: no public set that is known by its folders"),
        (["--train", "x", "--test", "x", "--seed", "-1"], "--seed: -1; it must be 0 or more"),
        (["--train", "x", "--test", "x", "--table", "a.md", "--output", "a.md"], "--table: a.md is also --output"),
        (["--train", "x", "--test", "x", "--plot", "."], "--plot: . is a folder; give a file"),
        (["--train", "x", "--test", "x", "--output", "/dev/null/a.json"], "/dev/null is no folder"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "attributes", "--encoder", "x", *arguments]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
