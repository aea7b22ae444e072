"""The evidence on the codebook lookup: its oracle, its figures and its page, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import vq_evidence
from benchmarks.vq_evidence import DATA, TRAININGS, compare_indices, contenders, main, nearest_codes
from benchmarks.vq_page import PAGE, committed_speeds, write_page
from gptface.ops import vq_lookup
from gptface.systems.gptface.configuration import Configuration
from gptface.training.configuration_files import load_configuration


@pytest.mark.parametrize("name", DATA)
def test_the_oracle_is_the_definition_in_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vq_evidence, "BLOCK", 500)  # several blocks
    rows, codes, metric = DATA[name](200, 37, 8)
    best = nearest_codes(rows, codes, metric)
    found = vq_lookup(rows.double(), codes.double(), metric=metric, impl="reference", return_scores=True, topk=2)
    assert torch.equal(best, found.indices[:, 0])
    figures = compare_indices(rows, codes, metric, best, best)
    assert figures == {"share": 0, "gap": 0, "relative_gap": 0}
    # Second best everywhere: all differ, by the largest gap between first and second.
    second = compare_indices(rows, codes, metric, best, found.indices[:, 1])
    assert second["share"] == 1
    assert second["gap"] == pytest.approx(float((found.scores[:, 0] - found.scores[:, 1]).max()), rel=1e-9)
    for lookup in contenders(metric).values():
        assert lookup(rows, codes).shape == (200,)


def test_the_page_says_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vq_evidence, "SHAPES", ((32, 8), (16, 4)))
    monkeypatch.setattr(
        vq_evidence,
        "measure_training",
        lambda name, steps, faces, folder: {
            "training": name,
            "codebook_size": 1024,
            "held_out_faces": 512,
            "held_out_tokens": 51_200,
            "codebook_usage": 0.5,
            "codebook_perplexity": 300.0,
            "psnr": 20.0,
            "course": [{"step": 5, "usage": 0.1, "perplexity": 99.4}],
        },
    )
    main(["--output", str(tmp_path / "vq"), "--rows", "100", "--steps", "5", "--device", "cpu"])
    page = (tmp_path / "vq.md").read_text(encoding="utf-8")
    numbers = json.loads((tmp_path / "vq" / "numbers.json").read_text(encoding="utf-8"))
    assert len(numbers["indices"]) == len(DATA) * 2 * 6 and len(numbers["training"]) == 4
    assert "| gptface, exact | 0 | 0 | 0 | 0 |" in page
    assert "| random start, no revival | 50.0% | 300 | 20.00 dB |" in page
    assert "51,200 tokens" in page and "--rows 100 --steps 5" in page


def test_the_committed_page_is_that_of_its_numbers(tmp_path: Path) -> None:
    numbers = json.loads((PAGE.with_suffix("") / "numbers.json").read_text(encoding="utf-8"))
    write_page(tmp_path / "vq.md", numbers, committed_speeds())
    written = (tmp_path / "vq.md").read_text(encoding="utf-8")
    assert written == PAGE.read_text(encoding="utf-8"), "run python -m benchmarks.vq_page"


def test_the_trainings_are_configurations_of_the_demo() -> None:
    read = [load_configuration(Configuration, "demo", changes) for changes in TRAININGS.values()]
    configurations = [configuration.tokenizer_config() for configuration in read]
    found = {(config.kmeans_init, config.revive_below > 0) for config in configurations}
    assert found == {(True, True), (True, False), (False, True), (False, False)}
