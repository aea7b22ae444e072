"""Our drop-ins beside the originals themselves, where they are installed: same states and inputs, 50 training steps.

Without them, ``test_lucidrains.py`` and ``test_taming.py`` hold the drop-ins to the formulas, written out densely.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gptface.integrations.lucidrains import VectorQuantize
from gptface.integrations.taming import VectorQuantizer2
from gptface.ops import ResidualVectorQuantizer
from tests.integrations.quantizer_twins import (
    DIM,
    SIZE,
    STEPS,
    assert_states,
    batch,
    compare,
    draw,
    draw_as_we_do,
    train_both,
)  # fmt: skip

LUCIDRAINS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"use_cosine_sim": True},
    "straight through": {"rotation_trick": False},
    "rotation": {"rotation_trick": True, "commitment_weight": 0.3},
    "slow average": {"decay": 0.99, "eps": 1e-3},
    "heads share a codebook": {"heads": 2, "codebook_dim": 4},
    "a codebook a head": {"heads": 2, "codebook_dim": 6, "separate_codebook_per_head": True},
    "projected": {"codebook_dim": 5},
    "image": {"accept_image_fmap": True},
    "channels first": {"channel_last": False},
    "frozen": {"freeze_codebook": True},
    "learnable": {"learnable_codebook": True, "ema_update": False},
    "k-means": {"kmeans_init": True},
    "k-means, cosine": {"kmeans_init": True, "use_cosine_sim": True},
    "dead codes": {"threshold_ema_dead_code": 1.5},
    "dead codes, cosine": {"threshold_ema_dead_code": 1.5, "use_cosine_sim": True},
    "k-means and dead codes": {"kmeans_init": True, "threshold_ema_dead_code": 2},
    "an average that stays": {"decay": 1.0},
    "volume": {"accept_3d_fmap": True},
    "directional": {"directional_reparam": True, "threshold_ema_dead_code": 1.5},
    "directional, nearly without noise": {
        "directional_reparam": True,
        "directional_reparam_variance": 1e-6,
        "threshold_ema_dead_code": 1.5,
    },
    "learnable, dead codes": {"learnable_codebook": True, "ema_update": False, "threshold_ema_dead_code": 1.5},
    "learnable by what is made of the codes": {
        "learnable_codebook": True,
        "ema_update": False,
        "route_gradients_to_input": False,
    },
    "neither average nor gradient": {"ema_update": False, "threshold_ema_dead_code": 1.5},
    "normed after projection": {"codebook_dim": 5, "layernorm_after_project_in": True},
    "drawn codes": {"stochastic_sample_codes": True, "sample_codebook_temp": 0.5},
    "drawn codes, cosine": {"stochastic_sample_codes": True, "use_cosine_sim": True},
}

# What the forward call takes, by step: vectors' masks, and how the codebook learns.
CALLS: dict[str, tuple[dict[str, Any], Callable[[int], dict[str, Any]]]] = {
    "lengths": ({}, lambda step: {"lens": torch.tensor([15, 3 + step % 9, 0, 7])}),
    "lengths, padding kept": ({"return_zeros_for_masked_padding": False}, lambda step: {"lens": torch.arange(4) + 9}),
    "weighed updates": ({}, lambda step: {"ema_update_weight": draw(SIZE, seed=step).sigmoid()}),
    "weighed updates, by head": (
        {"heads": 2, "codebook_dim": 4, "separate_codebook_per_head": True},
        lambda step: {"ema_update_weight": draw(2, SIZE, seed=step).sigmoid()},
    ),
    "updates weighed by a function": (
        {"use_cosine_sim": True},
        lambda step: {"ema_update_weight": lambda sums, sizes: sizes / (1 + sizes) + 0 * sums.sum(-1)},
    ),
    "gathered updates": ({"threshold_ema_dead_code": 1.5}, lambda step: {"accum_ema_update": step % 3 != 2}),
    "gathered and weighed": (
        {},
        lambda step: {"accum_ema_update": step % 3 != 2, "ema_update_weight": draw(SIZE, seed=step).sigmoid()},
    ),
    "no update now and then": ({}, lambda step: {"ema_update": step % 2 == 0}),
    "no update now and then, dead codes": (
        {"threshold_ema_dead_code": 1.5},
        lambda step: {"ema_update": step % 2 == 0},
    ),
    "frozen now and then": ({}, lambda step: {"freeze_codebook": step % 2 == 0}),
    "learnable, frozen now and then": (
        {"learnable_codebook": True, "ema_update": False},
        lambda step: {"freeze_codebook": step % 2 == 0},
    ),
    "parts of the loss": ({"commitment_weight": 0.3}, lambda step: {"return_loss_breakdown": True}),
    "temperature": ({"stochastic_sample_codes": True}, lambda step: {"sample_codebook_temp": 0.1 * (step % 3)}),
    "candidates": ({}, lambda step: {"topk": 3}),
    "candidates, cosine": ({"use_cosine_sim": True, "commitment_weight": 0.3}, lambda step: {"topk": 3}),
    "candidates of a learnable codebook": ({"learnable_codebook": True, "ema_update": False}, lambda step: {"topk": 2}),
    "candidates, projected": ({"codebook_dim": 5, "rotation_trick": False}, lambda step: {"topk": 2}),
    "candidates of an image": ({"accept_image_fmap": True}, lambda step: {"topk": 2}),
    "candidates, channels first": ({"channel_last": False}, lambda step: {"topk": 2}),
    "candidates with padding": ({}, lambda step: {"topk": 2, "mask": draw(4, 15, seed=1000 + step) > -0.5}),
    "more candidates than codes": ({}, lambda step: {"topk": SIZE + 3}),
    # Frozen: there the gradient of this loss reads a moving codebook only after it has moved.
    "given codes": (
        {"freeze_codebook": True},
        lambda step: {"indices": (draw(4, 15, seed=step) * 100).long() % (SIZE + 1) - 1},
    ),
    "given codes, cosine": (
        {"use_cosine_sim": True, "freeze_codebook": True},
        lambda step: {"indices": (draw(4, 15, seed=step) * 100).long() % SIZE},
    ),
    "given codes, learnable": (
        {"learnable_codebook": True, "ema_update": False},
        lambda step: {"indices": (draw(4, 15, seed=step) * 100).long() % SIZE},
    ),
}


def twins(options: dict[str, Any]) -> tuple[VectorQuantize, Any, list[torch.optim.Optimizer]]:
    library = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = library.VectorQuantize(DIM, SIZE, **options)
    ours = VectorQuantize(DIM, SIZE, **options)
    ours.load_state_dict(theirs.state_dict())
    draw_as_we_do(theirs, ours)
    # projections, and the codebook where it is learned
    trained = [module for module in (ours, theirs) if list(module.parameters())]
    return ours, theirs, [torch.optim.SGD(module.parameters(), 0.1) for module in trained]


@pytest.mark.parametrize("kind", LUCIDRAINS)
def test_vector_quantize_pytorch(kind: str) -> None:
    options = LUCIDRAINS[kind]
    ours, theirs, optimizers = twins(options)
    for step in range(STEPS):
        train_both(ours, theirs, optimizers, batch(options, step), {})
        assert_states(ours, theirs, step)
    ours.eval()
    theirs.eval()
    for seed in range(100, 103):
        compare(ours(batch(options, seed)), theirs(batch(options, seed)))
    assert_states(ours, theirs, STEPS)
    theirs.load_state_dict(ours.state_dict())  # and the way back


@pytest.mark.parametrize("kind", CALLS)
def test_calls_of_vector_quantize_pytorch(kind: str) -> None:
    options, call = CALLS[kind]
    ours, theirs, optimizers = twins(options)
    for step in range(STEPS):
        x = batch(options, step)
        found, _ = train_both(ours, theirs, optimizers, x, call(step))
        if "topk" in call(step):
            for module in (ours, theirs):
                module.update_indices(x, found[1][..., 0], mask=call(step).get("mask"))
        assert_states(ours, theirs, step)
    ours.eval()
    theirs.eval()
    for seed in range(100, 103):
        compare(ours(batch(options, seed), **call(0)), theirs(batch(options, seed), **call(0)))


@pytest.mark.parametrize("cosine", [False, True])
def test_codes_of_vector_quantize_pytorch_moved_by_hand(cosine: bool) -> None:
    ours, theirs, optimizers = twins({"manual_ema_update": True, "use_cosine_sim": cosine})
    for step in range(STEPS):
        train_both(ours, theirs, optimizers, batch({}, step), {})
        if step % 4 == 3:
            ours._codebook.update_ema()
            theirs._codebook.update_ema()
        assert_states(ours, theirs, step)


@pytest.mark.parametrize("cosine", [False, True])
def test_vector_quantize_pytorch_with_padding(cosine: bool) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = library.VectorQuantize(DIM, SIZE, use_cosine_sim=cosine)
    ours = VectorQuantize(DIM, SIZE, use_cosine_sim=cosine)
    ours.load_state_dict(theirs.state_dict())
    for step in range(STEPS):
        x, mask = batch({}, step), draw(4, 15, seed=1000 + step) > -0.5
        found, expected = ours(x, mask=mask), theirs(x, mask=mask)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
        assert torch.equal(found[1][mask], expected[1][mask])
        loss = expected[2].sum()
        if (
            cosine
        ):  # there, with a mask, unit codes are compared with vectors as they came; here both are of unit length
            loss = torch.nn.functional.mse_loss(expected[0], torch.nn.functional.normalize(x, dim=-1), reduction="none")
            loss = loss[mask].mean()
        torch.testing.assert_close(found[2], loss, rtol=1e-4, atol=1e-5)
        assert_states(ours, theirs, step)


def test_residual_form_of_vector_quantize_pytorch() -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = library.ResidualVQ(dim=DIM, codebook_size=SIZE, num_quantizers=3)
    ours = ResidualVectorQuantizer(DIM, SIZE, 3, commitment_weight=1.0, decay=0.8, kmeans_init=False, revive_below=0.0)
    for stage, layer in zip(ours.stages, theirs.layers, strict=True):
        stage.weight.copy_(layer._codebook.embed[0])
        stage.cluster_sum.copy_(layer._codebook.embed_avg[0])
        stage.cluster_size.copy_(layer._codebook.cluster_size[0])
    for step in range(STEPS):
        found, expected = ours(batch({}, step)), theirs(batch({}, step))
        assert torch.equal(found.indices, expected[1])
        torch.testing.assert_close(found.quantized, expected[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.loss, expected[2].sum(), rtol=1e-4, atol=1e-5)
        for stage, layer in zip(ours.stages, theirs.layers, strict=True):
            torch.testing.assert_close(stage.weight, layer._codebook.embed[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(stage.cluster_size, layer._codebook.cluster_size[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("legacy", [True, False])
def test_taming_transformers(legacy: bool) -> None:
    library = pytest.importorskip("taming.modules.vqvae.quantize")
    torch.manual_seed(0)
    theirs = library.VectorQuantizer2(SIZE, DIM, 0.25, legacy=legacy, sane_index_shape=True)
    ours = VectorQuantizer2(SIZE, DIM, 0.25, legacy=legacy, sane_index_shape=True)
    ours.load_state_dict(theirs.state_dict())
    optimizers = [torch.optim.Adam(module.parameters(), 1e-2) for module in (ours, theirs)]
    for step in range(STEPS):
        x, twin = (batch({"accept_image_fmap": True}, step).requires_grad_() for _ in range(2))
        found, expected = ours(x), theirs(twin)
        assert torch.equal(found[2][2], expected[2][2])
        for index in (0, 1):
            torch.testing.assert_close(found[index], expected[index], rtol=1e-4, atol=1e-5)
        for quantized, loss, _ in (found, expected):
            (10 * loss + quantized.sin().sum()).backward()
        torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-5)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        assert_states(ours, theirs, step)
    shape = (4, 3, 5, DIM)
    indices = found[2][2].flatten()
    torch.testing.assert_close(ours.get_codebook_entry(indices, shape), theirs.get_codebook_entry(indices, shape))
    theirs.load_state_dict(ours.state_dict())
