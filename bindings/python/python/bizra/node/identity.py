"""The keys of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from bizra import _native
from bizra._native import NodeId
from bizra.node.call import answer
from bizra.node.types import Data, NodeIdLike, hex_of, listed

#: A message, the signature in hex, and the public key in hex.
Claim = Tuple[Data, str, str]


@dataclass(frozen=True)
class IdentityInfo:
    """One identity of a node. The secret stays with the node."""

    #: Its id.
    node_id: NodeId
    #: Its public key, 64 hex digits.
    public_key: str
    #: Its owner's name for it, or None.
    label: Optional[str]
    #: Whether it is the one that signs.
    active: bool
    #: The record by which another key took its place, or None.
    rotation: Optional[Dict[str, Any]]


def _info(told: Dict[str, Any]) -> IdentityInfo:
    return IdentityInfo(**{**told, "node_id": NodeId(told["node_id"])})


class Identity:
    """The keys of a node: signs with the active one, verifies for anybody.

    A batch is one message to the identity actor, of at most 1024 items. Every method waits at most
    ``timeout`` seconds, ``http.request_seconds`` (30) unless told otherwise, and raises
    :class:`bizra.Timeout` then, or :class:`bizra.Unavailable` when the node is not there.
    """

    def __init__(self, port: _native.IdentityPort) -> None:
        self._port = port

    @property
    def node_id(self) -> NodeId:
        """The id of the identity that signs. A call of its own, as :meth:`active`."""
        return self.active().node_id

    @property
    def public_key(self) -> str:
        """The public key of the identity that signs, 64 hex digits. As :meth:`active`."""
        return self.active().public_key

    def active(self, *, timeout: Optional[float] = None) -> IdentityInfo:
        """The identity that signs."""
        return _info(self._port.active(timeout).wait())

    async def aactive(self, *, timeout: Optional[float] = None) -> IdentityInfo:
        """As :meth:`active`."""
        return _info(await answer(self._port.active(timeout)))

    def list(self, *, timeout: Optional[float] = None) -> List[IdentityInfo]:
        """Every identity of the node, the active one first."""
        return [_info(told) for told in self._port.list(timeout).wait()]

    async def alist(self, *, timeout: Optional[float] = None) -> List[IdentityInfo]:
        """As :meth:`list`."""
        return [_info(told) for told in await answer(self._port.list(timeout))]

    def sign(self, message: Data, *, timeout: Optional[float] = None) -> str:
        """Signs the domain-separated digest of a message, as :meth:`bizra.NodeIdentity.sign` does.

        Returns 128 hex digits.
        """
        return self._port.sign([message], timeout).wait()[0]

    async def asign(self, message: Data, *, timeout: Optional[float] = None) -> str:
        """As :meth:`sign`."""
        return (await answer(self._port.sign([message], timeout)))[0]

    def sign_many(
        self, messages: Sequence[Data], *, timeout: Optional[float] = None
    ) -> List[str]:
        """Signs up to 1024 messages, all with one key, in their order."""
        return self._port.sign(listed(messages), timeout).wait()

    async def asign_many(
        self, messages: Sequence[Data], *, timeout: Optional[float] = None
    ) -> List[str]:
        """As :meth:`sign_many`."""
        return await answer(self._port.sign(listed(messages), timeout))

    def verify(
        self,
        message: Data,
        signature: str,
        public_key: str,
        *,
        timeout: Optional[float] = None,
    ) -> bool:
        """Whether the key signed the message: strict Ed25519.

        What has not the form of a signature (128 hex digits) or a key (64) is not valid.
        """
        claims = [(message, signature, public_key)]
        return self._port.verify(claims, timeout).wait()[0] is None

    async def averify(
        self,
        message: Data,
        signature: str,
        public_key: str,
        *,
        timeout: Optional[float] = None,
    ) -> bool:
        """As :meth:`verify`."""
        claims = [(message, signature, public_key)]
        return (await answer(self._port.verify(claims, timeout)))[0] is None

    def verify_many(
        self, claims: Sequence[Claim], *, timeout: Optional[float] = None
    ) -> List[bool]:
        """Verifies up to 1024 triples of message, signature and public key, in their order."""
        return [why is None for why in self._port.verify(listed(claims), timeout).wait()]

    async def averify_many(
        self, claims: Sequence[Claim], *, timeout: Optional[float] = None
    ) -> List[bool]:
        """As :meth:`verify_many`."""
        verdicts = await answer(self._port.verify(listed(claims), timeout))
        return [why is None for why in verdicts]

    def generate(
        self,
        label: Optional[str] = None,
        *,
        activate: bool = True,
        timeout: Optional[float] = None,
    ) -> IdentityInfo:
        """Makes a key, which signs from now on unless ``activate`` is False.

        The former identities stay. ``label`` has 1 to 64 characters. A node keeps 64 identities;
        more raise :class:`bizra.Unavailable` with the code ``KEYSTORE_FULL``. Not repeated when the
        actor fails over it: that raises ``ACTOR_DOWN``, and :meth:`list` tells what became of it.
        """
        return _info(self._port.generate(label, activate, timeout).wait())

    async def agenerate(
        self,
        label: Optional[str] = None,
        *,
        activate: bool = True,
        timeout: Optional[float] = None,
    ) -> IdentityInfo:
        """As :meth:`generate`."""
        return _info(await answer(self._port.generate(label, activate, timeout)))

    def activate(
        self, node_id: NodeIdLike, *, timeout: Optional[float] = None
    ) -> IdentityInfo:
        """Lets another identity of this node sign from now on.

        Raises :class:`bizra.NotFound` for one that it has not.
        """
        return _info(self._port.activate(hex_of(node_id), timeout).wait())

    async def aactivate(
        self, node_id: NodeIdLike, *, timeout: Optional[float] = None
    ) -> IdentityInfo:
        """As :meth:`activate`."""
        return _info(await answer(self._port.activate(hex_of(node_id), timeout)))
