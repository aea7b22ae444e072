"""A web server of this machine that behaves as badly as the web does."""

from __future__ import annotations

import functools
import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

__all__ = ["FaceServer", "face_server", "picture"]

PATIENCE = 30.0  # seconds after which even a hanging answer ends


@functools.cache
def picture(seed: int, width: int = 160, height: int = 120, format: str = "JPEG") -> bytes:
    """A smooth random picture, another one for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(buffer, format, quality=92)
    return buffer.getvalue()


@functools.cache
def _huge() -> bytes:
    """50 megapixels in a few kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (8192, 6200)).save(buffer, "PNG")
    return buffer.getvalue()


class FaceServer(ThreadingHTTPServer):
    """Its addresses: ``/ok/N.jpg``, ``/png/N``, and by name what goes wrong; ``asked`` counts requests by path."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.delay = 0.0
        self.ended = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: FaceServer

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bytes, kind: str = "image/jpeg", claimed: int | None = None, **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        self.server.ended.wait(self.server.delay)
        name, _, rest = self.path.strip("/").partition("/")
        seed = int(rest.split(".")[0] or 0) if rest[:1].isdigit() else 0
        if name == "ok":
            self._answer(picture(seed))
        elif name == "png":
            self._answer(picture(seed, format="PNG"), "image/png")
        elif name == "redirect":
            self.send_response(302)
            self.send_header("Location", f"/ok/{rest}")
            self.end_headers()
        elif name == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
        elif name == "to-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif name == "type":
            self._answer(b"<html>Here was a picture once.</html>", "text/html")
        elif name == "truncated":
            self._answer(picture(seed)[:1500], claimed=5000)
        elif name == "short":  # a file that ends early, said honestly
            self._answer(picture(seed)[:1500])
        elif name == "huge":
            self._answer(_huge(), "image/png")
        elif name == "long":
            self._answer(b"\0", claimed=10**12)
        elif name == "opted-out":
            self._answer(picture(seed), X_Robots_Tag="noai, noimageai")
        elif name == "hang":
            self.server.ended.wait(PATIENCE)
        elif name == "slow":
            self._drip(picture(seed))
        else:
            self.send_error(404)

    def _drip(self, body: bytes) -> None:
        """A byte now and then: never silent, never done."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        begin = time.monotonic()
        for byte in body:
            if self.server.ended.wait(0.2) or time.monotonic() - begin > PATIENCE:
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()


@contextmanager
def face_server() -> Iterator[FaceServer]:
    """A server on a free port of this machine, gone at the end."""
    _huge()  # made before anybody waits for it
    server = FaceServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
