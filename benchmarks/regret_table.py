"""The table of the ``regret`` subject: how much longer the automatic choice takes than the best, worst first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LIMIT", "CaseRegret", "regret_lines", "regrets"]

LIMIT = 1.05
"""What the project allows: within 5 % of the best, which is about what two timings of the same call differ by."""


@dataclass(frozen=True)
class CaseRegret:
    """One case.

    Attributes:
        name: of the case.
        seconds: of the automatic choice, its mask included.
        best: the fastest contender, mask included.
        regret: time of the automatic choice over that of the best, 1 where nothing is faster. Where masks are built it
            is the worse of two: with the mask built in the call, and with it ready.
        ready: whether the worse one is that with the mask ready.
    """

    name: str
    seconds: float
    best: str
    regret: float
    ready: bool


def regrets(result: Mapping[str, Any]) -> list[CaseRegret]:
    """Of every case whose automatic choice was timed, worst first."""
    found = []
    for case in result["cases"]:
        rows = {row["contender"]: row for row in case["rows"] if row["status"] == "timed"}
        own = rows.pop(result["baseline"], None)
        if own is None:
            continue
        sides = []
        for field, ready in (("fresh_ratio", False), ("ratio", True)):
            ratio, best = min(((row[field]["median"], name) for name, row in rows.items()), default=(1.0, ""))
            sides.append((1.0 / min(ratio, 1.0), ready, best if ratio < 1.0 else result["baseline"]))
        regret, ready, best = max(sides, key=lambda side: side[0])
        seconds = (own["seconds"] if ready else own["fresh_seconds"] or own["seconds"])["median"]
        found.append(CaseRegret(case["name"], seconds, best, regret, ready))
    return sorted(found, key=lambda entry: -entry.regret)


def regret_lines(result: Mapping[str, Any]) -> list[str]:
    """Markdown: the worst of all, and a row a case."""
    found = regrets(result)
    if not found:
        return ["No case was timed."]
    over = sum(entry.regret > LIMIT for entry in found)
    lines = [
        f"**Worst: {found[0].regret:.2f}** ({found[0].name}); {over} of {len(found)} cases above {LIMIT:g}.",
        "",
        "Regret: time of `auto` over that of the fastest contender that passed the check, 1 where nothing is faster; "
        "medians of ratios, round by round. With masks, the worse of two: the mask built in the call, or ready before "
        "it (r). The implementation that `auto` takes is a contender by its own name too: where that is the fastest, "
        "the figure is the noise of the measurement.",
        "",
        "| case | `auto` | fastest | regret |",
        "|---|---|---|---|",
    ]
    for entry in found:
        micro = entry.seconds * 1e6
        time = f"{micro:.0f} µs" if micro < 1000 else f"{micro / 1000:.3g} ms"
        best = "`auto`" if entry.best == result["baseline"] else entry.best
        lines.append(f"| {entry.name}{' (r)' if entry.ready else ''} | {time} | {best} | {entry.regret:.2f} |")
    return lines
