"""The envelopes of a node."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from bizra import _native
from bizra._native import PCIEnvelope, Verification
from bizra.node.call import answer
from bizra.node.types import EnvelopeLike, NodeIdLike, hex_of, listed

#: What an envelope was made from: an envelope, or its id and content hash.
Parent = Union[PCIEnvelope, Tuple[str, str]]


class Envelopes:
    """Makes envelopes with the node's key, checks those of anybody, and remembers both.

    What is made is on disk before it is returned. Every method waits at most ``timeout`` seconds,
    ``http.request_seconds`` (30) unless told otherwise.
    """

    def __init__(self, port: _native.EnvelopesPort) -> None:
        self._port = port

    def create(
        self,
        payload: Any,
        ttl: int = 3600,
        provenance: Sequence[Parent] = (),
        *,
        audience: Optional[NodeIdLike] = None,
        timeout: Optional[float] = None,
    ) -> PCIEnvelope:
        """Seals a payload, made under the constitution in force.

        ``payload`` is any object that JSON can say (I-JSON: integers within 2**53 - 1; at most 1 MiB,
        64 levels); a text is a JSON string. ``ttl`` is 1 to 3600 seconds. ``provenance`` names up to
        64 parents. ``audience`` is the only node that may consume it.

        Raises :class:`bizra.InvalidInput` for what breaks a rule, and :class:`bizra.Unavailable` with
        the code ``DISK_FULL`` when it could not be kept.
        """
        return self._create(payload, ttl, provenance, audience, timeout).wait()

    async def acreate(
        self,
        payload: Any,
        ttl: int = 3600,
        provenance: Sequence[Parent] = (),
        *,
        audience: Optional[NodeIdLike] = None,
        timeout: Optional[float] = None,
    ) -> PCIEnvelope:
        """As :meth:`create`."""
        return await answer(self._create(payload, ttl, provenance, audience, timeout))

    def _create(
        self,
        payload: Any,
        ttl: int,
        provenance: Sequence[Parent],
        audience: Optional[NodeIdLike],
        timeout: Optional[float],
    ) -> "_native.Call[PCIEnvelope]":
        parents = [
            (it.id, it.content_hash) if isinstance(it, PCIEnvelope) else it for it in provenance
        ]
        node = None if audience is None else hex_of(audience)
        return self._port.create(json.dumps(payload), ttl, parents, node, timeout)

    def verify(self, envelope: EnvelopeLike, *, timeout: Optional[float] = None) -> Verification:
        """Checks an envelope as it came, and records nothing. The outcome is true if it is valid.

        Replays are seen, and parents that are not known here are named. Never raises for bad data.
        """
        return self._port.verify([_bytes(envelope)], timeout).wait()[0]

    async def averify(
        self, envelope: EnvelopeLike, *, timeout: Optional[float] = None
    ) -> Verification:
        """As :meth:`verify`."""
        return (await answer(self._port.verify([_bytes(envelope)], timeout)))[0]

    def verify_many(
        self, envelopes: Sequence[EnvelopeLike], *, timeout: Optional[float] = None
    ) -> List[Verification]:
        """Checks up to 1024 envelopes, of 64 MiB in all, in one message: each as by itself."""
        items = [_bytes(envelope) for envelope in listed(envelopes)]
        return self._port.verify(items, timeout).wait()

    async def averify_many(
        self, envelopes: Sequence[EnvelopeLike], *, timeout: Optional[float] = None
    ) -> List[Verification]:
        """As :meth:`verify_many`."""
        items = [_bytes(envelope) for envelope in listed(envelopes)]
        return await answer(self._port.verify(items, timeout))

    def consume(self, envelope: EnvelopeLike, *, timeout: Optional[float] = None) -> Verification:
        """Checks an envelope and accepts it once: a second time it is ``RejectReplay``.

        That it was accepted is on disk before it is told. Not repeated when the actor fails over it:
        that raises :class:`bizra.Unavailable`, and the envelope may have been accepted.
        """
        return self._port.consume(_bytes(envelope), timeout).wait()[0]

    async def aconsume(
        self, envelope: EnvelopeLike, *, timeout: Optional[float] = None
    ) -> Verification:
        """As :meth:`consume`."""
        return (await answer(self._port.consume(_bytes(envelope), timeout)))[0]

    def get(self, id: str, *, timeout: Optional[float] = None) -> Optional[PCIEnvelope]:
        """The envelope of this id, ``pci_`` and 32 hex digits, if this node made it; else None."""
        return self._port.get(id, timeout).wait()

    async def aget(self, id: str, *, timeout: Optional[float] = None) -> Optional[PCIEnvelope]:
        """As :meth:`get`."""
        return await answer(self._port.get(id, timeout))

    def log(
        self,
        limit: int = 50,
        *,
        since: Optional[datetime] = None,
        after: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> List[Dict[str, Any]]:
        """What this node made, newest first: id, timestamp, content hash, constitution and key.

        ``limit`` is 1 to 1000 entries. ``since`` is a time with a zone. ``after`` is the id of the
        last entry of the page before.
        """
        return self._port.log(limit, _milliseconds(since), after, timeout).wait()

    async def alog(
        self,
        limit: int = 50,
        *,
        since: Optional[datetime] = None,
        after: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> List[Dict[str, Any]]:
        """As :meth:`log`."""
        return await answer(self._port.log(limit, _milliseconds(since), after, timeout))


def _bytes(envelope: EnvelopeLike) -> Union[bytes, str]:
    if isinstance(envelope, PCIEnvelope):
        return envelope.to_json()
    return json.dumps(envelope) if isinstance(envelope, dict) else envelope


def _milliseconds(since: Optional[datetime]) -> Optional[int]:
    if since is None:
        return None
    if since.tzinfo is None:
        raise ValueError("since has no time zone")
    return int(since.timestamp() * 1000)
