"""Experiment loggers that people already use: ``gptface train … --log-with tensorboard|trackio|wandb``.

They are Accelerate's trackers, run by the first process alone and only where they are asked for. A run that is gone on
with appends to what it logged before: its name and the last steps that were sent are kept in ``loggers.json`` in the
run's folder, and steps that are made again after a kill are not sent twice.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptface.configuration import Section
from gptface.errors import InputError
from gptface.files import atomic_write

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

__all__ = ["LOGGERS", "STATE", "ExperimentLoggers", "check_loggers"]

LOGGERS = ("tensorboard", "trackio", "wandb")
PROJECT = "gptface"
STATE = "loggers.json"


def check_loggers(names: Sequence[str]) -> None:
    """See that the packages of the loggers ``names`` are there.

    Raises:
        InputError: a logger that is not known, or whose package is not installed.
    """
    from accelerate.utils import is_tensorboard_available, is_trackio_available, is_wandb_available

    there = {"tensorboard": is_tensorboard_available, "trackio": is_trackio_available, "wandb": is_wandb_available}
    for name in names:
        if name not in there:
            raise InputError(f"log_with: {name!r}; allowed: {', '.join(LOGGERS)}")
        if not there[name]():
            raise InputError(f"log_with: {name} is not installed; pip install {name}")


class ExperimentLoggers:
    """Scalars of a run to every logger of ``names``.

    Args:
        names: of :data:`LOGGERS`, each once.
        output: folder of the run.
        configuration: what is logged as the run's configuration, in dotted keys.
        verbose: whether what the loggers print, such as where to look, is shown on stderr.

    Nothing happens before :meth:`start`; without names, nothing ever does.
    """

    def __init__(self, names: Sequence[str], output: Path, configuration: Section, verbose: bool) -> None:
        self.names = tuple(dict.fromkeys(names))
        self._output = output
        self._configuration = configuration
        self._verbose = verbose
        self._trackers: dict[str, GeneralTracker] = {}

    def start(self, resume_step: int | None) -> None:
        """Open the loggers, at a former process's run where there was one.

        Args:
            resume_step: the step that training goes on from; ``None`` for the beginning.

        Raises:
            InputError: a logger cannot be opened, with its own words.
        """
        if not self.names:
            return
        path = self._output / STATE
        known = json.loads(path.read_text(encoding="utf-8")) if resume_step is not None and path.is_file() else {}
        self._run = known.get("run", f"{self._output.resolve().name}-{secrets.token_hex(4)}")
        # Last steps by logger and prefix: those of former processes, and those of all.
        self._before: dict[str, dict[str, int]] = known.get("steps", {})
        self._steps = {name: dict(steps) for name, steps in self._before.items()}
        values = flattened(self._configuration.model_dump(mode="json"))
        with self._quiet():
            for name in self.names:
                tracker = self._tracker(name, values, resume_step)
                try:
                    tracker.start()
                    if name == "wandb" or (name == "tensorboard" and name not in self._before):
                        tracker.store_init_configuration(values)
                except Exception as error:  # each has errors of its own kinds
                    raise InputError(f"log_with: {name} does not start: {error}") from error
                self._trackers[name] = tracker
                self._steps.setdefault(name, {})
        self._keep()

    def _tracker(self, name: str, values: dict[str, Any], resume_step: int | None) -> GeneralTracker:
        from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

        if name == "tensorboard":
            purge = None if resume_step is None else resume_step + 1
            return TensorBoardTracker("tensorboard", self._output, purge_step=purge)
        if name == "trackio":
            return TrackioTracker(PROJECT, name=self._run, config=values, resume="allow")
        return WandBTracker(PROJECT, name=self._run, id=self._run, resume="allow", dir=str(self._output))

    def write(self, prefix: str, record: Mapping[str, Any], step: int) -> None:
        """Send the scalars of ``record`` at ``step``, their names behind ``prefix``."""
        values = {
            f"{prefix}/{name}": value
            for name, value in record.items()
            if isinstance(value, (int, float)) and name != "step"
        }
        for name, tracker in self._trackers.items():
            # TensorBoard forgets what came after the step it goes on from; the others keep what they have.
            if name != "tensorboard" and step <= self._before.get(name, {}).get(prefix, -1):
                continue
            tracker.log(values, step=step)
            self._steps[name][prefix] = step
        if self._trackers:
            self._keep()

    def _keep(self) -> None:
        with atomic_write(self._output / STATE) as temporary:
            temporary.write_text(json.dumps({"run": self._run, "steps": self._steps}) + "\n", encoding="utf-8")

    def close(self) -> None:
        """See that everything is sent."""
        with self._quiet():
            while self._trackers:
                name, tracker = self._trackers.popitem()
                if name == "trackio":
                    import trackio

                    trackio.finish()  # the tracker's own leaves the run to be finished, and told of, once more at exit
                else:
                    tracker.finish()

    def _quiet(self) -> contextlib.redirect_stdout[Any]:
        """Standard output belongs to results."""
        return contextlib.redirect_stdout(sys.stderr if self._verbose else io.StringIO())


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one dictionary of dotted keys; lists as JSON, what is not set as an empty text."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{key}.")
        elif value is None:
            found[f"{prefix}{key}"] = ""
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
    return found
