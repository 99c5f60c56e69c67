"""Prompts and their answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, AsyncIterator, Dict, Iterator, List, Optional, Sequence, Union

from bizra import _native
from bizra._native import PCIEnvelope
from bizra.node.call import answer


@dataclass(frozen=True)
class Attempt:
    """A backend that was tried for an answer."""

    #: The tier it serves: Edge, Local or Pool.
    tier: str
    #: Its name.
    backend: str
    #: What became of it: ok, or how it failed.
    outcome: str
    #: Milliseconds it took.
    ms: float


@dataclass(frozen=True)
class Answer:
    """An answer and its proof. Its text is also that of ``str(answer)``."""

    #: Names the request in the log and in the envelope.
    request_id: str
    #: The text, without prompt and stop string.
    text: str
    #: Name of the model that made it.
    model: str
    #: Where it ran: Edge, Local or Pool.
    tier: str
    #: The tier that was asked for, or None.
    requested_tier: Optional[str]
    #: Whether a lower tier answered than was asked for.
    degraded: bool
    #: The backends that were tried, in order.
    attempts: List[Attempt]
    #: Tokens of the prompt.
    prompt_tokens: int
    #: Tokens of the text.
    completion_tokens: int
    #: Whether these two are a guess.
    tokens_estimated: bool
    #: Why it ended: stop or length.
    finish_reason: str
    #: Milliseconds it took in all.
    duration_ms: float
    #: Milliseconds spent waiting for backends that had no room.
    queue_ms: float
    #: Milliseconds to the first token.
    ttft_ms: float
    #: Tokens of the text by second.
    tokens_per_second: float
    #: The proof.
    envelope: PCIEnvelope

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Model:
    """A model that was really seen. What its backend does not tell is None."""

    #: Its name.
    name: str
    #: Where it runs: Edge, Local or Pool.
    tier: str
    #: What runs it.
    backend: str
    #: How many parameters it has.
    parameters: Optional[int]
    #: How they are stored.
    quantization: Optional[str]
    #: Tokens of prompt and answer together.
    context_length: Optional[int]
    #: Whether it would answer now.
    available: bool
    #: Whether it is in memory.
    loaded: bool
    #: When it was last seen, in milliseconds since 1970.
    last_seen: int
    #: What else there is to say of it.
    note: Optional[str]


@dataclass(frozen=True)
class Recommendation:
    """Which tier a prompt should go to."""

    #: Edge, Local or Pool.
    recommended_tier: str
    #: How hard the prompt looks: simple, medium, complex or expert.
    complexity: str
    #: Why, in words.
    reasoning: str
    #: Tiers that would serve it now.
    available: List[str]


def _answer(told: Dict[str, Any]) -> Answer:
    attempts = [Attempt(**attempt) for attempt in told["attempts"]]
    envelope = PCIEnvelope.from_json(json.dumps(told["envelope"]))
    return Answer(**{**told, "attempts": attempts, "envelope": envelope})


class Stream:
    """A text as it comes, for ``for`` and for ``async for``: pieces of it, none of them empty.

    After the last piece :attr:`answer` has the whole answer with its proof. Closing a stream,
    dropping it, cancelling the wait for a piece or stopping the node ends the work. One reader at a
    time.
    """

    def __init__(self, port: _native.StreamPort) -> None:
        self._port = port
        self._answer: Optional[Answer] = None

    @property
    def answer(self) -> Optional[Answer]:
        """The whole answer with its proof, once the last piece was taken; None before."""
        return self._answer

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._answer is not None:
            raise StopIteration
        try:
            piece = self._port.next().wait()
        except BaseException:
            self._port.close()
            raise
        if isinstance(piece, str):
            return piece
        self._answer = _answer(piece)
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self._answer is not None:
            raise StopAsyncIteration
        try:
            call = self._port.next()
            if call.done():
                # Others have their turn also while pieces come faster than they are taken.
                await asyncio.sleep(0)
            piece = await answer(call)
        except BaseException:
            self._port.close()
            raise
        if isinstance(piece, str):
            return piece
        self._answer = _answer(piece)
        raise StopAsyncIteration

    def close(self) -> None:
        """Ends the work, if it goes on."""
        self._port.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Inference:
    """Answers prompts, with proof.

    A prompt has with its system text up to ``inference.prompt_chars_max`` (65536) characters.
    ``max_tokens`` is 1 to ``inference.max_tokens_max`` (4096), 512 unless told otherwise;
    ``temperature`` 0 (greedy) to 2, 0.7 unless told otherwise; ``top_p`` above 0 and up to 1;
    ``seed`` 0 to 2**53 - 1, makes the choice repeatable; ``stop`` is one text or up to 8, of at most
    64 characters, that end the answer; ``tier`` is edge, local or pool; ``model`` a name of
    :meth:`models`. What is known of somebody's preferences goes into ``system``, made by
    ``node.preferences.apply``.

    Generating takes at most ``timeout`` seconds, ``http.generate_seconds`` (120) unless told
    otherwise, waiting for a turn included. Raises :class:`bizra.InvalidInput` for a value out of
    range, :class:`bizra.NotFound` for a model there is not, :class:`bizra.GateRejected` when the gates
    refuse prompt or answer, with the receipt in its details, :class:`bizra.Unavailable` when no
    backend serves it, and :class:`bizra.Timeout`.
    """

    def __init__(self, port: _native.InferencePort) -> None:
        self._port = port

    def generate(
        self,
        prompt: str,
        *,
        system: Optional[str] = None,
        max_tokens: Optional[int] = None,
        temperature: Optional[float] = None,
        top_p: Optional[float] = None,
        seed: Optional[int] = None,
        stop: Union[str, Sequence[str]] = (),
        tier: Optional[str] = None,
        model: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Answer:
        """Answers a prompt."""
        asked = _asked(
            prompt, system, max_tokens, temperature, top_p, seed, stop, tier, model
        )
        return _answer(self._port.generate(asked, timeout).wait())

    async def agenerate(
        self,
        prompt: str,
        *,
        system: Optional[str] = None,
        max_tokens: Optional[int] = None,
        temperature: Optional[float] = None,
        top_p: Optional[float] = None,
        seed: Optional[int] = None,
        stop: Union[str, Sequence[str]] = (),
        tier: Optional[str] = None,
        model: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Answer:
        """As :meth:`generate`. Cancelling it ends the work."""
        asked = _asked(
            prompt, system, max_tokens, temperature, top_p, seed, stop, tier, model
        )
        return _answer(await answer(self._port.generate(asked, timeout)))

    def stream(
        self,
        prompt: str,
        *,
        system: Optional[str] = None,
        max_tokens: Optional[int] = None,
        temperature: Optional[float] = None,
        top_p: Optional[float] = None,
        seed: Optional[int] = None,
        stop: Union[str, Sequence[str]] = (),
        tier: Optional[str] = None,
        model: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Stream:
        """Answers a prompt piece by piece, for ``for`` and for ``async for``.

        The work begins at once, and waits for a reader that is slow. A stream is not repeated when
        an actor fails over it.
        """
        asked = _asked(
            prompt, system, max_tokens, temperature, top_p, seed, stop, tier, model
        )
        return Stream(self._port.stream(asked, timeout))

    def models(self, *, timeout: Optional[float] = None) -> List[Model]:
        """The models that were seen, those of the edge first."""
        return [Model(**told) for told in self._port.models(timeout).wait()]

    async def amodels(self, *, timeout: Optional[float] = None) -> List[Model]:
        """As :meth:`models`."""
        return [Model(**told) for told in await answer(self._port.models(timeout))]

    def tier(
        self,
        prompt: str,
        *,
        max_tokens: Optional[int] = None,
        latency_sensitive: bool = False,
        timeout: Optional[float] = None,
    ) -> Recommendation:
        """Which tier a prompt should go to, by its form; nothing is generated."""
        told = self._port.tier(prompt, max_tokens, latency_sensitive, timeout).wait()
        return Recommendation(**told)

    async def atier(
        self,
        prompt: str,
        *,
        max_tokens: Optional[int] = None,
        latency_sensitive: bool = False,
        timeout: Optional[float] = None,
    ) -> Recommendation:
        """As :meth:`tier`."""
        call = self._port.tier(prompt, max_tokens, latency_sensitive, timeout)
        return Recommendation(**await answer(call))


def _asked(
    prompt: str,
    system: Optional[str],
    max_tokens: Optional[int],
    temperature: Optional[float],
    top_p: Optional[float],
    seed: Optional[int],
    stop: Union[str, Sequence[str]],
    tier: Optional[str],
    model: Optional[str],
) -> Dict[str, Any]:
    return {
        "prompt": prompt,
        "system": system,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "stop": [stop] if isinstance(stop, str) else list(stop),
        "tier": tier,
        "model": model,
    }
