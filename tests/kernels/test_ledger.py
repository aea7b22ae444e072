"""Which records of the ledger are believed: of the present sources, this architecture, these versions; never others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gptface.kernels import inventory, ledger
from gptface.kernels.attention_configurations import TUNED, entries
from gptface.kernels.ledger import Machine, as_text, minor, parse, read, standing
from gptface.kernels.places import ledger_path, tuned_path
from tests.helpers.gpu_records import passed

HERE = Machine("sm_90", torch.__version__, ledger.installed_triton())
KERNEL = "attention.forward"


@pytest.fixture
def own_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GPTFACE_LEDGER", str(tmp_path / "gpu_ledger.json"))
    (tmp_path / "tuned").mkdir()
    caches = (entries, inventory._triton_hash)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "tuned"
    for cache in caches:
        cache.cache_clear()


def test_a_record_of_this_machine_is_believed() -> None:
    assert standing(KERNEL, HERE, [passed(KERNEL)]).proven
    assert not standing("attention.grad_query", HERE, [passed(KERNEL)]).proven
    later = passed(KERNEL, torch=f"{minor(torch.__version__)}.99+cu199")
    assert standing(KERNEL, HERE, [later]).proven, "a patch release is the same minor version"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source_hash": "of last week"}, "changed since it passed on NVIDIA H200"),
        ({"architecture": "sm_100"}, "no proof on sm_90"),
        ({"torch": "1.13.0"}, "no proof with torch"),
        ({"triton": "2.0.0"}, "no proof with torch"),
        ({"outcome": "failed", "failed_case": "bf16 d64"}, r"failed (bf16 d64) on NVIDIA H200"),
    ],
)
def test_any_other_record_is_not_believed_and_the_reason_says_why(changes: dict[str, str], words: str) -> None:
    found = standing(KERNEL, HERE, [passed(KERNEL, **changes)])
    assert not found.proven and words in found.words


def test_the_later_record_counts() -> None:
    good, bad = passed(KERNEL), passed(KERNEL, outcome="failed", failed_case="c")
    assert standing(KERNEL, HERE, [bad, good]).proven
    assert not standing(KERNEL, HERE, [good, bad]).proven


def test_a_cuda_kernel_does_not_depend_on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_built", lambda: {"vq.cuda": "abc"})
    assert standing("vq.cuda", HERE, [passed("vq.cuda", triton="2.0.0")]).proven


def test_a_library_that_says_nothing_of_its_sources_is_never_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_built", dict)
    found = standing("vq.cuda", HERE, [passed("vq.cuda")])
    assert not found.proven


def test_without_a_gpu_it_is_said_where_a_kernel_was_proven() -> None:
    found = standing(KERNEL, None, [passed(KERNEL)])
    assert not found.proven and found.words.startswith("passed on NVIDIA H200 (sm_90, torch ")


def test_a_ledger_is_read_as_it_was_written() -> None:
    records = [passed(KERNEL), passed("vq.decide", outcome="failed", failed_case="topk 16")]
    assert parse(as_text(records)) == records and parse(as_text([])) == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": 2, "records": []}', '{"format": 1, "records": [3]}', '{"format": 1, "records": [{}]}'],
)
def test_a_broken_ledger_is_no_ledger_and_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(text)
    records, problem = read(path)
    assert records == [] and str(path) in problem


def test_a_record_of_the_interpreter_spoils_the_file() -> None:
    with pytest.raises(ValueError, match="interpreter"):
        parse(as_text([passed(KERNEL, architecture="interpreter")]))


def test_the_shipped_ledger_is_sound() -> None:
    for record in parse(ledger.SHIPPED.read_text(encoding="utf-8")):
        assert record.kernel in inventory.KERNELS


def test_the_users_ledger_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPTFACE_LEDGER", str(tmp_path / "mine.json"))
    assert ledger_path() == tmp_path / "mine.json"
    assert tuned_path("vq", "sm_90") == tmp_path / "tuned" / "vq_sm_90.json"


def test_a_users_table_is_taken_and_is_another_source(own_tables: Path) -> None:
    """Other tiles are another kernel: a proof of the shipped tables does not hold for them."""
    before = {kernel: inventory.source_hash(kernel, "sm_90") for kernel in inventory.KERNELS}
    table = json.loads((TUNED / "attention_sm_90.json").read_text())
    line = next(line for line in table["entries"] if line["kernel"] == "forward")
    line["num_warps"] = 16
    (own_tables / "attention_sm_90.json").write_text(json.dumps(table))
    for cache in (entries, inventory._triton_hash):
        cache.cache_clear()
    assert any(entry.configuration.num_warps == 16 for entry in entries("sm_90"))
    assert not any(entry.configuration.num_warps == 16 for entry in entries("sm_80"))
    changed = {kernel for kernel in before if inventory.source_hash(kernel, "sm_90") != before[kernel]}
    assert changed == {"attention.forward"}


def test_a_broken_table_is_left_out_with_a_warning(own_tables: Path) -> None:
    (own_tables / "attention_sm_90.json").write_text('{"entries": [{"kernel": "forward"}]}')
    with pytest.warns(RuntimeWarning, match="is left out"):
        assert entries("sm_90")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("attention", 4),
        ("attention.forward", 1),
        ("vq", 2),
        ("vq.cuda", 1),
        ("span_mask", 1),
        ("raster", 1),
        ("ras", 0),
    ],
)
def test_names_of_kernels(name: str, found: int) -> None:
    assert len(inventory.matching(name)) == found
