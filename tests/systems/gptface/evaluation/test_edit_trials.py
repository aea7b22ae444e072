"""Trials of edits: wishes that change the picture, and a judge who is asked about each."""

from __future__ import annotations

import numpy as np
import pytest

from gptface.data.pixels import images_to_tensor
from gptface.errors import InputError
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from gptface.faces.regions import REGIONS, region_label
from gptface.models import FaceParser, FaceParserConfig
from gptface.systems.gptface.evaluation.edit_trials import Judge, draw_trials, run_trials
from tests.systems.gptface.evaluation.conftest import SIZE, tiny_judge


def test_a_judge_that_sees_the_generators_own_picture_is_asked_the_same_question() -> None:
    trials = draw_trials(12, kind="attribute", seed=5, start=0, size=SIZE)
    assert all(trial.image.shape == (SIZE, SIZE, 3) for trial in trials)
    assert all((trial.image != trial.wanted).any() for trial in trials)
    # Nobody is asked about what an occluder hides.
    assert not any((trial.region_map == region_label("occluder")).any() for trial in trials)
    assert {trial.target for trial in trials} <= set(LABELLED_ATTRIBUTES)
    expressions = draw_trials(4, kind="expression", seed=5, start=0, size=SIZE)
    assert {trial.target for trial in expressions} <= set(LABELLED_EXPRESSIONS)

    def cheat(trials: list) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        images = np.stack([trial.image for trial in trials])
        images[:, 0, 0] = 255 - images[:, 0, 0]
        return images, np.zeros(images.shape[:3], dtype=bool)

    result = run_trials("cheat", trials, cheat, Judge(tiny_judge(2)))
    assert result.outside_change == pytest.approx(1 / SIZE**2), "a pixel changed outside the mask must be seen"
    assert sum(of for _, of in result.by_wish.values()) == 12
    assert result.sharpness == 0 and result.parsed == 1, "nothing lies inside empty masks"


def test_a_smear_is_less_sharp_than_the_generators_own_picture_and_has_fewer_regions_right() -> None:
    trials = draw_trials(6, kind="expression", seed=5, start=0, size=SIZE)
    wanted = np.stack([trial.wanted for trial in trials])
    maps = np.stack([trial.wanted_map for trial in trials])
    masks = np.isin(maps, [region_label(name) for name in ("eyes", "brows", "mouth")])
    judge = Judge(tiny_judge(2))

    def smear(trials: list) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        return np.where(masks[..., None], wanted.mean((1, 2), keepdims=True).astype(np.uint8), wanted), masks

    own = run_trials("own", trials, lambda trials: (wanted, masks), judge)
    assert own.sharpness == pytest.approx(1)
    assert run_trials("smear", trials, smear, judge).sharpness < 0.05
    # What the judge sees is compared pixel by pixel, inside the masks alone.
    seen = judge.parser.regions(images_to_tensor(wanted)).numpy()
    assert judge.regions_right(wanted, seen, masks) == 1
    wrong = np.where(masks, (seen + 1) % len(REGIONS), seen)
    assert judge.regions_right(wanted, wrong, masks) == 0
    assert own.parsed == pytest.approx(float((seen == maps)[masks].mean()))


def test_a_judge_of_other_regions_or_without_a_wished_name_is_refused() -> None:
    names = {"attribute_names": LABELLED_ATTRIBUTES, "expression_names": LABELLED_EXPRESSIONS}
    with pytest.raises(InputError, match="judge: its regions must be"):
        Judge(FaceParser(FaceParserConfig.tiny(**names)))
    with pytest.raises(InputError, match="judge: it knows no expression happiness"):
        Judge(FaceParser(FaceParserConfig.tiny(**{**names, "expression_names": ()}, region_names=REGIONS)))
