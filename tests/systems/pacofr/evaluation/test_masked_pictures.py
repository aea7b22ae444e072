"""``gptface evaluate masked``: cells hold what their headings say, and one sentence for what cannot be drawn."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gptface.cli.main import main
from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.evaluation import pictures
from gptface.evaluation.pictures import SheetRow
from gptface.faces.regions import REGIONS, region_label
from gptface.faces.token_regions import SKIN_BOUNDARY
from gptface.objectives import normalised_patches, restored_patches
from gptface.systems.pacofr.evaluation import masked_pictures
from gptface.systems.pacofr.evaluation.region_outlines import GROUP_COLOURS, outline_regions, tint_patches

COLUMNS = ["original", "regions", "masked", "tokens alone", "reconstruction"]


def command(
    folders: dict[str, Path], output: Path, *more: str, model: str = "belief", faces: str = "faces"
) -> list[str]:
    return ["evaluate", "masked", "--model", str(folders[model]), "--faces", str(folders[faces]), "--output",
            str(output), *more]  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list]:  # type: ignore[type-arg]
    """What goes on the sheet that is drawn next."""
    kept: dict[str, list] = {}  # type: ignore[type-arg]

    def draw_sheet(path: Path, rows: list[SheetRow], headings: list[str], *, cell: int) -> Path:
        kept.update(rows=rows, headings=headings)
        return pictures.draw_sheet(path, rows, headings, cell=cell)

    monkeypatch.setattr(masked_pictures, "draw_sheet", draw_sheet)
    return kept


def test_visible_patches_are_as_they_are_and_masked_ones_are_made(
    folders: dict[str, Path],
    drawn: dict[str, list],  # type: ignore[type-arg]
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "sheet.png"
    assert main(command(folders, output, "--count", "5", "--ratio", "0.5")) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert printed.err.splitlines()[-1] == f"written: {output}"
    assert len(lines) == 5 and lines[0].startswith("000000000: 8 of 16 patches masked, ")
    assert drawn["headings"] == COLUMNS and len(drawn["rows"]) == 5
    assert Image.open(output).size[0] > 5 * 192
    seen = set()
    for row, line in zip(drawn["rows"], lines, strict=False):
        assert line.endswith(row.text)
        original, _, masked, tokens, reconstruction = row.images
        cells = [cell.reshape(4, 8, 4, 8, 3).swapaxes(1, 2).astype(int) for cell in (original, masked)]
        hidden = (cells[0] != cells[1]).any((2, 3, 4))
        assert hidden.sum() == 8
        pixels = hidden.repeat(8, 0).repeat(8, 1)
        for made in (tokens, reconstruction):
            assert (made[~pixels] == original[~pixels]).all() and (made[pixels] != original[pixels]).any()
        found = re.search(r"masked, (.+) (?:whole|in part);", line)
        assert found is not None, line
        name = found[1].replace(" ", "_")
        colour = tint_patches(np.full((1, 1, 3), 128, np.uint8), np.ones((1, 1), bool), GROUP_COLOURS[name], 0.6)
        assert (masked == colour).all(-1).any(), name
        seen.add(name)
    assert len(seen) > 1


def test_the_same_seed_draws_the_same_sheet(folders: dict[str, Path], tmp_path: Path) -> None:
    for number, seed in enumerate(("0", "0", "1")):
        assert main(command(folders, tmp_path / f"{number}.png", "--count", "2", "--seed", seed)) == 0
    first, again, other = ((tmp_path / f"{number}.png").read_bytes() for number in range(3))
    assert first == again != other


@pytest.mark.parametrize(("model", "without"), [("none", {"tokens alone"}), ("random", set()), ("single", set())])
def test_columns_of_other_models(
    model: str,
    without: set[str],
    folders: dict[str, Path],
    drawn: dict[str, list],  # type: ignore[type-arg]
    tmp_path: Path,
) -> None:
    assert main(command(folders, tmp_path / "sheet.png", "--count", "2", model=model)) == 0
    assert drawn["headings"] == [name for name in COLUMNS if name not in without]


def test_faces_without_regions_are_masked_at_random_and_with_a_template_by_its(
    folders: dict[str, Path],
    drawn: dict[str, list],  # type: ignore[type-arg]
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = np.random.default_rng(0)
    samples = [Sample(generator.integers(0, 256, (32, 32, 3), np.uint8), "a face", n, {}) for n in range(3)]
    write_shards(samples, tmp_path / "plain")
    plain = {**folders, "plain": tmp_path / "plain"}
    assert main(command(plain, tmp_path / "sheet.png", "--count", "3", faces="plain")) == 0
    # Nor are there other faces to fit the map of the tokens on.
    assert drawn["headings"] == ["original", "masked", "reconstruction"]
    assert "12 of 16 patches masked; pixel error" in capsys.readouterr().out
    assert main(command(plain, tmp_path / "sheet.png", "--count", "3", "--template", "tight", faces="plain")) == 0
    assert drawn["headings"] == ["original", "regions", "masked", "reconstruction"]


def test_landmarks_of_other_faces_are_refused(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = np.random.default_rng(0).uniform(4, 28, (1, 5, 2)).astype(np.float32)
    np.savez(tmp_path / "strange.npz", key=np.array(["somebody"]), points=points)
    output = tmp_path / "sheet.png"
    assert main(command(folders, output, "--landmarks", str(tmp_path / "strange.npz"))) == 2
    assert "landmarks: none of its 1 names, such as 'somebody'" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("more", "model", "sentence"),
    [
        (["--ratio", "0"], "belief", "ratio: got 0.0; allowed: more than 0 and less than 1"),
        (["--count", "0"], "belief", "count: got 0; allowed: at least 1"),
        (["--template", "round"], "belief", "template 'round' is unknown"),
        (["--output", "sheet.jpg"], "belief", "output: sheet.jpg; its name must end in .png"),
        ([], "faces", "has no config.json, so it is not a saved PaCoFR"),
    ],
)
def test_bad_input_is_one_sentence(
    folders: dict[str, Path],
    more: list[str],
    model: str,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert main(command(folders, tmp_path / "sheet.png", *more, model=model)) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(2, 70), st.floats(0.1, 1.0), st.integers(0, 1000))
def test_restored_patches_are_the_patches(count: int, pixels: int, contrast: float, seed: int) -> None:
    patches = contrast * (2 * torch.rand(count, pixels, generator=torch.Generator().manual_seed(seed)) - 1)
    torch.testing.assert_close(restored_patches(normalised_patches(patches), patches), patches, atol=1e-5, rtol=0)


def test_regions_are_outlined_inside_and_skin_only_where_the_face_ends() -> None:
    region_map = np.zeros((12, 12), dtype=np.uint8)
    region_map[2:10, 2:10] = region_label("skin")
    region_map[5:7, 5:7] = region_label("eyes")
    drawn = outline_regions(np.zeros((12, 12, 3), dtype=np.uint8), region_map, 3)
    assert drawn.shape == (36, 36, 3)
    eyes, skin = ((drawn == GROUP_COLOURS[name]).all(-1) for name in ("eyes", SKIN_BOUNDARY))
    background = (region_map == REGIONS.index("background")).repeat(3, 0).repeat(3, 1)
    assert not drawn[background].any() and eyes.any()
    ring = np.zeros((36, 36), dtype=bool)
    ring[6:30, 6:30] = True
    ring[8:28, 8:28] = False
    assert (skin == ring).all()
    inside = (region_map == region_label("eyes")).repeat(3, 0).repeat(3, 1)
    assert not (eyes & ~inside).any()
