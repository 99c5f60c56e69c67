"""The node as a process: found, started, watched, stopped."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

from core.sovereign.api_client import RustAPIClient
from core.sovereign.binary import find_binary
from core.sovereign.data_dir import PathLike, default_data_dir, running_node
from core.sovereign.errors import PrivateFileError
from core.sovereign.transport import in_thread

__all__ = ["RustProcessManager"]

logger = logging.getLogger(__name__)

#: Seconds until a node that was started has to serve.
START_TIMEOUT = 30.0
#: Seconds between two looks whether it does.
_LOOK_EVERY = 0.05
#: Lines of its output that are kept, and characters of one.
_LINES_MAX = 200
_LINE_CHARS_MAX = 4096


class RustProcessManager:
    """Starts one node as a child process, and ends it at the latest with this interpreter.

    Args:
        bizra_omega_path: The program, or a build tree that has it; without it, it is looked for as
            :func:`~core.sovereign.binary.find_binary` says.
        api_port: The port to serve on; 0 lets the system choose, and :attr:`api_port` is then the
            one that it chose.
        gossip_port: The port for peers.
        data_dir: The node's data directory; ``BIZRA_DATA_DIR`` or ``~/.bizra`` if it is not given.
        host: The address to listen on. The node refuses others than this machine's without TLS.
        extra_args: Further arguments of the program.
        env: Variables that are set for it beside those of this process.
        start_timeout: Seconds until it has to serve.
        stop_timeout: Seconds that it has to end what is in flight, before it is killed.

    A node that this object started is stopped when the object is collected or the interpreter ends.
    If the interpreter itself is killed (SIGKILL, or a SIGTERM that it does not handle), the node
    goes on; the next start then says that the port is taken.
    """

    def __init__(
        self,
        bizra_omega_path: PathLike | None = None,
        api_port: int = 3001,
        gossip_port: int = 7946,
        *,
        data_dir: PathLike | None = None,
        host: str = "127.0.0.1",
        extra_args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        start_timeout: float = START_TIMEOUT,
        stop_timeout: float = 10.0,
    ) -> None:
        for name, port in (("api_port", api_port), ("gossip_port", gossip_port)):
            if not 0 <= port <= 65535:
                raise ValueError(f"{name} is {port}, and a port is between 0 and 65535")
        self._named = bizra_omega_path
        self._asked_port = api_port
        self.api_port = api_port
        self.gossip_port = gossip_port
        self.data_dir = Path(data_dir) if data_dir is not None else default_data_dir()
        self.host = host
        self._extra_args = tuple(extra_args)
        self._env = dict(env or {})
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._child: _Child | None = None
        self._is_starting = False
        self._on_exit: Callable[[int], object] | None = None
        self._end: weakref.finalize[..., RustProcessManager] | None = None
        #: Why the last start failed; ``None`` if it did not.
        self.last_error: str | None = None

    @property
    def base_url(self) -> str:
        """Where the node is reached."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return (
            f"http://[{host}]:{self.api_port}" if ":" in host else f"http://{host}:{self.api_port}"
        )

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        return self._child.pid if self._child is not None and self._child.runs() else None

    @property
    def exit_code(self) -> int | None:
        """How the process ended (negative: by which signal); ``None`` while it runs."""
        return None if self._child is None else self._child.exit_code

    @property
    def output(self) -> list[str]:
        """The last lines of what it wrote."""
        return [] if self._child is None else list(self._child.lines)

    def set_exit_callback(self, callback: Callable[[int], object] | None) -> None:
        """Has ``callback`` told the exit code when the process ends, unless :meth:`stop` ended it.

        It is called in a thread.
        """
        self._on_exit = callback

    def is_running(self) -> bool:
        """Whether the process that was started runs."""
        return self._child is not None and self._child.runs()

    def uptime(self) -> float:
        """Seconds since the process was started; 0 if it does not run."""
        return time.monotonic() - self._child.began if self._child and self._child.runs() else 0.0

    async def start(self, wait_for_health: bool = True) -> bool:
        """Starts the node, and waits until it serves.

        False if it did not start: there is no program, somebody else serves on the port, it ended,
        or did not serve in time. :attr:`last_error` then has the reason, and nothing is left
        running. True at once if it runs already.
        """
        if self._is_starting:
            return self._failed("another start is under way")
        if self.is_running():
            return True
        self._is_starting = True
        try:
            return await self._start(wait_for_health)
        finally:
            self._is_starting = False

    async def _start(self, wait_for_health: bool) -> bool:
        self.last_error = None
        self.api_port = self._asked_port
        binary, where = find_binary(self._named)
        if binary is None:
            return self._failed(where)
        taken = await in_thread(lambda: _taken(self.host, self.api_port))
        if taken is not None:
            return self._failed(taken)
        command = [
            str(binary),
            *("--host", self.host, "--port", str(self.api_port)),
            *("--gossip-port", str(self.gossip_port), "--data-dir", str(self.data_dir)),
            *self._extra_args,
        ]
        logger.info("starting %s, found by %s", binary, where)
        try:
            # Takes milliseconds; in a thread it could not be taken back when this is cancelled.
            child = _Child(command, {**os.environ, **self._env})
        except OSError as error:
            return self._failed(f"{binary} does not start: {error}")
        self._child = child
        if self._end is not None:
            self._end.detach()
        self._end = weakref.finalize(self, child.abandon, self._stop_timeout)
        # At the interpreter's end all of them are ended together, below.
        self._end.atexit = False
        _CHILDREN.add(child)
        child.watch(weakref.WeakMethod(self._ended))
        if not wait_for_health:
            return True
        try:
            problem = await self._serves(child)
        except BaseException:
            # Who no longer waits cannot stop it either.
            child.ask_to_end()
            raise
        if problem is None:
            logger.info("the node serves at %s", self.base_url)
            return True
        await in_thread(self.stop)
        return self._failed(problem)

    async def _serves(self, child: _Child) -> str | None:
        """Waits until the child itself serves; otherwise says why it does not."""
        until = time.monotonic() + self._start_timeout
        while time.monotonic() < until:
            if not child.runs():
                return f"the node ended with {child.exit_code}: {child.last_words()}"
            if await self._is_there(child):
                async with RustAPIClient(
                    self.base_url, timeout=2.0, data_dir=self.data_dir, transport="stdlib"
                ) as client:
                    health = await client.health_check()
                if health.serves():
                    return None
            await asyncio.sleep(_LOOK_EVERY)
        return f"the node does not serve after {self._start_timeout:g} s: {child.last_words()}"

    async def _is_there(self, child: _Child) -> bool:
        """Whether the child wrote where it is; somebody else who serves there is not it."""
        try:
            reached = await in_thread(lambda: running_node(self.data_dir))
        except PrivateFileError:
            return False
        if reached is None or reached.pid != child.pid:
            return False
        if self.api_port == 0:
            self.api_port = int(reached.url.rpartition(":")[2])
        return True

    def _failed(self, reason: str) -> bool:
        self.last_error = reason
        logger.warning("the node was not started: %s", reason)
        return False

    def _ended(self, code: int) -> None:
        logger.warning("the node ended by itself with %s: %s", code, self.output[-1:])
        if self._on_exit is not None:
            try:
                self._on_exit(code)
            except Exception:
                logger.exception("the callback for the end of the node failed")

    def stop(self) -> None:
        """Stops the node in order (SIGTERM), and kills it if it does not end in time.

        Blocks until it has ended; in a coroutine use :meth:`astop`. Does nothing if none runs.
        """
        if self._child is not None:
            self._child.end(self._stop_timeout)
            if self._end is not None:
                self._end.detach()

    async def astop(self) -> None:
        """As :meth:`stop`, without holding up the event loop."""
        await in_thread(self.stop)


class _Child:
    """One process, and the thread that reads what it writes until it has ended."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        # In a session of its own: Ctrl-C in a terminal is for the interpreter, which then stops it.
        self._process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.began = time.monotonic()
        self.exit_code: int | None = None
        self.lines: deque[str] = deque(maxlen=_LINES_MAX)
        self._owner = os.getpid()
        self._is_asked = False
        self._has_ended = threading.Event()
        self._tell: weakref.WeakMethod[Callable[[int], None]] | None = None

    def watch(self, tell: weakref.WeakMethod[Callable[[int], None]]) -> None:
        self._tell = tell
        threading.Thread(target=self._drain, name="bizra-api-output", daemon=True).start()

    def runs(self) -> bool:
        return self.exit_code is None

    def last_words(self) -> str:
        return self.lines[-1] if self.lines else "it said nothing"

    def _drain(self) -> None:
        """Reads to the end, so that the node never waits for a reader of its log."""
        stream = self._process.stdout
        if stream is not None:
            with stream:
                for raw in iter(lambda: stream.readline(_LINE_CHARS_MAX), b""):
                    line = raw.decode("utf-8", "replace").rstrip()
                    self.lines.append(line)
                    logger.debug("bizra-api: %s", line)
        self.exit_code = self._process.wait()
        self._has_ended.set()
        _CHILDREN.discard(self)
        tell = None if self._tell is None or self._is_asked else self._tell()
        if tell is not None:
            tell(self.exit_code)

    def ask_to_end(self) -> None:
        if self.runs() and self._owner == os.getpid():
            self._is_asked = True
            self._process.terminate()

    def abandon(self, timeout: float) -> None:
        """Ends it without holding up the collector of garbage."""
        if self.runs() and self._owner == os.getpid():
            self.ask_to_end()
            threading.Thread(target=self.end, args=(timeout,), daemon=True).start()

    def end(self, timeout: float) -> None:
        """SIGTERM, then SIGKILL; returns when it has ended. Nothing in a fork of this process."""
        if self._owner != os.getpid():
            return
        self.ask_to_end()
        if not self._has_ended.wait(timeout):
            logger.warning("the node does not end within %g s, and is killed", timeout)
            self._process.kill()
            self._has_ended.wait()


_CHILDREN: set[_Child] = set()


def _end_all() -> None:
    """Ends every node that this interpreter started and that still runs."""
    children = list(_CHILDREN)
    for child in children:
        child.ask_to_end()
    for child in children:
        child.end(10.0)


atexit.register(_end_all)


def _taken(host: str, port: int) -> str | None:
    """Why no node can listen there; ``None`` if one can."""
    if port == 0:
        return None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"{host} is no address of this machine: {error.strerror}"
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as probe:
        # As the node does it: connections that ended just now are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return f"somebody else serves on port {port} of {host}: {error.strerror}"
    return None
