"""Faces that look like held-out ones, and faces that look like each other, by perceptual hash, larger than memory.

Two hashes of 256 bits that differ in at most 15 agree in one of their 16 words of 16 bits at least (they cannot differ
in all of them), so that 16 joins on equal words find every pair; each is one that spills to disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptface.data.web.database import literal, names
from gptface.data.web.perceptual_hash import WORDS
from gptface.data.web.step import Step
from gptface.files import atomic_write
from gptface.progress import Countdown

__all__ = ["MOST_BITS", "write_lookalikes"]

BANDS = 16
MOST_BITS = BANDS - 1
_HASH = [f"h{word}" for word in range(WORDS)]


def _band(table: str, number: int) -> str:
    """The query for a word of 16 bits of a hash."""
    per_word = BANDS // WORDS
    return f"(({table}.h{number // per_word} >> {16 * (number % per_word)}) & 65535)"


def _distance(first: str, second: str) -> str:
    return " + ".join(f"bit_count(xor({first}.{word}, {second}.{word}))::INTEGER" for word in _HASH)


def _hash(kind: str) -> str:
    return ", ".join(f"{kind}_hash_{word} AS h{word}" for word in range(WORDS))


def write_lookalikes(
    connection: Any, step: Step, screened: list[Path], held_out: list[Path], bits: int, target: Path
) -> None:
    """Write a table of the faces to leave out: shard, key, reason (``held_out`` or ``duplicate``), of; by shard.

    Of faces that look alike the one that spans the most pixels stays; every other that has a better one within ``bits``
    goes, though that better one may go for a still better one.

    Args:
        screened: tables of ``filtering.screen_shard``; faces that have a reason to go already take no part.
        held_out: tables of hashes (h0 ... h3).
        bits: by which hashes of one picture may differ, at most ``MOST_BITS``.
    """
    run = connection.execute
    countdown = Countdown(step.display, "looking for look-alikes", BANDS * (3 if held_out else 1))
    done = 0
    run("CREATE TEMP TABLE found (shard VARCHAR, key VARCHAR, reason VARCHAR, of VARCHAR)")
    passed = f"(SELECT * FROM read_parquet({names(screened)}) WHERE reason IS NULL)"
    if held_out:
        run(f"CREATE TEMP TABLE held AS SELECT DISTINCT ON (h0, h1, h2, h3) * FROM read_parquet({names(held_out)})")
        run("CREATE TEMP TABLE near (shard VARCHAR, key VARCHAR, of VARCHAR)")
        for kind in ("face", "picture"):
            run(f"CREATE TEMP TABLE face AS SELECT shard, key, {_hash(kind)} FROM {passed}")
            for number in range(BANDS):
                run(
                    f"""INSERT INTO near SELECT face.shard, face.key, held.name FROM face JOIN held
                    ON {_band("face", number)} = {_band("held", number)} WHERE {_distance("face", "held")} <= {bits}"""
                )
                done += 1
                countdown.advance(done)
            run("DROP TABLE face")
        run("INSERT INTO found SELECT shard, key, 'held_out', min(of) FROM near GROUP BY shard, key")
    run(
        f"""CREATE TEMP TABLE face AS SELECT row_number() OVER (ORDER BY side DESC, key) AS rank, shard, key,
        {_hash("face")} FROM {passed} WHERE key NOT IN (SELECT key FROM found)"""
    )
    # Equal hashes first, by grouping: a picture that stands at a million addresses would make 10^12 pairs.
    run(f"CREATE TEMP TABLE one AS SELECT min(rank) AS rank, {', '.join(_HASH)} FROM face GROUP BY {', '.join(_HASH)}")
    run(
        f"""CREATE TEMP TABLE pair AS SELECT face.rank AS later, one.rank AS earlier
        FROM face JOIN one USING ({", ".join(_HASH)}) WHERE face.rank > one.rank"""
    )
    for number in range(BANDS):
        run(
            f"""INSERT INTO pair SELECT later.rank, earlier.rank FROM one later JOIN one earlier
            ON {_band("later", number)} = {_band("earlier", number)}
            WHERE later.rank > earlier.rank AND {_distance("later", "earlier")} <= {bits}"""
        )
        done += 1
        countdown.advance(done)
    run(
        """INSERT INTO found SELECT later.shard, later.key, 'duplicate', earlier.key
        FROM (SELECT later, min(earlier) AS earlier FROM pair GROUP BY later) pair
        JOIN face later ON later.rank = pair.later JOIN face earlier ON earlier.rank = pair.earlier"""
    )
    with atomic_write(target) as temporary:
        run(f"COPY (SELECT * FROM found ORDER BY shard, key) TO {literal(temporary)} (FORMAT parquet)")
