"""img2dataset's downloader within bounds: how long and how large a picture may be, and which hosts are asked.

img2dataset ends a request that is silent for its time-out; a server that sends a byte now and then it waits for without
end, and an answer of any length it takes into memory. Here both are bounded, for its processes, Spark and Ray alike.
"""

from __future__ import annotations

import functools
import http.client
import ipaddress
import time
import urllib.request
from dataclasses import dataclass
from typing import Any

from img2dataset.downloader import Downloader
from img2dataset.logger import LoggerProcess

from gptface.data.web.units import end_with_parent

__all__ = ["BoundedDownloader", "Bounds", "EndingLogger"]

CHUNK = 1 << 16


@dataclass(frozen=True)
class Bounds:
    """What a picture may cost.

    Attributes:
        seconds: from the answer's first line to its last byte.
        size: bytes.
        private_hosts: whether addresses of this machine and of local networks may be asked. A list of addresses from
            the web is anybody's: it must not reach what is behind a firewall.
    """

    seconds: float
    size: int
    private_hosts: bool = False


class _Response:
    """An answer whose ``read`` gives up."""

    def __init__(self, response: Any, bounds: Bounds) -> None:
        self._response, self._bounds = response, bounds
        self._begin = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def __enter__(self) -> _Response:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def read(self) -> bytes:
        parts, size = [], 0
        announced = self._response.headers.get("Content-Length", "")
        expected = int(announced) if announced.isdigit() else None
        if expected is not None and expected > self._bounds.size:
            raise ValueError(f"larger than {self._bounds.size} bytes")
        while part := self._response.read1(CHUNK):
            parts.append(part)
            size += len(part)
            if size > self._bounds.size:
                raise ValueError(f"larger than {self._bounds.size} bytes")
            if time.monotonic() - self._begin > self._bounds.seconds:
                raise TimeoutError(f"not there after {self._bounds.seconds:g} seconds")
        if expected is not None and size < expected:
            raise ValueError("the connection ended early")
        return b"".join(parts)


class _Wrapping(urllib.request.BaseHandler):
    handler_order = 2000  # after redirects and errors

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds

    def http_response(self, _: Any, response: Any) -> Any:
        return response if isinstance(response, _Response) else _Response(response, self.bounds)

    https_response = http_response


def _refuse_private(connection: Any) -> None:
    address = connection.sock.getpeername()[0]
    if not ipaddress.ip_address(address.partition("%")[0]).is_global:
        connection.close()
        raise OSError("the host is a private one")


class _PublicConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _refuse_private(self)


class _PublicSecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _refuse_private(self)


class _PublicHandler(urllib.request.HTTPHandler):
    def http_open(self, request: Any) -> Any:
        return self.do_open(_PublicConnection, request)


class _PublicSecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: Any) -> Any:
        return self.do_open(_PublicSecureConnection, request)


@functools.cache
def _install(bounds: Bounds) -> None:
    """Once a process: what ``urllib.request.urlopen`` does there from now on."""
    opener = urllib.request.OpenerDirector()  # not build_opener, which also reads file:, ftp: and data:
    proxies = urllib.request.getproxies()
    public = not bounds.private_hosts and not proxies  # behind a proxy, that is the one that is asked
    opener.add_handler(urllib.request.ProxyHandler(proxies))
    opener.add_handler(_PublicHandler() if public else urllib.request.HTTPHandler())
    opener.add_handler(_PublicSecureHandler() if public else urllib.request.HTTPSHandler())
    for handler in (urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPRedirectHandler):
        opener.add_handler(handler())
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    opener.add_handler(urllib.request.UnknownHandler())
    opener.add_handler(_Wrapping(bounds))
    urllib.request.install_opener(opener)
    end_with_parent()


class BoundedDownloader(Downloader):
    """img2dataset's downloader; ``bounds`` beside its own arguments."""

    def __init__(self, *arguments: Any, bounds: Bounds, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.bounds = bounds

    def __call__(self, row: Any) -> Any:
        _install(self.bounds)
        return super().__call__(row)


class EndingLogger(LoggerProcess):
    """img2dataset's logger, which otherwise outlives a killed run for ever."""

    def run(self) -> None:
        end_with_parent()
        super().run()
