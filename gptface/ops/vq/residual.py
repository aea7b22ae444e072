"""``ResidualVectorQuantizer``: quantizers in a row, each for what the ones before it left over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.ops.vq.gradient import rotation_trick, straight_through
from gptface.ops.vq.quantizer import VectorQuantizer

__all__ = ["ResidualQuantizerOutput", "ResidualVectorQuantizer"]


class ResidualQuantizerOutput(NamedTuple):
    """What a :class:`ResidualVectorQuantizer` of Q stages returns; ``...`` are the leading dimensions of its input.

    Attributes:
        quantized: ``(..., D)`` in the dtype of the input: the sum of the chosen codes, with the estimator's gradient.
        indices: int64 ``(..., Q)``, or ``(..., G, Q)`` with ``groups > 1``, the coarsest stage first.
        loss: scalar: the sum of the stages' losses.
        perplexity, usage: ``(Q,)``, see :class:`gptface.ops.QuantizerOutput`.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor
    usage: Tensor


class ResidualVectorQuantizer(nn.Module):
    """Q codebooks for one vector: stage q quantizes what the sum of the codes before it leaves of ``x`` (Zeghidour et
    al., "SoundStream", arXiv 2107.03312, algorithm 1).

    ``forward(x (..., D), mask=None, *, update=None)`` returns a :class:`ResidualQuantizerOutput`. The gradient of
    ``quantized`` reaches ``x`` once, by the estimator applied to the sum, not once a stage. Every stage's commitment
    loss draws ``x`` too. Under ``torch.distributed`` a training step has one all-reduce a stage.

    Args:
        dim: D.
        codebook_size: K, of every stage.
        stages: Q, 1 or more.
        estimator: as in :class:`gptface.ops.VectorQuantizer`.
        seed: of the first stage; the next ones count on from it.
        **options: of the stages' :class:`gptface.ops.VectorQuantizer`. Not ``metric="cosine"`` (what unit codes leave
            over is no direction) and not ``topk``.

    State dictionary: that of stage q under ``stages.q.``.

    Raises:
        InputError: from the constructor for impossible values, from ``forward`` for the wrong shape or dtype.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        stages: int,
        *,
        estimator: str = "straight_through",
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if stages < 1:
            raise InputError(f"ResidualVectorQuantizer: stages={stages}; allowed: 1 or more")
        if estimator not in ("straight_through", "rotation"):
            raise InputError(
                f"ResidualVectorQuantizer: estimator={estimator!r} is not known; allowed: straight_through, rotation"
            )
        for name, allowed in (("metric", "euclidean"), ("topk", 1)):
            if options.get(name, allowed) != allowed:
                raise InputError(f"ResidualVectorQuantizer: {name}={options[name]!r}; allowed: {allowed!r}")
        self.estimator = estimator
        self.stages = nn.ModuleList(
            VectorQuantizer(dim, codebook_size, seed=seed + stage, **options) for stage in range(stages)
        )

    def lookup(self, indices: Tensor) -> Tensor:
        """The sum ``(..., D)`` of the codes of ``indices (..., q)``; with q < Q that of the first q stages."""
        if not 1 <= indices.shape[-1] <= len(self.stages):
            raise InputError(
                f"ResidualVectorQuantizer.lookup: indices has shape {tuple(indices.shape)}; "
                f"the last dimension must be 1 to {len(self.stages)}"
            )
        codes = [stage.lookup(part) for stage, part in zip(self.stages, indices.unbind(-1), strict=False)]  # type: ignore[operator]
        total = codes[0]
        for code in codes[1:]:  # in the order of forward, so that the sum has the same bits
            total = total + code
        return total

    if TYPE_CHECKING:  # `nn.Module` says Any of its call

        def __call__(
            self, x: Tensor, mask: Tensor | None = None, *, update: bool | None = None
        ) -> ResidualQuantizerOutput: ...

    def forward(self, x: Tensor, mask: Tensor | None = None, *, update: bool | None = None) -> ResidualQuantizerOutput:
        """Quantize ``x (..., D)`` and learn from it; ``mask`` and ``update`` as in
        :class:`gptface.ops.VectorQuantizer`."""
        precise = x.to(torch.promote_types(x.dtype, torch.float32)) if x.is_floating_point() else x
        residual, total = precise, torch.zeros_like(precise)
        found = []
        for stage in self.stages:
            output = stage(residual, mask, update=update)
            # The codes alone: what the stages did decide does not depend on x.
            code = output.quantized.detach()
            residual, total = residual - code, total + code
            found.append(output)
        quantized = (rotation_trick if self.estimator == "rotation" else straight_through)(precise, total)
        return ResidualQuantizerOutput(
            quantized=quantized.to(x.dtype),
            indices=torch.stack([output.indices for output in found], -1),
            loss=torch.stack([output.loss for output in found]).sum(),
            perplexity=torch.stack([output.perplexity for output in found]),
            usage=torch.stack([output.usage for output in found]),
        )
