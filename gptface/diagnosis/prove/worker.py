"""The process in which cases run: a kernel that crashes or hangs takes this process with it and nothing else.

Reads requests from stdin, one JSON a line (``{"family": "vq", "case": "float32, 64"}``), and answers each with one line
on what was stdout when it began: ``{"found": [[kernel, what, error], …], "error": "", "dead": false}``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

import torch

from gptface.diagnosis.prove.case import Case, Found
from gptface.diagnosis.prove.families import families

__all__ = ["main", "run_case"]


def run_case(case: Case, device: str) -> list[Found]:
    """Run one case in this process and wait for its results."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # of the references
    try:
        found = case.run(device)
        if device != "cpu":
            torch.cuda.synchronize()
        return found
    finally:
        torch.set_float32_matmul_precision(precision)


def _answer(request: dict[str, str], named: dict[tuple[str, str], Case], device: str) -> dict[str, object]:
    try:
        if request["family"] == "tune" and ("tune", request["case"]) not in named:
            from gptface.diagnosis.prove.tuning import candidates

            named.update({("tune", case.name): case for case in candidates(device == "cpu")})
        found = run_case(named[request["family"], request["case"]], device)
        return {"found": [[one.kernel, one.what, one.error] for one in found], "error": "", "dead": False}
    except Exception as error:  # a kernel may raise anything: an error of the compiler, of the driver
        text = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        # After an error of the device nothing works in a process any more.
        dead = "CUDA error" in str(error) or isinstance(error, getattr(torch, "AcceleratorError", ()))
        return {"found": [], "error": text[:500], "dead": dead}


def main(arguments: Sequence[str] | None = None, before: Callable[[], None] = lambda: None) -> int:
    """Answer requests until stdin ends. ``before`` runs first: tests plant what is to be found there."""
    parser = argparse.ArgumentParser(prog="python -m gptface.diagnosis.prove.worker")
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--interpret", action="store_true")
    parsed = parser.parse_args(arguments)
    # What a compiler prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    torch.set_num_threads(1)
    device = "cpu"
    if not parsed.interpret:
        torch.cuda.set_device(parsed.device)
        device = "cuda"
    before()
    everything: dict[str, Sequence[Case]] = families(parsed.interpret)
    named = {(family, case.name): case for family, cases in everything.items() for case in cases}
    for line in sys.stdin:
        answer = _answer(json.loads(line), named, device)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if answer["dead"]:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
