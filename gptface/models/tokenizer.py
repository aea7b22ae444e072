"""``FaceTokenizer``: pictures of faces as grids of codes, and back (VQGAN, Esser et al., 2012.09841)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from gptface.errors import InputError
from gptface.hub import Description
from gptface.models.autoencoder import Decoder, Encoder, PatchEncoder
from gptface.models.configuration_tokenizer import FaceTokenizerConfig
from gptface.models.convolution import ShuffleConvolution
from gptface.models.flops import tokenizer_flops
from gptface.models.loading import StrictPreTrainedModel
from gptface.ops import VectorQuantizer

__all__ = ["FaceTokenizer", "FaceTokenizerOutput"]


@dataclass
class FaceTokenizerOutput(ModelOutput):
    """Reconstruction, codes and codebook loss of a batch: all that a training step needs.

    Attributes:
        reconstruction: ``(B, 3, H, W)`` float32, not clamped (so that out-of-range pixels keep their gradient).
        codes: ``(B, h * w)`` int64.
        quantizer_loss: scalar, the weighted commitment (and codebook) loss.
        perplexity: scalar, exp of the entropy of code usage in this batch.
        usage: scalar, share of the codes used in this batch.
    """

    reconstruction: Tensor | None = None
    codes: Tensor | None = None
    quantizer_loss: Tensor | None = None
    perplexity: Tensor | None = None
    usage: Tensor | None = None


class FaceTokenizer(StrictPreTrainedModel):
    """Encoder, vector quantizer and decoder.

    Images are ``(B, 3, image_size, image_size)`` in [−1, 1]; codes are ``(B, h * w)`` int64 in ``[0, codebook_size)``,
    row by row of the grid ``config.grid``.

    In half precision (``.bfloat16()``, ``.half()``, ``from_pretrained(dtype=…)``) the networks compute in it and take
    images of any floating dtype; the codebook, the choice of codes and what comes out stay float32.
    """

    config: FaceTokenizerConfig
    config_class = FaceTokenizerConfig
    base_model_prefix = ""
    main_input_name = "images"
    hub_description = Description(
        title="Face tokenizer",
        summary=(
            "Turns pictures of faces into a grid of codes and codes into pictures: a VQGAN-like encoder, a "
            "codebook, a decoder."
        ),
        code=(
            "from gptface.models import FaceTokenizer\n"
            "\n"
            'tokenizer = FaceTokenizer.from_pretrained("REPOSITORY", local_files_only=False)'
        ),
        limits=(
            "It reconstructs what it has seen kinds of: aligned faces of its own size. Fine detail, text "
            "and other objects come out blurred or changed."
        ),
        tags=("vqgan", "image-tokenizer"),
    )
    # Moving averages stand still in half precision; their module keeps them when it is converted, this when loading.
    _keep_in_fp32_modules_strict = ["quantizer.weight", "quantizer.cluster_size", "quantizer.cluster_sum"]

    def __init__(self, config: FaceTokenizerConfig) -> None:
        super().__init__(config)
        self.encoder = PatchEncoder(config) if config.local_codes else Encoder(config)
        self.to_code = nn.Conv2d(config.latent_channels, config.code_dim, 1)
        self.quantizer = VectorQuantizer(
            config.code_dim,
            config.codebook_size,
            codebook_update=config.codebook_update,
            decay=config.codebook_decay,
            kmeans_init=config.kmeans_init,
            revive_below=config.revive_below,
        )
        self.from_code = nn.Conv2d(config.code_dim, config.latent_channels, 1)
        self.decoder = Decoder(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            init.trunc_normal_(module.weight, std=1 / math.sqrt(fan_in))
            if isinstance(module, ShuffleConvolution):
                module.start_even()
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def _check_images(self, images: Tensor) -> Tensor:
        side = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise InputError(f"images must have shape (B, 3, {side}, {side}), got {tuple(images.shape)}")
        if not images.is_floating_point():
            raise InputError(f"images must be floating point in [-1, 1], got {images.dtype}")
        return images.to(self.to_code.weight.dtype, memory_format=torch.channels_last)

    def encode_latents(self, images: Tensor) -> Tensor:
        """Latent vectors before quantization: ``(B, h * w, code_dim)``."""
        return self.to_code(self.encoder(self._check_images(images))).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes ``(B, h * w)`` int64 of ``images (B, 3, H, W)`` in [−1, 1]; does not train the codebook."""
        return self.quantizer(self.encode_latents(images).float(), update=False).indices

    def decode(self, codes: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` float32 in [−1, 1] of ``codes (B, h * w)`` or ``(B, h, w)``.

        Codes are looked up as they are: an id outside ``[0, codebook_size)`` is an error of the embedding lookup.
        """
        height, width = self.config.grid
        flat = codes.flatten(1)
        if flat.ndim != 2 or flat.shape[1] != height * width:
            raise InputError(f"codes must have shape (B, {height * width}), got {tuple(codes.shape)}")
        return self.decode_latents(self.quantizer.lookup(flat)).clamp(-1, 1)

    def decode_latents(self, quantized: Tensor) -> Tensor:
        """Images, not clamped, of code vectors ``(B, h * w, code_dim)``: the differentiable half of :meth:`decode`."""
        height, width = self.config.grid
        maps = quantized.transpose(1, 2).unflatten(2, (height, width))
        maps = maps.to(self.from_code.weight.dtype, memory_format=torch.channels_last)
        return self.decoder(self.from_code(maps)).float()

    def forward(self, images: Tensor) -> FaceTokenizerOutput:
        """Encode, quantize and decode ``images (B, 3, H, W)`` in [−1, 1]; in training mode the codebook learns too."""
        found = self.quantizer(self.encode_latents(images).float())
        return FaceTokenizerOutput(
            reconstruction=self.decode_latents(found.quantized),
            codes=found.indices,
            quantizer_loss=found.loss,
            perplexity=found.perplexity,
            usage=found.usage,
        )

    def flops_per_image(self, training: bool = True) -> int:
        """Floating-point operations of one image, forward (and backward, counted as twice the forward)."""
        return tokenizer_flops(self.config) * (3 if training else 1)
