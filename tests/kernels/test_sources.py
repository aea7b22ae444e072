"""The hash of a CUDA kernel follows what it is made of, and a binary gives back what was written into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptface.kernels.inventory import CUDA_FOR
from gptface.kernels.sources import built_from, cuda_source_hashes

ROOT = Path(__file__).resolve().parents[2]


def checkout(root: Path) -> Path:
    """Two CUDA sources of which one includes a header that includes another."""
    for name, text in {
        "cuda/span_mask.cu": "#include <gptface/outer.h>\n",
        "cuda/vq.cu": "// alone\n",
        "include/gptface/outer.h": '#include "inner.h"\n#include <vector>\n',
        "include/gptface/inner.h": "// inner\n",
        "include/gptface/unused.h": "// nobody's\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("changed", "affected"),
    [
        ("cuda/vq.cu", {"vq.cuda"}),
        ("include/gptface/inner.h", {"span_mask.cuda"}),
        ("include/gptface/unused.h", set()),
    ],
)
def test_a_hash_changes_with_what_the_kernel_is_made_of(tmp_path: Path, changed: str, affected: set[str]) -> None:
    csrc = checkout(tmp_path)
    before = cuda_source_hashes(csrc)
    assert set(before) == {"span_mask.cuda", "vq.cuda"}
    (csrc / changed).write_text((csrc / changed).read_text() + "// changed\n")
    after = cuda_source_hashes(csrc)
    assert {name for name in before if before[name] != after[name]} == affected


def test_a_binary_says_what_it_was_built_from(tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    marks = {"vq.cuda": "a1" * 32, "raster.cuda": "0f" * 32}
    parts = [b"\x7fELF", *(f"gptface built from {name}:{found}\0".encode() for name, found in marks.items()), b"\0"]
    library.write_bytes(b"".join(parts))
    assert built_from(library) == marks
    library.write_bytes(b"\x7fELF, built before libraries said so")
    assert built_from(library) == {}


def test_every_cuda_source_is_a_kernel_of_the_inventory_and_carries_its_hash() -> None:
    sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    if not sources:
        pytest.skip("no sources here: an installed wheel")
    assert {f"{source.stem}.cuda" for source in sources} == set(CUDA_FOR)
    for source in sources:
        assert "#include <gptface/built_from.h>" in source.read_text(), source.name
