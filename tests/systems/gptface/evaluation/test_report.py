"""The report and the evaluation command over a tiny random system: everything is measured, drawn and written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.cli.main import main
from gptface.data.procedural import ProceduralFaces
from gptface.data.shards import write_shards
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from gptface.faces.regions import REGIONS, region_label
from gptface.models import FaceParser, FaceParserConfig
from gptface.systems.gptface.evaluation.edit_trials import Judge, draw_trials, run_trials
from gptface.systems.gptface.evaluation.report import ReportRequest, write_report
from gptface.systems.gptface.generation import ITMGuidance
from tests.systems.gptface.generation.systems import tiny_system

SIZE = 32


def _parser(seed: int) -> FaceParser:
    torch.manual_seed(seed)
    config = FaceParserConfig.tiny(
        region_names=REGIONS, attribute_names=LABELLED_ATTRIBUTES, expression_names=LABELLED_EXPRESSIONS
    )
    return FaceParser(config).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("report")
    tiny_system(parser=True).save_pretrained(root / "system")
    _parser(1).save_pretrained(root / "judge")
    write_shards(ProceduralFaces(seed=3, size=SIZE, count=40), root / "faces", per_shard=40)
    (root / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    return {"system": root / "system", "judge": root / "judge", "faces": root / "faces", "root": root}


def test_report_measures_and_writes_everything(folders: dict[str, Path], tmp_path: Path) -> None:
    lines: list[str] = []
    page = write_report(
        ReportRequest(
            system=folders["system"],
            judge=folders["judge"],
            output=tmp_path / "report",
            runs=[("tokenizer", folders["root"] / "metrics.jsonl")],
            faces=6,
            trials=4,
            guided=(("exact", ITMGuidance("exact", weight=2.0, candidates=2)),),
        ),
        lines.append,
    )
    text = page.read_text()
    for word in ("PSNR", "Attribute edits", "Expression changes", "Mask removal", "Inpainting", "Text to face"):
        assert word in text
    numbers = json.loads((tmp_path / "report" / "numbers.json").read_text())
    assert numbers["held_out"]["faces"] == 6
    for kind in ("attribute_edits", "expression_edits"):
        for figures in numbers[kind]["settings"].values():
            assert figures["outside_change"] == 0.0
            assert 0 <= figures["success"] <= 1
    assert numbers["inpainting_outside_change"] == 0.0
    assert len(list((tmp_path / "report").glob("*.png"))) == 8
    assert len(lines) == 8


def test_a_judge_that_sees_the_generators_own_picture_is_asked_the_same_question() -> None:
    trials = draw_trials(12, kind="attribute", seed=5, start=0, size=SIZE)
    assert all(trial.image.shape == (SIZE, SIZE, 3) for trial in trials)
    assert all((trial.image != trial.wanted).any() for trial in trials)
    # Nobody is asked about what an occluder hides.
    assert not any((trial.region_map == region_label("occluder")).any() for trial in trials)
    assert {trial.target for trial in trials} <= set(LABELLED_ATTRIBUTES)
    assert {trial.target for trial in draw_trials(4, kind="expression", seed=5, start=0, size=SIZE)} <= set(
        LABELLED_EXPRESSIONS
    )

    def cheat(trials: list) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        images = np.stack([trial.image for trial in trials])
        images[:, 0, 0] = 255 - images[:, 0, 0]
        return images, np.zeros(images.shape[:3], dtype=bool)

    result = run_trials("cheat", trials, cheat, Judge(_parser(2)))
    assert result.outside_change == pytest.approx(1 / SIZE**2), "a pixel changed outside the mask must be seen"
    assert sum(of for _, of in result.by_kind.values()) == 12


def test_evaluate_command_measures_and_probes(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "numbers.json"
    arguments = ["evaluate", "--system", str(folders["system"]), "--faces", str(folders["faces"]), "--count", "40"]
    probe = ["--probe", "occluder", "--probe-train", str(folders["faces"])]
    assert main([*arguments, *probe, "--output", str(output)]) == 0
    numbers = json.loads(output.read_text())
    assert set(numbers["probe_occluder"]) == {"pre-trained", "random initialisation", "raw pixels"}
    assert 0 < numbers["codebook_usage"] <= 1
    assert "tokenizer psnr db" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--system", "nowhere"], "there is no such folder"),
        (["--system", "SYSTEM", "--faces", "absent-*.tar"], "absent"),
        (["--system", "SYSTEM", "--probe", "expression"], "--probe-train"),
        (["--system", "SYSTEM", "--faces", "FACES", "--probe", "age", "--probe-train", "FACES"], "no metadata field"),
        (["--system", "SYSTEM", "--count", "1"], "at least 2"),
    ],
)
def test_bad_input_to_evaluate_is_one_sentence_and_nothing_written(
    folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    names = {"SYSTEM": str(folders["system"]), "FACES": str(folders["faces"])}
    output = tmp_path / "numbers.json"
    assert main(["evaluate", *(names.get(word, word) for word in arguments), "--output", str(output)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("gptface: error: ") and sentence in error and "\n" not in error
    assert not output.exists()
