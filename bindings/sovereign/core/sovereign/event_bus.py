"""Tells events to whoever follows their topic, at once and in order."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Callable, Union

__all__ = ["EventBus", "Handler"]

logger = logging.getLogger(__name__)

Handler = Callable[[str, Mapping[str, Any]], Union[Awaitable[None], None]]

#: Handlers of one topic.
_HANDLERS_MAX = 256


class EventBus:
    """Has no queue: :meth:`publish` returns when every handler was told, and nothing is kept."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}

    def subscribe(self, topic: str, handler: Handler) -> Callable[[], None]:
        """Has ``handler(topic, data)`` told of each event of ``topic``, or of all for ``"*"``.

        Returns what ends that.

        Raises:
            ValueError: The topic has as many handlers as it may have.
        """
        handlers = self._handlers.setdefault(topic, [])
        if len(handlers) >= _HANDLERS_MAX:
            raise ValueError(f"the topic {topic} has {_HANDLERS_MAX} handlers, the most")
        handlers.append(handler)

        def end() -> None:
            if handler in handlers:
                handlers.remove(handler)

        return end

    async def publish(self, topic: str, data: Mapping[str, Any]) -> None:
        """Tells the handlers of ``topic``, in the order in which they came. One that raises is
        logged, and holds up nobody else."""
        for handler in [*self._handlers.get(topic, ()), *self._handlers.get("*", ())]:
            try:
                told = handler(topic, data)
                if inspect.isawaitable(told):
                    await told
            except Exception:
                logger.exception("a handler of %s failed", topic)
