"""The shape of FaceGPT, as a ``transformers`` configuration."""

from __future__ import annotations

from typing import Any

from gptface.errors import InputError
from gptface.models.configuration import ModelConfig, check_above_0, check_heads
from gptface.models.patches import patch_grid

__all__ = ["STEMS", "FaceGPTConfig"]

STEMS = ("linear", "convolution", "residual")


class FaceGPTConfig(ModelConfig):
    """The shape of a causal language model over words and the patches of a picture, with a head for faces.

    Args:
        vocab_size: of the text tokenizer, special tokens included.
        hidden_size: width of the states; ``hidden_size / num_attention_heads`` must be a multiple of 8 from 16 to 256.
        num_hidden_layers, num_attention_heads, intermediate_size: the transformer.
        dropout: on the output of each attention and feed-forward part.
        layer_norm_eps: of the layer normalisations.
        image_size: side of the square pictures in pixels, a multiple of ``patch_size``.
        patch_size: side of a patch in pixels.
        channels: 3, or 1: the mean of the colours, for grey photos.
        language: ``False`` makes a baseline without the language model: the mean of the patches' states, which see one
            another and no word, goes into the head at every ``<FACE>`` of a conversation with that picture.
        stem: ``"linear"``: a patch is embedded by one linear map of its pixels; ``"convolution"``: by convolutions of
            3 × 3 and stride 2 over the whole picture, which see over a patch's edge; ``"residual"``: by a small
            residual network, which learns from the fewest pictures.
        max_text_length: most tokens of a sequence, those of the picture not counted.
        face_size: how many numbers a face has (:attr:`FaceLayout.size`).
        head_size: width between the two layers of the face head.
        identity_modes, expression_modes, albedo_modes: of the morphable model, the first ones; ``None`` for all.
        pad_token_id, unk_token_id, cls_token_id, sep_token_id: of the text tokenizer.
        human_token_id, assistant_token_id: what begins a question and an answer.
        image_token_id: stands at every patch; it has no meaning of its own.
        face_token_id: ``<FACE>``.
    """

    model_type = "gptface_facegpt"

    def __init__(
        self,
        vocab_size: int = 1024,
        hidden_size: int = 192,
        num_hidden_layers: int = 4,
        num_attention_heads: int = 6,
        intermediate_size: int = 768,
        dropout: float = 0.0,
        layer_norm_eps: float = 1e-6,
        image_size: int = 96,
        patch_size: int = 8,
        channels: int = 3,
        language: bool = True,
        stem: str = "convolution",
        max_text_length: int = 96,
        face_size: int = 200,
        head_size: int = 384,
        identity_modes: int | None = None,
        expression_modes: int | None = None,
        albedo_modes: int | None = None,
        pad_token_id: int = 0,
        unk_token_id: int = 1,
        cls_token_id: int = 2,
        sep_token_id: int = 3,
        human_token_id: int = 5,
        assistant_token_id: int = 6,
        image_token_id: int = 7,
        face_token_id: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.dropout = dropout
        self.layer_norm_eps = layer_norm_eps
        self.image_size = image_size
        self.patch_size = patch_size
        self.channels = channels
        self.language = language
        self.stem = stem
        self.max_text_length = max_text_length
        self.face_size = face_size
        self.head_size = head_size
        self.identity_modes = identity_modes
        self.expression_modes = expression_modes
        self.albedo_modes = albedo_modes
        self.pad_token_id = pad_token_id
        self.unk_token_id = unk_token_id
        self.cls_token_id = cls_token_id
        self.sep_token_id = sep_token_id
        self.human_token_id = human_token_id
        self.assistant_token_id = assistant_token_id
        self.image_token_id = image_token_id
        self.face_token_id = face_token_id
        self._check()

    def _check(self) -> None:
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "head_size")
        self.check_at_least(1, *names, "face_size", "image_size", "patch_size")
        self.check_at_least(8, "max_text_length")
        for name in ("identity_modes", "expression_modes", "albedo_modes"):
            if getattr(self, name) is not None:
                self.check_at_least(0, name)
        check_above_0("layer_norm_eps", self.layer_norm_eps)
        check_heads("hidden_size", self.hidden_size, self.num_attention_heads)
        if self.channels not in (1, 3) or isinstance(self.channels, bool):
            raise InputError(f"channels must be 1 or 3, got {self.channels!r}")
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be from 0 to below 1, got {self.dropout!r}")
        if not isinstance(self.language, bool):
            raise InputError(f"language must be true or false, got {self.language!r}")
        patch_grid(self.image_size, self.image_size, self.patch_size)
        if self.stem not in STEMS:
            raise InputError(f"stem must be one of {', '.join(STEMS)}, got {self.stem!r}")
        if self.stem != "linear" and (self.patch_size & (self.patch_size - 1) or self.patch_size < 4):
            raise InputError(
                f"patch_size must be a power of 2 from 4 for a stem of convolutions, got {self.patch_size}"
            )
        ids = [value for name, value in vars(self).items() if name.endswith("_token_id") and name in self.field_names()]
        if len(set(ids)) != len(ids) or not all(0 <= value < self.vocab_size for value in ids):
            raise InputError(f"special tokens: ids {ids}; they must differ and lie below vocab_size {self.vocab_size}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return patch_grid(self.image_size, self.image_size, self.patch_size)

    @property
    def num_patches(self) -> int:
        """Number of patches of a picture."""
        return self.grid[0] * self.grid[1]

    @classmethod
    def tiny(cls, **overrides: Any) -> FaceGPTConfig:
        """For tests: pictures of 32² in 16 patches, a hundred thousand weights."""
        values = {"image_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        return cls.preset({**values, "intermediate_size": 64, "head_size": 64, "max_text_length": 64}, overrides)

    @classmethod
    def small(cls, **overrides: Any) -> FaceGPTConfig:
        """For one machine: pictures of 96² in 144 patches, 4 layers of 192: some 2.5 million weights."""
        return cls.preset({}, overrides)

    @classmethod
    def base(cls, **overrides: Any) -> FaceGPTConfig:
        """For a GPU: pictures of 224² in 196 patches, 12 layers of 768."""
        values = {"image_size": 224, "patch_size": 16, "hidden_size": 768, "num_hidden_layers": 12}
        values |= {"num_attention_heads": 12, "intermediate_size": 3072, "head_size": 1024, "max_text_length": 256}
        return cls.preset(values, overrides)
