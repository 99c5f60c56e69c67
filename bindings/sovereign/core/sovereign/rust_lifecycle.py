"""The life of a node beside a Python program: what is there, how it is, and how it is asked."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import weakref
from collections.abc import Awaitable, Sequence
from typing import Any, Callable, Union

from core.sovereign import native as native_wheel
from core.sovereign.api_client import RustAPIClient
from core.sovereign.data_dir import PathLike
from core.sovereign.digest import BytesLike, digest_with
from core.sovereign.errors import NativeUnavailable
from core.sovereign.gate_filter import create_rust_gate_filter
from core.sovereign.health import RustServiceHealth, RustServiceStatus
from core.sovereign.memory import Memories
from core.sovereign.process import RustProcessManager
from core.sovereign.signing import sign_as_node, signer_name
from core.sovereign.thresholds import IHSAN_THRESHOLD, SNR_THRESHOLD, is_score, meets

__all__ = [
    "RustAPIClient",
    "RustLifecycleManager",
    "RustProcessManager",
    "RustServiceHealth",
    "RustServiceStatus",
    "create_rust_gate_filter",
    "create_rust_lifecycle",
]

logger = logging.getLogger(__name__)

HealthCallback = Callable[[RustServiceHealth], Union[Awaitable[None], None]]

#: Share by which a pause between two looks differs, so that many who look do not do so at once.
_JITTER = 0.1


class RustLifecycleManager:
    """A node as a Python program uses it: in the process through the native wheel (``pyo3_*``), and
    over REST (``api_*``).

    What the wheel computes is computed without it as well, with the same answer, or is refused with
    a reason; ``stats()["backend"]`` says who answers what.

    Args:
        api_port: The port of the node.
        use_pyo3: Whether to use the wheel ``bizra`` if it is installed.
        auto_start_api: Whether :meth:`start` starts a node if none serves on the port.
        health_check_interval: Seconds between two looks at the node's health.
        data_dir: The node's data directory; ``BIZRA_DATA_DIR`` or ``~/.bizra`` if it is not given.
        api_client: A client to use instead of one for ``http://localhost:<api_port>``.
        process_manager: A manager to use instead of one for ``api_port`` and ``data_dir``.
    """

    def __init__(
        self,
        api_port: int = 3001,
        use_pyo3: bool = True,
        auto_start_api: bool = False,
        health_check_interval: float = 30.0,
        *,
        data_dir: PathLike | None = None,
        api_client: RustAPIClient | None = None,
        process_manager: RustProcessManager | None = None,
    ) -> None:
        if not health_check_interval > 0:
            raise ValueError("health_check_interval is a positive number of seconds")
        self.api_port = api_port
        self._auto_start_api = auto_start_api
        self._interval = health_check_interval
        self._process_manager = process_manager or RustProcessManager(
            api_port=api_port, data_dir=data_dir
        )
        self._api_client = api_client or RustAPIClient(
            f"http://localhost:{api_port}", data_dir=data_dir
        )
        self._pyo3_module: Any | None = None
        self._pyo3_reason: str | None = "use_pyo3 is false"
        if use_pyo3:
            self._pyo3_module, self._pyo3_reason = native_wheel.load()
        self._pyo3_available = self._pyo3_module is not None
        self._constitution = self._pyo3_module.Constitution() if self._pyo3_module else None
        self._digest_backend, self._digest = digest_with(self._pyo3_module)
        self._memories = Memories(self._pyo3_module)
        self._running = False
        self._last_health: RustServiceHealth | None = None
        self._health_callback: HealthCallback | None = None
        self._health_task: asyncio.Task[None] | None = None

    @property
    def pyo3_available(self) -> bool:
        """Whether the native wheel is in use."""
        return self._pyo3_available

    @property
    def api_healthy(self) -> bool:
        """Whether the node was healthy when it was last looked at; false before :meth:`start`."""
        return self._last_health is not None and self._last_health.is_healthy()

    @property
    def api_serves(self) -> bool:
        """Whether the node answered when it was last looked at, although it may be degraded."""
        return self._last_health is not None and self._last_health.serves()

    async def start(self) -> dict[str, bool]:
        """Looks at the node, starts one if that was asked for, and looks again from time to time.

        Never raises because of the node: what is not there is false in the answer, which has
        ``pyo3_available``, ``api_started`` and ``api_healthy``.
        """
        started = False
        if not self._running:
            self._running = True
            try:
                health = await self._look()
                if self._auto_start_api and not health.serves():
                    started = await self._start_api()
            except BaseException:
                self._running = False
                raise
            self._health_task = asyncio.ensure_future(_keep_looking(weakref.ref(self)))
        return {
            "pyo3_available": self.pyo3_available,
            "api_started": started,
            "api_healthy": self.api_healthy,
        }

    async def _start_api(self) -> bool:
        await self._note(RustServiceHealth("bizra-api", RustServiceStatus.STARTING))
        started = await self._process_manager.start(wait_for_health=True)
        if started and self._process_manager.api_port != self.api_port:
            # Port 0 let the system choose; the client is one of ours, since nobody knew the port.
            await self._api_client.close()
            self.api_port = self._process_manager.api_port
            self._api_client = RustAPIClient(
                self._process_manager.base_url, data_dir=self._process_manager.data_dir
            )
        await self._look()
        return started

    async def stop(self) -> None:
        """Looks no more, stops the node if it was started here, and closes connections."""
        self._running = False
        task, self._health_task = self._health_task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._process_manager.is_running():
            await self._process_manager.astop()
            await self._note(RustServiceHealth("bizra-api", RustServiceStatus.STOPPED))
        await self._api_client.close()

    def set_health_callback(self, callback: HealthCallback | None) -> None:
        """Has ``callback`` told the node's health whenever its status changes."""
        self._health_callback = callback

    async def _look(self) -> RustServiceHealth:
        health = await self._api_client.health_check()
        await self._note(health)
        return health

    async def _note(self, health: RustServiceHealth) -> None:
        before, self._last_health = self._last_health, health
        if before is not None and before.status is health.status:
            return
        if health.error is not None:
            logger.info("the node is %s: %s", health.status.name, health.error)
        if self._health_callback is None:
            return
        try:
            told = self._health_callback(health)
            if inspect.isawaitable(told):
                await told
        except Exception:
            logger.exception("the callback for the health of the node failed")

    def stats(self) -> dict[str, Any]:
        """What is there. ``backend`` says who answers which operation, ``reasons`` why not the
        wheel or the node."""
        health = self._last_health
        reasons = {"pyo3": self._pyo3_reason, "process": self._process_manager.last_error}
        if health is not None:
            reasons["api"] = health.error
        for name, kind in (("patterns", "PatternMemory"), ("preferences", "PreferenceTracker")):
            reasons[name] = self._memories.reason(kind)
        is_native = "native" if self._pyo3_available else "python"
        return {
            "pyo3_available": self.pyo3_available,
            "api_healthy": self.api_healthy,
            "api_port": self.api_port,
            "process_running": self._process_manager.is_running(),
            "process_uptime": self._process_manager.uptime(),
            "last_health": "UNKNOWN" if health is None else health.status.name,
            "uptime_seconds": 0.0 if health is None else health.uptime_seconds,
            "requests_served": 0 if health is None else health.requests_served,
            "running": self._running,
            "backend": {
                "thresholds": is_native,
                "digest": self._digest_backend,
                "sign": signer_name(self._pyo3_module),
                "patterns": self._memories.backend("PatternMemory"),
                "preferences": self._memories.backend("PreferenceTracker"),
                "transport": self._api_client.transport,
            },
            "reasons": {name: reason for name, reason in reasons.items() if reason is not None},
        }

    def pyo3_check_ihsan(self, score: float) -> bool:
        """Whether ``score`` is in [0, 1] and reaches 0.95, as the built-in constitution asks."""
        if self._constitution is not None and is_score(score):
            return bool(self._constitution.check_ihsan(score))
        return meets(score, IHSAN_THRESHOLD)

    def pyo3_check_snr(self, score: float) -> bool:
        """Whether ``score`` is in [0, 1] and reaches 0.85, as the built-in constitution asks."""
        if self._constitution is not None and is_score(score):
            return bool(self._constitution.check_snr(score))
        return meets(score, SNR_THRESHOLD)

    def pyo3_domain_digest(self, message: BytesLike) -> str:
        """BLAKE3 over ``bizra-pci-v1:`` and ``message``: 64 hex digits, whoever computes it.

        Raises:
            TypeError: The message is not bytes-like.
            ValueError: It has more than 8 MiB, and only plain Python could hash it.
        """
        return self._digest(message)

    def pyo3_sign(self, message: BytesLike) -> tuple[str, str]:
        """The signature of the node over ``message`` (128 hex digits) and its public key (64).

        The key is that of the data directory, so it is the same for every call and is the one that
        the node itself signs with. It is read from its file: the node's record of privileged calls
        knows nothing of it.

        Raises:
            SigningUnavailable: There is no key, it is encrypted, or nothing can sign.
            TypeError: The message is not bytes-like.
        """
        return sign_as_node(message, self._process_manager.data_dir, self._pyo3_module)

    def pyo3_pattern_memory_learn(
        self,
        node_id: str,
        content: str,
        embedding: Sequence[float],
        tags: Sequence[str] | None = None,
    ) -> str | None:
        """Has the memory of ``node_id`` learn a pattern; its id. ``None`` without the wheel.

        The memory is this object's, and lives as long as it does.
        """
        try:
            return self._memories.learn(node_id, content, embedding, tags)
        except NativeUnavailable as error:
            return self._nothing(error)

    def pyo3_pattern_memory_recall(
        self, node_id: str, embedding: Sequence[float], limit: int = 5
    ) -> list[Any] | None:
        """What the memory of ``node_id`` has near ``embedding``: (content, confidence, tags).
        ``None`` without the wheel."""
        try:
            return self._memories.recall(node_id, embedding, limit)
        except NativeUnavailable as error:
            return self._nothing(error)

    def pyo3_preference_observe(self, pref_type: str, key: str, value: str) -> bool:
        """Notes a preference that was seen. False without the wheel."""
        try:
            self._memories.preferences().observe(pref_type, key, value)
        except NativeUnavailable as error:
            self._nothing(error)
            return False
        return True

    def pyo3_preference_apply(self, prompt: str) -> str:
        """The prompt with the preferences that are sure by now; unchanged without the wheel."""
        try:
            return str(self._memories.preferences().apply_to_prompt(prompt))
        except NativeUnavailable as error:
            self._nothing(error)
            return prompt

    @staticmethod
    def _nothing(reason: NativeUnavailable) -> None:
        logger.info("nothing is remembered: %s", reason)

    async def api_check_gates(
        self, content: BytesLike | str, snr_score: float, ihsan_score: float
    ) -> dict[str, Any]:
        """What the node's gates say: ``passed``, ``reason``, ``results``. Without an answer
        ``error``, and ``passed`` is false."""
        return await self._api_client.check_gates(content, snr_score, ihsan_score)

    async def api_inference(
        self,
        prompt: str,
        system_prompt: str | None = None,
        tier: str | None = "local",
        max_tokens: int | None = None,
    ) -> dict[str, Any]:
        """What the node answers to a prompt: ``text``, ``model``, ``tier`` and the proof. Without
        an answer ``error``, and ``text`` is empty. The node has its own default for ``max_tokens``.
        """
        return await self._api_client.inference_generate(prompt, system_prompt, tier, max_tokens)

    async def api_federation_status(self) -> dict[str, Any]:
        """How the node takes part in its federation. Without an answer ``error``, and
        ``connected`` is false."""
        return await self._api_client.get_federation_status()


async def _keep_looking(manager: weakref.ref[RustLifecycleManager]) -> None:
    """Looks at the node from time to time, for as long as somebody holds the manager."""
    while True:
        found = manager()
        if found is None:
            return
        pause = found._interval * (1 + random.uniform(-_JITTER, _JITTER))
        del found
        await asyncio.sleep(pause)
        found = manager()
        if found is None:
            return
        try:
            await found._look()
        except Exception:
            logger.exception("looking at the node failed")
        del found


async def create_rust_lifecycle(
    api_port: int = 3001,
    use_pyo3: bool = True,
    auto_start_api: bool = False,
    auto_start: bool = True,
    *,
    data_dir: PathLike | None = None,
) -> RustLifecycleManager:
    """A :class:`RustLifecycleManager`, started unless ``auto_start`` is false."""
    manager = RustLifecycleManager(
        api_port=api_port, use_pyo3=use_pyo3, auto_start_api=auto_start_api, data_dir=data_dir
    )
    if auto_start:
        await manager.start()
    return manager
