"""A whole node in the process: its supervisor and its actors, spoken to by messages."""

from __future__ import annotations

import atexit
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Union

from bizra import _native
from bizra.node.call import answer, wake
from bizra.node.envelopes import Envelopes
from bizra.node.federation import Federation
from bizra.node.gates import Gates
from bizra.node.identity import Identity, IdentityInfo
from bizra.node.inference import (
    Answer,
    Attempt,
    Inference,
    Model,
    Recommendation,
    Stream,
)
from bizra.node.preferences import Preference, Preferences
from bizra.node.patterns import Embedder, Learned, Lesson, Pattern, Patterns, SignedFeedback

__all__ = [
    "ActorInfo",
    "Answer",
    "Attempt",
    "Embedder",
    "Envelopes",
    "Federation",
    "Gates",
    "Identity",
    "IdentityInfo",
    "Inference",
    "Learned",
    "Lesson",
    "Model",
    "Node",
    "Pattern",
    "Patterns",
    "Preference",
    "Preferences",
    "Recommendation",
    "SignedFeedback",
    "Stream",
]

#: The longest that the exit of the interpreter waits for nodes to stop; what is not down by then ends
#: with the process, as if it had been killed, which loses nothing that was acknowledged.
_EXIT_SECONDS = 10.0

atexit.register(_native.stop_all, _EXIT_SECONDS)


@dataclass(frozen=True)
class ActorInfo:
    """An actor of a node, and those below it."""

    #: Unique within the node.
    name: str
    #: waiting, starting, running, stopping, restarting, failed, fenced or stopped.
    state: str
    #: How many times it has been started.
    incarnation: int
    #: Seconds since this incarnation started, or None.
    uptime_seconds: Optional[float]
    #: How many times it was started again.
    restarts: int
    #: Messages waiting or being handled.
    queue_depth: int
    #: The most of them there may be.
    queue_depth_max: int
    #: Whether the node ends when this actor cannot be kept alive.
    critical: bool
    #: Why it last failed: class, reason and at_ms; None if it never did.
    last_failure: Optional[Dict[str, Any]]
    #: Those that it supervises, in start order.
    children: List["ActorInfo"]


def _actor(told: Dict[str, Any]) -> ActorInfo:
    return ActorInfo(**{**told, "children": [_actor(child) for child in told["children"]]})


class Node:
    """A node that runs in this process, on threads of its own, until it is stopped.

    ``data_dir`` is where keys, envelopes and decisions are kept; one node has it at a time, be it
    here or the program ``bizra-api``. Without one, and without ``node.data_dir`` in the configuration,
    the node is made in a new temporary folder that only this user can read, **and that is removed
    when the node stops, with the keys in it**. ``Node("~/.bizra")`` is the one that lasts, the same
    that ``bizra-api`` has.

    ``config`` is the path of a TOML file, or a dictionary of its sections: ``{"http": {"port": 0}}``.
    None stands for what is left out. Unlike the program, a node in a program reads no environment
    variable (only HOME, for ``~``) and no file that it was not told of.

    With ``http=True`` it also listens as configured, and :attr:`address` says where; the token for
    what uses its keys is in ``api-token`` in its folder. Without ``http`` no other process reaches it.

    Every call has two forms: one that blocks its thread and lets others run (Ctrl-C ends it), and one
    whose name begins with ``a``, to be awaited in asyncio (cancelling it ends the work). More calls
    than an actor takes at once wait for their turn, up to 65536. When an actor fails over a call, its
    successor takes the call up; what must not be done twice raises :class:`bizra.Unavailable` with the
    code ``ACTOR_DOWN``. Nodes in one process do not know each other.

    A node stops at the end of ``with`` or ``async with``, by :meth:`stop`, when it and its parts are no
    longer referred to, and at the exit of the interpreter, which waits ten seconds at most. A process
    that was forked afterwards cannot use the node of its parent, nor start one: that raises
    :class:`bizra.Unavailable` with the code ``FORKED``. Start processes by the method ``spawn``.

    Raises :class:`bizra.InvalidInput` with the code ``CONFIG`` for a configuration that cannot be used,
    and :class:`bizra.Unavailable` when the node does not come up: ``DATA_DIR`` if its folder is in use.
    """

    #: The keys: signs and verifies.
    identity: Identity
    #: The gates: measures and judges content.
    gates: Gates
    #: Makes, checks and finds envelopes.
    envelopes: Envelopes
    #: Answers prompts.
    inference: Inference
    #: Proposals and other nodes.
    federation: Federation
    #: What the node has learned.
    patterns: Patterns
    #: How people like to be answered.
    preferences: Preferences

    def __init__(
        self,
        data_dir: Union[None, str, "os.PathLike[str]"] = None,
        config: Union[None, str, "os.PathLike[str]", Mapping[str, Any]] = None,
        http: bool = False,
    ) -> None:
        self._take(_start(data_dir, config, http).wait())

    @classmethod
    async def astart(
        cls,
        data_dir: Union[None, str, "os.PathLike[str]"] = None,
        config: Union[None, str, "os.PathLike[str]", Mapping[str, Any]] = None,
        http: bool = False,
    ) -> "Node":
        """Starts a node without holding up the event loop; otherwise as ``Node(...)``."""
        node = cls.__new__(cls)
        node._take(await answer(_start(data_dir, config, http)))
        return node

    def _take(self, port: _native.NodePort) -> None:
        self._port = port
        self.identity = Identity(port.identity)
        self.gates = Gates(port.gates)
        self.envelopes = Envelopes(port.envelopes)
        self.inference = Inference(port.inference)
        self.federation = Federation(port.federation)
        self.patterns = Patterns(port.patterns)
        self.preferences = Preferences(port.preferences)

    @property
    def data_dir(self) -> str:
        """Where its data is."""
        return str(self._port.data_dir)

    @property
    def is_temporary(self) -> bool:
        """Whether its data is removed when it stops."""
        return self._port.is_temporary

    @property
    def is_running(self) -> bool:
        """Whether it takes calls: it has neither stopped nor ended by itself."""
        return self._port.is_running

    @property
    def address(self) -> Optional[str]:
        """Where it listens, as ``host:port``; None without ``http``."""
        found = self._port.address
        if found is None:
            return None
        host, port = found
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def actors(self, *, timeout: Optional[float] = None) -> List[ActorInfo]:
        """The supervision tree: the children of the root in the order in which they start."""
        return [_actor(told) for told in self._port.actors(timeout).wait()]

    async def aactors(self, *, timeout: Optional[float] = None) -> List[ActorInfo]:
        """As :meth:`actors`."""
        return [_actor(told) for told in await answer(self._port.actors(timeout))]

    def stop_actor(
        self, name: str, kind: str = "error", *, timeout: Optional[float] = None
    ) -> None:
        """Makes an actor fail, as a drill: its supervisor starts it again.

        ``kind`` is how: ``error``, and with ``chaos.enabled`` in the configuration also ``panic``,
        ``stop``, ``kill`` and ``freeze``. Returns when the fault is on its way. Restarts have a budget
        (``supervisor.max_restarts``, 5 in 10 s); a critical actor that has spent it ends the node.

        Raises :class:`bizra.NotFound` when no actor has that name.
        """
        self._port.stop_actor(name, kind, timeout).wait()

    async def astop_actor(
        self, name: str, kind: str = "error", *, timeout: Optional[float] = None
    ) -> None:
        """As :meth:`stop_actor`."""
        await answer(self._port.stop_actor(name, kind, timeout))

    def stop(self) -> None:
        """Stops the node in order and waits for that: calls that were accepted are finished first,
        streams end where they are.

        Takes at most ``supervisor.shutdown_seconds`` (25); what has not ended by then is killed. Calls
        made afterwards raise :class:`bizra.Unavailable` with the code ``NODE_STOPPED``. Stopping twice
        is stopping once.
        """
        self._port.stop().wait()

    async def astop(self) -> None:
        """As :meth:`stop`. When it is cancelled, the node stops all the same."""
        await answer(self._port.stop())

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> "Node":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.astop()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"<bizra.Node {state} in {self.data_dir!r}>"


# Where users import it from.
Node.__module__ = "bizra"


def _start(
    data_dir: Union[None, str, "os.PathLike[str]"],
    config: Union[None, str, "os.PathLike[str]", Mapping[str, Any]],
    http: bool,
) -> "_native.Call[_native.NodePort]":
    folder = None if data_dir is None else os.fspath(data_dir)
    if config is None or isinstance(config, (str, os.PathLike)):
        path = None if config is None else os.fspath(config)
        return _native.start_node(None, path, folder, http, wake)
    values = json.dumps(_given(config), default=os.fspath)
    return _native.start_node(values, None, folder, http, wake)


def _given(values: Mapping[str, Any]) -> Dict[str, Any]:
    """The values without those that are left out; TOML has no null."""
    return {
        key: _given(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }
