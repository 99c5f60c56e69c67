"""The filters that an opportunity has to pass, with the level that it would be carried out with."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from core.sovereign.errors import PipelineStateError
from core.sovereign.opportunity import AutonomyLevel, PipelineOpportunity
from core.sovereign.thresholds import IHSAN_THRESHOLD, SNR_THRESHOLD, meets

__all__ = [
    "ConstitutionalFilter",
    "DaughterTestFilter",
    "FilterResult",
    "IhsanFilter",
    "RateLimitFilter",
    "SNRFilter",
]


@dataclass
class FilterResult:
    """What a filter said. ``score_adjustment`` is told to whoever looks, and changes nothing."""

    passed: bool
    reason: str = ""
    score_adjustment: float = 0.0


class ConstitutionalFilter:
    """One condition. Subclasses say in :meth:`check` whether an opportunity meets it.

    A filter that raises has refused.

    Args:
        name: What it is called where it refuses.
        weight: How much it matters to whoever looks; one refusal is enough whatever its weight.
    """

    def __init__(self, name: str, weight: float = 1.0) -> None:
        self.name = name
        self.weight = weight

    async def check(self, opportunity: PipelineOpportunity) -> FilterResult:
        """Whether the opportunity passes. May be asked several times of the same one."""
        raise NotImplementedError(f"the filter {self.name} does not say what it checks")

    def release(self, opportunity: PipelineOpportunity) -> None:
        """Told that an opportunity that passed was not carried out after all."""


class SNRFilter(ConstitutionalFilter):
    """The ratio of signal to noise reaches ``min_snr``."""

    def __init__(self, min_snr: float = SNR_THRESHOLD) -> None:
        super().__init__("SNR Filter", 1.5)
        self.min_snr = min_snr

    async def check(self, opportunity: PipelineOpportunity) -> FilterResult:
        score = opportunity.snr_score
        if meets(score, self.min_snr):
            return FilterResult(True, f"SNR {score:.3f} passed")
        return FilterResult(False, f"SNR {score} < {self.min_snr}, or no score")


#: Least Ihsan for each level.
IHSAN_BY_LEVEL = {
    AutonomyLevel.OBSERVER: 0.0,
    AutonomyLevel.SUGGESTER: 0.95,
    AutonomyLevel.AUTOLOW: 0.97,
    AutonomyLevel.AUTOMEDIUM: 0.98,
    AutonomyLevel.AUTOHIGH: 0.99,
    AutonomyLevel.SOVEREIGN: 1.0,
}


class IhsanFilter(ConstitutionalFilter):
    """Excellence reaches what the level asks for, and above OBSERVER at least ``min_ihsan``.

    An opportunity without an Ihsan score has 0: none is made up.
    """

    def __init__(self, min_ihsan: float = IHSAN_THRESHOLD) -> None:
        super().__init__("Ihsan Filter", 2.0)
        self.min_ihsan = min_ihsan

    def needed(self, level: AutonomyLevel) -> float:
        """What the level asks for."""
        least = 0.0 if level is AutonomyLevel.OBSERVER else self.min_ihsan
        return max(least, IHSAN_BY_LEVEL[level])

    async def check(self, opportunity: PipelineOpportunity) -> FilterResult:
        level, score = opportunity.autonomy_level, opportunity.ihsan_score
        needed = self.needed(level)
        if meets(score, needed):
            return FilterResult(True, f"Ihsan {score:.3f} passed for {level.name}")
        return FilterResult(False, f"Ihsan {score} < {needed} for {level.name}, or no score")


class DaughterTestFilter(ConstitutionalFilter):
    """What one would not have done to one's daughter without asking is not done without asking.

    Some domains are for people to decide above SUGGESTER, and words of things that cannot be undone
    above AUTOLOW. Words are found in any case and as parts of others; it knows forms, not meanings.
    """

    SENSITIVE_DOMAINS = frozenset({"health", "financial", "legal", "personal_relationships"})
    IRREVERSIBLE_WORDS = ("delete", "cancel", "terminate", "irreversible", "emergency")

    _words = re.compile("|".join(IRREVERSIBLE_WORDS))

    def __init__(self) -> None:
        super().__init__("Daughter Test", 3.0)

    async def check(self, opportunity: PipelineOpportunity) -> FilterResult:
        level = opportunity.autonomy_level
        domain = opportunity.domain.strip().casefold()
        if domain in self.SENSITIVE_DOMAINS and level > AutonomyLevel.SUGGESTER:
            return FilterResult(False, f"the domain {domain} is for people above SUGGESTER")
        # The plan is part of what would be done.
        plan = "" if opportunity.action_plan is None else str(opportunity.action_plan)
        found = self._words.search(f"{opportunity.description}\n{plan}".casefold())
        if found is not None and level > AutonomyLevel.AUTOLOW:
            return FilterResult(False, f"{found.group()!r} is for people above AUTOLOW")
        return FilterResult(True, "Daughter Test passed")


_HOUR_S, _DAY_S = 3600.0, 86400.0
#: Domains that are counted apart; those beyond share one count, so that new names buy nothing.
_DOMAINS_MAX = 1024
_OTHERS = "(others)"


class RateLimitFilter(ConstitutionalFilter):
    """At most so many opportunities of one domain pass in an hour and in a day.

    An opportunity that passes has a place from that moment on, so however many are checked at once,
    no more pass than may. It keeps its place when it is checked again, and gives it back when it is
    not carried out after all (:meth:`release`).

    Args:
        max_per_hour: Places in any hour.
        max_per_day: Places in any day.
        clock: The time in seconds since the Unix epoch.
    """

    def __init__(
        self,
        max_per_hour: int = 10,
        max_per_day: int = 50,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("Rate Limit", 1.0)
        if max_per_hour < 0 or max_per_day < 0:
            raise ValueError("a limit is not negative")
        self.max_per_hour = max_per_hour
        self.max_per_day = max_per_day
        self._clock = clock
        self._lock = threading.Lock()
        # By domain, the times of its places, in order.
        self._times: dict[str, deque[float]] = {}
        # By opportunity, the place that it can give back. As many as can have one within a day.
        self._held: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def check(self, opportunity: PipelineOpportunity) -> FilterResult:
        with self._lock:
            if opportunity.id in self._held:
                return FilterResult(True, "has its place")
            domain = self._counted_as(opportunity.domain)
            now = self._clock()
            times = self._within_a_day(domain, now)
            in_hour = sum(1 for at in times if at > now - _HOUR_S)
            for count, limit, span in (
                (in_hour, self.max_per_hour, "an hour"),
                (len(times), self.max_per_day, "a day"),
            ):
                if count >= limit:
                    self._forget_if_empty(domain)
                    text = f"{count} of domain {domain} in {span}, and {limit} is the most"
                    return FilterResult(False, text)
            times.append(now)
            self._held[opportunity.id] = (domain, now)
            self._forget_old_places(now)
            return FilterResult(True, f"{in_hour + 1} of {self.max_per_hour} in an hour")

    def record_action(self, domain: str) -> None:
        """Counts something that was done and did not come through the pipeline."""
        with self._lock:
            name = self._counted_as(domain)
            times = self._within_a_day(name, self._clock())
            times.append(self._clock())
            # More than the limit changes nothing, and less memory is needed.
            while len(times) > max(1, self.max_per_day):
                times.popleft()

    def release(self, opportunity: PipelineOpportunity) -> None:
        with self._lock:
            held = self._held.pop(opportunity.id, None)
            if held is not None:
                domain, at = held
                times = self._times.get(domain)
                if times is not None and at in times:
                    times.remove(at)
                self._forget_if_empty(domain)

    def to_dict(self) -> dict[str, Any]:
        """The places that are taken, to be restored after a restart."""
        with self._lock:
            return {
                "times": {domain: list(times) for domain, times in self._times.items()},
                "held": {name: list(place) for name, place in self._held.items()},
            }

    def restore(self, value: Mapping[str, Any]) -> None:
        """Takes the places that :meth:`to_dict` gave, in place of its own.

        Raises:
            PipelineStateError: It is something else; then nothing has changed.
        """
        try:
            times = {
                str(domain): deque(sorted(float(at) for at in found))
                for domain, found in value["times"].items()
            }
            held = OrderedDict(
                (str(name), (str(place[0]), float(place[1])))
                for name, place in value["held"].items()
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise PipelineStateError(f"not the places of a rate limit: {error}") from error
        with self._lock:
            self._times, self._held = times, held

    def _counted_as(self, domain: str) -> str:
        name = domain.strip().casefold()
        if name not in self._times and len(self._times) >= _DOMAINS_MAX:
            now = self._clock()
            for known in list(self._times):
                self._within_a_day(known, now)
                self._forget_if_empty(known)
        return name if name in self._times or len(self._times) < _DOMAINS_MAX else _OTHERS

    def _within_a_day(self, domain: str, now: float) -> deque[float]:
        times = self._times.setdefault(domain, deque())
        while times and times[0] <= now - _DAY_S:
            times.popleft()
        return times

    def _forget_if_empty(self, domain: str) -> None:
        if not self._times.get(domain, True):
            del self._times[domain]

    def _forget_old_places(self, now: float) -> None:
        while self._held:
            name, (_, at) = next(iter(self._held.items()))
            if at > now - _DAY_S:
                return
            del self._held[name]
