"""The federation, as a node takes part in it."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from bizra import _native
from bizra.node.call import answer
from bizra.node.types import NodeIdLike, hex_of


class Federation:
    """What a node knows of others and decides with them. A node that is alone decides by itself.

    Every method waits at most ``timeout`` seconds, ``http.request_seconds`` (30) unless told
    otherwise. Dictionaries have the keys of the HTTP interface.
    """

    def __init__(self, port: _native.FederationPort) -> None:
        self._port = port

    def status(self, *, timeout: Optional[float] = None) -> Dict[str, Any]:
        """How the node takes part, and how far the decisions are.

        ``connected`` is whether a socket to others is open, ``mode`` is ``solo`` for a node that is
        alone, ``quorum`` how many of the ``validators`` decide, ``consensus_height`` the number of
        the last decision.
        """
        return self._port.status(timeout).wait()

    async def astatus(self, *, timeout: Optional[float] = None) -> Dict[str, Any]:
        """As :meth:`status`."""
        return await answer(self._port.status(timeout))

    def peers(self, *, timeout: Optional[float] = None) -> List[Dict[str, Any]]:
        """The other nodes that are known."""
        return self._port.peers(timeout).wait()

    async def apeers(self, *, timeout: Optional[float] = None) -> List[Dict[str, Any]]:
        """As :meth:`peers`."""
        return await answer(self._port.peers(timeout))

    def propose(
        self,
        pattern_id: str,
        pattern_embedding: Sequence[float],
        confidence: float,
        content: Optional[str] = None,
        *,
        source_node: Optional[NodeIdLike] = None,
        timeout: Optional[float] = None,
    ) -> Dict[str, Any]:
        """Has a pattern signed, judged and put to the vote.

        ``pattern_id`` has 1 to 128 letters, digits, ``.``, ``_``, ``:`` and ``-``;
        ``pattern_embedding`` 1 to 4096 numbers within 1e6; ``confidence`` is 0.95 to 1; ``content``
        has at most 16 KiB. ``source_node`` is the node that saw it, this one unless told otherwise.

        Returns ``proposal_id``, ``status`` (``committed``, ``pending`` or ``expired``), the votes and
        the ``height`` of the decision. The same proposal again is the same one. Raises
        :class:`bizra.GateRejected` when the gates refuse it, with the proposal and the receipt in its
        details, and :class:`bizra.InvalidInput` for a value out of range.
        """
        return self._propose(
            pattern_id, pattern_embedding, confidence, content, source_node, timeout
        ).wait()

    async def apropose(
        self,
        pattern_id: str,
        pattern_embedding: Sequence[float],
        confidence: float,
        content: Optional[str] = None,
        *,
        source_node: Optional[NodeIdLike] = None,
        timeout: Optional[float] = None,
    ) -> Dict[str, Any]:
        """As :meth:`propose`."""
        call = self._propose(
            pattern_id, pattern_embedding, confidence, content, source_node, timeout
        )
        return await answer(call)

    def _propose(
        self,
        pattern_id: str,
        pattern_embedding: Sequence[float],
        confidence: float,
        content: Optional[str],
        source_node: Optional[NodeIdLike],
        timeout: Optional[float],
    ) -> "_native.Call[Dict[str, Any]]":
        source = None if source_node is None else hex_of(source_node)
        embedding = list(pattern_embedding)
        return self._port.propose(pattern_id, embedding, confidence, content, source, timeout)

    def proposal(
        self, proposal_id: str, *, timeout: Optional[float] = None
    ) -> Optional[Dict[str, Any]]:
        """The whole record of a proposal, down to its certificate; None if it is not kept."""
        return self._port.proposal(proposal_id, timeout).wait()

    async def aproposal(
        self, proposal_id: str, *, timeout: Optional[float] = None
    ) -> Optional[Dict[str, Any]]:
        """As :meth:`proposal`."""
        return await answer(self._port.proposal(proposal_id, timeout))

    def proposals(
        self,
        limit: int = 50,
        *,
        after: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> List[Dict[str, Any]]:
        """What was proposed, newest first, without embeddings and contents.

        ``limit`` is 1 to 100 entries; ``after`` is the id of the last entry of the page before.
        """
        return self._port.proposals(limit, after, timeout).wait()

    async def aproposals(
        self,
        limit: int = 50,
        *,
        after: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> List[Dict[str, Any]]:
        """As :meth:`proposals`."""
        return await answer(self._port.proposals(limit, after, timeout))
