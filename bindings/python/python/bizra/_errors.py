"""What may go wrong, one class per family."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple


class BizraError(Exception):
    """Base of every exception that this package raises by itself.

    ``code`` is one stable word, the same as in the HTTP interface where there is one. ``details``
    says more, as a dictionary, or is None.
    """

    code: str
    details: Optional[Dict[str, Any]]

    def __init__(
        self,
        message: str = "",
        code: Optional[str] = None,
        details: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.code = type(self)._CODE if code is None else code
        self.details = details

    _CODE = "ERROR"

    def __reduce__(self) -> Tuple[Any, ...]:
        return (type(self), (str(self), self.code, self.details))


class InvalidInput(BizraError, ValueError):
    """An argument has a value that cannot be used; the message says which and why."""

    _CODE = "INVALID_INPUT"


class GateRejected(BizraError, RuntimeError):
    """The gates refused content. ``code`` is the reject code of the first gate that did."""

    _CODE = "GATE_REJECTED"


class Unavailable(BizraError, RuntimeError):
    """What was asked for is not there now, or has as much to do as it may. Trying later may help."""

    _CODE = "UNAVAILABLE"


class NotFound(BizraError, LookupError):
    """There is nothing of that name."""

    _CODE = "NOT_FOUND"


class Forbidden(BizraError, PermissionError):
    """What was asked for is not allowed, or a file is open to others; the message has the remedy."""

    _CODE = "FORBIDDEN"


class StorageError(BizraError, OSError):
    """A file or a store could not be read or written."""

    _CODE = "STORAGE"


class Timeout(BizraError, TimeoutError):
    """The time that was allowed is over."""

    _CODE = "TIMEOUT"


class InternalError(BizraError, RuntimeError):
    """A fault of this package, to be reported."""

    _CODE = "INTERNAL"


for _class in (
    BizraError,
    InvalidInput,
    GateRejected,
    Unavailable,
    NotFound,
    Forbidden,
    StorageError,
    Timeout,
    InternalError,
):
    # Where users import them from, and where pickles find them.
    _class.__module__ = "bizra"
del _class
