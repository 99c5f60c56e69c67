"""The 18 endpoints of a node, one method each. All of them raise what went wrong."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Union

from core.sovereign.digest import BytesLike, to_bytes

__all__ = ["INFERENCE_TIMEOUT", "Endpoints"]

#: Seconds for an answer to a prompt; a node gives up before.
INFERENCE_TIMEOUT = 60.0

Text = Union[str, BytesLike]


def _content(name: str, value: Text) -> dict[str, str]:
    """Text as it is; bytes as text if they are UTF-8, else in base64."""
    if isinstance(value, str):
        return {name: value}
    raw = to_bytes(value)
    try:
        return {name: raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(raw).decode("ascii")}


def _given(**values: Any) -> dict[str, Any]:
    """What was given: the node has its own defaults for the rest."""
    return {name: value for name, value in values.items() if value is not None}


class Endpoints(ABC):
    """What can be asked of a node.

    Every method raises :class:`~core.sovereign.errors.RustAPIError`, with what the node said, when
    the answer is no success, and :class:`~core.sovereign.errors.RustUnreachable` when there is
    none.
    """

    @abstractmethod
    async def request_text(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        accept: str = "application/json",
    ) -> str:
        """Sends a request to a path below ``/api/v1`` and gives the text of the answer."""

    @abstractmethod
    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Sends a request to a path below ``/api/v1`` and gives the JSON object of the answer."""

    async def health(self) -> dict[str, Any]:
        """``GET /health``: how the node and each of its actors is. 503 raises."""
        return await self.request("GET", "/health")

    async def status(self) -> dict[str, Any]:
        """``GET /status``: who the node is, uptime, requests, supervision."""
        return await self.request("GET", "/status")

    async def metrics(self) -> str:
        """``GET /metrics``: in the text format of Prometheus."""
        return await self.request_text("GET", "/metrics", accept="text/plain")

    async def identity_generate(
        self, label: str | None = None, activate: bool | None = None
    ) -> dict[str, Any]:
        """``POST /identity/generate``: a new key; signs from now on, unless ``activate=False``."""
        return await self.request(
            "POST", "/identity/generate", _given(label=label, activate=activate)
        )

    async def identity_sign(self, message: Text) -> dict[str, Any]:
        """``POST /identity/sign``: ``signature``, ``public_key`` and ``node_id``."""
        return await self.request("POST", "/identity/sign", _content("message", message))

    async def identity_verify(
        self, message: Text, signature: str, public_key: str
    ) -> dict[str, Any]:
        """``POST /identity/verify``: ``valid``, and ``reason`` if it is not."""
        body = {"signature": signature, "public_key": public_key, **_content("message", message)}
        return await self.request("POST", "/identity/verify", body)

    async def envelope_create(
        self,
        payload: Any,
        ttl: int | None = None,
        provenance: Sequence[str] | None = None,
        audience: str | None = None,
    ) -> dict[str, Any]:
        """``POST /pci/envelope/create``: its fields, and the whole under ``envelope``."""
        parents = list(provenance) if provenance is not None else None
        given = _given(ttl=ttl, provenance=parents, audience=audience)
        return await self.request("POST", "/pci/envelope/create", {"payload": payload, **given})

    async def envelope_verify(
        self, envelope: Mapping[str, Any], *, consume: bool = False
    ) -> dict[str, Any]:
        """``POST /pci/envelope/verify``: ``valid``, ``code``, ``error`` and each check.

        Takes an envelope, or what :meth:`envelope_create` answered. With ``consume`` the envelope
        is accepted once and never again.
        """
        whole = envelope.get("envelope", envelope)
        path = "/pci/envelope/verify" + ("?consume=true" if consume else "")
        return await self.request("POST", path, {"envelope": whole})

    async def gates_check(
        self,
        content: Text,
        snr_score: float | None = None,
        ihsan_score: float | None = None,
        *,
        content_type: str | None = None,
        sender_id: str | None = None,
        envelope_id: str | None = None,
        profile: str | None = None,
        sources: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """``POST /pci/gates/check``: ``passed``, ``reason``, ``code`` and what each gate said."""
        given = _given(
            snr_score=snr_score,
            ihsan_score=ihsan_score,
            content_type=content_type,
            sender_id=sender_id,
            envelope_id=envelope_id,
            profile=profile,
            sources=list(sources) if sources is not None else None,
        )
        body = {**_content("content", content), **given}
        return await self.request("POST", "/pci/gates/check", body)

    async def inference(
        self,
        prompt: str,
        *,
        system: str | None = None,
        tier: str | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
        timeout: float = INFERENCE_TIMEOUT,
    ) -> dict[str, Any]:
        """``POST /inference/generate``: ``text``, ``model``, ``tier``, counts and the proof."""
        given = _given(
            system=system,
            tier=tier,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=list(stop) if stop is not None else None,
        )
        body = {"prompt": prompt, **given}
        return await self.request("POST", "/inference/generate", body, timeout=timeout)

    async def inference_models(self) -> dict[str, Any]:
        """``GET /inference/models``: the models that were seen."""
        return await self.request("GET", "/inference/models")

    async def inference_tier(
        self,
        prompt: str,
        max_tokens: int | None = None,
        latency_sensitive: bool | None = None,
    ) -> dict[str, Any]:
        """``POST /inference/tier``: ``recommended_tier``, ``complexity``, ``reasoning``."""
        given = _given(max_tokens=max_tokens, latency_sensitive=latency_sensitive)
        return await self.request("POST", "/inference/tier", {"prompt": prompt, **given})

    async def federation_status(self) -> dict[str, Any]:
        """``GET /federation/status``: ``connected``, ``mode``, ``peers`` and the rest."""
        return await self.request("GET", "/federation/status")

    async def federation_peers(self) -> dict[str, Any]:
        """``GET /federation/peers``: who is known."""
        return await self.request("GET", "/federation/peers")

    async def federation_propose(
        self,
        pattern_id: str,
        pattern_embedding: Sequence[float],
        source_node: str,
        confidence: float,
        content: str | None = None,
    ) -> dict[str, Any]:
        """``POST /federation/propose``: ``proposal_id``, ``status``, votes and height."""
        body = {
            "pattern_id": pattern_id,
            "pattern_embedding": list(pattern_embedding),
            "source_node": source_node,
            "confidence": confidence,
            **_given(content=content),
        }
        return await self.request("POST", "/federation/propose", body)

    async def constitution(self) -> dict[str, Any]:
        """``GET /constitution``: what is enforced."""
        return await self.request("GET", "/constitution")

    async def constitution_check(
        self,
        ihsan_score: float | None = None,
        snr_score: float | None = None,
        has_signature: bool | None = None,
        has_provenance: bool | None = None,
    ) -> dict[str, Any]:
        """``POST /constitution/check``: ``compliant``, ``verdict`` and each rule."""
        body = _given(
            ihsan_score=ihsan_score,
            snr_score=snr_score,
            has_signature=has_signature,
            has_provenance=has_provenance,
        )
        return await self.request("POST", "/constitution/check", body)
