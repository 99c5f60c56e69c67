"""The integration tests that the guide names: a lifecycle starts the node of this build tree.

They need ``bizra-sovereign`` and pytest, and a node that was built: ``cargo build``. The tests of the
package itself are in ``bindings/sovereign/tests``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Awaitable, Callable

import pytest

from core.sovereign import RustLifecycleManager, RustProcessManager
from core.sovereign.binary import find_binary

Use = Callable[[RustLifecycleManager], Awaitable[Any]]


@pytest.fixture
def use(tmp_path: Path) -> Iterator[Callable[[Use], Any]]:
    """Runs what is given with a lifecycle that started a node of its own."""
    binary, reason = find_binary()
    if binary is None:
        pytest.skip(reason)
    process = RustProcessManager(
        binary,
        api_port=0,
        data_dir=tmp_path / "data",
        # Nothing listens there, so no model server of this machine takes part.
        env={"BIZRA_INFERENCE__OLLAMA__URL": "http://127.0.0.1:9"},
    )

    async def run(work: Use) -> Any:
        rust = RustLifecycleManager(api_port=0, auto_start_api=True, process_manager=process)
        found = await rust.start()
        try:
            assert found["api_started"], rust.stats()["reasons"]
            return await work(rust)
        finally:
            await rust.stop()

    yield lambda work: asyncio.run(run(work))
    assert not process.is_running()
    assert process.exit_code == 0, process.output[-5:]


def test_the_node_is_healthy_and_says_since_when(use: Callable[[Use], Any]) -> None:
    async def work(rust: RustLifecycleManager) -> None:
        assert rust.api_serves
        status = await rust._api_client.get_status()
        assert status["uptime_seconds"] > 0
        assert rust.stats()["process_running"]
        assert rust.stats()["uptime_seconds"] > 0

    use(work)


def test_gates_inference_and_federation_answer(use: Callable[[Use], Any]) -> None:
    async def work(rust: RustLifecycleManager) -> None:
        gates = await rust.api_check_gates(b"content to validate", 0.92, 0.97)
        assert gates["passed"] is True
        gates = await rust.api_check_gates(b"content to validate", 0.1, 0.97)
        assert gates["passed"] is False
        answer = await rust.api_inference("The function returns", tier="edge", max_tokens=4)
        assert answer["text"]
        assert answer["envelope"]["signature"]
        federation = await rust.api_federation_status()
        assert (federation["connected"], federation["peers"]) == (False, 0)

    use(work)


def test_the_signature_is_the_nodes_own(use: Callable[[Use], Any]) -> None:
    async def work(rust: RustLifecycleManager) -> None:
        theirs = await rust._api_client.identity_sign(b"message")
        if rust.stats()["backend"]["sign"] == "unavailable":
            pytest.skip("neither the wheel nor cryptography is installed")
        assert rust.pyo3_sign(b"message") == (theirs["signature"], theirs["public_key"])

    use(work)
