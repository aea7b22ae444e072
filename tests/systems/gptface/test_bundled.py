"""The system inside the package: whole, small, unchanged, and good for a first edit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.cli.main import main
from gptface.data.images import load_image, save_image
from gptface.data.procedural import ProceduralFaces
from gptface.errors import InputError
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.bundled import BUNDLED, bundled_judge, bundled_system, check_bundled, write_bundled
from gptface.systems.gptface.evaluation.edit_trials import Judge, draw_trials, run_trials
from gptface.systems.gptface.generation import FaceGenerator
from tests.systems.gptface.evaluation.conftest import tiny_judge
from tests.systems.gptface.generation.systems import tiny_system


def test_it_is_small_and_has_a_card() -> None:
    weights = sum(path.stat().st_size for path in BUNDLED.rglob("*.safetensors"))
    assert weights <= 15_000_000
    assert "procedural faces" in (BUNDLED / "README.md").read_text(encoding="utf-8")
    check_bundled()


def test_what_is_written_is_read_in_float32_and_computes_the_same(tmp_path: Path) -> None:
    system = tiny_system(parser=True)
    codes = torch.randint(0, system.tokenizer.config.codebook_size, (2, 16))
    before = system.tokenizer.decode(codes)
    write_bundled(system, tiny_judge(1), tmp_path / "bundled")
    check_bundled(tmp_path / "bundled")
    again = FaceSystem.from_pretrained(tmp_path / "bundled", dtype=torch.float32)
    assert next(again.model.parameters()).dtype == torch.float32
    torch.testing.assert_close(again.tokenizer.decode(codes), before, rtol=0, atol=2e-2)


@pytest.mark.parametrize("harm", ["changed", "missing", "nothing there"])
def test_files_that_are_not_those_released_are_refused(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "bundled"
    write_bundled(tiny_system(parser=True), tiny_judge(1), folder)
    harmed = folder / "model" / "config.json"
    if harm == "changed":
        harmed.write_bytes(harmed.read_bytes() + b" ")
    elif harm == "missing":
        harmed.unlink()
    else:
        shutil.rmtree(folder)
    sentence = "is not there" if harm == "nothing there" else r"config\.json: is not the file"
    with pytest.raises(InputError, match=sentence):
        check_bundled(folder)


def test_an_edit_without_a_system_takes_the_bundled_one_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = ProceduralFaces(seed=5, size=64)[0].image
    save_image(tmp_path / "photo.png", photo)
    output = tmp_path / "out.png"
    assert main(["edit", str(tmp_path / "photo.png"), "--attribute", "Eyeglasses", "--output", str(output)]) == 0
    assert "no --system is given; the one inside the package is used" in capsys.readouterr().err
    assert (load_image(output) != photo).any()


def test_the_bundled_system_changes_the_colour_of_hair() -> None:
    drawn = draw_trials(40, kind="attribute", seed=77, start=0, size=64)
    trials = [trial for trial in drawn if "_Hair" in trial.target]
    generator = FaceGenerator(bundled_system())

    def edit(trials: list) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        result = generator.edit(
            [trial.image for trial in trials],
            [trial.caption for trial in trials],
            attributes=[trial.target for trial in trials],
            region_maps=[trial.region_map for trial in trials],
        )
        return np.stack(result.images), np.stack(result.masks)

    assert run_trials("hair", trials, edit, Judge(bundled_judge())).share >= 0.6


def test_what_cannot_be_bundled_is_one_sentence(tmp_path: Path) -> None:
    words = ["-m", "gptface.systems.gptface.bundled", str(tmp_path / "none"), "--judge", str(tmp_path / "none")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 2 and "there is no such folder" in done.stderr and "Traceback" not in done.stderr
