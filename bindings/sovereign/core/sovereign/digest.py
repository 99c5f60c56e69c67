"""The domain-separated digest: BLAKE3 over ``bizra-pci-v1:`` and the message, as 64 hex digits.

Three can compute it: the native wheel, the ``blake3`` package, and plain Python. They give the same
digest, so a digest does not change with what is installed. (An older runtime answered 128 digits of
BLAKE2b where the wheel was missing; that was another value under the same name, and is not kept.)
"""

from __future__ import annotations

from typing import Any, Callable, Union

from core.sovereign._blake3 import blake3_digest

__all__ = ["DOMAIN_PREFIX", "BytesLike", "digest_with", "domain_separated_digest", "to_bytes"]

#: Put before every hashed message, so that no digest of this protocol means anything in another.
DOMAIN_PREFIX = b"bizra-pci-v1:"

BytesLike = Union[bytes, bytearray, memoryview]


def to_bytes(message: BytesLike) -> bytes:
    """The bytes of a bytes-like object.

    Raises:
        TypeError: It is none. Text is none either: it has bytes only in an encoding.
    """
    if isinstance(message, bytes):
        return message
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message)
    raise TypeError(f"a bytes-like object is required, not {type(message).__name__}")


def _package() -> Callable[[bytes], bytes] | None:
    try:
        import blake3
    except ImportError:
        return None
    hasher: Any = blake3.blake3
    return lambda message: bytes(hasher(message).digest())


def digest_with(native: Any | None) -> tuple[str, Callable[[BytesLike], str]]:
    """Who computes the digest (``native``, ``blake3`` or ``python``), and the function.

    The function raises ``TypeError`` for what is not bytes-like, and in plain Python ``ValueError``
    for more than 8 MiB.
    """
    if native is not None:
        compute = native.domain_separated_digest
        return "native", lambda message: str(compute(to_bytes(message)))
    package = _package()
    raw = package or blake3_digest
    name = "python" if package is None else "blake3"
    return name, lambda message: raw(DOMAIN_PREFIX + to_bytes(message)).hex()


def domain_separated_digest(message: BytesLike) -> str:
    """The digest of ``message``, without the native wheel: 64 lower-case hex digits."""
    return digest_with(None)[1](message)
