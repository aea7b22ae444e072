"""``gptface evaluate leak``: a row a model, and one sentence for what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gptface.cli.main import main
from gptface.evaluation.face_set import shard_faces
from gptface.systems.pacofr import PaCoFR
from gptface.systems.pacofr.evaluation.leak import LeakRequest, measure_leak
from gptface.systems.pacofr.evaluation.masked_batches import masked_batches


def command(folders: dict[str, Path], *more: str, models: tuple[str, ...] = ("belief",)) -> list[str]:
    return ["evaluate", "leak", "--model", *(str(folders[name]) for name in models), "--faces", str(folders["faces"]),
            *more]  # fmt: skip


def test_a_row_a_model_and_the_same_as_json(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "leak.json"
    assert main(command(folders, "--output", str(output), models=("belief", "single", "random", "none"))) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and len({line.index("  visible" if "visible" in line else "  all") for line in lines}) == 1
    assert heading.split()[:5] == ["model", "tokens", "encodes", "K", "k"]
    belief, single, random, none = json.loads(output.read_text())["rows"]
    assert lines[0].split()[1:5] == ["belief", "visible", "32", "4"] and lines[1].split()[2:5] == ["all", "32", "1"]
    assert format(belief["pixel_error"], ".4f") in lines[0]
    # Codes lie at random yet, but which of them are near depends on the pixels; a drawn one does not.
    assert belief["leak_linear"] > 0.1 and single["leak_network"] > 0.1
    # Below 0: a network that was fitted on 720 patches finds in them what is not there.
    for row in (belief, single, random):
        assert -0.1 < row["leak_random_codes"] < 0.05
    assert -0.1 < random["leak_linear"] < 0.05 and random["code_usage"] is None
    assert none["leak_linear"] == none["leak_network"] == 0 and none["leak_random_codes"] is None
    assert lines[3].split()[-2:] == ["–", "–"]
    assert single["belief_entropy"] == 0 < belief["belief_entropy"] < 1.39  # ln 4
    assert 1 < belief["code_perplexity"] <= 32 * belief["code_usage"]
    assert belief["faces"] == 60 and belief["patches"] == 60 * 12


def test_faces_to_fit_on_may_be_given(folders: dict[str, Path]) -> None:
    faces = [str(folders["faces"])]
    (row,) = measure_leak(LeakRequest([folders["belief"]], faces, train=faces, ratio=0.5))["rows"]
    assert row["faces"] == 120 and row["patches"] == 120 * 8
    (half,) = measure_leak(LeakRequest([folders["belief"]], faces, train=faces, ratio=0.5, count=20))["rows"]
    assert half["faces"] == 20


def test_the_pixel_error_is_that_of_the_model_under_its_masks(folders: dict[str, Path]) -> None:
    model = PaCoFR.from_pretrained(folders["single"]).eval()
    faces = shard_faces([str(folders["faces"])], 32)
    outputs = [list(masked_batches(model, faces, 0.75, seed)) for seed in (0, 0, 1)]
    first, again, other = (torch.cat([out.predicted - out.targets for out in outs]) for outs in outputs)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(first) == 120 * 12
    (row,) = measure_leak(LeakRequest([folders["single"]], [str(folders["faces"])], [str(folders["faces"])]))["rows"]
    assert row["pixel_error"] == pytest.approx(float(first.square().mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("more", "models", "sentence"),
    [
        (["--ratio", "1"], ("belief",), "ratio: got 1.0; allowed: more than 0 and less than 1"),
        (["--ratio", "0.01"], ("belief",), "ratio: 0.01 of 16 patches"),
        (["--count", "1"], ("belief",), "count: got 1; allowed: at least 2"),
        (["--count", "2"], ("belief",), "train: its faces give 12 patches to fit on; allowed: at least 34"),
        (["--device", "tpu"], ("belief",), "device: got tpu"),
        ([], ("belief", "faces"), "has no config.json, so it is not a saved PaCoFR"),
    ],
)
def test_bad_input_is_one_sentence(
    folders: dict[str, Path],
    more: list[str],
    models: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    output = tmp_path / "out.json"
    assert main(command(folders, *more, "--output", str(output), models=models)) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err.splitlines()[-1] and not printed.out
    assert not output.exists()
