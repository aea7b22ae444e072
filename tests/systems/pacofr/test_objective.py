"""PaCo-FR's objective: what its losses are of, what a weight of 0 leaves, and steps of several passes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gptface.faces.regions import REGIONS
from gptface.faces.token_regions import TOKEN_REGIONS
from gptface.objectives import (
    alignment_loss,
    code_activations,
    component_loss,
    incubation_loss,
    layout_loss,
    patch_loss,
    relation_loss,
)
from gptface.systems.pacofr import PaCoFR, PaCoFRConfig
from gptface.systems.pacofr.configuration import PaCoFRSection
from gptface.systems.pacofr.masking import PatchMask
from gptface.systems.pacofr.objective import COMPONENTS, MaskedFaces, PaCoFRObjective
from gptface.training.stage import Moment

PLAIN = {"incubation": 0.0, "relation": 0.0, "layout": 0.0, "alignment": 0.0, "components": 0.0}
ALL = {"incubation": 0.1, "relation": 0.3, "layout": 0.2, "alignment": 0.5, "components": 0.3}


def make_objective(
    losses: dict[str, float] | None = None,
    ratio: Any = 0.75,
    epochs: float = 1.0,
    regions: bool = True,
    **fields: Any,
) -> PaCoFRObjective:
    torch.manual_seed(0)
    section = PaCoFRSection(
        preset="tiny",
        losses={**PLAIN, **(losses or {})},
        masks={"ratio": ratio, "regions": regions},
        incubation_epochs=epochs,  # type: ignore[arg-type]
    )
    objective = PaCoFRObjective(PaCoFR(PaCoFRConfig.tiny(**fields)), section, steps_an_epoch=8.0)
    if objective.model.belief is not None:
        objective.model.belief.codebook.eval()  # codes that are revived between passes would hide what is tested
    return objective


def make_faces(faces: int, seed: int = 0, views: int = 2) -> MaskedFaces:
    """Noise with components anywhere: at least two patches of skin, and any number of each."""
    torch.manual_seed(seed)
    names = (*COMPONENTS, "skin")
    regions = torch.tensor([TOKEN_REGIONS.index(name) for name in names])[torch.randint(0, 5, (views * faces, 16))]
    regions[:, :2] = TOKEN_REGIONS.index("skin")
    ids = torch.arange(faces) + 1000 * seed
    images = torch.rand(views * faces, 3, 32, 32) * 2 - 1
    cells = torch.randint(len(REGIONS), (views * faces, 16, 16)).byte()
    return MaskedFaces(images, torch.cat([ids ^ (view << 62) for view in range(views)]), regions, cells)


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


def assert_alike(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()) + 1e-9, msg=name)


def test_the_loss_is_the_weighed_sum_of_its_parts() -> None:
    objective = make_objective(ALL)
    loss, parts = objective(make_faces(4), Moment(0, 0, 0.0))
    assert set(parts) == {
        "pixels", "relation", "layout", "masked_layout", "alignment", "components", "component_accuracy",
        "incubation", "code_usage", "code_perplexity", "belief_entropy", "leak",
    }  # fmt: skip
    weights = {"pixels": 1.0, "masked_layout": ALL["layout"], **ALL}
    wanted = torch.stack([weight * parts[name] for name, weight in weights.items()]).sum()
    torch.testing.assert_close(loss, wanted)
    assert parts["components"].item() > 0 and parts["relation"].item() > 0


@pytest.mark.parametrize("encodes", ["all", "visible"])
def test_each_part_is_what_it_says(encodes: str) -> None:
    objective, faces, moment = make_objective(ALL, encodes=encodes), make_faces(4), Moment(0, 0, 0.0)
    _, parts = objective(faces, moment)
    mask: PatchMask = moment.handover["mask"]
    out = objective.model(faces.images, mask)
    torch.testing.assert_close(parts["pixels"], patch_loss(out.predicted, out.targets))

    names = [TOKEN_REGIONS[region] for region in faces.regions.flatten().tolist()]
    labels = torch.tensor([COMPONENTS.index(name) if name in COMPONENTS else -1 for name in names]).view(8, 16)
    predicted = torch.zeros(8, 16, 192)
    predicted[mask.masked] = out.predicted
    wanted = relation_loss(predicted, out.truth, labels >= 0, mask.masked)
    torch.testing.assert_close(parts["relation"], wanted)

    assert objective.layout is not None and objective.masked_layout is not None and faces.cells is not None
    cells, visible = faces.cells.flatten(0, 1), ~mask.masked.flatten()
    told = objective.layout(out.features).unflatten(1, (16, -1))
    torch.testing.assert_close(parts["layout"], layout_loss(told, cells[visible]))
    told = objective.masked_layout(out.guesses).unflatten(1, (16, -1))
    torch.testing.assert_close(parts["masked_layout"], layout_loss(told, cells[~visible]))

    belief = objective.model.belief
    near = code_activations(faces.images, 8, belief.projection, belief.codebook.codebook.detach())
    assert objective.activations is not None
    wanted = alignment_loss(objective.activations(out.features), near.flatten(0, 1)[~mask.masked.flatten()])
    torch.testing.assert_close(parts["alignment"], wanted)

    features = torch.zeros(8, 16, 32)
    features[~mask.masked] = out.features
    means, seen = torch.zeros(8, 4, 32), torch.zeros(8, 4, dtype=torch.bool)
    for b in range(8):
        for g in range(4):
            own = features[b][(labels[b] == g) & ~mask.masked[b]]
            if len(own):
                means[b, g], seen[b, g] = own.mean(0), True
    assert objective.summary is not None
    loss, accuracy = component_loss(objective.summary(means), seen, 0.1)
    torch.testing.assert_close((parts["components"], parts["component_accuracy"]), (loss, accuracy))

    wanted = incubation_loss(
        out.beliefs.queries, belief.targets(out.targets), belief.codebook.codebook, belief.temperature
    )
    torch.testing.assert_close(parts["incubation"], wanted)
    entropy = -(out.beliefs.weights * out.beliefs.weights.log()).sum(1).mean()
    torch.testing.assert_close(parts["belief_entropy"], entropy)


@pytest.mark.parametrize("name", ["incubation", "relation", "layout", "alignment", "components"])
def test_a_weight_of_0_removes_a_loss_without_a_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No parameter, no work, and the other losses and gradients to the bit."""
    faces = make_faces(4)
    _, parts = make_objective(ALL)(faces, Moment(0, 0, 0.0))

    def unwanted(*arguments: Any) -> Any:
        raise AssertionError("computed all the same")

    functions = {
        "incubation": ("incubation_loss",),
        "relation": ("relation_loss", "relation_count"),
        "layout": ("layout_loss",),
        "alignment": ("alignment_loss", "code_activations"),
        "components": ("component_loss", "component_means", "component_count", "components_seen"),
    }
    for function in functions[name]:
        monkeypatch.setattr(f"gptface.systems.pacofr.objective.{function}", unwanted)
    without = make_objective({**ALL, name: 0.0})
    moment = Moment(0, 0, 0.0)
    counts = without.counts(faces, moment)
    loss, rest = without(faces, moment)
    assert counts.shape == (4,)
    beside = {"components": {"component_accuracy"}, "layout": {"masked_layout"}}
    assert set(parts) - set(rest) == {name} | beside.get(name, set())
    assert all(torch.equal(value, parts[key]) for key, value in rest.items())
    assert {key for key, value in gradients(without, loss).items()} == {key for key, _ in without.named_parameters()}
    for head, loss_name in (("summary", "components"), ("activations", "alignment"), ("layout", "layout")):
        assert any(key.startswith(head) for key, _ in without.named_parameters()) == (name != loss_name)


def test_a_loss_that_is_gone_leaves_the_gradients_of_the_others_to_the_bit() -> None:
    faces = make_faces(4)
    plain, faded = make_objective(), make_objective({"incubation": 0.1})
    one = gradients(plain, plain(faces, Moment(16, 16, 0.5))[0])
    other = gradients(faded, faded(faces, Moment(16, 16, 0.5))[0])  # two epochs: the incubation is over
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_without_regions_neither_masks_nor_losses_look_for_them() -> None:
    objective = make_objective({"incubation": 0.1}, regions=False)
    faces = dataclasses.replace(make_faces(2, views=1), regions=None, cells=None)
    moment = Moment(0, 0, 0.0)
    assert objective.counts(faces, moment).tolist() == [24, 8, 0, 0]
    loss, parts = objective(faces, moment)
    assert loss.isfinite() and set(parts) == {
        "pixels", "incubation", "code_usage", "code_perplexity", "belief_entropy"
    }  # fmt: skip


# Incubation ----------------------------------------------------------------------------------------------------------


def test_incubation_is_full_for_its_epochs_and_fades_over_as_many() -> None:
    objective = make_objective({"incubation": 0.4}, epochs=2.0)  # of 8 steps each
    weights = [objective.incubation(Moment(step, 0, 0.0)) for step in (0, 8, 16, 20, 24, 28, 32, 100)]
    assert weights == pytest.approx([0.4, 0.4, 0.4, 0.3, 0.2, 0.1, 0, 0])


def test_all_passes_of_a_step_agree_on_the_incubation() -> None:
    """Passes of other processes and accumulated ones are numbered on; a loss that only some have cannot be logged."""
    objective = make_objective({"incubation": 0.4})
    at_the_edge = [objective.incubation(Moment(15, 15 * 4 + number, 0.0)) for number in range(4)]
    assert len(set(at_the_edge)) == 1 and at_the_edge[0] > 0
    assert {objective.incubation(Moment(16, 64 + number, 0.0)) for number in range(4)} == {0.0}


def test_no_incubation_without_beliefs_or_epochs_or_training() -> None:
    assert make_objective({"incubation": 0.4}, codes="random").incubation(Moment(0, 0, 0.0)) == 0
    assert make_objective({"incubation": 0.4}, epochs=0.0).incubation(Moment(0, 0, 0.0)) == 0
    held_out = make_objective(ALL).eval()
    assert not {"incubation", "components"} & set(held_out(make_faces(4, views=1), Moment(0, 0, 0.0))[1])


# Steps of several passes ---------------------------------------------------------------------------------------------


def uneven_passes() -> list[tuple[MaskedFaces, Moment]]:
    """Two passes of unequal numbers of faces, of components' patches and, by a range of ratios, of masked patches."""
    first, second = make_faces(4, seed=1), make_faces(9, seed=2)
    first.regions[:, 12:] = TOKEN_REGIONS.index("skin")
    return [(first, Moment(3, 6, 0.5)), (second, Moment(3, 7, 0.5))]


def by_definition(objective: PaCoFRObjective, passes: list[tuple[MaskedFaces, Moment]]) -> Tensor:
    """Every loss over all its targets at once; a component's negatives, and the spread of activations, are a pass's."""
    losses = objective.section.losses
    sums: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    for faces, moment in passes:
        mask = objective.mask(faces, moment)
        out = objective.model(faces.images, mask)
        _, parts = objective(faces, Moment(moment.step, moment.micro_step, moment.share))
        visible, pairs, both = objective.counts(faces, moment)[1:].tolist()
        masked = float(len(out.targets))
        assert visible == len(out.features)
        named = {
            "pixels": masked, "relation": pairs, "layout": visible, "masked_layout": masked, "alignment": visible,
            "components": both, "incubation": masked,
        }  # fmt: skip
        for name, count in named.items():
            sums[name] = sums.get(name, torch.zeros(())) + parts[name] * count
            numbers[name] = numbers.get(name, 0.0) + count
    weights = {"pixels": 1.0, "masked_layout": losses.layout, **losses.model_dump()}
    return sum((weights[name] * sums[name] / numbers[name] for name in sums), torch.zeros(()))


@pytest.mark.parametrize("ratio", [0.5, (0.3, 0.9)])
@pytest.mark.parametrize("encodes", ["all", "visible"])
def test_accumulated_passes_give_the_gradient_of_the_whole_step(encodes: str, ratio: Any) -> None:
    objective = make_objective({**ALL, "relation": 3.0}, ratio, encodes=encodes)
    passes = uneven_passes()
    wanted = by_definition(objective, passes)
    wanted_gradients = gradients(objective, wanted)

    counts = torch.stack([objective.counts(faces, moment) for faces, moment in passes])
    assert (counts[0] < counts[1]).all() and (counts > 0).all()
    for _, moment in passes:
        moment.counts = counts.mean(0)
    loss = torch.stack([objective(faces, moment)[0] for faces, moment in passes]).mean()
    torch.testing.assert_close(loss, wanted)
    assert_alike(gradients(objective, loss), wanted_gradients)

    # The mean of the passes' own means is something else.
    apart = torch.stack([objective(faces, dataclasses.replace(moment, counts=None))[0] for faces, moment in passes])
    assert abs(float((apart.mean() - wanted).detach())) > 1e-3


def test_incubation_of_many_patches_looks_at_some_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fourth patch stands for those between, also in a step of several passes."""
    objective, faces, moment = make_objective({"incubation": 1.0}), make_faces(6), Moment(0, 0, 0.0)
    full = objective(faces, moment)[1]["incubation"]
    monkeypatch.setattr("gptface.systems.pacofr.objective.INCUBATED", 40)  # of 144
    some = objective(faces, moment)[1]["incubation"]
    out = objective.model(faces.images, moment.handover["mask"])
    belief = objective.model.belief
    wanted = incubation_loss(
        out.beliefs.queries[::4], belief.targets(out.targets[::4]), belief.codebook.codebook, belief.temperature
    )
    torch.testing.assert_close(some, wanted)
    assert some.item() != full.item()
    moment.counts = torch.tensor([144.0 * 2, 1, 1, 1])
    torch.testing.assert_close(objective(faces, moment)[1]["incubation"], wanted / 2)


# Padding and the leak ------------------------------------------------------------------------------------------------


def test_places_without_a_patch_change_no_loss_and_no_gradient() -> None:
    """What a GPU's masks look like under a range of ratios."""
    faces, found = make_faces(4), []
    for padding in (0, 9):
        objective, moment = make_objective(ALL, (0.3, 0.9)), Moment(0, 0, 0.0)
        mask = objective.mask(faces, moment)
        more = torch.full((padding,), -1)
        moment.handover["mask"] = dataclasses.replace(
            mask,
            masked_rows=torch.cat([mask.masked_rows, more]),
            visible_rows=torch.cat([mask.visible_rows, more]),
            padded=padding > 0,
        )
        loss, parts = objective(faces, moment)
        found.append((parts, gradients(objective, loss)))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-5)
    assert_alike(found[1][1], found[0][1])


def test_the_leak_is_left_out_where_too_few_patches_tell() -> None:
    """Rather than a NaN in the log; whether it is there follows from the size of the batch alone."""
    objective = make_objective({"incubation": 0.1}, regions=False)
    for faces, known in ((5, False), (6, True)):  # 12 patches of each, for 16 numbers of a token
        parts = objective(make_faces(faces, views=1), Moment(0, 0, 0.0))[1]
        assert ("leak" in parts) == known
        assert all(value.isfinite() for value in parts.values())
