"""The shapes of PaCo-FR's encoder and of the whole model that pre-trains it, as ``transformers`` configurations."""

from __future__ import annotations

from typing import Any

from gptface.errors import InputError
from gptface.models.configuration import ModelConfig, check_above_0, check_heads
from gptface.models.patches import patch_grid

__all__ = ["CODES", "ENCODES", "STEMS", "PaCoFRConfig", "PaCoFREncoderConfig"]

CODES = ("belief", "random", "none")
ENCODES = ("all", "visible")
STEMS = ("linear", "convolution")


class PaCoFREncoderConfig(ModelConfig):
    """The shape of a vision transformer over the patches of a face.

    Args:
        image_size: side of the square picture in pixels, a multiple of ``patch_size``.
        patch_size: side of a patch in pixels.
        channels: 3, or 1: the mean of the colours, for grey photos.
        hidden_size: width of the states; ``hidden_size / num_attention_heads`` must be a multiple of 8 from 16 to 256.
        num_hidden_layers: of the encoder.
        num_attention_heads: of every layer.
        intermediate_size: width of the feed-forward parts.
        layer_norm_eps: of the layer normalisations.
        stem: ``"linear"``: a patch is embedded by one linear map of its pixels; ``"convolution"``: by convolutions of
            3 × 3 and stride 2 over the whole picture (Xiao et al., 2106.14881), which see over a patch's edge. Masked
            patches are blank to them.
    """

    model_type = "gptface_pacofr_encoder"

    def __init__(
        self,
        image_size: int = 64,
        patch_size: int = 8,
        channels: int = 3,
        hidden_size: int = 128,
        num_hidden_layers: int = 4,
        num_attention_heads: int = 4,
        intermediate_size: int = 512,
        layer_norm_eps: float = 1e-6,
        stem: str = "linear",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size
        self.patch_size = patch_size
        self.channels = channels
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.layer_norm_eps = layer_norm_eps
        self.stem = stem
        names = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
        self.check_at_least(1, *names, "intermediate_size")
        if channels not in (1, 3) or isinstance(channels, bool):
            raise InputError(f"channels must be 1 or 3, got {channels!r}")
        check_above_0("layer_norm_eps", layer_norm_eps)
        if image_size < patch_size:
            raise InputError(f"image_size {image_size} is less than patch_size {patch_size}: no patch fits")
        patch_grid(image_size, image_size, patch_size)
        check_heads("hidden_size", hidden_size, num_attention_heads)
        if stem not in STEMS:
            raise InputError(f"stem must be one of {', '.join(STEMS)}, got {stem!r}")
        if stem == "convolution" and (patch_size & (patch_size - 1) or patch_size < 4):
            raise InputError(f"patch_size must be a power of 2 from 4 for a stem of convolutions, got {patch_size}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return patch_grid(self.image_size, self.image_size, self.patch_size)

    @property
    def num_patches(self) -> int:
        """Number of patches of a picture."""
        return self.grid[0] * self.grid[1]

    @property
    def patch_pixels(self) -> int:
        """Numbers in a patch."""
        return self.channels * self.patch_size**2


class PaCoFRConfig(PaCoFREncoderConfig):
    """The encoder's shape with what pre-training adds: beliefs over a codebook, and a light decoder.

    Args:
        codebook_size: K, the number of codes.
        code_dim: length of a code, at most the numbers in a patch.
        candidates: k, how many codes a masked patch's token is mixed of, 1 to K.
        belief_temperature: in units of the squared distance between a query and a code. (A patch's target has about
            unit length.)
        straight_through: the token is the most credible code alone, with the gradient of the mixture.
        belief_size: hidden width of the belief predictor.
        codes: where the tokens of masked patches come from. ``"belief"``: from the patch's own pixels; ``"random"``: as
            many codes drawn at random; ``"none"``: one learned mask token, as in a masked autoencoder.
        token_share: share of the masked patches that have such a token, drawn at random; the others have the mask
            token, so that something is left to be told from what is around them.
        encodes: ``"all"``: the tokens stand in the encoder's sequence in place of the masked patches, as in the paper;
            ``"visible"``: the encoder sees the visible patches only, and the tokens wait in the decoder.
        decoder_size: width of the decoder.
        decoder_layers: how many.
        decoder_heads: of each.
        **kwargs: of :class:`PaCoFREncoderConfig`.
    """

    model_type = "gptface_pacofr"

    def __init__(
        self,
        codebook_size: int = 512,
        code_dim: int = 32,
        candidates: int = 4,
        belief_temperature: float = 0.05,
        straight_through: bool = False,
        belief_size: int = 128,
        codes: str = "belief",
        token_share: float = 1.0,
        encodes: str = "visible",
        decoder_size: int = 64,
        decoder_layers: int = 1,
        decoder_heads: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.codebook_size = codebook_size
        self.code_dim = code_dim
        self.candidates = candidates
        self.belief_temperature = belief_temperature
        self.straight_through = straight_through
        self.belief_size = belief_size
        self.codes = codes
        self.token_share = token_share
        self.encodes = encodes
        self.decoder_size = decoder_size
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.check_at_least(4, "code_dim")
        names = ("codebook_size", "candidates", "belief_size", "decoder_size", "decoder_layers", "decoder_heads")
        self.check_at_least(1, *names)
        if candidates > codebook_size:
            raise InputError(f"candidates must be at most codebook_size {codebook_size}, got {candidates}")
        if code_dim > self.patch_pixels:
            raise InputError(f"code_dim must be at most {self.patch_pixels}, the numbers in a patch, got {code_dim}")
        check_above_0("belief_temperature", belief_temperature)
        if not isinstance(straight_through, bool):
            raise InputError(f"straight_through must be true or false, got {straight_through!r}")
        if not isinstance(token_share, int | float) or not 0 < token_share <= 1:
            raise InputError(f"token_share must be above 0 and at most 1, got {token_share!r}")
        for name, value, allowed in (("codes", codes, CODES), ("encodes", encodes, ENCODES)):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        check_heads("decoder_size", decoder_size, decoder_heads)

    @classmethod
    def field_names(cls) -> set[str]:
        return super().field_names() | PaCoFREncoderConfig.field_names()

    def encoder(self) -> PaCoFREncoderConfig:
        """The encoder's part."""
        return PaCoFREncoderConfig(**{name: getattr(self, name) for name in PaCoFREncoderConfig.field_names()})

    @classmethod
    def tiny(cls, **overrides: Any) -> PaCoFRConfig:
        """For tests: 32² pictures, 16 patches and fifty thousand weights."""
        values = {"image_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        values |= {"intermediate_size": 64, "codebook_size": 32, "code_dim": 16, "belief_size": 32}
        return cls.preset({**values, "decoder_size": 32, "decoder_heads": 2}, overrides)

    @classmethod
    def small(cls, **overrides: Any) -> PaCoFRConfig:
        """For one machine: 96² pictures in 144 patches, 6 layers of 192 and 2 of the decoder: 3.8 million weights."""
        values = {"image_size": 96, "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6}
        values |= {"intermediate_size": 768, "belief_size": 256, "decoder_size": 192, "decoder_layers": 2}
        return cls.preset({**values, "decoder_heads": 6}, overrides)

    @classmethod
    def base(cls, **overrides: Any) -> PaCoFRConfig:
        """ViT-B/16 at 224² with a decoder of 4 layers of 512; K and k are ours, the paper's are not known."""
        values = {"image_size": 224, "patch_size": 16, "hidden_size": 768, "num_hidden_layers": 12}
        values |= {"num_attention_heads": 12, "intermediate_size": 3072, "codebook_size": 4096, "code_dim": 64}
        values |= {"belief_size": 1024, "decoder_size": 512, "decoder_layers": 4, "decoder_heads": 16}
        return cls.preset(values, overrides)
