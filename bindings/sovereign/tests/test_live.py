"""A real node, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from support import NODE_ENV, until

from core.sovereign import (
    AutonomyLevel,
    OpportunityPipeline,
    OpportunityStatus,
    PipelineOpportunity,
    RustAPIClient,
    RustAPIError,
    RustLifecycleManager,
    RustProcessManager,
    RustServiceStatus,
    create_rust_gate_filter,
)

#: Looks like the key of a cloud's account, which no score makes harmless.
SECRET = "AKIAQX7C5WTRB3DKM2LF"


def client_of(node: RustProcessManager, transport: str = "stdlib") -> RustAPIClient:
    return RustAPIClient(node.base_url, timeout=30.0, data_dir=node.data_dir, transport=transport)


def lifecycle_of(node: RustProcessManager) -> RustLifecycleManager:
    return RustLifecycleManager(
        api_port=node.api_port, use_pyo3=False, data_dir=node.data_dir, api_client=client_of(node)
    )


async def test_each_of_the_18_endpoints_answers(node: RustProcessManager) -> None:
    async with client_of(node) as client:
        assert (await client.health())["status"] in ("healthy", "degraded")
        status = await client.status()
        assert status["uptime_seconds"] > 0
        assert "requests" in await client.metrics()

        made = await client.identity_generate("spare", activate=False)
        assert (made["label"], made["active"]) == ("spare", False)
        for message in ("hello bizra", b"\xff\x00"):
            signed = await client.identity_sign(message)
            assert signed["public_key"] == status["public_key"]
            found = await client.identity_verify(message, signed["signature"], signed["public_key"])
            assert found["valid"] is True
            found = await client.identity_verify("x", signed["signature"], signed["public_key"])
            assert found["valid"] is False

        sealed = await client.envelope_create({"a": [1, "\u00e9", None]}, ttl=60)
        assert sealed["ttl"] == 60
        assert (await client.envelope_verify(sealed))["valid"] is True
        assert (await client.envelope_verify(sealed["envelope"], consume=True))["valid"] is True
        again = await client.envelope_verify(sealed["envelope"], consume=True)
        assert (again["valid"], again["code"]) == (False, "RejectReplay")

        judged = await client.gates_check(b"content to validate", 0.92, 0.97)
        assert judged["passed"] is True
        judged = await client.gates_check(SECRET, 1.0, 1.0)
        assert judged["passed"] is False

        answer = await client.inference("The function returns", tier="edge", max_tokens=4, seed=1)
        assert (answer["tier"], answer["completion_tokens"] <= 4) == ("Edge", True)
        assert (await client.envelope_verify(answer["envelope"]))["valid"] is True
        assert (await client.inference_models())["models"]
        assert (await client.inference_tier("hello"))["recommended_tier"]

        federation = await client.federation_status()
        assert (federation["mode"], federation["peers"]) == ("solo", 0)
        assert (await client.federation_peers())["peers"] == []
        proposed = await client.federation_propose(
            "pat_live", [0.25, -1.0], status["node_id"], 0.97, "Ask before you act."
        )
        assert proposed["proposal_id"].startswith("prop_")

        assert (await client.constitution())["ihsan_threshold"] == 0.95
        checked = await client.constitution_check(0.97, 0.9, True, True)
        assert checked["verdict"] == "compliant"

        async with await client.websocket() as socket:
            assert socket.welcome["type"] == "welcome"
            assert (await socket.call("status"))["node_id"] == status["node_id"]
            with pytest.raises(RustAPIError) as caught:
                await socket.call("no.such.method")
            assert caught.value.code


@pytest.mark.parametrize("transport", ["aiohttp", "httpx", "stdlib"])
async def test_each_transport_speaks_to_a_node(transport: str, node: RustProcessManager) -> None:
    if transport != "stdlib":
        pytest.importorskip(transport)
    async with client_of(node, transport) as client:
        found = await asyncio.gather(*(client.identity_sign(f"m{n}") for n in range(50)))
        assert len({it["signature"] for it in found}) == 50
        with pytest.raises(RustAPIError) as caught:
            await client.request("POST", "/identity/sign", {})
    assert caught.value.status in (400, 422)
    assert caught.value.request_id


async def test_health_has_real_numbers(node: RustProcessManager) -> None:
    async with client_of(node) as client:
        before = await client.health_check()
        for _ in range(5):
            await client.status()
        after = await client.health_check()
    assert before.serves()
    assert after.version
    assert after.uptime_seconds > before.uptime_seconds > 0
    assert after.requests_served >= before.requests_served + 5


async def test_events_come_over_the_socket(node: RustProcessManager) -> None:
    async with client_of(node) as client, await client.websocket() as socket:
        await socket.subscribe("envelopes")
        sealed = await client.envelope_create({"event": True})
        event = await asyncio.wait_for(socket.receive(), 20)
        assert (event["type"], event["topic"]) == ("event", "envelopes")
        assert sealed["id"] in str(event["data"])


async def test_a_prompt_is_answered_piece_by_piece(node: RustProcessManager) -> None:
    async with client_of(node) as client, await client.websocket() as socket:
        asked = socket.generate("The function returns", tier="edge", max_tokens=8, seed=1)
        found = [it async for it in asked]
        assert [it["type"] for it in found[-2:]] == ["token", "done"]
        assert "".join(it["text"] for it in found[:-1]) == found[-1]["text"]
        assert (await client.envelope_verify(found[-1]["envelope"]))["valid"] is True
        with pytest.raises(RustAPIError) as caught:
            async for _ in socket.generate("x", tier="no such tier"):
                pass
        assert caught.value.status == 400


async def test_pyo3_sign_is_the_nodes_own_signature_also_after_a_rotation(
    binary: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    node = RustProcessManager(binary, api_port=0, data_dir=tmp_path / "data", env=NODE_ENV)
    assert await node.start(), node.last_error
    rust = lifecycle_of(node)
    client = rust._api_client
    keys = set()
    for _ in range(2):
        theirs = await client.identity_sign("message")
        assert rust.pyo3_sign(b"message") == (theirs["signature"], theirs["public_key"])
        keys.add(theirs["public_key"])
        await client.request("POST", "/identity/rotate", {})
    theirs = await client.identity_sign("message")
    assert rust.pyo3_sign(b"message") == (theirs["signature"], theirs["public_key"])
    assert len(keys | {theirs["public_key"]}) == 3
    # And the token is read anew as well.
    await client.request("POST", "/token/rotate")
    assert (await client.identity_sign("message"))["public_key"] == theirs["public_key"]
    await rust.stop()
    await node.astop()
    assert node.exit_code == 0, node.output[-5:]


async def test_what_is_not_this_nodes_directory_gives_no_token(
    node: RustProcessManager, tmp_path: Path
) -> None:
    async with RustAPIClient(node.base_url, data_dir=tmp_path, transport="stdlib") as client:
        assert (await client.status())["node_id"]
        with pytest.raises(RustAPIError) as caught:
            await client.identity_sign("x")
    assert (caught.value.status, caught.value.code) == (401, "UNAUTHORIZED")
    assert "no token was sent" in str(caught.value)


async def test_a_killed_node_is_noticed_and_started_again(binary: Path, tmp_path: Path) -> None:
    node = RustProcessManager(binary, api_port=0, data_dir=tmp_path / "data", env=NODE_ENV)
    told: list[int] = []
    node.set_exit_callback(told.append)
    assert await node.start(), node.last_error
    rust = lifecycle_of(node)
    assert (await rust.start())["api_healthy"] or rust.api_serves
    os.kill(node.pid or 0, signal.SIGKILL)
    await until(lambda: told)
    assert not node.is_running()
    assert (await rust._look()).status is RustServiceStatus.UNHEALTHY
    await rust.stop()
    assert await node.start(), node.last_error
    async with client_of(node) as client:
        assert (await client.status())["node_id"]
    node.stop()


async def test_two_nodes_on_one_directory_or_port_are_refused(
    node: RustProcessManager, binary: Path, tmp_path: Path
) -> None:
    second = RustProcessManager(binary, api_port=0, data_dir=node.data_dir, env=NODE_ENV)
    assert not await second.start()
    assert "is in use by" in (second.last_error or "")
    third = RustProcessManager(
        binary, api_port=node.api_port, data_dir=tmp_path / "data", env=NODE_ENV
    )
    assert not await third.start()
    assert "somebody else serves" in (third.last_error or "")
    assert node.is_running()


async def test_a_wrong_configuration_is_told(binary: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    node = RustProcessManager(
        binary, port, data_dir=tmp_path / "data", env={"BIZRA_HTTP__NO_SUCH_KEY": "1"}
    )
    assert not await node.start()
    assert "ended with 2" in (node.last_error or "")
    assert "no_such_key" in (node.last_error or "").lower()


async def test_the_gates_of_the_node_guard_a_pipeline(node: RustProcessManager) -> None:
    rust = lifecycle_of(node)
    await rust.start()
    pipeline = OpportunityPipeline()
    done: list[str] = []
    pipeline.set_execution_callback(lambda it: done.append(it.description))
    pipeline._filters.append(create_rust_gate_filter(rust))
    await pipeline.start()
    refused = PipelineOpportunity(
        *("research", f"use {SECRET}"),
        snr_score=0.99,
        ihsan_score=0.99,
        autonomy_level=AutonomyLevel.AUTOLOW,
    )
    passed = PipelineOpportunity(
        *("research", "read a paper"),
        snr_score=0.99,
        ihsan_score=0.99,
        autonomy_level=AutonomyLevel.AUTOLOW,
    )
    for one in (refused, passed):
        await pipeline.submit(one)
    await pipeline.join()
    await pipeline.stop()
    await rust.stop()
    assert refused.status is OpportunityStatus.REJECTED
    assert "Rust Gate" in (refused.rejection_reason or "")
    assert passed.status is OpportunityStatus.EXECUTED, passed.rejection_reason
    assert done == ["read a paper"]


async def test_work_ends_when_its_caller_leaves(node: RustProcessManager) -> None:
    async with client_of(node) as client:
        asked = asyncio.ensure_future(client.inference("Once", tier="edge", max_tokens=512))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert (await client.health_check()).serves()
