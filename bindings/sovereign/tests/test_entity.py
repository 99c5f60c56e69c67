"""The entity: observe, decide, submit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support import until

from core.sovereign import (
    AutonomyLevel,
    EntityConfig,
    EntityMode,
    PipelineOpportunity,
    ProactiveSovereignEntity,
    create_proactive_entity,
)


def seen(**values: Any) -> PipelineOpportunity:
    given = {
        "domain": "research",
        "description": "read a paper",
        "snr_score": 0.95,
        "ihsan_score": 0.99,
        **values,
    }
    return PipelineOpportunity(**given)


@pytest.mark.parametrize(
    ("mode", "asked", "expected"),
    [
        (EntityMode.PROACTIVE_SUGGEST, AutonomyLevel.OBSERVER, AutonomyLevel.SUGGESTER),
        (EntityMode.PROACTIVE_SUGGEST, AutonomyLevel.SOVEREIGN, AutonomyLevel.SUGGESTER),
        (EntityMode.PROACTIVE_AUTO, AutonomyLevel.SOVEREIGN, AutonomyLevel.AUTOMEDIUM),
        (EntityMode.PROACTIVE_PARTNER, AutonomyLevel.AUTOLOW, AutonomyLevel.AUTOLOW),
        (EntityMode.PROACTIVE_PARTNER, AutonomyLevel.SOVEREIGN, AutonomyLevel.AUTOHIGH),
    ],
)
async def test_a_level_is_never_above_what_mode_and_default_allow(
    mode: EntityMode, asked: AutonomyLevel, expected: AutonomyLevel
) -> None:
    entity = create_proactive_entity(mode, autonomy_level=AutonomyLevel.AUTOHIGH)
    one = seen(autonomy_level=asked)
    entity.add_observer("one", lambda: [one])
    result = await entity.run_cycle()
    assert result.submitted == [one.id]
    assert one.autonomy_level is expected


async def test_a_reactive_entity_submits_nothing() -> None:
    entity = create_proactive_entity(EntityMode.REACTIVE)
    entity.add_observer("one", lambda: [seen()])
    result = await entity.run_cycle()
    assert (result.observed, result.decided, result.submitted) == (1, 0, [])
    assert entity.pipeline.stats()["total_received"] == 0


async def test_the_most_urgent_come_first_and_no_more_than_may() -> None:
    entity = ProactiveSovereignEntity(EntityConfig(max_concurrent_goals=2))
    found = [seen(urgency=number / 10) for number in range(5)]

    async def observe() -> list[PipelineOpportunity]:
        await asyncio.sleep(0)
        return found

    entity.add_observer("all", observe)
    result = await entity.run_cycle()
    assert result.submitted == [found[4].id, found[3].id]
    assert "2 goals are under way" in result.skipped[found[0].id]
    # They are seen again, and are in the pipeline already.
    result = await entity.run_cycle()
    assert (result.cycle, result.submitted) == (2, [])


async def test_what_is_below_the_threshold_is_not_submitted() -> None:
    entity = create_proactive_entity(ihsan_threshold=0.98)
    low, none = seen(ihsan_score=0.97), seen(ihsan_score=0.0)
    entity.add_observer("both", lambda: [low, none])
    result = await entity.run_cycle()
    assert "Ihsan 0.97 < 0.98" in result.skipped[low.id]
    # Without a score a person decides, and nobody else.
    assert result.submitted == [none.id]
    assert none.autonomy_level is AutonomyLevel.OBSERVER


async def test_an_observer_that_fails_blinds_nobody_else() -> None:
    entity = ProactiveSovereignEntity()
    entity.add_observer("broken", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    entity.add_observer("strange", lambda: ["text"])  # type: ignore[list-item]
    entity.add_observer("good", lambda: [seen()])
    result = await entity.run_cycle()
    assert len(result.submitted) == 1
    assert [error.split(":")[0] for error in result.errors] == ["broken", "strange"]
    assert entity.stats()["total_errors"] == 2


async def test_it_runs_until_it_is_stopped_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    config = EntityConfig(cycle_interval=0.01, checkpoint_interval=0.01, checkpoint_path=path)
    entity = ProactiveSovereignEntity(config)
    assert await entity.restore() is False
    one = seen(autonomy_level=AutonomyLevel.SUGGESTER)
    entity.add_observer("one", lambda: [one])
    running = asyncio.ensure_future(entity.start())
    await until(lambda: entity.pipeline.get_pending_approvals() and path.exists())
    await until(lambda: entity.stats()["cycles"] >= 3)
    assert entity.stats()["running"]
    await entity.stop()
    await running
    stats = entity.stats()
    assert (stats["running"], stats["total_submitted"]) == (False, 1)

    again = ProactiveSovereignEntity(config)
    assert await again.restore()
    assert [it.id for it in again.pipeline.get_pending_approvals()] == [one.id]


async def test_who_cancels_it_stops_its_pipeline_too() -> None:
    entity = ProactiveSovereignEntity()
    running = asyncio.ensure_future(entity.start())
    await until(lambda: entity.stats()["cycles"])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not entity.pipeline.stats()["running"]


def test_values_that_make_no_sense_are_refused() -> None:
    for values in (
        {"ihsan_threshold": 2.0},
        {"cycle_interval": 0},
        {"checkpoint_interval": -1},
        {"max_concurrent_goals": 0},
    ):
        with pytest.raises(ValueError, match=r"is a number|are positive|is positive"):
            EntityConfig(**values)
