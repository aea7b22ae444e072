"""What the drop-in for vector-quantize-pytorch can be asked for in a call, against the definitions written densely."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.integrations.lucidrains import VectorQuantize


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(**options: Any) -> VectorQuantize:
    torch.manual_seed(0)
    return VectorQuantize(8, 16, **options)


def sums_and_counts(x: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    one_hot = functional.one_hot(indices.flatten(), 16).float()
    return one_hot.T @ x.reshape(-1, 8), one_hot.sum(0)


def test_an_average_with_decay_one_stays_where_it_is() -> None:
    module = build(decay=1.0)
    before = module.codebook.clone()
    module(draw(4, 30, 8, seed=1))
    torch.testing.assert_close(module.codebook, before)


def test_lengths_are_a_mask() -> None:
    by_lengths, by_mask = build(), build()
    x = draw(3, 10, 8, seed=2)
    mask = torch.tensor([[True] * 4 + [False] * 6, [True] * 10, [False] * 10])
    found, expected = by_lengths(x, lens=torch.tensor([4, 10, 0])), by_mask(x, mask=mask)
    for ours, wanted in zip(found, expected, strict=True):
        assert torch.equal(ours, wanted)
    assert torch.equal(by_lengths.codebook, by_mask.codebook)
    assert found[1][mask].ge(0).all() and found[1][~mask].eq(-1).all()


def test_volumes_are_rows_of_voxels() -> None:
    x = draw(2, 8, 3, 4, 5, seed=3)
    quantized, indices, _ = build(accept_3d_fmap=True).eval()(x)
    rows, chosen, _ = build().eval()(x.flatten(2).mT)
    assert torch.equal(indices, chosen.reshape(2, 3, 4, 5))
    assert torch.equal(quantized, rows.mT.reshape(x.shape))
    assert torch.equal(build(accept_3d_fmap=True).get_output_from_indices(indices), quantized)


@pytest.mark.parametrize("training", [True, False])
def test_candidates_are_the_nearest_codes_in_order_and_teach_nothing(training: bool) -> None:
    module = build(commitment_weight=0.7).train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x, mask = draw(3, 10, 8, seed=4), draw(3, 10, seed=5) > 0
    quantized, indices, loss = module(x, mask=mask, topk=3)
    distance = (x.unsqueeze(-2).double() - module.codebook.double()).square().sum(-1)
    nearest = distance.sort(-1).indices[..., :3]
    assert torch.equal(indices[mask], nearest[mask]) and indices[~mask].eq(-1).all()
    assert torch.equal(quantized[mask], module.codebook[nearest[mask]]) and quantized[~mask].eq(0).all()
    expected = 0.7 * distance.gather(-1, nearest).float() / 8
    torch.testing.assert_close(loss, torch.where(mask.unsqueeze(-1), expected, 0.0))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_learning_from_indices_is_what_forward_learns() -> None:
    for options in ({}, {"heads": 2, "codebook_dim": 4}, {"heads": 2, "separate_codebook_per_head": True}):
        by_forward, by_hand = build(**options), build(**options)
        x, mask = draw(3, 10, 8, seed=6), draw(3, 10, seed=7) > 0
        _, indices, _ = by_forward(x, mask=mask)
        by_hand.update_ema_indices(x, indices, mask=mask)
        assert not torch.equal(by_hand.codebook, build(**options).codebook)
        for name, value in by_forward.state_dict().items():
            torch.testing.assert_close(by_hand.state_dict()[name], value)


@pytest.mark.parametrize("how", ["tensor", "function"])
def test_weighed_updates(how: str) -> None:
    module = build()
    weight = torch.arange(16) / 15
    state = module.state_dict()
    embed_avg, size = state["_codebook.embed_avg"][0].clone(), state["_codebook.cluster_size"][0].clone()
    x = draw(4, 30, 8, seed=8)
    seen = []

    def weigh(sums: Tensor, counts: Tensor) -> Tensor:
        seen.extend([sums, counts])
        return weight

    _, indices, _ = module(x, ema_update_weight=weight if how == "tensor" else weigh)
    sums, counts = sums_and_counts(x, indices)
    if seen:
        torch.testing.assert_close(seen[0][0], sums)
        torch.testing.assert_close(seen[1][0], counts)
    torch.testing.assert_close(module._codebook.embed_avg[0], embed_avg + 0.2 * weight[:, None] * (sums - embed_avg))
    torch.testing.assert_close(module._codebook.cluster_size[0], size + 0.2 * weight * (counts - size))
    with pytest.raises(InputError, match=r"ema_update_weight has shape \(7,\)"):
        module(x, ema_update_weight=torch.ones(7))


def test_gathered_statistics_count_once_in_the_next_update() -> None:
    module, whole = build(), build()
    parts = draw(3, 20, 8, seed=9)
    before = module.codebook.clone()
    for part in parts[:2]:
        module(part, accum_ema_update=True)
        assert torch.equal(module.codebook, before)
    module(parts[2])
    whole(parts.reshape(60, 8))
    torch.testing.assert_close(module.codebook, whole.codebook)
    module(parts[2])
    whole(parts[2])
    torch.testing.assert_close(module.codebook, whole.codebook)


def test_codes_follow_their_averages_by_hand() -> None:
    by_hand, always = build(manual_ema_update=True), build()
    before, x = by_hand.codebook.clone(), draw(4, 30, 8, seed=10)
    by_hand(x)
    always(x)
    assert torch.equal(by_hand.codebook, before) and not torch.equal(always.codebook, before)
    by_hand._codebook.update_ema()
    assert torch.equal(by_hand.codebook, always.codebook)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("rows", [30, 100_000])
def test_loss_against_given_codes(cosine: bool, rows: int) -> None:
    """Cross-entropy of the softmax of the similarities; −1 is left out. Many rows go through it in blocks."""
    module = build(use_cosine_sim=cosine).eval()
    x, twin = draw(rows, 8, seed=11).requires_grad_(), draw(rows, 8, seed=11).requires_grad_()
    given = (draw(rows, seed=12) * 100).long() % 17 - 1
    quantized, loss = module(x, given)
    logits = functional.normalize(twin, dim=-1) @ module.codebook.T if cosine else -torch.cdist(twin, module.codebook)
    expected = functional.cross_entropy(logits, given, ignore_index=-1)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(x.grad, twin.grad)
    assert torch.equal(quantized, module(x)[0])
    assert module(x, torch.full((rows,), -1))[1] == 0
    with pytest.raises(InputError, match=r"indices has shape \(7,\)"):
        module(x, given[:7])


def test_directional_values_keep_the_distance_and_teach_the_codebook() -> None:
    module = build(directional_reparam=True, threshold_ema_dead_code=0.1)
    x = draw(4, 30, 8, seed=13).requires_grad_()
    quantized, indices, loss = module(x)
    codes = module.codebook[indices]
    torch.testing.assert_close((quantized - x).norm(dim=-1), (codes - x).norm(dim=-1))
    towards = functional.cosine_similarity(quantized - x, codes - x, dim=-1)
    assert towards.min() > 0.8 and towards.max() < 1 - 1e-6 and loss == 0
    quantized.sum().backward()
    used = torch.zeros(16, dtype=torch.bool).index_fill(0, indices.flatten().unique(), True)
    assert torch.equal(module.codebook.grad.ne(0).any(-1), used)
    assert torch.equal(module.eval()(x)[0], module.codebook[module(x)[1]])


def test_codes_drawn_at_random_follow_the_softmax_of_the_distances() -> None:
    module = build(stochastic_sample_codes=True, sample_codebook_temp=0.7, ema_update=False)
    x = draw(1, 8, seed=14)
    torch.manual_seed(0)
    _, indices, _ = module(x.expand(40_000, 8))
    expected = (-torch.cdist(x, module.codebook) / 0.7).softmax(-1)[0] * 40_000
    statistic = ((torch.bincount(indices, minlength=16) - expected).square() / expected).sum()
    assert statistic < 37.7  # χ² with 15 degrees of freedom exceeds this once in a thousand
    assert torch.equal(module.eval()(x)[1], torch.cdist(x, module.codebook).argmin(-1))
    assert torch.equal(module.train()(x, sample_codebook_temp=0.0)[1], torch.cdist(x, module.codebook).argmin(-1))


def test_parts_of_the_loss() -> None:
    module = build(commitment_weight=0.3)
    x = draw(4, 30, 8, seed=15)
    quantized, _, loss, parts = module(x, return_loss_breakdown=True)
    torch.testing.assert_close(parts.commitment, functional.mse_loss(x, quantized))
    torch.testing.assert_close(loss, 0.3 * parts.commitment)
    assert parts.codebook_diversity == parts.orthogonal_reg == parts.inplace_optimize == 0


def test_a_learned_codebook_that_is_frozen_in_a_call_gets_no_gradient() -> None:
    module = build(learnable_codebook=True, ema_update=False)
    x = draw(4, 30, 8, seed=16).requires_grad_()
    module(x, freeze_codebook=True)[2].backward()
    assert module.codebook.grad is None and x.grad.ne(0).any()


def test_state_is_seen_and_written_by_their_names() -> None:
    module = build()
    state = module.state_dict()
    for name in ("embed", "embed_avg", "cluster_size", "initted"):
        assert torch.equal(getattr(module._codebook, name), state[f"_codebook.{name}"])
    module._codebook.embed.data.copy_(draw(1, 16, 8, seed=17))
    assert torch.equal(module.codebook, draw(16, 8, seed=17))
    module.codebook = draw(16, 8, seed=18)
    assert torch.equal(module.state_dict()["_codebook.embed"][0], draw(16, 8, seed=18))


@pytest.mark.parametrize("call", [{"topk": 2}, {"indices": torch.zeros(41, dtype=torch.int64)}, {}], ids=str)
def test_calls_compile_whole(call: dict[str, Any]) -> None:
    torch._dynamo.reset()
    module, twin = build(threshold_ema_dead_code=1.0), build(threshold_ema_dead_code=1.0)
    step = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for seed in range(3):
        x = draw(41, 8, seed=seed)
        torch.testing.assert_close(step(x, **call), module(x, **call))
    torch.testing.assert_close(twin.codebook, module.codebook)


@pytest.mark.parametrize(
    ("options", "call", "named"),
    [
        ({"affine_parm": False}, {}, "no argument affine_parm"),
        ({"directional_reparam": True}, {}, "threshold_ema_dead_code"),
        ({"directional_reparam": True, "rotation_trick": True, "threshold_ema_dead_code": 2}, {}, "rotation_trick"),
        ({}, {"topk": 0}, "topk=0"),
        ({"heads": 2}, {"topk": 2}, "heads=2"),
        ({}, {"topk": 2, "indices": torch.zeros(4, dtype=torch.int64)}, "topk and indices"),
        ({}, {"mask": torch.ones(3, dtype=torch.bool)}, r"mask is torch.bool of shape \(3,\)"),
        ({}, {"lens": torch.ones(4, dtype=torch.int64)}, r"lens of shape \(4,\)"),
        ({"learnable_codebook": True, "ema_update": False}, {"ema_update": True}, "ema_update=True"),
    ],
)
def test_what_cannot_be_is_named(options: dict[str, Any], call: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        build(**options)(draw(4, 8, seed=19), **call)
