"""What a node has learned, found by meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from bizra import _native
from bizra.node.call import answer


class Embedder(NamedTuple):
    """What gives vectors. Those of different embedders are never compared."""

    #: Its name.
    name: str
    #: Its version: another one gives other vectors.
    version: int
    #: How many numbers it gives.
    dimension: int


class SignedFeedback(NamedTuple):
    """Proof of who gives a feedback."""

    #: The key, 64 hex digits.
    public_key: str
    #: Above that of the key's last feedback on the pattern.
    number: int
    #: 128 hex digits.
    signature: str


@dataclass(frozen=True)
class Lesson:
    """Something to learn."""

    #: What it says: 1 byte to 32 KiB.
    content: str
    #: What it is about: at most 16, of 1 to 64 characters.
    tags: Sequence[str] = ()
    #: Who says so: 1 to 128 letters, digits, ``.``, ``_``, ``:`` and ``-``.
    source: str = "local"
    #: Where it lies, as ``embedder`` sees it; without it the node embeds the content.
    embedding: Optional[Sequence[float]] = None
    #: Whose numbers ``embedding`` has.
    embedder: Optional[Embedder] = None


@dataclass(frozen=True)
class Learned:
    """What became of a lesson."""

    #: new, known, merged (with one that is nearly the same) or refused.
    outcome: str
    #: The pattern that it is now, ``pat_`` and 32 hex digits; None if it was refused.
    id: Optional[str] = None
    #: How similar it is to the pattern that it was merged with, or None.
    similarity: Optional[float] = None
    #: How sure the node is of the pattern, 0 to 1.
    confidence: Optional[float] = None
    #: How often it was said by now.
    evidence: Optional[int] = None
    #: Those that were let go to make room for it.
    evicted: Sequence[str] = ()
    #: Why it was refused, in words, or None.
    error: Optional[str] = None


@dataclass(frozen=True)
class Pattern:
    """A pattern that a node holds."""

    #: The digest of what it says, its tags and its embedder: ``pat_`` and 32 hex digits.
    id: str
    #: What it says; None where it was not looked up.
    content: Optional[str]
    #: What it is about.
    tags: List[str]
    #: Who taught it first.
    source: str
    #: Whose numbers place it.
    embedder: Embedder
    #: How sure the node is of it now, 0 to 1.
    confidence: float
    #: How often it was said, by whomever and in whatever words.
    evidence: int
    #: Feedbacks that spoke for it.
    positive: int
    #: Feedbacks that spoke against it.
    negative: int
    #: Feedbacks for it that somebody signed.
    signed_positive: int
    #: How many keys signed them.
    signers: int
    #: How often it was recalled, said again or spoken of.
    uses: int
    #: Seconds since it was learned.
    age_seconds: int
    #: Whether it is never let go to make room.
    pinned: bool
    #: Whether it may be put to the vote now.
    candidate: bool
    #: Whether a decision elevated it.
    is_elevated: bool
    #: That decision: proposal_id, height, mode, validators; None without one.
    elevation: Optional[Dict[str, Any]]
    #: How near it is to what was recalled, -1 to 1; None where nothing was.
    similarity: Optional[float] = None


def _pattern(told: Dict[str, Any]) -> Pattern:
    return Pattern(**{**told, "embedder": Embedder(*told["embedder"])})


class Patterns:
    """Remembers, recalls by meaning, forgets what is not used, and puts patterns up for elevation.

    What is learned, said of a pattern or forgotten is on disk before it is told. Every method waits at
    most ``timeout`` seconds, ``http.request_seconds`` (30) unless told otherwise. Raises
    :class:`bizra.InvalidInput` for what breaks a rule and :class:`bizra.NotFound` for a pattern that is
    not held.
    """

    def __init__(self, port: _native.PatternsPort) -> None:
        self._port = port

    def learn(
        self,
        content: str,
        tags: Sequence[str] = (),
        source: str = "local",
        *,
        embedding: Optional[Sequence[float]] = None,
        embedder: Optional[Embedder] = None,
        timeout: Optional[float] = None,
    ) -> Learned:
        """Learns a pattern. The same again is the same pattern; nearly the same is evidence for it.

        Raises :class:`bizra.Unavailable` with the code ``PATTERNS_FULL`` when nothing may be let go to
        make room.
        """
        lesson = Lesson(content, tags, source, embedding, embedder)
        return _single(self.learn_many([lesson], timeout=timeout))

    async def alearn(
        self,
        content: str,
        tags: Sequence[str] = (),
        source: str = "local",
        *,
        embedding: Optional[Sequence[float]] = None,
        embedder: Optional[Embedder] = None,
        timeout: Optional[float] = None,
    ) -> Learned:
        """As :meth:`learn`."""
        lesson = Lesson(content, tags, source, embedding, embedder)
        return _single(await self.alearn_many([lesson], timeout=timeout))

    def learn_many(
        self, lessons: Sequence[Lesson], *, timeout: Optional[float] = None
    ) -> List[Learned]:
        """Learns up to 256 lessons with one message and one write.

        One that there is no room for is refused by itself; one that breaks a rule has all of them
        refused, with :class:`bizra.InvalidInput`.
        """
        told = self._port.learn([_taught(lesson) for lesson in lessons], timeout).wait()
        return [Learned(**it) for it in told]

    async def alearn_many(
        self, lessons: Sequence[Lesson], *, timeout: Optional[float] = None
    ) -> List[Learned]:
        """As :meth:`learn_many`."""
        told = await answer(self._port.learn([_taught(lesson) for lesson in lessons], timeout))
        return [Learned(**it) for it in told]

    def recall(
        self,
        text: Optional[str] = None,
        limit: int = 10,
        *,
        embedding: Optional[Sequence[float]] = None,
        embedder: Optional[Embedder] = None,
        min_similarity: Optional[float] = None,
        tags: Sequence[str] = (),
        source: Optional[str] = None,
        elevated: Optional[bool] = None,
        timeout: Optional[float] = None,
    ) -> List[Pattern]:
        """The patterns nearest to a text, or to an embedding with its embedder; the nearest first.

        ``limit`` is 1 to 100; ``min_similarity`` -1 to 1, 0.5 unless told otherwise. Only those with
        all of the ``tags``, of the ``source``, and elevated or not, if that is said.
        """
        asked = _asked(
            text, limit, embedding, embedder, min_similarity, tags, source, elevated
        )
        return [_pattern(told) for told in self._port.recall(asked, timeout).wait()]

    async def arecall(
        self,
        text: Optional[str] = None,
        limit: int = 10,
        *,
        embedding: Optional[Sequence[float]] = None,
        embedder: Optional[Embedder] = None,
        min_similarity: Optional[float] = None,
        tags: Sequence[str] = (),
        source: Optional[str] = None,
        elevated: Optional[bool] = None,
        timeout: Optional[float] = None,
    ) -> List[Pattern]:
        """As :meth:`recall`."""
        asked = _asked(
            text, limit, embedding, embedder, min_similarity, tags, source, elevated
        )
        return [_pattern(told) for told in await answer(self._port.recall(asked, timeout))]

    def get(self, id: str, *, timeout: Optional[float] = None) -> Optional[Pattern]:
        """The pattern of this id, or None if it is not held."""
        return _maybe(self._port.get(id, timeout).wait())

    async def aget(self, id: str, *, timeout: Optional[float] = None) -> Optional[Pattern]:
        """As :meth:`get`."""
        return _maybe(await answer(self._port.get(id, timeout)))

    def list(
        self,
        limit: int = 50,
        *,
        after: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> List[Pattern]:
        """The patterns, newest first.

        ``limit`` is 1 to 100 entries; ``after`` is the id of the last entry of the page before.
        """
        return [_pattern(told) for told in self._port.list(limit, after, timeout).wait()]

    async def alist(
        self,
        limit: int = 50,
        *,
        after: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> List[Pattern]:
        """As :meth:`list`."""
        return [_pattern(told) for told in await answer(self._port.list(limit, after, timeout))]

    def stats(self, *, timeout: Optional[float] = None) -> Dict[str, Any]:
        """What is held, and how much may be: patterns, bytes, sources, elevated, embedders."""
        return self._port.stats(timeout).wait()

    async def astats(self, *, timeout: Optional[float] = None) -> Dict[str, Any]:
        """As :meth:`stats`."""
        return await answer(self._port.stats(timeout))

    def sign_feedback(
        self, id: str, positive: bool, *, timeout: Optional[float] = None
    ) -> SignedFeedback:
        """Signs a feedback with the node's key, to be given here or at any other node."""
        return SignedFeedback(*self._port.sign_feedback(id, positive, timeout).wait())

    async def asign_feedback(
        self, id: str, positive: bool, *, timeout: Optional[float] = None
    ) -> SignedFeedback:
        """As :meth:`sign_feedback`."""
        return SignedFeedback(*await answer(self._port.sign_feedback(id, positive, timeout)))

    def feedback(
        self,
        id: str,
        positive: bool,
        signed: Optional[SignedFeedback] = None,
        *,
        timeout: Optional[float] = None,
    ) -> Pattern:
        """Speaks for a pattern (0.05 more confidence) or against it (0.03 less).

        Only what is ``signed`` speaks for an elevation, and counts once however often it is given; it
        raises :class:`bizra.Forbidden` when the signature does not hold. What is not signed is not
        repeated when the actor fails over it.
        """
        return _pattern(self._port.feedback(id, positive, signed, timeout).wait())

    async def afeedback(
        self,
        id: str,
        positive: bool,
        signed: Optional[SignedFeedback] = None,
        *,
        timeout: Optional[float] = None,
    ) -> Pattern:
        """As :meth:`feedback`."""
        return _pattern(await answer(self._port.feedback(id, positive, signed, timeout)))

    def pin(self, id: str, pinned: bool = True, *, timeout: Optional[float] = None) -> Pattern:
        """Keeps a pattern from being let go to make room, or no longer."""
        return _pattern(self._port.pin(id, pinned, timeout).wait())

    async def apin(
        self, id: str, pinned: bool = True, *, timeout: Optional[float] = None
    ) -> Pattern:
        """As :meth:`pin`."""
        return _pattern(await answer(self._port.pin(id, pinned, timeout)))

    def forget(self, id: str, *, timeout: Optional[float] = None) -> None:
        """Removes a pattern with all that belongs to it. Not repeated when the actor fails over it."""
        self._port.forget(id, timeout).wait()

    async def aforget(self, id: str, *, timeout: Optional[float] = None) -> None:
        """As :meth:`forget`."""
        await answer(self._port.forget(id, timeout))

    def elevate(self, id: str, *, timeout: Optional[float] = None) -> Pattern:
        """Puts a candidate to the vote: a confidence of 0.95, nine signed feedbacks of three keys.

        Raises :class:`bizra.InvalidInput` with the code ``NOT_A_CANDIDATE`` for any other, and
        :class:`bizra.GateRejected` when the gates refuse it.
        """
        return _pattern(self._port.elevate(id, timeout).wait())

    async def aelevate(self, id: str, *, timeout: Optional[float] = None) -> Pattern:
        """As :meth:`elevate`."""
        return _pattern(await answer(self._port.elevate(id, timeout)))


def _taught(lesson: Lesson) -> Dict[str, Any]:
    return {
        "content": lesson.content,
        "tags": list(lesson.tags),
        "source": lesson.source,
        "embedding": lesson.embedding,
        "embedder": lesson.embedder,
    }


def _asked(
    text: Optional[str],
    limit: int,
    embedding: Optional[Sequence[float]],
    embedder: Optional[Embedder],
    min_similarity: Optional[float],
    tags: Sequence[str],
    source: Optional[str],
    elevated: Optional[bool],
) -> Dict[str, Any]:
    return {
        "text": text,
        "embedding": embedding,
        "embedder": embedder,
        "limit": limit,
        "min_similarity": min_similarity,
        "tags": list(tags),
        "source": source,
        "elevated": elevated,
    }


def _single(learned: List[Learned]) -> Learned:
    from bizra import Unavailable

    only = learned[0]
    if only.outcome == "refused":
        raise Unavailable(only.error or "", "PATTERNS_FULL")
    return only


def _maybe(told: Optional[Dict[str, Any]]) -> Optional[Pattern]:
    return None if told is None else _pattern(told)
