"""Backends of one's own, behind gates and with proof."""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Optional, Tuple, Type, Union

from bizra._errors import InvalidInput, NotFound, Unavailable
from bizra._native import Constitution, ModelSelector, ModelTier, NodeIdentity, TaskComplexity
from bizra.node import Answer, Node

#: Where a node looks for a server that nobody registered: nothing listens there.
_NOWHERE = "http://127.0.0.1:9"

#: Seconds between looks at the servers: what health_check() says is no older.
_PROBE_SECONDS = 5

#: In the order of what they take.
_TIERS = ("edge", "local", "pool")


@dataclass(frozen=True, repr=False)
class InferenceResponse(Answer):
    """An answer and its proof, which the gateway's identity signed. ``str()`` is its text."""

    def __repr__(self) -> str:
        speed = f"{self.tokens_per_second:.1f} tok/s"
        told = f"model={self.model!r}, tier={self.tier!r}, tokens={self.completion_tokens}"
        return f"InferenceResponse({told}, {speed})"


@dataclass(frozen=True)
class _Backend:
    tier: str
    #: None is the server's first, or the one of the edge.
    model: Optional[str]
    #: What it is reached through: edge, ollama or openai.
    kind: str
    #: The address of its server, or the path of a file; empty is the model inside the package.
    place: str


class InferenceGateway:
    """Answers prompts with the backends that are registered, and with no others.

    It holds a node without a door, in a temporary folder that is removed with it: prompts and answers
    pass the gates of ``constitution``, answers are sealed with the key of ``identity``, and queues,
    retries and breakers are those of a node. The node is started for the first prompt, and again when
    a backend was registered since. For a node that lasts, see Node.

    Threads may use it at once. It is closed by close(), at the end of ``with``, or when it is dropped.
    """

    def __init__(
        self, identity: NodeIdentity, constitution: Optional[Constitution] = None
    ) -> None:
        self._identity = identity
        self._constitution = Constitution() if constitution is None else constitution
        self._backends: List[_Backend] = []
        self._lock = threading.Lock()
        self._node: Optional[Node] = None
        self._folder: Optional[tempfile.TemporaryDirectory[str]] = None

    def register_gguf(self, path: Union[None, str, "os.PathLike[str]"] = None) -> None:
        """Adds the model of a GGUF file, which runs in this process, to the tier edge.

        Without a path it is the demo model inside the package, which knows nothing. The first that was
        registered answers.
        """
        place = "" if path is None else os.path.abspath(path)
        self._register(_Backend("edge", None, "edge", place))

    def register_ollama(
        self,
        model: str,
        tier: str = "local",
        base_url: str = "http://127.0.0.1:11434",
    ) -> None:
        """Adds a model of an Ollama server. ``tier`` is local or pool."""
        self._register(_Backend(_of_server(tier), model, "ollama", base_url))

    def register_lmstudio(
        self,
        tier: str = "local",
        host: str = "127.0.0.1",
        port: int = 1234,
        model: Optional[str] = None,
    ) -> None:
        """Adds a model of an LM Studio server, or of any other of the OpenAI interface.

        Without ``model`` it is the first that the server lists.
        """
        shown = f"[{host}]" if ":" in host else host
        self._register(_Backend(_of_server(tier), model, "openai", f"http://{shown}:{port}/v1"))

    def infer(
        self,
        prompt: str,
        system: Optional[str] = None,
        max_tokens: int = 1024,
        temperature: float = 0.7,
        tier: Optional[str] = None,
        *,
        timeout: Optional[float] = None,
    ) -> InferenceResponse:
        """Answers a prompt; other threads go on meanwhile.

        ``tier`` is edge, local or pool; without it the form of the prompt decides. A tier without a
        backend is replaced by the next lower one that has one, or else by the next higher.
        ``max_tokens`` is 1 to 4096, ``temperature`` 0 to 2; it takes 120 seconds at most, or
        ``timeout``.

        Raises Unavailable (a RuntimeError) when no backend is registered or none can serve,
        GateRejected when the gates refuse, InvalidInput for a value out of range, Timeout.
        """
        asked = None if tier is None else ModelTier(tier).name
        complexity = TaskComplexity.estimate(prompt, max_tokens)
        wanted = asked or ModelSelector().select_tier(complexity).name
        node, backends = self._running(wanted)
        refused: Optional[Unavailable] = None
        for at in sorted(range(len(backends)), key=lambda at: _rank(wanted, backends[at].tier)):
            backend = backends[at]
            try:
                answer = node.inference.generate(
                    prompt,
                    system=system,
                    max_tokens=max_tokens,
                    temperature=temperature,
                    tier=backend.tier,
                    model=_model(node, at, backend),
                    timeout=timeout,
                )
            except Unavailable as error:
                refused = error
                continue
            except NotFound:
                # Its server does not have the model, or is away: a node tells these by what it saw.
                what = f"the server at {backend.place} does not offer {backend.model} now"
                refused = Unavailable(what, "BACKEND_UNAVAILABLE")
                continue
            told = {field.name: getattr(answer, field.name) for field in fields(answer)}
            told["requested_tier"] = None if asked is None else asked.capitalize()
            told["degraded"] = asked is not None and _lower(answer.tier.lower(), asked)
            return InferenceResponse(**told)
        assert refused is not None
        raise refused

    def health_check(self, tier: str) -> bool:
        """Whether a backend of the tier would serve now, by a look of the last five seconds."""
        name = ModelTier(tier).name
        if not any(backend.tier == name for backend in self._backends):
            return False
        node, backends = self._running(name)
        return any(
            backend.tier == name and bool(_offered(node, at, backend))
            for at, backend in enumerate(backends)
        )

    def close(self) -> None:
        """Stops what it runs. It can be used again, and then starts anew."""
        with self._lock:
            self._stop()

    def __enter__(self) -> "InferenceGateway":
        return self

    def __exit__(
        self,
        _type: Optional[Type[BaseException]],
        _value: Optional[BaseException],
        _trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"InferenceGateway(backends={len(self._backends)}, rust_native=True)"

    def _register(self, backend: _Backend) -> None:
        with self._lock:
            self._backends.append(backend)
            # Started anew with it; who is being answered is answered first.
            self._stop()

    def _running(self, tier: str) -> Tuple[Node, List[_Backend]]:
        with self._lock:
            backends = list(self._backends)
            if not backends:
                name = tier.capitalize()
                raise Unavailable(f"No backend for tier {name}; register one", "BACKEND_UNAVAILABLE")
            if self._node is None:
                self._node = self._started(backends)
            return self._node, backends

    def _started(self, backends: List[_Backend]) -> Node:
        self._folder = tempfile.TemporaryDirectory(prefix="bizra-gateway-")
        try:
            folder = Path(self._folder.name)
            identities = folder / "data" / "identities"
            identities.parent.mkdir(mode=0o700)
            identities.mkdir(mode=0o700)
            self._identity.save(identities / f"{self._identity.node_id.id}.json")
            constitution = folder / "constitution.toml"
            constitution.write_text(self._constitution.text, encoding="utf-8")
            return Node(folder / "data", _config(backends, str(constitution)))
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        node, self._node = self._node, None
        folder, self._folder = self._folder, None
        try:
            if node is not None:
                node.stop()
        finally:
            if folder is not None:
                folder.cleanup()


def _config(backends: List[_Backend], constitution: str) -> Dict[str, Any]:
    def servers(kind: str) -> List[Dict[str, Any]]:
        return [
            {
                "name": str(at),
                "url": backend.place,
                "tier": backend.tier,
                "model": backend.model or "",
                "probe_seconds": _PROBE_SECONDS,
            }
            for at, backend in enumerate(backends)
            if backend.kind == kind
        ]

    files = [backend.place for backend in backends if backend.kind == "edge"]
    return {
        "gates": {"constitution": constitution},
        "inference": {
            "edge": {"model": files[0] if files else ""},
            "ollama": {"url": _NOWHERE, "servers": servers("ollama")},
            "openai": servers("openai"),
        },
    }


def _of_server(name: str) -> str:
    """The tier of a server, which is never the edge."""
    tier = ModelTier(name).name
    if tier == "edge":
        raise InvalidInput("a server is of tier local or pool", "UNKNOWN_TIER")
    return tier


def _rank(wanted: str, tier: str) -> Tuple[bool, int]:
    """Itself first, then lower ones, nearest first, then higher ones, as a node goes through them."""
    distance = _TIERS.index(tier) - _TIERS.index(wanted)
    return (distance > 0, abs(distance))


def _lower(tier: str, than: str) -> bool:
    return _TIERS.index(tier) < _TIERS.index(than)


def _offered(node: Node, at: int, backend: _Backend) -> List[str]:
    """The models of a backend that would answer now."""
    name = "edge" if backend.kind == "edge" else f"{backend.kind}-{at}"
    models = [model.name for model in node.inference.models() if model.backend == name and model.available]
    if backend.model is None:
        return models
    return [model for model in models if model.split(":latest")[0] == backend.model.split(":latest")[0]]


def _model(node: Node, at: int, backend: _Backend) -> Optional[str]:
    """The model to ask for by name, so that no other backend of the tier answers."""
    if backend.kind == "edge":
        return None
    if backend.model is not None:
        return backend.model
    offered = _offered(node, at, backend)
    if not offered:
        raise Unavailable(f"the server at {backend.place} has no model now", "BACKEND_UNAVAILABLE")
    return offered[0]


# Where users import them from.
InferenceGateway.__module__ = "bizra"
InferenceResponse.__module__ = "bizra"
