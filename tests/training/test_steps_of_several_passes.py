"""A step of several forward passes has the gradient of all its targets together, however unequally they are dealt.

The right values are those of one batch that holds the passes' targets side by side, divided by their number there.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.models import FaceTokenizer
from gptface.models.discriminator import PatchDiscriminator
from gptface.objectives import gathered_cross_entropy, match_loss, parsing_counts, parsing_losses, reconstruction_counts
from gptface.systems.gptface.configuration import Configuration, TokenizerLossWeights
from gptface.systems.gptface.objective import PretrainingObjective, StepCounts
from gptface.systems.gptface.stages import PRETRAIN
from gptface.systems.gptface.tokenizer_training import TokenizerObjective, WeightedImages
from gptface.training.checkpoint import checkpoint_folders, load_checkpoint
from gptface.training.run import run_stage
from gptface.training.stage import Moment
from tests.helpers.tiny_runs import launch, tiny
from tests.systems.gptface.test_objective import ALIGNED, make_objective, make_pairs


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


def assert_alike(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """To rounding: an error in a normaliser moves gradients by a share, not by 1e-5 of it."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()) + 1e-9, msg=name)


def test_one_masked_token_in_the_first_pass_and_eight_in_the_second() -> None:
    """The program that showed the fault; passed over the step's mean number, each of the nine tokens weighs alike."""
    torch.manual_seed(0)
    head, hidden = nn.Linear(16, 50), torch.randn(2, 8, 16)
    rows = [torch.tensor([0]), torch.arange(8)]
    labels = [torch.randint(50, (len(row),)) for row in rows]
    chosen = torch.cat([hidden[0, rows[0]], hidden[1, rows[1]]])
    wanted = functional.cross_entropy(head(chosen), torch.cat(labels))
    mean = torch.tensor((1 + 8) / 2)
    passes = [
        gathered_cross_entropy(hidden[i : i + 1], rows[i], labels[i], head, normaliser=mean)[0] / 2 for i in range(2)
    ]
    torch.testing.assert_close(passes[0] + passes[1], wanted)
    assert_alike(gradients(head, passes[0] + passes[1]), gradients(head, wanted))


def test_a_batch_without_targets_has_loss_zero_and_gradients_zero() -> None:
    head, hidden = nn.Linear(16, 50), torch.randn(2, 8, 16, requires_grad=True)
    for positions in (torch.empty(0, dtype=torch.int64), torch.full((3,), -1)):
        for normaliser in (None, torch.tensor(0.0), torch.tensor(2.5)):
            loss, accuracy = gathered_cross_entropy(
                hidden, positions, torch.zeros_like(positions), head, normaliser=normaliser
            )
            assert loss == 0 and accuracy == 0
            assert not any(value.any() for value in gradients(head, loss).values())
            assert hidden.grad is not None and not hidden.grad.any()
    for weights in (None, torch.empty(0)):
        loss, accuracy = match_loss(head(hidden)[0, :0, :2], torch.empty(0), weights)
        assert loss == 0 and accuracy == 0


# Pre-training --------------------------------------------------------------------------------------------------------


def uneven_passes(objective: PretrainingObjective) -> list[tuple[Any, Moment]]:
    """Three passes whose captions are long, short and absent."""
    passes = []
    for number, longest in enumerate((9, 2, 0)):
        pairs = make_pairs(16, seed=number)
        pairs.text_lengths.clamp_(max=longest)
        pairs.sample_ids += 100 * number
        passes.append((pairs, Moment(5, 15 + number, 0.5)))
    return passes


def by_definition(objective: PretrainingObjective, passes: list[tuple[Any, Moment]]) -> Tensor:
    """Every loss over the targets of all passes at once, by torch's own cross-entropy."""
    model, weights = objective.model, objective.section.losses
    logits: dict[str, list[Tensor]] = {}
    labels: dict[str, list[Tensor]] = {}
    contrast = []
    for pairs, moment in passes:
        batch = objective.compose(pairs, moment)
        hidden = model.forward_sequence(batch.sequence)
        flat = hidden.flatten(0, 1)
        for name, targets, project in (
            ("masked_image", batch.masked_image, model.image_logits),
            ("masked_text", batch.masked_text, model.text_logits),
            ("text_to_image", batch.next_image, model.image_logits),
            ("image_to_text", batch.next_text, model.text_logits),
        ):
            chosen = targets.positions >= 0
            logits.setdefault(name, []).append(project(flat[targets.positions[chosen]]))
            labels.setdefault(name, []).append(targets.labels[chosen])
        verdicts = model.match_logits(torch.cat([hidden[: batch.masked], hidden[len(hidden) - batch.mismatched :]]))
        for label, name in ((1, "matches"), (0, "mismatches")):
            kept = batch.match_valid & (batch.match_labels == label)
            logits.setdefault(name, []).append(verdicts[kept])
            labels.setdefault(name, []).append(batch.match_labels[kept])
        if weights.contrastive:
            count = int((pairs.text_lengths > 0).sum())
            contrast.append((objective._contrast(pairs, moment, None)[0] * count, count))
    means = {name: functional.cross_entropy(torch.cat(logits[name]), torch.cat(labels[name])) for name in logits}
    loss = means["masked_image"] + weights.masked_text * means["masked_text"]
    loss = loss + weights.text_to_image * means["text_to_image"] + weights.image_to_text * means["image_to_text"]
    loss = loss + weights.matching * (means["matches"] + means["mismatches"]) / 2
    if contrast:
        loss = loss + weights.contrastive * sum(total for total, _ in contrast) / sum(count for _, count in contrast)
    return loss


@pytest.mark.parametrize("aligned", [False, True])
def test_accumulated_passes_give_the_gradient_of_the_whole_step(aligned: bool) -> None:
    settings: dict[str, Any] = {**ALIGNED, "contrastive": {}} if aligned else {"caption_dropout": 0.0}
    objective = make_objective(matching={"hard_share": 0.0}, **settings)
    passes = uneven_passes(objective)
    wanted = by_definition(objective, passes)
    wanted_gradients = gradients(objective, wanted)

    counts = torch.stack([objective.counts(pairs, moment) for pairs, moment in passes])
    mean = counts.mean(0)
    assert counts.shape == (3, len(StepCounts._fields)) and counts[:, 1].tolist() != [counts[0, 1].item()] * 3
    losses = []
    for pairs, moment in passes:
        moment.counts = mean
        losses.append(objective(pairs, moment)[0])
        assert not moment.handover  # the composed batch was taken
    loss = torch.stack(losses).mean()
    torch.testing.assert_close(loss, wanted)
    assert_alike(gradients(objective, loss), wanted_gradients)

    # The mean of the passes' own means, which is what was wrong, is something else.
    apart = torch.stack([objective(pairs, dataclasses.replace(moment, counts=None))[0] for pairs, moment in passes])
    assert abs(float((apart.mean() - wanted).detach())) > 1e-2


def test_towers_that_learn_alone_weigh_pairs_alike() -> None:
    objective = make_objective(**{**ALIGNED, "contrastive": {"alone": 0.9}})
    passes = uneven_passes(objective)
    counts = torch.stack([objective.counts(pairs, moment) for pairs, moment in passes])
    assert counts[:, -1].tolist() == [16, 16, 0]
    wanted = sum(objective._contrast(pairs, moment, None)[0] for pairs, moment in passes[:2]) / 2
    losses = []
    for pairs, moment in passes:
        moment.counts = counts.mean(0)
        losses.append(objective(pairs, moment)[1]["contrastive"])
    torch.testing.assert_close(torch.stack(losses).mean(), wanted)


# The parser and the tokenizer ----------------------------------------------------------------------------------------


def test_parsing_losses_of_unequal_parts_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    head = nn.Conv2d(4, 5 + 3 + 6, 1)
    inputs = torch.randn(6, 4, 8, 8)
    regions = torch.randint(0, 5, (6, 8, 8))
    regions[:2] = 0
    regions[2, :4] = -1
    attributes = torch.randint(0, 2, (6, 3)).float()
    attributes[:3, 1:] = -1
    expressions = torch.tensor([1, -1, -1, 2, 5, 0])
    weights = torch.tensor([0.2, 1.0, 3.0, 4.0, 0.5])

    def loss(rows: slice, counts: Tensor | None) -> Tensor:
        out = head(inputs[rows])
        pooled = out.mean((2, 3))
        return parsing_losses(
            out[:, :5], pooled[:, 5:8], pooled[:, 8:], regions[rows], attributes[rows], expressions[rows],
            region_weights=weights, counts=counts,
        )["total"]  # fmt: skip

    out = head(inputs)
    pooled, known = out.mean((2, 3)), attributes >= 0
    wanted = functional.cross_entropy(out[:, :5], regions, weights, ignore_index=-1)
    wanted = wanted + functional.binary_cross_entropy_with_logits(pooled[:, 5:8][known], attributes[known])
    wanted = wanted + functional.cross_entropy(pooled[:, 8:], expressions, ignore_index=-1)
    parts = [slice(0, 1), slice(1, 3), slice(3, 6)]
    counts = torch.stack(
        [parsing_counts(regions[rows], attributes[rows], expressions[rows], weights) for rows in parts]
    )
    found = sum(loss(rows, counts.mean(0)) for rows in parts) / 3
    torch.testing.assert_close(found, wanted)
    assert_alike(gradients(head, found), gradients(head, wanted))


@pytest.mark.parametrize("weighted", [False, True])
def test_tokenizer_passes_of_unequal_size_and_importance_are_those_of_the_whole(weighted: bool) -> None:
    torch.manual_seed(0)
    configuration = Configuration.model_validate({"data": {"image_size": 32}, "tokenizer": {"preset": "tiny"}})
    tokenizer = FaceTokenizer(configuration.tokenizer_config()).train()
    for module in tokenizer.modules():
        if hasattr(module, "decay"):
            module.eval()  # codes that move between passes would hide what is tested
    discriminator = PatchDiscriminator(8)
    losses = TokenizerLossWeights(adversarial=0.5, adversarial_start=0.9)
    objective = TokenizerObjective(tokenizer, losses, discriminator)
    images = torch.rand(6, 3, 32, 32) * 2 - 1
    importance = 1 + 8 * (torch.rand(6, 1, 32, 32) < torch.linspace(0, 0.5, 6).view(6, 1, 1, 1)) if weighted else None

    def batch(rows: slice) -> WeightedImages:
        return WeightedImages(images[rows], None if importance is None else importance[rows])

    wanted, _ = objective(batch(slice(0, 6)), Moment(0, 0, 0.0))
    wanted_gradients = gradients(tokenizer, wanted)
    parts = [slice(0, 1), slice(1, 2), slice(2, 6)]
    counts = torch.stack(
        [
            torch.cat([torch.tensor([float(len(part.images))]), reconstruction_counts(part.images, part.importance)])
            for part in map(batch, parts)
        ]
    )
    found = [objective(batch(rows), Moment(0, 0, 0.0, counts.mean(0)))[0] for rows in parts]
    torch.testing.assert_close(torch.stack(found).mean(), wanted, rtol=1e-5, atol=1e-6)
    assert_alike(gradients(tokenizer, torch.stack(found).mean()), wanted_gradients)


# Processes -----------------------------------------------------------------------------------------------------------

STEPS = (
    "pretrain.steps=4",
    "pretrain.batch_size=8",
    "pretrain.log_every=1",
    "pretrain.caption_dropout=0",  # drawn by each process's own generator
    "pretrain.text_mask_ratio=0.5",
    "pretrain.losses.contrastive=1",
    "pretrain.model={alignment_size: 16}",
    "pretrain.ema_decay=0",
    "data.flip=true",
)


@pytest.mark.slow
def test_two_processes_learn_what_two_accumulated_passes_do(
    face_cache: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """The same samples, masks, losses and weights; by the test above, those of the whole step."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    process = launch(2, "pretrain", tiny(face_cache, *STEPS), together, "--tokenizer", str(tokenizer_folder))
    assert process.wait(timeout=300) == 0, (tmp_path / "together.log").read_text()
    run_stage(
        PRETRAIN, tiny(face_cache, *STEPS, "pretrain.accumulation=2"), alone, verbose=False, tokenizer=tokenizer_folder
    )
    for name in ("loss", "masked_text", "image_to_text", "matching", "contrastive", "gradient_norm"):
        found, wanted = (
            [json.loads(line)[name] for line in (folder / "metrics.jsonl").read_text().splitlines()]
            for folder in (together, alone)
        )
        torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=2e-4, atol=2e-5, msg=name)
    states = [load_checkpoint(checkpoint_folders(folder / "checkpoints")[-1]) for folder in (together, alone)]
    first, second = (state.shared["modules"][0] for state in states)
    for name, value in first.items():
        # Adam's first steps turn rounding of small gradients into its rate, 1e-3 a step.
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=2e-4, msg=name)
