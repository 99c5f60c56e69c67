"""How requests travel: over aiohttp, httpx or the standard library, whichever is there.

None of them follows redirects or asks a proxy: the node is on this machine or near it, and its
token must not go elsewhere. None blocks the event loop; the standard library works in threads.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Protocol, TypeVar
from urllib.parse import urlsplit

from core.sovereign.errors import RustUnreachable

__all__ = ["ANSWER_BYTES_MAX", "Answer", "StdlibTransport", "Transport", "choose_transport"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Bytes of an answer: a page of the node's log is some megabytes.
ANSWER_BYTES_MAX = 64 << 20
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What came back. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """One way to send a request. Any failure but that of the caller is a RustUnreachable."""

    name: str

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Answer:
        """Sends one request and takes whatever is answered within ``timeout`` seconds."""
        ...

    async def close(self) -> None:
        """Closes what is open. May be called twice."""
        ...


def _too_large() -> RustUnreachable:
    return RustUnreachable(f"the answer has more than {ANSWER_BYTES_MAX} bytes")


def _late(url: str, timeout: float) -> RustUnreachable:
    return RustUnreachable(f"no answer from {url} within {timeout:g} s")


def _broken(url: str, error: BaseException) -> RustUnreachable:
    return RustUnreachable(f"no answer from {url}: {str(error) or type(error).__name__}")


def choose_transport(
    name: str | None,
    max_connections: int,
    max_connections_per_host: int,
    ssl_context: ssl.SSLContext | None,
) -> Transport:
    """The transport of this name, or the first of aiohttp, httpx and stdlib that is installed.

    Raises:
        ValueError: There is no such transport, or its package is not installed.
    """
    makers: dict[str, Callable[[int, int, ssl.SSLContext | None], Transport]] = {
        "aiohttp": AiohttpTransport,
        "httpx": HttpxTransport,
        "stdlib": StdlibTransport,
    }
    if name is not None and name not in makers:
        raise ValueError(f"no transport {name!r}; there are {', '.join(makers)}")
    for candidate in (name,) if name else tuple(makers):
        if candidate == "stdlib" or importlib.util.find_spec(candidate) is not None:
            return makers[candidate](max_connections, max_connections_per_host, ssl_context)
    raise ValueError(f"the package {name} is not installed")


class AiohttpTransport:
    """Over aiohttp. Its session belongs to one event loop, and is made anew on another."""

    name = "aiohttp"

    def __init__(self, total: int, per_host: int, context: ssl.SSLContext | None) -> None:
        self._limits = (total, per_host)
        self._context = context
        self._session: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _get(self) -> Any:
        import aiohttp

        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            if self._session is not None and self._loop is not loop:
                await self._session.close()
            total, per_host = self._limits
            connector = aiohttp.TCPConnector(limit=total, limit_per_host=per_host)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
            self._loop = loop
        return self._session

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Answer:
        import aiohttp

        session = await self._get()
        options: dict[str, Any] = {} if self._context is None else {"ssl": self._context}
        try:
            async with session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout),
                **options,
            ) as response:
                content = bytearray()
                async for piece in response.content.iter_chunked(_PIECE_BYTES):
                    content += piece
                    if len(content) > ANSWER_BYTES_MAX:
                        raise _too_large()
                named = {key.lower(): value for key, value in response.headers.items()}
                return Answer(response.status, named, bytes(content))
        except asyncio.TimeoutError as error:
            raise _late(url, timeout) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(url, error) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.closed:
            await session.close()


class HttpxTransport:
    """Over httpx. Its client belongs to one event loop, and is made anew on another."""

    name = "httpx"

    def __init__(self, total: int, per_host: int, context: ssl.SSLContext | None) -> None:
        # httpx has no limit by host; one client speaks to one node.
        self._limit = min(total, per_host)
        self._context = context
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _get(self) -> Any:
        import httpx

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            verify: Any = True if self._context is None else self._context
            limits = httpx.Limits(max_connections=self._limit)
            self._client = httpx.AsyncClient(
                limits=limits, verify=verify, trust_env=False, follow_redirects=False
            )
            self._loop = loop
        return self._client

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Answer:
        client = await self._get()
        try:
            # Its own limits count from one piece to the next; this one counts the whole.
            return await asyncio.wait_for(
                self._exchange(client, method, url, headers, body), timeout
            )
        except asyncio.TimeoutError as error:
            raise _late(url, timeout) from error

    async def _exchange(
        self,
        client: Any,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> Answer:
        import httpx

        try:
            async with client.stream(
                method, url, headers=dict(headers), content=body, timeout=None
            ) as response:
                content = bytearray()
                async for piece in response.aiter_bytes():
                    content += piece
                    if len(content) > ANSWER_BYTES_MAX:
                        raise _too_large()
                named = {key.lower(): value for key, value in response.headers.items()}
                return Answer(response.status_code, named, bytes(content))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _broken(url, error) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def in_thread(work: Callable[[], T]) -> T:
    """Runs ``work`` in a thread of its own, which the interpreter's end does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(value: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, failure = None, None
        try:
            value = work()
        except BaseException as error:  # Told to whoever waits; the thread has nobody else.
            failure = error
        try:
            loop.call_soon_threadsafe(tell, value, failure)
        except RuntimeError:
            logger.debug("nobody waits for the answer: its event loop is closed")

    threading.Thread(target=run, name="bizra-request", daemon=True).start()
    return await done


class StdlibTransport:
    """Over ``http.client``: one thread and one connection for each request."""

    name = "stdlib"

    def __init__(self, total: int, per_host: int, context: ssl.SSLContext | None) -> None:
        self._limit = min(total, per_host)
        self._context = context
        self._places: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _here(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._places is None or self._loop is not loop:
            self._places, self._loop = asyncio.Semaphore(self._limit), loop
        return self._places

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Answer:
        try:
            return await asyncio.wait_for(
                self._exchange(method, url, headers, body, timeout), timeout
            )
        except asyncio.TimeoutError as error:
            raise _late(url, timeout) from error

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Answer:
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        async with self._here():
            connection = self._connection(parts.scheme, parts.netloc, timeout)

            def work() -> Answer:
                try:
                    connection.request(method, target, body=body, headers=dict(headers))
                    return _read(connection.getresponse())
                finally:
                    connection.close()

            try:
                return await in_thread(work)
            except asyncio.CancelledError:
                # The node sees that its caller left and ends the work; so does the thread.
                _cut(connection)
                raise
            except (OSError, http.client.HTTPException) as error:
                raise _broken(url, error) from error

    def _connection(self, scheme: str, netloc: str, timeout: float) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(netloc, timeout=timeout, context=self._context)
        return http.client.HTTPConnection(netloc, timeout=timeout)

    async def close(self) -> None:
        """Nothing stays open between requests."""


def _read(response: http.client.HTTPResponse) -> Answer:
    content = response.read(ANSWER_BYTES_MAX + 1)
    if len(content) > ANSWER_BYTES_MAX:
        raise _too_large()
    named = {key.lower(): value for key, value in response.getheaders()}
    return Answer(response.status, named, content)


def _cut(connection: http.client.HTTPConnection) -> None:
    sock: socket.socket | None = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # Closed by now, which is what was wanted.
