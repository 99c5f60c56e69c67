"""The Python snippets of the integration guide, as they stand in it.

They are read from the guide and run in order in one namespace, with ``await`` at the top level
allowed as in ``python -m asyncio``. The node that they speak to is started by the process manager,
on the port that the guide names.
"""

from __future__ import annotations

import ast
import asyncio
import fcntl
import hashlib
import inspect
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import NODE_ENV, REPOSITORY, missing

from core.sovereign import (
    OpportunityPipeline,
    RustAPIClient,
    RustLifecycleManager,
    RustProcessManager,
)

GUIDE = (REPOSITORY / "docs/rust-integration-guide.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
#: The port that the guide names.
PORT = 3001


def test_the_guide_below_the_note_is_unchanged() -> None:
    note, line, guide = GUIDE.partition("\n---\n\n")
    assert line
    assert all(text.startswith(">") for text in note.splitlines())
    digest = hashlib.sha256(guide.encode("utf-8")).hexdigest()
    assert digest == "ef9c77b91ef20bb5fdd6dbd553dce0169879a564137ac06397f28aded04c1c29"


def test_every_snippet_is_found() -> None:
    assert len(SNIPPETS) == GUIDE.count("```python") == 10


@pytest.fixture
def port() -> Iterator[int]:
    """The guide's port, once neither a test of another run nor anybody else has it."""
    with open(Path(tempfile.gettempdir()) / "bizra-guide-port.lock", "w") as lock:
        end = time.monotonic() + 300
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < end, "another run holds the guide's port for too long"
                time.sleep(0.1)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", PORT))
            except OSError:
                missing(f"somebody else serves on port {PORT}, which the guide names")
        yield PORT


class Session:
    """Runs snippets one after the other, and ends what they leave running."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "guide"}
        self.seen: list[Any] = []

    async def run(self, snippet: str) -> None:
        code = compile(snippet, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, self.names)
        if inspect.isawaitable(running):
            await running
        self.seen.extend(it for it in self.names.values() if not any(it is x for x in self.seen))

    async def end(self) -> None:
        for each in self.seen:
            if isinstance(each, (RustLifecycleManager, OpportunityPipeline)):
                await each.stop()
            elif isinstance(each, RustProcessManager):
                await each.astop()


async def test_the_snippets_run_verbatim(
    port: int,
    binary: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in NODE_ENV.items():
        monkeypatch.setenv(name, value)
    session, node = Session(), RustProcessManager(binary, api_port=port)
    assert await node.start(), node.last_error
    # It serves as soon as it can, which may be before everything works.
    async with RustAPIClient(node.base_url) as client:
        end = time.monotonic() + 30
        while not (await client.health_check()).is_healthy():
            assert time.monotonic() < end, node.output[-5:]
            await asyncio.sleep(0.05)
    printed: dict[str, str] = {}
    ran = 0
    try:
        for snippet in SNIPPETS:
            if "import bizra\n" in snippet:
                continue
            if "RustProcessManager(" in snippet:
                await node.astop()
            await session.run(snippet)
            ran += 1
            out = capsys.readouterr().out
            for line in out.splitlines():
                name, _, value = line.partition(": ")
                printed[name] = value
            if "pyo3_sign" in snippet:
                names = session.names
                assert names["valid"] is True
                assert re.fullmatch("[0-9a-f]{64}", names["digest"])
                async with RustAPIClient(node.base_url) as client:
                    assert names["public_key"] == (await client.status())["public_key"]
                    found = await client.identity_verify(
                        b"message", names["signature"], names["public_key"]
                    )
                    assert found["valid"] is True
            if "_filters.append" in snippet:
                assert session.names["pipeline"].stats()["running"]
    finally:
        await session.end()
        await node.astop()
    assert ran == len(SNIPPETS) - 1
    names = session.names
    assert names["health"].serves()
    assert names["result"]["all_passed"] is True
    assert names["response"]["envelope"]["payload"]
    assert names["started"] is True
    assert (printed["Status"], printed["Passed"]) == ("HEALTHY", "True")
    assert (printed["Connected"], printed["Peers"]) == ("False", "0")
    assert (printed["Running"], printed["API"]) == ("True", "False")
    assert float(printed["Uptime"].rstrip("s")) > 0
    assert not names["manager"].is_running()


async def test_the_snippet_of_the_wheel_runs_verbatim(native: Any) -> None:
    (snippet,) = (it for it in SNIPPETS if "import bizra\n" in it)
    session = Session()
    await session.run(snippet)
    names = session.names
    assert names["constitution"].ihsan_threshold == 0.95
    assert native.NodeIdentity.verify(
        b"hello world", names["signature"], names["identity"].public_key
    )


async def test_without_the_wheel_the_fallback_of_the_guide_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # None in sys.modules is how the interpreter says that a module is not there.
    monkeypatch.setitem(__import__("sys").modules, "bizra", None)
    (snippet,) = (it for it in SNIPPETS if "hashlib fallback" in it)
    session = Session()
    await session.run(snippet)
    names = session.names
    assert names["valid"] is True
    # The digest of "msg" as the native implementation computes it.
    assert names["digest"] == "5b04fd1952f941a57ff8d17123a12a5b2dedc162e61a24b1b19b1eb0587aa85f"
    assert names["stats"]["pyo3_available"] is False
