"""``VectorQuantize`` in the call convention of vector-quantize-pytorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.integrations.lucidrains.codebook import Choice, Codebook, StateByTheirNames, UpdateWeight
from gptface.integrations.lucidrains.losses import LossBreakdown, code_cross_entropy, directional_reparam
from gptface.ops.vq.gradient import rotation_trick, straight_through
from gptface.ops.vq.quantizer import mean_square

__all__ = ["VectorQuantize"]

# What the original has beyond the arguments below: switches that must stay off, and what only tunes them.
_SWITCHES = {
    "commitment_use_cross_entropy_loss", "orthogonal_reg_weight", "codebook_diversity_loss_weight", "straight_through",
    "sync_affine_param", "vq_bridge", "in_place_codebook_optimizer", "affine_param", "sync_update_v",
}  # fmt: skip
_TUNING = {
    "orthogonal_reg_active_codes_only", "orthogonal_reg_max_codes", "codebook_diversity_temperature",
    "manual_in_place_optimizer_update", "affine_param_batch_decay", "affine_param_codebook_decay",
}  # fmt: skip


class VectorQuantize(nn.Module):
    """Quantizer in the call convention of vector-quantize-pytorch.

    ``forward(x)`` returns ``(quantized, indices, loss)``: ``x (B, N, dim)`` (``(B, dim)``, or as ``channel_last``,
    ``accept_image_fmap`` and ``accept_3d_fmap`` say), ``quantized`` like ``x``, ``indices (B, N)`` (``(B, N, heads)``
    with several heads), the loss a scalar, 0 in evaluation mode.

    Args:
        dim, codebook_size, codebook_dim, heads, separate_codebook_per_head, decay, eps, freeze_codebook, kmeans_init,
        kmeans_iters, use_cosine_sim, layernorm_after_project_in, threshold_ema_dead_code, channel_last,
        accept_image_fmap, accept_3d_fmap, commitment_weight, stochastic_sample_codes, sample_codebook_temp,
        rotation_trick, directional_reparam, directional_reparam_variance, ema_update, manual_ema_update,
        learnable_codebook, return_zeros_for_masked_padding, route_gradients_to_input: as in the original.
        sync_codebook: ``None`` exchanges statistics whenever there is a process group, also one that starts later.
        seed, impl: of :class:`gptface.ops.VectorQuantizer`.
        **options: the original's other switches are refused, unless they are off.

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
        layernorm_after_project_in: bool = False,
        threshold_ema_dead_code: float = 0,
        channel_last: bool = True,
        accept_image_fmap: bool = False,
        accept_3d_fmap: bool = False,
        commitment_weight: float = 1.0,
        *,
        stochastic_sample_codes: bool = False,
        sample_codebook_temp: float = 1.0,
        rotation_trick: bool | None = None,
        directional_reparam: bool = False,
        directional_reparam_variance: float = 5e-3,
        sync_codebook: bool | None = None,
        ema_update: bool | None = None,
        manual_ema_update: bool = False,
        learnable_codebook: bool | None = None,
        return_zeros_for_masked_padding: bool = True,
        route_gradients_to_input: bool = True,
        seed: int = 0,
        impl: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        for name, value in options.items():
            if name not in _SWITCHES | _TUNING:
                raise InputError(f"VectorQuantize: there is no argument {name}")
            if name in _SWITCHES and value not in (None, False, 0):
                raise InputError(f"VectorQuantize: {name}={value!r} is not supported; allowed: leave it out")
        learnable = directional_reparam if learnable_codebook is None else learnable_codebook
        follow = not directional_reparam if ema_update is None else ema_update
        rotation = not directional_reparam and dim > 1 if rotation_trick is None else rotation_trick
        _check(not sync_kmeans and kmeans_init, "sync_kmeans=False is not supported; allowed: True")
        _check(learnable and follow, "learnable_codebook=True needs ema_update=False")
        _check(learnable and use_cosine_sim, "learnable_codebook=True needs use_cosine_sim=False")
        _check(directional_reparam and rotation, "directional_reparam=True needs rotation_trick=False")
        _check(
            directional_reparam and threshold_ema_dead_code <= 0,
            "directional_reparam=True needs threshold_ema_dead_code above 0",
        )
        self.dim, self.codebook_size, self.heads = dim, codebook_size, heads
        self.separate_codebook_per_head = separate_codebook_per_head and heads > 1
        self.channels_first = accept_image_fmap or accept_3d_fmap or not channel_last
        self.freeze_codebook = freeze_codebook
        self.learnable_codebook = learnable
        self.ema_update = follow
        self.use_cosine_sim = use_cosine_sim
        self.commitment_weight = commitment_weight
        self.has_commitment_loss = commitment_weight > 0 and not directional_reparam
        self.stochastic_sample_codes, self.sample_codebook_temp = stochastic_sample_codes, sample_codebook_temp
        self.rotation_trick = rotation
        self.directional_reparam, self.directional_reparam_variance = directional_reparam, directional_reparam_variance
        self.route_gradients_to_input = route_gradients_to_input
        self.return_zeros_for_masked_padding = return_zeros_for_masked_padding

        self.code_length = dim if codebook_dim is None else codebook_dim
        inner = self.code_length * heads
        self.has_projections = inner != dim
        self.project_in: nn.Module = nn.Identity()
        self.project_out: nn.Module = nn.Identity()
        if self.has_projections:
            self.project_in, self.project_out = nn.Linear(dim, inner), nn.Linear(inner, dim)
            if layernorm_after_project_in:
                self.project_in = nn.Sequential(self.project_in, nn.LayerNorm(inner))
        groups = heads if self.separate_codebook_per_head else 1
        self.quantizer = Codebook(
            self.code_length * groups,
            codebook_size,
            groups=groups,
            metric="cosine" if use_cosine_sim else "euclidean",
            codebook_update="gradient" if learnable else "ema",
            decay=decay,
            epsilon=eps,
            kmeans_init=kmeans_init,
            kmeans_iterations=kmeans_iters,
            threshold=threshold_ema_dead_code,
            manual=manual_ema_update,
            seed=seed,
            synchronize=sync_codebook is not False,
            impl=impl,
        )
        self.register_state_dict_post_hook(_to_their_names)
        self.register_load_state_dict_pre_hook(_to_our_names)

    @property
    def codebook(self) -> Tensor:
        """``(K, D)``, or ``(H, K, D)`` with a codebook a head."""
        return self.quantizer.weight

    @codebook.setter
    def codebook(self, codes: Tensor) -> None:
        with torch.no_grad():
            self.quantizer.weight.copy_(codes)

    @property
    def _codebook(self) -> StateByTheirNames:
        """The codebook's state under the original's names, for code that reads or moves it."""
        return StateByTheirNames(self.quantizer)

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
        return vectors.movedim(-1, 1) if self.channels_first and vectors.ndim > 2 else vectors

    def _rows(
        self, x: Tensor, mask: Tensor | None, lens: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """``x (..., dim)``, the same as the codebook takes it, the mask ``(...)``, and the mask of the latter."""
        plain = x.movedim(1, -1) if self.channels_first and x.ndim > 2 else x
        if plain.shape[-1] != self.dim:
            raise InputError(
                f"VectorQuantize: x has shape {tuple(x.shape)}; the length of its vectors must be {self.dim}"
            )
        if lens is not None:
            if mask is not None or plain.ndim != 3 or lens.shape != plain.shape[:1]:
                raise InputError(
                    f"VectorQuantize: lens of shape {tuple(lens.shape)} with x of shape {tuple(x.shape)} and "
                    f"{'a' if mask is not None else 'no'} mask; allowed: (B,) with three dimensions and no mask"
                )
            mask = torch.arange(plain.shape[1], device=x.device) < lens.to(x.device).unsqueeze(-1)
        if mask is not None and (mask.dtype != torch.bool or mask.shape != plain.shape[:-1]):
            raise InputError(
                f"VectorQuantize: mask is {mask.dtype} of shape {tuple(mask.shape)}; "
                f"it must be bool of shape {tuple(plain.shape[:-1])}"
            )
        rows, row_mask = self.project_in(plain), mask
        if self._shares_codebook:
            rows = rows.unflatten(-1, (self.heads, self.code_length))
            row_mask = None if mask is None else mask.unsqueeze(-1).expand(rows.shape[:-1])
        return plain, rows, mask, row_mask

    @staticmethod
    def _like(rows: Tensor, indices: Tensor) -> Tensor:
        """Codes given from outside, one for each of ``rows (N, G)``."""
        if indices.numel() != rows.numel():
            raise InputError(
                f"VectorQuantize: indices has shape {tuple(indices.shape)}; it must be what forward returns for this x"
            )
        return indices.reshape(rows.shape)

    def forward(
        self,
        x: Tensor,
        indices: Tensor | None = None,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        topk: int | None = None,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool | None = None,
        return_loss_breakdown: bool = False,
        codebook_transform_fn: Callable[[Tensor], Tensor] | None = None,
        ema_update_weight: UpdateWeight | None = None,
        accum_ema_update: bool = False,
        ema_update: bool | None = None,
    ) -> Any:
        """Quantize ``x``.

        Args:
            x: see above.
            indices: codes to compare with, as ``forward`` returns them (−1 is left out): the result is then
                ``(quantized, cross-entropy of the codes' similarities against them)``.
            mask: bool ``(B, N)``: leaves vectors out of losses and statistics (zero, and index −1).
            lens: ``(B,)``, the numbers of vectors that count, in place of a mask.
            topk: return that many of the nearest codes, best first, ``quantized (B, N, topk, dim)`` and
                ``indices (B, N, topk)``, with the loss of each, ``(B, N, topk)``, in evaluation too. Nothing is
                learned; see :meth:`update_indices`.
            sample_codebook_temp: in place of the constructor's.
            freeze_codebook: in place of the constructor's.
            return_loss_breakdown: return a :class:`LossBreakdown` too.
            codebook_transform_fn: makes of the codebook ``(H, K, D)`` one for every vector, ``(H, B, N, K, D)``.
            ema_update_weight: of each code's update, ``(K,)`` or ``(H, K)``, or a function that makes it of the sums
                ``(H, K, D)`` and the numbers ``(H, K)`` of the vectors that chose each code.
            accum_ema_update: gather the batch's statistics for the next update without this, and change nothing yet.
            ema_update: in place of the constructor's.
        """
        if topk is not None:
            _check(self.heads > 1 or topk < 1, f"topk={topk} with heads={self.heads}; allowed: 1 or more, one head")
            topk = min(topk, self.codebook_size)
        _check(topk is not None and indices is not None, "topk and indices cannot go together")
        _check(codebook_transform_fn is not None and self._shares_codebook, "codebook_transform_fn needs one head")
        follow = self.ema_update if ema_update is None else ema_update
        _check(follow and self.learnable_codebook, "ema_update=True with learnable_codebook=True; allowed: False")
        plain, rows, mask, row_mask = self._rows(x, mask, lens)
        frozen = self.freeze_codebook if freeze_codebook is None else freeze_codebook
        changes = self.training and not frozen
        temperature = self.sample_codebook_temp if sample_codebook_temp is None else sample_codebook_temp
        choice = self.quantizer.choose(
            rows,
            row_mask,
            changes=changes,
            topk=topk,
            temperature=temperature if self.stochastic_sample_codes and self.training else 0.0,
            transform=codebook_transform_fn,
            kept=indices is not None,
        )
        leading = rows.shape[:-1] if topk is None else (*rows.shape[:-1], topk)
        commitment = self._commitment(choice, row_mask, leading, frozen)
        quantized = self._quantized(choice, plain.requires_grad).to(x.dtype).reshape(*leading, rows.shape[-1])
        given = None
        if indices is not None:
            targets = self._like(choice.indices, indices)
            given = code_cross_entropy(choice.rows, choice.weight.to(choice.rows.dtype), targets, self.use_cosine_sim)
        if changes and topk is None:
            self.quantizer.learn(
                choice.rows, choice.indices, choice.usable,
                follow=follow, weight=ema_update_weight, gather=accum_ema_update,
            )  # fmt: skip

        quantized = self.project_out(quantized.flatten(-2) if self._shares_codebook else quantized)
        chosen = choice.indices.reshape(*leading, *((self.heads,) if self.separate_codebook_per_head else ()))
        if mask is not None:
            padding = torch.zeros_like(plain) if self.return_zeros_for_masked_padding else plain
            by_vector = mask.unsqueeze(-1)
            by_code = by_vector if topk is not None or self.heads > 1 else mask
            chosen = torch.where(by_code, chosen, -1)
            if topk is not None:
                by_vector, padding = by_vector.unsqueeze(-1), padding.unsqueeze(-2)
            quantized = torch.where(by_vector, quantized, padding)
        quantized = self._to_layout(quantized)
        if given is not None:
            return quantized, given
        weight = self.commitment_weight if self.has_commitment_loss or self.training else 1.0
        loss = commitment * weight if self.training or topk is not None else torch.zeros_like(commitment)
        if not return_loss_breakdown:
            return quantized, chosen, loss
        zero = torch.zeros_like(loss.detach())
        return quantized, chosen, loss, LossBreakdown(commitment, zero, zero, zero)

    def _commitment(self, choice: Choice, mask: Tensor | None, leading: tuple[int, ...], frozen: bool) -> Tensor:
        """Mean squared distance of vectors and codes; with several candidates that of each, 0 at padding."""
        several = choice.codes.ndim == 4
        if (not self.has_commitment_loss and self.training) or not (self.training or several):
            return choice.rows.new_zeros(())
        codes = choice.codes if self.learnable_codebook and not frozen else choice.codes.detach()
        if not several:
            return mean_square(codes - choice.rows, mask)
        loss = (codes - choice.rows.unsqueeze(-2)).square().mean(-1).reshape(leading)
        return loss if mask is None else torch.where(mask.unsqueeze(-1), loss, 0.0)

    def _quantized(self, choice: Choice, input_learns: bool) -> Tensor:
        """The codes with the gradient of the vectors that chose them, if these learn; else with their own."""
        rows, codes = choice.rows, choice.codes
        if not ((input_learns or rows.requires_grad) and self.route_gradients_to_input):
            return codes
        rows = rows.unsqueeze(-2) if codes.ndim == 4 else rows
        if self.directional_reparam and self.training:
            return directional_reparam(rows, codes, self.directional_reparam_variance)
        return rotation_trick(rows, codes) if self.rotation_trick else straight_through(rows, codes)

    @torch.no_grad()
    def update_indices(self, x: Tensor, indices: Tensor, mask: Tensor | None = None) -> None:
        """Learn from ``x`` as if ``forward`` had chosen ``indices`` for it; −1 teaches nothing."""
        _, rows, _, row_mask = self._rows(x, mask)
        prepared, usable = self.quantizer._prepared(rows, row_mask, False)
        chosen = self._like(usable, indices)
        usable = usable & (chosen != -1)
        self.quantizer.learn(prepared, chosen.clamp_min(0), usable, follow=self.ema_update)

    update_ema_indices = update_indices

    def expire_codes_(self, x: Tensor) -> None:
        """Move dead codes onto vectors of ``x (..., codebook_dim · heads)``, in training mode."""
        self.quantizer.revive(x.unflatten(-1, (self.heads, self.code_length)) if self._shares_codebook else x)


def _check(impossible: bool, sentence: str) -> None:
    if impossible:
        raise InputError(f"VectorQuantize: {sentence}")


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
