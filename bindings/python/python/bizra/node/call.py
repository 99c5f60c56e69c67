"""How a call is waited for: in an event loop. A thread waits with ``call.wait()``."""

from __future__ import annotations

import asyncio
from typing import List, TypeVar

from bizra import _native

_T = TypeVar("_T")


def wake(futures: List["asyncio.Future[None]"]) -> None:
    """Wakes whoever waits for calls that are answered; called in their event loop."""
    for future in futures:
        if not future.done():
            future.set_result(None)


async def answer(call: "_native.Call[_T]") -> _T:
    """Waits for a call without holding up the event loop. Cancelling this ends the work."""
    try:
        if not call.done():
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            if call.notify(loop, future):
                await future
        return call.take()
    except BaseException:
        call.cancel()
        raise
