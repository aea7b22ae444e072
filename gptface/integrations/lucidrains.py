"""vector-quantize-pytorch's ``VectorQuantize``: the same call, the same state dictionary, on ``gptface.ops``.

Change the import, keep the rest::

    from gptface.integrations.lucidrains import VectorQuantize

Indices, values, losses and updated codebooks are those of the original, up to rounding in near ties; random choices
(k-means' first rows, replaced codes) are this package's own, deterministic by seed. One difference is meant: with
``use_cosine_sim`` and a mask, the loss compares codes and vectors both of unit length, as it does without a mask;
release 1.32 of the original takes the vectors as they came.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.ops import VectorQuantizer

__all__ = ["VectorQuantize"]


class _Codebook(VectorQuantizer):
    """Counts a code as dead below an absolute moving cluster size, as the original does."""

    def __init__(self, *arguments: Any, threshold: float, **options: Any) -> None:
        super().__init__(*arguments, revive_below=0.5 if threshold > 0 else 0.0, **options)
        self.threshold = threshold

    def _dead_codes(self) -> tuple[Tensor, Tensor]:
        return self.cluster_size < self.threshold, torch.full_like(self.cluster_size, self.threshold)


class VectorQuantize(nn.Module):
    """Quantizer in the call convention of vector-quantize-pytorch.

    ``forward(x)`` returns ``(quantized, indices, loss)``: ``x (B, N, dim)`` (``(B, dim)``, or as ``channel_last`` and
    ``accept_image_fmap`` say), ``quantized`` like ``x``, ``indices (B, N)`` (``(B, N, heads)`` with several heads), the
    loss a scalar, 0 in evaluation mode.

    Args:
        dim, codebook_size, codebook_dim, heads, separate_codebook_per_head, decay, eps, freeze_codebook, kmeans_init,
        kmeans_iters, use_cosine_sim, threshold_ema_dead_code, channel_last, accept_image_fmap, commitment_weight,
        rotation_trick, ema_update, learnable_codebook, return_zeros_for_masked_padding: as in the original.
        sync_codebook: ``None`` exchanges statistics whenever there is a process group, also one that starts later.
        seed, impl: of :class:`gptface.ops.VectorQuantizer`.
        **options: any other argument of the original is refused, unless it has its neutral value (``None``, ``False``
            or 0).

    State dictionary: ``_codebook.embed``, ``.embed_avg`` ``(H, K, D)``, ``.cluster_size`` ``(H, K)``, ``.initted``, and
    ``project_in``, ``project_out`` where ``codebook_dim · heads != dim``.

    Raises:
        InputError: for an option that is not supported, and for impossible values.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int | None = None,
        heads: int = 1,
        separate_codebook_per_head: bool = False,
        decay: float = 0.8,
        eps: float = 1e-5,
        freeze_codebook: bool = False,
        kmeans_init: bool = False,
        kmeans_iters: int = 10,
        sync_kmeans: bool = True,
        use_cosine_sim: bool = False,
        threshold_ema_dead_code: float = 0,
        channel_last: bool = True,
        accept_image_fmap: bool = False,
        commitment_weight: float = 1.0,
        rotation_trick: bool | None = None,
        sync_codebook: bool | None = None,
        ema_update: bool | None = None,
        learnable_codebook: bool | None = None,
        return_zeros_for_masked_padding: bool = True,
        *,
        seed: int = 0,
        impl: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        for name, value in options.items():
            if value not in (None, False, 0):
                raise InputError(f"VectorQuantize: {name}={value!r} is not supported; allowed: leave it out")
        if not sync_kmeans and kmeans_init:
            raise InputError("VectorQuantize: sync_kmeans=False is not supported; allowed: True")
        learnable = bool(learnable_codebook)
        if learnable and ema_update is not False:
            raise InputError("VectorQuantize: learnable_codebook=True needs ema_update=False")
        if learnable and (use_cosine_sim or freeze_codebook):
            raise InputError(
                "VectorQuantize: learnable_codebook=True needs use_cosine_sim=False, freeze_codebook=False"
            )
        self.dim, self.codebook_size, self.heads = dim, codebook_size, heads
        self.separate_codebook_per_head = separate_codebook_per_head and heads > 1
        self.channel_last, self.accept_image_fmap = channel_last, accept_image_fmap
        self.freeze_codebook = freeze_codebook
        self.return_zeros_for_masked_padding = return_zeros_for_masked_padding
        self.code_length = dim if codebook_dim is None else codebook_dim
        inner = self.code_length * heads
        self.project_in: nn.Module = nn.Linear(dim, inner) if inner != dim else nn.Identity()
        self.project_out: nn.Module = nn.Linear(inner, dim) if inner != dim else nn.Identity()
        if rotation_trick is None:
            rotation_trick = dim > 1
        groups = heads if self.separate_codebook_per_head else 1
        self.quantizer = _Codebook(
            self.code_length * groups,
            codebook_size,
            groups=groups,
            metric="cosine" if use_cosine_sim else "euclidean",
            codebook_update="gradient" if learnable else "ema",
            estimator="rotation" if rotation_trick else "straight_through",
            commitment_weight=commitment_weight,
            codebook_weight=commitment_weight,
            decay=decay,
            epsilon=eps,
            kmeans_init=kmeans_init,
            kmeans_iterations=kmeans_iters,
            threshold=threshold_ema_dead_code,
            seed=seed,
            synchronize=sync_codebook is not False,
            impl=impl,
        )
        self.learnable_codebook = learnable
        self.ema_update = not learnable and ema_update is not False
        self.register_state_dict_post_hook(_to_their_names)
        self.register_load_state_dict_pre_hook(_to_our_names)

    @property
    def codebook(self) -> Tensor:
        """``(K, D)``, or ``(H, K, D)`` with a codebook a head."""
        return self.quantizer.codebook

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """Codes of ``indices`` as ``forward`` returned them, heads side by side, before ``project_out``.

        At −1, which stands at padding, zeros.
        """
        return self._to_layout(self._codes(indices))

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """What ``forward`` returns as quantized for these indices; zeros at padding."""
        padding = (indices == -1) if self.heads == 1 else (indices == -1).any(-1)
        return self._to_layout(self.project_out(self._codes(indices)).masked_fill(padding.unsqueeze(-1), 0.0))

    def _codes(self, indices: Tensor) -> Tensor:
        padding = indices == -1
        codes = self.quantizer.lookup(torch.where(padding, 0, indices))
        if self.separate_codebook_per_head:  # the lookup has put the heads side by side
            codes = codes.unflatten(-1, (self.heads, -1))
        codes = codes.masked_fill(padding.unsqueeze(-1), 0.0)
        return codes.flatten(-2) if self.heads > 1 else codes

    @property
    def _shares_codebook(self) -> bool:
        return self.heads > 1 and not self.separate_codebook_per_head

    def _to_layout(self, vectors: Tensor) -> Tensor:
        channels_first = self.accept_image_fmap or not self.channel_last
        return vectors.movedim(-1, 1) if channels_first and vectors.ndim > 2 else vectors

    def forward(
        self, x: Tensor, mask: Tensor | None = None, freeze_codebook: bool | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize ``x``; ``mask (B, N)`` leaves vectors out of losses and statistics (zero, and index −1)."""
        channels_first = self.accept_image_fmap or not self.channel_last
        rows = x.movedim(1, -1) if channels_first and x.ndim > 2 else x
        if rows.shape[-1] != self.dim:
            raise InputError(
                f"VectorQuantize: x has shape {tuple(x.shape)}; the length of its vectors must be {self.dim}"
            )
        original = rows
        rows = self.project_in(rows)
        vector_mask = mask
        if self._shares_codebook:
            rows = rows.unflatten(-1, (self.heads, self.code_length))
            vector_mask = None if mask is None else mask.unsqueeze(-1).expand(rows.shape[:-1])

        frozen = self.freeze_codebook if freeze_codebook is None else freeze_codebook
        update = self.training and not frozen and (self.ema_update or self.learnable_codebook)
        quantized, indices, loss, *_ = self.quantizer(rows, vector_mask, update=update)

        quantized = self.project_out(quantized.flatten(-2) if self._shares_codebook else quantized)
        if mask is not None:
            padding = torch.zeros_like(original) if self.return_zeros_for_masked_padding else original
            quantized = torch.where(mask.unsqueeze(-1), quantized, padding)
            indices = torch.where(mask if self.heads == 1 else mask.unsqueeze(-1), indices, -1)
        if not self.training:
            loss = torch.zeros_like(loss)
        elif self.learnable_codebook:
            # One squared error draws both sides there: the gradients of our two terms, the value of one.
            loss = loss - 0.5 * loss.detach()
        return self._to_layout(quantized), indices, loss


_NAMES = {
    "quantizer.weight": "_codebook.embed",
    "quantizer.cluster_sum": "_codebook.embed_avg",
    "quantizer.cluster_size": "_codebook.cluster_size",
    "quantizer.initialized": "_codebook.initted",
}


def _to_their_names(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    assert isinstance(module, VectorQuantize)
    state.pop(prefix + "quantizer.step", None)
    one_group = module.quantizer.groups == 1
    for ours, theirs in _NAMES.items():
        value = state.pop(prefix + ours, None)
        if value is None:
            continue
        state[prefix + theirs] = value.unsqueeze(0) if one_group and value.ndim > 0 else value
    # What the original always has, even where it is not in use.
    codes = state[prefix + "_codebook.embed"]
    state.setdefault(prefix + "_codebook.initted", torch.ones((), dtype=torch.bool, device=codes.device))
    state.setdefault(prefix + "_codebook.cluster_size", torch.ones_like(codes[..., 0]))
    state.setdefault(prefix + "_codebook.embed_avg", codes.detach().clone())


def _to_our_names(module: nn.Module, state: dict[str, Any], prefix: str, *arguments: Any) -> None:
    assert isinstance(module, VectorQuantize)
    own = dict(module.quantizer.named_buffers(prefix="quantizer"))
    own["quantizer.weight"] = module.quantizer.weight
    for ours, theirs in _NAMES.items():
        value = state.pop(prefix + theirs, None)
        if value is not None and ours in own:
            state[prefix + ours] = value.reshape(own[ours].shape).to(own[ours].dtype)
    if "quantizer.step" in own:
        state.setdefault(prefix + "quantizer.step", own["quantizer.step"])
