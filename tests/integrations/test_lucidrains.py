"""The adapter for vector-quantize-pytorch against the definition of its quantizer, written densely."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.integrations.lucidrains import VectorQuantize
from gptface.ops.vq.codebook import pick_rows


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(**options: Any) -> VectorQuantize:
    torch.manual_seed(0)
    return VectorQuantize(8, 16, **options)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("rotation", [False, True])
def test_values_losses_and_statistics_over_training(cosine: bool, rotation: bool) -> None:
    module = build(use_cosine_sim=cosine, rotation_trick=rotation, commitment_weight=0.7)
    state = module.state_dict()
    embed = state["_codebook.embed"][0].clone()
    average, sizes = state["_codebook.embed_avg"][0].clone(), state["_codebook.cluster_size"][0].clone()
    for step in range(50):
        x, twin = draw(3, 20, 8, seed=step).requires_grad_(), draw(3, 20, 8, seed=step).requires_grad_()
        quantized, indices, loss = module(x)

        rows = functional.normalize(twin, dim=-1) if cosine else twin
        chosen = torch.cdist(rows.reshape(60, 8).double(), embed.double()).argmin(-1).reshape(3, 20)
        codes = embed[chosen]
        one_hot = functional.one_hot(chosen.flatten(), 16).float()
        sizes = 0.8 * sizes + 0.2 * one_hot.sum(0)
        average = 0.8 * average + 0.2 * one_hot.T @ rows.detach().reshape(60, 8)
        embed = average / ((sizes + 1e-5) / (sizes.sum() + 16e-5) * sizes.sum()).unsqueeze(-1)
        embed = functional.normalize(embed, dim=-1) if cosine else embed

        assert torch.equal(indices, chosen)
        torch.testing.assert_close(quantized, codes)
        torch.testing.assert_close(loss, 0.7 * functional.mse_loss(rows, codes))
        (loss + quantized.sin().sum()).backward()
        if not rotation:
            passed = rows + (codes - rows).detach()
            (0.7 * functional.mse_loss(rows, codes) + passed.sin().sum()).backward()
            torch.testing.assert_close(x.grad, twin.grad)
    state = module.state_dict()
    torch.testing.assert_close(state["_codebook.embed"][0], embed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state["_codebook.embed_avg"][0], average, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state["_codebook.cluster_size"][0], sizes)

    quantized, indices, loss = module.eval()(draw(3, 20, 8, seed=99))
    assert loss == 0 and torch.equal(quantized, module.get_output_from_indices(indices))
    assert torch.equal(module.state_dict()["_codebook.embed"], state["_codebook.embed"])


@pytest.mark.parametrize("cosine", [False, True])
def test_kmeans_and_dead_codes_over_training(cosine: bool) -> None:
    """Lloyd's iterations, then 50 steps in which codes under an absolute size are replaced; only the rows drawn are
    taken from our own sequence."""
    threshold, iterations = 2.0, 10
    module = build(use_cosine_sim=cosine, kmeans_init=True, kmeans_iters=iterations, threshold_ema_dead_code=threshold)
    embed, average, sizes = torch.empty(0), torch.empty(0), torch.empty(0)
    replaced = 0
    for step in range(50):
        x = draw(3, 20, 8, seed=step)
        rows = functional.normalize(x, dim=-1) if cosine else x
        rows = rows.reshape(60, 8)

        def drawn(number: int, rows: Tensor = rows, step: int = step) -> Tensor:
            everything = torch.ones(1, 60, dtype=torch.bool)
            return pick_rows(rows.unsqueeze(0), everything, number, 0, torch.tensor(step))[0][0]

        if step == 0:
            embed = drawn(16)
            for _ in range(iterations):
                one_hot = functional.one_hot(torch.cdist(rows.double(), embed.double()).argmin(-1), 16).float()
                sizes = one_hot.sum(0)
                means = one_hot.T @ rows / sizes.clamp_min(1).unsqueeze(-1)
                means = functional.normalize(means, dim=-1) if cosine else means
                embed = torch.where((sizes > 0).unsqueeze(-1), means, embed)
            average = embed * sizes.unsqueeze(-1)
        _, indices, _ = module(x)
        chosen = torch.cdist(rows.double(), embed.double()).argmin(-1)
        assert torch.equal(indices.flatten(), chosen)
        one_hot = functional.one_hot(chosen, 16).float()
        sizes = 0.8 * sizes + 0.2 * one_hot.sum(0)
        average = 0.8 * average + 0.2 * one_hot.T @ rows
        embed = average / ((sizes + 1e-5) / (sizes.sum() + 16e-5) * sizes.sum()).unsqueeze(-1)
        embed = functional.normalize(embed, dim=-1) if cosine else embed
        dead = sizes < threshold
        replaced += int(dead.sum())
        embed[dead] = drawn(16)[: int(dead.sum())]
        sizes[dead], average[dead] = threshold, embed[dead] * threshold
    assert replaced > 0
    state = module.state_dict()
    torch.testing.assert_close(state["_codebook.embed"][0], embed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state["_codebook.embed_avg"][0], average, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state["_codebook.cluster_size"][0], sizes, rtol=1e-4, atol=1e-5)


def test_learnable_codebook_is_drawn_by_one_squared_error() -> None:
    module = build(learnable_codebook=True, ema_update=False, commitment_weight=0.5)
    weight = module.codebook.detach().clone().requires_grad_()
    x, twin = draw(30, 8, seed=1).requires_grad_(), draw(30, 8, seed=1).requires_grad_()
    _, indices, loss = module(x)
    expected = 0.5 * functional.mse_loss(weight[indices], twin)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(module.quantizer.weight.grad, weight.grad)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("codebook_dim", [4, 6])
def test_heads(separate: bool, codebook_dim: int) -> None:
    module = build(heads=2, separate_codebook_per_head=separate, codebook_dim=codebook_dim).eval()
    state = module.state_dict()
    assert state["_codebook.embed"].shape == (2 if separate else 1, 16, codebook_dim)
    assert ("project_in.weight" in state) == (codebook_dim * 2 != 8)
    x = draw(3, 20, 8, seed=2)
    quantized, indices, _ = module(x)
    assert quantized.shape == x.shape and indices.shape == (3, 20, 2)
    parts = module.project_in(x).chunk(2, -1)
    for head, part in enumerate(parts):
        embed = state["_codebook.embed"][head if separate else 0]
        assert torch.equal(torch.cdist(part, embed).argmin(-1), indices[..., head])
    torch.testing.assert_close(module.get_output_from_indices(indices), quantized)


def test_layouts() -> None:
    module, maps = build().eval(), draw(2, 8, 3, 5, seed=3)
    rows = maps.flatten(2).transpose(1, 2)
    quantized, indices, _ = module(rows)
    images = build(accept_image_fmap=True).eval()(maps)
    assert torch.equal(images[0], quantized.transpose(1, 2).reshape(maps.shape))
    assert torch.equal(images[1], indices.reshape(2, 3, 5))
    channels = build(channel_last=False).eval()(maps.flatten(2))
    assert torch.equal(channels[0], quantized.transpose(1, 2)) and torch.equal(channels[1], indices)
    single = module(rows[:, 0])
    assert torch.equal(single[0], quantized[:, 0]) and torch.equal(single[1], indices[:, 0])


def test_masked_vectors_are_zero_and_learn_nothing() -> None:
    first, second = build(), build()
    x, mask = draw(2, 10, 8, seed=4), draw(2, 10, seed=5) > 0
    quantized, indices, loss = first(x, mask=mask)
    alone, alone_indices, alone_loss = second(x[mask].unsqueeze(0))
    assert torch.equal(quantized[mask], alone[0]) and torch.equal(indices[mask], alone_indices[0])
    assert quantized[~mask].eq(0).all() and indices[~mask].eq(-1).all()
    torch.testing.assert_close(loss, alone_loss)
    torch.testing.assert_close(first.codebook, second.codebook)


def test_frozen_codebook_does_not_move() -> None:
    module = build(threshold_ema_dead_code=2)
    before = module.codebook.clone()
    module(draw(2, 10, 8, seed=6), freeze_codebook=True)
    assert torch.equal(module.codebook, before)
    module(draw(2, 10, 8, seed=6))
    assert not torch.equal(module.codebook, before)


def test_codes_below_the_threshold_are_replaced_and_start_at_it() -> None:
    module = build(threshold_ema_dead_code=0.9, decay=0.5)
    x = draw(4, 30, 8, seed=7)
    with torch.no_grad():
        module.quantizer.weight[4:] += 1000
        module.quantizer.cluster_sum.copy_(module.quantizer.weight)
    module(x)
    state = module.state_dict()
    assert torch.equal(state["_codebook.cluster_size"][0, 4:], torch.full((12,), 0.9))
    assert (state["_codebook.embed"][0, 4:, None] == x.reshape(120, 8)).all(-1).any(-1).all()


def test_state_dictionary_is_theirs() -> None:
    names = ["_codebook.cluster_size", "_codebook.embed", "_codebook.embed_avg", "_codebook.initted"]
    for options in (
        {},
        {"kmeans_init": True},
        {"threshold_ema_dead_code": 2},
        {"learnable_codebook": True, "ema_update": False},
    ):
        assert sorted(build(**options).state_dict()) == names
    module = build(kmeans_init=True)
    module(draw(4, 30, 8, seed=8))
    other = build(kmeans_init=True, threshold_ema_dead_code=2)
    state = dict(module.state_dict())
    other.load_state_dict(state)
    # Older releases kept the flag as a float tensor of one element.
    state["_codebook.initted"] = torch.tensor([1.0])
    other.load_state_dict(state)
    assert torch.equal(module.codebook, other.codebook) and bool(other.quantizer.initialized)
    assert torch.equal(module.eval()(draw(4, 30, 8, seed=9))[1], other.eval()(draw(4, 30, 8, seed=9))[1])


@pytest.mark.parametrize(
    "options",
    [
        {"affine_param": True},
        {"orthogonal_reg_weight": 0.1},
        {"learnable_codebook": True},
        {"learnable_codebook": True, "ema_update": False, "use_cosine_sim": True},
        {"sync_kmeans": False, "kmeans_init": True},
    ],
)
def test_what_is_not_supported_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        build(**options)
    build(affine_param=False, orthogonal_reg_weight=0.0, in_place_codebook_optimizer=None)
    with pytest.raises(InputError, match=r"x has shape \(2, 7\)"):
        build()(torch.zeros(2, 7))


@pytest.mark.parametrize(
    "options",
    [{}, {"heads": 2, "codebook_dim": 4}, {"heads": 2, "codebook_dim": 4, "separate_codebook_per_head": True},
     {"codebook_dim": 3}, {"channel_last": False}],
    ids=["one head", "a shared codebook", "a codebook a head", "projected", "channels first"],
)  # fmt: skip
def test_its_own_indices_at_padding_decode_to_what_it_returned(options: dict[str, Any]) -> None:
    module = build(**options).eval()
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    x = draw(2, 6, 8, seed=3)
    quantized, indices, _ = module(x if options.get("channel_last", True) else x.mT, mask=mask)
    assert (indices[1, 4:] == -1).all() and (indices[mask] >= 0).all()
    torch.testing.assert_close(module.get_output_from_indices(indices), quantized)
    codes = module.get_codes_from_indices(indices)
    codes = codes if options.get("channel_last", True) else codes.mT
    assert (codes[1, 4:] == 0).all() and (codes[mask] != 0).any(-1).all()
    with pytest.raises(IndexError):
        module.get_codes_from_indices(torch.where(indices == -1, -2, indices))
