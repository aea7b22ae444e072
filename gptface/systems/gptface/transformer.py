"""``FaceLanguageModel``: one pre-LN transformer over joint sequences of word pieces and image codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.hub import Description
from gptface.models.flops import transformer_flops
from gptface.models.heads import MatchHead, TokenHead
from gptface.models.loading import StrictPreTrainedModel
from gptface.models.packing import Packing, rearrange_rows
from gptface.models.patches import FactorisedPositions
from gptface.models.transformer_layer import KeyValueCache, TransformerLayer
from gptface.ops import IntervalMask, gather_rows
from gptface.systems.gptface.alignment import Alignment, words_among
from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.initialisation import initialise_weights
from gptface.systems.gptface.merging import ComputedSlots, SpatialMerging
from gptface.systems.gptface.sequence import IMAGE_SEGMENT, JointSequence, JointVocabulary, Regime, SlotLayout
from gptface.systems.gptface.surroundings import Surroundings

__all__ = ["FaceLanguageModel"]


class FaceLanguageModel(StrictPreTrainedModel):
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
    hub_description = Description(
        title="GPTFace transformer",
        summary=(
            "One transformer over word pieces and image codes of faces; with its two tokenizers it is a "
            "system that generates and edits faces by words."
        ),
        code=(
            "from gptface.systems.gptface.transformer import FaceLanguageModel\n"
            "\n"
            'model = FaceLanguageModel.from_pretrained("REPOSITORY", local_files_only=False)'
        ),
        limits=(
            "It speaks of the codes of one image tokenizer and the pieces of one text tokenizer, and is of "
            "no use without them."
        ),
        tags=("masked-image-modeling",),
        paper="2510.18345",
    )

    def __init__(self, config: FaceLanguageConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        height, columns = config.image_grid
        self.token_embeddings = nn.Embedding(config.vocabulary.size, width)
        self.text_positions = nn.Embedding(config.max_text_length + 2, width)  # [CLS], the text, its [SEP]
        self.image_positions = FactorisedPositions((height, columns), width)
        self.image_end = nn.Embedding(1, width)  # the image's [SEP]
        self.alignment = Alignment(config) if config.alignment_size else None
        self.surroundings = Surroundings(config) if config.surroundings_size else None
        self.merging = SpatialMerging(config) if config.spatial_merge_size > 1 else None
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
        self.text_head = TokenHead(width, config.text_vocab_size, eps=config.layer_norm_eps)
        self.image_head = TokenHead(width, config.codebook_size, eps=config.layer_norm_eps)
        self.match_head = MatchHead(width)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        initialise_weights(module, self.config)

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

    def computed_slots(self, slots: int) -> int:
        """How many of a joint sequence's ``slots`` the layers compute, and a cache of their keys holds."""
        return slots if self.merging is None else slots - self.merging.left_out

    def embed_tokens(self, token_ids: Tensor) -> Tensor:
        """Token embeddings of joint ids, before positions: what ``inputs_embeds`` replaces.

        ``(..., C)``, and behind the transformer's those of the alignment towers and of the surroundings, where there
        are any (``config.embedding_sizes``).
        """
        embedded = [part for part in self._embeddings(token_ids) if part.shape[-1]]
        return embedded[0] if len(embedded) == 1 else torch.cat(embedded, -1)

    def _embeddings(self, token_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the transformer, the alignment towers and the surroundings, ``config.embedding_sizes`` wide."""
        own = self.token_embeddings(token_ids)
        towers, around = (
            own[..., :0] if part is None else part.token_embeddings(token_ids)
            for part in (self.alignment, self.surroundings)
        )
        return own, towers, around

    def _position_table(self) -> Tensor:
        """All position embeddings in one table, each with its segment's added: the text's, then the image's row by row,
        then the image's ``[SEP]``."""
        text, image = self.segment_embeddings.weight.unbind()
        return torch.cat(
            [self.text_positions.weight + text, self.image_positions() + image, self.image_end.weight + image]
        )

    def forward(
        self,
        token_ids: Tensor | None,
        position_ids: Tensor,
        segment_ids: Tensor,
        regimes: Tensor,
        attention_mask: IntervalMask,
        inputs_embeds: Tensor | None = None,
        packing: Packing | None = None,
        depths: list[Tensor] | None = None,
        caches: Sequence[KeyValueCache] | None = None,
        slots: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of joint sequences.

        Args:
            token_ids: ``(B, S)`` int64 joint ids; may be ``None`` where ``inputs_embeds`` is given.
            position_ids, segment_ids: ``(B, S)`` int64, see :class:`~gptface.systems.gptface.sequence.JointSequence`.
            regimes: ``(B,)`` int64.
            attention_mask: intervals ``(B or 1, S, K, 2)``.
            inputs_embeds: in place of what :meth:`embed_tokens` gives, for gradients with respect to soft tokens.
            packing: of ``attention_mask``; the layers then compute the valid slots alone. Where squares of tokens share
                slots, made with their first tokens as ``image_kept`` of
                :func:`~gptface.systems.gptface.sequence.build_sequence`.
            depths: a list that receives the residual stream before the first layer and after each layer,
                ``num_hidden_layers + 1`` tensors ``(B, S, C)``.
            caches: one a layer, of capacity S, which take the keys and values of the slots that are computed, in place
                and without dropout: for decoding, without gradients. Not with ``packing`` or ``depths``.
            slots: ``(B, n)`` int64, the slots to compute, with ``caches`` that a pass over all slots has filled; the
                others' keys and values stay as they were.
            wanted: ``(M,)`` int64, packed positions ``b * S + s``, no slot twice: those whose hidden states are asked
                for, where few are. What is given for −1, for padding and for slots that ``packing`` leaves out carries
                no meaning. Not with ``caches``.

        Returns:
            ``(B, S, C)`` after the final normalisation, ``(B, n, C)`` of the ``slots``, or ``(M, C)`` of the ones
            ``wanted``. Rows of padding carry no meaning (with ``packing`` they are zero, unless squares of tokens share
            slots).
        """
        if slots is not None and not caches:
            raise InputError("slots needs caches that a pass over all slots has filled, got none")
        if caches is not None and (packing is not None or depths is not None):
            raise InputError("caches goes neither with packing nor with depths")
        if caches is not None and wanted is not None:
            raise InputError("wanted does not go with caches: name the slots to compute as slots")
        if inputs_embeds is None and token_ids is None:
            raise InputError("token_ids or inputs_embeds must be given, got neither")
        name, given = ("token_ids", token_ids) if inputs_embeds is None else ("inputs_embeds", inputs_embeds)
        assert given is not None
        if given.shape[:2] != position_ids.shape:
            raise InputError(
                f"{name} {tuple(given.shape)} and position_ids {tuple(position_ids.shape)} "
                "must agree in their first two dimensions"
            )
        width = sum(self.config.embedding_sizes)
        if inputs_embeds is not None and (inputs_embeds.ndim != 3 or inputs_embeds.shape[-1] != width):
            raise InputError(
                f"inputs_embeds must be (B, S, {width}), as embed_tokens makes them, got {tuple(inputs_embeds.shape)}"
            )
        layout = None
        if self.alignment is not None or self.surroundings is not None or self.merging is not None:
            layout = self._slot_layout(position_ids, segment_ids)
        agreement = None
        if layout is None:
            embeddings = self.token_embeddings(token_ids) if inputs_embeds is None else inputs_embeds
            states = self._placed(embeddings, position_ids, segment_ids, regimes)
        else:
            tokens, others, agreement = self._apart(given, position_ids, segment_ids, regimes, layout)
        if layout is not None and self.merging is not None:
            hidden = self._through_squares(
                tokens,
                others,
                layout,
                position_ids,
                segment_ids,
                attention_mask,
                packing,
                depths,
                caches,
                slots,
                wanted,
            )
        else:
            if layout is not None:
                states = layout.joined(tokens, others)
            if caches is not None:
                hidden = self.final_norm(self._through_caches(states, attention_mask, caches, slots))
            else:
                hidden = self._through_layers(states, attention_mask, packing, depths, wanted)
        if agreement is None or slots is not None:
            return hidden
        agreement = agreement.to(hidden.dtype)
        if wanted is not None:
            sample, slot = wanted // position_ids.shape[1], wanted % position_ids.shape[1]
            at_cls = (slot == 0).unsqueeze(1)
            return hidden + agreement.index_select(0, sample.clamp_min(0)) * at_cls
        return hidden + functional.pad(agreement.unsqueeze(1), (0, 0, 0, hidden.shape[1] - 1))

    def _slot_layout(self, position_ids: Tensor, segment_ids: Tensor) -> SlotLayout:
        slots, tokens = position_ids.shape[1], self.config.num_image_tokens
        others = slots - tokens
        if self.merging is None:  # a picture may be half written
            others = slots if others < 3 else max(others, min(slots, self.config.max_text_length + 3))
        return SlotLayout(position_ids, segment_ids, tokens, others)

    def _placed(self, embeddings: Tensor, position_ids: Tensor, segment_ids: Tensor, regimes: Tensor) -> Tensor:
        """``embeddings (B, S, C)`` of slots with their places, segments and regimes added."""
        positions = position_ids + (segment_ids == IMAGE_SEGMENT) * self.text_positions.num_embeddings
        placed = embeddings + functional.embedding(positions, self._position_table())
        return placed + self.regime_embeddings(regimes).unsqueeze(1)

    def _apart(
        self, given: Tensor, position_ids: Tensor, segment_ids: Tensor, regimes: Tensor, layout: SlotLayout
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """States before the layers, of image tokens ``(B, N, C)`` and of the other slots ``(B, W, C)``.

        With what towers and surroundings tell them; and the towers' agreement ``(B, C)``. ``given`` are the token ids
        ``(B, S)`` or what :meth:`embed_tokens` makes of them ``(B, S, E)``.
        """
        if given.ndim == 2:
            tokens, for_towers, for_surroundings = self._embeddings(_at(given, layout.token_slots))
            others, others_for_towers, _ = self._embeddings(_at(given, layout.other_slots))
            if self.merging is None:
                missing = (layout.token_slots < 0).view(*tokens.shape[:2], 1)
                for_towers, for_surroundings = (
                    part.masked_fill(missing, 0.0) for part in (for_towers, for_surroundings)
                )
        else:
            sizes = self.config.embedding_sizes
            tokens, for_towers, for_surroundings = layout.tokens(given).split(sizes, -1)
            others, others_for_towers, _ = layout.others(given).split(sizes, -1)
        positions, segments = (_at(values, layout.other_slots) for values in (position_ids, segment_ids))
        count = layout.counts[0]
        table = self._position_table()[self.text_positions.num_embeddings :][:count]
        tokens = tokens + table + self.regime_embeddings(regimes).unsqueeze(1)
        others = self._placed(others, positions, segments, regimes)
        agreement = None
        if self.surroundings is not None:
            tokens = tokens + self.surroundings(for_surroundings, regimes)
        if self.alignment is not None:
            words = words_among(positions, segments)
            to_tokens, to_others, agreement = self.alignment(for_towers, others_for_towers, words, regimes)
            tokens, others = tokens + to_tokens, others + to_others
        return tokens, others, agreement

    def _through_layers(
        self,
        states: Tensor,
        mask: IntervalMask,
        packing: Packing | None,
        depths: list[Tensor] | None,
        wanted: Tensor | None,
    ) -> Tensor:
        """``states (B, S, C)`` to hidden states of all slots, or of those ``wanted (M,)``; see :meth:`forward`."""
        if packing is not None:
            states, mask = packing.pack(states), packing.attention_mask
        collected: list[Tensor] | None = None if depths is None else []
        states = self._layers(states, mask, collected)
        if depths is not None and collected is not None:
            depths += collected if packing is None else [packing.unpack(depth) for depth in collected]
        if wanted is not None:
            if packing is not None:
                wanted = torch.where(wanted < 0, -1, packing.places.index_select(0, wanted.clamp_min(0)))
            return self.final_norm(gather_rows(states, wanted))
        states = self.final_norm(states)
        return states if packing is None else packing.unpack(states)

    def _layers(self, states: Tensor, mask: IntervalMask, depths: list[Tensor] | None) -> Tensor:
        states = self.dropout(states)
        if depths is not None:
            depths.append(states)
        for layer in self.layers:
            states = layer(states, mask)
            if depths is not None:
                depths.append(states)
        return states

    def _through_caches(
        self, states: Tensor, mask: IntervalMask, caches: Sequence[KeyValueCache], slots: Tensor | None
    ) -> Tensor:
        """``states (B, S, C)`` to states of all slots, or of ``slots (B, n)`` by keys and values held, without norm."""
        batch, capacity = states.shape[:2]
        places = slots
        if places is None:
            places = torch.arange(capacity, device=states.device).expand(batch, -1)
        else:
            states = states.gather(1, places.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
            intervals = mask.intervals.expand(batch, -1, -1, -1)
            rows = places[:, :, None, None].expand(-1, -1, *intervals.shape[2:])
            mask = IntervalMask(intervals.gather(1, rows), mask.num_keys)
        for layer, cache in zip(self.layers, caches, strict=True):
            cache.places = places
            states = layer(states, mask, cache)
        return states

    def _through_squares(
        self,
        tokens: Tensor,
        others: Tensor,
        layout: SlotLayout,
        position_ids: Tensor,
        segment_ids: Tensor,
        mask: IntervalMask,
        packing: Packing | None,
        depths: list[Tensor] | None,
        caches: Sequence[KeyValueCache] | None,
        slots: Tensor | None,
        wanted: Tensor | None,
    ) -> Tensor:
        """As :meth:`_through_layers` or :meth:`_through_caches`, over one slot for every square of image tokens."""
        merging = self.merging
        assert merging is not None
        batch, count = position_ids.shape
        rows = merging.rows(layout)
        joined = merging.join(tokens, others).flatten(0, 1)
        # Between rows and the slots of the layers: which row comes to each slot there, and where each row goes.
        if packing is not None:
            merging.check(packing, position_ids, segment_ids)
            sources, inner, packed = packing.sources, packing.attention_mask, 1
            there = packing.places.index_select(0, rows.slots)
        else:
            computed = ComputedSlots.of(merging.computed(position_ids, segment_ids), count - merging.left_out, mask)
            first = torch.arange(batch, device=mask.device).unsqueeze(1)
            sources, inner, packed = (computed.places + first * count).flatten(), computed.attention_mask, batch
            there = (computed.ranks + first * computed.places.shape[1]).flatten().index_select(0, rows.slots)
        source = torch.where(sources < 0, -1, rows.rows.index_select(0, sources.clamp_min(0)))
        states = rearrange_rows(joined, source, there).unflatten(0, (packed, -1))
        collected: list[Tensor] | None = None if depths is None else []
        if caches is None:
            states = self._layers(states, inner, collected)
        else:
            squares = None if slots is None else computed.shared(merging.slots(slots, position_ids, segment_ids))
            states = self._through_caches(states, inner, caches, squares)
            if squares is not None:
                states = computed.ranked(states, squares)
        if depths is not None and collected is not None:
            for depth in collected:  # all tokens of a square with its state
                there_again = rearrange_rows(depth.flatten(0, 1), there, source)
                depths.append(there_again.index_select(0, rows.rows).unflatten(0, (batch, count)))
        back = rearrange_rows(states.flatten(0, 1), there, source).unflatten(0, (batch, -1))
        image, beside = merging.part(back, tokens)
        if slots is not None:
            named = (slots + torch.arange(batch, device=slots.device).unsqueeze(1) * count).flatten()
            return self.final_norm(layout.taken(image, beside, named).unflatten(0, slots.shape))
        return self.final_norm(layout.joined(image, beside) if wanted is None else layout.taken(image, beside, wanted))

    def forward_sequence(
        self,
        sequence: JointSequence,
        inputs_embeds: Tensor | None = None,
        caches: Sequence[KeyValueCache] | None = None,
        slots: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """:meth:`forward` on a whole :class:`~gptface.systems.gptface.sequence.JointSequence`."""
        return self(
            sequence.token_ids,
            sequence.position_ids,
            sequence.segment_ids,
            sequence.regimes,
            sequence.attention_mask,
            inputs_embeds=inputs_embeds,
            packing=sequence.packing,
            caches=caches,
            slots=slots,
            wanted=wanted,
        )

    def layer_states(self, sequence: JointSequence) -> tuple[Tensor, ...]:
        """The residual stream at every depth, ``num_hidden_layers + 1`` tensors ``(B, S, C)``: features for probes."""
        depths: list[Tensor] = []
        self(
            sequence.token_ids,
            sequence.position_ids,
            sequence.segment_ids,
            sequence.regimes,
            sequence.attention_mask,
            packing=sequence.packing,
            depths=depths,
        )
        return tuple(depths)

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
        """Floating-point operations of sequences of these ``lengths``, forward (and backward, as twice the forward).

        Every sequence holds one whole picture.
        """
        config = self.config
        if self.merging is not None:
            out = self.merging.left_out
            lengths = [length - out for length in lengths] if isinstance(lengths, list) else lengths - out
        forward = transformer_flops(
            lengths,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            intermediate_size=config.intermediate_size,
        )
        if self.surroundings is not None:
            count = 1 if isinstance(lengths, int) else len(lengths)
            forward += count * self.surroundings.flops_per_picture()
        if self.merging is not None:
            count = 1 if isinstance(lengths, int) else len(lengths)
            forward += count * self.merging.flops_per_picture()
        return forward * (3 if training else 1)


def _at(values: Tensor, slots: Tensor) -> Tensor:
    """Of ``values (B, S)`` those at packed positions ``slots (B * n,)``: ``(B, n)``; any value where that is −1."""
    return values.flatten().index_select(0, slots.clamp_min(0)).view(len(values), -1)
