"""``gptface data laion-face``: from lists to shards by the command, and bad input in one sentence."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptface.cli.main import main
from gptface.data.shards import FaceShards
from tests.data.web.faces_from_the_web import (
    detection,
    draw_face,
    jpeg,
    needs_web,
    read_rows,
    write_fetched,
    write_metadata,
    write_pickle,
)

pytestmark = needs_web


def laion_face(step: str, *arguments: Any) -> int:
    return main(["data", "laion-face", step, *map(str, arguments)])


def test_from_lists_to_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_metadata(tmp_path / "part-0.parquet", range(3))
    write_metadata(tmp_path / "part-1.parquet", range(3, 6), WIDTH=[160, 160, 160], HEIGHT=[120, 120, 120])
    write_pickle(tmp_path / "sample2detect_0.pth", {number: [detection()] for number in (1, 2, 4, 5, 77)})
    lists = ("--metadata", tmp_path / "part-*.parquet", "--detections", tmp_path / "sample2detect_*.pth")
    assert laion_face("join", *lists, "--output", tmp_path / "joined") == 0
    rows = read_rows(*sorted((tmp_path / "joined").glob("*.parquet")))
    assert [row["sample_id"] for row in rows] == [1, 2, 4, 5]
    # What img2dataset would leave: one of the four is another picture's copy, one host is gone.
    seeds = {1: 1, 2: 2, 4: 1}
    samples = [
        {**row, "image": jpeg(draw_face(seeds[row["sample_id"]])), "caption": row["caption"]}
        for row in rows
        if row["sample_id"] in seeds
    ]
    write_fetched(tmp_path / "fetched", samples)
    (tmp_path / "fetched" / "step.plan").write_text('{"step": "fetch"}')
    (tmp_path / "removed.txt").write_text("https://host.example/2.jpg\n")
    aligned, filtered, shards = tmp_path / "aligned", tmp_path / "filtered", tmp_path / "shards"
    assert laion_face("align", "--input", tmp_path / "fetched", "--output", aligned, "--size", 64) == 0
    removal = ("--removal", tmp_path / "removed.txt")
    assert laion_face("filter", "--input", aligned, "--output", filtered, *removal, "--memory", 500) == 0
    assert laion_face("shard", "--input", aligned, "--filtered", filtered, "--output", shards) == 0
    [face] = FaceShards(shards, 64)
    assert face.caption == "picture 1" and face.metadata["sample_id"] == 1  # type: ignore[union-attr]
    assert np.asarray(face.image).shape == (64, 64, 3)  # type: ignore[union-attr]
    said = capsys.readouterr().err
    assert "1 removed" in said and "1 duplicate" in said and "1 not_in_metadata" in said


@pytest.mark.parametrize(
    "step, arguments, sentence",
    [
        ("join", ["--metadata", "nothing.parquet"], "nothing.parquet: no such file"),
        ("fetch", ["--input", "."], "is not what `gptface data laion-face join` writes"),
        ("align", ["--input", "nowhere"], "nowhere: no such file"),
        ("align", ["--input", ".", "--size", "3"], "allowed: 16 to 2048"),
        ("filter", ["--input", "."], "is not what `gptface data laion-face align` writes"),
        ("shard", ["--input", ".", "--filtered", "."], "is not what `gptface data laion-face align` writes"),
    ],
)
def test_bad_input_is_one_sentence(
    step: str,
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if step == "fetch" and importlib.util.find_spec("img2dataset") is None:
        pytest.skip("needs img2dataset")
    assert laion_face(step, *arguments, "--output", "out") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
