"""What the native wheel remembers for a lifecycle: patterns by node, and preferences.

One memory for each node id lives as long as the lifecycle, so that what was learned is recalled.
Without the wheel nothing is remembered, and that is said: an answer of another implementation would
be another answer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from core.sovereign.errors import NativeUnavailable

__all__ = ["MEMORIES_MAX", "Memories"]

#: Node ids with a memory of their own.
MEMORIES_MAX = 1024


class Memories:
    """The memories behind ``pyo3_pattern_memory_*`` and ``pyo3_preference_*``."""

    def __init__(self, native: Any | None) -> None:
        self._native = native
        self._lock = threading.Lock()
        self._patterns: dict[str, Any] = {}
        self._preferences: Any = None

    def patterns(self, node_id: str) -> Any:
        """The memory of this node.

        Raises:
            NativeUnavailable: There is no wheel, or it has no memory of patterns.
            ValueError: There are as many memories as there may be.
        """
        make = self._maker("PatternMemory")
        with self._lock:
            found = self._patterns.get(node_id)
            if found is None:
                if len(self._patterns) >= MEMORIES_MAX:
                    raise ValueError(f"there are memories of {MEMORIES_MAX} nodes, the most")
                found = self._patterns[node_id] = make(node_id)
            return found

    def preferences(self) -> Any:
        """The preferences.

        Raises:
            NativeUnavailable: There is no wheel, or it has no preferences.
        """
        make = self._maker("PreferenceTracker")
        with self._lock:
            if self._preferences is None:
                self._preferences = make()
            return self._preferences

    def learn(
        self, node_id: str, content: str, embedding: Sequence[float], tags: Sequence[str] | None
    ) -> str:
        """Has the node's memory learn; the pattern's id."""
        learned = self.patterns(node_id).learn(content, list(embedding), list(tags or ()))
        return str(learned)

    def recall(self, node_id: str, embedding: Sequence[float], limit: int) -> list[Any]:
        """What the node's memory has near this, the nearest first."""
        return list(self.patterns(node_id).recall(list(embedding), limit))

    def backend(self, name: str) -> str:
        """Who remembers: ``native``, or ``unavailable``."""
        return "native" if self.reason(name) is None else "unavailable"

    def reason(self, name: str) -> str | None:
        """Why nobody remembers; ``None`` if somebody does."""
        if self._native is None:
            return "only the wheel bizra remembers, and it is not in use"
        if not hasattr(self._native, name):
            return f"this build of the wheel bizra has no {name}"
        return None

    def _maker(self, name: str) -> Any:
        reason = self.reason(name)
        if reason is not None:
            raise NativeUnavailable(reason)
        return getattr(self._native, name)
