"""What a pipeline counts, and the form in which its state is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.sovereign.data_dir import PathLike
from core.sovereign.errors import PipelineStateError
from core.sovereign.opportunity import OpportunityStatus, PipelineOpportunity
from core.sovereign.private_file import write_atomically

__all__ = ["STATE_VERSION", "Counters", "PipelineState", "read_state", "write_state"]

#: The version of the form.
STATE_VERSION = 1
#: Bytes of a file with a state.
STATE_BYTES_MAX = 64 << 20
#: Domains that are counted apart.
_DOMAINS_MAX = 1024
_OTHERS = "(others)"
_RESULT_CHARS_MAX = 1000

_NUMBERS = (
    "total_received",
    "total_filtered",
    "total_approved",
    "total_rejected",
    "total_executed",
    "total_failed",
    "total_deferred",
    "dropped_opportunities",
)


@dataclass
class Counters:
    """What happened since the first start; it outlives restarts with the state."""

    #: Taken by ``submit``.
    total_received: int = 0
    #: Refused by a filter.
    total_filtered: int = 0
    #: Allowed by level, callback or person.
    total_approved: int = 0
    #: Refused by a callback or a person.
    total_rejected: int = 0
    total_executed: int = 0
    #: A callback failed, or the execution was cut off.
    total_failed: int = 0
    #: Not carried out: nothing was there to do it, or the pipeline stopped before.
    total_deferred: int = 0
    #: Refused by ``submit`` because the queue was full.
    dropped_opportunities: int = 0
    by_domain: dict[str, int] = field(default_factory=dict)
    #: By the level that was decided upon.
    by_autonomy: dict[str, int] = field(default_factory=dict)

    def count_domain(self, domain: str) -> None:
        """Counts one of this domain."""
        is_known = domain in self.by_domain or len(self.by_domain) < _DOMAINS_MAX
        name = domain if is_known else _OTHERS
        self.by_domain[name] = self.by_domain.get(name, 0) + 1

    def count_level(self, name: str) -> None:
        """Counts one of this level."""
        self.by_autonomy[name] = self.by_autonomy.get(name, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """All of it."""
        numbers: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        return {
            **numbers,
            "by_domain": dict(self.by_domain),
            "by_autonomy": dict(self.by_autonomy),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Counters:
        """What :meth:`to_dict` gave."""
        counters = cls()
        for name in _NUMBERS:
            setattr(counters, name, _count(value[name]))
        for name in ("by_domain", "by_autonomy"):
            getattr(counters, name).update(
                {str(key): _count(count) for key, count in value[name].items()}
            )
        return counters


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


@dataclass
class PipelineState:
    """The state of a pipeline that is not running."""

    counters: Counters
    #: To be looked at from the beginning.
    queue: list[PipelineOpportunity]
    #: Waiting for a person.
    pending: list[PipelineOpportunity]
    #: Done with, the oldest first.
    completed: list[PipelineOpportunity]
    #: Of each rate limit among the filters, in order.
    rate_limits: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON has it.

        Raises:
            PipelineStateError: An opportunity that is to go on has a value without a form in JSON.
        """
        return {
            "version": STATE_VERSION,
            "saved_at": time.time(),
            "counters": self.counters.to_dict(),
            "queue": [_to_go_on(it) for it in self.queue],
            "pending": [_to_go_on(it) for it in self.pending],
            "completed": [_done_with(it) for it in self.completed],
            "rate_limits": self.rate_limits,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> PipelineState:
        """What :meth:`to_dict` gave.

        Raises:
            PipelineStateError: It is something else, or of another version.
        """
        try:
            if value["version"] != STATE_VERSION:
                raise PipelineStateError(
                    f"the state has version {value['version']!r}, and {STATE_VERSION} is read here"
                )
            lists = {
                name: [PipelineOpportunity.from_dict(it) for it in value[name]]
                for name in ("queue", "pending", "completed")
            }
            counters = Counters.from_dict(value["counters"])
            limits = [dict(it) for it in value["rate_limits"]]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, PipelineStateError):
                raise
            raise PipelineStateError(f"not the state of a pipeline: {error!r}") from error
        return cls(counters=counters, rate_limits=limits, **lists)


def _to_go_on(opportunity: PipelineOpportunity) -> dict[str, Any]:
    value = opportunity.to_dict()
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PipelineStateError(f"{opportunity.id} cannot be kept: {error}") from error
    return value


def _done_with(opportunity: PipelineOpportunity) -> dict[str, Any]:
    """As it is, or with the text of what JSON has no form for: nobody works on with it."""
    value = opportunity.to_dict()
    for name in ("execution_result", "action_plan", "context"):
        try:
            json.dumps(value[name], allow_nan=False)
        except (TypeError, ValueError):
            text = repr(value[name])[:_RESULT_CHARS_MAX]
            value[name] = {"repr": text} if name == "context" else text
    return value


def write_state(path: PathLike, state: Mapping[str, Any]) -> None:
    """Writes a state to a file (mode 0600), whole or not at all.

    Raises:
        PipelineStateError: It has a value that JSON has no form for, or is too large.
        OSError: The file cannot be written; what was there is there still.
    """
    try:
        content = json.dumps(state, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except (TypeError, ValueError) as error:
        raise PipelineStateError(f"the state cannot be kept: {error}") from error
    if len(content) > STATE_BYTES_MAX:
        raise PipelineStateError(f"the state has {len(content)} bytes, over {STATE_BYTES_MAX}")
    write_atomically(Path(path), content + b"\n")


def read_state(path: PathLike) -> dict[str, Any]:
    """Reads what :func:`write_state` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        PipelineStateError: It holds something else.
    """
    with open(path, "rb") as file:
        content = file.read(STATE_BYTES_MAX + 2)
    if len(content) > STATE_BYTES_MAX + 1:
        raise PipelineStateError(f"{path} has more than {STATE_BYTES_MAX} bytes")
    try:
        value = json.loads(content)
    except ValueError as error:
        raise PipelineStateError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise PipelineStateError(f"{path} holds no state of a pipeline")
    return value


def interrupted(opportunity: PipelineOpportunity) -> PipelineOpportunity:
    """One whose execution was cut off: what of it was done is not known, so it is not repeated."""
    copy = PipelineOpportunity.from_dict(opportunity.to_dict())
    copy.status = OpportunityStatus.FAILED
    copy.rejection_reason = "cut off while it was carried out; not carried out again"
    return copy


def unique(opportunities: Sequence[PipelineOpportunity]) -> bool:
    """Whether no two have the same id."""
    return len({it.id for it in opportunities}) == len(opportunities)
