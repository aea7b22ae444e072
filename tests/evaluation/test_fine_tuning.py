"""Fine-tuning: rates by depth, averaged weights, and a choice that only the held-out score makes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.evaluation.classifier import PatchClassifier
from gptface.evaluation.fine_tuning import Recipe, batch_of, fit, layer_depths, parameter_groups, planned_steps
from tests.helpers.tiny_encoder import TinyEncoder


def test_depth_counts_from_the_embedding_over_the_layers_to_what_follows_them() -> None:
    depths, last = layer_depths(TinyEncoder())
    assert last == 3
    assert depths["embed.projection.weight"] == 0 and depths["norm.bias"] == 3
    assert {depths[name] for name in depths if name.startswith("layers.0.")} == {1}
    assert {depths[name] for name in depths if name.startswith("layers.1.")} == {2}
    assert layer_depths(nn.Linear(2, 2)) == ({"weight": 0, "bias": 0}, 0)


def test_earlier_layers_get_smaller_rates_and_vectors_no_decay() -> None:
    classifier = PatchClassifier(TinyEncoder(), ["a", "b"])
    recipe = Recipe(layer_decay=0.5, weight_decay=0.1)
    groups = parameter_groups(classifier, classifier.encoder, recipe)
    found = {id(value): (group["scale"], group["weight_decay"]) for group in groups for value in group["params"]}
    names = dict(classifier.named_parameters())
    assert len(found) == len(names)
    assert found[id(names["output.weight"])] == (1.0, 0.1)
    assert found[id(names["encoder.norm.weight"])] == (0.5, 0.0)
    assert found[id(names["encoder.layers.1.expand.weight"])] == (0.25, 0.1)
    assert found[id(names["encoder.layers.0.expand.bias"])] == (0.125, 0.0)
    assert found[id(names["encoder.embed.projection.weight"])] == (0.0625, 0.1)


@given(st.integers(1, 5000), st.floats(0.5, 20), st.integers(1, 100))
def test_steps_make_the_epochs_or_the_least_number(rows: int, epochs: float, least: int) -> None:
    recipe = Recipe(epochs=epochs, least_steps=least)
    steps, batch = planned_steps(recipe, rows), batch_of(recipe, rows)
    assert 1 <= batch <= min(64, rows)
    assert steps >= least and steps * batch >= epochs * rows
    assert steps == least or (steps - 1) * batch < epochs * rows


class Number(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


def test_every_row_is_seen_as_often_as_the_epochs_say_and_the_seed_gives_the_order() -> None:
    def run(seed: int) -> tuple[list[int], float]:
        seen: list[int] = []
        module = Number()

        def loss(rows: Tensor) -> Tensor:
            seen.extend(rows.tolist())
            return (module.value - torch.rand(())).square()

        fit(module, Recipe(epochs=3, least_steps=1, batch_size=16), 32, loss, None, seed=seed)
        return seen, float(module.value.detach())

    before = torch.get_rng_state()
    seen, value = run(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert sorted(seen) == sorted(list(range(32)) * 3)
    assert run(1) == (seen, value) and run(2) != (seen, value)


def test_the_weights_that_the_held_out_rows_liked_best_are_kept() -> None:
    module = Number()
    scores: list[float] = []

    def held_out() -> float:  # best in the middle of the looks
        scores.append(abs(len(scores) - 3))
        values.append(float(module.value.detach()))
        return scores[-1]

    values: list[float] = []
    recipe = Recipe(epochs=1, least_steps=64, batch_size=16, averaging=0.9, warm_up=0)
    result = fit(module, recipe, 16, lambda rows: -module.value, held_out)
    assert len(result.looks) == 8 and result.looks[-1][0] == result.steps == 64
    assert min(step for step, _ in result.looks) > 32
    assert result.chosen_step == result.looks[3][0]
    assert float(module.value.detach()) == values[3] < values[-1]
    assert not module.training


def test_the_weights_that_it_began_with_may_be_the_best() -> None:
    module = Number()

    def held_out() -> float:
        return float(module.value.detach())

    result = fit(module, Recipe(least_steps=40), 16, lambda rows: -module.value, held_out, look_first=True)
    assert result.looks[0][0] == 0 and len(result.looks) == 9
    assert result.chosen_step == 0 and float(module.value.detach()) == 0


def test_without_held_out_rows_the_averaged_last_weights_are_kept() -> None:
    averaged, plain = Number(), Number()
    for module, averaging in ((averaged, 0.9), (plain, 0.0)):
        result = fit(module, Recipe(least_steps=20, averaging=averaging), 16, lambda rows, m=module: -m.value, None)
        assert result.chosen_step == result.steps and result.looks == ()
    assert 0 < float(averaged.value.detach()) < float(plain.value.detach())


def test_the_clock_ends_a_training_before_its_steps_do() -> None:
    module = Number()
    result = fit(module, Recipe(least_steps=10**6, minutes=0.002), 16, lambda rows: module.value.square(), None)
    assert result.steps < 10**6 and result.seconds < 5


def test_what_cannot_train_is_refused() -> None:
    module = Number()
    with pytest.raises(InputError, match="learning_rate: the loss of it is nan"):
        fit(module, Recipe(), 16, lambda rows: module.value * math.nan, None, title="it")
    for name in ("epochs", "learning_rate", "minutes"):
        with pytest.raises(InputError, match=f"{name}: got -1"):
            Recipe(**{name: -1})
    with pytest.raises(InputError, match="layer_decay: got 2"):
        Recipe(layer_decay=2)
