"""``gptface evaluate smiles``: which points a smile moves, and how far towards the own smile an edit goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.cli.main import main
from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.evaluation.landmark_regression import PatchRegressor
from gptface.systems.gptface.evaluation import smiles
from gptface.systems.gptface.evaluation.smiles import Smiles, SmileTest, measure_smiles, moved_points, smile_lines
from gptface.systems.gptface.generation import ClassifierFreeGuidance, DecodingSettings
from gptface.systems.gptface.generation import pipeline as _pipeline
from tests.systems.gptface.evaluation.known_points import BrightPoints
from tests.systems.gptface.generation.systems import tiny_system

QUICK = DecodingSettings(steps=1, classifier_free=ClassifierFreeGuidance(1.0), batch_invariant=False)
PEOPLE = 5


def smiling_people(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of which the last eight go up, at rest and smiling; heads turn, move and grow between the two."""
    random = np.random.default_rng(seed)
    at_rest = random.uniform(0, 4, (1, 40, 2)) + random.normal(0, 0.05, (count, 40, 2))
    smiling = at_rest.copy()
    smiling[:, -8:, 1] -= random.uniform(0.3, 0.5, (count, 1))
    angle, scale = random.uniform(-0.2, 0.2, count), random.uniform(0.9, 1.1, count)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(count, 2, 2)
    return at_rest, scale[:, None, None] * smiling @ turn + random.normal(0, 1, (count, 1, 2))


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(0, 50))
def test_moved_points_are_found_though_heads_move(count: int, seed: int) -> None:
    moved, still = moved_points(*smiling_people(count, seed))
    assert moved.tolist() == [False] * 32 + [True] * 8
    assert still.tolist() == [True] * 32 + [False] * 8


def test_rows_by_hand() -> None:
    at_rest, smiling = smiling_people(6)
    moved, still = moved_points(at_rest, smiling)
    own = Smiles(at_rest, smiles._laid(smiling, at_rest, still), moved, still)
    stayed, there = smiles._row("", own, own.at_rest), smiles._row("", own, own.smiling)
    assert stayed["way"] == 0 and stayed["still"] == 0 and 0.3 < stayed["distance"] < 0.5
    assert there["way"] == pytest.approx(1) and there["distance"] == pytest.approx(0) and there["still"] < 1e-9
    half = smiles._row("", own, (own.at_rest + own.smiling) / 2)
    assert half["way"] == pytest.approx(0.5) and half["distance"] == pytest.approx(stayed["distance"] / 2)
    others = smiles._row("", own, smiles._mean_smile(own))
    assert 0.7 < others["way"] < 1.3 and others["distance"] < stayed["distance"]
    low, high = half["distance_interval"]
    assert low < half["distance"] < high


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People whose lower faces are brighter when they smile, by which BrightPoints sees points go down."""
    folder = tmp_path_factory.mktemp("portraits")
    random = np.random.default_rng(0)
    samples = []
    for person in range(PEOPLE):
        image = np.repeat(random.integers(60, 90, (32, 32, 1)).astype(np.uint8), 3, 2)
        smile = image.copy()
        smile[18:26, 8:24] += 120
        for expression, picture in (("neutral", image), ("happiness", smile)):
            samples.append(
                Sample(picture, "", len(samples), {"person": f"{person:03d}", "expression": expression})
            )
    write_shards(samples, folder)
    return folder


def edit_by_wish(self: Any, images: Any, captions: Any, *, expressions: str, region_maps: Any, **_: Any) -> Any:
    """In place of a system: half of the smile where one is wished for, nothing else."""
    from types import SimpleNamespace

    assert all(labels.shape == (32, 32) for labels in region_maps)
    masks = [np.zeros((32, 32), bool) for _ in images]
    results = []
    for image, mask in zip(images, masks, strict=True):
        mask[18:26, 8:24] = True
        result = image.copy()
        if expressions == "happiness":
            result[mask] += 60
        results.append(result)
    return SimpleNamespace(images=results, masks=masks)


def test_half_a_smile_goes_half_of_the_way(
    portraits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pipeline.FaceGenerator, "edit", edit_by_wish)
    test = SmileTest(
        [str(portraits)], settings=QUICK,
        output=tmp_path / "all.json", table=tmp_path / "all.md", sheet=tmp_path / "all.png",
    )  # fmt: skip
    summary = measure_smiles(test, tiny_system(), cast(PatchRegressor, BrightPoints()))
    rows = {row["name"]: row for row in summary["rows"]}
    assert summary["people"] == PEOPLE and rows[smiles.KEPT]["way"] == 0
    assert rows[smiles.SYSTEM]["way"] == pytest.approx(0.5, abs=0.02)
    assert rows[smiles.CONTROL]["way"] == pytest.approx(0, abs=1e-6)
    assert rows[smiles.OTHERS]["way"] == pytest.approx(1, abs=0.02)
    assert rows[smiles.SYSTEM]["outside"] == 0 and rows[smiles.SYSTEM]["inside"] == pytest.approx(128 / 1024)
    assert json.loads((tmp_path / "all.json").read_text())["rows"] == summary["rows"]
    assert "| left at rest |" in (tmp_path / "all.md").read_text() and (tmp_path / "all.png").is_file()
    assert len(smile_lines(summary)) == 4 and "changed outside the mask 0.0%" in smile_lines(summary)[2]


def test_a_system_edits_real_masks(portraits: Path) -> None:
    test = SmileTest([str(portraits)], caption="a smiling man", control="a sad woman", grey=True, settings=QUICK)
    summary = measure_smiles(test, tiny_system(), cast(PatchRegressor, BrightPoints()))
    row = next(row for row in summary["rows"] if row["name"] == smiles.SYSTEM)
    assert row["outside"] == 0 and 0 < row["inside"] < 0.9


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--like", "x.tar"], "give all three"),
        (["--sheet", "x.jpg"], "its name must end in .png"),
        (["--landmark-model", "FOLDER"], "encoder"),
        ([], "there is no such folder"),
    ],
)
def test_bad_input_is_one_sentence(
    portraits: Path,
    folders: dict[str, Path],
    more: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    output = tmp_path / "out.json"
    arguments = ["--system", str(folders["system"]), "--portraits", str(portraits), "--output", str(output)]
    words = [str(portraits) if word == "FOLDER" else word for word in more]
    model = [] if "--landmark-model" in more else ["--landmark-model", str(tmp_path / "nowhere")]
    assert main(["evaluate", "smiles", *arguments, *model, *words]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()
