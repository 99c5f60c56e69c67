"""The pipeline: enrich, filter, plan, filter again, have it approved, carry it out."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Callable, Union

from core.sovereign.filters import (
    ConstitutionalFilter,
    DaughterTestFilter,
    FilterResult,
    IhsanFilter,
    RateLimitFilter,
    SNRFilter,
)
from core.sovereign.opportunity import (
    AutonomyLevel,
    OpportunityStatus,
    PipelineOpportunity,
    PipelineStage,
)
from core.sovereign.pipeline_machine import QUEUE_MAX, PipelineMachine, about
from core.sovereign.thresholds import IHSAN_THRESHOLD, SNR_THRESHOLD

__all__ = [
    "AutonomyLevel",
    "ConstitutionalFilter",
    "DaughterTestFilter",
    "FilterResult",
    "IhsanFilter",
    "OpportunityPipeline",
    "OpportunityStatus",
    "PipelineOpportunity",
    "PipelineStage",
    "RateLimitFilter",
    "SNRFilter",
    "create_opportunity_pipeline",
]

logger = logging.getLogger(__name__)

Callback = Callable[[PipelineOpportunity], Union[Awaitable[Any], Any]]
_Seal = tuple[Any, ...]


class OpportunityPipeline(PipelineMachine):
    """Takes opportunities and carries out those that may be.

    The filters see an opportunity with the level that it is carried out with: again after planning,
    again when a person approves, and again if anything changed since. A filter or callback that
    raises has refused. What nothing carries out is deferred, not executed.

    OBSERVER, SUGGESTER and AUTOHIGH ask the approval callback or a person; AUTOLOW and AUTOMEDIUM
    do not; SOVEREIGN does unless Ihsan is 1.

    ``_filters`` is the list of filters, in order; append to it before the start.

    Args:
        event_bus: Something with ``publish(topic, data)``, such as
            :class:`~core.sovereign.event_bus.EventBus`; or ``None``.
        snr_threshold: Least ratio of signal to noise.
        ihsan_threshold: Least Ihsan above OBSERVER; levels ask for more by themselves.
        max_concurrent: Opportunities that are worked on at once.
        queue_size: Opportunities that wait, at most.
    """

    def __init__(
        self,
        event_bus: Any | None = None,
        snr_threshold: float = SNR_THRESHOLD,
        ihsan_threshold: float = IHSAN_THRESHOLD,
        max_concurrent: int = 10,
        *,
        queue_size: int = QUEUE_MAX,
    ) -> None:
        filters = [
            SNRFilter(snr_threshold),
            IhsanFilter(ihsan_threshold),
            DaughterTestFilter(),
            RateLimitFilter(),
        ]
        super().__init__(event_bus, filters, max_concurrent, queue_size)
        # What a person approved and is not carried out yet, as the filters saw it then; by id.
        self._approved: dict[str, _Seal] = {}
        self._enrich: Callback | None = None
        self._plan: Callback | None = None
        self._execute: Callback | None = None
        self._approve: Callback | None = None

    def set_enrichment_callback(self, callback: Callback | None) -> None:
        """Has ``callback`` add to an opportunity; a mapping it returns goes into ``context``."""
        self._enrich = callback

    def set_planning_callback(self, callback: Callback | None) -> None:
        """Has ``callback`` plan; what it returns becomes ``action_plan``. It may set the level."""
        self._plan = callback

    def set_execution_callback(self, callback: Callback | None) -> None:
        """Has ``callback`` carry an opportunity out; what it returns is ``execution_result``."""
        self._execute = callback

    def set_approval_callback(self, callback: Callback | None) -> None:
        """Has ``callback`` decide in a person's place: true, false, or ``None`` for a person."""
        self._approve = callback

    async def approve(self, opportunity_id: str) -> bool:
        """A person approves: the filters look again, then it is carried out before what else waits.

        False if none with this id waits, or a filter refuses it by now.
        """
        opportunity = self._pending.pop(opportunity_id, None)
        if opportunity is None:
            return False
        self._active[opportunity.id] = opportunity
        passed = False

        async def work() -> None:
            nonlocal passed
            passed = await self._filter(opportunity)
            if passed:
                del self._active[opportunity.id]
                self._approved[opportunity.id] = _seal(opportunity)
                self._queue.appendleft(opportunity)
                self._tell_more()

        await self._guarded(opportunity, work())
        return passed

    async def reject(self, opportunity_id: str, reason: str = "") -> bool:
        """A person rejects. False if none with this id waits."""
        opportunity = self._pending.pop(opportunity_id, None)
        if opportunity is None:
            return False
        self._counters.total_rejected += 1
        await self._done(opportunity, OpportunityStatus.REJECTED, reason or "rejected by a person")
        return True

    async def _process(self, opportunity: PipelineOpportunity) -> None:
        opportunity.status = OpportunityStatus.IN_PROGRESS
        approved = self._approved.pop(opportunity.id, None)
        if approved is not None:
            await self._carry_out(opportunity, approved)
            return
        if self._enrich is not None:
            opportunity.advance_stage(PipelineStage.ENRICHMENT)
            added = await _ask(self._enrich, opportunity)
            if isinstance(added, Mapping):
                opportunity.context.update(added)
        # Once before planning, which may cost much, and once with what was planned.
        if not await self._filter(opportunity):
            return
        if self._plan is not None:
            opportunity.advance_stage(PipelineStage.PLANNING)
            plan = await _ask(self._plan, opportunity)
            if plan is not None and plan is not opportunity:
                opportunity.action_plan = plan
            if not await self._filter(opportunity):
                return
        seal = _seal(opportunity)
        opportunity.advance_stage(PipelineStage.APPROVAL)
        if await self._may(opportunity):
            await self._carry_out(opportunity, seal)

    async def _filter(self, opportunity: PipelineOpportunity) -> bool:
        """Whether every filter lets it pass as it is now. If not, it is done with."""
        opportunity.advance_stage(PipelineStage.FILTERING)
        seal = _seal(opportunity)
        refusal = None
        for each in list(self._filters):
            try:
                result = await each.check(opportunity)
                if result.passed is not True:
                    refusal = f"{each.name}: {result.reason}"
            except Exception as error:
                logger.exception("the filter %s failed", each.name)
                refusal = f"{each.name}: it failed: {error!r}"
            if refusal is not None:
                break
        if refusal is None and _seal(opportunity) != seal:
            refusal = "it was changed while the filters looked"
        if refusal is None:
            return True
        self._counters.total_filtered += 1
        await self._done(opportunity, OpportunityStatus.REJECTED, refusal)
        return False

    async def _may(self, opportunity: PipelineOpportunity) -> bool:
        """Whether it may be carried out now. If not, it waits for a person or was rejected."""
        if not _needs_person(opportunity):
            return True
        decided: Any = None
        if self._approve is not None:
            try:
                decided = await _ask(self._approve, opportunity)
            except Exception:
                logger.exception("the approval callback failed; a person decides")
        if decided is True:
            return True
        if decided is False:
            refusal = "rejected by the approval callback"
        elif len(self._pending) >= QUEUE_MAX:
            refusal = f"{QUEUE_MAX} opportunities wait for a person, the most"
        else:
            del self._active[opportunity.id]
            opportunity.status = OpportunityStatus.PENDING
            self._pending[opportunity.id] = opportunity
            await self._publish("pipeline.approval.requested", about(opportunity))
            return False
        self._counters.total_rejected += 1
        await self._done(opportunity, OpportunityStatus.REJECTED, refusal)
        return False

    async def _carry_out(self, opportunity: PipelineOpportunity, seal: _Seal) -> None:
        # What changed since the filters looked was not looked at, nor approved.
        if _seal(opportunity) != seal:
            if not await self._filter(opportunity) or not await self._may(opportunity):
                return
        self._counters.total_approved += 1
        self._counters.count_level(opportunity.autonomy_level.name)
        opportunity.status = OpportunityStatus.APPROVED
        if self._execute is None:
            self._counters.total_deferred += 1
            text = "no execution callback is set, so nothing can carry it out"
            await self._done(opportunity, OpportunityStatus.DEFERRED, text)
            return
        opportunity.advance_stage(PipelineStage.EXECUTION)
        opportunity.execution_result = await _ask(self._execute, opportunity)
        opportunity.executed_at = time.time()
        self._counters.total_executed += 1
        opportunity.advance_stage(PipelineStage.REFLECTION)
        await self._done(opportunity, OpportunityStatus.EXECUTED, None)


def _needs_person(opportunity: PipelineOpportunity) -> bool:
    level = opportunity.autonomy_level
    if level is AutonomyLevel.SOVEREIGN:
        return opportunity.ihsan_score < 1.0
    return level not in (AutonomyLevel.AUTOLOW, AutonomyLevel.AUTOMEDIUM)


def _seal(opportunity: PipelineOpportunity) -> _Seal:
    """All that the filters here and a person decide by."""
    return (
        opportunity.id,
        opportunity.domain,
        opportunity.description,
        opportunity.autonomy_level,
        opportunity.snr_score,
        opportunity.ihsan_score,
        repr(opportunity.action_plan),
    )


async def _ask(callback: Callback, opportunity: PipelineOpportunity) -> Any:
    answer = callback(opportunity)
    return await answer if inspect.isawaitable(answer) else answer


async def create_opportunity_pipeline(
    event_bus: Any | None = None,
    snr_threshold: float = SNR_THRESHOLD,
    ihsan_threshold: float = IHSAN_THRESHOLD,
    auto_start: bool = True,
) -> OpportunityPipeline:
    """A pipeline, started unless ``auto_start`` is false."""
    pipeline = OpportunityPipeline(event_bus, snr_threshold, ihsan_threshold)
    if auto_start:
        await pipeline.start()
    return pipeline
