"""The proof as a whole: which cases, what they say of each kernel, and the records that are made of it."""

from __future__ import annotations

import datetime
import importlib.util
import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gptface.diagnosis.prove.case import Case, reproduction
from gptface.diagnosis.prove.families import INTERPRETED, families
from gptface.diagnosis.prove.pool import WORKER, Outcome, run_cases, sensible_workers
from gptface.diagnosis.prove.record import add_records
from gptface.diagnosis.prove.tuning import Tuned, tune
from gptface.errors import InputError
from gptface.kernels import inventory
from gptface.kernels.ledger import Record
from gptface.kernels.places import ledger_path
from gptface.ops import proofs

__all__ = ["KernelOutcome", "Proof", "prove", "prove_tuned"]

Progress = Callable[[float, Outcome], None]


@dataclass(frozen=True)
class KernelOutcome:
    """What the proof came to for one kernel.

    Attributes:
        kernel: its name.
        outcome: ``"passed"``, ``"failed"`` or ``"not run"``.
        worst_error: largest error in units of what the rule allows.
        cases: how many spoke of it.
        failures: ``(case, sentence)`` of each that failed.
        reason: why it was not run, or "".
    """

    kernel: str
    outcome: str
    worst_error: float = 0.0
    cases: int = 0
    failures: tuple[tuple[Case, str], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Proof:
    """All outcomes.

    Attributes:
        kernels: one entry a kernel that was asked for.
        where: GPU and versions, or that it was the interpreter.
        interpreted: no proof: the Triton kernels' arithmetic ran on the CPU, and nothing was recorded.
        ledger: the file that the records went to; ``None`` where none were written.
        not_recorded: why not, or "".
    """

    kernels: tuple[KernelOutcome, ...]
    where: str
    interpreted: bool
    ledger: Path | None
    not_recorded: str

    @property
    def passed(self) -> bool:
        """No kernel failed; those that cannot run here do not count."""
        return all(kernel.outcome != "failed" for kernel in self.kernels)

    def table(self) -> str:
        """A line a kernel, for people."""
        width = max(len(kernel.kernel) for kernel in self.kernels)
        lines = [self.where]
        for kernel in self.kernels:
            said = kernel.reason
            if kernel.outcome != "not run":
                said = f"{kernel.cases:3d} cases, worst error {kernel.worst_error:.2f} of what is allowed"
            lines.append(f"  {kernel.kernel:<{width}}  {kernel.outcome:<8} {said}")
        return "\n".join(lines)

    def failing(self) -> str:
        """The first case that failed of every kernel, as a few lines of Python that repeat it."""
        device = "cpu" if self.interpreted else "cuda"
        parts: dict[str, str] = {}
        for kernel in self.kernels:
            for case, sentence in kernel.failures[:1]:
                lines = reproduction(case, device)
                parts[lines] = parts.get(lines, "") + f"# {kernel.kernel} failed in {case.name!r}: {sentence}\n"
        return "\n\n".join(said + lines for lines, said in parts.items())


def prove(
    kernels: Sequence[str] | None = None,
    *,
    device: int = 0,
    interpret: bool = False,
    workers: int | None = None,
    progress: Progress = lambda share, outcome: None,
    command: Sequence[str] = WORKER,
) -> Proof:
    """Run GPU kernels against their references and record the outcome in the user's ledger.

    Args:
        kernels: names or families, such as ``["attention", "vq.cuda"]``; by default all.
        device: index of the CUDA device.
        interpret: instead run the arithmetic of the Triton kernels in Triton's interpreter, on the CPU, over small
            sizes. That proves nothing of a GPU and is not recorded.
        workers: processes side by side; by default as many as cores and the GPU's memory allow.
        progress: called after every case with the share of the work that is done.
        command: what starts a worker; for tests.

    Raises:
        InputError: an unknown kernel, or nothing here that could run one.
    """
    wanted = _wanted(kernels)
    reason = proofs.interpreter_problem() if interpret else proofs.missing_here()
    if reason is not None and not interpret:
        reason += "; --interpret tries the Triton kernels' arithmetic on the CPU, which proves nothing of a GPU"
    if reason is not None:
        raise InputError(f"prove: {reason}")
    blocked = {kernel: _blocked(kernel, interpret, device) for kernel in wanted}
    able = [kernel for kernel in wanted if not blocked[kernel]]
    everything = families(interpret)
    chosen = [(name, case) for name in dict.fromkeys(map(inventory.family, able)) for case in everything[name]]
    total, so_far = sum(case.weight() for _, case in chosen), 0.0

    def done(outcome: Outcome) -> None:
        nonlocal so_far
        so_far += outcome.case.weight()
        progress(so_far / total, outcome)

    outcomes = run_cases(
        chosen, device=device, interpret=interpret, workers=workers or sensible_workers(None if interpret else device),
        done=done, command=command,
    )  # fmt: skip
    results = tuple(
        KernelOutcome(kernel, "not run", reason=blocked[kernel]) if blocked[kernel] else _judge(kernel, outcomes)
        for kernel in wanted
    )
    if interpret:
        where = "Triton's interpreter on the CPU: no proof, and nothing is recorded"
        return Proof(results, where, True, None, "the interpreter proves nothing")
    ledger, problem = _recorded(_records(results, device))
    return Proof(results, f"{torch.cuda.get_device_name(device)}, {proofs.machine(device)}", False, ledger, problem)


def prove_tuned(
    *, device: int = 0, minutes: float = 5.0, workers: int | None = None, command: Sequence[str] = WORKER
) -> tuple[list[Tuned], Proof | None]:
    """Time the candidates of the launch tables, write this user's, and prove the kernels that they change anew.

    Where that proof fails the new tables are removed, and what was proven before counts again.

    Args:
        minutes: for compiling and timing; the proof comes on top.

    Returns:
        What was timed, and the new proof: ``None`` where nothing was faster.

    Raises:
        InputError: nothing here that could run a kernel.
    """
    reason = proofs.missing_here()
    if reason is not None:
        raise InputError(f"prove: tuning times kernels on a GPU: {reason}")
    count = workers or sensible_workers(device)

    def check(pairs: Sequence[tuple[str, Case]], until: float) -> list[Case]:
        outcomes = run_cases(
            pairs, device=device, interpret=False, workers=count, done=lambda outcome: None, until=until,
            command=command,
        )  # fmt: skip
        return [outcome.case for outcome in outcomes if outcome.passed]

    tuned = tune(device, minutes, check)
    written = [one for one in tuned if one.path is not None]
    if not written:
        return tuned, None
    again = prove([one.operator for one in written], device=device, workers=count, command=command)
    if not again.passed:
        for one in written:
            assert one.path is not None
            one.path.unlink(missing_ok=True)
        inventory.forget()
        proofs.forget()
    return tuned, again


def _wanted(names: Sequence[str] | None) -> list[str]:
    if names is None:
        return list(inventory.KERNELS)
    wanted: list[str] = []
    for name in names:
        found = inventory.matching(name)
        if not found:
            known = ", ".join(inventory.KERNELS)
            raise InputError(f"prove: kernel {name!r} is not known; allowed: {known}, or what stands before a point")
        wanted += [kernel for kernel in found if kernel not in wanted]
    return wanted


def _blocked(kernel: str, interpret: bool, device: int) -> str:
    """Why a kernel cannot run here, or ""."""
    if interpret:
        return "" if inventory.family(kernel) in INTERPRETED else "a CUDA kernel: it needs a GPU"
    if kernel in inventory.CUDA_FOR:
        if inventory.cuda_library() is None:
            return "the CUDA library is not built here"
        built = inventory.source_hash(kernel, "sm_80")
        return "" if built else "the CUDA library does not say what it was built from: reinstall the package"
    if not importlib.util.find_spec("triton"):
        return "triton is not installed"
    old = torch.cuda.get_device_capability(device) < (8, 0)
    return "the GPU is older than compute capability 8.0" if old else ""


def _judge(kernel: str, outcomes: Sequence[Outcome]) -> KernelOutcome:
    worst, count = 0.0, 0
    failures: list[tuple[Case, str]] = []
    for outcome in outcomes:
        if kernel not in outcome.case.kernels():
            continue
        count += 1
        own = [found for found in outcome.found if found.kernel == kernel]
        wrong = [found for found in own if not found.passed]
        worst = max([worst, *(math.inf if math.isnan(found.error) else found.error for found in own)])
        if outcome.error:  # nobody knows which kernel of the case it was
            worst = math.inf
            failures.append((outcome.case, outcome.error))
        elif wrong:
            failures.append((outcome.case, str(wrong[0]).removeprefix(f"{kernel}: ")))
        elif not own:
            failures.append((outcome.case, "nothing of it was compared"))
    return KernelOutcome(kernel, "failed" if failures or not count else "passed", worst, count, tuple(failures))


def _records(results: Sequence[KernelOutcome], device: int) -> list[Record]:
    here = proofs.machine(device)
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    records = []
    for result in results:
        source = inventory.source_hash(result.kernel, here.architecture)
        if result.outcome != "not run" and source is not None:
            case = result.failures[0][0].name if result.failures else ""
            worst = result.worst_error if math.isfinite(result.worst_error) else -1.0  # JSON knows no infinity
            where = (here.architecture, torch.cuda.get_device_name(device), _driver(), here.torch, here.triton)
            outcome = (result.outcome, round(worst, 4), result.cases, case)
            records.append(Record(result.kernel, source, *where, today, *outcome))
    return records


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        said = []
    return said[0] if said else "unknown"


def _recorded(records: Sequence[Record]) -> tuple[Path | None, str]:
    path = ledger_path()
    if path is None:
        return None, "nobody says where the ledger is: pip install platformdirs, or set GPTFACE_LEDGER to a file"
    try:
        add_records(path, records)
    except OSError as error:
        return None, f"the ledger {path} cannot be written ({error.strerror or error}): GPTFACE_LEDGER names another"
    proofs.forget()
    return path, ""
