"""``python -m docsite``: build the site and follow its links; ``--serve``: show it and rebuild what changes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from docsite.checks import dead_links, outside_requests
from docsite.staging import DOCS, ROOT, stage, unlisted


def _newest() -> float:
    watched = [*DOCS.rglob("*"), *Path(__file__).parent.glob("*.toml")]
    return max((path.stat().st_mtime for path in watched), default=0.0)


def _environment() -> dict[str, str]:
    """In which the docstrings' extension finds this package."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def _serve(work: Path, address: str) -> int:
    command = [sys.executable, "-m", "zensical", "serve", "-f", str(work / "zensical.toml"), "-a", address]
    server = subprocess.Popen(command, env=_environment())
    try:
        seen = _newest()
        while server.poll() is None:
            time.sleep(1)
            if (newest := _newest()) > seen:
                seen = newest
                stage(work)
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
    return 0


def main() -> int:
    """Exit code 0, or 1 after what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m docsite", description="Build the documentation site.")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "docs", help="where pages and site go")
    parser.add_argument("--serve", action="store_true", help="show the site, and follow changes of docs/")
    parser.add_argument("--address", default="localhost:8000", help="of --serve")
    parser.add_argument("--no-notebooks", action="store_true", help="do not run the notebooks: pages without outputs")
    arguments = parser.parse_args()

    work = arguments.work.resolve()
    places = stage(work, run_notebooks=not arguments.no_notebooks)
    if arguments.serve:
        return _serve(work, arguments.address)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(work / "zensical.toml")]
    done = subprocess.run(command, env=_environment())
    if done.returncode:
        return 1
    site = work / "site"
    wrong = [f"not in the navigation: {place}" for place in unlisted(places)]
    wrong += [f"dead link: {link}" for link in dead_links(site)]
    wrong += [f"asks another site: {url}" for url in outside_requests(site)]
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    print(f"{len(places)} pages: {site / 'index.html'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
