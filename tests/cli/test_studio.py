"""`gptface studio` before its page is there: what is missing or wrong is one sentence and exit code 2."""

from __future__ import annotations

import builtins
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gptface.cli.main import main

WITH_GRADIO = importlib.util.find_spec("gradio") is not None


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split(".")[0] == "gradio":
            raise ModuleNotFoundError("No module named 'gradio'", name="gradio")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["studio"]) == 2
    assert 'pip install "gptface[studio]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "--port: 70000"),
        (["--morphable", "nobody"], "no morphable model 'nobody'"),
        (["--facegpt", "nowhere"], "nowhere"),
        (["--system", "nowhere"], "nowhere"),
    ],
)
@pytest.mark.skipif(not WITH_GRADIO, reason='needs Gradio: pip install "gptface[studio]"')
def test_what_cannot_be_used_is_said_before_anything_is_served(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["studio", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not WITH_GRADIO, reason='needs Gradio: pip install "gptface[studio]"')
def test_it_listens_on_this_computer_alone_and_leaves_nothing_when_it_is_ended(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "gptface", "studio", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("The studio is at http://127.0.0.1:")
        address = line.split()[4]
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        with urllib.request.urlopen(address, timeout=60) as page:
            assert "gptface studio" in page.read().decode()
        assert list(tmp_path.glob("gptface-studio-*"))
        own = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for other in own - {"127.0.0.1"}:
            with socket.socket() as probe:
                probe.settimeout(2)
                assert probe.connect_ex((other, port)) != 0, f"it listens on {other}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not list(tmp_path.glob("gptface-studio-*"))
    finally:
        process.kill()
        process.wait()
