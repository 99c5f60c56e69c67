"""How a node is, as its client saw it last."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from core.sovereign.errors import RustAPIError, RustUnreachable

__all__ = ["SERVICE", "RustServiceHealth", "RustServiceStatus", "health_of"]

#: What a health is of.
SERVICE = "bizra-api"


class RustServiceStatus(Enum):
    """How a node is."""

    #: Nobody looked yet.
    UNKNOWN = auto()
    #: Its process was started and does not serve yet.
    STARTING = auto()
    #: Everything works.
    HEALTHY = auto()
    #: It serves, and something does not work; or what answers is no healthy node.
    DEGRADED = auto()
    #: It cannot serve, or nothing answers.
    UNHEALTHY = auto()
    #: Its process was stopped.
    STOPPED = auto()


@dataclass
class RustServiceHealth:
    """What was seen of a node at one moment."""

    service: str
    status: RustServiceStatus
    version: str | None = None
    #: Seconds since the node started, as it says.
    uptime_seconds: float = 0.0
    #: Requests that it answered since then, as it says.
    requests_served: int = 0
    #: When this was seen, in seconds since the Unix epoch.
    last_check: float = field(default_factory=time.time)
    #: What is wrong, if something is.
    error: str | None = None

    def is_healthy(self) -> bool:
        """Whether everything works."""
        return self.status is RustServiceStatus.HEALTHY

    def serves(self) -> bool:
        """Whether it answers requests, although something may not work."""
        return self.status in (RustServiceStatus.HEALTHY, RustServiceStatus.DEGRADED)


_STATUSES = {
    "healthy": RustServiceStatus.HEALTHY,
    "degraded": RustServiceStatus.DEGRADED,
    "unhealthy": RustServiceStatus.UNHEALTHY,
}


def health_of(found: Mapping[str, Any] | RustAPIError | RustUnreachable) -> RustServiceHealth:
    """The health that an answer to ``GET /health``, or the failure to get one, means."""
    if isinstance(found, RustUnreachable):
        return RustServiceHealth(SERVICE, RustServiceStatus.UNHEALTHY, error=str(found))
    body = found.body if isinstance(found, RustAPIError) else found
    status = _STATUSES.get(str(body.get("status")))
    error = str(found) if isinstance(found, RustAPIError) else None
    if status is None:
        return RustServiceHealth(
            SERVICE, RustServiceStatus.DEGRADED, error=error or "the answer has no status"
        )
    if error is None and status is not RustServiceStatus.HEALTHY:
        error = _what_is_wrong(body)
    version = body.get("version")
    return RustServiceHealth(
        SERVICE,
        status,
        version=version if isinstance(version, str) else None,
        uptime_seconds=float(_number(body.get("uptime_seconds"))),
        requests_served=int(_number(body.get("requests_served"))),
        error=error,
    )


def _what_is_wrong(body: Mapping[str, Any]) -> str:
    actors = body.get("actors")
    told = actors.items() if isinstance(actors, Mapping) else ()
    wrong = [f"{name} is {state}" for name, state in told if state != "running"]
    if body.get("inference_ready") is False:
        wrong.append("no model answers")
    return "; ".join(wrong) or f"the node is {body.get('status')}"


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
