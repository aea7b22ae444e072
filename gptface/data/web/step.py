"""One step of the way from the web to shards: the folder it writes, its lock, its log, what it was asked, its counts.

A step's work comes in units, one an input file. A unit's result appears in one step, and after it NAME_stats.json with
what was counted; a unit that has its record is not done again. So a step may be killed at any instant: what is half
written has no record, is removed when the step is called again, and is done anew.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.progress import Display

__all__ = ["Step", "open_step", "read_record", "read_summary", "sum_counts"]

logger = logging.getLogger("gptface.data.web")

RECORD = "_stats.json"  # img2dataset's and write_shards' name for it: readers of shards know it
# Not .json: img2dataset takes every .json of its folder for a record of its own.
PLAN, SUMMARY, LOG, LOCK = "step.plan", "step.summary", "step.log", ".lock"


@dataclass
class Step:
    """An open step; see :func:`open_step`.

    Attributes:
        folder: what it writes to.
        name: of the step.
        display: where its progress is shown.
        records: folder of the units' records.
    """

    folder: Path
    name: str
    display: Display
    records: Path
    _log: Any = field(repr=False)

    def say(self, text: str) -> None:
        """A line of the log, and on the screen."""
        self.note(text)
        self.display.line(text)

    def note(self, text: str) -> None:
        """A line of the log."""
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        self._log.flush()

    def record(self, unit: str) -> dict[str, Any] | None:
        """What was counted for a unit that is done."""
        found = read_record(self.records / f"{unit}{RECORD}")
        return None if found is None or "failed" in found else found

    def finish(self, counts: Mapping[str, Any], complete: bool) -> dict[str, Any]:
        """Write the summary, say it, and return it."""
        summary = {"step": self.name, "complete": complete, **counts}
        write_json(self.folder / SUMMARY, summary)
        for name, value in counts.items():
            if isinstance(value, dict):
                self.say(f"  {name}: " + (", ".join(f"{count:,} {key}" for key, count in value.items()) or "none"))
            else:
                self.say(f"  {name}: {value:,}" if isinstance(value, int) else f"  {name}: {value}")
        return summary


@contextlib.contextmanager
def open_step(
    folder: Path, name: str, options: Mapping[str, Any], *, quiet: bool = False, records: str = ""
) -> Iterator[Step]:
    """Open a step's folder for writing.

    Args:
        folder: created where needed.
        name: of the step.
        options: what its results depend on, as JSON has it; a folder made with others is refused.
        quiet: nothing on the screen.
        records: subfolder of the units' records and results.

    Raises:
        InputError: another run writes there, or the folder was made by another step or with other options.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / records
    place.mkdir(exist_ok=True)
    with contextlib.ExitStack() as held:
        held.enter_context(_locked(folder))
        plan = json.loads(json.dumps({"step": name, "options": dict(options)}))
        _agree(folder, plan)
        _remove_leftovers(folder)
        for inner in filter(Path.is_dir, list(folder.iterdir())):
            _remove_leftovers(inner)
        log = held.enter_context(open(folder / LOG, "a", encoding="utf-8"))
        step = Step(folder, name, held.enter_context(Display(name, shown=not quiet)), place, log)
        step.note(f"{name} begins")
        try:
            yield step
        except BaseException as error:
            step.note(f"{name} stops: {type(error).__name__}: {error}")
            raise
        step.note(f"{name} ends")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import fcntl

    with open(folder / LOCK, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it, however a process ends
        except OSError:
            raise InputError(f"{folder}: another run is writing there; wait for it, or write elsewhere") from None
        yield


def _agree(folder: Path, plan: dict[str, Any]) -> None:
    known = read_record(folder / PLAN)
    if known is None:
        if any(name for name in os.listdir(folder) if name.endswith((".tar", ".parquet", ".safetensors"))):
            raise InputError(f"{folder}: holds shards or tables of something else; write to a folder of its own")
        write_json(folder / PLAN, plan)
    elif known != plan:
        if known.get("step") != plan["step"]:
            raise InputError(f"{folder}: was written by the step {known.get('step')}, not {plan['step']}")
        before, now = known.get("options", {}), plan["options"]
        odd = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        raise InputError(
            f"{folder}: was begun with {', '.join(f'{key} {_short(before.get(key))}' for key in odd)}, now "
            f"{', '.join(_short(now.get(key)) for key in odd)}; give the same, or write to another folder"
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _remove_leftovers(folder: Path) -> None:
    """What a killed run was writing: the temporary files of ``atomic_write``, what a database spilled."""
    for path in folder.iterdir():
        if path.name.startswith(".spill-"):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(".") and path.name != LOCK and path.is_file():
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def read_record(path: Path) -> dict[str, Any] | None:
    """A JSON object in a file; ``None`` where there is none or not a whole one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_summary(folder: Path, step: str, what: str) -> dict[str, Any]:
    """The summary of a step before this one.

    Raises:
        InputError: the folder is not that step's, or the step has not come to its end.
    """
    plan = read_record(folder / PLAN)
    if plan is None or plan.get("step") != step:
        raise InputError(f"{what}: {folder} is not what `gptface data laion-face {step}` writes")
    summary = read_record(folder / SUMMARY)
    if summary is None or not summary.get("complete"):
        raise InputError(f"{what}: the {step} in {folder} has not come to its end; call it again, it goes on")
    return summary


def sum_counts(records: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> dict[str, Any]:
    """Records added up: numbers by name, dictionaries of numbers by name and name."""
    total: dict[str, Any] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, dict):
                total.setdefault(name, Counter()).update(value)
            elif isinstance(value, int) and not isinstance(value, bool):
                total[name] = total.get(name, 0) + value
    return {name: dict(value) if isinstance(value, Counter) else value for name, value in total.items()}
