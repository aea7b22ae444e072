"""Networks trained on shares of the labels, measured beside each other on the same people."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gptface.evaluation.fine_tuning import Fit, Recipe
from gptface.evaluation.label_shares import (
    NETWORK_RECIPE,
    Contender,
    Trained,
    compare_label_shares,
    contenders,
    row_lines,
    summarise,
)
from gptface.evaluation.labelled_faces import LabelledFaces
from gptface.evaluation.residual_network import ResidualNetwork
from gptface.evaluation.training_pictures import RandomPictures, plain_pictures, training_size
from tests.helpers.tiny_encoder import TinyEncoder


def bright_or_dark(count: int, seed: int = 0) -> LabelledFaces:
    """Noise whose lower half is light where the label is 1: what a mirror or a crop leaves alone."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    images = generator.integers(60, 140, (count, 1, 24, 24))
    images[:, :, 12:] += 60 * labels[:, None, None, None]
    people = np.array([f"{seed}-{number // 2}" for number in range(count)])
    return LabelledFaces(images.astype(np.uint8), labels, ("dark", "light"), people, tuple(map(str, range(count))))


def test_each_contender_learns_each_share_and_the_result_tells_them_apart() -> None:
    recipe = Recipe(epochs=1, least_steps=30, batch_size=16, learning_rate=3e-3)
    chosen = contenders(TinyEncoder, lambda seed: TinyEncoder(seed=seed + 9), ("dark", "light"), recipe, network=None)
    assert [contender.name for contender in chosen] == ["encoder fine-tuned", "same from random weights"]
    assert chosen[0].recipe.layer_decay == 0.75 and chosen[1].recipe.layer_decay == 1
    train, test = bright_or_dark(160), bright_or_dark(60, seed=1)
    kept: list[str] = []
    results = compare_label_shares(
        chosen, train, test, [0.25, 1.0], 1, keep=lambda trained, network: kept.append(trained.name)
    )
    assert [(result.share, result.labels) for result in results] == [(0.25, 40), (0.25, 40), (1.0, 160), (1.0, 160)]
    assert kept == [result.name for result in results]
    summary = summarise(results, test.labels)
    for row in summary["rows"]:
        assert row["accuracy"] > 0.9 and row["interval"][0] < row["accuracy"] and row["n"] == 60
    again = compare_label_shares(chosen[:1], train, test, [0.25], 1)
    assert np.array_equal(again[0].predictions, results[0].predictions)


def test_test_faces_that_are_watched_choose_nothing() -> None:
    chosen = [Contender("mean", lambda seed: Brightness(), 16, Recipe(epochs=1, least_steps=12))]
    train, test = bright_or_dark(80), bright_or_dark(20, seed=1)
    (plain,), (watched,) = (compare_label_shares(chosen, train, test, [1.0], 1, watch_test=w) for w in (False, True))
    assert np.array_equal(plain.predictions, watched.predictions) and plain.best_on_test is None
    steps, accuracies = zip(*watched.fit.watched, strict=True)
    assert steps == (7, 8, 9, 10, 11, 12) and watched.fit.looks == () and watched.fit.chosen_step == 12
    assert watched.best_on_test == max(accuracies) and accuracies[-1] == (watched.predictions == test.labels).mean()


def test_people_are_held_out_only_where_there_are_enough_of_them() -> None:
    recipe = Recipe(epochs=1, least_steps=2)
    chosen = [Contender("mean", lambda seed: Brightness(), 16, recipe)]
    few, many = (
        compare_label_shares(chosen, bright_or_dark(count), bright_or_dark(20, seed=1), [1.0], 1)[0]
        for count in (80, 700)
    )
    assert few.fit.looks == () and many.fit.looks != ()


class Brightness(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(3, 2)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.output(pictures.mean((2, 3)))


def test_rows_say_accuracy_interval_and_share_and_gains_are_paired_face_by_face() -> None:
    truth = np.array([0, 1, 0, 1])
    fit = Fit(steps=5, seconds=1.0, looks=(), chosen_step=5)

    def trained(name: str, share: float, seed: int, *predictions: int) -> Trained:
        return Trained(name, share, seed, 8, fit, np.array(predictions))

    results = [
        trained("encoder fine-tuned", 1.0, 0, 0, 1, 0, 1),
        trained("encoder fine-tuned", 1.0, 1, 0, 1, 0, 0),
        trained("network from scratch", 1.0, 0, 0, 0, 0, 1),
        trained("network from scratch", 1.0, 1, 0, 0, 0, 0),
        trained("network from scratch", 0.01, 0, 0, 0, 1, 1),
    ]
    summary = summarise(results, truth)
    assert row_lines(summary) == [
        "network from scratch, 1 % of the labels accuracy 0.500 [0.150, 0.850] balanced 0.500 n 4",
        "encoder fine-tuned accuracy 0.875 ± 0.177 [0.510, 1.000] balanced 0.875 n 4",
        "network from scratch accuracy 0.625 ± 0.177 [0.150, 0.850] balanced 0.625 n 4",
        "encoder fine-tuned above network from scratch: +0.250 [+0.000, +0.750]",
    ]
    assert [row["best_on_test"] for row in summary["rows"]] == [None] * 3
    watched = dataclasses.replace(fit, watched=((3, 1.0), (5, 0.75)))
    (row,) = summarise([Trained("encoder fine-tuned", 1.0, 0, 8, watched, np.array([0, 1, 0, 0]))], truth)["rows"]
    assert row["best_on_test"] == 1.0 and row["accuracy"] == 0.75
    assert "balanced 0.750 (best look on the test faces, as FaRL reports: 1.000) n 4" in row_lines(
        {"rows": [row], "gains": []}
    )[0]
    by_people = summarise(results, truth, np.array(["a", "a", "a", "b"]))
    assert by_people["rows"][1]["interval"] == [0.5, 1.0]  # of the one person all are right, of the other half
    assert [row["accuracy"] for row in summary["rows"][1]["seeds"]] == [1.0, 0.75]


def test_the_network_from_scratch_is_small_and_averaged_weights_need_no_statistics() -> None:
    network = ResidualNetwork(2)
    assert 0.5e6 < sum(value.numel() for value in network.parameters()) < 1e6
    assert not list(network.buffers())
    assert network(torch.zeros(2, 3, 96, 96)).shape == (2, 2)
    assert NETWORK_RECIPE.layer_decay == 1


def test_random_pictures_differ_from_each_other_stay_in_range_and_follow_the_generator() -> None:
    images = torch.randint(0, 256, (6, 1, 24, 24), dtype=torch.uint8)
    views = RandomPictures(16)
    torch.manual_seed(3)
    first = views(images)
    torch.manual_seed(3)
    assert torch.equal(views(images), first) and not torch.equal(views(images), first)
    assert first.shape == (6, 3, 16, 16) and first.min() >= -1 and first.max() <= 1
    same = views(images[:1].expand(6, -1, -1, -1))
    assert not torch.equal(same[0], same[1])


def test_plain_pictures_are_the_bytes_and_averages_of_them() -> None:
    images = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(plain_pictures(images, 16), (images.float() / 127.5 - 1).expand(-1, 3, -1, -1))
    assert plain_pictures(torch.full((1, 3, 24, 24), 255, dtype=torch.uint8), 16).sub(1).abs().max() < 1e-5


@pytest.mark.parametrize(("size", "read"), [(16, 22), (96, 128), (128, 171)])
def test_faces_are_read_a_third_larger(size: int, read: int) -> None:
    assert training_size(size) == read
