"""The client of a node's REST interface."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from core.sovereign.data_dir import Door, PathLike, default_data_dir, door_for
from core.sovereign.digest import BytesLike
from core.sovereign.endpoints import Endpoints
from core.sovereign.errors import RustAPIError, RustUnreachable
from core.sovereign.health import RustServiceHealth, health_of
from core.sovereign.transport import Answer, choose_transport, in_thread
from core.sovereign.websocket import RustWebSocket

__all__ = ["RustAPIClient"]

logger = logging.getLogger(__name__)

_PREFIX = "/api/v1"


class RustAPIClient(Endpoints):
    """Speaks to one node.

    The methods named after endpoints (:class:`~core.sovereign.endpoints.Endpoints`) raise what went
    wrong. The five older ones (:meth:`health_check`, :meth:`get_status`, :meth:`check_gates`,
    :meth:`inference_generate`, :meth:`get_federation_status`) answer it instead, under ``error``.

    Args:
        base_url: ``http://host:port`` or ``https://host:port``.
        timeout: Seconds for a whole answer, prompts apart.
        max_connections: Connections at once.
        max_connections_per_host: Connections at once to one host.
        token: The node's token. Without it that of ``data_dir`` is sent, but only to the node that
            runs on that directory.
        data_dir: The node's data directory; ``BIZRA_DATA_DIR`` or ``~/.bizra`` if it is not given.
        transport: ``aiohttp``, ``httpx`` or ``stdlib``; the first that is installed, if none is
            named.
        ssl_context: What is trusted over TLS; without it what the system trusts.

    Raises:
        ValueError: The URL is no such one, or a limit is not positive.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:3001",
        timeout: float = 10.0,
        max_connections: int = 100,
        max_connections_per_host: int = 20,
        *,
        token: str | None = None,
        data_dir: PathLike | None = None,
        transport: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url!r} is not of the form http://host:port")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"{base_url!r} has more than a host, a port and a path")
        if not timeout > 0 or max_connections < 1 or max_connections_per_host < 1:
            raise ValueError("a timeout and limits of connections are positive")
        if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
            raise ValueError("the token is not one: it has other characters than a token can have")
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.data_dir = Path(data_dir) if data_dir is not None else default_data_dir()
        self._token = token
        self._ssl_context = ssl_context
        self._transport = choose_transport(
            transport, max_connections, max_connections_per_host, ssl_context
        )

    @property
    def transport(self) -> str:
        """By what requests travel: ``aiohttp``, ``httpx`` or ``stdlib``."""
        return self._transport.name

    async def __aenter__(self) -> RustAPIClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes what is open. May be called twice, and a later request opens anew."""
        await self._transport.close()

    async def _door(self) -> Door:
        if self._token is not None:
            return Door(self.base_url, self._token)
        # Files, which may lie on a disk that hangs.
        return await in_thread(lambda: door_for(self.base_url, self.data_dir))

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout: float | None,
        accept: str,
    ) -> Answer:
        headers = {"accept": accept, "user-agent": "bizra-sovereign"}
        content: bytes | None = None
        if body is not None:
            # A value that JSON has no form for is the caller's error and is said before it is sent.
            content = json.dumps(body, allow_nan=False, ensure_ascii=False).encode("utf-8")
            headers["content-type"] = "application/json"
        door = await self._door()
        if door.token is not None:
            headers["authorization"] = f"Bearer {door.token}"
        url = f"{door.url}{_PREFIX}{path}"
        answer = await self._transport.request(
            method, url, headers, content, timeout if timeout is not None else self.timeout
        )
        if answer.status == 200:
            return answer
        raise _refused(answer, door)

    async def request_text(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        accept: str = "application/json",
    ) -> str:
        answer = await self._send(method, path, body, timeout, accept)
        return answer.body.decode("utf-8", "replace")

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        answer = await self._send(method, path, body, timeout, "application/json")
        value = _object(answer.body)
        if value is None:
            raise RustUnreachable(f"{self.base_url}{_PREFIX}{path} did not answer a JSON object")
        return value

    async def websocket(self, *, timeout: float | None = None) -> RustWebSocket:
        """``GET /ws``: opens a WebSocket, which is to be closed."""
        door = await self._door()
        return await RustWebSocket.connect(
            f"{door.url}{_PREFIX}/ws",
            token=door.token,
            timeout=timeout if timeout is not None else self.timeout,
            ssl_context=self._ssl_context,
        )

    async def health_check(self) -> RustServiceHealth:
        """How the node is. Does not raise: no answer is an answer too."""
        try:
            return health_of(await self.health())
        except (RustAPIError, RustUnreachable) as error:
            return health_of(error)

    async def get_status(self) -> dict[str, Any]:
        """What :meth:`status` answers, or the error under ``error``."""
        return await _told(self.status(), {})

    async def check_gates(
        self, content: BytesLike | str, snr_score: float, ihsan_score: float
    ) -> dict[str, Any]:
        """What :meth:`gates_check` answers, or the error under ``error`` and ``passed`` false."""
        return await _told(self.gates_check(content, snr_score, ihsan_score), {"passed": False})

    async def inference_generate(
        self,
        prompt: str,
        system_prompt: str | None = None,
        tier: str | None = "local",
        max_tokens: int | None = 1024,
    ) -> dict[str, Any]:
        """What :meth:`inference` answers, or the error under ``error`` and ``text`` empty."""
        asked = self.inference(prompt, system=system_prompt, tier=tier, max_tokens=max_tokens)
        return await _told(asked, {"text": ""})

    async def get_federation_status(self) -> dict[str, Any]:
        """What :meth:`federation_status` answers, or the error and ``connected`` false."""
        return await _told(self.federation_status(), {"connected": False, "peers": 0})


async def _told(asked: Awaitable[dict[str, Any]], otherwise: dict[str, Any]) -> dict[str, Any]:
    """The answer, or what went wrong as one, with what callers read of an answer."""
    try:
        return await asked
    except asyncio.CancelledError:
        raise
    except (RustAPIError, RustUnreachable) as error:
        return {**otherwise, **error.to_dict()}
    except (TypeError, ValueError) as error:
        # What was to be sent has no form in JSON, such as a score that is no number.
        told = {"error": str(error), "code": "INVALID_ARGUMENT", "details": None, "status": 0}
        return {**otherwise, **told}


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _refused(answer: Answer, door: Door) -> RustAPIError:
    body = _object(answer.body)
    if body is None:
        body = {"text": answer.body[:4096].decode("utf-8", "replace")}
    if answer.status == 401 and door.withheld is not None and not body.get("details"):
        # The node cannot know that there is a token which was not sent.
        body["details"] = f"no token was sent: {door.withheld}"
    wait = answer.headers.get("retry-after", "")
    return RustAPIError(
        answer.status,
        body,
        retry_after=float(wait) if wait.isdigit() else None,
        request_id=answer.headers.get("x-request-id"),
    )
