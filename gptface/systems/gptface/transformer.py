"""``FaceLanguageModel``: one pre-LN transformer over joint sequences of word pieces and image codes."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init

from gptface.errors import InputError
from gptface.models.flops import transformer_flops
from gptface.models.heads import MatchHead, TokenHead
from gptface.models.loading import GPTFaceModel
from gptface.models.packing import Packing
from gptface.models.transformer_layer import ResidualProjection, TransformerLayer
from gptface.ops import IntervalMask
from gptface.systems.gptface.alignment import INITIAL_DEVIATION, Alignment, Telling
from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.sequence import IMAGE_SEGMENT, JointSequence, JointVocabulary, Regime

__all__ = ["FaceLanguageModel"]


def _image_and_words(position_ids: Tensor, segment_ids: Tensor) -> tuple[Tensor, Tensor]:
    """``(B, S, 1)`` bool: the image's slots, its [SEP] included, and the caption's words, without [CLS] and [SEP]."""
    image = (segment_ids == IMAGE_SEGMENT).unsqueeze(-1)
    text_positions = position_ids.unsqueeze(-1).masked_fill(image, 0)
    return image, (text_positions > 0) & (text_positions < text_positions.amax(1, keepdim=True))


class FaceLanguageModel(GPTFaceModel):
    """Hidden states of joint sequences, and the heads that read them.

    Layouts, ids and masks come from :func:`~gptface.systems.gptface.sequence.build_sequence`. The mask is built once a
    batch and shared by all layers. ``token_embeddings`` is the ``nn.Embedding`` over the joint vocabulary.
    """

    config: FaceLanguageConfig
    config_class = FaceLanguageConfig
    base_model_prefix = ""
    main_input_name = "token_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerLayer"]

    def __init__(self, config: FaceLanguageConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        height, columns = config.image_grid
        self.token_embeddings = nn.Embedding(config.vocabulary.size, width)
        self.text_positions = nn.Embedding(config.max_text_length + 2, width)  # [CLS], the text, its [SEP]
        if config.image_positions == "factorised":
            self.row_positions = nn.Embedding(height, width)
            self.column_positions = nn.Embedding(columns, width)
            self.image_positions = nn.Embedding(1, width)  # the image's [SEP]
        else:
            self.image_positions = nn.Embedding(height * columns + 1, width)
        if config.alignment_size:
            self.alignment = Alignment(
                config.vocabulary.size,
                width,
                config.num_image_tokens,
                config.alignment_size,
                rank=config.alignment_rank,
                scale=config.initializer_range,
            )
        self.segment_embeddings = nn.Embedding(2, width)
        self.regime_embeddings = nn.Embedding(len(Regime), width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width,
                config.num_attention_heads,
                config.intermediate_size,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                eps=config.layer_norm_eps,
            )
            for _ in range(config.num_hidden_layers)
        )
        self.final_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        shared: dict[str, Any] = {"tied": config.tie_heads, "eps": config.layer_norm_eps}
        self.text_head = TokenHead(width, config.text_vocab_size, **shared)
        self.image_head = TokenHead(width, config.codebook_size, **shared)
        self.match_head = MatchHead(width)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        deviation = self.config.initializer_range
        if isinstance(module, Telling):
            init.zeros_(module.weight)
        elif isinstance(module, Alignment):
            init.normal_(module.token_embeddings.weight, std=INITIAL_DEVIATION)
            for layer in (
                module.picture,
                module.word,
                module.word_before,
                module.caption,
                module.project_picture,
                module.project_caption,
                module.place,
            ):
                init.normal_(layer.weight, std=layer.in_features**-0.5)
        elif isinstance(module, nn.Linear):
            narrowed = math.sqrt(2 * self.config.num_hidden_layers) if isinstance(module, ResidualProjection) else 1.0
            init.normal_(module.weight, std=deviation / narrowed)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=deviation)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, TokenHead):
            if module.weight is not None:
                init.normal_(module.weight, std=deviation)
            init.zeros_(module.bias)

    @property
    def vocabulary(self) -> JointVocabulary:
        """The joint id space of text pieces and image codes."""
        return self.config.vocabulary

    def get_input_embeddings(self) -> nn.Module:
        return self.token_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.token_embeddings = value  # type: ignore[assignment]

    def set_attention_impl(self, impl: str) -> None:
        """Choose ``impl`` of :func:`~gptface.ops.masked_attention` for every layer."""
        for layer in self.layers:
            layer.attention.impl = impl  # type: ignore[union-attr]

    def packing_pays(self) -> bool:
        """Whether its attention leaves out what a mask hides. If not, packed samples would meet one another in full."""
        layer = self.layers[0]
        assert isinstance(layer, TransformerLayer)
        return layer.attention.skips_hidden()

    @torch.no_grad()
    def initialise_image_embeddings(self, codebook: Tensor) -> None:
        """Start the codes' embeddings as a random projection of the codes' own vectors.

        Codes that decode to similar patches then start out similar, for the input and, where heads are tied, for the
        output: what is learnt of one code holds for its neighbours from the first step. The scale is that of the
        ordinary initialisation.

        Args:
            codebook: ``(K, D)`` of the image tokenizer.

        Raises:
            InputError: K is not the model's number of codes.
        """
        config = self.config
        if codebook.ndim != 2 or codebook.shape[0] != config.codebook_size:
            raise InputError(f"codebook must be ({config.codebook_size}, D), got {tuple(codebook.shape)}")
        vectors = codebook.detach().float()
        vectors = vectors - vectors.mean(0)
        vectors = vectors / vectors.square().mean().sqrt().clamp_min(1e-12)
        start = self.vocabulary.image_offset
        tables = [(self.token_embeddings.weight, config.initializer_range)]
        if config.alignment_size:
            tables.append((self.alignment.token_embeddings.weight, INITIAL_DEVIATION))
        for weight, scale in tables:
            projection = torch.randn(vectors.shape[1], weight.shape[1], device=vectors.device) / vectors.shape[1] ** 0.5
            weight[start : start + config.codebook_size] = (scale * vectors @ projection).to(weight)

    def embed_tokens(self, token_ids: Tensor) -> Tensor:
        """Token embeddings of joint ids, before positions: what ``inputs_embeds`` replaces.

        ``(..., C)``, or ``(..., C + r)`` where there are alignment towers, with theirs behind the transformer's.
        """
        own = self.token_embeddings(token_ids)
        if not self.config.alignment_size:
            return own
        return torch.cat([own, self.alignment.token_embeddings(token_ids)], -1)

    def _position_table(self) -> Tensor:
        """All position embeddings in one table: the text's, then the image's row by row, then the image's ``[SEP]``."""
        text = self.text_positions.weight
        if self.config.image_positions == "indexed":
            return torch.cat([text, self.image_positions.weight])
        image = self.row_positions.weight.unsqueeze(1) + self.column_positions.weight.unsqueeze(0)
        return torch.cat([text, image.flatten(0, 1), self.image_positions.weight])

    def _aligned(
        self, embeddings: Tensor, position_ids: Tensor, segment_ids: Tensor, regimes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the towers add to each slot ``(B, S, C)``, and to [CLS] where it sees both modalities ``(B, C)``."""
        image, words = _image_and_words(position_ids, segment_ids)
        tokens = self.config.num_image_tokens
        places = torch.where(image.squeeze(-1), position_ids, tokens)  # the image's [SEP] has position N already
        told, agreement = self.alignment(
            embeddings,
            places,
            words,
            told_image=regimes != int(Regime.IMAGE_TO_TEXT),
            told_text=regimes != int(Regime.TEXT_TO_IMAGE),
        )
        return told, agreement * (regimes == int(Regime.MASKED)).unsqueeze(1)

    def align(self, text_ids: Tensor, text_lengths: Tensor, image_codes: Tensor) -> tuple[Tensor, Tensor]:
        """Summaries of pictures and of captions, ``(B, H)`` each, without the transformer: for contrastive learning.

        Args:
            text_ids, text_lengths, image_codes: as for :func:`~gptface.systems.gptface.sequence.build_sequence`.

        Raises:
            InputError: the model has no alignment towers.
        """
        if not self.config.alignment_size:
            raise InputError("alignment_size must be more than 0 for summaries; this model has no alignment towers")
        words = (torch.arange(text_ids.shape[1], device=text_ids.device) < text_lengths.unsqueeze(1)).unsqueeze(-1)
        embed, towers = self.alignment.token_embeddings, self.alignment
        picture = towers.summarise_picture(embed(image_codes + self.vocabulary.image_offset))
        return picture, towers.summarise_caption(embed(text_ids), words)

    @overload
    def forward(
        self,
        token_ids: Tensor | None,
        position_ids: Tensor,
        segment_ids: Tensor,
        regimes: Tensor,
        attention_mask: IntervalMask,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: Literal[False] = False,
        packing: Packing | None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        token_ids: Tensor | None,
        position_ids: Tensor,
        segment_ids: Tensor,
        regimes: Tensor,
        attention_mask: IntervalMask,
        inputs_embeds: Tensor | None = None,
        *,
        output_hidden_states: Literal[True],
        packing: Packing | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]: ...

    def forward(
        self,
        token_ids: Tensor | None,
        position_ids: Tensor,
        segment_ids: Tensor,
        regimes: Tensor,
        attention_mask: IntervalMask,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
        packing: Packing | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """Hidden states of joint sequences.

        Args:
            token_ids: ``(B, S)`` int64 joint ids; may be ``None`` where ``inputs_embeds`` is given.
            position_ids, segment_ids: ``(B, S)`` int64, see :class:`~gptface.systems.gptface.sequence.JointSequence`.
            regimes: ``(B,)`` int64.
            attention_mask: intervals ``(B or 1, S, K, 2)``.
            inputs_embeds: in place of what :meth:`embed_tokens` gives, for gradients with respect to soft tokens.
            output_hidden_states: also return the residual stream before the first layer and after each layer.
            packing: of ``attention_mask``; the layers then compute the valid slots alone.

        Returns:
            ``(B, S, C)`` after the final normalisation, or the pair of it and a tuple of ``num_hidden_layers + 1``
            tensors. Rows of padding carry no meaning (with ``packing`` they are zero).
        """
        if inputs_embeds is None:
            if token_ids is None:
                raise InputError("token_ids or inputs_embeds must be given, got neither")
            inputs_embeds = self.embed_tokens(token_ids)
        if inputs_embeds.shape[:2] != position_ids.shape:
            raise InputError(
                f"inputs_embeds {tuple(inputs_embeds.shape)} and position_ids {tuple(position_ids.shape)} "
                "must agree in their first two dimensions"
            )
        width = self.config.hidden_size + (self.config.alignment_rank if self.config.alignment_size else 0)
        if inputs_embeds.shape[-1] != width:
            raise InputError(
                f"inputs_embeds must be {width} wide, as embed_tokens makes them, got {inputs_embeds.shape[-1]}"
            )
        inputs_embeds, for_towers = inputs_embeds.split([self.config.hidden_size, width - self.config.hidden_size], -1)
        image_start = self.text_positions.num_embeddings
        positions = position_ids + (segment_ids == IMAGE_SEGMENT) * image_start
        states = (
            inputs_embeds
            + functional.embedding(positions, self._position_table())
            + self.segment_embeddings(segment_ids)
            + self.regime_embeddings(regimes).unsqueeze(1)
        )
        if self.config.alignment_size:
            told, agreement = self._aligned(for_towers, position_ids, segment_ids, regimes)
            states = states + told
        mask = attention_mask
        if packing is not None:
            states, mask = packing.pack(states), packing.attention_mask
        states = self.dropout(states)
        collected = [states]
        for layer in self.layers:
            states = layer(states, mask)
            if output_hidden_states:
                collected.append(states)
        hidden = self.final_norm(states)
        if packing is not None:
            hidden = packing.unpack(hidden)
            collected = [packing.unpack(depth) for depth in collected] if output_hidden_states else []
        if self.config.alignment_size:
            added = agreement.to(hidden.dtype).unsqueeze(1)
            hidden = hidden + functional.pad(added, (0, 0, 0, hidden.shape[1] - 1))
        return (hidden, tuple(collected)) if output_hidden_states else hidden

    def forward_sequence(self, sequence: JointSequence, inputs_embeds: Tensor | None = None) -> Tensor:
        """:meth:`forward` on a whole :class:`~gptface.systems.gptface.sequence.JointSequence`: ``(B, S, C)``."""
        return self(
            sequence.token_ids,
            sequence.position_ids,
            sequence.segment_ids,
            sequence.regimes,
            sequence.attention_mask,
            inputs_embeds=inputs_embeds,
            packing=sequence.packing,
        )

    def layer_states(self, sequence: JointSequence) -> tuple[Tensor, ...]:
        """The residual stream at every depth, ``num_hidden_layers + 1`` tensors ``(B, S, C)``: features for probes."""
        _, states = self(
            sequence.token_ids,
            sequence.position_ids,
            sequence.segment_ids,
            sequence.regimes,
            sequence.attention_mask,
            output_hidden_states=True,
            packing=sequence.packing,
        )
        return states

    def text_logits(self, hidden: Tensor) -> Tensor:
        """``hidden (..., C)`` to logits ``(..., text_vocab_size)``."""
        return self.text_head(hidden, self.token_embeddings.weight[: self.config.text_vocab_size])

    def image_logits(self, hidden: Tensor) -> Tensor:
        """``hidden (..., C)`` to logits ``(..., codebook_size)``: codes only, never the image mask token."""
        start = self.config.text_vocab_size
        return self.image_head(hidden, self.token_embeddings.weight[start : start + self.config.codebook_size])

    def match_logits(self, hidden: Tensor) -> Tensor:
        """``hidden (B, S, C)`` to ``(B, 2)``; class 1 means that picture and caption match."""
        return self.match_head(hidden)

    def flops_per_sequence(self, lengths: Tensor | list[int] | int, training: bool = True) -> int:
        """Floating-point operations of sequences of these ``lengths``, forward (and backward, as twice the forward)."""
        config = self.config
        forward = transformer_flops(
            lengths,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            intermediate_size=config.intermediate_size,
        )
        return forward * (3 if training else 1)
