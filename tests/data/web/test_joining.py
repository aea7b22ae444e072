"""Lists joined with tables: by id over all parts, by address where that misses; nothing is lost without a count."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gptface.data.web.joining import JoinWish, join
from gptface.errors import InputError
from tests.data.web.faces_from_the_web import detection, needs_web, read_rows, write_metadata, write_pickle
from tests.helpers.killing import digest_folder, killed_at

pytestmark = needs_web


def rows(folder: Path) -> dict[int, dict[str, Any]]:
    found = read_rows(*sorted(folder.glob("*.parquet")))
    by_id = {row["sample_id"]: row for row in found}
    assert len(by_id) == len(found)
    return by_id


@pytest.fixture
def wish(tmp_path: Path) -> JoinWish:
    urls = [f"https://host.example/{number}.jpg" for number in range(20, 45)]
    urls[3] = "ftp://host.example/23.jpg"
    first = write_metadata(tmp_path / "a.parquet", range(25), NSFW=["UNLIKELY"] * 25, similarity=[0.25] * 25)
    second = write_metadata(tmp_path / "b.parquet", [*range(20, 44), 43], URL=urls, WIDTH=[640.0] * 25)
    listed: dict[int, Any] = {number: [detection()] * (number % 2 + 1) for number in range(10, 50, 3)}
    listed[1000], listed[11] = [detection(score=0.5)], "no list of faces"
    lists = write_pickle(tmp_path / "sample2detect_0.pth", listed)
    known = write_metadata(tmp_path / "old.parquet", [1000, 7], URL=["http://host.example/41.jpg#top", "https://x/7"])
    return JoinWish((first, second), detections=(lists,), known_urls=(known,), rows=8)


def test_ids_are_found_in_every_part_and_by_address(wish: JoinWish, tmp_path: Path) -> None:
    summary = join(wish, tmp_path / "out", quiet=True)
    found = rows(tmp_path / "out")
    assert sorted(found) == [*range(10, 46, 3), 1000]
    assert found[10]["url"] == "https://host.example/10.jpg" and found[10]["caption"] == "picture 10"
    assert found[10]["nsfw"] == "UNLIKELY" and found[10]["similarity"] == 0.25
    assert found[40]["nsfw"] is None and found[40]["listed_width"] == 640
    assert found[1000]["url"] == "https://host.example/41.jpg" and found[1000]["faces"][0]["score"] == 0.5
    assert len(found[13]["faces"]) == 2 and found[13]["faces"][0]["landmarks"][0] == [60.0, 50.0]
    assert summary["metadata_rows"] == 50
    assert summary["joined"] == 13 and summary["joined_by_url"] == 1
    assert summary["left_out"] == {"no_url": 1, "not_listed": 35, "repeated_id": 2}
    assert summary["lists"]["bad_detections"] == 1 and summary["lists"]["not_in_metadata"] == 2
    assert all(len(read_rows(path)) <= 8 for path in (tmp_path / "out").glob("*.parquet"))


def test_ids_and_detections_together(tmp_path: Path) -> None:
    table = write_metadata(tmp_path / "a.parquet", range(30))
    ids = write_pickle(tmp_path / "ids.pth", [list(range(5)), [20, 20, 99]])
    lists = write_pickle(tmp_path / "detect.pth", {3: [detection()], 8: [detection()]})
    summary = join(JoinWish((table,), ids=(ids,), detections=(lists,)), tmp_path / "out", quiet=True)
    found = rows(tmp_path / "out")
    assert sorted(found) == [0, 1, 2, 3, 4, 20]
    assert [number for number, row in found.items() if row["faces"]] == [3]
    assert summary["lists"] == {
        "ids": 8,
        "detections": 2,
        "bad_detections": 0,
        "different_ids": 7,
        "with_detections": 1,
        "not_in_metadata": 1,
    }


def test_kill_9_at_every_instant_changes_nothing(wish: JoinWish, tmp_path: Path) -> None:
    join(wish, tmp_path / "whole", quiet=True)
    expected = digest_folder(tmp_path / "whole")
    for number in itertools.count():
        work = partial(join, wish, tmp_path / f"killed-{number}", quiet=True)
        if not killed_at(number, work):
            break
        work()
        assert digest_folder(tmp_path / f"killed-{number}") == expected, number
    assert number > 10


def test_a_table_without_columns(tmp_path: Path) -> None:
    bare = write_metadata(tmp_path / "bare.parquet", range(5), TEXT=None)
    lists = write_pickle(tmp_path / "detect.pth", {3: [detection()]})
    join(JoinWish((bare,), detections=(lists,)), tmp_path / "out", quiet=True)
    assert rows(tmp_path / "out")[3]["caption"] is None
    assert "lacks caption, license" in (tmp_path / "out" / "step.log").read_text()
    nowhere = write_metadata(tmp_path / "nowhere.parquet", range(5), URL=None)
    with pytest.raises(InputError, match=r"nowhere\.parquet has no column URL"):
        join(JoinWish((nowhere,), detections=(lists,)), tmp_path / "out2", quiet=True)
    nameless = write_metadata(tmp_path / "nameless.parquet", range(5), SAMPLE_ID=None)
    with pytest.raises(InputError, match=r"nameless\.parquet has no column SAMPLE_ID"):
        join(JoinWish((nameless,), detections=(lists,)), tmp_path / "out2", quiet=True)
    assert not (tmp_path / "out2").exists()
    known = write_metadata(tmp_path / "known.parquet", [3])
    join(JoinWish((nameless,), detections=(lists,), known_urls=(known,)), tmp_path / "out3", quiet=True)
    assert list(rows(tmp_path / "out3")) == [3]


def test_what_is_no_table_or_was_begun_otherwise_is_named(tmp_path: Path, wish: JoinWish) -> None:
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match=r"text\.parquet is no parquet file"):
        join(JoinWish((tmp_path / "text.parquet",)), tmp_path / "out", quiet=True)
    join(wish, tmp_path / "out", quiet=True)
    with pytest.raises(InputError, match="was begun with rows 8, now 5"):
        join(JoinWish(**{**wish.__dict__, "rows": 5}), tmp_path / "out", quiet=True)
    ids = tmp_path / "ids.txt"
    ids.write_text("17\nseventeen\n")
    with pytest.raises(InputError, match=r"ids\.txt, line 2: 'seventeen' is no sample id"):
        join(JoinWish(wish.metadata, ids=(ids,)), tmp_path / "out2", quiet=True)
