"""Optimisers: AdamW for everything, or Muon for the hidden matrices and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gptface.training.configuration import LoopSection

__all__ = ["Muon", "Optimizers", "kernels", "orthogonalized"]

# Of the quintic iteration x ← a x + b x³ + c x⁵, chosen by Jordan et al. for the steepest slope at 0: five rounds bring
# every singular value from 0.002 upwards into about 0.7 to 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5

# Of AdamW's first moment, everybody's choice.
BETA1 = 0.9


def orthogonalized(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """``U Vᵀ`` of ``matrices (M, rows, columns) = U S Vᵀ``, roughly, by Newton–Schulz iteration in ``dtype``."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Steepest descent under the spectral norm (Jordan et al., "Muon", 2024), for matrices and convolution kernels.

    The momentum of each gradient is replaced by the orthogonal matrix next to it, so that rare directions of a matrix
    learn as fast as common ones. A kernel counts as the matrix (outputs, inputs × positions). Embeddings, heads, biases
    and norms belong to another optimiser.

    ``torch.optim.Muon`` is the same for matrices; this one also takes kernels, and works on all parameters of a shape
    at once, which is what makes small models worth it.

    Args:
        parameters: of two dimensions or more.
        lr: of a square matrix; one with more rows than columns steps further by the root of their ratio.
        momentum: Nesterov's.
        weight_decay: decoupled.
        dtype: of the iteration; bfloat16 is enough.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.flatten(1).shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                self._update(group, shape, parameters)

    def _update(self, group: dict[str, Any], shape: torch.Size, parameters: list[Tensor]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(gradient)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        ahead = torch._foreach_add(gradients, momenta, alpha=group["momentum"])
        directions = orthogonalized(torch.stack([value.flatten(1) for value in ahead]), self._dtype)
        rate = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        for parameter, direction in zip(parameters, directions.unbind(), strict=True):
            parameter.add_(direction.view(parameter.shape).to(parameter.dtype), alpha=-rate)


def kernels(*parts: nn.Module) -> list[nn.Parameter]:
    """The weights of all linear layers and convolutions in ``parts``."""
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [layer.weight for layer in layers if isinstance(layer.weight, nn.Parameter)]


class Optimizers:
    """What updates one module: AdamW, or Muon for ``matrices`` and AdamW for the rest, under one schedule.

    Weight decay falls on tensors of two dimensions and more, so not on biases, norms and scales.

    Args:
        module: whose trained parameters are updated.
        section: which optimiser, and its rates.
        matrices: the module's parameters that Muon may take.
        dtype: of Muon's iteration.
    """

    def __init__(
        self, module: nn.Module, section: LoopSection, matrices: Sequence[nn.Parameter], dtype: torch.dtype
    ) -> None:
        trained = [value for value in module.parameters() if value.requires_grad]
        by_muon = {id(value) for value in matrices if value.ndim >= 2} if section.optimizer == "muon" else set()
        rest = [value for value in trained if id(value) not in by_muon]
        decayed = [value for value in rest if value.ndim >= 2]
        spared = [value for value in rest if value.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": section.weight_decay},
            {"params": spared, "weight_decay": 0.0},
        ]
        self._peaks = [section.learning_rate]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=section.learning_rate, betas=(BETA1, section.beta2), fused=True)
        ]
        chosen = [value for value in trained if id(value) in by_muon]
        if chosen:
            self._peaks.append(section.matrix_learning_rate)
            self._optimizers.append(Muon(chosen, weight_decay=section.weight_decay, dtype=dtype))

    def step(self, factor: float) -> None:
        """Update with ``factor`` times the peak rates, and forget the gradients."""
        for peak, optimizer in zip(self._peaks, self._optimizers, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)
