"""How every operator's call finds its implementation, and that the operators' files stand in an order."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import torch

from gptface.ops import (
    antialias,
    corrupt_tokens,
    gather_rows,
    implementations,
    interpolate,
    mask_tokens,
    masked_attention,
    rasterize,
    registry,
    sample_span_mask,
    vq_lookup,
)
from gptface.ops.registry import Preference, choose, register_implementation
from gptface.ops.span_mask import ImageRandom, SpanMask

ROOT = Path(__file__).resolve().parents[2]
TABLE = (Preference("fast", "it is"), Preference("unproven", "it may be"), Preference("plain", "it takes all"))


@pytest.fixture(autouse=True)
def three_implementations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    register_implementation("test", "fast", lambda: None, "")
    register_implementation("test", "unproven", lambda: None, "", proof="attention")
    register_implementation("test", "plain", lambda: None, "")
    register_implementation("test", "absent", lambda: "it was not built", "")
    yield


def test_auto_is_the_first_that_can_run_the_call() -> None:
    assert choose("test", "auto", TABLE, lambda name: None) == TABLE[0]
    asked: list[str] = []

    def obstacle(name: str) -> str | None:
        asked.append(name)
        return "too long" if name == "fast" else None

    assert choose("test", "auto", TABLE, obstacle) == TABLE[2]
    assert asked == ["fast", "unproven", "plain"]


def test_a_name_is_taken_at_its_word_or_raises() -> None:
    assert choose("test", "unproven", TABLE, lambda name: None) == ("unproven", "asked for by name")
    with pytest.raises(RuntimeError, match="test: impl='fast' cannot run this call: too long"):
        choose("test", "fast", TABLE, lambda name: "too long")
    with pytest.raises(RuntimeError, match="test: impl='absent' cannot run here: it was not built"):
        choose("test", "absent", TABLE, lambda name: None)
    with pytest.raises(ValueError, match="impl='magic' is not known; allowed: 'auto', 'fast', 'unproven', 'plain'"):
        choose("test", "magic", TABLE, lambda name: None)


def test_every_operator_refuses_an_unknown_name_in_the_same_words() -> None:
    x, ids, spec = torch.zeros(1, 4, 2, 16), torch.zeros(1, dtype=torch.int64), ImageRandom(grid=(2, 2), ratio=0.5)
    tokens = torch.zeros(1, 4, dtype=torch.int64)
    drawn: dict[str, Any] = {"seed": 0, "step": 0, "sample_ids": ids, "impl": "magic"}
    corruption: dict[str, Any] = {"mask_id": 1, "vocabulary_ranges": [(2, 9)], **drawn}
    nothing = SpanMask(tokens.bool(), ids[:0], torch.zeros(2, dtype=torch.int64), tokens.int() - 1)
    positions, triangles = torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]])
    raster = rasterize(positions, triangles, 2, 2)
    calls = {
        "masked_attention": lambda: masked_attention(x, x, x, impl="magic"),
        "vq_lookup": lambda: vq_lookup(x, x[0, 0], impl="magic"),
        "gather_rows": lambda: gather_rows(x[0, 0], ids, impl="magic"),
        "sample_span_mask": lambda: sample_span_mask(spec, **drawn),
        "corrupt_tokens": lambda: corrupt_tokens(tokens, nothing, **corruption),
        "mask_tokens": lambda: mask_tokens(tokens, spec, **corruption),
        "rasterize": lambda: rasterize(positions, triangles, 2, 2, impl="magic"),
        "interpolate": lambda: interpolate(positions, raster, triangles, impl="magic"),
        "antialias": lambda: antialias(torch.zeros(1, 2, 2, 3), raster, positions, triangles, impl="magic"),
    }
    assert set(calls) == {found.operator for found in implementations()} - {"test"}
    for operator, call in calls.items():
        with pytest.raises(ValueError, match=f"^{operator}: impl='magic' is not known; allowed: 'auto', "):
            call()


def test_no_two_files_of_the_operators_import_each_other() -> None:
    """Imports inside functions count; those of a package's own names, which its files fill, do not."""
    files = {path for path in (ROOT / "gptface" / "ops").rglob("*.py") if path.name != "__init__.py"}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}
    imports: dict[str, set[str]] = {}
    for module, path in modules.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        imports[module] = found & set(modules)
    assert imports["gptface.ops.attention.mask"] >= {"gptface.ops.attention.mask_plot"}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
