"""The gates of a node."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Union

from bizra import _native
from bizra._native import GateReceipt
from bizra.node.call import answer
from bizra.node.types import Data, listed

#: One score for all contents, or one for each.
Scores = Union[None, float, Sequence[Optional[float]]]


class Gates:
    """Judges content by the constitution that the node enforces.

    A content is bytes or text of at most 1 MiB; with ``content_type="json"`` it is read as JSON.
    Scores lie in 0 to 1 and are claims: one can lower what is measured and never raise it, and counts
    where nothing can be measured. ``profile`` says which gates judge: ``check``, ``peer-message``,
    ``inference-input``, ``inference-output`` or ``proposal``. ``sources`` are up to 32 texts that the
    content is to be supported by. Judging changes nothing: nobody is punished.

    Every method waits at most ``timeout`` seconds, ``http.request_seconds`` (30) unless told
    otherwise. A refusal is an answer, not an exception.
    """

    def __init__(self, port: _native.GatesPort) -> None:
        self._port = port

    def check(
        self,
        content: Data,
        snr_score: Optional[float] = None,
        ihsan_score: Optional[float] = None,
        *,
        content_type: str = "text",
        profile: str = "check",
        sources: Sequence[str] = (),
        timeout: Optional[float] = None,
    ) -> GateReceipt:
        """Judges a content. The receipt is true if no strict gate refused."""
        return self.check_many(
            [content],
            snr_score,
            ihsan_score,
            content_type=content_type,
            profile=profile,
            sources=sources,
            timeout=timeout,
        )[0]

    async def acheck(
        self,
        content: Data,
        snr_score: Optional[float] = None,
        ihsan_score: Optional[float] = None,
        *,
        content_type: str = "text",
        profile: str = "check",
        sources: Sequence[str] = (),
        timeout: Optional[float] = None,
    ) -> GateReceipt:
        """As :meth:`check`."""
        receipts = await self.acheck_many(
            [content],
            snr_score,
            ihsan_score,
            content_type=content_type,
            profile=profile,
            sources=sources,
            timeout=timeout,
        )
        return receipts[0]

    def check_many(
        self,
        contents: Sequence[Data],
        snr_score: Scores = None,
        ihsan_score: Scores = None,
        *,
        content_type: str = "text",
        profile: str = "check",
        sources: Sequence[str] = (),
        timeout: Optional[float] = None,
    ) -> List[GateReceipt]:
        """Judges up to 1024 contents in one message, each as :meth:`check` would.

        A score is one for all of them, or a list with one for each.
        """
        return self._port.check(
            listed(contents),
            snr_score,
            ihsan_score,
            content_type,
            profile,
            list(sources),
            timeout,
        ).wait()

    async def acheck_many(
        self,
        contents: Sequence[Data],
        snr_score: Scores = None,
        ihsan_score: Scores = None,
        *,
        content_type: str = "text",
        profile: str = "check",
        sources: Sequence[str] = (),
        timeout: Optional[float] = None,
    ) -> List[GateReceipt]:
        """As :meth:`check_many`."""
        call = self._port.check(
            listed(contents),
            snr_score,
            ihsan_score,
            content_type,
            profile,
            list(sources),
            timeout,
        )
        return await answer(call)

    def constitution(self, *, timeout: Optional[float] = None) -> Dict[str, Any]:
        """What is enforced, as ``GET /api/v1/constitution`` shows it."""
        return self._port.constitution(timeout).wait()

    async def aconstitution(self, *, timeout: Optional[float] = None) -> Dict[str, Any]:
        """As :meth:`constitution`."""
        return await answer(self._port.constitution(timeout))
