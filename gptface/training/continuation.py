"""With which differences a run goes on from its checkpoint, and which make it another run.

Going on is well defined, and allowed, with

- **another budget** (``steps``, ``minutes``): rates and phases follow the spent share of the new one, unless the run
  would fall back behind a point that changed its kind (:meth:`gptface.training.stage.Stage.milestones`);
- **another number of processes**, where ``accumulation`` makes up for it: a step then has the same passes over the same
  samples with the same masks, and its gradient is the same to rounding. Only what torch's generators draw (dropout,
  captions left out) differs;
- **moved data**: other paths to faces of the same names in the same order.

Everything else is refused with the first difference named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from gptface.errors import InputError
from gptface.training.configuration import LoopSection
from gptface.training.configuration_files import differing_keys
from gptface.training.schedule import Budget

__all__ = ["check_budget", "check_same_run", "former_share", "goes_further", "own_state"]

BUDGET = ("steps", "minutes")


def check_same_run(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], path: Path, *, finished: bool = False, known_faces: bool = True
) -> list[str]:
    """What is different and allowed, a sentence each.

    Args:
        ours, theirs: what identifies the runs, as :func:`gptface.training.run.run_stage` puts it.
        path: of the checkpoint or summary, for the error.
        finished: the run is complete; nothing but the budget may then differ.
        known_faces: whether both say which faces they hold, so that moved data can be told from other data.

    Raises:
        InputError: ``theirs`` is another run; the sentence names the first difference.
    """
    stage = str(ours["stage"])
    free = {f"{stage}.{name}" for name in BUDGET}
    passes = {f"{stage}.accumulation", "processes"}
    if not finished:
        free |= {"data.validation", "data.train"} if known_faces else {"data.validation"}
    different = differing_keys(dict(ours), dict(theirs))
    refused = [item for item in different if item[0] not in free | (set() if finished else passes)]
    if refused:
        key, own, other = refused[0]
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise InputError(
            f"{path}: belongs to another configuration: {key} is {other!r} there and {own!r} here{more}; "
            "choose another output folder, or --restart to begin anew in this one"
        )
    before, now = _passes(theirs), _passes(ours)
    if before != now:
        raise InputError(
            f"{path}: a step had {before} forward passes ({theirs['processes']} processes, accumulation "
            f"{theirs[stage]['accumulation']}) and would have {now} ({ours['processes']} and "
            f"{ours[stage]['accumulation']}); {_advice(stage, before, int(ours['processes']))}"
        )
    return [f"{key} is {own!r} now, {other!r} before" for key, own, other in different]


def _passes(run: Mapping[str, Any]) -> int:
    return int(run["processes"]) * int(run[run["stage"]]["accumulation"])


def _advice(stage: str, passes: int, processes: int) -> str:
    if passes % processes == 0:
        return f"{stage}.accumulation={passes // processes} goes on with the same steps"
    return f"use a number of processes that divides {passes}"


def former_share(section: LoopSection, theirs: Mapping[str, Any], step: int, seconds: float) -> float:
    """Share that was spent of the budget the run had before."""
    before = {name: theirs[theirs["stage"]].get(name) for name in BUDGET}
    return Budget(section.model_copy(update=before), seconds).spent(step)


def _budget_differs(section: LoopSection, theirs: Mapping[str, Any]) -> bool:
    return any(theirs[theirs["stage"]].get(name) != getattr(section, name) for name in BUDGET)


def goes_further(section: LoopSection, theirs: Mapping[str, Any], step: int, seconds: float) -> bool:
    """Whether a complete run has now a budget that is not spent."""
    return _budget_differs(section, theirs) and Budget(section, seconds).spent(step) < 1


def check_budget(
    section: LoopSection,
    theirs: Mapping[str, Any],
    step: int,
    seconds: float,
    milestones: Mapping[str, float],
) -> None:
    """See that a run of ``step`` steps and so many ``seconds`` can go on with the budget of ``section``.

    Raises:
        InputError: it is smaller than what is spent, or so large that the run would fall back behind a milestone.
    """
    if not _budget_differs(section, theirs):
        return
    stage = theirs["stage"]
    if section.steps is not None and step > section.steps:
        raise InputError(f"{stage}.steps: {section.steps}, but the run has made {step} already; {_ANEW}")
    if section.minutes is not None and seconds > 60 * section.minutes:
        raise InputError(
            f"{stage}.minutes: {section.minutes:g}, but the run has taken {seconds / 60:.3g} already; {_ANEW}"
        )
    before, now = former_share(section, theirs, step, seconds), Budget(section, seconds).spent(step)
    for name, share in milestones.items():
        if before >= share > now:
            raise InputError(
                f"{stage}.{name}: {share:g} of the budget was reached at {before:.3g}, and the {step} steps made are "
                f"{now:.3g} of the one given now, so the run would fall back behind it; give less than "
                f"{1 / share:.3g} times what is spent, or --restart to begin anew"
            )


_ANEW = "give more, or --restart to begin anew"


def own_state(processes: list[dict[str, Any]], rank: int, section: LoopSection, step: int) -> dict[str, Any]:
    """What a checkpoint holds for process ``rank``: its own, or where there was none a place in the data and new noise.

    Returns:
        ``batches``, and of its own ``random`` and ``pending``.
    """
    if rank < len(processes):
        return processes[rank]
    set_seed((section.seed + rank + 7919 * step) % 2**32)
    # The place is counted in samples of all processes; what one of them counted for itself stays with it.
    place = {name: processes[0]["batches"].get(name) for name in ("position", "samples", "seed", "faces")}
    return {"batches": {name: value for name, value in place.items() if value is not None}}
