"""The server of the page: on this computer alone, without telemetry, its files gone when it ends."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gptface.errors import InputError

if TYPE_CHECKING:
    from gptface.studio.actions import Actions
    from gptface.studio.heads import Heads

__all__ = ["FIRST_PORT", "HOST", "require_gradio", "serve", "serving"]

HOST = "127.0.0.1"
FIRST_PORT = 7860
PORTS_TRIED = 100
LONGEST_QUEUE = 20
"""Requests that may wait; the next is told that the queue is full."""
MOST_SESSIONS = 64
"""Histories that are kept at once; the one that was used longest ago is let go."""
# Gradio reads these when it is imported, the hub's library too.
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}


def require_gradio() -> None:
    """Make Gradio ready to be imported, without telemetry.

    Raises:
        InputError: it is missing.
    """
    os.environ.update(_QUIET)
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise InputError('the studio needs Gradio: pip install "gptface[studio]"') from None


@contextmanager
def serving(actions: Actions, heads: Heads, host: str = HOST, port: int | None = None) -> Iterator[str]:
    """Serve the page from a thread of its own while the context lasts.

    Args:
        actions: what it does.
        heads: what its tab of heads in 3D does.
        host: address to listen on.
        port: ``None`` for the first free one from ``FIRST_PORT`` on, 0 for any.

    Yields:
        the page's address.

    Raises:
        InputError: Gradio is missing, or the port is taken.
    """
    chosen = _free_port(host, port)
    require_gradio()
    with _own_files():
        from gptface.studio.page import build_page
        from gptface.studio.page.look import CSS, theme
        from gptface.studio.photos import LARGEST_FILE

        page = build_page(actions, heads)
        page.queue(max_size=LONGEST_QUEUE, default_concurrency_limit=8, api_open=False)
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=chosen,
                share=False,
                prevent_thread_lock=True,
                quiet=True,
                inbrowser=False,
                show_error=False,
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                max_file_size=LARGEST_FILE,
                state_session_capacity=MOST_SESSIONS,
                theme=theme(),
                css=CSS,
            )
            yield address
        finally:
            page.close(verbose=False)


@contextmanager
def _own_files() -> Iterator[None]:
    """A folder for uploads and results, which are photos of people: it goes when the studio ends."""
    former = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="gptface-studio-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield
        finally:
            if former is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = former


def serve(
    actions: Actions, heads: Heads, host: str = HOST, port: int | None = None, open_browser: bool = False
) -> None:
    """Serve the page until the process is asked to end (Ctrl-C, SIGTERM)."""
    ended = threading.Event()
    former = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with serving(actions, heads, host, port) as address:
            print(f"The studio is at {address} (Ctrl-C ends it)", flush=True)
            if open_browser:
                import webbrowser

                webbrowser.open(address)
            ended.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _free_port(host: str, port: int | None) -> int:
    """The port to listen on; it is free at this moment."""
    tried = range(FIRST_PORT, FIRST_PORT + PORTS_TRIED) if port is None else [port]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in tried:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError as error:
                problem = error.strerror
                continue
            return int(probe.getsockname()[1])
    raise InputError(f"--port: none of {min(tried)} to {max(tried)} can be listened on at {host} ({problem})")
