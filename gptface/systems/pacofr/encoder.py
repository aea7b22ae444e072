"""PaCo-FR's encoder: a vision transformer whose features others build on."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from gptface.errors import InputError
from gptface.evaluation.encoders import saved_model_kind
from gptface.hub import Description
from gptface.models.convolution_stem import ConvolutionStem
from gptface.models.initialisation import initialise
from gptface.models.loading import StrictPreTrainedModel
from gptface.models.packing import rearrange_rows
from gptface.models.patches import FactorisedPositions, PatchEmbedding, patchify, unpatchify
from gptface.models.transformer_layer import transformer_layers
from gptface.ops import IntervalMask
from gptface.systems.pacofr.configuration_model import PaCoFREncoderConfig
from gptface.systems.pacofr.masking import PatchMask

__all__ = ["ENCODER", "PaCoFREncoder"]

class PaCoFREncoder(StrictPreTrainedModel):
    """A vision transformer without a class token; the features of a picture are those of its patches.

    ``forward_features`` is what users of ``timm`` call; ``forward`` returns the same in ``transformers``' way.

    Attributes:
        image_size, grid, width: see :class:`gptface.evaluation.encoders.FaceEncoder`.
    """

    config_class = PaCoFREncoderConfig
    config: PaCoFREncoderConfig
    main_input_name = "images"
    supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerLayer"]
    hub_description = Description(
        title="PaCo-FR encoder",
        summary="A vision transformer whose features of an aligned face are those of its patches.",
        code=(
            "from gptface.systems.pacofr.encoder import PaCoFREncoder\n"
            "\n"
            'encoder = PaCoFREncoder.from_pretrained("REPOSITORY", local_files_only=False)'
        ),
        limits=(
            "Its features are for fine-tuning; frozen, with few labels, simpler features may be better. "
            "Measure on your own task."
        ),
        tags=("vision-transformer",),
        task="image-feature-extraction",
        paper="2508.09691",
    )

    def __init__(self, config: PaCoFREncoderConfig) -> None:
        super().__init__(config)
        self.image_size = config.image_size
        self.grid = config.grid
        self.width = config.hidden_size
        width, heads = config.hidden_size, config.num_attention_heads
        self.embedding = (
            ConvolutionStem(config.patch_size, width, config.channels)
            if config.stem == "convolution"
            else PatchEmbedding(config.patch_size, width, channels=config.channels)
        )
        self.positions = FactorisedPositions(config.grid, width)
        self.layers = transformer_layers(
            config.num_hidden_layers, width, heads, config.intermediate_size, config.layer_norm_eps
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        initialise(module, self.config.num_hidden_layers)

    def cut(self, images: Tensor) -> Tensor:
        """Images float (B, 3 or ``channels``, S, S) to patches (B, N, ``patch_pixels``).

        Raises:
            InputError: another shape, or bytes.
        """
        return patchify(self.colours(images), self.config.patch_size)

    def colours(self, images: Tensor) -> Tensor:
        """Images float (B, 3 or ``channels``, S, S) in the colours that the encoder sees, (B, ``channels``, S, S)."""
        size, channels = self.config.image_size, self.config.channels
        if images.ndim != 4 or images.shape[1] not in (3, channels) or tuple(images.shape[2:]) != (size, size):
            raise InputError(f"images: shape {tuple(images.shape)}; they must be (B, 3, {size}, {size})")
        if not images.is_floating_point():
            raise InputError(f"images: {images.dtype}; they must be floating point, from -1 to 1")
        return images.mean(1, keepdim=True) if images.shape[1] > channels else images

    def embed(self, patches: Tensor) -> Tensor:
        """Patches (B, N, ``patch_pixels``) to states (B, N, C), without positions."""
        if isinstance(self.embedding, PatchEmbedding):
            return self.embedding.projection(patches)
        return self.embedding(unpatchify(patches, self.config.patch_size, self.grid))

    def embed_visible(self, patches: Tensor, mask: PatchMask) -> Tensor:
        """States (V, C) of the visible patches among (B, N, ``patch_pixels``), which see nothing of the masked ones."""
        if isinstance(self.embedding, PatchEmbedding):
            return self.embedding.projection(patches.flatten(0, 1).index_select(0, mask.visible_rows.clamp_min(0)))
        states = self.embed(patches.masked_fill(mask.masked.unsqueeze(2), 0.0)).flatten(0, 1)
        return rearrange_rows(states, mask.visible_rows, mask.visible_places)

    def contextualise(self, states: Tensor, mask: IntervalMask | None = None) -> Tensor:
        """States with their positions, (B, n, C) of any n patches, through all layers and the last normalisation."""
        for layer in self.layers:
            states = layer(states, mask)
        return self.norm(states)

    def forward_features(self, images: Tensor) -> Tensor:
        """``images`` float (B, 3, S, S) in [−1, 1] to features (B, N, C), row by row."""
        return self.contextualise(self.embed(self.cut(images)) + self.positions())

    def forward_visible(self, images: Tensor, visible: Tensor) -> Tensor:
        """Features (B, n, C) of the patches ``visible`` int64 (B, n) of ``images``.

        The layers see these patches alone; a stem of convolutions also sees the edges of their neighbours.
        """
        states = self.embed(self.cut(images)) + self.positions()
        return self.contextualise(states.gather(1, visible.unsqueeze(2).expand(-1, -1, states.shape[2])))

    def forward_named_features(self, images: Tensor) -> dict[str, Tensor]:
        """Features (B, N, C) of the ``"last layer"``, and of the ``"penultimate layer"`` and the ``"middle layer"``."""
        states = self.embed(self.cut(images)) + self.positions()
        found = []
        for layer in self.layers:
            states = layer(states)
            found.append(states)
        features = {"last layer": self.norm(states)}
        if len(found) > 1:
            features["penultimate layer"] = found[-2]
        if len(found) > 3:
            features["middle layer"] = found[len(found) // 2 - 1]
        return features

    def forward(self, images: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """``last_hidden_state (B, N, C)`` and ``pooler_output (B, C)``, its mean over the patches."""
        features = self.forward_features(images)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=features.mean(1))


ENCODER = saved_model_kind(PaCoFREncoder, "a PaCo-FR encoder (`model/encoder` of what `gptface train pacofr` leaves)")
