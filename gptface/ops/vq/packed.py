"""A codebook made ready once for many lookups: packed by whoever asks for it, or kept between calls while unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from gptface.errors import InputError
from gptface.ops.vq import cpu

__all__ = ["LastCodebook", "Metric", "PackedCodebook", "Precision", "check_codebook", "pack_codebook"]

Metric = Literal["euclidean", "cosine", "dot"]
Precision = Literal["exact", "tf32x3", "tf32", "bf16"]

METRICS = ("euclidean", "cosine", "dot")
PRECISIONS = ("exact", "tf32x3", "tf32", "bf16")


def check_codebook(function: str, codebook: Tensor, metric: str, precision: str) -> None:
    """What :func:`pack_codebook` and ``vq_lookup`` ask of a codebook; ``function`` begins the messages."""
    if metric not in METRICS:
        raise InputError(f"{function}: metric={metric!r} is not known; allowed: {', '.join(METRICS)}")
    if precision not in PRECISIONS:
        raise InputError(f"{function}: precision={precision!r} is not known; allowed: {', '.join(PRECISIONS)}")
    if codebook.ndim not in (2, 3):
        raise InputError(f"{function}: codebook has shape {tuple(codebook.shape)}; allowed: (K, D) or (G, K, D)")
    if not codebook.is_floating_point():
        raise InputError(f"{function}: codebook is {codebook.dtype}; it must be floating point")
    if codebook.shape[-1] == 0 or codebook.shape[-2] == 0:
        raise InputError(
            f"{function}: codebook has shape {tuple(codebook.shape)}; it needs at least one code and D >= 1"
        )


@dataclass(frozen=True, eq=False, repr=False)
class PackedCodebook:
    """What ``vq_lookup`` takes in place of a codebook: a snapshot of it, with what the kernels would otherwise work out
    in each call. Made by :func:`pack_codebook`; nothing changes it, and what is written to the original tensor later
    does not reach it.

    Attributes:
        metric, precision: of the lookups it serves.
    """

    metric: str
    precision: str
    _codes: Tensor  # contiguous, as given
    _float32: Tensor  # the same tensor where that is float32 already
    _words: Tensor | None  # what the native CPU kernels made of it; None where they do not serve

    @property
    def shape(self) -> torch.Size:
        """``(K, D)`` or ``(G, K, D)``."""
        return self._codes.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._codes.dtype

    @property
    def device(self) -> torch.device:
        return self._codes.device

    @property
    def codebook(self) -> Tensor:
        """A copy of the snapshot."""
        return self._codes.clone()

    @property
    def nbytes(self) -> int:
        """Memory that it holds, in bytes."""
        kept = {id(part): part for part in (self._codes, self._float32, self._words) if part is not None}
        return sum(part.untyped_storage().nbytes() for part in kept.values())

    def __repr__(self) -> str:
        return (
            f"PackedCodebook({tuple(self.shape)}, {self.dtype}, {self.device}, metric={self.metric!r}, "
            f"precision={self.precision!r}; a snapshot)"
        )

    # The layout belongs to a processor: what travels is the snapshot.
    def __reduce__(self) -> tuple[Any, ...]:
        return _packed, (self._codes, self.metric, self.precision)

    def __copy__(self) -> PackedCodebook:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedCodebook:
        return self


def pack_codebook(codebook: Tensor, *, metric: Metric = "euclidean", precision: Precision = "exact") -> PackedCodebook:
    """Make a codebook ready for many calls of ``vq_lookup``, which then do without that work and give the same bits.

    It pays on a processor with few rows a call: with 256 rows, K 16,384 and D 256, packing is nearly half of the time
    (``python -m benchmarks vq``, AVX512-BF16, two threads). On other devices, and for float64, the result is the
    snapshot alone.

    Args:
        codebook: ``(K, D)`` or ``(G, K, D)``, floating point. It is copied: later writes to it are not seen, and no
            gradient reaches it.
        metric, precision: of the lookups; see ``vq_lookup``.

    Returns:
        A :class:`PackedCodebook`. It takes one copy of the codebook, and on a processor one to one and a half more in
        float32, packed.

    Raises:
        InputError: a codebook of another shape or dtype, or an empty one; an unknown metric or precision.
    """
    check_codebook("pack_codebook", codebook, metric, precision)
    # A snapshot made under inference_mode must serve outside, too.
    with torch.inference_mode(False), torch.no_grad():
        codes = codebook.detach().clone(memory_format=torch.contiguous_format)
        return _packed(codes, metric, precision)


def _packed(codes: Tensor, metric: str, precision: str) -> PackedCodebook:
    """Of a tensor that nobody else holds."""
    if torch.compiler.is_compiling() or cpu.unsupported(codes, codes, 1) is not None:
        return PackedCodebook(metric, precision, codes, codes, None)
    float32 = codes.float()
    return PackedCodebook(metric, precision, codes, float32, cpu.pack(float32, metric, precision))


class _Kept(NamedTuple):
    source: Tensor
    packed: PackedCodebook


class LastCodebook:
    """Keeps the codebook of the last lookup packed, for as long as the tensor that it comes from holds the same bits.

    Every use compares that tensor with a snapshot, element by element: training code writes to codebooks behind
    autograd's version counter (``weight.data.copy_``), and a fingerprint can collide, but a comparison misses nothing.
    It reads two copies of the codebook, a fraction of what packing takes. Copies and pickles start empty. Threads may
    share it.
    """

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def clear(self) -> None:
        self._kept = None

    def packed(self, source: Tensor, codes_of: Callable[[Tensor], Tensor], precision: Precision) -> PackedCodebook:
        """``pack_codebook(codes_of(source))``, kept from the last call where ``source`` has not changed since.

        Args:
            source: float32, on the CPU; see :meth:`serves`.
            codes_of: the same function in every call, such as a normalisation.
            precision: the same in every call.
        """
        kept = self._kept  # one look: another thread may put another there
        if kept is None or not _same_bits(source, kept.source):
            with torch.inference_mode(False), torch.no_grad():
                # The copy is what gets packed: whoever writes to the source meanwhile cannot part the two.
                copy = source.detach().clone(memory_format=torch.contiguous_format)
                kept = _Kept(copy, _packed(codes_of(copy).contiguous(), "euclidean", precision))
            self._kept = kept
        return kept.packed

    @staticmethod
    def serves(source: Tensor, rows: Tensor, impl: str) -> bool:
        """Whether there is anything to gain, and a comparison is possible: on real float32 numbers on the CPU, while
        nobody traces what happens."""
        return (
            not torch.compiler.is_compiling()
            and impl in ("auto", "cpu")
            and type(source) in (Tensor, torch.nn.Parameter)
            and source.dtype == rows.dtype == torch.float32
            and cpu.unsupported(rows, source, 1) is None
            and not is_in_torch_dispatch_mode()
            and not torch.jit.is_tracing()
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return LastCodebook, ()


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two float32 tensors on the CPU are the same in every bit, signs of zeros and payloads of NaN included."""
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    one, other = one.detach().reshape(-1), other.reshape(-1)
    pairs = one.numel() % 2 == 0 and one.storage_offset() % 2 == 0 and other.storage_offset() % 2 == 0
    words = torch.int64 if pairs else torch.int32
    return torch.equal(one.view(words), other.view(words))
