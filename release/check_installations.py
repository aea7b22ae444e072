"""Installs a built wheel and source distribution in every awkward way, and sees that the package works there.

    python -m release.check_installations dist/*.tar.gz dist/*.whl           # all of them
    python -m release.check_installations --list                             # which there are
    python -m release.check_installations dist/*.whl --only uninstall        # one of them

Each check makes an empty environment in a folder of its own. torch and what else the package needs are lent by the
interpreter that runs this, as links to its site-packages without ``gptface``; the checkout is never on the path. So
nothing is downloaded, and pip is run with ``--no-index``. A check prints one line; the exit code is 1 where one fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CHECKS", "Failed", "main"]

# What an installed package must be able to do, with torch alone. Names of the checkout are nowhere in it.
PROGRAM = r"""
import os, sys, warnings
warnings.simplefilter("error" if os.environ.get("STRICT") else "default")
import torch
torch.set_num_threads(1)
import gptface
from gptface.ops import IntervalMask, implementations, masked_attention, vq_lookup
def need(condition, what):  # not assert: python -O would leave it out
    if not condition: raise SystemExit("failed: " + what)
need(os.path.realpath(gptface.__file__).startswith(os.path.realpath(sys.prefix)), "imported from " + gptface.__file__)
header = os.path.join(gptface.get_include(), "gptface", "philox.h")
need(os.path.isfile(header), "no header " + header)
native = {row.operator for row in implementations() if row.name == "cpu" and row.available}
wanted = os.environ.get("NATIVE") == "1"
need(bool(native) == wanted, "native kernels of " + str(sorted(native)) + ", reasons: " + "; ".join(
    {row.reason for row in implementations() if row.name == "cpu"}))
query, key, value = (torch.randn(2, 9, 2, 16, requires_grad=True) for _ in range(3))
mask = IntervalMask.prefix_lm(prefix_lengths=torch.tensor([3, 2]), lengths=torch.tensor([9, 7]), num_keys=9)
with warnings.catch_warnings():
    if not wanted: warnings.simplefilter("ignore")  # that there is no native kernel is said once: see `no compiler`
    out = masked_attention(query, key, value, mask)
    out.sum().backward()
    expected = masked_attention(query, key, value, mask, impl="reference")
    codes = vq_lookup(torch.randn(20, 8), torch.randn(16, 8)).indices
need(torch.allclose(out, expected, atol=1e-5), "attention differs from its reference")
need(query.grad is not None and bool(query.grad.isfinite().all()), "no gradient")
need(codes.shape == (20,) and int(codes.max()) < 16, "lookup")
print("works")
"""


class Failed(Exception):
    """What a check found wrong."""


@dataclass
class Given:
    """What the checks work on.

    Attributes:
        wheel, sdist: the distributions; ``None`` where none was given.
        work: a folder for environments.
        lent: a folder of links to packages of this interpreter.
    """

    wheel: Path | None
    sdist: Path | None
    work: Path
    lent: Path


@dataclass
class Environment:
    """An empty virtual environment; ``python`` runs it, without what the caller's environment says to Python."""

    folder: Path
    lent: Path | None
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        run([sys.executable, "-m", "venv", "--without-pip", str(self.folder)])
        if self.lent is not None:
            (self.site / "lent.pth").write_text(f"{self.lent}\n", encoding="utf-8")

    @property
    def python(self) -> str:
        return str(self.folder / ("Scripts" if os.name == "nt" else "bin") / "python")

    @property
    def site(self) -> Path:
        scheme = sysconfig.get_path("purelib", vars={"base": str(self.folder), "platbase": str(self.folder)})
        return Path(scheme)

    def install(self, distribution: Path, *options: str, **variables: str) -> str:
        """Install without an index and without dependencies; gives pip's output."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", "--no-input"]
        arguments = ["install", "--no-index", "--no-deps", "--no-cache-dir", "--verbose", *options, str(distribution)]
        return run([*pip, *arguments], self.environment(variables))

    def uninstall(self) -> None:
        run([sys.executable, "-m", "pip", "--python", self.python, "uninstall", "--yes", "gptface"])

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GPTFACE"))}
        return {**kept, "OMP_NUM_THREADS": "1", **self.variables, **variables}

    def works(self, *options: str, native: bool = True, prefix: Sequence[str] = (), **variables: str) -> None:
        """Run :data:`PROGRAM` under options of Python."""
        said = self.environment({"NATIVE": "1" if native else "0", **variables})
        answer = run([*prefix, self.python, *options, "-c", PROGRAM], said, str(self.folder))
        if not answer.endswith("works\n"):
            raise Failed(f"the program ended early, or said too much: {answer[-300:]}")


def run(command: Sequence[str], environment: dict[str, str] | None = None, folder: str | None = None) -> str:
    """Standard output and error of a command.

    Raises:
        Failed: it failed.
    """
    done = subprocess.run(
        command, env=environment, cwd=folder or tempfile.gettempdir(), text=True, encoding="utf-8", errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"{' '.join(command)[:300]}: exit code {done.returncode}: …{done.stdout[-1500:]}")
    return done.stdout


def lend(folder: Path) -> Path:
    """Links to every package of this interpreter but ``gptface``."""
    folder.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if not entry.name.startswith(("gptface", "__editable__", "__pycache__")) and entry.suffix != ".pth":
                (folder / entry.name).symlink_to(entry)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def wheel_of(given: Given) -> Path:
    if given.wheel is None:
        raise Skipped("no wheel was given")
    return given.wheel


def sdist_of(given: Given) -> Path:
    if given.sdist is None:
        raise Skipped("no source distribution was given")
    return given.sdist


class Skipped(Exception):
    """Why a check cannot be made here."""


def without_programs(folder: Path) -> str:
    """A PATH on which there is nothing: no compiler, no nvcc, no shell."""
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def check_wheel(given: Given) -> None:
    environment = Environment(given.work / "wheel without a compiler", given.lent)
    path = without_programs(given.work / "nothing")
    environment.install(wheel_of(given), PATH=path)
    environment.works(PATH=path)
    command = str(Path(environment.python).with_name("gptface"))
    report = run([command, "doctor"], environment.environment({"PATH": path}))
    if "masked_attention" not in report:
        raise Failed(f"gptface doctor says nothing of masked_attention: {report[-300:]}")


def check_flags(given: Given) -> None:
    environment = Environment(given.work / "flags", given.lent)
    environment.install(wheel_of(given))
    environment.works("-O")
    environment.works("-OO")
    environment.works("-W", "error", STRICT="1")
    run([environment.python, "-W", "error", "-m", "compileall", "-qq", "-f", str(environment.site / "gptface")])
    environment.works(LC_ALL="C", LANG="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    environment.works("-I", "-B", "-X", "dev")


def check_awkward_path(given: Given) -> None:
    environment = Environment(given.work / "ein Ordner, Ümläute & 'Zeichen'", given.lent)
    environment.install(wheel_of(given))
    environment.works()
    # With Python's UTF-8 mode, which locale C turns on by itself; without, torch refuses to register from such a path.
    environment.works(LC_ALL="C", LANG="C")


def check_read_only(given: Given) -> None:
    environment = Environment(given.work / "read-only", given.lent)
    environment.install(wheel_of(given), "--no-compile")
    prefix: list[str] = []
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # root writes everywhere, unless it gives that up
        if shutil.which("setpriv") is None:
            raise Skipped("root can write everywhere, and there is no setpriv to give that up")
        prefix = ["setpriv", "--bounding-set", "-dac_override", "--"]
    everything = [environment.folder, *environment.folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in everything if not path.is_symlink()}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    try:
        probe = f"open({str(environment.site / 'probe')!r}, 'w')"
        done = subprocess.run([*prefix, environment.python, "-c", probe], capture_output=True, text=True)
        if "PermissionError" not in done.stderr:
            raise Skipped("a folder without write permission can be written to here")
        before = files(environment.folder)
        environment.works(prefix=prefix, HOME="/nonexistent")
        if files(environment.folder) != before:
            raise Failed(f"files appeared: {sorted(files(environment.folder) - before)}")
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def check_uninstall(given: Given) -> None:
    environment = Environment(given.work / "uninstall", given.lent)
    before = files(environment.folder)
    environment.install(wheel_of(given))
    environment.works()  # not under -O: what Python caches then, pip leaves behind, of every package
    environment.uninstall()
    left = files(environment.folder) - before
    if left:
        raise Failed(f"left behind: {sorted(left)[:10]}")


def check_no_torch(given: Given) -> None:
    environment = Environment(given.work / "no torch", None)
    environment.install(wheel_of(given))
    said = run([environment.python, "-c", "import gptface; print(gptface.__version__, gptface.get_include())"])
    if str(environment.site) not in said:
        raise Failed(f"imported from elsewhere: {said}")
    done = subprocess.run([environment.python, "-m", "gptface", "doctor"], capture_output=True, text=True)
    if done.returncode != 2 or "torch" not in done.stderr or "Traceback" in done.stderr:
        raise Failed(f"gptface doctor without torch: exit code {done.returncode}, {done.stderr[-300:]}")


def check_sdist_without_compiler(given: Given) -> None:
    environment = Environment(given.work / "sdist without a compiler", given.lent)
    path = without_programs(given.work / "nothing")
    said = environment.install(sdist_of(given), "--no-build-isolation", PATH=path, CXX="c++")
    sentence = "gptface: installing without the native CPU library"
    if said.count(sentence) != 1:
        raise Failed(f"that there is no compiler is said {said.count(sentence)} times: …{said[-600:]}")
    environment.works(native=False, PATH=path)
    warned = run(
        [environment.python, "-c", "import torch, gptface.ops as o; q = torch.ones(1, 2, 1, 16); "
         "o.masked_attention(q, q, q); o.masked_attention(q, q, q)"],
        environment.environment({"PATH": path}),
    )  # fmt: skip
    if warned.count("RuntimeWarning") != 1:
        raise Failed(f"the missing kernel is said {warned.count('RuntimeWarning')} times, not once: {warned[-600:]}")


def check_sdist_required(given: Given) -> None:
    environment = Environment(given.work / "required", given.lent)
    path = without_programs(given.work / "nothing")
    try:
        environment.install(sdist_of(given), "--no-build-isolation", PATH=path, CXX="c++", GPTFACE_BUILD="required")
    except Failed as failure:
        if "gptface: the CPU library did not build" not in str(failure):
            raise
        return
    raise Failed("GPTFACE_BUILD=required installed without a compiler")


def check_sdist_with_compiler(given: Given) -> None:
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++")):
        raise Skipped("there is no C++ compiler")
    folder = given.work / "sdist, Ümläute"
    environment = Environment(folder, given.lent)
    building = folder / "zum Bauen"  # the sources lie on an awkward path too while they are compiled
    building.mkdir()
    environment.install(
        sdist_of(given), "--no-build-isolation", TMPDIR=str(building), GPTFACE_CUDA="0", GPTFACE_BUILD="required"
    )
    environment.works()


CHECKS: dict[str, tuple[Callable[[Given], None], str]] = {
    "wheel": (check_wheel, "the wheel beside torch, without a compiler and without any other program on the PATH"),
    "flags": (check_flags, "python -O, -OO, -W error, -X dev, -I, locale C without UTF-8"),
    "awkward-path": (check_awkward_path, "an environment on a path with spaces, umlauts and quotes, also in locale C"),
    "read-only": (check_read_only, "a site-packages that nobody can write to, no home"),
    "uninstall": (check_uninstall, "after use, pip uninstall leaves nothing"),
    "no-torch": (check_no_torch, "without torch the package imports, and the command says what it lacks"),
    "sdist-without-compiler": (check_sdist_without_compiler, "without a compiler it installs, says so once, and works"),
    "sdist-required": (check_sdist_required, "GPTFACE_BUILD=required refuses to install without a compiler"),
    "sdist-with-compiler": (check_sdist_with_compiler, "compiled on a path with spaces and umlauts (minutes)"),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m release.check_installations", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("distributions", nargs="*", type=Path, help="a wheel, a source distribution, or both")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), help="these checks alone")
    parser.add_argument("--skip", nargs="+", choices=CHECKS, default=[], help="not these")
    parser.add_argument("--list", action="store_true", help="say what the checks are")
    given = parser.parse_args(arguments)
    if given.list:
        for name, (_, sentence) in CHECKS.items():
            print(f"{name:24} {sentence}")
        return 0
    wheels = [path.resolve() for path in given.distributions if path.suffix == ".whl"]
    sdists = [path.resolve() for path in given.distributions if path.name.endswith(".tar.gz")]
    if len(wheels) > 1 or len(sdists) > 1 or not wheels + sdists:
        parser.error("distributions: one wheel, one source distribution, or one of each is needed")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="gptface-installations-") as folder:
        work = Path(folder)
        place = Given(wheels[0] if wheels else None, sdists[0] if sdists else None, work, lend(work / "lent"))
        for name in [name for name in given.only if name not in given.skip]:
            check, sentence = CHECKS[name]
            start = time.perf_counter()
            try:
                check(place)
                result = "ok"
            except Skipped as reason:
                result = f"skipped: {reason}"
            except Failed as failure:
                result, failed = f"FAILED: {failure}", failed + 1
            print(f"{name} ({sentence}): {result} [{time.perf_counter() - start:.0f} s]", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
