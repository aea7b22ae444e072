"""A training step never holds a tensor of rows × codes, inside the package's own operators and in the backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from gptface.ops import ResidualVectorQuantizer, VectorQuantizer
from gptface.ops.vq import entropy, kmeans, library

ROWS, CODES, LENGTH = 3001, 1201, 8
BLOCK = 1 << 19  # elements of the largest block of scores that the PyTorch implementation works on
KINDS: dict[str, dict[str, Any]] = {
    "moving averages, k-means, revival": {"revive_below": 0.3},
    "gradient": {"codebook_update": "gradient"},
    "cosine, rotation": {"metric": "cosine", "estimator": "rotation"},
    "candidates": {"topk": 4},
    "entropy": {"entropy_weight": 0.1},
    "groups and everything": {
        "groups": 2,
        "topk": 2,
        "entropy_weight": 0.1,
        "codebook_update": "gradient",
        "estimator": "rotation",
    },
}


# What these operators run, to be looked at from within.
WRITTEN_IN_PYTHON: dict[str, Any] = {
    "gptface::vq_lookup": library._lookup,
    "gptface::kmeans": kmeans._kmeans,
    "gptface::assignment_entropy": entropy._forward,
    "gptface::assignment_entropy_backward": entropy._backward,
}


class EveryTensor(TorchDispatchMode):
    """Sees every operation, also those inside the package's operators that are written in Python; records the largest
    storage any of them returned."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.operation, self.seen = 0, "", set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.seen.add(func.name())
        if func.name() in WRITTEN_IN_PYTHON:
            with self:
                result = WRITTEN_IN_PYTHON[func.name()](*args, **kwargs)
        else:
            result = func(*args, **kwargs)
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                elements = value.untyped_storage().nbytes() // value.element_size()
                if elements > self.elements:
                    self.elements, self.operation = elements, func.name()
        return result


@pytest.mark.parametrize("impl", ["auto", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_tensor_of_rows_and_codes(kind: str, impl: str) -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(LENGTH, CODES, impl=impl, kmeans_iterations=1, **KINDS[kind])
    x = torch.randn(ROWS, LENGTH).requires_grad_()
    for _ in range(2):  # the first one runs k-means
        with EveryTensor() as every:
            found = quantizer(x)
            total = found.loss + found.quantized.sin().sum()
            (total if found.weights is None else total + found.weights.square().sum()).backward()
        assert "gptface::vq_lookup" in every.seen
        assert every.elements <= BLOCK < ROWS * CODES // 4, every.operation
        if (
            impl == "auto"
            and "entropy" not in kind
            and "everything" not in kind
            and "gptface::vq_lookup_kernel" in every.seen
        ):
            assert every.elements <= 4 * ROWS * LENGTH, every.operation


def test_the_residual_form_too() -> None:
    torch.manual_seed(0)
    quantizer = ResidualVectorQuantizer(LENGTH, CODES, 2, kmeans_iterations=1)
    x = torch.randn(ROWS, LENGTH).requires_grad_()
    with EveryTensor() as every:
        found = quantizer(x)
        (found.loss + found.quantized.sum()).backward()
    assert every.elements <= BLOCK, every.operation


def test_the_observer_sees_inside_operators_and_backward() -> None:
    """What is written the ordinary way is caught, in a forward, in an operator of the package and in a backward."""
    x, codes = torch.randn(ROWS, LENGTH).requires_grad_(), torch.randn(CODES, LENGTH)
    with EveryTensor() as every:
        functional.one_hot(torch.zeros(ROWS, dtype=torch.int64), CODES)
    assert every.elements == ROWS * CODES
    small, few = torch.randn(1, 50, LENGTH), torch.randn(1, 40, LENGTH)
    with EveryTensor() as every:
        torch.ops.gptface.vq_lookup(small, few, "euclidean", 1, "exact", False, "reference")
    assert every.elements == 50 * 40 * LENGTH
    loss = torch.cdist(x, codes).sum()
    with EveryTensor() as every:
        loss.backward()
    assert every.elements >= ROWS * CODES
