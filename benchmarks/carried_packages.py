"""What ``gpu_report.sh pack`` carries: everything the benchmarks and GPU tests import, in the versions installed here.

    python -m benchmarks.carried_packages        prints name==version, one a line

The closure over installed requirements, without torch, triton and numpy (the image has its own) and what only those
need: a resolver would bring them along.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["carried"]

ROOTS = ("gptface[train]", "pytest", "hypothesis")
OF_THE_IMAGE = {"torch", "triton", "numpy", "setuptools", "pip", "wheel"}
# For graphs of training runs and for downloads; nothing here does either.
UNUSED = {"tensorboard", "hf-xet"}


def carried(roots: Iterable[str] = ROOTS) -> dict[str, str]:
    """Name -> installed version of all that ``roots`` need, themselves included except for this package."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in OF_THE_IMAGE | UNUSED or f"{name}{sorted(requirement.extras)}" in seen:
            continue
        seen.add(f"{name}{sorted(requirement.extras)}")
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise SystemExit(f"carried_packages: {name} is not installed here: pip install 'gptface[dev]'") from error
        found[name] = distribution.version
        for line in distribution.requires or []:
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    found.pop("gptface", None)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in carried().items()))
    sys.exit(0)
