"""Which GPU kernels there are, and a hash of what each is made of. Imports no triton: the hashes are of text.

A Triton kernel is made of the files that it and its launcher are written in and of the lines of the launch tables that
it runs with; a CUDA kernel of what its library says that it was built from (:mod:`gptface.kernels.sources`).
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import gptface
from gptface.kernels import attention_configurations, vq_configurations
from gptface.kernels.sources import built_from, cuda_source_hashes

__all__ = [
    "CUDA_FOR", "KERNELS", "cuda_library", "family", "forget", "matching", "outdated", "source_hash", "table_of",
]  # fmt: skip

_HERE = Path(__file__).resolve().parent
_PACKAGE = Path(gptface.__file__).resolve().parent

_SHARED = ("attention.py", "attention_device.py", "attention_bounds.py", "attention_configurations.py")
_CONTAINMENT = "attention_containment.py"
_VQ_SHARED = ("attention_configurations.py", "vq.py", "vq_configurations.py")
_FILES = {
    "attention.bounds": _SHARED,
    "attention.forward": (*_SHARED, _CONTAINMENT, "attention_forward.py"),
    "attention.grad_query": (*_SHARED, _CONTAINMENT, "attention_forward.py", "attention_backward.py"),
    "attention.grad_key_value": (*_SHARED, _CONTAINMENT, "attention_backward_keys.py"),
    "vq.nominate": (*_VQ_SHARED, "attention_device.py", "vq_nominate.py"),
    "vq.decide": (*_VQ_SHARED, "vq_decide.py"),
}
# CUDA kernels, files of csrc/cuda, and the operators that they are for.
CUDA_FOR = {
    "raster.cuda": "rasterize, interpolate",
    "span_mask.cuda": "sample_span_mask, corrupt_tokens, mask_tokens",
    "vq.cuda": "vq_lookup",
}
KERNELS: tuple[str, ...] = (*_FILES, *CUDA_FOR)


def family(kernel: str) -> str:
    """What is proven together and taken together: ``"attention"``, ``"vq"``, or a CUDA kernel by itself."""
    return kernel if kernel in CUDA_FOR else kernel.split(".")[0]


def matching(name: str) -> tuple[str, ...]:
    """The kernels that a user's word means: one by its name, a family, or every one whose name begins so."""
    exact = tuple(kernel for kernel in KERNELS if name in (kernel, family(kernel)))
    return exact or tuple(kernel for kernel in KERNELS if kernel.startswith(f"{name}."))


def table_of(architecture: str) -> str:
    """The launch table of an architecture such as ``"sm_90"``; the last digit is the minor version."""
    digits = architecture.removeprefix("sm_")
    return attention_configurations.table_name((int(digits[:-1]), int(digits[-1])))


def source_hash(kernel: str, architecture: str) -> str | None:
    """Of what ``kernel`` is made of on a GPU of ``architecture``; ``None`` for a CUDA kernel that was not built."""
    if kernel in CUDA_FOR:
        return _built().get(kernel)
    return _triton_hash(kernel, table_of(architecture))


@functools.cache
def _triton_hash(kernel: str, table: str) -> str:
    whole = hashlib.sha256()
    for file in _FILES[kernel]:
        whole.update(file.encode() + b"\0" + (_HERE / file).read_bytes())
    operator, _, part = kernel.partition(".")
    lines: list[dict[str, object]] = []
    if operator == "attention":
        lines = [entry.as_json() for entry in attention_configurations.entries(table) if entry.kernel == part]
    elif part == "nominate":
        lines = [entry.as_json() for entry in vq_configurations.entries(table)]
    whole.update(json.dumps(lines, sort_keys=True).encode())
    return whole.hexdigest()


def forget() -> None:
    """Read the launch tables again at the next question: a user's own have been written or removed."""
    attention_configurations.forget()
    vq_configurations.forget()
    _triton_hash.cache_clear()


def cuda_library() -> Path | None:
    """The library of the CUDA kernels, or ``None`` where it was not built."""
    return next(iter(sorted(_PACKAGE.glob("_native_cuda*.so"))), None)


@functools.cache
def _built() -> dict[str, str]:
    library = cuda_library()
    return {} if library is None else built_from(library)


def outdated() -> tuple[str, ...]:
    """CUDA kernels whose library was built from other sources than this checkout holds now; none in a wheel."""
    present = cuda_source_hashes(_PACKAGE.parent / "csrc")
    return tuple(kernel for kernel, found in _built().items() if present and present.get(kernel) != found)
