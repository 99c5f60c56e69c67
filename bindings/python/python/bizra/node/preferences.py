"""How people like to be answered, as a node has learned it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from bizra import _native
from bizra.node.call import answer


@dataclass(frozen=True)
class Preference:
    """A value that was observed, and how sure the node is of it."""

    #: What it is about: language, style, verbosity, code_style or custom.
    type: str
    #: The name of a custom preference, or None.
    key: Optional[str]
    #: What is preferred.
    value: str
    #: How sure the node is, 0 to 1: 0.5 at first.
    confidence: float
    #: How often it was observed.
    observations: int
    #: Whether models are told: from a confidence of 0.7 on.
    active: bool
    #: When it was observed last, RFC 3339 in UTC.
    observed_at: str


def _preference(told: Dict[str, Any]) -> Preference:
    return Preference(**{name: told[name] for name in Preference.__dataclass_fields__})


class Preferences:
    """Learns how people like to be answered, and tells models.

    A subject is a name of 1 to 64 letters, digits, ``.``, ``_`` and ``-``; it never reaches a prompt.
    What is learned or forgotten is on disk before it is told. Every method waits at most ``timeout``
    seconds, ``http.request_seconds`` (30) unless told otherwise.
    """

    def __init__(self, port: _native.PreferencesPort) -> None:
        self._port = port

    def observe(
        self,
        subject: str,
        type: str,
        value: str,
        key: Optional[str] = None,
        *,
        timeout: Optional[float] = None,
    ) -> Preference:
        """Takes in that a subject chose a value. Observed twice, it counts twice.

        ``type`` is language, style, verbosity or code_style, whose values are given; or custom, with a
        ``key`` and a value of at most three plain words each.

        Raises :class:`bizra.InvalidInput` for a value that is none, :class:`bizra.Forbidden` for one
        that reads like an instruction, a secret or somebody's data, and :class:`bizra.Unavailable`
        with the code ``ACTOR_DOWN`` when the actor failed over it: it is not repeated.
        """
        return _preference(self._port.observe(subject, type, value, key, timeout).wait())

    async def aobserve(
        self,
        subject: str,
        type: str,
        value: str,
        key: Optional[str] = None,
        *,
        timeout: Optional[float] = None,
    ) -> Preference:
        """As :meth:`observe`."""
        return _preference(await answer(self._port.observe(subject, type, value, key, timeout)))

    def list(self, subject: str, *, timeout: Optional[float] = None) -> List[Preference]:
        """Every value that was observed of a subject: by type, the active one first."""
        return [_preference(told) for told in self._port.list(subject, timeout).wait()]

    async def alist(self, subject: str, *, timeout: Optional[float] = None) -> List[Preference]:
        """As :meth:`list`."""
        return [_preference(told) for told in await answer(self._port.list(subject, timeout))]

    def subjects(
        self,
        limit: int = 50,
        *,
        after: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> List[Dict[str, Any]]:
        """The subjects that have preferences, by name: subject, values, active.

        ``limit`` is 1 to 100 entries; ``after`` is the last subject of the page before.
        """
        return self._port.subjects(limit, after, timeout).wait()

    async def asubjects(
        self,
        limit: int = 50,
        *,
        after: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> List[Dict[str, Any]]:
        """As :meth:`subjects`."""
        return await answer(self._port.subjects(limit, after, timeout))

    def forget(
        self,
        subject: str,
        type: Optional[str] = None,
        key: Optional[str] = None,
        *,
        timeout: Optional[float] = None,
    ) -> int:
        """Forgets what is known of a subject, or only one type or one custom preference of it.

        Returns how many values were forgotten.
        """
        return self._port.forget(subject, type, key, timeout).wait()

    async def aforget(
        self,
        subject: str,
        type: Optional[str] = None,
        key: Optional[str] = None,
        *,
        timeout: Optional[float] = None,
    ) -> int:
        """As :meth:`forget`."""
        return await answer(self._port.forget(subject, type, key, timeout))

    def apply(
        self, subject: str, system: Optional[str] = None, *, timeout: Optional[float] = None
    ) -> Optional[str]:
        """A system text with the active preferences of a subject behind it; None if that is nothing.

        Values are put into fixed sentences, at most 16 and 1 KiB; no value is an instruction by itself.
        """
        return self._port.apply(subject, system, timeout).wait()

    async def aapply(
        self, subject: str, system: Optional[str] = None, *, timeout: Optional[float] = None
    ) -> Optional[str]:
        """As :meth:`apply`."""
        return await answer(self._port.apply(subject, system, timeout))
