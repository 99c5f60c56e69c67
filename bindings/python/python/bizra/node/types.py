"""What several parts of a node take."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, TypeVar, Union

from bizra._native import NodeId, PCIEnvelope

_T = TypeVar("_T")

#: Bytes, or text as UTF-8.
Data = Union[bytes, bytearray, memoryview, str]

#: A node's id, also as 32 hex digits.
NodeIdLike = Union[NodeId, str]

#: An envelope: the object, JSON text or bytes, or a dictionary.
EnvelopeLike = Union[PCIEnvelope, bytes, str, Dict[str, Any]]


def hex_of(node_id: NodeIdLike) -> str:
    """The 32 hex digits of a node's id."""
    return node_id.id if isinstance(node_id, NodeId) else node_id


def listed(items: Sequence[_T]) -> List[_T]:
    """The items of a batch. A text is a sequence too, of what nobody meant one by one."""
    if isinstance(items, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"a list is required, not {type(items).__name__}")
    return items if type(items) is list else list(items)
