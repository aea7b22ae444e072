"""The span-mask programs in ``examples/`` run and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gptface.faces.regions import region_label

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_span_masked_language_model(capsys: pytest.CaptureFixture[str]) -> None:
    losses = load("span_masked_language_model").main(epochs=12)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert "loss" in capsys.readouterr().out


def test_span_masks_in_data_loader() -> None:
    example = load("span_masks_in_data_loader")
    alone = example.main(workers=0)
    counts = {int((batch >= 0).sum()) for batch in alone}
    assert counts == {8 * 30}
    for mine, theirs in zip(example.main(workers=2), alone, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert any((batch == 3).any() and (batch == 4).any() for batch in alone)


def test_beit_masking_generator() -> None:
    masks = load("beit_masking_generator").main(images=400)
    assert (masks.sum((1, 2)) == 75).all()
    assert abs(masks[:, 0, 0].mean() - 75 / 196) < 0.1


def test_fairseq_mask_indices() -> None:
    assert load("fairseq_mask_indices").main().sum(1).tolist() == [150, 125, 60, 0]


def test_masked_token_loss() -> None:
    losses = load("masked_token_loss").main(steps=8, backend="aot_eager")
    assert np.isfinite(losses).all() and np.mean(losses[-3:]) < np.mean(losses[:3])


def test_facial_region_masks() -> None:
    regions, whole, guided = load("facial_region_masks").main()
    eyes = regions == region_label("eyes")
    assert whole.sum() == round(0.3 * 144) and whole[eyes].all()
    assert guided.sum() == round(0.6 * int((~eyes).sum())) and not guided[eyes].any()
