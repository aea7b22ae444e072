"""Every shape that is measured, in one place, with the reason for each.

``quick`` shapes are a subset that two slow cores get through in two minutes; ``miniature`` ones are for tests.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contender import Scale

__all__ = [
    "DOCUMENTS",
    "PAPER",
    "AttentionShape",
    "DataShape",
    "DecodeShape",
    "LookupShape",
    "PretrainShape",
    "RasterShape",
    "SpanShape",
    "attention_shapes",
    "data_shapes",
    "decode_shapes",
    "lookup_shapes",
    "pretrain_shapes",
    "raster_shapes",
    "span_shapes",
]


@dataclass(frozen=True)
class AttentionShape:
    """A batch of attention.

    Attributes:
        pattern: see :mod:`benchmarks.patterns`.
        batch, length, heads, head_dim: ``query (B, S, H, D)``, self-attention.
        dtype: of inputs.
        backward: gradients of query, key and value too.
        options: of the pattern.
        queries: Sq where it is not S: the last rows of S, against a cache of all keys.
        key_heads: Hkv where it is not H.
    """

    pattern: str
    batch: int
    length: int
    heads: int = 12
    head_dim: int = 64
    dtype: str = "float32"
    backward: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    queries: int = 0
    key_heads: int = 0

    @property
    def rows(self) -> int:
        """Sq."""
        return self.queries or self.length

    @property
    def group(self) -> int:
        """Query heads of a key head."""
        return self.heads // (self.key_heads or self.heads)

    @property
    def name(self) -> str:
        passes = "forward+backward" if self.backward else "forward"
        queries = f"{self.queries} of " if self.queries else ""
        heads = f"{self.heads}/{self.key_heads}" if self.key_heads else f"{self.heads}"
        shape = f"B {self.batch}, S {queries}{self.length}, H {heads}, D {self.head_dim}"
        return f"{self.pattern}, {shape}, {self.dtype}, {passes}"


def _both(**common: Any) -> list[AttentionShape]:
    return [AttentionShape(**common, backward=backward) for backward in (False, True)]


# The mixed batch of the paper: 75 word pieces, 256 image tokens, 3 special tokens; half of the rows bidirectional, a
# quarter prefix language models in each direction, captions of uneven length.
PAPER: dict[str, Any] = {"pattern": "mixed", "batch": 8, "length": 334}
# Documents of 64 to 512 tokens end to end in one row.
DOCUMENTS: dict[str, Any] = {"shortest": 64, "longest": 512}


def attention_shapes(scale: Scale, device: str) -> list[AttentionShape]:
    """Shapes of the ``attention`` subject."""
    if scale == "miniature":
        small: dict[str, Any] = {"heads": 2, "head_dim": 16}
        return [
            AttentionShape("mixed", 4, 37, **small),
            AttentionShape("packed", 1, 64, **small, options={"shortest": 5, "longest": 20}),
            AttentionShape("packed_causal", 1, 64, **small, options={"shortest": 5, "longest": 20}),
            AttentionShape("prefix_lm", 1, 48, **small, options={"prefix": 12}),
            AttentionShape("sliding_window", 1, 48, **small, options={"window": 8}),
            AttentionShape("captions", 1, 61, **small, options={"image": 16, "captions": 4}),
            AttentionShape("causal", 1, 32, **small),
            AttentionShape("dense", 1, 32, **small, backward=False),
        ]
    if scale == "quick":
        dtype = "bfloat16" if device == "cuda" else "float32"
        return [
            *_both(**PAPER, dtype=dtype),
            AttentionShape("packed", 1, 1024, dtype=dtype, options=DOCUMENTS),
            AttentionShape("packed_causal", 1, 1024, dtype=dtype, options=DOCUMENTS),
        ]
    dtypes = ("bfloat16",) if device == "cuda" else ("float32", "bfloat16")
    # A run may have to end before the last: what says most comes first, in every dtype.
    shapes = [shape for dtype in dtypes for shape in _both(**PAPER, dtype=dtype)]
    lengths = (4096, 32768, 1024, 16384, 2048, 8192) if device == "cuda" else (1024, 4096, 2048)
    for length, dtype in itertools.product(lengths, dtypes):
        shapes += _both(pattern="packed", batch=1, length=length, dtype=dtype, options=DOCUMENTS)
        shapes.append(AttentionShape("packed_causal", 1, length, dtype=dtype, options=DOCUMENTS))
    for dtype in dtypes:
        long = 8192 if device == "cuda" else 2048
        shapes += [
            AttentionShape("prefix_lm", 1, long, dtype=dtype, options={"prefix": long // 4}),
            AttentionShape("sliding_window", 1, long, dtype=dtype, options={"window": 256}),
            # One image of 256 tokens and as many captions of 37 as fit: an alternative to repeating the image.
            AttentionShape("captions", 4, 256 + 8 * 37, dtype=dtype, options={"image": 256, "captions": 8}),
        ]
        # Nothing to skip: here a masked kernel can only lose, and the choice of impl="auto" follows what is seen.
        for pattern, length in itertools.product(("dense", "causal"), (334, 128, 1024, 4096)):
            few: dict[str, Any] = {"batch": max(1, 1024 // length), "heads": 4, "dtype": dtype}
            if device == "cuda":
                few |= {"batch": max(1, 8192 // length), "heads": 12}
            shapes += _both(pattern=pattern, length=length, **few)
    if device == "cuda":  # the head size of most language models, where the rates of published kernels are quoted
        for length in (2048, 16384):
            wide: dict[str, Any] = {"batch": 1, "length": length, "heads": 16, "head_dim": 128, "dtype": "bfloat16"}
            shapes += _both(pattern="packed_causal", **wide, options=DOCUMENTS)
    return shapes


@dataclass(frozen=True)
class LookupShape:
    """A codebook lookup, or (``step``) a whole training step of a quantiser.

    Attributes:
        rows, codes, length: N, K and D.
        step: forward, loss, backward and moving averages instead of the lookup alone.
        offset: common offset of all data, where expanded squared distances lose their digits.
    """

    rows: int
    codes: int
    length: int
    step: bool = False
    offset: float = 0.0

    @property
    def name(self) -> str:
        what = "quantiser training step" if self.step else "lookup"
        offset = f", offset {self.offset:g}" if self.offset else ""
        return f"{what}, N {self.rows}, K {self.codes}, D {self.length}{offset}"


def lookup_shapes(scale: Scale, device: str) -> list[LookupShape]:
    """Shapes of the ``vq`` subject."""
    if scale == "miniature":
        return [LookupShape(96, 32, 8), LookupShape(64, 16, 4, offset=10.0), LookupShape(64, 16, 8, step=True)]
    if scale == "quick":
        return [
            LookupShape(8192, 1024, 32),
            LookupShape(4096, 8192, 8),
            LookupShape(256, 16384, 256),
            LookupShape(1024, 8192, 256),
            LookupShape(4096, 1024, 32, step=True),
        ]
    more = 4 if device == "cuda" else 1
    return [
        LookupShape(8192 * more, 1024, 32),
        LookupShape(8192, 1024, 32, step=True),
        LookupShape(4096 * more, 8192, 256, step=True),
        LookupShape(256, 16384, 256),  # one image, a large codebook: packing that is most of the work
        LookupShape(65536, 1024, 256),  # a batch of 256 images of the paper's tokenizer
        LookupShape(65536, 16384, 8),  # the short codes of ViT-VQGAN and LlamaGen
        LookupShape(16384, 8192, 256),
        LookupShape(16384, 65536, 4),
        LookupShape(8192, 1024, 32, offset=10.0),
        LookupShape(8192, 16384, 64),
        LookupShape(8192 * more, 262144, 16),  # the largest codebooks in use
    ]


@dataclass(frozen=True)
class RasterShape:
    """Pictures of a head: ``batch`` of ``size``², 2 · ``rings`` · ``sectors`` triangles each.

    Attributes:
        step: with the gradients of positions and colours.
        perspective: or weak perspective, where w is 1 for all vertices.
    """

    batch: int
    size: int
    rings: int
    sectors: int
    step: bool = False
    perspective: bool = True

    @property
    def triangles(self) -> int:
        return 2 * self.rings * self.sectors

    @property
    def name(self) -> str:
        what = "draw and gradients" if self.step else "draw"
        how = "" if self.perspective else ", weak perspective"
        return f"{what}, {self.batch} × {self.size}², {self.triangles} triangles{how}"


def raster_shapes(scale: Scale) -> list[RasterShape]:
    """Shapes of the ``raster`` subject."""
    if scale == "miniature":
        return [RasterShape(2, 24, 12, 12), RasterShape(2, 24, 12, 12, True), RasterShape(2, 24, 12, 12, True, False)]
    # The mesh of a morphable model in the pictures of a batch.
    batch = [RasterShape(8, 224, 104, 106), RasterShape(8, 224, 104, 106, True)]
    if scale == "quick":
        return batch
    return [
        *batch,
        RasterShape(8, 224, 104, 106, True, False),
        RasterShape(1, 224, 104, 106, True),  # a photo that is fitted
        RasterShape(1, 1024, 104, 106),  # a picture to look at
        RasterShape(16, 64, 30, 30, True),  # a coarse mesh
    ]


@dataclass(frozen=True)
class SpanShape:
    """A batch of span masks: ``kind`` is ``text`` (S positions) or ``image`` (grid² cells)."""

    kind: str
    batch: int
    ratio: float
    length: int = 334
    grid: int = 16

    @property
    def name(self) -> str:
        what = f"S {self.length}" if self.kind == "text" else f"grid {self.grid}×{self.grid}"
        return f"{self.kind}, B {self.batch}, {what}, ratio {self.ratio:g}"


def span_shapes(scale: Scale) -> list[SpanShape]:
    """Shapes of the ``span_mask`` subject."""
    if scale == "miniature":
        return [SpanShape("text", 8, 0.15, length=60), SpanShape("image", 8, 0.4, grid=14)]
    quick = [SpanShape("text", 256, 0.15), SpanShape("image", 256, 0.4)]
    if scale == "quick":
        return quick
    return [
        SpanShape("text", 64, 0.15),
        *quick,
        SpanShape("text", 256, 0.5),
        SpanShape("image", 256, 0.75),
        SpanShape("text", 1024, 0.15),
        SpanShape("image", 1024, 0.4),
    ]


@dataclass(frozen=True)
class PretrainShape:
    """A pre-training step.

    Attributes:
        preset, overrides: of the transformer.
        batch: pairs.
        dtype: of autocast.
        shortest: length of the shortest captions as a share of the longest.
        label: what the case is called, the preset where empty.
    """

    preset: str
    batch: int
    dtype: str = "float32"
    overrides: dict[str, Any] = field(default_factory=dict)
    shortest: float = 0.125
    label: str = ""

    @property
    def name(self) -> str:
        return f"{self.label or self.preset}, B {self.batch}, {self.dtype}"


_MINIATURE_MODEL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_grid": (4, 4),
    "text_vocab_size": 64, "codebook_size": 32, "max_text_length": 8,
}  # fmt: skip


# `make demo`: its transformer without the alignment towers, which plain PyTorch would not have, and captions as long as
# its captions are (15 to 32 word pieces).
_DEMO: dict[str, Any] = {
    "preset": "tiny",
    "batch": 24,
    "label": "demo",
    "shortest": 0.47,
    "overrides": {
        "num_hidden_layers": 4, "num_attention_heads": 4, "image_grid": (10, 10), "text_vocab_size": 1024,
        "codebook_size": 1024, "max_text_length": 32,
    },
}  # fmt: skip


def pretrain_shapes(scale: Scale, device: str) -> list[PretrainShape]:
    """Shapes of the ``pretrain_step`` subject."""
    if scale == "miniature":
        return [PretrainShape("tiny", 6, overrides=_MINIATURE_MODEL)]
    if device == "cuda":
        return [PretrainShape(preset, batch, "bfloat16") for preset, batch in _CUDA_BATCHES[scale]]
    if scale == "quick":
        return [PretrainShape("tiny", 16)]
    return [
        PretrainShape(**_DEMO, dtype="bfloat16"),
        PretrainShape("base", 4, "bfloat16"),
        PretrainShape(**_DEMO),
        PretrainShape("tiny", 32),
        PretrainShape("tiny", 32, "bfloat16"),
        PretrainShape("small", 8, "bfloat16"),
        PretrainShape("base", 4),
    ]


_CUDA_BATCHES = {
    "quick": [("tiny", 64), ("base", 16)],
    "full": [("tiny", 256), ("small", 128), ("base", 64)],
}


@dataclass(frozen=True)
class PaCoFRShape:
    """A training step of PaCo-FR: ``preset`` of the model, pictures in a batch, dtype of autocast."""

    preset: str
    batch: int
    dtype: str = "float32"

    @property
    def name(self) -> str:
        return f"{self.preset}, B {self.batch}, {self.dtype}"


def pacofr_shapes(scale: Scale, device: str, fast_bf16: bool) -> list[PaCoFRShape]:
    """Shapes of the ``pacofr_step`` subject; on a processor in bfloat16 only where it multiplies that faster."""
    if scale == "miniature":
        return [PaCoFRShape("tiny", 4)]
    if device == "cuda":
        batches = [("small", 256)] if scale == "quick" else [("small", 256), ("small", 1024), ("base", 128)]
        return [PaCoFRShape(preset, batch, "bfloat16") for preset, batch in batches]
    batches = [("small", 32)] if scale == "quick" else [("small", 64), ("small", 256)]
    dtypes = ("bfloat16", "float32") if fast_bf16 else ("float32",)
    return [PaCoFRShape(preset, batch, dtype) for dtype in dtypes for preset, batch in batches]


@dataclass(frozen=True)
class DecodeShape:
    """Masked decoding of ``batch`` images in ``steps`` passes, of which a share of the tokens is ``unknown``."""

    preset: str
    batch: int
    steps: int
    unknown: float = 1.0
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        part = "" if self.unknown == 1 else f", {self.unknown:.0%} unknown"
        return f"{self.preset}, batch {self.batch}, {self.steps} steps{part}"


def decode_shapes(scale: Scale, device: str) -> list[DecodeShape]:
    """Shapes of the ``decode`` subject."""
    if scale == "miniature":
        return [DecodeShape("tiny", 2, 3, unknown, overrides=_MINIATURE_MODEL) for unknown in (1.0, 0.5)]
    if scale == "quick":
        return [DecodeShape("tiny", batch, 8, unknown) for batch in (1, 16) for unknown in (1.0, 0.2)]
    presets = ("tiny", "base") if device == "cuda" else ("tiny", "small")
    whole = [DecodeShape(preset, batch, steps) for preset in presets for batch in (1, 16) for steps in (8, 12, 18)]
    return whole + [DecodeShape(preset, batch, 8, 0.2) for preset in presets for batch in (1, 16)]


@dataclass(frozen=True)
class DataShape:
    """``what`` is ``generator`` (render faces) or ``shards`` (read them back)."""

    what: str
    size: int
    count: int

    @property
    def name(self) -> str:
        return f"{self.what}, {self.size}² pixels"


def data_shapes(scale: Scale) -> list[DataShape]:
    """Shapes of the ``data`` subject."""
    if scale == "miniature":
        return [DataShape("generator", 16, 2), DataShape("shards", 16, 4)]
    if scale == "quick":
        return [DataShape("generator", 64, 8), DataShape("shards", 64, 128)]
    sizes = (64, 128, 256)
    return [DataShape("generator", size, 8) for size in sizes] + [DataShape("shards", size, 128) for size in sizes]
