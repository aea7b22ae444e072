"""The command; see :mod:`release.hub_kernels`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from release.hub_kernels.project import REPOSITORY, make_project


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m release.hub_kernels",
        description="Write the operators as a project of Hugging Face's kernel-builder.",
    )
    parser.add_argument("output", type=Path, help="folder of the project; a former one is replaced")
    parser.add_argument("--repo-id", default=REPOSITORY, help="Hub repository to upload to (default: %(default)s)")
    given = parser.parse_args()
    try:
        make_project(given.output, given.repo_id)
    except ValueError as error:
        print(f"hub_kernels: error: {error}", file=sys.stderr)
        return 2
    print(f"{given.output}: built by `kernel-builder build {given.output}`, where kernel-builder is installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
