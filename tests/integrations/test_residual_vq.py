"""The residual drop-ins for vector-quantize-pytorch against their definition, written with whole matrices."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.integrations.lucidrains import GroupedResidualVQ, ResidualVQ


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(**options: Any) -> ResidualVQ:
    torch.manual_seed(0)
    return ResidualVQ(**{"dim": 8, "codebook_size": 6, "num_quantizers": 3, **options})


def greedy(codebooks: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    left, chosen = x, []
    for codes in codebooks:
        chosen.append(torch.cdist(left, codes).argmin(-1))
        left = left - codes[chosen[-1]]
    return x - left, torch.stack(chosen, -1)


def test_every_stage_takes_what_is_left_over() -> None:
    module, x = build().eval(), draw(2, 10, 8, seed=1)
    quantized, indices, losses = module(x)
    expected, chosen = greedy(module.codebooks, x)
    assert torch.equal(indices, chosen) and losses.shape == (3,) and losses.eq(0).all()
    torch.testing.assert_close(quantized, expected)
    assert torch.equal(module.get_output_from_indices(indices), quantized)
    coarse = module.get_output_from_indices(indices[..., :2])
    torch.testing.assert_close(coarse, greedy(module.codebooks[:2], x)[0])


def test_losses_of_the_stages() -> None:
    module, x = build(commitment_weight=0.5), draw(2, 10, 8, seed=2)
    codebooks = module.codebooks.clone()
    _, _, losses = module(x)
    left = [x - greedy(codebooks[:stages], x)[0] for stages in (1, 2, 3)]
    torch.testing.assert_close(losses, torch.stack([0.5 * rest.square().mean() for rest in left]))


@pytest.mark.parametrize("options", [{}, {"codebook_dim": 3}], ids=["plain", "projected"])
def test_its_own_indices_at_padding_decode_to_what_it_returned(options: dict[str, Any]) -> None:
    module, x = build(**options).eval(), draw(2, 10, 8, seed=3)
    mask = draw(2, 10, seed=4) > 0
    quantized, indices, _ = module(x, mask=mask)
    assert indices[~mask].eq(-1).all() and quantized[~mask].eq(0).all()
    torch.testing.assert_close(module.get_output_from_indices(indices), quantized)


def test_images_are_rows_of_pixels() -> None:
    images = draw(2, 8, 3, 5, seed=5)
    for options in ({}, {"codebook_dim": 4}):
        module, by_rows = build(accept_image_fmap=True, **options).eval(), build(**options).eval()
        quantized, indices, _ = module(images)
        rows, chosen, _ = by_rows(images.flatten(2).mT)
        assert torch.equal(quantized, rows.mT.reshape(images.shape))
        assert torch.equal(indices, chosen.reshape(2, 3, 5, 3))
        torch.testing.assert_close(module.get_output_from_indices(indices), quantized)
        assert module.get_codes_from_indices(indices).shape == (3, 2, 3, 5, module.codebook_dim)


def test_a_search_over_all_ways_finds_the_best() -> None:
    """With as many beams as there are ways, the choice is the best of all; the score adds up the stages' errors."""
    module, x = build(beam_size=36, codebook_size=6, num_quantizers=3).eval(), draw(2, 5, 8, seed=6)
    _, indices, _ = module(x)
    ways = torch.tensor(list(product(range(6), repeat=3)))
    codes = torch.stack([module.codebooks[stage][ways[:, stage]] for stage in range(3)])
    errors = (x.unsqueeze(-2) - codes.cumsum(0).reshape(3, 1, 1, 216, 8)).square().sum(-1).sum(0)
    assert torch.equal(indices, ways[errors.argmin(-1)])
    assert not torch.equal(indices, greedy(module.codebooks, x)[1])


def test_under_a_beam_search_every_stage_learns_from_what_it_was_given() -> None:
    module, x = build(beam_size=3), draw(2, 20, 8, seed=7)
    codebooks = module.codebooks.clone()
    before = [layer._codebook.embed_avg[0].clone() for layer in module.layers]
    _, indices, _ = module(x)
    left = x
    for stage, layer in enumerate(module.layers):
        one_hot = functional.one_hot(indices[..., stage].flatten(), 6).float()
        expected = before[stage] + 0.2 * (one_hot.T @ left.reshape(-1, 8) - before[stage])
        torch.testing.assert_close(layer._codebook.embed_avg[0], expected)
        left = left - codebooks[stage][indices[..., stage]]
    frozen = [layer.codebook.clone() for layer in module.layers]
    module(x, freeze_codebook=True)
    assert all(torch.equal(layer.codebook, codes) for layer, codes in zip(module.layers, frozen, strict=True))


def test_dropped_stages_are_marked_and_add_nothing() -> None:
    module, x = build(quantize_dropout=True), draw(2, 10, 8, seed=8)
    seen = set()
    for _ in range(30):
        quantized, indices, losses = module(x, freeze_codebook=True)
        kept = int((indices[0, 0] != -1).sum())
        seen.add(kept)
        assert indices[..., :kept].ge(0).all() and indices[..., kept:].eq(-1).all() and losses[kept:].eq(0).all()
        torch.testing.assert_close(quantized, greedy(module.codebooks[:kept], x)[0])
        torch.testing.assert_close(module.get_output_from_indices(indices), quantized)
    assert seen == {1, 2, 3}
    torch.manual_seed(5)  # decided by seed and count of calls, so that processes agree whatever their random numbers
    first, second = build(quantize_dropout=True), build(quantize_dropout=True)
    for seed in range(10):
        torch.manual_seed(seed)
        ours = first(x, freeze_codebook=True)[1]
        torch.manual_seed(100 + seed)
        assert torch.equal(ours, second(x, freeze_codebook=True)[1])


def test_loss_against_given_codes() -> None:
    module, x = build().eval(), draw(2, 10, 8, seed=9)
    given = (draw(2, 10, 3, seed=10) * 100).long() % 6
    quantized, loss = module(x, indices=given)
    expected, left = torch.zeros(()), x
    for stage, codes in enumerate(module.codebooks):
        logits = -torch.cdist(left, codes)
        expected = expected + functional.cross_entropy(logits.flatten(0, 1), given[..., stage].flatten())
        left = left - codes[logits.argmax(-1)]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(quantized, x - left)


def test_a_shared_codebook_is_one_and_moves_once() -> None:
    module, x = build(shared_codebook=True), draw(2, 10, 8, seed=11)
    names = {name for name in module.state_dict() if name.endswith("embed")}
    assert names == {f"layers.{stage}._codebook.embed" for stage in range(3)}
    before = module.codebooks[0].clone()
    _, indices, _ = module(x)
    assert torch.equal(indices, greedy(before.expand(3, 6, 8), x)[1])
    assert module.codebooks.eq(module.codebooks[0]).all() and not torch.equal(module.codebooks[0], before)
    other = build(shared_codebook=True)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.codebooks, module.codebooks)


def test_noise_of_the_directional_form_is_gone_in_evaluation() -> None:
    module, x = build(diveq=True), draw(2, 10, 8, seed=12)
    quantized, indices, _ = module(x)
    codes = module.get_output_from_indices(indices)
    torch.testing.assert_close((quantized - x).norm(dim=-1), (codes - x).norm(dim=-1))
    quantized.sum().backward()
    assert all(layer.codebook.grad is not None for layer in module.layers)
    quantized, indices, _ = module.eval()(x)
    torch.testing.assert_close(quantized, module.get_output_from_indices(indices))


def test_implicit_codebooks_decode_to_what_was_returned() -> None:
    module, x = build(implicit_neural_codebook=True).eval(), draw(2, 10, 8, seed=13)
    quantized, indices, _ = module(x)
    torch.testing.assert_close(module.get_output_from_indices(indices), quantized)
    assert "mlps.1.layers.3.2.weight" in module.state_dict()
    codes, first = module.layers[1].codebook, module.layers[0].codebook[indices[..., 0]]
    own = module.mlps[0].of_chosen(codes.expand(2, 10, 6, 8), condition=first.unsqueeze(-2).expand(2, 10, 6, 8))
    distance = (x - first).unsqueeze(-2) - own
    assert torch.equal(indices[..., 1], distance.square().sum(-1).argmin(-1))


def test_groups_quantize_their_parts_alone() -> None:
    torch.manual_seed(0)
    module = GroupedResidualVQ(dim=8, groups=2, codebook_size=6, num_quantizers=3, quantize_dropout=True)
    x = draw(2, 10, 8, seed=14)
    assert set(module.state_dict()) >= {"rvqs.0.layers.0._codebook.embed", "rvqs.1.layers.2._codebook.cluster_size"}
    for _ in range(5):
        _, indices, losses = module(x)
        assert indices.shape == (2, 2, 10, 3) and losses.shape == (2, 3)
        assert torch.equal(indices[0].eq(-1), indices[1].eq(-1))
    quantized, indices, _ = module.eval()(x)
    for group in range(2):
        expected, chosen = greedy(module.codebooks[group], x[..., 4 * group : 4 * group + 4])
        assert torch.equal(indices[group], chosen)
        torch.testing.assert_close(quantized[..., 4 * group : 4 * group + 4], expected)
    torch.testing.assert_close(module.get_output_from_indices(indices), quantized)
    loss = module(x, indices=indices)[1]
    assert loss.shape == () and loss > 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"heads": 2}, "heads=2"),
        ({"num_quantizers": None}, "num_quantizers=None"),
        ({"codebook_size": (4, 5)}, "num_quantizers=3"),
        ({"codebook_size": (4, 5, 4), "shared_codebook": True}, "shared_codebook"),
        ({"eval_beam_size": 2}, "eval_beam_size"),
        ({"beam_size": 2, "diveq": True}, "beam_size"),
        ({"beam_score_quantizer_weights": [1.0]}, "beam_score_quantizer_weights"),
        ({"quantize_dropout": True, "quantize_dropout_cutoff_index": 3}, "quantize_dropout_cutoff_index=3"),
        ({"no_such_thing": True}, "no_such_thing"),
    ],
)
def test_what_cannot_be_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        build(**options)
    with pytest.raises(InputError, match=r"x has shape \(2, 7\)"):
        build()(torch.zeros(2, 7))
