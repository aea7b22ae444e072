"""The figures of merit against hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gptface.data.statistics import unigram_entropy
from gptface.evaluation.metrics import (
    accuracy_interval,
    area_under_curve,
    average_precision,
    balanced_accuracy,
    bootstrap_interval,
    class_counts,
    class_f1,
    cluster_bootstrap_interval,
    gradient_energy,
    mean_attribute_accuracy,
    mean_f1,
    outside_change_share,
    paired_gain,
    wilson_interval,
)


def test_unigram_entropy_of_a_fair_coin_and_of_a_constant() -> None:
    assert unigram_entropy(torch.tensor([[0, 5], [5, 0]]), 8) == pytest.approx(math.log(2))
    assert unigram_entropy(torch.full((9,), 3), 8) == 0.0


def test_wilson_interval_holds_the_share_and_stays_in_bounds() -> None:
    low, high = wilson_interval(50, 100)
    assert low == pytest.approx(0.4038, abs=1e-3) and high == pytest.approx(0.5962, abs=1e-3)
    assert wilson_interval(0, 10)[0] == 0.0 and wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_paired_gain_is_the_exact_mcnemar_test() -> None:
    before = np.array([0, 0, 0, 0, 0, 1, 1, 0], dtype=bool)
    after = np.array([1, 1, 1, 1, 1, 1, 1, 0], dtype=bool)
    gain = paired_gain(before, after)
    assert (gain["gained"], gain["lost"]) == (5, 0)
    assert gain["p_value"] == pytest.approx(2 / 32)
    assert gain["difference"] == pytest.approx(5 / 8)
    assert paired_gain(before, before)["p_value"] == 1.0


def test_one_changed_pixel_outside_the_mask_is_seen() -> None:
    before = np.zeros((4, 4, 3), dtype=np.uint8)
    after = before.copy()
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2] = True
    after[0, 0] = 255
    assert outside_change_share(before, after, mask) == 0.0
    after[3, 3, 1] = 1
    assert outside_change_share(before, after, mask) == pytest.approx(1 / 8)


def test_gradient_energy_sees_edges_inside_the_mask_alone() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = 255  # one edge between columns 2 and 3
    everywhere, left = np.ones((4, 6), bool), np.zeros((4, 6), bool)
    left[:, :3] = True
    # 4 of 4·5 + 3·6 pairs of neighbours differ, by 1.
    assert gradient_energy(image, everywhere) == pytest.approx(4 / 38)
    assert gradient_energy(image, left) == 0
    assert gradient_energy(image[None], everywhere[None]) == pytest.approx(4 / 38)
    assert gradient_energy(image, np.zeros((4, 6), bool)) == 0


def test_balanced_accuracy_does_not_reward_the_commonest_class() -> None:
    truth = np.array([0] * 9 + [1])
    assert balanced_accuracy(np.zeros(10, dtype=int), truth) == 0.5


def test_the_bootstrap_over_people_is_wider_where_a_person_is_right_or_wrong_as_a_whole() -> None:
    generator = np.random.default_rng(0)
    people = np.repeat(np.arange(100), 6)
    together = np.repeat(generator.random(100) < 0.8, 6).astype(float)
    alone = (generator.random(600) < 0.8).astype(float)
    widths = [np.ptp(cluster_bootstrap_interval(values, people)) for values in (together, alone)]
    assert widths[0] > 1.8 * widths[1]
    low, high = wilson_interval(int(alone.sum()), 600)
    assert widths[1] == pytest.approx(high - low, rel=0.25)


def test_the_bootstrap_over_single_faces_is_near_wilsons_and_repeats_itself() -> None:
    right = np.arange(500) % 4 > 0
    found = cluster_bootstrap_interval(right, np.arange(500))
    assert found == pytest.approx(wilson_interval(375, 500), abs=0.01)
    assert found == cluster_bootstrap_interval(right, np.arange(500))
    assert accuracy_interval(right) == wilson_interval(375, 500)
    assert accuracy_interval(right, np.arange(500)) == found


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_answers_are_alike_the_interval_counts_people(value: float) -> None:
    people = np.arange(60) // 3
    assert accuracy_interval(np.full(60, value), people) == wilson_interval(int(20 * value), 20)


def test_several_runs_count_as_shares_of_an_answer() -> None:
    assert accuracy_interval(np.full(10, 0.5)) == wilson_interval(5, 10)


def test_area_under_curve_counts_pairs_and_halves_ties() -> None:
    low, high = np.array([0.0, 1.0, 1.0, 2.0]), np.array([1.0, 3.0])
    pairs = [(a < b) + 0.5 * (a == b) for a in low for b in high]
    assert area_under_curve(low, high) == pytest.approx(np.mean(pairs))
    assert area_under_curve(high, high) == 0.5 and math.isnan(area_under_curve(low, high[:0]))


def test_bootstrap_of_any_statistic_agrees_with_that_of_the_mean_and_draws_whole_groups() -> None:
    random = np.random.default_rng(0)
    groups = random.integers(40, size=200)
    values = random.normal(size=40)[groups] + 0.1 * random.normal(size=200)
    general = bootstrap_interval(lambda rows: float(values[rows].mean()), groups, replicates=2000)
    assert general == pytest.approx(cluster_bootstrap_interval(values, groups), abs=0.03)
    sizes = bootstrap_interval(lambda rows: float(len(np.unique(groups[rows]))), groups, replicates=50)
    assert sizes[1] < 40, "some groups are always left out"
    nothing = bootstrap_interval(lambda rows: math.nan, groups, replicates=5)
    assert math.isnan(nothing[0]) and math.isnan(nothing[1])


def test_average_precision_by_hand_and_as_scikit_learn_has_it() -> None:
    # Found in the order true, false, true: precision 1 at half the recall, 2/3 at all of it.
    assert average_precision(np.array([0.9, 0.5, 0.4]), np.array([1, 0, 1])) == pytest.approx(0.5 + 0.5 * 2 / 3)
    # All alike: one threshold, the share of what is true.
    assert average_precision(np.zeros(4), np.array([1, 0, 0, 0])) == pytest.approx(0.25)
    assert math.isnan(average_precision(np.ones(3), np.zeros(3)))
    measured = pytest.importorskip("sklearn.metrics").average_precision_score
    generator = np.random.default_rng(0)
    for count in (1, 7, 50):
        truth = generator.random(count) < 0.4
        truth[0] = True
        scores = generator.integers(0, 8, count) / 4  # with ties
        assert average_precision(scores, truth) == pytest.approx(measured(truth, scores))


def test_attributes_weigh_alike_and_unknown_ones_do_not_count() -> None:
    truth = np.array([[1.0, 0.0, np.nan], [0.0, np.nan, np.nan], [1.0, 1.0, np.nan]])
    predicted = np.array([[1, 1, 1], [0, 1, 1], [0, 1, 1]])
    assert mean_attribute_accuracy(predicted, truth) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert math.isnan(mean_attribute_accuracy(predicted, np.full((3, 3), np.nan)))


def test_f1_of_every_class_and_its_mean_as_scikit_learn_has_them() -> None:
    truth, predicted = np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 1, 1, 3, 3])
    scores = class_f1(class_counts(predicted, truth, 4))
    np.testing.assert_allclose(scores[[0, 1, 3]], [2 / 3, 2 / 3, 2 / 3])
    assert math.isnan(scores[2]) and mean_f1(class_counts(predicted, truth, 4)) == pytest.approx(2 / 3)
    measured = pytest.importorskip("sklearn.metrics").f1_score
    generator = np.random.default_rng(1)
    truth, predicted = generator.integers(0, 5, 200), generator.integers(0, 5, 200)
    np.testing.assert_allclose(class_f1(class_counts(predicted, truth, 5)), measured(truth, predicted, average=None))
    assert mean_f1(class_counts(predicted, truth, 5)) == pytest.approx(measured(truth, predicted, average="macro"))
    balanced = pytest.importorskip("sklearn.metrics").balanced_accuracy_score
    assert balanced_accuracy(predicted, truth) == pytest.approx(balanced(truth, predicted))
