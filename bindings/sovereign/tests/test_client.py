"""The client: what it asks, what it makes of the answer, and that it holds up nobody."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
import threading
import time
from typing import Any, Callable

import pytest
from support import Double, until

from core.sovereign import (
    RustAPIClient,
    RustAPIError,
    RustServiceStatus,
    RustUnreachable,
    transport,
)

TRANSPORTS = ["aiohttp", "httpx", "stdlib"]


@pytest.fixture(params=TRANSPORTS)
def by(request: pytest.FixtureRequest) -> str:
    """Each transport whose package is installed."""
    name = str(request.param)
    if name != "stdlib" and importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_an_answer_comes_back(by: str, double: Double) -> None:
    double.answer("/status", {"uptime_seconds": 1.5})
    async with RustAPIClient(double.url, transport=by) as client:
        assert client.transport == by
        assert await client.status() == {"uptime_seconds": 1.5}
        assert await client.get_status() == {"uptime_seconds": 1.5}
    method, path, headers, body = double.requests[0]
    assert (method, path, body) == ("GET", "/api/v1/status", b"")
    assert headers["accept"] == "application/json"


async def test_what_the_node_said_of_an_error_is_kept(by: str, double: Double) -> None:
    told = {"error": "too many", "code": "RATE_LIMITED", "details": "$.x", "request_id": "r1"}
    double.answer("/federation/peers", {**told, "more": [1]}, 429, retry_after="7")
    async with RustAPIClient(double.url, transport=by) as client:
        with pytest.raises(RustAPIError) as caught:
            await client.federation_peers()
    error = caught.value
    assert (error.status, error.code, error.message) == (429, "RATE_LIMITED", "too many")
    assert (error.details, error.request_id, error.retry_after) == ("$.x", "r1", 7.0)
    assert error.body["more"] == [1]
    assert "429" in str(error)
    assert "too many" in str(error)


async def test_an_error_that_is_no_json_is_kept_too(by: str, double: Double) -> None:
    double.answer("/status", b"<html>gateway</html>", 502, x_request_id="r2")
    async with RustAPIClient(double.url, transport=by) as client:
        with pytest.raises(RustAPIError) as caught:
            await client.status()
        assert caught.value.body == {"text": "<html>gateway</html>"}
        assert (caught.value.code, caught.value.request_id) == ("HTTP_502", "r2")
        double.answer("/status", b"[1]")
        with pytest.raises(RustUnreachable, match="JSON object"):
            await client.status()


async def test_nobody_there_is_told_apart(by: str) -> None:
    async with RustAPIClient(f"http://127.0.0.1:{unused_port()}", transport=by) as client:
        with pytest.raises(RustUnreachable):
            await client.status()
        health = await client.health_check()
    assert health.status is RustServiceStatus.UNHEALTHY
    assert health.error


async def test_a_redirect_is_not_followed(by: str, double: Double) -> None:
    double.answer("/status", b"", 307, location=f"{double.url}/api/v1/other")
    async with RustAPIClient(double.url, transport=by, token="secret") as client:
        with pytest.raises(RustAPIError) as caught:
            await client.status()
    assert caught.value.status == 307
    assert len(double.requests) == 1


async def test_a_proxy_of_the_environment_is_not_asked(
    by: str, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    double.answer("/status", {"ok": 1})
    async with RustAPIClient(double.url, transport=by) as client:
        assert await client.status() == {"ok": 1}


async def test_the_time_is_that_of_the_whole_answer(by: str, double: Double) -> None:
    double.answer("/status", {})
    double.delay = 30.0
    async with RustAPIClient(double.url, timeout=0.2, transport=by) as client:
        began = time.monotonic()
        with pytest.raises(RustUnreachable, match=r"within 0\.2 s"):
            await client.status()
        assert time.monotonic() - began < 5
    await until(double.left.is_set)


async def test_who_leaves_ends_the_connection(by: str, double: Double) -> None:
    double.answer("/inference/generate", {"text": "late"})
    double.delay = 30.0
    async with RustAPIClient(double.url, transport=by) as client:
        asked = asyncio.ensure_future(client.inference("prompt"))
        await until(lambda: double.requests)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await until(double.left.is_set)


async def test_the_event_loop_goes_on_meanwhile(by: str, double: Double) -> None:
    double.answer("/status", {"ok": 1})
    double.delay = 0.5
    async with RustAPIClient(double.url, transport=by) as client:
        await client.close()
        asked = asyncio.ensure_future(client.status())
        ticks = 0
        while not asked.done():
            await asyncio.sleep(0.005)
            ticks += 1
        assert asked.result() == {"ok": 1}
        # A call that blocks leaves none or one, however busy the machine is.
        assert ticks > 5


async def test_so_many_at_once_and_no_more(by: str, double: Double) -> None:
    double.answer("/status", {"ok": 1})
    double.delay = 0.1
    async with RustAPIClient(double.url, transport=by, max_connections_per_host=4) as client:
        began = time.monotonic()
        found = await asyncio.gather(*(client.status() for _ in range(12)))
        assert found == [{"ok": 1}] * 12
        assert time.monotonic() - began >= 0.29
    # No thread outlives its request.
    await until(lambda: not [it for it in threading.enumerate() if it.name == "bizra-request"])


def test_a_client_outlives_its_event_loop(by: str, double: Double) -> None:
    double.answer("/status", {"ok": 1})
    client = RustAPIClient(double.url, transport=by)

    async def use() -> None:
        assert await client.status() == {"ok": 1}
        await client.close()

    asyncio.run(use())
    asyncio.run(use())


async def test_too_large_an_answer_is_refused(
    by: str, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "ANSWER_BYTES_MAX", 1000)
    double.answer("/status", {"x": "y" * 2000})
    async with RustAPIClient(double.url, transport=by) as client:
        with pytest.raises(RustUnreachable, match="more than 1000 bytes"):
            await client.status()


Ask = Callable[[RustAPIClient], Any]

#: Each endpoint but the socket: how it is asked, and what is sent.
ENDPOINTS: list[tuple[Ask, str, str, Any]] = [
    (lambda it: it.health(), "GET", "/health", None),
    (lambda it: it.status(), "GET", "/status", None),
    (lambda it: it.metrics(), "GET", "/metrics", None),
    (
        lambda it: it.identity_generate("a", activate=False),
        "POST",
        "/identity/generate",
        {"label": "a", "activate": False},
    ),
    (lambda it: it.identity_sign("x"), "POST", "/identity/sign", {"message": "x"}),
    (lambda it: it.identity_sign(b"\xff"), "POST", "/identity/sign", {"message_b64": "/w=="}),
    (
        lambda it: it.identity_verify(b"x", "s", "k"),
        "POST",
        "/identity/verify",
        {"message": "x", "signature": "s", "public_key": "k"},
    ),
    (
        lambda it: it.envelope_create({"a": 1}, ttl=5, provenance=("p",), audience="n"),
        "POST",
        "/pci/envelope/create",
        {"payload": {"a": 1}, "ttl": 5, "provenance": ["p"], "audience": "n"},
    ),
    (
        lambda it: it.envelope_create(None),
        "POST",
        "/pci/envelope/create",
        {"payload": None},
    ),
    (
        lambda it: it.envelope_verify({"id": "e"}),
        "POST",
        "/pci/envelope/verify",
        {"envelope": {"id": "e"}},
    ),
    (
        lambda it: it.envelope_verify({"id": "e", "envelope": {"id": "e"}}, consume=True),
        "POST",
        "/pci/envelope/verify?consume=true",
        {"envelope": {"id": "e"}},
    ),
    (
        lambda it: it.gates_check(b"x", 0.9, 0.97),
        "POST",
        "/pci/gates/check",
        {"content": "x", "snr_score": 0.9, "ihsan_score": 0.97},
    ),
    (
        lambda it: it.inference("p", tier="edge", max_tokens=3, stop=("x",)),
        "POST",
        "/inference/generate",
        {"prompt": "p", "tier": "edge", "max_tokens": 3, "stop": ["x"]},
    ),
    (lambda it: it.inference_models(), "GET", "/inference/models", None),
    (lambda it: it.inference_tier("p"), "POST", "/inference/tier", {"prompt": "p"}),
    (lambda it: it.federation_status(), "GET", "/federation/status", None),
    (lambda it: it.federation_peers(), "GET", "/federation/peers", None),
    (
        lambda it: it.federation_propose("pat_1", (0.5,), "n", 0.97, "c"),
        "POST",
        "/federation/propose",
        {
            "pattern_id": "pat_1",
            "pattern_embedding": [0.5],
            "source_node": "n",
            "confidence": 0.97,
            "content": "c",
        },
    ),
    (lambda it: it.constitution(), "GET", "/constitution", None),
    (
        lambda it: it.constitution_check(0.97, has_signature=True),
        "POST",
        "/constitution/check",
        {"ihsan_score": 0.97, "has_signature": True},
    ),
]


@pytest.mark.parametrize(("ask", "method", "path", "body"), ENDPOINTS)
async def test_each_endpoint_is_asked_as_the_contract_says(
    ask: Ask, method: str, path: str, body: Any, double: Double
) -> None:
    double.answer(path, {"ok": 1})
    async with RustAPIClient(double.url, transport="stdlib") as client:
        await ask(client)
    asked_method, asked_path, headers, sent = double.requests[0]
    assert (asked_method, asked_path) == (method, f"/api/v1{path}")
    assert (json.loads(sent) if sent else None) == body
    assert ("content-type" in headers) == (body is not None)


async def test_the_older_methods_answer_errors_with_the_keys_that_callers_read(
    double: Double,
) -> None:
    told = {"error": "no model answers", "code": "INFERENCE_UNAVAILABLE", "details": "why"}
    for path in ("/inference/generate", "/federation/status", "/status", "/pci/gates/check"):
        double.answer(path, told, 503)
    async with RustAPIClient(double.url, transport="stdlib") as client:
        answers = [
            await client.inference_generate("p"),
            await client.get_federation_status(),
            await client.get_status(),
            await client.check_gates(b"x", 0.9, 0.97),
        ]
        refused = await client.check_gates(b"x", float("nan"), 0.97)
    for answer in answers:
        assert {**answer, **told} == answer
        assert answer["status"] == 503
    assert answers[0]["text"] == ""
    assert (answers[1]["connected"], answers[1]["peers"]) == (False, 0)
    assert answers[3]["passed"] is False
    # What cannot be sent is no pass either.
    assert (refused["passed"], refused["code"]) == (False, "INVALID_ARGUMENT")


HEALTHY = {"status": "healthy", "version": "1", "uptime_seconds": 12.5, "requests_served": 3}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, HEALTHY, RustServiceStatus.HEALTHY),
        (200, {**HEALTHY, "status": "degraded"}, RustServiceStatus.DEGRADED),
        (503, {**HEALTHY, "status": "unhealthy"}, RustServiceStatus.UNHEALTHY),
        (200, {"something": "else"}, RustServiceStatus.DEGRADED),
        (404, {"error": "x"}, RustServiceStatus.DEGRADED),
    ],
)
async def test_health_is_what_the_node_says(
    status: int, body: Any, expected: RustServiceStatus, double: Double
) -> None:
    double.answer("/health", body, status)
    async with RustAPIClient(double.url, transport="stdlib") as client:
        health = await client.health_check()
    assert health.status is expected
    assert health.is_healthy() == (expected is RustServiceStatus.HEALTHY)
    assert (health.error is None) == health.is_healthy()
    if "uptime_seconds" in body:
        found = (health.version, health.uptime_seconds, health.requests_served)
        assert found == ("1", 12.5, 3)


@pytest.mark.parametrize(
    "url", ["", "localhost:3001", "ftp://localhost", "http://", "http://a@b", "http://a/?x=1"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form|has more than"):
        RustAPIClient(url)


def test_a_limit_that_is_none_and_a_transport_that_is_none_are_refused() -> None:
    for limits in ({"timeout": 0}, {"max_connections": 0}, {"max_connections_per_host": -1}):
        with pytest.raises(ValueError, match="positive"):
            RustAPIClient(**limits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no transport 'carrier-pigeon'"):
        RustAPIClient(transport="carrier-pigeon")
    assert RustAPIClient("http://localhost:3001/").base_url == "http://localhost:3001"
