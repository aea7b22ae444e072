"""Results as JSON: one file a subject in the folder of the machine class, with all that a reader needs to doubt it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.contender import BASELINE, Subject
from benchmarks.machine import RESULTS, commit, describe_machine, versions
from benchmarks.runner import Options
from gptface.files import atomic_write

__all__ = [
    "SCHEMA", "STATUSES", "check_result", "earlier_cases", "load_results", "make_result", "write_result",
]  # fmt: skip

SCHEMA = 1
STATUSES = {
    "timed": "passed the gate and was timed",
    "cannot": "does not run here: not installed, needs another device, cannot express the case",
    "failed": "raised an error",
    "refused": "computes something else: not timed",
}


def make_result(subject: Subject, options: Options, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The document for what :func:`benchmarks.runner.run_subject` returned."""
    return {
        "schema": SCHEMA,
        "subject": subject.name,
        "title": subject.title,
        "size_label": subject.size_label,
        "has_masks": subject.has_masks,
        "baseline": BASELINE,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": describe_machine(options.device),
        "versions": versions(),
        "commit": commit(),
        "settings": options.as_json(),
        **measured,
    }


def earlier_cases(subject: Subject, options: Options, folder: Path | None) -> list[dict[str, Any]]:
    """Cases of a result in ``folder`` that a run with these options may go on from: same sources, machine, settings."""
    new = make_result(subject, options, {"cases": [], "left_out": []})
    folder = RESULTS / new["machine"]["class"] if folder is None else folder
    path = folder / f"{subject.name}.json"
    if not path.is_file():
        return []
    old = json.loads(path.read_text(encoding="utf-8"))
    check_result(old)
    for result in (old, new):
        result["settings"] = {**result["settings"], "minutes": None}
    same = all(old[field] == new[field] for field in ("machine", "versions", "commit", "settings"))
    return list(old["cases"]) if same else []


_TOP = {
    "schema": int, "subject": str, "title": str, "size_label": str, "has_masks": bool, "baseline": str, "date": str,
    "machine": dict, "versions": dict, "commit": dict, "settings": dict, "cases": list, "left_out": list,
}  # fmt: skip
_CASE = {"name": str, "size": (int, float), "headline": bool, "settings": dict, "work": dict, "rows": list}
_ROW = {
    "contender": str, "owner": str, "status": str, "reason": str, "quality": dict, "rates": dict,
}  # fmt: skip
_SUMMARIES = ("seconds", "fresh_seconds", "mask_seconds", "ratio", "fresh_ratio")


def check_result(result: Any) -> None:
    """Check a document against the schema.

    Raises:
        ValueError: naming the field that is missing, of the wrong kind, or contradicts another.
    """
    if not isinstance(result, dict):
        raise ValueError(f"a result must be a JSON object, got {type(result).__name__}")
    _fields(result, _TOP, "result")
    if result["schema"] != SCHEMA:
        raise ValueError(f"result.schema is {result['schema']}; this program reads {SCHEMA}")
    for field in ("class", "processor", "cores", "memory_gib", "gpu"):
        if field not in result["machine"]:
            raise ValueError(f"result.machine.{field} is missing")
    names: set[str] = set()
    for case in result["cases"]:
        _fields(case, _CASE, "case")
        where = f"case {case['name']!r}"
        if case["name"] in names:
            raise ValueError(f"{where} is there twice")
        names.add(case["name"])
        for row in case["rows"]:
            _check_row(row, where)
        contenders = [row["contender"] for row in case["rows"]]
        if len(set(contenders)) != len(contenders) or result["baseline"] not in contenders:
            raise ValueError(f"{where}: contenders must differ and {result['baseline']!r} be among them: {contenders}")


def _check_row(row: Any, where: str) -> None:
    _fields(row, _ROW, where)
    where = f"{where}, {row['contender']!r}"
    if row["status"] not in STATUSES:
        raise ValueError(f"{where}: status is {row['status']!r}; allowed: {', '.join(STATUSES)}")
    if (row["status"] == "timed") != (row["seconds"] is not None):
        raise ValueError(f"{where}: status is {row['status']!r}, seconds {row['seconds']}")
    if row["status"] != "timed" and not row["reason"]:
        raise ValueError(f"{where}: a row that is not timed must say why")
    for field in _SUMMARIES:
        if field not in row:
            raise ValueError(f"{where}: {field} is missing")
        numbers = row[field]
        if numbers is None:
            continue
        if set(numbers) != {"median", "low", "high", "samples"}:
            raise ValueError(f"{where}: {field} has {sorted(numbers)}; it needs median, low, high, samples")
        if not numbers["low"] <= numbers["median"] <= numbers["high"]:
            raise ValueError(f"{where}: {field} is not in order: {numbers}")
    if row["peak_bytes"] is not None and row["peak_bytes"] < 0:
        raise ValueError(f"{where}: peak_bytes is {row['peak_bytes']}")


def _fields(record: Any, kinds: Mapping[str, Any], where: str) -> None:
    for field, kind in kinds.items():
        if field not in record:
            raise ValueError(f"{where}: {field} is missing")
        if not isinstance(record[field], kind):
            raise ValueError(f"{where}: {field} is {record[field]!r}; it must be {kind}")


def write_result(result: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Write a checked document to ``folder`` (default ``benchmarks/results/<machine class>``) and return its path."""
    check_result(result)
    folder = RESULTS / result["machine"]["class"] if folder is None else folder
    path = folder / f"{result['subject']}.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def load_results(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every result under ``folder``, checked, by machine class and then in alphabetical order of the subject.

    Raises:
        ValueError: naming the file that is not a result.
    """
    for path in sorted(folder.glob("*/*.json")) + sorted(folder.glob("*.json")):
        if path.name == "gpu_ledger.json":
            continue
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            check_result(result)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        yield path, result
