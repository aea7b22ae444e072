"""The units of a step, done one after another, in processes, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptface.data.web.step import RECORD, Step, write_json
from gptface.errors import InputError
from gptface.progress import Countdown

__all__ = ["Unit", "end_with_parent", "run_here", "run_units"]

AHEAD = 2  # units that wait for each process: submissions take memory too


@dataclass(frozen=True)
class Unit:
    """A piece of work.

    Attributes:
        name: of its record, NAME_stats.json.
        arguments: for the function, after the name.
        weight: its share of the progress, such as bytes.
    """

    name: str
    arguments: tuple[Any, ...]
    weight: int = 1


Work = Callable[..., dict[str, Any]]


def run_units(
    step: Step,
    title: str,
    units: Sequence[Unit],
    work: Work,
    *,
    processes: int = 1,
    ray: str | None = None,
    gpus: int = 0,
) -> list[str]:
    """Do the units that have no record yet.

    Args:
        work: of a module's top level; called as ``work(name, *arguments)``, it leaves its result in one step and
            returns what the record is to hold.
        processes: that work side by side.
        ray: address of a Ray cluster (``"local"`` starts one here) that does the work instead; it and this machine
            must see the same files.
        gpus: that a unit takes on Ray.

    Returns:
        sentences about units that failed; the others are done. A later call tries them again.

    Raises:
        InputError: a process was killed, or Ray is not installed or not there.
    """
    missing = [unit for unit in units if step.record(unit.name) is None]
    total = max(1, sum(unit.weight for unit in units))
    done = total - sum(unit.weight for unit in missing)
    if done and missing:
        step.say(f"{title}: {len(units) - len(missing)} of {len(units)} are there already")
    failures: list[str] = []
    countdown = Countdown(step.display, title, max(1, total - done))
    done = 0
    for unit, failure in _performed(missing, work, step.records, processes, ray, gpus):
        done += unit.weight
        countdown.advance(done)
        if failure:
            failures.append(failure)
            step.say(failure)
    return failures


def run_here(records: Path, units: Sequence[Unit], work: Work) -> None:
    """Do units one after another, for a process that is one of several and does not hold the step's folder itself.

    What failed is said by the units' records.
    """
    for unit in units:
        _perform(work, records, unit)


def _perform(work: Work, records: Path, unit: Unit) -> str:
    """One unit and its record; a sentence where it failed."""
    try:
        record, failure = work(unit.name, *unit.arguments), ""
    except InputError as error:
        failure = str(error)
        record = {"failed": failure}
    write_json(records / f"{unit.name}{RECORD}", record)
    return failure


def _performed(
    units: list[Unit], work: Work, records: Path, processes: int, ray: str | None, gpus: int
) -> Iterator[tuple[Unit, str]]:
    if ray is not None:
        yield from _on_ray(units, work, records, ray, gpus)
    elif processes <= 1 or len(units) < 2:
        for unit in units:
            yield unit, _perform(work, records, unit)
    else:
        yield from _in_processes(units, work, records, processes)


def end_with_parent() -> None:
    """Let this process end when the one that started it is gone, so that nothing writes behind a new run's back."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


def _in_processes(units: list[Unit], work: Work, records: Path, processes: int) -> Iterator[tuple[Unit, str]]:
    context = multiprocessing.get_context("spawn")  # not fork: threads may hold locks by now
    waiting = list(reversed(units))
    running: dict[Future[str], Unit] = {}
    pool = ProcessPoolExecutor(min(processes, len(units)), context, end_with_parent)
    try:
        while waiting or running:
            while waiting and len(running) < AHEAD * processes:
                unit = waiting.pop()
                running[pool.submit(_perform, work, records, unit)] = unit
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise InputError(
            f"{records}: a process ended early; it was killed, most likely for want of memory. What is done is kept: "
            "call again, with fewer processes"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _knock(address: str) -> None:
    """Whether anything listens there: Ray itself asks for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise InputError(f"--ray: no cluster at {address} ({error.strerror or error})") from None


def _on_ray(units: list[Unit], work: Work, records: Path, address: str, gpus: int) -> Iterator[tuple[Unit, str]]:
    try:
        import ray
    except ImportError:
        raise InputError('--ray: Ray is not installed; pip install "gptface[web]" ray') from None
    started = not ray.is_initialized()
    if started:
        _knock(address)
        try:
            wish: dict[str, Any] = {"include_dashboard": False} if address == "local" else {"address": address}
            ray.init(**wish, log_to_driver=False, configure_logging=False)
        except Exception as error:  # connection refused, a wrong version, a name that is none
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"--ray: no cluster at {address} ({reason})") from None
    try:
        perform = ray.remote(max_retries=3, num_gpus=gpus)(_perform)
        waiting = list(reversed(units))
        running: dict[Any, Unit] = {}
        while waiting or running:
            ahead = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(running) < ahead:
                unit = waiting.pop()
                running[perform.remote(work, records.resolve(), unit)] = unit
            finished, _ = ray.wait(list(running), num_returns=1)
            for reference in finished:
                unit = running.pop(reference)
                try:
                    yield unit, ray.get(reference)
                except ray.exceptions.RayError as error:
                    raise InputError(f"{unit.name}: Ray could not do it ({type(error).__name__})") from None
    finally:
        if started:
            ray.shutdown()
