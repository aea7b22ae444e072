"""``gptface data laion-face``: join, fetch, align, filter, shard; each goes on where it was interrupted."""

from __future__ import annotations

import argparse
from pathlib import Path

from gptface.cli.paths import local_path, local_pattern

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "laion-face",
        help="LAION-Face: join, fetch, align, filter, shard",
        description="From LAION-Face's lists and LAION-400M's table to shards of aligned faces with captions. Each "
        "step writes a folder of its own, says what it counted, and goes on where it was interrupted.",
        epilog="example: gptface data laion-face align --help; docs/laion-face.md of the source has the whole way",
    )
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    for add in (_join, _fetch, _align, _filter, _shard):
        add(steps)


def _paths(patterns: list[str]) -> tuple[Path, ...]:
    from gptface.data.shard_index import expand_pattern

    found = [Path(path) for pattern in patterns for path in expand_pattern(pattern)]
    return tuple(file for path in found for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path]))


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=local_path, required=True, metavar="DIR", help="folder for the result")


def _workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=int, default=1, help="that work side by side (default 1)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help='of a Ray cluster that does the work instead; "local" starts one here'
    )


def _join(steps: argparse._SubParsersAction) -> None:
    parser = steps.add_parser(
        "join",
        help="sample ids and detected faces with LAION-400M's table",
        description="Joins lists of sample ids and of detected faces with LAION-400M's parquet files: by id over all "
        "of them, then by address for ids that none has. The lists (.pth) are read without executing them.",
        epilog="example: gptface data laion-face join --metadata 'laion400m/*.parquet' "
        "--detections 'detection/sample2detect_*.pth' --output joined",
    )
    add = parser.add_argument
    add("--metadata", nargs="+", required=True, type=local_pattern, metavar="PARQUET", help="LAION-400M's files")
    add("--ids", nargs="+", default=[], type=local_pattern, metavar="FILE", help="laion_face_ids.pth, or ids a line")
    add("--detections", nargs="+", default=[], type=local_pattern, metavar="PTH", help="sample2detect_*.pth")
    add(
        "--known-urls",
        nargs="+",
        default=[],
        type=local_pattern,
        metavar="PARQUET",
        help="tables with SAMPLE_ID and URL, for ids that the metadata lack",
    )
    _output(parser)
    add("--rows-per-file", type=int, default=100_000, help="of the result (default 100,000)")
    add("--memory", type=int, default=2000, metavar="MB", help="beyond which the disk is used (default 2000)")
    parser.set_defaults(func=_run_join)


def _run_join(arguments: argparse.Namespace) -> int:
    from gptface.data.web.joining import JoinWish, join

    join(
        JoinWish(
            _paths(arguments.metadata),
            _paths(arguments.ids),
            _paths(arguments.detections),
            _paths(arguments.known_urls),
            arguments.rows_per_file,
            arguments.memory,
        ),
        arguments.output,
    )
    return 0


def _fetch(steps: argparse._SubParsersAction) -> None:
    parser = steps.add_parser(
        "fetch",
        help="the pictures, by img2dataset",
        description="Fetches what `join` found by img2dataset. Pictures whose host says noai, noimageai, noindex or "
        "noimageindex in an X-Robots-Tag header are not kept. A picture's time and size are bounded; addresses "
        "of this machine and of local networks are not asked.",
        epilog="example: gptface data laion-face fetch --input joined --output fetched --processes 16 --threads 128",
    )
    add = parser.add_argument
    add("--input", type=local_path, required=True, metavar="DIR", help="what `join` left")
    _output(parser)
    add("--processes", type=int, default=4, help="img2dataset's (default 4)")
    add("--threads", type=int, default=64, help="in each process (default 64)")
    add("--per-shard", type=int, default=10_000, help="rows of a shard (default 10,000)")
    add("--timeout", type=int, default=10, metavar="SECONDS", help="that a server may be silent (default 10)")
    add("--seconds", type=float, default=60.0, help="that one picture may take (default 60)")
    add("--megabytes", type=float, default=50.0, help="that one picture may have (default 50)")
    add("--megapixels", type=float, default=40.0, help="that one picture may have (default 40)")
    add("--smallest", type=int, default=64, metavar="PIXELS", help="of the shorter side (default 64)")
    add("--retries", type=int, default=0, help="of a request that failed (default 0)")
    add(
        "--distributor",
        choices=("multiprocessing", "pyspark", "ray"),
        default="multiprocessing",
        help="img2dataset's; for more than one machine, Spark or Ray (default multiprocessing)",
    )
    add("--user-agent-token", default="img2dataset", help="that servers are told (default img2dataset)")
    add("--private-hosts", action="store_true", help="ask this machine and local networks too")
    parser.set_defaults(func=_run_fetch)


def _run_fetch(arguments: argparse.Namespace) -> int:
    from gptface.data.web.fetching import FetchWish, fetch

    wish = FetchWish(
        processes=arguments.processes,
        threads=arguments.threads,
        per_shard=arguments.per_shard,
        timeout=arguments.timeout,
        seconds=arguments.seconds,
        size=int(arguments.megabytes * 1e6),
        area=int(arguments.megapixels * 1e6),
        side=arguments.smallest,
        retries=arguments.retries,
        distributor=arguments.distributor,
        agent=arguments.user_agent_token,
        private_hosts=arguments.private_hosts,
    )
    return 0 if fetch(arguments.input, arguments.output, wish)["complete"] else 1


def _align(steps: argparse._SubParsersAction) -> None:
    parser = steps.add_parser(
        "align",
        help="every face to a template",
        description="Brings every face of the fetched pictures to a template by shift, turn and scale: by the "
        "published five points, or by 5, 68 or 468 points of your own. Called again, it takes in what "
        "was fetched since.",
        epilog="example: gptface data laion-face align --input fetched --output aligned --processes 16",
    )
    add = parser.add_argument
    add("--input", nargs="+", required=True, type=local_pattern, metavar="PATH", help="what `fetch` left, or shards")
    _output(parser)
    add("--size", type=int, default=224, help="side in pixels (default 224)")
    add("--template", default="portrait", help="portrait (head and hair) or tight (default portrait)")
    add("--landmarks", nargs="+", default=[], type=local_pattern, metavar="NPZ", help="arrays key and points, by key")
    add("--smallest", type=int, default=32, metavar="PIXELS", help="that a face must span in its picture (default 32)")
    add("--quality", type=int, default=95, help="of the JPEGs (default 95)")
    _workers(parser)
    parser.set_defaults(func=_run_align)


def _run_align(arguments: argparse.Namespace) -> int:
    from gptface.data.web.aligning import AlignWish, align
    from gptface.data.web.fetching import is_fetch

    first = Path(arguments.input[0])
    source = first if len(arguments.input) == 1 and is_fetch(first) else arguments.input
    wish = AlignWish(
        arguments.size, arguments.template, tuple(arguments.landmarks), arguments.smallest, arguments.quality
    )
    done = align(source, arguments.output, wish, processes=arguments.processes, ray=arguments.ray)
    return 0 if done["complete"] else 1


def _filter(steps: argparse._SubParsersAction) -> None:
    parser = steps.add_parser(
        "filter",
        help="which faces are used",
        description="Decides which aligned faces are used: by size, detection, picture, CLIP score and tags where they "
        "are known, removal lists, and look-alikes of held-out and of better pictures. Pictures are not touched.",
        epilog="example: gptface data laion-face filter --input aligned --output filtered --removal removed.txt "
        "--held-out 'test/*.tar' --processes 16",
    )
    add = parser.add_argument
    add("--input", type=local_path, required=True, metavar="DIR", help="what `align` left")
    _output(parser)
    add("--face-side", type=float, default=64, metavar="PIXELS", help="of the face in its picture (default 64)")
    add("--score", type=float, default=0.8, help="of the detector, at least (default 0.8)")
    add("--faces", type=int, default=5, help="in a picture, at most (default 5)")
    add("--aspect", type=float, default=3.0, help="longer to shorter side, at most (default 3)")
    add("--outside", type=float, default=0.4, help="share beyond the picture's border, at most (default 0.4)")
    add("--similarity", type=float, default=0.0, help="CLIP score, at least (default 0)")
    add("--nsfw", nargs="*", default=["NSFW"], metavar="TAG", help="tags to leave out (default NSFW)")
    add("--removal", nargs="+", default=[], type=local_pattern, metavar="FILE", help="addresses or ids, one a line")
    add("--held-out", nargs="+", default=[], type=local_pattern, metavar="PATH", help="shards or folders of pictures")
    add("--duplicate-bits", type=int, default=12, help="of 256 that may differ; -1: compare nothing (default 12)")
    add("--memory", type=int, default=2000, metavar="MB", help="beyond which the disk is used (default 2000)")
    _workers(parser)
    parser.set_defaults(func=_run_filter)


def _run_filter(arguments: argparse.Namespace) -> int:
    from gptface.data.web.filtering import FilterWish, filter_faces

    wish = FilterWish(
        side=arguments.face_side,
        score=arguments.score,
        faces=arguments.faces,
        aspect=arguments.aspect,
        outside=arguments.outside,
        similarity=arguments.similarity,
        nsfw=tuple(arguments.nsfw),
        removal=_paths(arguments.removal),
        held_out=tuple(arguments.held_out),
        bits=arguments.duplicate_bits,
    )
    filter_faces(
        arguments.input,
        arguments.output,
        wish,
        processes=arguments.processes,
        ray=arguments.ray,
        memory=arguments.memory,
    )
    return 0


def _shard(steps: argparse._SubParsersAction) -> None:
    parser = steps.add_parser(
        "shard",
        help="the faces that stay, for training",
        description="Writes the faces that stay as shards of even length, pictures and captions byte for byte.",
        epilog="example: gptface data laion-face shard --input aligned --filtered filtered --output shards",
    )
    add = parser.add_argument
    add("--input", type=local_path, required=True, metavar="DIR", help="what `align` left")
    add("--filtered", type=local_path, required=True, metavar="DIR", help="what `filter` left")
    _output(parser)
    add("--per-shard", type=int, default=10_000, help="faces of a shard (default 10,000)")
    _workers(parser)
    parser.set_defaults(func=_run_shard)


def _run_shard(arguments: argparse.Namespace) -> int:
    from gptface.data.web.sharding import shard_faces

    done = shard_faces(
        arguments.input,
        arguments.filtered,
        arguments.output,
        per_shard=arguments.per_shard,
        processes=arguments.processes,
        ray=arguments.ray,
    )
    return 0 if done["complete"] else 1
