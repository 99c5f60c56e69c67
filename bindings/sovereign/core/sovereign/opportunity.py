"""What goes through the pipeline: opportunities, and where they stand."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Any

from core.sovereign.errors import PipelineStateError

__all__ = [
    "AutonomyLevel",
    "OpportunityStatus",
    "PipelineOpportunity",
    "PipelineStage",
]

#: Steps of one opportunity that are remembered.
_HISTORY_MAX = 64


class PipelineStage(Enum):
    """Where an opportunity is."""

    DETECTION = auto()
    ENRICHMENT = auto()
    FILTERING = auto()
    PLANNING = auto()
    APPROVAL = auto()
    EXECUTION = auto()
    REFLECTION = auto()


class OpportunityStatus(Enum):
    """What became of an opportunity."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXECUTED = "executed"
    FAILED = "failed"
    DEFERRED = "deferred"


class AutonomyLevel(IntEnum):
    """How much may be done without asking a person."""

    OBSERVER = 0
    SUGGESTER = 1
    AUTOLOW = 2
    AUTOMEDIUM = 3
    AUTOHIGH = 4
    SOVEREIGN = 5


@dataclass
class PipelineOpportunity:
    """Something that could be done.

    Scores are in [0, 1]; one that is not set is 0 and passes nothing. The level is a wish until the
    filters have seen it.
    """

    domain: str
    description: str
    source: str = "unknown"
    id: str = field(default_factory=lambda: f"opp_{uuid.uuid4().hex[:16]}")
    #: Seconds since the Unix epoch.
    detected_at: float = field(default_factory=time.time)
    snr_score: float = 0.0
    ihsan_score: float = 0.0
    urgency: float = 0.5
    estimated_value: float = 0.0
    stage: PipelineStage = PipelineStage.DETECTION
    status: OpportunityStatus = OpportunityStatus.PENDING
    autonomy_level: AutonomyLevel = AutonomyLevel.OBSERVER
    context: dict[str, Any] = field(default_factory=dict)
    knowledge_refs: list[str] = field(default_factory=list)
    action_plan: Any = None
    assigned_agent: str | None = None
    execution_result: Any = None
    executed_at: float | None = None
    stage_history: list[dict[str, Any]] = field(default_factory=list)
    rejection_reason: str | None = None

    def advance_stage(self, stage: PipelineStage, note: str = "") -> None:
        """Notes that the opportunity is now at ``stage``."""
        step = {"from": self.stage.name, "to": stage.name, "at": time.time(), "note": note}
        self.stage_history.append(step)
        del self.stage_history[:-_HISTORY_MAX]
        self.stage = stage

    def to_dict(self) -> dict[str, Any]:
        """All of it, with stage and level by name and the status by value."""
        return {
            "id": self.id,
            "domain": self.domain,
            "description": self.description,
            "source": self.source,
            "detected_at": self.detected_at,
            "snr_score": self.snr_score,
            "ihsan_score": self.ihsan_score,
            "urgency": self.urgency,
            "estimated_value": self.estimated_value,
            "stage": self.stage.name,
            "status": self.status.value,
            "autonomy_level": self.autonomy_level.name,
            "context": dict(self.context),
            "knowledge_refs": list(self.knowledge_refs),
            "action_plan": self.action_plan,
            "assigned_agent": self.assigned_agent,
            "execution_result": self.execution_result,
            "executed_at": self.executed_at,
            "stage_history": [dict(step) for step in self.stage_history],
            "rejection_reason": self.rejection_reason,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> PipelineOpportunity:
        """What :meth:`to_dict` gave.

        Raises:
            PipelineStateError: It is something else.
        """
        try:
            fields = dict(value)
            fields["stage"] = PipelineStage[fields["stage"]]
            fields["status"] = OpportunityStatus(fields["status"])
            fields["autonomy_level"] = AutonomyLevel[fields["autonomy_level"]]
            for name in ("id", "domain", "description", "source"):
                if not isinstance(fields[name], str):
                    raise TypeError(f"{name} is not text")
            for name in ("snr_score", "ihsan_score", "urgency", "estimated_value", "detected_at"):
                if isinstance(fields[name], bool) or not isinstance(fields[name], (int, float)):
                    raise TypeError(f"{name} is not a number")
            fields["context"] = dict(fields["context"])
            fields["knowledge_refs"] = list(fields["knowledge_refs"])
            fields["stage_history"] = [dict(step) for step in fields["stage_history"]]
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise PipelineStateError(f"not an opportunity: {error}") from error
