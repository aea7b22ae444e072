"""Progress of long commands: the time left follows the pace of what is done."""

from __future__ import annotations

import io

import pytest

from benchmarks import progress as module
from benchmarks.progress import Progress


def test_time_left_follows_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress({"first": 10.0, "second": 30.0}, stream)
    assert progress.seconds_left() == 40.0
    advance = progress.stage("first", 4)
    now[0] += 20.0  # twice as slow as expected
    advance(4)
    assert progress.seconds_left() == 60.0
    advance = progress.stage("second", 2)
    now[0] += 30.0
    advance(1)
    assert progress.seconds_left() == 30.0
    now[0] += 30.0
    advance(1)
    progress.finish()
    assert progress.seconds_left() == 0.0
    assert stream.getvalue().splitlines() == [
        "  0%  0:40 left  first",
        " 25%  1:00 left  first",
        " 25%  1:00 left  second",
        " 62%  0:30 left  second",
        "100%  0:00 left  second",
        "done in 1:20",
    ]
