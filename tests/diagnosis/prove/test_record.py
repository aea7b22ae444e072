"""The writer of the ledger: it adds, others may add at the same time, and nothing of a user's is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gptface.diagnosis.prove.record import add_records
from gptface.kernels.ledger import read
from tests.helpers.gpu_records import passed

ROOT = Path(__file__).resolve().parents[3]


def test_of_two_records_of_the_same_the_new_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "ledger.json"
    add_records(path, [passed("vq.decide"), passed("vq.nominate")])
    failed = passed("vq.decide", outcome="failed", date="2026-12-01")
    add_records(path, [failed, passed("vq.decide", architecture="sm_100")])
    records, problem = read(path)
    assert not problem
    assert records == [passed("vq.nominate"), failed, passed("vq.decide", architecture="sm_100")]


def test_a_file_that_is_no_ledger_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    path.write_text("mine")
    with pytest.warns(RuntimeWarning, match="is kept as"):
        add_records(path, [passed("vq.decide")])
    assert read(path)[0] == [passed("vq.decide")]
    assert (tmp_path / "ledger.json.broken").read_text() == "mine"


def test_two_processes_at_once_leave_a_sound_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    code = (
        "import sys; from pathlib import Path; from gptface.diagnosis.prove.record import add_records; "
        "from tests.helpers.gpu_records import passed; path, name = Path(sys.argv[1]), sys.argv[2]\n"
        "for number in range(8): add_records(path, [passed('vq.decide', source_hash=f'{name} {number}')])"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=ROOT) for name in ("one", "other")]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    records, problem = read(path)
    assert not problem
    assert {record.source_hash for record in records} == {f"{name} {n}" for name in ("one", "other") for n in range(8)}
