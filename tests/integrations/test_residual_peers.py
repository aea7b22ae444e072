"""Our residual drop-ins beside vector-quantize-pytorch's, where it is installed: 50 training steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gptface.integrations.lucidrains import GroupedResidualVQ, ResidualVQ
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


def dropped(step: int) -> dict[str, Any]:
    return {"rand_quantize_dropout_fixed_seed": step}


def padded(step: int) -> dict[str, Any]:
    return {"mask": draw(4, 15, seed=1000 + step) > -0.5}


def plain(step: int) -> dict[str, Any]:
    return {}


KINDS: dict[str, tuple[dict[str, Any], Callable[[int], dict[str, Any]]]] = {
    "plain": ({}, plain),
    "one stage": ({"num_quantizers": 1}, plain),
    "straight through": ({"rotation_trick": False}, plain),
    "cosine": ({"use_cosine_sim": True}, plain),
    "projected": ({"codebook_dim": 5}, plain),
    "different sizes": ({"codebook_size": (4, 16, 9), "num_quantizers": None}, plain),
    "a gradient between stages": ({"quant_grad_frac": 0.1}, plain),
    "learnable": ({"learnable_codebook": True, "ema_update": False}, plain),
    # Few codes: one that stands alone leaves zeros over, for the next stage to break ties among.
    "k-means": ({"kmeans_init": True, "codebook_size": 4}, plain),
    "dead codes": ({"threshold_ema_dead_code": 1.5}, plain),
    "a shared codebook": ({"shared_codebook": True}, plain),
    "a shared codebook, cosine": ({"shared_codebook": True, "use_cosine_sim": True}, plain),
    "directional": ({"diveq": True}, plain),
    "directional, projected": ({"diveq": True, "codebook_dim": 5}, plain),
    "directional in every stage": ({"directional_reparam": True, "threshold_ema_dead_code": 1.5}, plain),
    "drawn codes": ({"stochastic_sample_codes": True}, lambda step: {"sample_codebook_temp": 0.3}),
    "padding": ({}, padded),
    "padding kept": ({"return_zeros_for_masked_padding": False}, padded),
    "stages dropped": ({"quantize_dropout": True}, dropped),
    "stages dropped by pairs": (
        {"quantize_dropout": True, "quantize_dropout_cutoff_index": 1, "quantize_dropout_multiple_of": 2},
        dropped,
    ),
    "all codes": ({}, lambda step: {"return_all_codes": True}),
    "frozen now and then": ({}, lambda step: {"freeze_codebook": step % 2 == 0}),
    "implicit codebooks": ({"implicit_neural_codebook": True}, plain),
    "implicit codebooks, shared": (
        {"implicit_neural_codebook": True, "shared_codebook": True, "mlp_kwargs": {"dim_hidden": 6, "depth": 2}},
        plain,
    ),
    "beams": ({"beam_size": 3}, plain),
    "beams of any gradient": ({"beam_size": 2, "quant_grad_frac": 0.2, "codebook_dim": 5}, plain),
    "beams with padding": ({"beam_size": 2}, padded),
    "beams with weights": (
        {"beam_size": 2, "eval_beam_size": 4, "beam_score_quantizer_weights": [1.0, 0.5, 2.0]},
        plain,
    ),
    "beams, stages dropped": ({"beam_size": 2, "quantize_dropout": True}, dropped),
    "beams of learnable codebooks": ({"beam_size": 3, "learnable_codebook": True, "ema_update": False}, plain),
    "beams by call": ({}, lambda step: {"beam_size": 1 + step % 3}),
}


def theirs_and_ours(name: str, ours_class: Any, options: dict[str, Any]) -> tuple[Any, Any, list[Any]]:
    library = pytest.importorskip("vector_quantize_pytorch")
    options = {"dim": DIM, "codebook_size": SIZE, "num_quantizers": 3, **options}
    torch.manual_seed(0)
    theirs = getattr(library, name)(**options)
    ours = ours_class(**options)
    ours.load_state_dict(theirs.state_dict())
    trained = [module for module in (ours, theirs) if list(module.parameters())]
    return ours, theirs, [torch.optim.SGD(module.parameters(), 0.1) for module in trained]


def update_all_stages(theirs: Any, codebooks: list[Tensor], rows: Tensor, indices: Tensor, mask: Tensor | None) -> None:
    """What the original means to do after a beam search, and does for its first stage alone."""
    for stage, layer in enumerate(theirs.layers):
        chosen = indices[..., stage]
        if stage > 0 and (chosen != -1).any():
            layer.update_indices(rows, chosen, mask=mask)
        rows = rows - codebooks[stage][chosen]


@pytest.mark.parametrize("kind", KINDS)
def test_residual_vq(kind: str) -> None:
    options, call = KINDS[kind]
    ours, theirs, optimizers = theirs_and_ours("ResidualVQ", ResidualVQ, options)
    if not options.get("shared_codebook"):
        for layer, twin in zip(ours.layers, theirs.layers, strict=True):
            draw_as_we_do(twin, layer)
    for step in range(STEPS):
        x = batch({}, step)
        rows, codebooks = theirs.project_in(x).detach(), [layer.codebook.clone() for layer in theirs.layers]
        _, expected = train_both(ours, theirs, optimizers, x, call(step))
        if call(step).get("beam_size", options.get("beam_size", 1)) > 1:
            update_all_stages(theirs, codebooks, rows, expected[1], call(step).get("mask"))
        assert_states(ours, theirs, step)
    ours.eval()
    theirs.eval()
    for seed in range(100, 103):
        found, expected = ours(batch({}, seed), **call(0)), theirs(batch({}, seed), **call(0))
        compare(found[1:], expected[1:])
        if not options.get("diveq"):  # noise in evaluation, there
            compare(found[:1], expected[:1])
        compare([ours.get_codes_from_indices(found[1])], [theirs.get_codes_from_indices(found[1])])
        if call(0).get("mask") is None:
            compare([ours.get_output_from_indices(found[1])], [theirs.get_output_from_indices(found[1])])
    theirs.load_state_dict(ours.state_dict())  # and the way back


@pytest.mark.parametrize(
    ("options", "call"),
    [({}, {}), ({"codebook_dim": 3}, {}), ({"shared_codebook": True}, {}),
     ({}, {"return_all_codes": True})],
    ids=["plain", "projected", "shared", "all codes"],
)  # fmt: skip
def test_grouped_residual_vq(options: dict[str, Any], call: dict[str, Any]) -> None:
    ours, theirs, optimizers = theirs_and_ours("GroupedResidualVQ", GroupedResidualVQ, {"groups": 2, **options})
    for step in range(STEPS):
        train_both(ours, theirs, optimizers, batch({}, step), call)
        assert_states(ours, theirs, step)
    ours.eval()
    theirs.eval()
    found, expected = ours(batch({}, 100)), theirs(batch({}, 100))
    compare(found, expected)
    compare([ours.get_output_from_indices(found[1])], [theirs.get_output_from_indices(found[1])])
    torch.testing.assert_close(ours.codebooks, theirs.codebooks, rtol=1e-4, atol=1e-5)
    theirs.load_state_dict(ours.state_dict())
