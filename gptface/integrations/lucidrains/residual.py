"""``ResidualVQ`` in the call convention of vector-quantize-pytorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.integrations.lucidrains.beams import Beams
from gptface.integrations.lucidrains.dropped_stages import DroppedStages
from gptface.integrations.lucidrains.implicit import ImplicitCodebook
from gptface.integrations.lucidrains.losses import directional_reparam
from gptface.integrations.lucidrains.vector_quantize import VectorQuantize

__all__ = ["ResidualVQ"]


class ResidualVQ(nn.Module):
    """Quantizers in a row, each for what the ones before it left over, as vector-quantize-pytorch calls them.

    ``forward(x)`` returns ``(quantized, indices, losses)``: ``x (B, N, dim)`` (images ``(B, dim, H, W)`` with
    ``accept_image_fmap``), ``quantized`` like ``x``, ``indices (B, N, Q)``, the losses of the stages ``(Q,)``. Every
    stage passes the estimator's gradient on to ``x``, as there; :class:`gptface.ops.ResidualVectorQuantizer` does so
    once, for the sum.

    Args:
        dim, num_quantizers, codebook_size, codebook_dim, shared_codebook, diveq, quantize_dropout,
        quantize_dropout_cutoff_index, quantize_dropout_multiple_of, accept_image_fmap, implicit_neural_codebook,
        mlp_kwargs, beam_size, eval_beam_size, beam_score_quantizer_weights, quant_grad_frac,
        return_zeros_for_masked_padding: as in the original.
        seed: of the first stage and of the stages dropped; the next stages count on from it.
        **vq_kwargs: of the stages' :class:`VectorQuantize`.

    State dictionary: that of stage q under ``layers.q.`` (a shared codebook under each), ``project_in`` and
    ``project_out`` where ``codebook_dim != dim``, ``mlps`` with ``implicit_neural_codebook``.

    Raises:
        InputError: for an option that is not supported, and for impossible values.
    """

    beam_score_weights: Tensor

    def __init__(
        self,
        *,
        dim: int,
        num_quantizers: int | None = None,
        codebook_size: int | tuple[int, ...],
        codebook_dim: int | None = None,
        shared_codebook: bool = False,
        diveq: bool = False,
        heads: int = 1,
        quantize_dropout: bool = False,
        quantize_dropout_cutoff_index: int = 0,
        quantize_dropout_multiple_of: int = 1,
        accept_image_fmap: bool = False,
        implicit_neural_codebook: bool = False,
        mlp_kwargs: dict[str, Any] | None = None,
        beam_size: int | None = None,
        eval_beam_size: int | None = None,
        beam_score_quantizer_weights: list[float] | None = None,
        quant_grad_frac: float = 0.0,
        return_zeros_for_masked_padding: bool = True,
        seed: int = 0,
        **vq_kwargs: Any,
    ) -> None:
        super().__init__()
        sizes = codebook_size if isinstance(codebook_size, tuple) else (codebook_size,) * (num_quantizers or 0)
        stages = len(sizes) if num_quantizers is None else num_quantizers
        weights = [1.0] * stages if beam_score_quantizer_weights is None else beam_score_quantizer_weights
        _check(heads != 1, f"heads={heads}; allowed: 1")
        _check(stages < 1 or len(sizes) != stages, f"num_quantizers={num_quantizers}, codebook_size={codebook_size}")
        _check(shared_codebook and len(set(sizes)) > 1, f"shared_codebook=True with codebook_size={codebook_size}")
        _check(eval_beam_size is not None and beam_size is None, "eval_beam_size needs beam_size")
        _check(len(weights) != stages, f"beam_score_quantizer_weights has {len(weights)} numbers for {stages} stages")
        _check(
            quantize_dropout and not 0 <= quantize_dropout_cutoff_index < stages,
            f"quantize_dropout_cutoff_index={quantize_dropout_cutoff_index}; allowed: 0 to {stages - 1}",
        )
        if implicit_neural_codebook:
            vq_kwargs.update(learnable_codebook=True, ema_update=False)
        if shared_codebook:
            vq_kwargs.update(manual_ema_update=True)
        if diveq:
            vq_kwargs.update(
                ema_update=False, learnable_codebook=True, route_gradients_to_input=False, commitment_weight=0.0
            )
        _check(beam_size is not None and vq_kwargs.get("commitment_weight", 1.0) <= 0, "beam_size needs a commitment")
        self.dim, self.num_quantizers, self.codebook_sizes = dim, stages, sizes
        self.codebook_dim = dim if codebook_dim is None else codebook_dim
        self.has_projections = self.codebook_dim != dim
        self.project_in: nn.Module = nn.Linear(dim, self.codebook_dim) if self.has_projections else nn.Identity()
        self.project_out: nn.Module = nn.Linear(self.codebook_dim, dim) if self.has_projections else nn.Identity()
        self.accept_image_fmap = accept_image_fmap
        self.shared_codebook, self.diveq = shared_codebook, diveq
        self.implicit_neural_codebook = implicit_neural_codebook
        self.uniform_codebook_size = len(set(sizes)) == 1
        self.quantize_dropout = quantize_dropout and stages > 1
        self.quantize_dropout_cutoff_index = quantize_dropout_cutoff_index
        self.quantize_dropout_multiple_of = quantize_dropout_multiple_of
        self.quant_grad_frac = 1.0 if diveq else quant_grad_frac
        self.beam_size, self.eval_beam_size = beam_size, beam_size if eval_beam_size is None else eval_beam_size
        self.return_zeros_for_masked_padding = return_zeros_for_masked_padding
        self.register_buffer("beam_score_weights", torch.tensor(weights), persistent=False)
        self._dropped = DroppedStages(seed)

        self.layers = nn.ModuleList(
            VectorQuantize(
                self.codebook_dim,
                size,
                return_zeros_for_masked_padding=return_zeros_for_masked_padding,
                seed=seed + stage,
                **vq_kwargs,
            )
            for stage, size in enumerate(sizes)
        )
        if shared_codebook:
            for layer in self._stages[1:]:
                layer.quantizer = self._first.quantizer
        self.mlps: nn.ModuleList | None = None
        if implicit_neural_codebook:
            unit = self._first.use_cosine_sim
            self.mlps = nn.ModuleList(
                ImplicitCodebook(self.codebook_dim, l2norm_output=unit, **(mlp_kwargs or {})) for _ in range(stages - 1)
            )

    @property
    def _first(self) -> VectorQuantize:
        return self._stages[0]

    @property
    def _stages(self) -> list[VectorQuantize]:
        return cast("list[VectorQuantize]", list(self.layers))

    @property
    def codebook_size(self) -> int:
        """K of the first stage."""
        return self.codebook_sizes[0]

    @property
    def codebooks(self) -> Tensor | tuple[Tensor, ...]:
        """``(Q, K, D)``, or with different sizes a tuple."""
        codes = tuple(layer.codebook for layer in self._stages)
        return torch.stack(codes) if self.uniform_codebook_size else codes

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """The codes of all stages ``(Q, ..., codebook_dim)`` of ``indices (..., q)``; zeros at −1 and for q < Q."""
        if not 1 <= indices.shape[-1] <= self.num_quantizers:
            raise InputError(
                f"ResidualVQ: indices has shape {tuple(indices.shape)}; "
                f"the last dimension must be 1 to {self.num_quantizers}"
            )
        found: list[Tensor] = []
        total = torch.zeros(())
        for stage, (layer, chosen) in enumerate(zip(self._stages, indices.unbind(-1), strict=False)):
            codes = layer._codes(chosen)
            mlp = self._mlp(stage)
            if mlp is not None:
                codes = mlp.of_chosen(codes, condition=total).masked_fill((chosen == -1).unsqueeze(-1), 0.0)
            found.append(codes)
            total = total.to(codes) + codes
        found.extend([torch.zeros_like(found[0])] * (self.num_quantizers - len(found)))
        return torch.stack(found)

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """What ``forward`` returns as quantized for these indices; zeros where all are −1, that is at padding."""
        codes = self.get_codes_from_indices(indices).unbind(0)
        total = codes[0]
        for code in codes[1:]:  # in the order of forward, so that the sum has the same bits
            total = total + code
        return self._to_layout(self.project_out(total).masked_fill((indices == -1).all(-1, keepdim=True), 0.0))

    def _to_layout(self, vectors: Tensor) -> Tensor:
        return vectors.movedim(-1, 1) if self.accept_image_fmap else vectors

    def _mlp(self, stage: int) -> ImplicitCodebook | None:
        mlp = None if self.mlps is None or stage == 0 else self.mlps[stage - 1]
        assert mlp is None or isinstance(mlp, ImplicitCodebook)
        return mlp

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        indices: Tensor | list[Tensor] | None = None,
        return_all_codes: bool = False,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool = False,
        beam_size: int | None = None,
        rand_quantize_dropout_fixed_seed: int | None = None,
    ) -> Any:
        """Quantize ``x``.

        Args:
            x: see above.
            mask: bool ``(B, N)``: leaves vectors out of losses and statistics (zero, and index −1).
            indices: codes to compare with, ``(B, N, Q)`` (−1 is left out): the result is then ``(quantized, sum of the
                stages' cross-entropies)``.
            return_all_codes: return :meth:`get_codes_from_indices` of the indices too.
            sample_codebook_temp, freeze_codebook: of the stages.
            beam_size: in place of the constructor's.
            rand_quantize_dropout_fixed_seed: decides alone after which stage the rest is dropped.
        """
        plain = x.movedim(1, -1) if self.accept_image_fmap else x
        if plain.shape[-1] != self.dim:
            raise InputError(f"ResidualVQ: x has shape {tuple(x.shape)}; the length of its vectors must be {self.dim}")
        if beam_size is None:
            beam_size = self.beam_size if self.training else self.eval_beam_size
        if isinstance(indices, list):
            indices = torch.stack(indices)
        stages = self.num_quantizers
        if self.training and self.quantize_dropout and indices is None:
            stages = self._dropped.kept(
                self.quantize_dropout_cutoff_index,
                self.num_quantizers,
                self.quantize_dropout_multiple_of,
                rand_quantize_dropout_fixed_seed,
            )
        frozen = freeze_codebook or self._first.freeze_codebook
        options = {"sample_codebook_temp": sample_codebook_temp, "freeze_codebook": frozen}
        rows = self.project_in(plain)
        inputs: list[Tensor] = []
        if indices is None and beam_size is not None and beam_size > 1:
            total, chosen, losses, inputs = self._search(rows, mask, stages, beam_size, options)
            if self.training and not frozen:
                for layer, left, codes in zip(self._stages, inputs, chosen, strict=False):
                    layer.update_indices(left, codes, mask=mask)
        else:
            residual, total = rows, torch.zeros_like(rows)
            chosen, losses = [], []
            for stage, layer in enumerate(self._stages[:stages]):
                inputs.append(residual.detach())
                given = None if indices is None else indices[..., stage]
                results = layer(
                    residual, indices=given, mask=mask, codebook_transform_fn=self._transform(stage, total), **options
                )
                residual, total = residual - self._passed(results[0]), total + results[0]
                losses.append(results[-1])
                chosen.append(results[1])
        if self.shared_codebook and self.training and not frozen:
            shared = self._first.quantizer
            if self._first.ema_update:
                shared.follow_averages()
            everything = torch.stack(inputs, -2)
            shared.revive(everything, None if mask is None else mask.unsqueeze(-1).expand(everything.shape[:-1]))
        if self.diveq and self.training:
            total = directional_reparam(rows, total)

        quantized = self.project_out(total)
        if mask is not None:
            padding = torch.zeros_like(quantized) if self.return_zeros_for_masked_padding else plain
            quantized = torch.where(mask.unsqueeze(-1), quantized, padding)
        quantized = self._to_layout(quantized)
        if indices is not None:
            return quantized, torch.stack(losses).sum()
        dropped = self.num_quantizers - stages
        found = torch.stack(chosen + [torch.full_like(chosen[0], -1)] * dropped, -1)
        result = (quantized, found, torch.stack(losses + [torch.zeros_like(losses[0])] * dropped))
        return (*result, self.get_codes_from_indices(found)) if return_all_codes else result

    def _transform(self, stage: int, total: Tensor) -> Callable[[Tensor], Tensor] | None:
        mlp = self._mlp(stage)
        return None if mlp is None else partial(mlp, condition=total)

    def _passed(self, quantized: Tensor) -> Tensor:
        """Codes with the share of their gradient that reaches the next stage."""
        constant, share = quantized.detach(), self.quant_grad_frac
        return constant if share <= 0 else share * quantized + (1.0 - share) * constant

    def _search(
        self, rows: Tensor, mask: Tensor | None, stages: int, size: int, options: dict[str, Any]
    ) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """Keep the ``size`` best ways to choose codes after each stage; the best of the last: the sum of its codes, and
        by stage its indices, losses and inputs."""
        beams = Beams(rows)
        for stage, layer in enumerate(self._stages[:stages]):
            of_beams = None if mask is None else mask.unsqueeze(-1).expand(beams.residual.shape[:-1])
            quantized, codes, losses = layer(
                beams.residual,
                mask=of_beams,
                topk=size,
                codebook_transform_fn=self._transform(stage, beams.total),
                **options,
            )
            beams.extend(
                quantized,
                self._passed(quantized),
                codes,
                losses,
                losses * self.beam_score_weights[stage],
                1 if stage == stages - 1 else size,
            )
        losses = [_mean(values[..., 0], mask) for values in beams.losses]
        chosen, inputs = ([values[..., 0] for values in beams.indices], [values[..., 0, :] for values in beams.inputs])
        return beams.total[..., 0, :], chosen, losses, inputs


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    return values.mean() if mask is None else torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def _check(impossible: bool, sentence: str) -> None:
    if impossible:
        raise InputError(f"ResidualVQ: {sentence}")
