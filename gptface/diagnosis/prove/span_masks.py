"""What the span-mask kernels have to get right: every bit, of random specifications and of a large batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptface.diagnosis.prove.case import Case, Found, equal
from gptface.diagnosis.span_mask_draws import random_case
from gptface.ops import (
    ImageBlocks,
    MaskGITCosine,
    Multimodal,
    SpanMask,
    TextSpans,
    corrupt_tokens,
    mask_tokens,
    sample_span_mask,
)

__all__ = ["LargeBatch", "RandomSpecifications", "cases"]

KERNEL = "span_mask.cuda"


def _to(value: Any, device: str) -> Any:
    return torch.from_numpy(value).to(device) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class RandomSpecifications(Case):
    """Masks of random specifications and inputs, against the definition in plain Python.

    Attributes:
        seed: of the draws.
        count: how many.
    """

    seed: int = 0
    count: int = 100

    def kernels(self) -> tuple[str, ...]:
        return (KERNEL,)

    def weight(self) -> float:
        return 0.5

    def run(self, device: str) -> list[Found]:
        rng = np.random.default_rng(self.seed)
        wrong = ""
        for _ in range(self.count):
            case = random_case(rng)
            keywords = {name: _to(value, device) for name, value in case.keywords.items()}
            layout = _to(case.layout, device)
            if layout is not None and layout.dim() == 1:
                keywords.setdefault("max_length", int(layout.max()) if layout.numel() else 0)
            mine = sample_span_mask(case.spec, layout, impl="cuda", **keywords)
            exact = sample_span_mask(case.spec, case.layout, impl="reference", **case.keywords)
            wrong = wrong or self._differs(mine, exact, case.spec)
        what = f"{self.count} random specifications" + (f", first {wrong}" if wrong else "")
        return [Found(KERNEL, what, math.inf if wrong else 0.0)]

    @staticmethod
    def _differs(mine: SpanMask, exact: SpanMask, spec: Any) -> str:
        masked = len(exact.indices)
        for name, own, theirs in zip(SpanMask._fields, mine, exact, strict=True):
            # Lengths on a device need the most that they may be: rows may be longer than the longest.
            own = own[:masked] if name == "indices" else own[:, : theirs.shape[1]] if theirs.ndim == 2 else own
            if not np.array_equal(own.cpu().numpy(), theirs):
                return f"{name} of {spec}"
        return "" if bool((mine.indices[masked:] == -1).all()) else f"indices past the end of {spec}"


@dataclass(frozen=True)
class LargeBatch(Case):
    """Masks and corrupted tokens of a multimodal batch, against the definition on the host.

    Attributes:
        batch: samples of 334 positions.
        per: ``"span"`` or ``"token"``: what a corruption is decided for.
    """

    batch: int = 257
    per: str = "span"

    def kernels(self) -> tuple[str, ...]:
        return (KERNEL,)

    def weight(self) -> float:
        return 0.5

    def run(self, device: str) -> list[Found]:
        spec = Multimodal(TextSpans(0.3), ImageBlocks((16, 16), MaskGITCosine()))
        row = torch.tensor([0] + [1] * 76 + [2] * 256 + [0], dtype=torch.int8)
        modality = row.expand(self.batch, -1).contiguous()
        generator = torch.Generator().manual_seed(self.batch)
        tokens = torch.randint(0, 200, modality.shape, generator=generator)
        ids = torch.arange(self.batch) * 7919
        words: dict[str, Any] = {"mask_id": (1, 2), "vocabulary_ranges": [(5, 100), (100, 200)], "per": self.per}

        def everything(impl: str, device: str) -> list[list[Tensor]]:
            there: dict[str, Any] = {"seed": 1, "step": 2, "sample_ids": ids.to(device), "impl": impl}
            mask = sample_span_mask(spec, modality.to(device), **there)
            corrupted = corrupt_tokens(tokens.to(device), mask, **words, **there)
            both = mask_tokens(tokens.to(device), spec, modality.to(device), **words, **there)
            several = [[*mask], [corrupted], [*both.span_mask, both.token_ids]]
            return [[tensor.cpu() for tensor in tensors] for tensors in several]

        exact = everything("reference", "cpu")
        first, second = everything("cuda", device), everything("cuda", device)
        masked = len(exact[0][1])
        found = []
        for what, mine, again, theirs in zip(("mask", "corruption", "both in one"), first, second, exact, strict=True):
            cut = [own[:masked] if own.dim() == 1 and own.dtype == torch.int64 and len(own) > len(other) else own
                   for own, other in zip(mine, theirs, strict=True)]  # fmt: skip
            found.append(equal(KERNEL, what, *zip(cut, theirs, strict=True)))
            found.append(equal(KERNEL, f"{what}, run twice", *zip(mine, again, strict=True)))
        return found


def cases() -> list[Case]:
    """The hard set."""
    return [
        *(RandomSpecifications(f"random specifications {seed}", seed) for seed in range(3)),
        LargeBatch("a batch, corrupted a span"),
        LargeBatch("one sample, corrupted a token", 1, "token"),
        LargeBatch("256 samples, corrupted a token", 256, "token"),
    ]
