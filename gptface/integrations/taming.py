"""taming-transformers' ``VectorQuantizer2``: the same call, the same state dictionary, on ``gptface.ops``.

Change the import, keep the rest::

    from gptface.integrations.taming import VectorQuantizer2

Indices, values and losses are those of the original, up to rounding in near ties.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.ops import VectorQuantizer

__all__ = ["VectorQuantizer2"]


class VectorQuantizer2(nn.Module):
    """Image quantizer with a codebook learned by gradient, in the call convention of taming-transformers.

    ``forward(z (B, C, H, W))`` returns ``(z_q, loss, (None, None, indices))`` with ``z_q`` like ``z`` and ``indices``
    ``(B·H·W,)``, or ``(B, H, W)`` with ``sane_index_shape`` (``(B·H·W, 1)`` with ``remap`` alone, as there).

    Args:
        n_e: number of codes.
        e_dim: C, their length.
        beta: weight of one of the two loss terms: of the codebook's with ``legacy``, else of the commitment.
        remap: path of a ``.npy`` file with the original indices in use, in the order of their new indices.
        unknown_index: new index of an index that is not in ``remap``: ``"random"``, ``"extra"`` (one more than the
            last) or a number.
        sane_index_shape: see above.
        legacy: see ``beta``.
        **options: passed on to :class:`gptface.ops.VectorQuantizer`, such as ``revive_below``, ``estimator``, ``impl``.

    State dictionary: ``embedding.weight (n_e, e_dim)`` (and ``used`` with ``remap``); buffers of ``options`` the
    original lacks may be missing when loading, and then keep their values.
    """

    used: Tensor

    def __init__(
        self,
        n_e: int,
        e_dim: int,
        beta: float,
        remap: str | Path | None = None,
        unknown_index: str | int = "random",
        sane_index_shape: bool = False,
        legacy: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        self.n_e, self.e_dim, self.beta = n_e, e_dim, beta
        self.legacy, self.sane_index_shape = legacy, sane_index_shape
        defaults = {"kmeans_init": False, "revive_below": 0.0}
        self.quantizer = VectorQuantizer(
            e_dim,
            n_e,
            codebook_update="gradient",
            commitment_weight=1.0 if legacy else beta,
            codebook_weight=beta if legacy else 1.0,
            **{**defaults, **options},
        )
        self.remap = remap
        self.re_embed = n_e
        if remap is not None:
            self._set_up_remap(Path(remap), unknown_index)
        self.register_state_dict_post_hook(_to_their_names)
        self.register_load_state_dict_pre_hook(_to_our_names)

    def _set_up_remap(self, path: Path, unknown_index: str | int) -> None:
        used = torch.from_numpy(np.load(path)).long()
        if used.ndim != 1 or used.numel() == 0 or used.min() < 0 or used.max() >= self.n_e:
            raise InputError(
                f"{path}: holds an array of shape {tuple(used.shape)}; allowed: indices below n_e={self.n_e}"
            )
        self.register_buffer("used", used)
        self.re_embed = used.numel()
        if unknown_index == "extra":
            unknown_index, self.re_embed = self.re_embed, self.re_embed + 1
        elif unknown_index != "random" and not isinstance(unknown_index, int):
            raise InputError(f"VectorQuantizer2: unknown_index={unknown_index!r}; allowed: 'random', 'extra', a number")
        self.unknown_index = unknown_index

    @property
    def embedding(self) -> nn.Module:
        """The codebook as something with a ``weight``, where code written for the original looks for it."""
        return self.quantizer

    def remap_to_used(self, indices: Tensor) -> Tensor:
        """New indices of original ones, any shape."""
        position = torch.full((self.n_e,), -1, dtype=torch.int64, device=indices.device)
        position[self.used] = torch.arange(len(self.used), device=indices.device)
        new = position[indices]
        if self.unknown_index == "random":
            other = torch.randint(self.re_embed, new.shape, device=new.device)
        else:
            other = torch.full_like(new, int(self.unknown_index))
        return torch.where(new < 0, other, new)

    def unmap_to_all(self, indices: Tensor) -> Tensor:
        """Original indices of new ones, any shape; the extra index stands for the first one in use."""
        return self.used[torch.where(indices < len(self.used), indices, 0)]

    def forward(
        self, z: Tensor, temp: float | None = None, rescale_logits: bool = False, return_logits: bool = False
    ) -> tuple[Tensor, Tensor, tuple[None, None, Tensor]]:
        """Quantize ``z (B, C, H, W)``; the other arguments exist for their neutral values only."""
        if temp not in (None, 1.0) or rescale_logits or return_logits:
            raise InputError(
                "VectorQuantizer2: temp, rescale_logits and return_logits are allowed only as None, False, False"
            )
        if z.ndim != 4:
            raise InputError(f"VectorQuantizer2: z has shape {tuple(z.shape)}; it must be (B, {self.e_dim}, H, W)")
        found = self.quantizer(z.permute(0, 2, 3, 1))
        indices = found.indices
        if self.remap is not None:
            indices = self.remap_to_used(indices)
        if not self.sane_index_shape:
            indices = indices.reshape(-1, 1) if self.remap is not None else indices.reshape(-1)
        return found.quantized.permute(0, 3, 1, 2).contiguous(), found.loss, (None, None, indices)

    def get_codebook_entry(self, indices: Tensor, shape: tuple[int, int, int, int] | None) -> Tensor:
        """Codes of ``indices``, as ``(B, C, H, W)`` for ``shape = (B, H, W, C)``, else one a row."""
        if self.remap is not None:
            indices = self.unmap_to_all(indices)
        codes = self.quantizer.lookup(indices.reshape(-1) if shape is not None else indices)
        return codes if shape is None else codes.reshape(shape).permute(0, 3, 1, 2).contiguous()


_OURS, _THEIRS = "quantizer.weight", "embedding.weight"


def _to_their_names(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    state[prefix + _THEIRS] = state.pop(prefix + _OURS)


def _to_our_names(module: nn.Module, state: dict[str, Any], prefix: str, *arguments: Any) -> None:
    if prefix + _THEIRS in state:
        state[prefix + _OURS] = state.pop(prefix + _THEIRS)
    for name, value in module.named_buffers():
        if name.startswith("quantizer."):
            state.setdefault(prefix + name, value)
