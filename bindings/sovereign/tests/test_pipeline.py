"""The pipeline: who passes, who is asked, and that nothing is lost or done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support import until

from core.sovereign import (
    AutonomyLevel,
    ConstitutionalFilter,
    EventBus,
    FilterResult,
    OpportunityPipeline,
    OpportunityStatus,
    PipelineOpportunity,
    PipelineStage,
    PipelineStateError,
    create_opportunity_pipeline,
)


def opportunity(level: AutonomyLevel = AutonomyLevel.AUTOLOW, **values: Any) -> PipelineOpportunity:
    given = {
        "domain": "research",
        "description": "read a paper",
        "snr_score": 0.95,
        "ihsan_score": 0.99,
        **values,
    }
    return PipelineOpportunity(autonomy_level=level, **given)


@pytest.fixture
async def pipeline() -> AsyncIterator[OpportunityPipeline]:
    """One that carries out what it may, by remembering it."""
    made = OpportunityPipeline()
    done: list[tuple[str, AutonomyLevel]] = []
    made.set_execution_callback(lambda it: done.append((it.id, it.autonomy_level)))
    made.done = done  # type: ignore[attr-defined]
    await made.start()
    yield made
    await made.stop()


async def outcome(
    pipeline: OpportunityPipeline, one: PipelineOpportunity
) -> tuple[OpportunityStatus, str | None]:
    await pipeline.submit(one)
    await pipeline.join()
    return one.status, one.rejection_reason


@pytest.mark.parametrize("level", [AutonomyLevel.AUTOLOW, AutonomyLevel.AUTOMEDIUM])
async def test_what_passes_is_carried_out(
    level: AutonomyLevel, pipeline: OpportunityPipeline
) -> None:
    one = opportunity(level)
    assert await outcome(pipeline, one) == (OpportunityStatus.EXECUTED, None)
    assert one.executed_at is not None
    assert [step["to"] for step in one.stage_history] == [
        *("FILTERING", "APPROVAL", "EXECUTION", "REFLECTION")
    ]
    assert pipeline.get_completed() == [one]
    stats = pipeline.stats()
    counts = ("total_received", "total_approved", "total_executed", "completed_count")
    assert [stats[name] for name in counts] == [1, 1, 1, 1]
    assert stats["by_domain"] == {"research": 1}
    assert stats["by_autonomy"] == {level.name: 1}


async def test_planning_cannot_raise_the_level_past_the_filters(
    pipeline: OpportunityPipeline,
) -> None:
    def plan(one: PipelineOpportunity) -> str:
        one.autonomy_level = AutonomyLevel.AUTOHIGH
        return "a plan"

    pipeline.set_planning_callback(plan)
    pipeline.set_approval_callback(lambda one: True)
    # Good enough for what it came with, and not for what planning made of it.
    one = opportunity(
        AutonomyLevel.SUGGESTER,
        domain="financial",
        description="delete what is irreversible",
        ihsan_score=0.96,
    )
    status, reason = await outcome(pipeline, one)
    assert status is OpportunityStatus.REJECTED
    assert reason is not None
    assert "Ihsan 0.96 < 0.99 for AUTOHIGH" in reason
    assert pipeline.done == []  # type: ignore[attr-defined]
    # With any Ihsan, the daughter test sees the final level as well.
    one = opportunity(AutonomyLevel.SUGGESTER, domain="financial", ihsan_score=1.0)
    status, reason = await outcome(pipeline, one)
    assert "Daughter Test" in (reason or "")
    assert pipeline.stats()["total_filtered"] == 2


async def test_a_plan_is_read_by_the_filters(pipeline: OpportunityPipeline) -> None:
    pipeline.set_planning_callback(lambda one: {"step": "delete everything"})
    status, reason = await outcome(pipeline, opportunity(AutonomyLevel.AUTOMEDIUM))
    assert status is OpportunityStatus.REJECTED
    assert "'delete'" in (reason or "")


async def test_what_changed_after_the_filters_is_filtered_again(
    pipeline: OpportunityPipeline,
) -> None:
    def approve(one: PipelineOpportunity) -> bool:
        one.description = "terminate it"
        return True

    pipeline.set_approval_callback(approve)
    status, reason = await outcome(pipeline, opportunity(AutonomyLevel.AUTOHIGH))
    assert status is OpportunityStatus.REJECTED
    assert "'terminate'" in (reason or "")

    class Meddler(ConstitutionalFilter):
        async def check(self, one: PipelineOpportunity) -> FilterResult:
            one.autonomy_level = AutonomyLevel.SOVEREIGN
            return FilterResult(True)

    pipeline._filters.append(Meddler("meddler"))
    _, reason = await outcome(pipeline, opportunity())
    assert reason == "it was changed while the filters looked"


async def test_an_ihsan_that_is_not_there_is_not_made_up(pipeline: OpportunityPipeline) -> None:
    status, reason = await outcome(pipeline, opportunity(ihsan_score=0.0))
    assert status is OpportunityStatus.REJECTED
    assert "Ihsan" in (reason or "")


async def test_no_more_are_carried_out_than_the_rate_limit_says(
    pipeline: OpportunityPipeline,
) -> None:
    async def slowly(one: PipelineOpportunity) -> None:
        await asyncio.sleep(0.001)

    pipeline.set_enrichment_callback(slowly)
    for _ in range(40):
        await pipeline.submit(opportunity())
    await pipeline.join()
    assert pipeline.stats()["total_executed"] == 10
    assert pipeline.stats()["total_filtered"] == 30


async def test_who_is_refused_gives_the_place_back(pipeline: OpportunityPipeline) -> None:
    class No(ConstitutionalFilter):
        async def check(self, one: PipelineOpportunity) -> FilterResult:
            return FilterResult(not one.context.get("no"), "no")

    pipeline._filters.append(No("last"))
    for _ in range(15):
        await outcome(pipeline, opportunity(context={"no": True}))
    assert (await outcome(pipeline, opportunity()))[0] is OpportunityStatus.EXECUTED
    # Who failed while it was carried out keeps it: something may have been done.
    pipeline.set_execution_callback(lambda one: 1 / 0)
    for _ in range(9):
        assert (await outcome(pipeline, opportunity()))[0] is OpportunityStatus.FAILED
    assert "Rate Limit" in ((await outcome(pipeline, opportunity()))[1] or "")


@pytest.mark.parametrize(
    ("level", "ihsan", "asks"),
    [
        (AutonomyLevel.OBSERVER, 0.0, True),
        (AutonomyLevel.SUGGESTER, 0.99, True),
        (AutonomyLevel.AUTOLOW, 0.99, False),
        (AutonomyLevel.AUTOMEDIUM, 0.99, False),
        (AutonomyLevel.AUTOHIGH, 1.0, True),
        (AutonomyLevel.SOVEREIGN, 1.0, False),
    ],
)
async def test_who_is_asked(
    level: AutonomyLevel, ihsan: float, asks: bool, pipeline: OpportunityPipeline
) -> None:
    one = opportunity(level, ihsan_score=ihsan)
    await outcome(pipeline, one)
    assert (pipeline.get_pending_approvals() == [one]) == asks
    assert pipeline.stats()["pending_approval"] == int(asks)
    assert (one.status is OpportunityStatus.EXECUTED) != asks


async def test_a_person_decides_once(pipeline: OpportunityPipeline) -> None:
    one, two = opportunity(AutonomyLevel.SUGGESTER), opportunity(AutonomyLevel.SUGGESTER)
    for each in (one, two):
        await outcome(pipeline, each)
    assert await pipeline.approve(one.id)
    assert not await pipeline.approve(one.id)
    assert not await pipeline.reject(one.id)
    assert await pipeline.reject(two.id, "not today")
    assert not await pipeline.approve(two.id)
    assert not await pipeline.approve("opp_unknown")
    await pipeline.join()
    assert one.status is OpportunityStatus.EXECUTED
    assert (two.status, two.rejection_reason) == (OpportunityStatus.REJECTED, "not today")
    assert [name for name, _ in pipeline.done] == [one.id]  # type: ignore[attr-defined]


async def test_what_a_person_approves_is_looked_at_again(pipeline: OpportunityPipeline) -> None:
    one = opportunity(AutonomyLevel.SUGGESTER)
    await outcome(pipeline, one)
    one.snr_score = 0.1
    assert not await pipeline.approve(one.id)
    assert one.status is OpportunityStatus.REJECTED
    assert "SNR" in (one.rejection_reason or "")


async def test_the_callback_decides_or_leaves_it_to_a_person(pipeline: OpportunityPipeline) -> None:
    async def decide(one: PipelineOpportunity) -> Any:
        return one.context["answer"]

    pipeline.set_approval_callback(decide)
    level = AutonomyLevel.SUGGESTER
    status, _ = await outcome(pipeline, opportunity(level, context={"answer": True}))
    assert status is OpportunityStatus.EXECUTED
    status, reason = await outcome(pipeline, opportunity(level, context={"answer": False}))
    assert (status, reason) == (OpportunityStatus.REJECTED, "rejected by the approval callback")
    for unsure in (None, "yes", 1):
        await outcome(pipeline, opportunity(level, context={"answer": unsure}))
    # One that fails has not approved.
    await outcome(pipeline, opportunity(level))
    assert len(pipeline.get_pending_approvals()) == 4


async def test_a_filter_or_callback_that_raises_has_refused(pipeline: OpportunityPipeline) -> None:
    broken = ConstitutionalFilter("broken")
    pipeline._filters.append(broken)
    status, reason = await outcome(pipeline, opportunity())
    assert status is OpportunityStatus.REJECTED
    assert "broken: it failed" in (reason or "")
    pipeline._filters.remove(broken)
    for set_callback in (pipeline.set_enrichment_callback, pipeline.set_planning_callback):
        set_callback(lambda one: 1 / 0)
        status, reason = await outcome(pipeline, opportunity())
        assert status is OpportunityStatus.FAILED
        assert "ZeroDivisionError" in (reason or "")
        set_callback(None)
    assert pipeline.stats()["total_failed"] == 2
    assert pipeline.stats()["active_count"] == 0


async def test_what_nothing_can_carry_out_is_not_called_done() -> None:
    pipeline = await create_opportunity_pipeline()
    status, reason = await outcome(pipeline, opportunity())
    assert status is OpportunityStatus.DEFERRED
    assert "no execution callback" in (reason or "")
    stats = pipeline.stats()
    assert (stats["total_executed"], stats["total_deferred"]) == (0, 1)
    await pipeline.stop()


async def test_a_full_queue_is_said_and_counted() -> None:
    pipeline = OpportunityPipeline(queue_size=2)
    ids = [await pipeline.submit(opportunity()) for _ in range(2)]
    with pytest.raises(asyncio.QueueFull):
        await pipeline.submit(opportunity())
    stats = pipeline.stats()
    assert (stats["queue_size"], stats["queue_maxsize"], stats["queue_utilization"]) == (2, 2, 1.0)
    assert (stats["dropped_opportunities"], stats["total_received"]) == (1, 2)
    with pytest.raises(TypeError):
        await pipeline.submit("text")  # type: ignore[arg-type]
    assert len(set(ids)) == 2


async def test_one_id_is_in_the_pipeline_once(pipeline: OpportunityPipeline) -> None:
    one = opportunity(AutonomyLevel.SUGGESTER)
    await outcome(pipeline, one)
    with pytest.raises(ValueError, match="already"):
        await pipeline.submit(opportunity(id=one.id))


async def test_no_more_are_worked_on_at_once_than_may() -> None:
    pipeline = OpportunityPipeline(max_concurrent=3)
    now, most = 0, 0

    async def carry_out(one: PipelineOpportunity) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1

    pipeline.set_execution_callback(carry_out)
    await pipeline.start()
    for number in range(12):
        await pipeline.submit(opportunity(domain=f"d{number}"))
    await pipeline.join()
    assert (most, pipeline.stats()["total_executed"]) == (3, 12)
    await pipeline.stop()


async def test_stopping_loses_nothing_and_repeats_nothing() -> None:
    pipeline = OpportunityPipeline(max_concurrent=2)
    begun: list[str] = []

    async def enrich(one: PipelineOpportunity) -> None:
        if one.context.get("slow") == "before":
            await asyncio.sleep(600)

    async def carry_out(one: PipelineOpportunity) -> None:
        begun.append(one.id)
        if one.context.get("slow") == "within":
            await asyncio.sleep(600)

    pipeline.set_enrichment_callback(enrich)
    pipeline.set_execution_callback(carry_out)
    before = opportunity(context={"slow": "before"})
    within = opportunity(context={"slow": "within"})
    waiting = opportunity()
    for one in (before, within, waiting):
        await pipeline.submit(one)
    await pipeline.start()
    await until(lambda: begun)
    await pipeline.stop(timeout=0.05)
    assert (within.status, within.stage) == (OpportunityStatus.FAILED, PipelineStage.EXECUTION)
    assert before.status.name == "DEFERRED"
    assert pipeline.stats()["queue_size"] == 2
    assert pipeline.stats()["active_count"] == 0
    before.context.clear()
    await pipeline.start()
    await pipeline.join()
    assert begun.count(within.id) == 1
    assert before.status is OpportunityStatus.EXECUTED
    assert waiting.status is OpportunityStatus.EXECUTED
    await pipeline.stop()
    await pipeline.stop()


async def test_events_tell_what_happens_and_a_broken_bus_holds_nobody_up() -> None:
    bus, told = EventBus(), []
    end = bus.subscribe("*", lambda topic, data: told.append((topic, data.get("status"))))

    def broken(topic: str, data: object) -> None:
        raise RuntimeError("of the handler")

    bus.subscribe("pipeline.opportunity.received", broken)
    pipeline = await create_opportunity_pipeline(bus)
    await outcome(pipeline, opportunity(AutonomyLevel.SUGGESTER))
    await outcome(pipeline, opportunity(snr_score=0.1))
    await pipeline.stop()
    assert told == [
        ("pipeline.started", None),
        ("pipeline.opportunity.received", "pending"),
        ("pipeline.approval.requested", "pending"),
        ("pipeline.opportunity.received", "pending"),
        ("pipeline.opportunity.completed", "rejected"),
        ("pipeline.stopped", None),
    ]
    end()
    await pipeline.start()
    await pipeline.stop()
    assert len(told) == 6


async def test_a_monitors_finding_is_for_a_person(pipeline: OpportunityPipeline) -> None:
    name = await pipeline.submit_from_muraqabah(
        "research", "a new paper", "feed", 0.9, urgency=0.7, context={"url": "x"}
    )
    await pipeline.join()
    (found,) = pipeline.get_pending_approvals()
    assert (found.id, found.urgency, found.context) == (name, 0.7, {"url": "x"})


async def test_the_state_goes_on_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    pipeline = OpportunityPipeline(max_concurrent=2)
    hold = asyncio.Event()

    async def carry_out(one: PipelineOpportunity) -> None:
        if one.context.get("hold"):
            await hold.wait()

    pipeline.set_execution_callback(carry_out)
    await pipeline.start()
    done, asked = opportunity(), opportunity(AutonomyLevel.SUGGESTER)
    for one in (done, asked):
        await outcome(pipeline, one)
    within = opportunity(context={"hold": True})
    await pipeline.submit(within)
    await until(lambda: within.stage is PipelineStage.EXECUTION)
    pipeline.save_state(path)
    assert path.stat().st_mode & 0o777 == 0o600
    hold.set()
    await pipeline.stop()

    again = OpportunityPipeline()
    executed: list[str] = []
    again.set_execution_callback(lambda one: executed.append(one.id))
    again.load_state(path)
    assert [one.id for one in again.get_pending_approvals()] == [asked.id]
    assert again.stats()["total_received"] == 3
    cut_off = again.get_completed()[-1]
    assert (cut_off.id, cut_off.status) == (within.id, OpportunityStatus.FAILED)
    with pytest.raises(PipelineStateError, match="into an empty pipeline"):
        again.load_state(path)
    await again.start()
    with pytest.raises(PipelineStateError, match="before the start"):
        again.load_state(path)
    assert await again.approve(asked.id)
    # Three places of ten were taken before.
    for _ in range(10):
        await again.submit(opportunity())
    await again.join()
    assert executed[0] == asked.id
    assert len(executed) == 8
    await again.stop()


async def test_a_state_is_restored_whole_or_not_at_all(tmp_path: Path) -> None:
    pipeline = OpportunityPipeline()
    await pipeline.submit(opportunity())
    good = pipeline.get_persistable_state()
    broken = [
        {},
        {**good, "version": 2},
        {**good, "queue": [{}]},
        {**good, "queue": "text"},
        {**good, "queue": good["queue"] * 2},
        {**good, "counters": {**good["counters"], "total_received": -1}},
        {**good, "rate_limits": []},
        {**good, "rate_limits": [{"times": 1}]},
        {**good, "queue": [{**good["queue"][0], "autonomy_level": "GOD"}]},
        {**good, "queue": [{**good["queue"][0], "snr_score": "0.9"}]},
        {**good, "queue": [{**good["queue"][0], "unknown": 1}]},
    ]
    for state in broken:
        fresh = OpportunityPipeline()
        before = fresh.stats()
        with pytest.raises(PipelineStateError):
            fresh.restore_persistable_state(state)
        assert fresh.stats() == before, state
    for content in (b"", b"[]", b"{", b"\xff"):
        path = tmp_path / "state"
        path.write_bytes(content)
        with pytest.raises(PipelineStateError):
            OpportunityPipeline().load_state(path)
    with pytest.raises(FileNotFoundError):
        OpportunityPipeline().load_state(tmp_path / "absent")


async def test_what_cannot_be_kept_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    pipeline = OpportunityPipeline()
    pipeline.save_state(path)
    before = path.read_bytes()
    await pipeline.submit(opportunity(context={"x": object()}))
    with pytest.raises(PipelineStateError, match="opp_"):
        pipeline.save_state(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    # What is done with goes in as text: nobody works on with it.
    done = OpportunityPipeline()
    done.set_execution_callback(lambda one: object())
    await done.start()
    await outcome(done, opportunity())
    await done.stop()
    done.save_state(path)
    fresh = OpportunityPipeline()
    fresh.load_state(path)
    assert "object" in fresh.get_completed()[0].execution_result
