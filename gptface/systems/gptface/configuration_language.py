"""Configuration of the face–language transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptface.errors import InputError
from gptface.models.configuration import ModelConfig
from gptface.systems.gptface.sequence import JointVocabulary

__all__ = ["FaceLanguageConfig"]


class FaceLanguageConfig(ModelConfig):
    """The shape of a :class:`~gptface.systems.gptface.transformer.FaceLanguageModel`.

    Args:
        text_vocab_size: word pieces, special tokens included.
        codebook_size: codes of the image tokenizer.
        image_grid: token grid ``[h, w]`` of an image.
        max_text_length: longest caption in word pieces, without the special tokens.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: the transformer.
        dropout: on embeddings and on the output of each attention and feed-forward block.
        attention_dropout: on attention weights.
        alignment_size: width of the summaries of two light towers beside the transformer
            (:mod:`gptface.systems.gptface.alignment`): they tell image tokens what the caption says and words what the
            picture shows, and their agreement is added to [CLS]. A contrastive loss trains them. 0: attention alone.
        alignment_rank: numbers a token in the towers.
        surroundings_size: width of a convolution over the token grid that tells image tokens what lies around them
            (:mod:`gptface.systems.gptface.surroundings`). 0: attention alone.
        surroundings_rank: numbers a token in it.
        spatial_merge_size: m, where squares of m × m image tokens share a slot of the layers
            (:mod:`gptface.systems.gptface.merging`); it divides both sides of the grid. 1: a slot for every token.
        initializer_range: standard deviation of the initial weights; projections onto the residual stream get
            ``1 / sqrt(2 * num_hidden_layers)`` of it.
        layer_norm_eps: of every layer normalisation.
        pad_token_id, cls_token_id, sep_token_id, mask_token_id: special ids of the text tokenizer.
    """

    model_type = "gptface"

    def __init__(
        self,
        text_vocab_size: int = 1024,
        codebook_size: int = 256,
        image_grid: Sequence[int] = (8, 8),
        max_text_length: int = 48,
        hidden_size: int = 192,
        num_hidden_layers: int = 6,
        num_attention_heads: int = 6,
        intermediate_size: int = 768,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        alignment_size: int = 0,
        alignment_rank: int = 32,
        surroundings_size: int = 0,
        surroundings_rank: int = 16,
        spatial_merge_size: int = 1,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-5,
        pad_token_id: int = 0,
        cls_token_id: int = 2,
        sep_token_id: int = 3,
        mask_token_id: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.text_vocab_size = text_vocab_size
        self.codebook_size = codebook_size
        self.image_grid = list(image_grid)
        self.max_text_length = max_text_length
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.alignment_size = alignment_size
        self.alignment_rank = alignment_rank
        self.surroundings_size = surroundings_size
        self.surroundings_rank = surroundings_rank
        self.spatial_merge_size = spatial_merge_size
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.pad_token_id = pad_token_id
        self.cls_token_id = cls_token_id
        self.sep_token_id = sep_token_id
        self.mask_token_id = mask_token_id
        self._check()

    def _check(self) -> None:
        self.check_at_least(
            1,
            "text_vocab_size",
            "codebook_size",
            "max_text_length",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "alignment_rank",
            "surroundings_rank",
            "spatial_merge_size",
        )
        self.check_at_least(0, "alignment_size", "surroundings_size")
        if len(self.image_grid) != 2 or any(not isinstance(side, int) or side < 1 for side in self.image_grid):
            raise InputError(f"image_grid must be two positive integers [h, w], got {self.image_grid}")
        if any(side % self.spatial_merge_size for side in self.image_grid):
            raise InputError(
                f"spatial_merge_size must divide both sides of image_grid {self.image_grid}, "
                f"got {self.spatial_merge_size}"
            )
        head = self.hidden_size // self.num_attention_heads
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"num_attention_heads {self.num_attention_heads} does not divide hidden_size {self.hidden_size}"
            )
        if head % 8 or not 16 <= head <= 256:
            raise InputError(
                f"hidden_size {self.hidden_size} over {self.num_attention_heads} heads gives heads of {head}; "
                "attention takes widths from 16 to 256 in multiples of 8"
            )
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if len({self.pad_token_id, self.cls_token_id, self.sep_token_id, self.mask_token_id}) < 4:
            raise InputError(
                "pad_token_id, cls_token_id, sep_token_id and mask_token_id must differ, got "
                f"{self.pad_token_id}, {self.cls_token_id}, {self.sep_token_id} and {self.mask_token_id}"
            )
        self.vocabulary  # noqa: B018  the special ids are checked against text_vocab_size there

    @property
    def vocabulary(self) -> JointVocabulary:
        """The joint id space."""
        return JointVocabulary(
            text_size=self.text_vocab_size,
            image_size=self.codebook_size,
            pad_id=self.pad_token_id,
            cls_id=self.cls_token_id,
            sep_id=self.sep_token_id,
            mask_id=self.mask_token_id,
        )

    @property
    def num_image_tokens(self) -> int:
        """Tokens of an image."""
        return int(self.image_grid[0] * self.image_grid[1])

    @property
    def embedding_size(self) -> int:
        """Numbers a token as the model embeds it: the sum of :attr:`embedding_sizes`."""
        return sum(self.embedding_sizes)

    @property
    def embedding_sizes(self) -> tuple[int, int, int]:
        """Of which the transformer's, the towers' (0 without them) and those of the surroundings (0 without them)."""
        towers = self.alignment_rank if self.alignment_size else 0
        return self.hidden_size, towers, self.surroundings_rank if self.surroundings_size else 0

    @classmethod
    def tiny(cls, **overrides: Any) -> FaceLanguageConfig:
        """The demo: 6 layers of width 192, trained on two CPU cores in minutes."""
        return cls.preset({}, overrides)

    @classmethod
    def small(cls, **overrides: Any) -> FaceLanguageConfig:
        """8 layers of width 384 on 16×16 tokens: an afternoon on one GPU."""
        values = {
            "text_vocab_size": 8192,
            "codebook_size": 1024,
            "image_grid": [16, 16],
            "max_text_length": 75,
            "hidden_size": 384,
            "num_hidden_layers": 8,
            "num_attention_heads": 6,
            "intermediate_size": 1536,
            "dropout": 0.1,
        }
        return cls.preset(values, overrides)

    @classmethod
    def base(cls, **overrides: Any) -> FaceLanguageConfig:
        """12 layers, width 768, 12 heads, feed-forward 3072, BERT-uncased word pieces, joint sequences of 334."""
        values = {
            "text_vocab_size": 30522,
            "codebook_size": 1024,
            "image_grid": [16, 16],
            "max_text_length": 75,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "dropout": 0.1,
            "attention_dropout": 0.0,
            "cls_token_id": 101,
            "sep_token_id": 102,
            "mask_token_id": 103,
        }
        return cls.preset(values, overrides)
