"""``FaceGPT``: one causal transformer over words and the patches of a picture, which see one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import ModelOutput

from gptface.errors import InputError
from gptface.hub import Description
from gptface.models.convolution_stem import ConvolutionStem
from gptface.models.flops import transformer_flops
from gptface.models.heads import TokenHead
from gptface.models.initialisation import initialise
from gptface.models.loading import StrictPreTrainedModel
from gptface.models.patches import FactorisedPositions, PatchEmbedding
from gptface.models.residual_stem import ResidualStem
from gptface.models.transformer_layer import KeyValueCache, SelfAttention, transformer_layers
from gptface.ops import IntervalMask, gather_rows
from gptface.systems.facegpt.configuration_model import FaceGPTConfig
from gptface.systems.facegpt.head import FaceHead
from gptface.systems.facegpt.sequence import ConversationBatch

__all__ = ["FaceGPT", "FaceGPTOutput"]


@dataclass
class FaceGPTOutput(ModelOutput):
    """What the model makes of a batch.

    Attributes:
        hidden: (R, S, C) after the last normalisation.
        numbers: float32 (F, ``face_size``), of every ``<FACE>``: see :class:`FaceLayout`.
    """

    hidden: Tensor | None = None
    numbers: Tensor | None = None


class FaceGPT(StrictPreTrainedModel):
    """A language model that sees faces, and whose hidden state at ``<FACE>`` holds one in 3D (after arXiv 2406.07163).

    The states of a picture's patches depend on the picture alone, wherever it stands: only [CLS] and ``<human>`` come
    before it. ``forward_features`` gives them.

    Attributes:
        image_size, grid, width: see :class:`gptface.evaluation.encoders.FaceEncoder`.
    """

    config_class = FaceGPTConfig
    config: FaceGPTConfig
    base_model_prefix = ""
    main_input_name = "batch"
    supports_gradient_checkpointing = True
    hub_description = Description(
        title="FaceGPT",
        summary=(
            "A language model that sees faces, and whose hidden state at <FACE> holds one in 3D; with its "
            "tokenizer and a morphable model it is a system."
        ),
        code=(
            "from gptface.systems.facegpt.model import FaceGPT\n"
            "\n"
            'model = FaceGPT.from_pretrained("REPOSITORY", local_files_only=False)'
        ),
        limits=(
            "Its numbers mean a face only with the morphable model it was trained with, whose data are not "
            "in this repository."
        ),
        tags=("3d-face", "morphable-model"),
        paper="2406.07163",
    )
    _no_split_modules = ["TransformerLayer"]

    def __init__(self, config: FaceGPTConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.image_size = config.image_size
        self.grid = config.grid
        self.width = width
        self.token_embeddings = nn.Embedding(config.vocab_size, width)
        self.word_positions = nn.Embedding(config.max_text_length, width)
        self.patch_positions = FactorisedPositions(config.grid, width)
        stem = {"linear": PatchEmbedding, "convolution": ConvolutionStem, "residual": ResidualStem}[config.stem]
        self.patches = stem(config.patch_size, width, channels=config.channels)
        self.layers = transformer_layers(
            config.num_hidden_layers,
            width,
            config.num_attention_heads,
            config.intermediate_size,
            config.layer_norm_eps,
            dropout=config.dropout,
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.word_head = TokenHead(width, config.vocab_size, eps=config.layer_norm_eps)
        self.face_head = FaceHead(width, config.face_size, config.head_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, FaceHead):  # after its layers
            module.start()
        elif isinstance(module, TokenHead):
            nn.init.zeros_(module.bias)
        else:
            initialise(module, self.config.num_hidden_layers)

    def get_input_embeddings(self) -> nn.Module:
        return self.token_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.token_embeddings = value  # type: ignore[assignment]

    def packing_pays(self) -> bool:
        """Whether the attention leaves out what a mask hides. If not, packed conversations would meet in full."""
        attention = self.layers[0].attention
        assert isinstance(attention, SelfAttention)
        return attention.skips_hidden()

    def embed_images(self, images: Tensor) -> Tensor:
        """Images float (P, 3, s, s) in [−1, 1] to patches (P, N, C), without positions.

        Raises:
            InputError: another shape, or bytes.
        """
        size, channels = self.config.image_size, self.config.channels
        if images.ndim != 4 or images.shape[1] not in (3, channels) or tuple(images.shape[2:]) != (size, size):
            raise InputError(f"images: shape {tuple(images.shape)}; they must be (B, 3, {size}, {size})")
        if not images.is_floating_point():
            raise InputError(f"images: {images.dtype}; they must be floating point, from -1 to 1")
        return self.patches(images.mean(1, keepdim=True) if images.shape[1] > channels else images)

    def embed(self, ids: Tensor, position_ids: Tensor, images: Tensor, image_slots: Tensor) -> Tensor:
        """States (R, S, C) before the first layer; for the arguments see :class:`ConversationBatch`."""
        table = torch.cat((self.word_positions.weight, self.patch_positions()))
        states = self.token_embeddings(ids)
        patches = self.embed_images(images).flatten(0, 1).to(states.dtype)
        states = states.flatten(0, 1).index_copy(0, image_slots, patches).view_as(states)
        return states + functional.embedding(position_ids, table)

    def contextualise(
        self, states: Tensor, mask: IntervalMask | None, caches: Sequence[KeyValueCache] | None = None
    ) -> Tensor:
        """States (R, S, C) through all layers and the last normalisation."""
        for number, layer in enumerate(self.layers):
            states = layer(states, mask) if caches is None else layer(states, mask, caches[number])
        return self.norm(states)

    def forward(self, batch: ConversationBatch) -> FaceGPTOutput:
        """Hidden states, and the numbers of every ``<FACE>``."""
        if not self.config.language:
            return self._of_pictures(batch)
        states = self.embed(batch.ids, batch.position_ids, batch.images, batch.image_slots)
        hidden = self.contextualise(states, batch.mask())
        return FaceGPTOutput(hidden=hidden, numbers=self.numbers(gather_rows(hidden, batch.face_slots)))

    def _of_pictures(self, batch: ConversationBatch) -> FaceGPTOutput:
        """The numbers of every ``<FACE>`` from its conversation's picture alone; there are no states of words."""
        hidden = self.patch_positions().new_zeros(*batch.ids.shape, self.width)
        none = hidden.new_zeros(1, self.width)
        pooled = self.forward_features(batch.images).mean(1) if len(batch.images) else none[:0]
        place = torch.searchsorted(batch.image_rows, batch.face_rows)
        rows = torch.cat((batch.image_rows, batch.image_rows.new_full((1,), -1)))
        place = torch.where(rows[place] == batch.face_rows, place, len(pooled))
        return FaceGPTOutput(hidden=hidden, numbers=self.numbers(torch.cat((pooled, none))[place]))

    def numbers(self, states: Tensor) -> Tensor:
        """float32 (F, ``face_size``) of hidden states (F, C) at ``<FACE>``."""
        return self.face_head(states).float()

    def word_logits(self, hidden: Tensor) -> Tensor:
        """``hidden (..., C)`` to logits ``(..., vocab_size)`` of the next token."""
        return self.word_head(hidden, self.token_embeddings.weight)

    def forward_features(self, images: Tensor) -> Tensor:
        """``images`` float (B, 3, s, s) in [−1, 1] to features of their patches, (B, N, C) row by row."""
        return self.forward_named_features(images)["last layer"]

    def forward_named_features(self, images: Tensor) -> dict[str, Tensor]:
        """Features (B, N, C) of the ``"last layer"``, and of the ``"penultimate layer"`` and the ``"middle layer"``."""
        config, batch = self.config, len(images)
        before = torch.tensor([config.cls_token_id, config.human_token_id], device=images.device)
        ids = functional.pad(before, (0, config.num_patches), value=config.image_token_id).expand(batch, -1)
        position_ids = torch.arange(ids.shape[1], device=images.device)
        position_ids = torch.where(position_ids < 2, position_ids, position_ids - 2 + config.max_text_length)
        slots = torch.arange(2, ids.shape[1], device=images.device)
        slots = (torch.arange(batch, device=images.device)[:, None] * ids.shape[1] + slots).flatten()
        states = self.embed(ids, position_ids.expand(batch, -1), images, slots)
        blocks = torch.where(torch.arange(ids.shape[1], device=images.device) < 2, -1, 0)
        mask = IntervalMask.multimodal(torch.zeros_like(blocks), blocks)
        found = []
        for layer in self.layers:
            states = layer(states, mask)
            found.append(states[:, 2:])
        features = {"last layer": self.norm(states)[:, 2:]}
        if len(found) > 1:
            features["penultimate layer"] = found[-2]
        if len(found) > 3:
            features["middle layer"] = found[len(found) // 2 - 1]
        return features

    def flops(self, lengths: Tensor | Sequence[int] | int) -> int:
        """Operations of sequences of these lengths forward through all layers."""
        config = self.config
        return transformer_flops(
            lengths,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            intermediate_size=config.intermediate_size,
        )
