"""Parts of faces read off frozen patches: on shards in the package's regions, on LaPa in its own classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gptface.cli.main import main
from gptface.data.public.lapa import PUBLISHED_CLASSES
from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.errors import InputError
from gptface.evaluation import parsing_probe
from gptface.evaluation.metrics import class_counts
from gptface.evaluation.parsing_probe import ParsingTest, PatchParser, _mean_f1, measure_parsing, parsing_lines
from gptface.faces.regions import region_label
from tests.helpers.tiny_encoder import TinyEncoder

SIZE = 16


def drawn(count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Grey pictures with a light half that is skin: above, below, left or right."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        image = generator.integers(20, 60, (SIZE, SIZE, 3))
        half = [np.s_[:8], np.s_[8:], np.s_[:, :8], np.s_[:, 8:]][number % 4]
        labels = np.zeros((SIZE, SIZE), dtype=np.uint8)
        image[half] += 150
        labels[half] = 1
        found.append((image.astype(np.uint8), labels))
    return found


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("parts")
    assert region_label("skin") == 1
    for name, count in (("train", 64), ("validation", 8), ("test", 12)):
        samples = [Sample(image, "", number, {}, labels) for number, (image, labels) in enumerate(drawn(count, count))]
        write_shards(samples, made / name)
    write_shards([Sample(image, "", 0, {}) for image, _ in drawn(4, 0)], made / "without")
    return made


def test_parts_are_read_off_patches_better_than_off_no_picture(faces: Path, tmp_path: Path) -> None:
    roles = {name: [str(faces / name)] for name in ("train", "validation", "test")}
    files = {"output": tmp_path / "p.json", "table": tmp_path / "p.md", "plot": tmp_path / "p.png"}
    summary = measure_parsing(ParsingTest(**roles, **files, epochs=8), {"encoder": TinyEncoder})  # type: ignore[arg-type]
    layout, encoder = summary["rows"]
    assert (layout["name"], encoder["name"]) == ("mean layout", "encoder")
    assert encoder["mean_f1"] > 0.85 > layout["mean_f1"] and encoder["best_on_test"] >= encoder["mean_f1"]
    assert encoder["n"] == 12 and 1 <= encoder["seeds"][0]["epoch"] <= 8 and encoder["each"]["hair"] is None
    assert encoder["each"]["skin"] == pytest.approx(encoder["mean_f1"])
    assert parsing_lines(summary["rows"])[1].startswith("encoder mean F1 ")
    text = (tmp_path / "p.md").read_text()
    assert "64 faces, 8 epochs" in text and "best epoch on the test faces †" in text
    assert json.loads((tmp_path / "p.json").read_text())["classes"][1] == "skin"
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_without_validation_faces_the_last_epoch_is_taken(faces: Path) -> None:
    wish = ParsingTest([str(faces / "train")], [str(faces / "test")], epochs=2)
    summary = measure_parsing(wish, {"encoder": TinyEncoder})
    assert summary["rows"][1]["seeds"][0]["epoch"] == 2 and summary["validation_paths"] is None


def test_shares_and_seeds_as_the_other_subjects_have_them(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing_probe, "LEAST_STEPS", 8)
    roles = {name: [str(faces / name)] for name in ("train", "validation", "test")}
    files = {"table": tmp_path / "p.md", "plot": tmp_path / "p.png"}
    wish = ParsingTest(**roles, **files, epochs=2, shares=(1.0, 0.05), seeds=2)  # type: ignore[arg-type]
    summary = measure_parsing(wish, {"encoder": TinyEncoder})
    assert [(row["name"], row["labels"]) for row in summary["rows"]] == [
        ("mean layout", 3), ("encoder", 3), ("mean layout", 64), ("encoder", 64),
    ]  # fmt: skip
    few = summary["rows"][1]
    assert few["deviation"] > 0 and [seed["seed"] for seed in few["seeds"]] == [0, 1]
    assert few["mean_f1"] == pytest.approx(np.mean([seed["mean_f1"] for seed in few["seeds"]]))
    line = parsing_lines(summary["rows"])[1]
    assert line.startswith("encoder, 5 % of the labels mean F1 ") and " ± " in line
    text = (tmp_path / "p.md").read_text()
    assert "| encoder | 3 (5 %) |" in text and "over 2 draws" in text and (tmp_path / "p.png").exists()
    with pytest.raises(InputError, match=r"shares: got 0\.0; each must be more than 0"):
        ParsingTest([], [], shares=(0.0,))


def test_the_mean_leaves_the_background_out() -> None:
    truth, found = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    # Class 1: 2 right, 1 wrong; class 2: never found.
    assert _mean_f1(class_counts(found, truth, 3)) == pytest.approx((4 / 5 + 0) / 2)


def test_scores_are_interpolated_between_patches_and_the_encoder_stays() -> None:
    encoder = TinyEncoder()
    parser = PatchParser(encoder, 3)
    assert len(list(parser.parameters())) == 2
    torch.nn.init.normal_(parser.output.weight)
    pictures = torch.rand(2, 3, SIZE, SIZE)
    fine, coarse = parser(pictures, 16), parser(pictures, 4)
    scores = parser.output(parser.norm(encoder.forward_features(pictures)))
    torch.testing.assert_close(coarse[:, :, 1, 2], scores[:, 6])  # row by row, four a row
    torch.testing.assert_close(fine[:, :, 0, 15], scores[:, 3])
    between = coarse[:, :, 0, :2] @ torch.tensor([0.625, 0.375])  # 1.5 and 2.5 pixels from the patches' middles
    torch.testing.assert_close(fine[:, :, 0, 3], between)
    fine.sum().backward()
    assert all(weight.grad is None for weight in encoder.parameters())


def test_what_cannot_be_measured_is_one_sentence(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="epochs: got 0; at least 1"):
        ParsingTest([], [], epochs=0)
    train, without = [str(faces / "train")], [str(faces / "without")]
    with pytest.raises(InputError, match=r"training faces: none of 4 can be used \(no label: 4\)"):
        measure_parsing(ParsingTest(without, train, epochs=1), {"encoder": TinyEncoder})
    with pytest.raises(InputError, match="test faces: none of 4 has a label map"):
        measure_parsing(ParsingTest(train, without, epochs=1), {"encoder": TinyEncoder})
    (tmp_path / "WFLW_images").mkdir()
    (tmp_path / "WFLW_annotations").mkdir()
    (tmp_path / "list_98pt_rect_attr_train.txt").write_text(f"{'1 ' * 206}a.jpg\n")
    with pytest.raises(InputError, match="has no label maps; LaPa and CelebAMask-HQ have"):
        measure_parsing(ParsingTest([str(tmp_path)], train, epochs=1), {"encoder": TinyEncoder})


def test_lapa_in_its_own_classes_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gptface.systems

    monkeypatch.setattr(gptface.systems, "open_encoder", lambda folder: TinyEncoder())
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        for name in ("images", "labels"):
            (tmp_path / split / name).mkdir(parents=True)
        for number, (image, labels) in enumerate(drawn(count, count)):
            Image.fromarray(image).save(tmp_path / split / "images" / f"{number}.jpg", quality=95)
            Image.fromarray(labels * np.uint8(3)).save(tmp_path / split / "labels" / f"{number}.png")
    arguments = ["evaluate", "parsing", "--encoder", "x", "--data", str(tmp_path), "--no-random", "--epochs", "1"]
    assert main([*arguments, "--output", str(tmp_path / "out.json")]) == 0
    assert [line.split(" mean F1 ")[0] for line in capsys.readouterr().out.splitlines()] == ["mean layout", "encoder"]
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["classes"] == list(PUBLISHED_CLASSES) and found["rows"][1]["each"]["right brow"] is not None
    assert main([*arguments, "--test", "x"]) == 2
    assert "--test: --data has its own" in capsys.readouterr().err
