"""What several tests use."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
#: Nothing listens there, so the node finds no model server, whatever runs on this machine.
NODE_ENV = {"BIZRA_INFERENCE__OLLAMA__URL": "http://127.0.0.1:9"}


def vectors() -> dict[str, Any]:
    """The values that every implementation of the protocol reproduces."""
    found: dict[str, Any] = json.loads((REPOSITORY / "tests/vectors/pci.json").read_text("utf-8"))
    return found


def missing(what: str) -> None:
    """Skips a test for want of something; where everything has to be there, it fails."""
    if os.environ.get("BIZRA_REQUIRE_PYTHON"):
        pytest.fail(f"{what}, and BIZRA_REQUIRE_PYTHON is set")
    pytest.skip(what)


class Double:
    """An HTTP server that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.delay = 0.0
        #: Set when a connection ended before its answer.
        self.left = threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                double.requests.append((self.command, self.path, headers, body))
                until = time.monotonic() + double.delay
                while time.monotonic() < until:
                    self.connection.settimeout(0.02)
                    try:
                        if self.connection.recv(1) == b"":
                            double.left.set()
                            self.close_connection = True
                            return
                    except TimeoutError:
                        continue
                    except OSError as error:
                        if "timed out" not in str(error):
                            double.left.set()
                            self.close_connection = True
                            return
                self.connection.settimeout(None)
                status, extra, content = double.answers.get(
                    self.path, (404, {}, b'{"error":"no such path","code":"NOT_FOUND"}')
                )
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                for name, value in extra.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _serve

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, value: Any, status: int = 200, **headers: str) -> None:
        """Answers ``value`` as JSON below ``/api/v1`` from now on."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.answers[f"/api/v1{path}"] = (status, named, content)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        await asyncio.sleep(0.01)
