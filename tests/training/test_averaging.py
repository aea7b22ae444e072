"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptface.training.averaging import MovingAverage


def test_average_follows_its_formula() -> None:
    module = nn.Linear(3, 2)
    average = MovingAverage(module, 0.9)
    expected = module.weight.detach().double().clone()
    for update in range(1, 40):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        average.update()
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * module.weight.detach().double()
    own = module.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(module.weight.detach().double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(module.weight, own)


def test_weights_come_back_after_an_error() -> None:
    module = nn.Linear(3, 2)
    average = MovingAverage(module, 0.9)
    with torch.no_grad():
        module.weight.add_(1)
    own = module.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert torch.equal(module.weight, own)


def test_no_decay_means_the_weights_themselves() -> None:
    module = nn.Linear(3, 2)
    average = MovingAverage(module, 0.0)
    with torch.no_grad():
        module.weight.add_(1)
    average.update()
    own = module.weight.detach().clone()
    with average.applied():
        assert torch.equal(module.weight, own)


def test_buffers_and_frozen_parameters_are_left_alone() -> None:
    module = nn.BatchNorm1d(2)
    module.bias.requires_grad_(False)
    average = MovingAverage(module, 0.5)
    with torch.no_grad():
        for value in (module.weight, module.bias, module.running_mean):
            value.add_(1)
    average.update()
    with average.applied():
        assert torch.equal(module.bias, torch.ones(2))
        assert torch.equal(module.running_mean, torch.ones(2))
        assert not torch.equal(module.weight, torch.full((2,), 2.0))


def test_state_round_trip() -> None:
    torch.manual_seed(0)
    module, other = nn.Linear(3, 2), nn.Linear(3, 2)
    average, again = MovingAverage(module, 0.9), MovingAverage(other, 0.9)
    with torch.no_grad():
        module.weight.add_(1)
    average.update()
    again.load_state_dict(average.state_dict())
    assert again.updates == 1
    with average.applied(), again.applied():
        assert torch.equal(module.weight, other.weight)
