"""The entity: observes, decides, and submits to a pipeline, again and again."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Callable, Union

from core.sovereign.data_dir import PathLike
from core.sovereign.opportunity import AutonomyLevel, PipelineOpportunity
from core.sovereign.opportunity_pipeline import OpportunityPipeline
from core.sovereign.pipeline_state import write_state
from core.sovereign.thresholds import IHSAN_THRESHOLD, is_score
from core.sovereign.transport import in_thread

__all__ = [
    "EntityConfig",
    "EntityCycleResult",
    "EntityMode",
    "ProactiveSovereignEntity",
    "create_proactive_entity",
]

logger = logging.getLogger(__name__)

Observed = Iterable[PipelineOpportunity]
Observer = Callable[[], Union[Awaitable[Observed], Observed]]

#: Observers of one entity, and opportunities that one of them is heard with in a cycle.
_OBSERVERS_MAX = 64
_OBSERVED_MAX = 1000


class EntityMode(Enum):
    """How much the entity does of what it sees."""

    #: It looks and submits nothing.
    REACTIVE = "reactive"
    #: It submits suggestions; a person decides on each.
    PROACTIVE_SUGGEST = "proactive_suggest"
    #: It submits with a level up to AUTOMEDIUM.
    PROACTIVE_AUTO = "proactive_auto"
    #: It submits with a level up to its default.
    PROACTIVE_PARTNER = "proactive_partner"


@dataclass
class EntityConfig:
    """How an entity works."""

    mode: EntityMode = EntityMode.PROACTIVE_PARTNER
    #: Least Ihsan of what is submitted, if it has a score.
    ihsan_threshold: float = IHSAN_THRESHOLD
    #: The level of what is submitted, where the mode allows it.
    default_autonomy: AutonomyLevel = AutonomyLevel.AUTOLOW
    #: Seconds from one cycle to the next.
    cycle_interval: float = 5.0
    #: Seconds from one checkpoint to the next, if there is a path for them.
    checkpoint_interval: float = 300.0
    #: Where the pipeline's state is kept; nowhere without it.
    checkpoint_path: PathLike | None = None
    #: Opportunities of this entity in the pipeline at once.
    max_concurrent_goals: int = 5

    def __post_init__(self) -> None:
        if not is_score(self.ihsan_threshold):
            raise ValueError("ihsan_threshold is a number in [0, 1]")
        if not (self.cycle_interval > 0 and self.checkpoint_interval > 0):
            raise ValueError("intervals are positive numbers of seconds")
        if self.max_concurrent_goals < 1:
            raise ValueError("max_concurrent_goals is positive")


@dataclass
class EntityCycleResult:
    """What one cycle did."""

    cycle: int
    #: Opportunities that were seen.
    observed: int = 0
    #: Those among them that were worth submitting.
    decided: int = 0
    #: Ids of what was submitted.
    submitted: list[str] = field(default_factory=list)
    #: Why the others were not, by id.
    skipped: dict[str, str] = field(default_factory=dict)
    #: What went wrong.
    errors: list[str] = field(default_factory=list)
    #: Whether the state was kept in this cycle.
    checkpointed: bool = False
    duration_ms: float = 0.0
    timestamp: float = field(default_factory=time.time)


class ProactiveSovereignEntity:
    """Looks through its observers, decides what is worth it, and submits that to its pipeline.

    What is submitted has the lowest of the level it came with (OBSERVER apart, which stands for
    none), the default, and what the mode allows; without an Ihsan score it is OBSERVER. The
    pipeline's filters decide the rest.
    """

    def __init__(
        self, config: EntityConfig | None = None, *, pipeline: OpportunityPipeline | None = None
    ) -> None:
        self.config = config or EntityConfig()
        self.pipeline = pipeline or OpportunityPipeline(ihsan_threshold=self.config.ihsan_threshold)
        self._observers: list[tuple[str, Observer]] = []
        self._mine: set[str] = set()
        self._cycles = 0
        self._totals = {"observed": 0, "decided": 0, "submitted": 0, "errors": 0}
        self._last: EntityCycleResult | None = None
        self._checkpoint_due = time.monotonic() + self.config.checkpoint_interval
        self._stopping: asyncio.Event | None = None
        self._running = False

    def add_observer(self, name: str, observer: Observer) -> None:
        """Has ``observer`` asked in every cycle for what it sees.

        Raises:
            ValueError: There are as many observers as there may be.
        """
        if len(self._observers) >= _OBSERVERS_MAX:
            raise ValueError(f"there are {_OBSERVERS_MAX} observers, the most")
        self._observers.append((name, observer))

    async def start(self) -> None:
        """Starts the pipeline, and runs cycles until :meth:`stop`. Does nothing if it runs."""
        if self._running:
            return
        self._running = True
        self._stopping = asyncio.Event()
        try:
            await self.pipeline.start()
            while not self._stopping.is_set():
                began = time.monotonic()
                await self.run_cycle()
                pause = max(0.0, self.config.cycle_interval - (time.monotonic() - began))
                try:
                    await asyncio.wait_for(self._stopping.wait(), pause)
                except asyncio.TimeoutError:
                    continue
        finally:
            self._running = False
            await self.pipeline.stop()
            if self.config.checkpoint_path is not None:
                await self._checkpoint()

    async def stop(self) -> None:
        """Has :meth:`start` return after the cycle that is running."""
        if self._stopping is not None:
            self._stopping.set()

    async def run_cycle(self) -> EntityCycleResult:
        """One cycle: observe, decide, submit."""
        began = time.monotonic()
        self._cycles += 1
        result = EntityCycleResult(self._cycles)
        for opportunity in await self._observe(result):
            reason = self._decide(opportunity)
            if reason is not None:
                result.skipped[opportunity.id] = reason
                continue
            result.decided += 1
            opportunity.autonomy_level = self._level(opportunity)
            try:
                await self.pipeline.submit(opportunity)
            except (asyncio.QueueFull, ValueError) as error:
                result.skipped[opportunity.id] = str(error)
                continue
            self._mine.add(opportunity.id)
            result.submitted.append(opportunity.id)
        await self._checkpoint_if_due(result)
        result.duration_ms = (time.monotonic() - began) * 1000
        for name, count in (
            ("observed", result.observed),
            ("decided", result.decided),
            ("submitted", len(result.submitted)),
            ("errors", len(result.errors)),
        ):
            self._totals[name] += count
        self._last = result
        return result

    async def restore(self, path: PathLike | None = None) -> bool:
        """Restores the pipeline from a checkpoint, before the start. False if there is none.

        Raises:
            PipelineStateError: The file holds something else, or the pipeline has work already.
        """
        place = path if path is not None else self.config.checkpoint_path
        if place is None:
            return False
        try:
            self.pipeline.load_state(place)
        except FileNotFoundError:
            return False
        return True

    def stats(self) -> dict[str, Any]:
        """What happened, and what the pipeline says."""
        return {
            "running": self._running,
            "mode": self.config.mode.value,
            "cycles": self._cycles,
            **{f"total_{name}": count for name, count in self._totals.items()},
            "observers": [name for name, _ in self._observers],
            "last_cycle_ms": None if self._last is None else self._last.duration_ms,
            "pipeline": self.pipeline.stats(),
        }

    async def _observe(self, result: EntityCycleResult) -> list[PipelineOpportunity]:
        seen: list[PipelineOpportunity] = []
        for name, observer in self._observers:
            try:
                told = observer()
                found = list(await told if inspect.isawaitable(told) else told)
                for each in found:
                    if not isinstance(each, PipelineOpportunity):
                        raise TypeError(f"an observer tells opportunities, not {each!r}")
            except Exception as error:
                logger.exception("the observer %s failed", name)
                result.errors.append(f"{name}: {error!r}")
                continue
            if len(found) > _OBSERVED_MAX:
                result.errors.append(f"{name}: only {_OBSERVED_MAX} of {len(found)} were heard")
            seen.extend(found[:_OBSERVED_MAX])
        # The most urgent first, since there may not be room for all.
        seen.sort(key=lambda it: -it.urgency)
        result.observed = len(seen)
        return seen

    def _decide(self, opportunity: PipelineOpportunity) -> str | None:
        """Why it is not submitted; ``None`` if it is."""
        if self.config.mode is EntityMode.REACTIVE:
            return "a reactive entity submits nothing"
        self._mine = {name for name in self._mine if self.pipeline.holds(name)}
        if len(self._mine) >= self.config.max_concurrent_goals:
            return f"{len(self._mine)} goals are under way, the most"
        if self.pipeline.holds(opportunity.id):
            return "it is in the pipeline already"
        if 0 < opportunity.ihsan_score < self.config.ihsan_threshold:
            return f"Ihsan {opportunity.ihsan_score} < {self.config.ihsan_threshold}"
        return None

    def _level(self, opportunity: PipelineOpportunity) -> AutonomyLevel:
        if opportunity.ihsan_score == 0:
            # Nobody measured it, so a person decides.
            return AutonomyLevel.OBSERVER
        asked, level = opportunity.autonomy_level, self.config.default_autonomy
        if asked is not AutonomyLevel.OBSERVER:
            level = min(level, asked)
        if self.config.mode is EntityMode.PROACTIVE_SUGGEST:
            return min(level, AutonomyLevel.SUGGESTER)
        if self.config.mode is EntityMode.PROACTIVE_AUTO:
            return min(level, AutonomyLevel.AUTOMEDIUM)
        return level

    async def _checkpoint_if_due(self, result: EntityCycleResult) -> None:
        if self.config.checkpoint_path is None or time.monotonic() < self._checkpoint_due:
            return
        self._checkpoint_due = time.monotonic() + self.config.checkpoint_interval
        problem = await self._checkpoint()
        if problem is None:
            result.checkpointed = True
        else:
            result.errors.append(f"checkpoint: {problem}")

    async def _checkpoint(self) -> str | None:
        """Keeps the state; says what went wrong."""
        path = self.config.checkpoint_path
        if path is None:
            return "there is no path for it"
        try:
            state = self.pipeline.get_persistable_state()
            await in_thread(lambda: write_state(path, state))
        except (OSError, RuntimeError) as error:
            logger.exception("the state was not kept")
            return str(error)
        return None


def create_proactive_entity(
    mode: EntityMode = EntityMode.PROACTIVE_PARTNER,
    ihsan_threshold: float = IHSAN_THRESHOLD,
    autonomy_level: AutonomyLevel = AutonomyLevel.AUTOLOW,
) -> ProactiveSovereignEntity:
    """An entity with a pipeline of its own."""
    return ProactiveSovereignEntity(
        EntityConfig(mode=mode, ihsan_threshold=ihsan_threshold, default_autonomy=autonomy_level)
    )
