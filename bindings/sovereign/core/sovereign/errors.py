"""What can go wrong, as exceptions with a reason in them.

All of them are a :class:`SovereignError`, which is a ``RuntimeError``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "NativeUnavailable",
    "PipelineStateError",
    "PrivateFileError",
    "RustAPIError",
    "RustUnreachable",
    "SigningUnavailable",
    "SovereignError",
]


class SovereignError(RuntimeError):
    """The base of every error of this package."""


class NativeUnavailable(SovereignError):
    """Only the native wheel ``bizra`` could answer, and it is not there or not wanted."""


class SigningUnavailable(SovereignError):
    """Nothing here can sign with the node's key. The text says why, and what to do."""


class PipelineStateError(SovereignError, ValueError):
    """Something is no state of a pipeline, or cannot be written as one."""


class PrivateFileError(SovereignError):
    """A private file of the node cannot be read, or others could have read or written it.

    ``absent`` says whether there is no such file.
    """

    def __init__(self, message: str, *, absent: bool = False) -> None:
        super().__init__(message)
        self.absent = absent


class RustUnreachable(SovereignError):
    """No answer came: nothing listens, the connection broke, or the time was up."""

    def to_dict(self) -> dict[str, Any]:
        """The error in the form in which the older methods of the client answer it."""
        return {
            "error": str(self),
            "code": "UNREACHABLE",
            "details": None,
            "status": 0,
            "request_id": None,
        }


class RustAPIError(SovereignError):
    """The node answered, and not with success. What it said is kept.

    Attributes:
        status: The HTTP status.
        code: The node's code word, such as ``UNAUTHORIZED``; ``HTTP_<status>`` if it gave none.
        message: The node's sentence.
        details: More to read, such as the JSON path of a bad field; or ``None``.
        request_id: The id under which the node logged the request; or ``None``.
        retry_after: Seconds after which to try again, if the node said so.
        body: The whole JSON object that was answered, or the text under ``"text"`` if it was none.
    """

    def __init__(
        self,
        status: int,
        body: Mapping[str, Any],
        *,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        self.status = status
        self.body: dict[str, Any] = dict(body)
        self.message = _text(self.body.get("error")) or f"HTTP {status}"
        self.code = _text(self.body.get("code")) or f"HTTP_{status}"
        self.details = _text(self.body.get("details"))
        self.request_id = _text(self.body.get("request_id")) or request_id
        self.retry_after = retry_after
        more = f" ({self.details})" if self.details else ""
        super().__init__(f"HTTP {status} {self.code}: {self.message}{more}")

    def to_dict(self) -> dict[str, Any]:
        """The error in the form in which the older methods of the client answer it."""
        answer = dict(self.body)
        answer.update(
            error=self.message,
            code=self.code,
            details=self.details,
            status=self.status,
            request_id=self.request_id,
        )
        return answer


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
