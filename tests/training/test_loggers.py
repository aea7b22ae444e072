"""Experiment loggers: what reaches them, that a resumed run is one run, and that nothing happens unasked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate.tracking
import accelerate.utils
import pytest
import yaml
from accelerate import Accelerator

from gptface.cli.main import main
from gptface.errors import InputError
from gptface.systems.parser.stages import PARSER
from gptface.training import loop as loop_module
from gptface.training.configuration_files import configuration_to_yaml
from gptface.training.loggers import flattened
from gptface.training.run import run_stage
from tests.helpers.tiny_runs import tiny_parser

EIGHT = ("parser.steps=8", "parser.log_every=1", "parser.checkpoint_every=4", "parser.validate_every=4")


class Recorder(accelerate.tracking.GeneralTracker):
    """Stands for a tracker of Accelerate and remembers what it is told."""

    name = "recorder"
    requires_logging_directory = False
    main_process_only = False
    made: list[Recorder] = []

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__(_blank=True)
        self.project, self.options = run_name, options
        self.stored: dict[str, Any] = {}
        self.sent: list[tuple[int, str]] = []
        self.finished = False
        Recorder.made.append(self)

    @property
    def tracker(self) -> None:
        return None

    def start(self) -> None:
        print("look here")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.stored = values

    def log(self, values: dict[str, Any], step: int | None = None, **options: Any) -> None:
        assert step is not None
        assert all(isinstance(value, (int, float)) for value in values.values())
        self.sent += [(step, name) for name in values]

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """trackio and wandb, whether they are installed or not."""
    Recorder.made = []
    for name in ("trackio", "wandb"):
        monkeypatch.setattr(accelerate.utils, f"is_{name}_available", lambda: True)
    finish = lambda: [one.finish() for one in Recorder.made if "config" in one.options]  # noqa: E731
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(finish=finish))
    monkeypatch.setattr(accelerate.tracking, "TrackioTracker", Recorder)
    monkeypatch.setattr(accelerate.tracking, "WandBTracker", Recorder)
    return Recorder.made


def pull_the_plug(configuration: Any, output: Path, step: int, log_with: list[str]) -> None:
    """Train until ``step`` is reached, and die there."""

    def stop(self: loop_module.Loop, share: float) -> None:
        if self.step == step:
            raise RuntimeError("pulled the plug")
        original(self, share)

    original = loop_module.Loop._one_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module.Loop, "_one_step", stop)
        with pytest.raises(RuntimeError, match="plug"):
            run_stage(PARSER, configuration, output, verbose=False, log_with=log_with)


def test_a_resumed_run_is_one_run_and_no_step_is_sent_twice(
    face_cache: Path, tmp_path: Path, recorders: list[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tiny_parser(face_cache, *EIGHT)
    pull_the_plug(configuration, tmp_path / "run", 6, ["trackio", "wandb"])
    assert all(recorder.finished for recorder in recorders)
    run_stage(PARSER, configuration, tmp_path / "run", verbose=False, log_with=["trackio", "wandb", "wandb"])
    first, first_wandb, second, second_wandb = recorders
    name = first.options["name"]
    assert name.startswith("run-")
    assert second.options["name"] == name
    assert first_wandb.options["id"] == second_wandb.options["id"] == name
    assert second.options["resume"] == second_wandb.options["resume"] == "allow"
    for one, other in ((first, second), (first_wandb, second_wandb)):
        assert sorted({step for step, _ in one.sent}) == [1, 2, 3, 4, 5, 6]
        assert sorted({step for step, _ in other.sent}) == [7, 8]
        everything = one.sent + other.sent
        assert len(everything) == len(set(everything))
        validated = sorted({step for step, what in everything if what.startswith("parser-validation/")})
        assert validated == [4, 8]
        assert {"parser/loss", "parser/mfu", "parser/images_per_second"} <= {what for _, what in everything}
    for values in (first.options["config"], first_wandb.stored):
        assert values["parser.steps"] == 8
        assert values["data.image_size"] == configuration.data.image_size
    assert capsys.readouterr().out == ""
    run_stage(PARSER, configuration, tmp_path / "run", restart=True, verbose=False, log_with=["trackio"])
    assert recorders[-1].options["name"] != name


def test_a_logger_that_joins_later_gets_what_comes_then(
    face_cache: Path, tmp_path: Path, recorders: list[Recorder]
) -> None:
    configuration = tiny_parser(face_cache, *EIGHT)
    pull_the_plug(configuration, tmp_path, 6, [])
    assert not recorders and not (tmp_path / "loggers.json").exists()
    run_stage(PARSER, configuration, tmp_path, verbose=False, log_with=["trackio"])
    assert sorted({step for step, _ in recorders[0].sent}) == [5, 6, 7, 8]


def test_other_processes_than_the_first_log_nothing(
    face_cache: Path, tmp_path: Path, recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accelerator, "is_main_process", property(lambda self: False))
    run_stage(PARSER, tiny_parser(face_cache, "parser.steps=1"), tmp_path, verbose=False, log_with=["trackio"])
    assert not recorders and not (tmp_path / "loggers.json").exists()


def test_a_logger_that_does_not_start_says_why(
    face_cache: Path, tmp_path: Path, recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Recorder) -> None:
        raise ValueError("api_key not configured")

    monkeypatch.setattr(Recorder, "start", refuse)
    with pytest.raises(InputError, match="log_with: wandb does not start: api_key not configured"):
        run_stage(PARSER, tiny_parser(face_cache, "parser.steps=1"), tmp_path, verbose=False, log_with=["wandb"])


def test_tensorboard_has_every_step_once_and_the_configuration(face_cache: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    configuration = tiny_parser(face_cache, *EIGHT, "parser.tensorboard=true")
    pull_the_plug(configuration, tmp_path, 6, ["tensorboard"])
    run_stage(PARSER, configuration, tmp_path, verbose=False, log_with=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("parser/loss")] == list(range(1, 9))
    validated = next(name for name in events.Tags()["scalars"] if name.startswith("parser-validation/"))
    assert [event.step for event in events.Scalars(validated)] == [4, 8]
    (stored,) = (tmp_path / "tensorboard").glob("*/hparams.yml")
    assert yaml.safe_load(stored.read_text())["parser.steps"] == 8


def test_a_missing_package_is_one_sentence(
    face_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerate.utils, "is_wandb_available", lambda: False)
    file = tmp_path / "run.yaml"
    file.write_text(configuration_to_yaml(tiny_parser(face_cache)))
    command = ["train", "parser", "--config", str(file), "--output", str(tmp_path / "run"), "--log-with", "wandb"]
    assert main(command) == 2
    assert "log_with: wandb is not installed; pip install wandb" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="log_with: 'mlflow'; allowed: tensorboard, trackio, wandb"):
        run_stage(PARSER, tiny_parser(face_cache), tmp_path / "run", log_with=["mlflow"])


def test_configurations_become_dotted_keys() -> None:
    nested = {"data": {"train": ["a", "b"], "count": 3}, "parser": {"minutes": None, "compile": False}}
    assert flattened(nested) == {
        "data.train": '["a", "b"]',
        "data.count": 3,
        "parser.minutes": "",
        "parser.compile": False,
    }


PROGRAM = """
import json, socket, sys
from pathlib import Path

def refuse(self, address, *more):
    raise AssertionError(f"a connection to {address}")

socket.socket.connect = refuse
from gptface.cli.main import main
from tests.training.test_loggers import pull_the_plug
from gptface.systems.parser.configuration import Configuration
from gptface.training.configuration_files import load_configuration

file, output = sys.argv[1:]
pull_the_plug(load_configuration(Configuration, file), Path(output), 6, ["trackio"])
assert main(["train", "parser", "--config", file, "--output", output, "--quiet", "--log-with", "trackio"]) == 0

import trackio
from trackio.sqlite_storage import SQLiteStorage

(run,) = trackio.Api().runs("gptface")
logs = SQLiteStorage.get_logs("gptface", run.name, run_id=run.id)
print(json.dumps({"name": run.name, "config": run.config, "logs": logs}))
"""


@pytest.mark.slow
def test_trackio_on_this_machine(face_cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed: pip install trackio")
    file = tmp_path / "run.yaml"
    file.write_text(configuration_to_yaml(tiny_parser(face_cache, *EIGHT)))
    # The place of its data is read when it is imported, hence a process of its own.
    folders = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HOME": str(tmp_path / "home")}
    environment = {**os.environ, **folders, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(file), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result, told = done.stdout.splitlines()
    assert result == f"parser: {tmp_path / 'run' / 'parser'}"
    kept = json.loads(told)
    assert kept["name"] == json.loads((tmp_path / "run" / "loggers.json").read_text())["run"]
    assert kept["config"]["parser.steps"] == 8
    for name, steps in (("parser/loss", list(range(1, 9))), ("parser-validation/", [4, 8])):
        sent = [record["step"] for record in kept["logs"] if any(key.startswith(name) for key in record)]
        assert sorted(sent) == steps, name
