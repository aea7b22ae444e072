"""The ledger of GPU proofs: which kernels, made of which sources, passed or failed where. The only reader of it.

Two files of one format: ``tuned/ledger.json``, shipped with the release, and the user's own
(:func:`gptface.kernels.places.ledger_path`), which ``gptface prove`` writes::

    {"format": 1, "records": [{"kernel": "attention.forward", "source_hash": "…", "architecture": "sm_90",
     "gpu": "NVIDIA H200", "driver": "…", "torch": "2.13.0", "triton": "3.9.0", "date": "2026-11-29",
     "outcome": "passed", "worst_error": 0.71, "cases": 24, "failed_case": ""}, …]}

``impl="auto"`` takes a kernel where a record says "passed" of its present sources, this GPU's architecture, and these
minor versions of torch and (for Triton kernels) triton. Of two records of the same the user's counts, and the later.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gptface.kernels.inventory import CUDA_FOR, cuda_library, source_hash
from gptface.kernels.places import ledger_path

__all__ = [
    "SHIPPED", "Machine", "Record", "Standing", "as_text", "forget", "installed_triton", "known", "minor",
    "parse", "read", "same_proof", "standing",
]  # fmt: skip

SHIPPED = Path(__file__).resolve().parent / "tuned" / "ledger.json"
FORMAT = 1
OUTCOMES = ("passed", "failed")


@dataclass(frozen=True)
class Record:
    """What one proof of one kernel came to.

    Attributes:
        kernel: one of :data:`gptface.kernels.inventory.KERNELS`.
        source_hash: of what it was made of (:func:`gptface.kernels.inventory.source_hash`).
        architecture: ``"sm_90"`` and the like: where it ran. The interpreter has none, and no record.
        gpu, driver: name of the GPU, version of its driver.
        torch, triton: versions; triton is "" where none was installed.
        date: ISO, of the day.
        outcome: ``"passed"`` or ``"failed"``.
        worst_error: largest error in units of what the rule allows; below 1 where it passed.
        cases: how many ran.
        failed_case: name of the first that failed, or "".
    """

    kernel: str
    source_hash: str
    architecture: str
    gpu: str
    driver: str
    torch: str
    triton: str
    date: str
    outcome: str
    worst_error: float
    cases: int
    failed_case: str = ""


@dataclass(frozen=True)
class Machine:
    """What a record has to agree with: an architecture, and the versions of torch and triton ("" for none)."""

    architecture: str
    torch: str
    triton: str

    def __str__(self) -> str:
        triton = f", triton {minor(self.triton)}" if self.triton else ""
        return f"{self.architecture}, torch {minor(self.torch)}{triton}"


@dataclass(frozen=True)
class Standing:
    """What the ledger says of a kernel: whether ``impl="auto"`` may take it, and why in a line."""

    proven: bool
    words: str


def minor(version: str) -> str:
    """``"2.13"`` of ``"2.13.0+cu130"``."""
    return ".".join(re.findall(r"\d+", version)[:2])


@functools.cache
def installed_triton() -> str:
    """Its version by the package's metadata, without an import; "" where there is none."""
    for package in ("triton", "pytorch-triton"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def parse(text: str) -> list[Record]:
    """The records of a ledger's text.

    Raises:
        ValueError: saying what is wrong with it.
    """
    whole = json.loads(text)
    if not isinstance(whole, dict) or whole.get("format") != FORMAT or not isinstance(whole.get("records"), list):
        raise ValueError(f"it is no ledger of format {FORMAT}")
    return [_record(entry) for entry in whole["records"]]


def _record(entry: Any) -> Record:
    if not isinstance(entry, dict):
        raise ValueError(f"a record is {entry!r}")
    names = {field.name for field in fields(Record)}
    numbers = {"worst_error": (int, float), "cases": (int,)}
    for name in names - {"failed_case"}:
        if not isinstance(entry.get(name), numbers.get(name, (str,))):
            raise ValueError(f"{name} of a record is {entry.get(name)!r}")
    if entry["outcome"] not in OUTCOMES or not re.fullmatch(r"sm_\d{2,3}", entry["architecture"]):
        raise ValueError(f"a record has outcome {entry['outcome']!r} on {entry['architecture']!r}")
    return Record(**{name: entry[name] for name in names if name in entry})


def as_text(records: Iterable[Record]) -> str:
    """The text of a ledger, one record a line."""
    lines = ",\n  ".join(json.dumps(asdict(record)) for record in records)
    inside = f"\n  {lines}\n" if lines else ""
    return f'{{"format": {FORMAT}, "records": [{inside}]}}\n'


def read(path: Path) -> tuple[list[Record], str]:
    """The records of a file, none where there is no such file; and what is wrong with it, or ""."""
    try:
        return parse(path.read_text(encoding="utf-8")), ""
    except FileNotFoundError:
        return [], ""
    except (OSError, ValueError) as error:  # a broken file must not break the call of an operator
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return [], f"the ledger {path} is left out: {reason}"


@functools.cache
def known() -> tuple[tuple[Record, ...], str]:
    """The shipped records, then the user's; and what is wrong with the latter, or ""."""
    shipped, _ = read(SHIPPED)
    path = ledger_path()
    own, problem = ([], "") if path is None else read(path)
    return (*shipped, *own), problem


def forget() -> None:
    """Read the ledger again at the next question: it has been written."""
    known.cache_clear()


def same_proof(record: Record) -> tuple[str, ...]:
    """What two records have in common of which the later one counts."""
    triton = "" if record.kernel in CUDA_FOR else minor(record.triton)
    return record.kernel, record.source_hash, record.architecture, minor(record.torch), triton


def standing(kernel: str, machine: Machine | None, records: Sequence[Record]) -> Standing:
    """What ``records`` say of a kernel as its sources are now, on a machine (``None``: without a GPU, on any)."""
    own = [record for record in records if record.kernel == kernel]
    if machine is not None:
        own = [record for record in own if record.architecture == machine.architecture]
    if not own:
        where = "" if machine is None else f" on {machine.architecture}"
        return Standing(False, f"no proof{where}{_unbuilt(kernel)}")
    present = [record for record in own if record.source_hash == source_hash(kernel, record.architecture)]
    if not present:
        return Standing(False, f"its sources or launch tables have changed since it {_run(own[-1])}")
    if machine is None:
        return Standing(False, "; ".join(dict.fromkeys(_run(record) for record in present)))
    wanted = same_proof(Record(kernel, "", machine.architecture, "", "", machine.torch, machine.triton, "", "", 0, 0))
    agreeing = [record for record in present if same_proof(record)[2:] == wanted[2:]]
    if not agreeing:
        versions = f"torch {minor(machine.torch)} and triton {minor(machine.triton) or 'none'}"
        return Standing(False, f"no proof with {versions}; it {_run(present[-1])}")
    return Standing(agreeing[-1].outcome == "passed", _run(agreeing[-1]))


def _unbuilt(kernel: str) -> str:
    """Why there is nothing that could be proven: of a CUDA kernel without a library that says what it is made of."""
    if source_hash(kernel, "sm_80") is not None:
        return ""
    if cuda_library() is None:
        return "; the CUDA library is not built here"
    return "; the CUDA library does not say what it was built from: reinstall the package"


def _run(record: Record) -> str:
    triton = f", triton {minor(record.triton)}" if record.triton and record.kernel not in CUDA_FOR else ""
    failed = f" ({record.failed_case})" if record.failed_case else ""
    return (
        f"{record.outcome}{failed} on {record.gpu} ({record.architecture}, torch {minor(record.torch)}{triton}) "
        f"on {record.date}"
    )
