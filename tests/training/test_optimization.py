"""Muon and the division of labour between the optimisers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gptface.training.configuration import LoopSection
from gptface.training.optimization import Muon, Optimizers, kernels, orthogonalized


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 12, 40), (2, 40, 12)])
def test_singular_values_come_close_to_one_and_the_singular_vectors_stay(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalized(matrices, torch.float32)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ found @ right.mT
    torch.testing.assert_close(inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), atol=1e-4, rtol=0)


def test_matrices_get_torchs_own_update() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon of its own")
    torch.manual_seed(0)
    ours, theirs = nn.Linear(24, 12, bias=False), nn.Linear(24, 12, bias=False)
    theirs.load_state_dict(ours.state_dict())
    one = Muon(ours.parameters(), lr=0.02, weight_decay=0.1, dtype=torch.bfloat16)
    other = torch.optim.Muon(theirs.parameters(), lr=0.02, weight_decay=0.1)
    for _ in range(3):
        inputs = torch.randn(64, 24)
        for layer, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            layer(inputs).square().sum().backward()
            optimizer.step()
    # torch mixes the momentum by lerp where we add, which the scale-free direction does not see; bfloat16 rounds.
    torch.testing.assert_close(ours.weight, theirs.weight, atol=2e-3, rtol=0)


def test_kernels_are_updated_like_the_matrix_they_are() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(6, 4, 3, 3))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    gradient = torch.randn(6, 36)
    kernel.grad, matrix.grad = gradient.view(6, 4, 3, 3).clone(), gradient.clone()
    Muon([kernel]).step()
    Muon([matrix]).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_hidden_matrices_go_to_muon_and_everything_else_to_adamw() -> None:
    module = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 8))
    section = LoopSection(steps=1, optimizer="muon", learning_rate=0.5, matrix_learning_rate=0.25)
    optimizers = Optimizers(module, section, kernels(module[1]), torch.float32)
    before = [value.detach().clone() for value in module.parameters()]
    module(torch.arange(8)).square().sum().backward()
    gradient = module[1].weight.grad
    assert gradient is not None
    expected = before[1] * (1 - 0.25 * 0.1 * section.weight_decay) - 0.025 * orthogonalized(
        gradient[None], torch.float32
    ).squeeze(0)
    optimizers.step(0.1)
    torch.testing.assert_close(module[1].weight.detach(), expected)
    assert all(not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert all(value.grad is None for value in module.parameters())
    moved = before[3] - module[2].weight.detach()
    torch.testing.assert_close(moved.abs(), torch.full((4,), 0.05), atol=1e-3, rtol=0)  # AdamW's first step


def test_state_round_trip() -> None:
    def build() -> tuple[nn.Module, Optimizers]:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
        section = LoopSection(steps=1, optimizer="muon")
        return module, Optimizers(module, section, kernels(module), torch.float32)

    def step(module: nn.Module, optimizers: Optimizers, seed: int) -> None:
        module(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizers.step(1.0)

    module, optimizers = build()
    step(module, optimizers, 1)
    again, other = build()
    again.load_state_dict(module.state_dict())
    other.load_state_dict(copy.deepcopy(optimizers.state_dict()))
    step(module, optimizers, 2)
    step(again, other, 2)
    for one, two in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_without_muon_adamw_takes_all() -> None:
    module = nn.Linear(4, 4)
    optimizers = Optimizers(module, LoopSection(steps=1), kernels(module), torch.float32)
    assert len(optimizers.state_dict()) == 1
