"""The machine of the pipeline: queue, tasks, counts, state. What is done is its subclass's."""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Any

from core.sovereign.data_dir import PathLike
from core.sovereign.errors import PipelineStateError
from core.sovereign.filters import ConstitutionalFilter, RateLimitFilter
from core.sovereign.opportunity import (
    OpportunityStatus,
    PipelineOpportunity,
    PipelineStage,
)
from core.sovereign.pipeline_state import (
    Counters,
    PipelineState,
    interrupted,
    read_state,
    unique,
    write_state,
)

__all__ = ["COMPLETED_MAX", "QUEUE_MAX", "PipelineMachine", "about"]

logger = logging.getLogger(__name__)

#: Opportunities that wait to be looked at, and those that wait for a person.
QUEUE_MAX = 1000
#: Opportunities done with that are remembered.
COMPLETED_MAX = 1000
#: Seconds that a callback has to end once it is cancelled.
_CANCEL_WAIT = 1.0


class PipelineMachine(ABC):
    """Has each opportunity worked on, so many at once, and loses none."""

    def __init__(
        self,
        event_bus: Any | None,
        filters: list[ConstitutionalFilter],
        max_concurrent: int,
        queue_size: int,
    ) -> None:
        if max_concurrent < 1 or queue_size < 1:
            raise ValueError("max_concurrent and queue_size are positive")
        self.event_bus = event_bus
        self.max_concurrent = max_concurrent
        self._filters = filters
        self._queue_size = queue_size
        self._queue: deque[PipelineOpportunity] = deque()
        self._active: dict[str, PipelineOpportunity] = {}
        self._pending: dict[str, PipelineOpportunity] = {}
        self._completed: deque[PipelineOpportunity] = deque(maxlen=COMPLETED_MAX)
        self._counters = Counters()
        self._running = False
        self._dispatcher: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Made at the start, since they belong to its event loop.
        self._more: asyncio.Event | None = None
        self._idle: asyncio.Event | None = None

    @abstractmethod
    async def _process(self, opportunity: PipelineOpportunity) -> None:
        """Does all with one opportunity. Afterwards it is done with, or waits for a person."""

    async def start(self) -> None:
        """Begins with what is in the queue. Does nothing if it is running."""
        if self._running:
            return
        self._running = True
        self._more, self._idle = asyncio.Event(), asyncio.Event()
        self._dispatcher = asyncio.ensure_future(self._dispatch(self._more))
        await self._publish("pipeline.started", {})

    async def stop(self, timeout: float = 5.0) -> None:
        """Begins with nothing more, and gives what is under way ``timeout`` seconds.

        What is then not yet being carried out goes back to the queue, where the next start or the
        state that is kept finds it; what was being carried out has failed. Waiting approvals stay.
        """
        if not self._running:
            return
        self._running = False
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.cancel()
            await asyncio.wait([dispatcher])
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout)
            for task in late:
                task.cancel()
            if late:
                _, stubborn = await asyncio.wait(late, timeout=_CANCEL_WAIT)
                for task in stubborn:
                    logger.error("a callback does not end although it was cancelled: %r", task)
        if self._idle is not None:
            self._idle.set()
        await self._publish("pipeline.stopped", {"queue_size": len(self._queue)})

    async def join(self) -> None:
        """Waits until nothing is in the queue and nothing under way, or until it is stopped.

        What waits for a person is not waited for.
        """
        while self._running and self._idle is not None and (self._queue or self._tasks):
            self._idle.clear()
            await self._idle.wait()

    async def submit(self, opportunity: PipelineOpportunity) -> str:
        """Puts an opportunity in the queue; its id.

        Raises:
            asyncio.QueueFull: The queue is full; ``dropped_opportunities`` counts it.
            ValueError: One with this id is in the pipeline already.
            TypeError: It is no opportunity.
        """
        if not isinstance(opportunity, PipelineOpportunity):
            raise TypeError("a PipelineOpportunity is required")
        if self.holds(opportunity.id):
            raise ValueError(f"{opportunity.id} is in the pipeline already")
        if len(self._queue) >= self._queue_size:
            self._counters.dropped_opportunities += 1
            raise asyncio.QueueFull(f"{self._queue_size} opportunities wait, the most")
        # Whatever it says of itself, here it is at the beginning.
        opportunity.stage = PipelineStage.DETECTION
        opportunity.status = OpportunityStatus.PENDING
        self._counters.total_received += 1
        self._counters.count_domain(opportunity.domain)
        self._queue.append(opportunity)
        self._tell_more()
        await self._publish("pipeline.opportunity.received", about(opportunity))
        return opportunity.id

    async def submit_from_muraqabah(
        self,
        domain: str,
        description: str,
        source: str,
        snr_score: float,
        urgency: float = 0.5,
        estimated_value: float = 0.0,
        context: Mapping[str, Any] | None = None,
    ) -> str:
        """Submits what a monitor saw. It has no Ihsan score and level OBSERVER."""
        return await self.submit(
            PipelineOpportunity(
                domain=domain,
                description=description,
                source=source,
                snr_score=snr_score,
                urgency=urgency,
                estimated_value=estimated_value,
                context=dict(context or {}),
            )
        )

    def holds(self, opportunity_id: str) -> bool:
        """Whether it is in the queue, under way, or waits for a person."""
        if opportunity_id in self._active or opportunity_id in self._pending:
            return True
        return any(it.id == opportunity_id for it in self._queue)

    def get_pending_approvals(self) -> list[PipelineOpportunity]:
        """What waits for a person, the longest first."""
        return list(self._pending.values())

    def get_active_opportunities(self) -> list[PipelineOpportunity]:
        """What is being worked on."""
        return list(self._active.values())

    def get_completed(self, limit: int = 50) -> list[PipelineOpportunity]:
        """What was done with last, the last one last."""
        return list(self._completed)[-limit:] if limit > 0 else []

    def stats(self) -> dict[str, Any]:
        """What happened and what is there."""
        return {
            **self._counters.to_dict(),
            "queue_size": len(self._queue),
            "queue_maxsize": self._queue_size,
            "queue_utilization": len(self._queue) / self._queue_size,
            "active_count": len(self._active),
            "pending_approval": len(self._pending),
            "completed_count": len(self._completed),
            "running": self._running,
        }

    def get_persistable_state(self) -> dict[str, Any]:
        """All that is to outlive the process, as JSON has it.

        What is under way goes into the queue, unless it is being carried out: that has failed,
        since nobody can tell how much of it was done.

        Raises:
            PipelineStateError: An opportunity has a value that JSON has no form for.
        """
        under_way = list(self._active.values())
        cut_off = [it for it in under_way if it.stage is PipelineStage.EXECUTION]
        again = [it for it in under_way if it.stage is not PipelineStage.EXECUTION]
        return PipelineState(
            counters=self._counters,
            queue=[*again, *self._queue],
            pending=list(self._pending.values()),
            completed=[*self._completed, *map(interrupted, cut_off)],
            rate_limits=[it.to_dict() for it in self._filters if isinstance(it, RateLimitFilter)],
        ).to_dict()

    def restore_persistable_state(self, state: Mapping[str, Any]) -> None:
        """Takes what :meth:`get_persistable_state` gave. All of it, or nothing and an error.

        Raises:
            PipelineStateError: It is something else, or this pipeline has work of its own.
        """
        if self._running or self._queue or self._active or self._pending:
            raise PipelineStateError("a state is restored before the start, into an empty pipeline")
        found = PipelineState.from_dict(state)
        limits = [it for it in self._filters if isinstance(it, RateLimitFilter)]
        if len(limits) != len(found.rate_limits):
            raise PipelineStateError(
                f"the state has {len(found.rate_limits)} rate limits, this pipeline {len(limits)}"
            )
        if not unique([*found.queue, *found.pending]):
            raise PipelineStateError("two opportunities of the state have the same id")
        before = [it.to_dict() for it in limits]
        try:
            for limit, value in zip(limits, found.rate_limits):
                limit.restore(value)
        except PipelineStateError:
            for limit, value in zip(limits, before):
                limit.restore(value)
            raise
        self._counters = found.counters
        self._queue.extend(found.queue)
        self._pending.update((it.id, it) for it in found.pending)
        self._completed.extend(found.completed)

    def save_state(self, path: PathLike) -> None:
        """Writes the state to a file, whole or not at all."""
        write_state(path, self.get_persistable_state())

    def load_state(self, path: PathLike) -> None:
        """Restores what :meth:`save_state` wrote."""
        self.restore_persistable_state(read_state(path))

    def _tell_more(self) -> None:
        if self._more is not None:
            self._more.set()

    async def _dispatch(self, more: asyncio.Event) -> None:
        """Begins with what waits, as long as there is room."""
        while True:
            while self._queue and len(self._tasks) < self.max_concurrent:
                opportunity = self._queue.popleft()
                self._active[opportunity.id] = opportunity
                work = self._guarded(opportunity, self._process(opportunity))
                task = asyncio.ensure_future(work)
                self._tasks.add(task)
                task.add_done_callback(self._finished)
            more.clear()
            await more.wait()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._tell_more()
        if self._idle is not None:
            self._idle.set()

    async def _guarded(self, opportunity: PipelineOpportunity, work: Awaitable[None]) -> None:
        """Does ``work``; whatever happens, the opportunity is somewhere afterwards."""
        try:
            await work
        except asyncio.CancelledError:
            if self._active.pop(opportunity.id, None) is None:
                raise  # It had come to its end.
            if opportunity.stage is PipelineStage.EXECUTION:
                self._counters.total_failed += 1
                self._file(opportunity, OpportunityStatus.FAILED, "stopped while carried out")
            else:
                self._counters.total_deferred += 1
                opportunity.status = OpportunityStatus.DEFERRED
                self._queue.appendleft(opportunity)
            raise
        except Exception as error:
            logger.exception("%s failed at %s", opportunity.id, opportunity.stage.name)
            self._counters.total_failed += 1
            await self._done(opportunity, OpportunityStatus.FAILED, f"{error!r}")

    async def _done(
        self, opportunity: PipelineOpportunity, status: OpportunityStatus, reason: str | None
    ) -> None:
        self._file(opportunity, status, reason)
        await self._publish("pipeline.opportunity.completed", about(opportunity))

    def _file(
        self, opportunity: PipelineOpportunity, status: OpportunityStatus, reason: str | None
    ) -> None:
        self._active.pop(opportunity.id, None)
        opportunity.status = status
        opportunity.rejection_reason = reason
        self._completed.append(opportunity)
        if opportunity.stage not in (PipelineStage.EXECUTION, PipelineStage.REFLECTION):
            # Nothing was done, so no limit is used up.
            for each in self._filters:
                try:
                    each.release(opportunity)
                except Exception:
                    logger.exception("the filter %s did not take back what it gave", each.name)

    async def _publish(self, topic: str, data: Mapping[str, Any]) -> None:
        if self.event_bus is None:
            return
        try:
            told = self.event_bus.publish(topic, data)
            if inspect.isawaitable(told):
                await told
        except Exception:
            logger.exception("the event %s was not told", topic)


def about(opportunity: PipelineOpportunity) -> dict[str, Any]:
    """What events tell of an opportunity."""
    return {
        "opportunity_id": opportunity.id,
        "domain": opportunity.domain,
        "status": opportunity.status.value,
        "autonomy_level": opportunity.autonomy_level.name,
        "reason": opportunity.rejection_reason,
    }
