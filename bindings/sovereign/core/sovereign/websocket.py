"""A WebSocket to a node (RFC 6455), over the standard library's streams.

One JSON object per message. A task of the socket reads it, so that pings are answered also while
nobody receives.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from types import TracebackType
from typing import Any, TypeVar, Union
from urllib.parse import urlsplit

from core.sovereign import _frames
from core.sovereign.errors import RustAPIError, RustUnreachable

__all__ = ["MESSAGE_BYTES_MAX", "RustWebSocket"]

T = TypeVar("T")
# What answers a call, or why nothing does.
_Frame = Union[dict[str, Any], RustUnreachable]

#: Bytes of one message.
MESSAGE_BYTES_MAX = 16 << 20
#: Messages that came and were not received yet; beyond that the oldest are dropped and counted.
_WAITING_MAX = 1024
#: Frames of one answer that came and were not taken yet: more than a model's longest answer has.
_FRAMES_MAX = 65536
#: Begins the id of whatever is asked here.
_ID_PREFIX = "py-"
#: Seconds for the other side to see that the socket is closed.
_CLOSE_WAIT = 2.0


class RustWebSocket:
    """An open socket. Made by :meth:`RustAPIClient.websocket`; also an async context manager and
    an async iterator over the messages.

    Attributes:
        welcome: The node's first message.
        timeout: Seconds for the answer to a call.
        missed: Messages that were dropped because nobody received them.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: deque[dict[str, Any]] = deque()
        self._has_more = asyncio.Event()
        self._calls: dict[str, asyncio.Queue[_Frame]] = {}
        self._last_id = 0
        self._ended: RustUnreachable | None = None
        self._task: asyncio.Task[None] | None = None
        self.timeout = timeout
        self.missed = 0
        self.welcome: dict[str, Any] = {}

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        token: str | None,
        timeout: float,
        ssl_context: ssl.SSLContext | None = None,
    ) -> RustWebSocket:
        """Opens a socket and takes the welcome.

        Raises:
            RustAPIError: The node refused, with what it said.
            RustUnreachable: Nothing answered, or not as a WebSocket does.
        """
        return await _within(timeout, cls._open(url, token, timeout, ssl_context))

    @classmethod
    async def _open(
        cls, url: str, token: str | None, timeout: float, context: ssl.SSLContext | None
    ) -> RustWebSocket:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        options: dict[str, Any] = {}
        if is_tls:
            options["ssl"] = context if context is not None else ssl.create_default_context()
        try:
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if is_tls else 80), **options
            )
        except OSError as error:
            raise RustUnreachable(f"no answer from {url}: {error}") from error
        socket = cls(reader, writer, timeout)
        try:
            head, key = _frames.handshake(parts.path, parts.netloc, token)
            writer.write(head)
            await _frames.take_admission(reader, key)
            socket._task = asyncio.ensure_future(socket._read())
            socket.welcome = await socket.receive()
        except BaseException as error:
            await socket._end(RustUnreachable(f"the socket did not open: {error}"))
            raise
        return socket

    async def __aenter__(self) -> RustWebSocket:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            try:
                message = await self.receive()
            except RustUnreachable:
                return
            yield message

    async def send(self, message: Mapping[str, Any]) -> None:
        """Sends one message.

        Raises:
            RustUnreachable: The socket is closed.
        """
        text = json.dumps(message, allow_nan=False, ensure_ascii=False)
        await self._write(_frames.TEXT, text.encode("utf-8"))

    async def receive(self) -> dict[str, Any]:
        """The next message that answers no call; waits until there is one.

        Raises:
            RustUnreachable: The socket is closed, and all that came was received.
        """
        while not self._waiting:
            if self._ended is not None:
                raise self._ended
            self._has_more.clear()
            await self._has_more.wait()
        return self._waiting.popleft()

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Calls an operation, such as ``"inference.tier"``, and gives its ``data``.

        Raises:
            RustAPIError: The node refused, with its code and message.
            RustUnreachable: The socket is closed, or there was no answer in time.
        """
        message = {"type": "call", "method": method, "params": dict(params or {})}
        answer = await self._ask(message, timeout if timeout is not None else self.timeout)
        return answer.get("data")

    async def subscribe(self, topic: str) -> None:
        """Follows a topic, such as ``actors``; its events are then received.

        Raises:
            RustAPIError: The node refused.
        """
        await self._ask({"type": "subscribe", "topic": topic}, self.timeout)

    async def generate(
        self, prompt: str, *, timeout: float = 60.0, **parameters: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Has a prompt answered, and gives what comes as it comes.

        That is frames of type ``token`` with their ``text``, and at the end one of type ``done``
        with all that ``POST /inference/generate`` answers. ``parameters`` are those of that
        endpoint, and ``timeout`` is the time from one frame to the next. Who stops early, with
        ``aclose()``, also ends the work on the node.

        Raises:
            RustAPIError: The node refused, or failed on the way.
            RustUnreachable: The socket is closed, or nothing came in time.
        """
        name, frames = self._expect()
        is_over = False
        try:
            await self.send({**parameters, "type": "generate", "id": name, "prompt": prompt})
            while not is_over:
                found = await _within(timeout, frames.get())
                is_over = not isinstance(found, dict) or found.get("type") != "token"
                yield _taken(found)
        finally:
            del self._calls[name]
            if not is_over and self._ended is None:
                await self.send({"type": "cancel", "id": name})

    async def _ask(self, message: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        name, frames = self._expect()
        try:
            await self.send({**message, "id": name})
            return _taken(await _within(timeout, frames.get()))
        finally:
            del self._calls[name]

    def _expect(self) -> tuple[str, asyncio.Queue[_Frame]]:
        """A new id, and where the frames that repeat it come."""
        self._last_id += 1
        name = f"{_ID_PREFIX}{self._last_id}"
        frames = self._calls[name] = asyncio.Queue()
        return name, frames

    async def close(self) -> None:
        """Says good-bye and closes. May be called twice."""
        if self._ended is None:
            try:
                await self._write(_frames.CLOSE, struct.pack("!H", 1000))
            except RustUnreachable:
                pass  # The other side was faster.
        await self._end(RustUnreachable("the socket was closed here"))

    async def _end(self, reason: RustUnreachable) -> None:
        """Closes the connection, and tells whoever waits."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])
        self._tell(reason)
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), _CLOSE_WAIT)
        except (OSError, asyncio.TimeoutError):
            pass  # Gone, which is what was wanted.

    def _tell(self, reason: RustUnreachable) -> None:
        if self._ended is None:
            self._ended = reason
        self._has_more.set()
        for frames in self._calls.values():
            frames.put_nowait(self._ended)

    async def _read(self) -> None:
        """Reads until the end, and hands out what came."""
        try:
            while True:
                self._hand_out(await self._message())
        except RustUnreachable as reason:
            self._tell(reason)
        except (asyncio.IncompleteReadError, OSError) as error:
            self._tell(RustUnreachable(f"the connection broke: {error}"))
        finally:
            self._writer.close()

    def _hand_out(self, content: bytes) -> None:
        try:
            message = json.loads(content)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise RustUnreachable("a message is not a JSON object")
        name = str(message.get("id"))
        frames = self._calls.get(name)
        if frames is not None:
            if frames.qsize() >= _FRAMES_MAX:
                raise RustUnreachable(f"{_FRAMES_MAX} frames of an answer are not taken")
            frames.put_nowait(message)
            return
        if name.startswith(_ID_PREFIX):
            return  # It answers what nobody waits for any more.
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting.popleft()
            self.missed += 1
        self._waiting.append(message)
        self._has_more.set()

    async def _message(self) -> bytes:
        whole = bytearray()
        is_begun = False
        while True:
            room = MESSAGE_BYTES_MAX - len(whole)
            is_last, kind, content = await _frames.read_frame(self._reader, room)
            if kind == _frames.PING:
                await self._write(_frames.PONG, content)
            elif kind == _frames.CLOSE:
                code = struct.unpack("!H", content[:2])[0] if len(content) >= 2 else 1005
                reason = content[2:].decode("utf-8", "replace")
                raise RustUnreachable(f"the node closed the socket: {code} {reason}".rstrip())
            elif kind in (_frames.TEXT, _frames.CONTINUATION):
                if (kind == _frames.CONTINUATION) != is_begun:
                    raise RustUnreachable("a message begins or goes on where it must not")
                whole += content
                is_begun = True
                if is_last:
                    return bytes(whole)
            elif kind != _frames.PONG:
                raise RustUnreachable(f"a frame of kind {kind}, which was not asked for")

    async def _write(self, kind: int, content: bytes) -> None:
        if self._ended is not None:
            raise self._ended
        try:
            self._writer.write(_frames.masked_frame(kind, content))
            await self._writer.drain()
        except OSError as error:
            raise RustUnreachable(f"the connection broke: {error}") from error


def _taken(found: _Frame) -> dict[str, Any]:
    if isinstance(found, RustUnreachable):
        raise found
    if found.get("type") == "error":
        status = found.get("status")
        told = {**found, "error": found.get("message")}
        raise RustAPIError(status if isinstance(status, int) else 0, told)
    return found


async def _within(timeout: float, work: Awaitable[T]) -> T:
    try:
        return await asyncio.wait_for(work, timeout)
    except asyncio.TimeoutError as error:
        raise RustUnreachable(f"no answer within {timeout:g} s") from error
