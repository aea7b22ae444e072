"""Evidence that span masks keep their word: ``python -m benchmarks.span_mask_evidence``, at the root of a checkout.

Writes ``<output>.md`` with its pictures and ``numbers.json`` in ``<output>/``. One thread, about three minutes of CPU
time. Two sections, each with its own date and machine: the checks (exact counts and even marginals over ``--samples``
masks a specification, span lengths against their law, native kernels against the reference on ``--specifications``
random specifications), and the speed beside re-implemented peers, in turns, in CPU time. ``--only speed`` or ``--only
checks`` measures one of them and leaves the other as ``numbers.json`` has it: time on a quiet machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.progress import Progress
from benchmarks.span_mask_checks import (
    GRID,
    LAWS,
    LENGTH,
    cases,
    measure_agreement,
    measure_lengths,
    measure_marginals,
    measure_peers,
    measure_varied_counts,
)
from benchmarks.span_mask_page import write_page
from benchmarks.span_mask_pictures import draw_grids, draw_lengths, draw_lines
from benchmarks.span_mask_speed import SPEED_ROWS, measure_speed
from gptface.diagnosis.environment import describe_environment
from gptface.diagnosis.span_mask_draws import (
    random_case,  # the generator of the tests: one notion of "any specification"
)

# Seconds that one unit of a stage takes, roughly: for the time left.
MARGINALS, PEERS, LENGTHS, VARIED, AGREEMENT, SPEED = (
    "exact counts and marginals", "marginals of the peers", "span lengths", "exact counts of varied samples",
    "the same bits", "speed",
)  # fmt: skip
UNIT_SECONDS = {MARGINALS: 5e-6, PEERS: 3e-5, LENGTHS: 2e-6, VARIED: 4e-6, AGREEMENT: 8e-4, SPEED: 0.02}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/performance/span-masks"))
    parser.add_argument("--only", choices=["checks", "speed"], help="one section; the other stays as it was")
    parser.add_argument("--samples", type=int, default=10**6, help="masks of each specification (default: %(default)s)")
    parser.add_argument("--peer-samples", type=int, default=20_000, help="masks of each peer (default: %(default)s)")
    parser.add_argument("--specifications", type=int, default=10**5, help="random ones (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=30, help="timed turns (default: %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    store = options.output / "numbers.json"
    numbers = json.loads(store.read_text(encoding="utf-8")) if options.only and store.exists() else {}

    units = {}
    if options.only != "speed":
        units |= {
            MARGINALS: len(cases()) * options.samples,
            PEERS: 5 * options.peer_samples,
            LENGTHS: len(LAWS) * options.samples,
            VARIED: options.samples,
            AGREEMENT: options.specifications,
        }
    if options.only != "checks":
        units[SPEED] = SPEED_ROWS
    seconds = {name: count * UNIT_SECONDS[name] for name, count in units.items()}
    if SPEED in seconds:
        seconds[SPEED] *= options.repeats + 2
    progress = Progress(seconds)
    if SPEED in units:  # first, while the machine is as its user left it
        rows = measure_speed(options.repeats, progress.stage(SPEED, units[SPEED]))
        numbers["speed"] = {**_provenance(f"--repeats {options.repeats}"), "rows": rows}
    if MARGINALS in units:
        numbers["checks"] = _checks(options, progress, units)
    progress.finish()
    store.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    write_page(options.output, numbers)
    print(options.output.with_suffix(".md"))


def _provenance(options: str) -> dict[str, Any]:
    environment = describe_environment()
    processor = environment["devices"][0]
    return {
        "options": options,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "machine": f"{processor['name']}, {os.cpu_count()} cores ({', '.join(processor['instruction_sets'])})",
        "torch": environment["packages"]["torch"],
    }


def _checks(options: argparse.Namespace, progress: Progress, units: dict[str, int]) -> dict[str, Any]:
    """The section of the checks, and its pictures."""
    marginals, frequencies = measure_marginals(options.samples, progress.stage(MARGINALS, units[MARGINALS]))
    peers, of_peers = measure_peers(options.peer_samples, progress.stage(PEERS, units[PEERS]))
    lengths, histograms = measure_lengths(options.samples, progress.stage(LENGTHS, units[LENGTHS]))
    varied = measure_varied_counts(options.samples, progress.stage(VARIED, units[VARIED]))
    agreement = measure_agreement(options.specifications, random_case, progress.stage(AGREEMENT, units[AGREEMENT]))
    _draw(options.output, marginals, frequencies, of_peers, histograms)
    asked = (
        f"--samples {options.samples} --peer-samples {options.peer_samples} --specifications {options.specifications}"
    )
    return {
        **_provenance(asked), "marginals": marginals, "peers": peers, "lengths": lengths, "varied": varied,
        "agreement": agreement,
    }  # fmt: skip


def _draw(
    folder: Path,
    marginals: list[dict[str, Any]],
    frequencies: dict[str, np.ndarray],
    of_peers: dict[str, np.ndarray],
    histograms: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    promised = {row["name"]: row["promised"] for row in marginals}
    sequences = {name: (f, promised[name]) for name, f in frequencies.items() if name.startswith(("text", "joint"))}
    sequences |= {name: (f, None) for name, f in of_peers.items() if len(f) == LENGTH}
    draw_lines(folder / "marginals-sequence.png", sequences)
    grids = {name: f.reshape(GRID) for name, f in frequencies.items() if name.startswith(("image", "face"))}
    grids |= {name: f.reshape(GRID) for name, f in of_peers.items() if len(f) != LENGTH}
    draw_grids(folder / "marginals-grid.png", grids)
    draw_lengths(folder / "span-lengths.png", histograms)


if __name__ == "__main__":
    main()
