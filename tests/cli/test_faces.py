"""``gptface faces``: what it writes is read back as it was drawn; bad input is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.cli.main import main
from gptface.data.procedural import ProceduralFaces
from gptface.data.procedural.contact_sheet import contact_sheet
from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.errors import InputError


def test_shards_hold_the_faces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, picture = tmp_path / "faces", tmp_path / "sheet.png"
    arguments = [
        "--count",
        "7",
        "--per-shard",
        "4",
        "--size",
        "32",
        "--seed",
        "3",
        "--start",
        "5",
        "--correlation",
        "0.5",
    ]
    assert main(["faces", "--output", str(folder), *arguments, "--contact-sheet", str(picture)]) == 0
    assert "7 faces in 2 shards" in capsys.readouterr().out
    assert np.asarray(Image.open(picture)).shape == (36, 7 * 34 + 2, 3)
    read = FaceShards([str(folder / "*.tar")], size=32)
    made = ProceduralFaces(seed=3, size=32, start=5, count=7, correlation=0.5)
    assert len(read) == 7
    for item in range(7):
        first, second = read[item], made[item]
        assert isinstance(first, Sample)
        assert np.array_equal(first.image, second.image) and first.caption == second.caption
        assert np.array_equal(first.region_map, second.region_map)
        for name in ("attributes", "expression", "occluder", "pose"):
            assert first.metadata[name] == second.metadata[name]
        assert np.allclose(first.metadata["landmarks"], second.metadata["landmarks"], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--output"),
        (["--size", "5"], "size"),
        (["--count", "0"], "count"),
        (["--correlation", "2"], "correlation"),
        (["--contact-sheet", "sheet.gif"], ".png"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "faces")] if arguments else []
    assert main(["faces", *output, *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert word in error and len(error.splitlines()) == 1
    assert not (tmp_path / "faces").exists()


def test_a_contact_sheet_lays_images_out_row_by_row() -> None:
    images = [np.full((4, 6, 3), value, dtype=np.uint8) for value in range(5)]
    sheet = contact_sheet(images, columns=2, gap=1)
    assert sheet.shape == (3 * 5 + 1, 2 * 7 + 1, 3)
    assert sheet[1, 1, 0] == 0 and sheet[1, 8, 0] == 1 and sheet[11, 1, 0] == 4 and sheet[11, 8, 0] == 255
    with pytest.raises(InputError):
        contact_sheet([])
