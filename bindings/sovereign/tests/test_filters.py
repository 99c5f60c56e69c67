"""The filters, one by one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from core.sovereign import (
    AutonomyLevel,
    ConstitutionalFilter,
    DaughterTestFilter,
    FilterResult,
    IhsanFilter,
    PipelineOpportunity,
    PipelineStateError,
    RateLimitFilter,
    SNRFilter,
)


def opportunity(**values: object) -> PipelineOpportunity:
    given = {"domain": "research", "description": "read a paper", **values}
    return PipelineOpportunity(**given)  # type: ignore[arg-type]


async def passes(which: ConstitutionalFilter, **values: object) -> bool:
    return (await which.check(opportunity(**values))).passed


async def test_snr_is_a_score_that_reaches_its_threshold() -> None:
    assert await passes(SNRFilter(), snr_score=0.85)
    for score in (0.8499999, 0.0, -1, 1.5, float("nan"), float("inf"), True, "0.9", None):
        assert not await passes(SNRFilter(), snr_score=score), score
    assert not await passes(SNRFilter(0.95), snr_score=0.9)


@pytest.mark.parametrize(
    ("level", "needed"),
    [
        (AutonomyLevel.OBSERVER, 0.0),
        (AutonomyLevel.SUGGESTER, 0.95),
        (AutonomyLevel.AUTOLOW, 0.97),
        (AutonomyLevel.AUTOMEDIUM, 0.98),
        (AutonomyLevel.AUTOHIGH, 0.99),
        (AutonomyLevel.SOVEREIGN, 1.0),
    ],
)
async def test_each_level_asks_for_its_ihsan(level: AutonomyLevel, needed: float) -> None:
    which = IhsanFilter()
    assert await passes(which, autonomy_level=level, ihsan_score=needed)
    below = needed - 1e-9
    assert not await passes(which, autonomy_level=level, ihsan_score=below)
    for score in (float("nan"), 1.5, -1.0, -0.0, True):
        assert not await passes(which, autonomy_level=level, ihsan_score=score)


async def test_a_higher_threshold_holds_above_observer() -> None:
    which = IhsanFilter(0.985)
    assert not await passes(which, autonomy_level=AutonomyLevel.SUGGESTER, ihsan_score=0.98)
    assert await passes(which, autonomy_level=AutonomyLevel.OBSERVER, ihsan_score=0.0)
    assert not await passes(which, autonomy_level=AutonomyLevel.AUTOHIGH, ihsan_score=0.985)


@pytest.mark.parametrize("domain", ["health", "financial", "legal", "personal_relationships"])
async def test_some_domains_are_for_people(domain: str) -> None:
    which = DaughterTestFilter()
    for spelled in (domain, domain.upper(), f" {domain} "):
        assert await passes(which, domain=spelled, autonomy_level=AutonomyLevel.SUGGESTER)
        assert not await passes(which, domain=spelled, autonomy_level=AutonomyLevel.AUTOLOW)


@pytest.mark.parametrize("word", ["delete", "cancel", "terminate", "irreversible", "emergency"])
async def test_some_words_are_for_people(word: str) -> None:
    which = DaughterTestFilter()
    for text in (f"we {word} it", word.upper(), f"un{word}d"):
        for values in ({"description": text}, {"action_plan": {"step": text}}):
            assert await passes(which, autonomy_level=AutonomyLevel.AUTOLOW, **values)
            assert not await passes(which, autonomy_level=AutonomyLevel.AUTOMEDIUM, **values)


async def test_a_filter_that_says_nothing_raises() -> None:
    with pytest.raises(NotImplementedError, match="mine"):
        await ConstitutionalFilter("mine").check(opportunity())
    assert FilterResult(True) == FilterResult(True, "", 0.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_no_more_pass_than_may_however_many_come_at_once() -> None:
    which = RateLimitFilter(10, 50, clock=Clock())
    results = await asyncio.gather(*(which.check(opportunity()) for _ in range(40)))
    assert sum(result.passed for result in results) == 10
    assert "10 is the most" in results[-1].reason
    assert (await which.check(opportunity(domain="other"))).passed


async def test_threads_take_no_more_places_than_there_are() -> None:
    which = RateLimitFilter(10, 50)

    def check() -> bool:
        return asyncio.run(passes(which))

    loop = asyncio.get_running_loop()
    found = await asyncio.gather(*(loop.run_in_executor(None, check) for _ in range(40)))
    assert sum(found) == 10


async def test_a_place_is_kept_when_it_is_checked_again_and_given_back_when_it_is_not_used() -> (
    None
):
    which = RateLimitFilter(1, 5, clock=Clock())
    first, second = opportunity(), opportunity()
    for _ in range(3):
        assert (await which.check(first)).passed
    assert not (await which.check(second)).passed
    which.release(second)
    assert not (await which.check(second)).passed, "what had no place gives none back"
    which.release(first)
    which.release(first)
    assert (await which.check(second)).passed
    assert not (await which.check(first)).passed


async def test_an_hour_and_a_day_are_those_that_just_passed() -> None:
    clock = Clock()
    which = RateLimitFilter(2, 3, clock=clock)
    assert [await passes(which) for _ in range(3)] == [True, True, False]
    clock.now += 3599
    assert not await passes(which)
    clock.now += 2
    assert [await passes(which) for _ in range(2)] == [True, False]
    clock.now += 3601
    assert not await passes(which), "three in this day"
    clock.now += 86400
    assert await passes(which)


async def test_what_was_done_elsewhere_counts() -> None:
    which = RateLimitFilter(2, 3, clock=Clock())
    which.record_action("Research")
    assert [await passes(which) for _ in range(2)] == [True, False]


async def test_new_names_of_domains_buy_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.sovereign.filters._DOMAINS_MAX", 3)
    which = RateLimitFilter(1, 1, clock=Clock())
    for domain in ("a", "b", "c", "d"):
        assert await passes(which, domain=domain)
    for domain in ("a", " A", "e", "f"):
        assert not await passes(which, domain=domain), domain


async def test_places_outlive_a_restart() -> None:
    clock = Clock()
    which = RateLimitFilter(2, 9, clock=clock)
    held = opportunity()
    await which.check(held)
    kept = json.loads(json.dumps(which.to_dict()))
    again = RateLimitFilter(2, 9, clock=clock)
    again.restore(kept)
    assert (await again.check(held)).passed
    assert [await passes(again) for _ in range(2)] == [True, False]
    again.release(held)
    assert await passes(again)
    broken: Any
    for broken in ({}, {"times": [], "held": {}}, {"times": {"a": ["x"]}, "held": {}}):
        before = again.to_dict()
        with pytest.raises(PipelineStateError):
            again.restore(broken)
        assert again.to_dict() == before
