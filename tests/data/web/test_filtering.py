"""Which faces stay: reasons, removal lists, look-alikes; and the shards that hold them byte for byte."""

from __future__ import annotations

import io
import itertools
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gptface.data.shards import FaceShards
from gptface.data.web.aligning import AlignWish, align
from gptface.data.web.duplicates import write_lookalikes
from gptface.data.web.filtering import REASONS, FilterWish, filter_faces
from gptface.data.web.perceptual_hash import WORDS, hash_distance, perceptual_hash
from gptface.data.web.sharding import shard_faces
from gptface.errors import InputError
from tests.data.web.faces_from_the_web import FIVE, detection, draw_face, jpeg, needs_web, read_rows, write_fetched
from tests.helpers.killing import digest_folder, killed_at

pytestmark = needs_web
Row = dict[str, Any]


def picture(seed: int, **fields: Any) -> Row:
    """A sample of a fetched shard, every seed another picture."""
    box, landmarks, score = detection()
    face = {"box": box.tolist(), "landmarks": landmarks.tolist(), "score": float(score)}
    face.update(fields.pop("face", {}))
    many = fields.pop("many", 1)
    return {"image": jpeg(draw_face(seed)), "faces": [face] * many, "caption": f"caption\n{seed}", **fields}


def aligned(folder: Path, *shards: list[Row]) -> Path:
    for number, samples in enumerate(shards):
        write_fetched(folder / "fetched", samples, f"{number:05d}")
    align(folder / "fetched", folder / "aligned", AlignWish(size=64), quiet=True)
    return folder / "aligned"


def decisions(folder: Path) -> dict[str, str | None]:
    return {row["key"]: row["reason"] for row in read_rows(*sorted((folder / "decisions").glob("*.parquet")))}


def test_each_reason_and_that_what_is_not_known_keeps_nobody_out(tmp_path: Path) -> None:
    wide = np.pad(np.asarray(draw_face(7)), ((0, 0), (0, 440), (0, 0)))
    samples = [
        picture(0, similarity=0.3, nsfw="UNLIKELY"),
        picture(1),
        picture(2, face={"box": [60, 50, 110, 100]}),
        picture(3, face={"score": 0.5}),
        picture(4, many=6),
        {**picture(5), "image": jpeg(Image.fromarray(wide))},
        picture(6, similarity=0.1),
        picture(7, nsfw="nsfw"),
        picture(8, face={"score": None}),
    ]
    source = aligned(tmp_path, samples)
    wish = FilterWish(similarity=0.2, bits=-1)
    summary = filter_faces(source, tmp_path / "filtered", wish, quiet=True)
    found = decisions(tmp_path / "filtered")
    assert [found[f"{number:09d}-0"] for number in range(9)] == [
        *(None, None, "small_face", "low_score", "many_faces", "narrow_picture", "low_similarity", "nsfw", None)
    ]
    assert summary["faces"] == 14 == summary["kept"] + sum(summary["left_out"].values())
    assert list(summary["left_out"]) == list(REASONS) and summary["left_out"]["many_faces"] == 6


def test_removal_lists_by_address_and_by_id(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = aligned(tmp_path, [picture(0), picture(1), picture(2), picture(3, url=None, sample_id=None)])
    (tmp_path / "removed.txt").write_text("http://host.example/0.jpg#face\n\n2\n")
    wish = FilterWish(removal=(tmp_path / "removed.txt",))
    filter_faces(source, tmp_path / "filtered", wish, quiet=True)
    assert list(decisions(tmp_path / "filtered").values()) == ["removed", None, "removed", None]
    pq.write_table(pa.table({"URL": ["https://host.example/1.jpg", None]}), tmp_path / "removed.parquet")
    wish = FilterWish(removal=(tmp_path / "removed.parquet",))
    filter_faces(source, tmp_path / "filtered-2", wish, quiet=True)
    assert list(decisions(tmp_path / "filtered-2").values()) == [None, "removed", None, None]
    (tmp_path / "removed.txt").write_text("7\nsomebody\n")
    with pytest.raises(InputError, match=r"removed\.txt, line 2: 'somebody' is neither"):
        filter_faces(source, tmp_path / "filtered-3", FilterWish(removal=(tmp_path / "removed.txt",)), quiet=True)


def test_of_look_alikes_the_largest_stays_and_held_out_ones_go(tmp_path: Path) -> None:
    large = jpeg(draw_face(1).resize((320, 240), Image.Resampling.BICUBIC))
    box, points, score = detection(FIVE * 2, side=160)
    faces = [{"box": box.tolist(), "landmarks": points.tolist(), "score": float(score)}]
    again = [
        {**picture(1), "image": jpeg(draw_face(1), quality=60)},
        {**picture(1), "image": large, "faces": faces, "caption": "the large one"},
    ]
    source = aligned(tmp_path, [picture(0), picture(1), picture(2)], [*again, picture(3)])
    held = tmp_path / "held"
    held.mkdir()
    (held / "a.jpg").write_bytes(jpeg(draw_face(2), quality=70))  # a whole picture
    with tarfile.open(source / "00001.tar") as archive:  # an aligned face
        (held / "b.jpg").write_bytes(archive.extractfile("000000012-0.jpg").read())  # type: ignore[union-attr]
    wish = FilterWish(held_out=(str(held),))
    summary = filter_faces(source, tmp_path / "filtered", wish, quiet=True)
    assert list(decisions(tmp_path / "filtered").values()) == [
        *(None, "duplicate", "held_out", "duplicate", None, "held_out")
    ]
    assert summary["held_out"] == {"pictures": 2} and summary["left_out"]["duplicate"] == 2
    [row] = read_rows(tmp_path / "filtered" / "decisions" / "00000.parquet")[1:2]
    assert row["of"] == "000000011-0"


def test_a_face_that_is_left_out_takes_no_look_alike_with_it(tmp_path: Path) -> None:
    source = aligned(tmp_path, [picture(1, nsfw="NSFW"), picture(1)])
    filter_faces(source, tmp_path / "filtered", FilterWish(), quiet=True)
    assert list(decisions(tmp_path / "filtered").values()) == ["nsfw", None]


class _Quiet:
    """A step without a folder."""

    class display:
        @staticmethod
        def advance(*_: Any) -> None: ...
        @staticmethod
        def line(*_: Any) -> None: ...


@pytest.mark.parametrize("bits", [0, 3, 15])
def test_no_pair_within_the_bits_is_missed(tmp_path: Path, bits: int) -> None:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(bits)
    hashes: list[list[int]] = []
    for _ in range(60):  # families of hashes a few bits apart, some further than `bits`
        base = [int(word) for word in draw.integers(-(2**63), 2**63 - 1, WORDS)]
        for _ in range(3):
            flipped = list(base)
            for place in draw.choice(256, draw.integers(0, 20), replace=False):
                flipped[place // 64] ^= 1 << int(place % 64)
                flipped[place // 64] = (flipped[place // 64] + 2**63) % 2**64 - 2**63
            hashes.append(flipped)
    order = [f"{number:03d}" for number in range(len(hashes))]
    table = {"shard": ["0"] * len(order), "key": order, "side": [100.0] * len(order), "reason": [None] * len(order)}
    for kind in ("face", "picture"):
        table.update({f"{kind}_hash_{word}": [row[word] for row in hashes] for word in range(WORDS)})
    schema = pa.table(table).schema.set(3, pa.field("reason", pa.string()))
    pq.write_table(pa.table(table, schema), tmp_path / "screened.parquet")
    with duckdb.connect(config={"threads": 1}) as connection:
        write_lookalikes(connection, _Quiet, [tmp_path / "screened.parquet"], [], bits, tmp_path / "found.parquet")  # type: ignore[arg-type]
    found = {row["key"] for row in read_rows(tmp_path / "found.parquet")}
    expected = {
        order[later]
        for later in range(len(hashes))
        if any(hash_distance(tuple(hashes[later]), tuple(hashes[earlier])) <= bits for earlier in range(later))
    }
    assert found == expected


def test_hashes_bear_coding_and_size_and_tell_pictures_apart() -> None:
    hashes = []
    for seed in range(20):
        whole = draw_face(seed)
        hashes.append(perceptual_hash(np.asarray(whole)))
        coded = Image.open(io.BytesIO(jpeg(whole.resize((230, 172), Image.Resampling.BICUBIC), quality=50)))
        assert hash_distance(hashes[-1], perceptual_hash(np.asarray(coded))) <= 12
    assert min(hash_distance(hashes[i], hashes[j]) for i in range(20) for j in range(i)) > 20


def test_shards_hold_what_stays_byte_for_byte(tmp_path: Path) -> None:
    shards = [[picture(number) for number in range(3)], [picture(1)], [picture(number) for number in range(3, 7)]]
    source = aligned(tmp_path, *shards)
    filter_faces(source, tmp_path / "filtered", FilterWish(), quiet=True)
    summary = shard_faces(source, tmp_path / "filtered", tmp_path / "shards", per_shard=3, quiet=True)
    assert summary["faces"] == 7 and summary["shards"] == 3
    before: dict[str, bytes] = {}
    for shard in source.glob("*.tar"):
        with tarfile.open(shard) as archive:
            before.update({member.name: archive.extractfile(member).read() for member in archive})  # type: ignore[union-attr]
    for shard in (tmp_path / "shards").glob("*.tar"):
        with tarfile.open(shard) as archive:
            for member in archive:
                assert before[member.name] == archive.extractfile(member).read()  # type: ignore[union-attr]
    faces = FaceShards(tmp_path / "shards", 64)
    assert [len(FaceShards(path)) for path in sorted((tmp_path / "shards").glob("*.tar"))] == [3, 3, 1]
    assert sorted(face.caption for face in faces) == [f"caption {number}" for number in range(7)]  # type: ignore[union-attr]
    assert before["000000000-0.txt"] == b"caption\n0"


def test_kill_9_at_every_instant_changes_nothing(tmp_path: Path) -> None:
    source = aligned(tmp_path, [picture(0), picture(1), picture(1), picture(2), picture(3)])
    (tmp_path / "removed.txt").write_text("https://host.example/0.jpg\n")
    held = tmp_path / "held.jpg"
    held.mkdir()
    (held / "a.jpg").write_bytes(jpeg(draw_face(2)))
    wish = FilterWish(removal=(tmp_path / "removed.txt",), held_out=(str(held),))

    def both(name: str) -> None:
        filter_faces(source, tmp_path / "filtered", wish, quiet=True)
        shard_faces(source, tmp_path / "filtered", tmp_path / name, per_shard=1, quiet=True)

    both("whole")
    filtered, expected = digest_folder(tmp_path / "filtered"), digest_folder(tmp_path / "whole")
    for number in itertools.count(step=2):
        (tmp_path / "filtered").rename(tmp_path / f"done-{number}")
        work = partial(both, f"killed-{number}")
        if not killed_at(number, work):
            break
        work()
        assert digest_folder(tmp_path / "filtered") == filtered, number
        assert digest_folder(tmp_path / f"killed-{number}") == expected, number
    assert number > 15


def test_faces_that_were_aligned_since_are_taken_in(tmp_path: Path) -> None:
    source = aligned(tmp_path, [picture(0)])
    assert filter_faces(source, tmp_path / "filtered", FilterWish(), quiet=True)["kept"] == 1
    shard_faces(source, tmp_path / "filtered", tmp_path / "shards", quiet=True)
    aligned(tmp_path, [picture(0)], [picture(0), picture(1)])
    summary = filter_faces(source, tmp_path / "filtered", FilterWish(), quiet=True)
    assert summary["kept"] == 2 and summary["left_out"]["duplicate"] == 1
    with pytest.raises(InputError, match="was begun with decisions"):
        shard_faces(source, tmp_path / "filtered", tmp_path / "shards", quiet=True)


def test_folders_that_are_not_what_is_needed_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not what `gptface data laion-face align` writes"):
        filter_faces(tmp_path, tmp_path / "filtered", FilterWish(), quiet=True)
    source = aligned(tmp_path, [picture(0, nsfw="NSFW")])
    with pytest.raises(InputError, match="bits: 16; allowed"):
        filter_faces(source, tmp_path / "filtered", FilterWish(bits=16), quiet=True)
    filter_faces(source, tmp_path / "filtered", FilterWish(), quiet=True)
    with pytest.raises(InputError, match="keeps no face"):
        shard_faces(source, tmp_path / "filtered", tmp_path / "shards", quiet=True)
    assert not (tmp_path / "shards").exists()
