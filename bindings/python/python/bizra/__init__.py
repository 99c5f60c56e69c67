"""A sovereign AI node, and what it proves.

Node is a whole node in this process: its supervisor, its actors and its keys. The other classes of
this module call the rules of the node directly, without a node: identities sign,
envelopes carry proofs that anybody can check, gates judge content by a constitution. Where bytes
are taken, so is every bytes-like object, and a str as its UTF-8. Every exception that the package
raises by itself is a BizraError with a ``code`` and ``details``; arguments of a wrong type raise
TypeError, as everywhere.

Other threads go on while a call takes longer than some microseconds: it is made without the GIL.
"""

import collections.abc

from bizra._errors import (
    BizraError,
    Forbidden,
    GateRejected,
    InternalError,
    InvalidInput,
    NotFound,
    StorageError,
    Timeout,
    Unavailable,
)

# Without the native part this raises ImportError, and nothing stands in for it.
from bizra._native import (
    IHSAN_THRESHOLD,
    SNR_THRESHOLD,
    Constitution,
    ExperienceLedger,
    GateChain,
    GateReceipt,
    GateResult,
    ModelSelector,
    ModelTier,
    NodeId,
    NodeIdentity,
    PCIEnvelope,
    PatternMemory,
    PreferenceTracker,
    Recollection,
    TaskComplexity,
    Verification,
    __version__,
    domain_separated_digest,
    get_ihsan_threshold,
    get_snr_threshold,
)

from bizra._gateway import InferenceGateway, InferenceResponse
from bizra.node import Node

# Results that used to be tuples: they unpack, and match patterns, as tuples do.
collections.abc.Sequence.register(GateResult)
collections.abc.Sequence.register(Recollection)

__all__ = [
    "IHSAN_THRESHOLD",
    "SNR_THRESHOLD",
    "BizraError",
    "Constitution",
    "ExperienceLedger",
    "Forbidden",
    "GateChain",
    "GateReceipt",
    "GateRejected",
    "GateResult",
    "InferenceGateway",
    "InferenceResponse",
    "InternalError",
    "InvalidInput",
    "ModelSelector",
    "ModelTier",
    "Node",
    "NodeId",
    "NodeIdentity",
    "NotFound",
    "PCIEnvelope",
    "PatternMemory",
    "PreferenceTracker",
    "Recollection",
    "StorageError",
    "TaskComplexity",
    "Timeout",
    "Unavailable",
    "Verification",
    "__version__",
    "domain_separated_digest",
    "get_ihsan_threshold",
    "get_snr_threshold",
]
