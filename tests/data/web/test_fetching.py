"""Fetching from a server of this machine that behaves badly; nothing else is asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from gptface.data.web.fetching import FetchWish, complete_shards, fetch, outcome
from gptface.data.web.joining import JoinWish, join
from gptface.errors import InputError
from tests.data.web.faces_from_the_web import needs_web
from tests.helpers.web_server import FaceServer, face_server, picture

pytestmark = needs_web

PATHS = [
    *[f"ok/{number}.jpg" for number in range(4)],
    *("png/9", "redirect/5.jpg", "loop/1", "to-file/1", "missing.jpg", "type/1", "truncated/1", "short/1", "huge/1"),
    *("long/1", "opted-out/1", "hang/1", "slow/1", "ok/0.jpg"),
]
QUICK = FetchWish(processes=1, threads=32, timeout=4, seconds=5, size=1_000_000, private_hosts=True)


def joined(folder: Path, server: FaceServer, paths: list[str] = PATHS, rows: int = 100) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    captions = [f"a face, «{path}»\nsecond line" for path in paths]
    table = {"SAMPLE_ID": list(range(100, 100 + len(paths))), "URL": list(map(server.url, paths)), "TEXT": captions}
    parquet.write_table(pa.table(table), folder / "laion.parquet")
    join(JoinWish((folder / "laion.parquet",), rows=rows), folder / "joined", quiet=True)
    return folder / "joined"


@pytest.mark.slow
def test_what_goes_wrong_on_the_web_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    pytest.importorskip("img2dataset")
    with face_server() as server:
        found = joined(tmp_path, server)
        summary = fetch(found, tmp_path / "fetched", QUICK, quiet=True)
        asked = sum(server.asked.values())
        again = fetch(found, tmp_path / "fetched", QUICK, quiet=True)
        assert again == summary and sum(server.asked.values()) == asked  # nothing is asked twice
    assert summary["rows"] == len(PATHS) == sum(summary["outcomes"].values())
    assert summary["outcomes"] == {
        "fetched": 7,  # four pictures, the first again, a PNG, a redirection
        "http_error": 2,  # a redirection in circles, and one to a file
        "gone_or_forbidden": 1,
        "not_an_image": 2,  # a page, and a file that ends early
        "truncated": 1,
        "too_large": 2,
        "opted_out": 1,
        "too_slow": 2,
    }
    [shard] = complete_shards(tmp_path / "fetched")
    with tarfile.open(shard) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    by_url = {}
    for name in files:
        if name.endswith(".json"):
            by_url[json.loads(files[name])["url"].split("/", 3)[3]] = name.removesuffix(".json")
    assert files[f"{by_url['ok/2.jpg']}.jpg"] == picture(2)  # byte for byte
    assert files[f"{by_url['ok/2.jpg']}.txt"].decode() == "a face, «ok/2.jpg»\nsecond line"
    assert "opted-out/1" not in by_url


@pytest.mark.parametrize(
    "message, name",
    [
        ("success", "fetched"),
        ("HTTP Error 410: Gone", "gone_or_forbidden"),
        ("HTTP Error 503: Service Unavailable", "http_error"),
        ("<urlopen error timed out>", "too_slow"),
        ("<urlopen error [Errno -2] Name or service not known>", "no_connection"),
        ("<urlopen error the host is a private one>", "private_host"),
        ("<urlopen error unknown url type: data>", "bad_url"),
        ("something new", "other_failure"),
    ],
)
def test_notes_have_names(message: str, name: str) -> None:
    assert outcome(message) == name


def test_a_join_that_is_not_done_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="join"):
        fetch(tmp_path, tmp_path / "fetched", QUICK)
    assert not (tmp_path / "fetched").exists()


@pytest.mark.slow
def test_fetching_goes_on_after_kill_9(tmp_path: Path) -> None:
    pytest.importorskip("img2dataset")
    paths = [f"ok/{number}.jpg" for number in range(60)]
    with face_server() as server:
        server.delay = 0.5
        found = joined(tmp_path, server, paths)
        code = (
            "from pathlib import Path; from gptface.data.web.fetching import *; "
            f"fetch(Path({str(found)!r}), Path({str(tmp_path / 'fetched')!r}), "
            "FetchWish(processes=1, threads=2, per_shard=6, private_hosts=True), True)"
        )
        running = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.getcwd()})
        while len(complete_shards(tmp_path / "fetched")) < 2:
            time.sleep(0.1)
            assert running.poll() is None
        running.send_signal(signal.SIGKILL)
        running.wait()
        time.sleep(1)
        asked = sum(server.asked.values())
        time.sleep(2)
        assert sum(server.asked.values()) == asked  # no process goes on behind the killed one's back
        before = complete_shards(tmp_path / "fetched")
        (tmp_path / "fetched" / "00000_stats.json").write_text('{"count": 6, "succ')  # killed within the record
        server.delay = 0.0
        wish = FetchWish(processes=1, threads=8, per_shard=6, private_hosts=True)
        summary = fetch(found, tmp_path / "fetched", wish, quiet=True)
    assert 2 <= len(before) < 10
    assert summary["outcomes"] == {"fetched": 60} and summary["complete"]
    for shard in complete_shards(tmp_path / "fetched"):
        with tarfile.open(shard) as archive:
            assert len(archive.getnames()) == 18
