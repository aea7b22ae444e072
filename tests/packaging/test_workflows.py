"""The workflows say what they should, and what they call is there. GitHub runs them; here they can only be read."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
NAMES = sorted(path.name for path in FOLDER.glob("*.yml"))
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def workflow(name: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")))


def triggers(name: str) -> dict[str, Any]:
    return dict(workflow(name)[True])  # YAML 1.1 reads the key `on` as a truth value


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", [])]


def tool(name: str) -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    return dict(tomllib.loads(PROJECT)["tool"][name])


def test_there_are_workflows() -> None:
    assert NAMES == ["distributions.yml", "release.yml", "test.yml"]


@pytest.mark.parametrize("name", NAMES)
def test_jobs_wait_for_jobs_that_exist_and_end_sometime(name: str) -> None:
    jobs = workflow(name)["jobs"]
    for title, job in jobs.items():
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(jobs), title
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file() and "workflow_call" in triggers(Path(job["uses"]).name)
        else:
            assert job["timeout-minutes"] <= 180, title


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_pinned_by_commit_and_say_their_version(name: str) -> None:
    lines = re.findall(r"uses: (\S+)(.*)", (FOLDER / name).read_text(encoding="utf-8"))
    assert lines
    for action, rest in lines:
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", rest), f"{action} has no version beside it"


def test_an_action_has_one_version_everywhere() -> None:
    used = {action for name in NAMES for action in re.findall(r"uses: (\S+@\S+)", (FOLDER / name).read_text())}
    assert len({action.split("@")[0] for action in used}) == len(used)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_run_exists(name: str) -> None:
    """Scripts, modules of this repository, and paths of it that commands name."""
    found = 0
    for step in steps(name):
        for line in step.get("run", "").splitlines():
            words = shlex.split(line)
            for module in re.findall(r"python3? -m (release\.\w+)", line):
                assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), module
                found += 1
            for word in words:
                if re.match(r"(?:\.ci|tests|benchmarks|csrc|release)\b(?!\.)", word):
                    assert (ROOT / word).exists(), word
                    found += 1
    assert found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_may_write_but_what_publishes(name: str) -> None:
    content = workflow(name)
    assert content["permissions"] == {"contents": "read"}
    writing = {
        title: {what for what, how in job["permissions"].items() if how == "write"}
        for title, job in content["jobs"].items()
        if "permissions" in job
    }
    release = {"publish": {"id-token", "attestations"}, "page": {"contents"}}
    assert writing == (release if name == "release.yml" else {})
    for step in steps(name):
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", ""), "what others can write goes through the environment, not into a shell"


def test_every_python_torch_and_machine_is_tested() -> None:
    matrix = workflow("test.yml")["jobs"]["operators"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    oldest = re.search(r'"torch>=(\d+\.\d+)"', PROJECT)
    assert oldest is not None and matrix["torch"] == [f"{oldest[1]}.*", "newest"]
    machines = ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15"]
    assert matrix["os"] == machines
    jobs = workflow("distributions.yml")["jobs"]
    for job in ("wheels", "installations"):
        assert jobs[job]["strategy"]["matrix"]["os"] == machines
    assert re.search(r'^requires-python = ">=3\.10"$', PROJECT, re.MULTILINE)


def test_a_release_comes_from_a_tag_alone_and_after_all_checks() -> None:
    assert triggers("release.yml") == {"push": {"tags": ["v*"]}}
    jobs = workflow("release.yml")["jobs"]
    assert [step["run"] for step in jobs["versions"]["steps"] if "run" in step] == [
        'python3 -m release.check_tag "$GITHUB_REF_NAME"'
    ]
    assert jobs["distributions"]["needs"] == "versions" and jobs["publish"]["needs"] == "distributions"
    assert jobs["page"]["needs"] == "publish"
    uses = [step.get("uses", "").split("@")[0] for step in jobs["publish"]["steps"]]
    assert uses == ["actions/download-artifact", "actions/attest-build-provenance", "pypa/gh-action-pypi-publish"]
    publish = jobs["publish"]["steps"][-1]["with"]
    assert publish == {"attestations": True}, "no password: PyPI trusts the workflow"
    assert jobs["publish"]["environment"]["name"] == "pypi"


def test_what_jobs_hand_on_is_what_jobs_take() -> None:
    kept = [step["with"]["name"] for step in steps("distributions.yml") if "upload" in str(step.get("uses"))]
    assert kept == ["distribution-sdist", "distribution-wheel-${{ matrix.os }}"]
    taken = [
        step["with"]["pattern"]
        for name in ("distributions.yml", "release.yml")
        for step in steps(name)
        if "download" in str(step.get("uses"))
    ]
    assert taken == ["distribution-{sdist,wheel-${{ matrix.os }}}", "distribution-*", "distribution-*"]


def test_cibuildwheel_builds_with_kernels_and_leaves_torch_out() -> None:
    settings = tool("cibuildwheel")
    for system in (settings, settings["linux"], settings["macos"]):
        assert system["environment"]["GPTFACE_BUILD"] == "required"
    script, version = settings["linux"]["before-all"].split()
    assert (ROOT / script).is_file() and (ROOT / script).stat().st_mode & 0o100
    assert f"/usr/local/cuda-{version.replace('-', '.')}/bin" in settings["linux"]["environment"]["PATH"]
    for library in ("libtorch", "libtorch_cpu", "libc10"):
        assert f"--exclude {library}.so" in settings["linux"]["repair-wheel-command"]
        assert f"-l{library.removeprefix('lib')}" in (ROOT / "setup.py").read_text(encoding="utf-8")
    for source in settings["test-sources"]:
        assert (ROOT / source).exists()


def test_cibuildwheel_reads_its_settings() -> None:
    pytest.importorskip("cibuildwheel", reason="pip install cibuildwheel")
    found = set()
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("macos", "arm64")):
        command = [sys.executable, "-m", "cibuildwheel", "--platform", system, "--archs", machine]
        done = subprocess.run([*command, "--print-build-identifiers", str(ROOT)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found |= set(done.stdout.split())
    machines = ("manylinux_x86_64", "manylinux_aarch64", "macosx_arm64")
    assert found == {f"cp{python}-{machine}" for python in (310, 314) for machine in machines}


@pytest.mark.parametrize("checker", [["zizmor", "--offline", "--quiet", "--min-severity=medium"], ["actionlint"]])
def test_linters_of_workflows_find_nothing(checker: list[str]) -> None:
    program = shutil.which(checker[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip(f"{checker[0]} is not installed")
    command = [program, *checker[1:], *map(str, sorted(FOLDER.glob("*.yml")))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_fit_their_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *map(str, FOLDER.glob("*.yml"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
