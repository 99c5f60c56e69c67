"""The lifecycle: what is there, what answers, and what never pretends."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import Double, until
from test_process import program

from core.sovereign import (
    AutonomyLevel,
    PipelineOpportunity,
    RustAPIClient,
    RustLifecycleManager,
    RustProcessManager,
    RustServiceHealth,
    RustServiceStatus,
    create_rust_gate_filter,
    create_rust_lifecycle,
)

HEALTHY = {"status": "healthy", "version": "1", "uptime_seconds": 12.5, "requests_served": 3}


def lifecycle(double: Double | None = None, **options: Any) -> RustLifecycleManager:
    url = "http://127.0.0.1:9" if double is None else double.url
    client = RustAPIClient(url, transport="stdlib")
    return RustLifecycleManager(**{"use_pyo3": False, "api_client": client, **options})


class TwoTimes:
    """Stands for a memory of the wheel: has what it learned."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.learned: list[tuple[str, float, list[str]]] = []

    def learn(self, content: str, embedding: list[float], tags: list[str]) -> str:
        self.learned.append((content, 0.5, tags))
        return f"pat_{len(self.learned):016x}"

    def recall(self, embedding: list[float], limit: int) -> list[tuple[str, float, list[str]]]:
        return self.learned[:limit]


class Tracker:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def observe(self, pref_type: str, key: str, value: str) -> None:
        self.seen.append((pref_type, key, value))

    def apply_to_prompt(self, prompt: str) -> str:
        return f"{prompt} {len(self.seen)}"


class Constitution:
    def check_ihsan(self, score: float) -> bool:
        return score >= 0.95

    def check_snr(self, score: float) -> bool:
        return score >= 0.85


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that has what the wheel has, as far as these tests call it."""
    module = ModuleType("bizra")
    module.__dict__.update(
        Constitution=Constitution,
        NodeIdentity=object,
        domain_separated_digest=lambda message: message.hex(),
        PatternMemory=TwoTimes,
        PreferenceTracker=Tracker,
    )
    monkeypatch.setitem(sys.modules, "bizra", module)
    return module


@pytest.mark.parametrize("is_native", [False, True])
def test_thresholds_are_the_same_with_and_without_the_wheel(
    is_native: bool, wheel: ModuleType
) -> None:
    rust = lifecycle(use_pyo3=is_native)
    assert rust.pyo3_available is is_native
    assert rust.stats()["backend"]["thresholds"] == ("native" if is_native else "python")
    for score, ihsan, snr in (
        (1.0, True, True),
        (1, True, True),
        (0.95, True, True),
        (0.9499999999999999, False, True),
        (0.85, False, True),
        (0.8499999999999999, False, False),
        (0.0, False, False),
    ):
        assert (rust.pyo3_check_ihsan(score), rust.pyo3_check_snr(score)) == (ihsan, snr), score
    for none in (float("nan"), float("inf"), 1.0000000000000002, 2.0, -0.5, -0.0, 10**400, True):
        assert (rust.pyo3_check_ihsan(none), rust.pyo3_check_snr(none)) == (False, False), none


def test_the_wheel_itself_agrees(native: Any) -> None:
    rust = RustLifecycleManager()
    python = lifecycle()
    assert rust.pyo3_available
    for score in (0.0, 0.5, 0.85, 0.8499999999999999, 0.95, 0.9499999999999999, 1.0):
        assert rust.pyo3_check_ihsan(score) == python.pyo3_check_ihsan(score)
        assert rust.pyo3_check_snr(score) == python.pyo3_check_snr(score)


def test_what_was_learned_is_recalled(wheel: ModuleType) -> None:
    rust = lifecycle(use_pyo3=True)
    assert rust.pyo3_pattern_memory_learn("a", "one", [1.0], ["t"]) == "pat_0000000000000001"
    assert rust.pyo3_pattern_memory_learn("a", "two", [1.0]) == "pat_0000000000000002"
    found = [("one", 0.5, ["t"]), ("two", 0.5, [])]
    assert rust.pyo3_pattern_memory_recall("a", [1.0]) == found
    assert rust.pyo3_pattern_memory_recall("b", [1.0]) == [], "another node has its own memory"
    assert rust.pyo3_preference_observe("style", "response", "formal")
    assert rust.pyo3_preference_observe("style", "response", "formal")
    assert rust.pyo3_preference_apply("Hi") == "Hi 2"


def test_the_wheel_itself_recalls_what_it_learned(native: Any) -> None:
    if not hasattr(native, "PatternMemory"):
        pytest.skip("this build of the wheel has no PatternMemory")
    rust = RustLifecycleManager()
    learned = rust.pyo3_pattern_memory_learn("test_node_001", "ask first", [1.0, 0.0, 0.5], ["t"])
    assert learned is not None
    found = rust.pyo3_pattern_memory_recall("test_node_001", [1.0, 0.0, 0.5], 5)
    assert found is not None
    assert [content for content, _, _ in found] == ["ask first"]


def test_memories_have_a_limit(wheel: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.sovereign.memory.MEMORIES_MAX", 2)
    rust = lifecycle(use_pyo3=True)
    for node_id in ("a", "b", "a"):
        assert rust.pyo3_pattern_memory_recall(node_id, [1.0]) == []
    with pytest.raises(ValueError, match="the most"):
        rust.pyo3_pattern_memory_learn("c", "x", [1.0])


def test_without_the_wheel_nothing_is_remembered_and_that_is_said() -> None:
    rust = lifecycle()
    assert rust.pyo3_pattern_memory_learn("a", "one", [1.0]) is None
    assert rust.pyo3_pattern_memory_recall("a", [1.0]) is None
    assert rust.pyo3_preference_observe("style", "response", "formal") is False
    assert rust.pyo3_preference_apply("Hi") == "Hi"
    backend = rust.stats()["backend"]
    assert (backend["patterns"], backend["preferences"]) == ("unavailable", "unavailable")
    reasons = rust.stats()["reasons"]
    assert reasons["pyo3"] == "use_pyo3 is false"
    assert "only the wheel" in reasons["patterns"]
    assert "only the wheel" in reasons["preferences"]


def test_a_module_that_is_not_the_wheel_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bizra", ModuleType("bizra"))
    rust = lifecycle(use_pyo3=True)
    assert not rust.pyo3_available
    assert "is not the wheel" in rust.stats()["reasons"]["pyo3"]
    monkeypatch.setitem(sys.modules, "bizra", None)
    rust = lifecycle(use_pyo3=True)
    assert "cannot be imported" in rust.stats()["reasons"]["pyo3"]


async def test_nothing_is_healthy_before_somebody_looked(double: Double) -> None:
    double.answer("/health", HEALTHY)
    rust = lifecycle(double)
    assert not rust.api_healthy
    stats = rust.stats()
    assert (stats["last_health"], stats["running"], stats["api_healthy"]) == (
        *("UNKNOWN", False),
        False,
    )
    assert await rust.start() == {
        "pyo3_available": False,
        "api_started": False,
        "api_healthy": True,
    }
    stats = rust.stats()
    assert (stats["last_health"], stats["running"]) == ("HEALTHY", True)
    assert (stats["uptime_seconds"], stats["requests_served"]) == (12.5, 3)
    await rust.stop()
    assert not rust.stats()["running"]


async def test_started_twice_at_once_it_looks_once(double: Double) -> None:
    double.answer("/health", HEALTHY)
    double.delay = 0.05
    rust = lifecycle(double)
    await asyncio.gather(rust.start(), rust.start(), rust.start())
    assert len(double.requests) == 1
    await rust.stop()


async def test_no_node_is_an_answer_and_no_exception() -> None:
    rust = lifecycle()
    assert (await rust.start())["api_healthy"] is False
    assert (await rust.api_check_gates(b"x", 0.9, 0.97))["passed"] is False
    answer = await rust.api_inference("prompt")
    assert (answer["text"], answer["code"]) == ("", "UNREACHABLE")
    status = await rust.api_federation_status()
    assert (status["connected"], status["peers"]) == (False, 0)
    assert rust.stats()["reasons"]["api"]
    await rust.stop()
    await rust.stop()


async def test_a_change_of_health_is_told_once_whatever_the_callback_does(double: Double) -> None:
    told: list[str] = []
    double.answer("/health", HEALTHY)
    rust = lifecycle(double, health_check_interval=0.02)

    def callback(health: RustServiceHealth) -> None:
        told.append(health.status.name)
        raise RuntimeError("of the callback")

    rust.set_health_callback(callback)
    await rust.start()
    looks = len(double.requests)
    await until(lambda: len(double.requests) > looks + 3)
    assert told == ["HEALTHY"]
    double.answer("/health", {**HEALTHY, "status": "degraded"})
    await until(lambda: told == ["HEALTHY", "DEGRADED"])
    assert (rust.api_healthy, rust.api_serves) == (False, True)

    async def another(health: RustServiceHealth) -> None:
        await asyncio.sleep(0)
        told.append(f"again {health.status.name}")

    rust.set_health_callback(another)
    double.answer("/health", HEALTHY)
    await until(lambda: told[-1] == "again HEALTHY")
    await rust.stop()


async def test_who_is_not_held_looks_no_more(double: Double) -> None:
    double.answer("/health", HEALTHY)
    rust = lifecycle(double, health_check_interval=0.02)
    await rust.start()
    task, manager = rust._health_task, weakref.ref(rust)
    assert task is not None
    del rust
    gc.collect()
    await until(task.done)
    assert manager() is None


async def test_a_node_is_started_if_that_was_asked_for(tmp_path: Path) -> None:
    told: list[RustServiceStatus] = []
    process = RustProcessManager(program(tmp_path / "bin"), api_port=0, data_dir=tmp_path / "data")
    rust = RustLifecycleManager(
        api_port=0, use_pyo3=False, auto_start_api=True, process_manager=process
    )
    rust.set_health_callback(lambda health: told.append(health.status))
    assert (await rust.start())["api_started"]
    assert rust.api_healthy
    assert rust.stats()["process_running"]
    assert rust.stats()["process_uptime"] > 0
    assert rust.stats()["api_port"] == process.api_port != 0
    await rust.stop()
    assert not process.is_running()
    assert told == [
        RustServiceStatus.UNHEALTHY,
        RustServiceStatus.STARTING,
        RustServiceStatus.HEALTHY,
        RustServiceStatus.STOPPED,
    ]


async def test_a_node_that_does_not_start_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIZRA_API_BIN", str(tmp_path / "absent"))
    rust = lifecycle(auto_start_api=True)
    assert (await rust.start())["api_started"] is False
    assert "BIZRA_API_BIN" in rust.stats()["reasons"]["process"]
    await rust.stop()


async def test_the_factory_starts_unless_it_is_told_not_to() -> None:
    rust = await create_rust_lifecycle(api_port=9, use_pyo3=False, auto_start=False)
    assert not rust.stats()["running"]
    rust = await create_rust_lifecycle(api_port=9, use_pyo3=False)
    assert rust.stats()["running"]
    await rust.stop()


def opportunity(snr: float = 0.95, ihsan: float = 0.98) -> PipelineOpportunity:
    return PipelineOpportunity(
        "research", "read a paper", snr_score=snr, ihsan_score=ihsan,
        autonomy_level=AutonomyLevel.AUTOLOW,
    )  # fmt: skip


BAD_SCORES = [(0.1, 0.98), (0.95, 0.1), (float("nan"), 0.98), (0.95, 2.0), (0.0, 0.0)]


@pytest.mark.parametrize("is_native", [False, True])
async def test_the_gate_filter_never_passes_because_nothing_can_check(
    is_native: bool, wheel: ModuleType
) -> None:
    rust = lifecycle(use_pyo3=is_native)
    gate = create_rust_gate_filter(rust)
    assert (gate.name, gate.weight) == ("Rust Gate", 2.0)
    assert (await gate.check(opportunity())).passed
    for snr, ihsan in BAD_SCORES:
        assert not (await gate.check(opportunity(snr, ihsan))).passed, (snr, ihsan)
    reason = (await gate.check(opportunity(0.1, 0.9))).reason
    assert reason == "Ihsan 0.900 < 0.95; SNR 0.10 < 0.85"


async def test_a_node_that_serves_can_only_refuse_more(double: Double) -> None:
    double.answer("/health", HEALTHY)
    rust = lifecycle(double)
    await rust.start()
    gate = create_rust_gate_filter(rust)

    double.answer("/pci/gates/check", {"passed": True})
    assert (await gate.check(opportunity())).passed
    asked = len(double.requests)
    for snr, ihsan in BAD_SCORES:
        assert not (await gate.check(opportunity(snr, ihsan))).passed
    assert len(double.requests) == asked, "what the thresholds refuse is not asked"

    double.answer("/pci/gates/check", {"passed": False, "reason": "harm"})
    result = await gate.check(opportunity())
    assert (result.passed, result.reason) == (False, "harm")
    for strange in ({}, {"passed": "yes"}, {"passed": 1}):
        double.answer("/pci/gates/check", strange)
        assert not (await gate.check(opportunity())).passed, strange

    # The node cannot answer now: the thresholds decide, and the reason says so.
    double.answer("/pci/gates/check", {"error": "busy", "code": "ACTOR_BUSY"}, 503)
    result = await gate.check(opportunity())
    assert result.passed
    assert "thresholds only, Rust API error: busy" in result.reason
    assert not (await gate.check(opportunity(0.1))).passed
    # It refuses to look at this: that is no pass.
    double.answer("/pci/gates/check", {"error": "too long", "code": "BODY_TOO_LARGE"}, 413)
    result = await gate.check(opportunity())
    assert (result.passed, result.reason) == (False, "Rust API error: too long")
    await rust.stop()
