"""``PaCoFR``: encoder, beliefs over a codebook and light decoder, which together predict masked patches.

    patches --+-- visible: embedded ----------------------------+--> encoder --> decoder --> pixels of masked patches
              |                                                 |
              +-- masked: belief predictor -> codes -> token ---+  (or, with encodes="visible", straight to the decoder)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils import ModelOutput

from gptface.hub import Description
from gptface.models.initialisation import initialise
from gptface.models.loading import StrictPreTrainedModel
from gptface.models.packing import rearrange_rows
from gptface.models.patches import FactorisedPositions
from gptface.models.transformer_layer import ResidualProjection, transformer_layers
from gptface.objectives import normalised_patches
from gptface.systems.pacofr.belief import BeliefPredictor, Beliefs, lowest_frequencies
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.encoder import PaCoFREncoder
from gptface.systems.pacofr.masking import PatchMask

__all__ = ["PaCoFR", "PaCoFROutput"]

@dataclass
class PaCoFROutput(ModelOutput):
    """What the model makes of a batch of B pictures, M of whose patches are masked.

    Attributes:
        predicted: (M, P), normalised pixels of the masked patches.
        targets: (M, P), the true ones.
        truth: (B, N, P), normalised pixels of all patches.
        beliefs: of the masked patches; ``None`` where tokens do not come from them.
        tokens: (M, ``code_dim``), what stands for the masked patches; ``None`` with ``codes="none"``.
        features: (V, C), the encoder's features of the visible patches.
        guesses: (M, ``decoder_size``), what the decoder makes of the masked patches, of which it tells the pixels.

    On a GPU, rows for which the mask has a place but no patch hold what is not to be used (:attr:`PatchMask.usable`).
    """

    predicted: Tensor | None = None
    targets: Tensor | None = None
    truth: Tensor | None = None
    beliefs: Beliefs | None = None
    tokens: Tensor | None = None
    features: Tensor | None = None
    guesses: Tensor | None = None


class PaCoFR(StrictPreTrainedModel):
    """The model that pre-trains a :class:`PaCoFREncoder` (after PaCo-FR, arXiv 2508.09691; hyper-parameters are ours).

    Attributes:
        encoder: what is kept after pre-training.
        belief: predictor and codebook; ``None`` with ``codes="none"``.
    """

    config_class = PaCoFRConfig
    config: PaCoFRConfig
    main_input_name = "images"
    supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerLayer"]
    hub_description = Description(
        title="PaCo-FR",
        summary=(
            "Encoder, beliefs over a codebook and decoder of PaCo-FR: pre-trains a vision transformer on "
            "masked patches of faces."
        ),
        code=(
            "from gptface.systems.pacofr.model import PaCoFR\n"
            "\n"
            'model = PaCoFR.from_pretrained("REPOSITORY", local_files_only=False)\n'
            "encoder = model.encoder  # what is of use afterwards"
        ),
        limits=(
            "Its features are for fine-tuning; frozen, with few labels, simpler features may be better. "
            "Measure on your own task."
        ),
        tags=("masked-image-modeling", "vision-transformer"),
        task="image-feature-extraction",
        paper="2508.09691",
    )

    def __init__(self, config: PaCoFRConfig) -> None:
        super().__init__(config)
        self.encoder = PaCoFREncoder(config.encoder())
        token_width = config.hidden_size if config.encodes == "all" else config.decoder_size
        self.belief = None if config.codes == "none" else BeliefPredictor(config)
        # With tokens, what all masked patches have in common; without, the mask token.
        self.mask_token = nn.Embedding(1, token_width)
        self.token = None if self.belief is None else nn.Linear(config.code_dim, token_width)
        self.to_decoder = nn.Linear(config.hidden_size, config.decoder_size)
        self.decoder_positions = FactorisedPositions(config.grid, config.decoder_size)
        self.decoder_layers = transformer_layers(
            config.decoder_layers,
            config.decoder_size,
            config.decoder_heads,
            4 * config.decoder_size,
            config.layer_norm_eps,
        )
        self.decoder_norm = nn.LayerNorm(config.decoder_size, eps=config.layer_norm_eps)
        self.to_pixels = nn.Linear(config.decoder_size, config.patch_pixels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, BeliefPredictor):
            config = self.config
            init.copy_(module.projection, lowest_frequencies(config.patch_size, config.channels, config.code_dim))
            init.normal_(module.codebook.weight, std=config.code_dim**-0.5)  # until `start`
            module.codebook.cluster_size.fill_(1.0)
            module.codebook.step.zero_()
        elif isinstance(module, ResidualProjection):
            initialise(module, self.config.num_hidden_layers + self.config.decoder_layers)
        else:
            initialise(module, self.config.num_hidden_layers)

    def forward(self, images: Tensor, mask: PatchMask) -> PaCoFROutput:
        """Predict the masked patches of ``images`` float (B, 3, S, S) in [−1, 1]."""
        patches = self.encoder.cut(images)
        batch, number = patches.shape[:2]
        flat = patches.flatten(0, 1)
        truth = normalised_patches(flat)
        targets = truth.index_select(0, mask.masked_rows.clamp_min(0))
        beliefs, tokens = self._tokens(targets, mask)
        standing = self.mask_token.weight.to(flat.dtype).expand(len(targets), -1)
        if self.token is not None and tokens is not None:
            standing = standing + self._given(self.token(tokens))
        visible = self.encoder.embed_visible(patches, mask)
        positions = self.encoder.positions()
        if self.config.encodes == "all":
            states = _together(visible, standing, mask).view(batch, number, -1)
            encoded = self.encoder.contextualise(states + positions)
            decoded = self.to_decoder(encoded)
            features = rearrange_rows(encoded.flatten(0, 1), mask.visible_rows, mask.visible_places)
        else:
            # Of the ways to gather, the one whose gradient adds in the same order every time on a GPU too.
            states = visible + functional.embedding(mask.visible_rows.clamp_min(0) % number, positions)
            features = self._encode_visible(states, mask)
            decoded = _together(self.to_decoder(features), standing, mask).view(batch, number, -1)
        decoded = decoded + self.decoder_positions()
        for layer in self.decoder_layers:
            decoded = layer(decoded)
        chosen = rearrange_rows(decoded.flatten(0, 1), mask.masked_rows, mask.masked_places)
        guesses = self.decoder_norm(chosen)
        return PaCoFROutput(
            predicted=self.to_pixels(guesses),
            targets=targets,
            truth=truth.unflatten(0, (batch, number)),
            beliefs=beliefs,
            tokens=tokens,
            features=features,
            guesses=guesses,
        )

    def _encode_visible(self, states: Tensor, mask: PatchMask) -> Tensor:
        """Features (V, C) of visible patches: stacked where pictures show equally many, else side by side."""
        if mask.visible_each is not None:
            stacked = states.view(-1, mask.visible_each, states.shape[-1])
            return self.encoder.contextualise(stacked).flatten(0, 1)
        return self.encoder.contextualise(states.unsqueeze(0), mask.attention_mask()).squeeze(0)

    def _given(self, tokens: Tensor) -> Tensor:
        """Tokens (M, C) of those masked patches that have one, zeros for the others."""
        if self.config.token_share == 1:
            return tokens
        return torch.where(torch.rand(len(tokens), 1, device=tokens.device) < self.config.token_share, tokens, 0.0)

    def _tokens(self, targets: Tensor, mask: PatchMask) -> tuple[Beliefs | None, Tensor | None]:
        """What stands for the masked patches, of normalised pixels (M, P)."""
        if self.belief is None:
            return None, None
        if self.config.codes == "random":
            codes = self.belief.codebook.codebook
            drawn = torch.randint(len(codes), (len(targets),), device=codes.device)
            return None, functional.embedding(drawn, codes)
        beliefs = self.belief(targets, mask.usable)
        return beliefs, beliefs.tokens


def _together(visible: Tensor, masked: Tensor, mask: PatchMask) -> Tensor:
    """Rows (B · N, C) of the visible (V, C) and the masked (M, C) patches, each where it belongs."""
    return rearrange_rows(visible, mask.visible_places, mask.visible_rows) + rearrange_rows(
        masked, mask.masked_places, mask.masked_rows
    )
