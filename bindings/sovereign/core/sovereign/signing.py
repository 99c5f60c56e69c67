"""Signing with the node's key, as the node's ``/identity/sign`` signs.

Ed25519 over the 64 hex digits of the domain digest. The wheel signs if it is there, else the
``cryptography`` package; Ed25519 is deterministic, so both give the same signature. The key is read
anew each time: a rotation takes effect at once.
"""

from __future__ import annotations

from typing import Any, Callable

from core.sovereign.data_dir import PathLike
from core.sovereign.digest import BytesLike, digest_with, to_bytes
from core.sovereign.errors import SigningUnavailable
from core.sovereign.keystore import NodeKey, read_node_key

__all__ = ["sign_as_node", "signer_name"]

#: Takes a secret and a message; gives the signature and the public key in hex.
_Sign = Callable[[bytes, bytes], "tuple[str, str]"]


def _with_wheel(native: Any) -> _Sign:
    def sign(secret: bytes, message: bytes) -> tuple[str, str]:
        identity = native.NodeIdentity.from_secret(secret)
        return str(identity.sign(message)), str(identity.public_key)

    return sign


def _with_cryptography() -> _Sign | None:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    except ImportError:
        return None
    digest = digest_with(None)[1]

    def sign(secret: bytes, message: bytes) -> tuple[str, str]:
        key = Ed25519PrivateKey.from_private_bytes(secret)
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return key.sign(digest(message).encode("ascii")).hex(), public.hex()

    return sign


def _signer(native: Any | None) -> tuple[str, _Sign | None]:
    if native is not None:
        return "native", _with_wheel(native)
    sign = _with_cryptography()
    return ("unavailable", None) if sign is None else ("cryptography", sign)


def signer_name(native: Any | None) -> str:
    """Who signs: ``native``, ``cryptography``, or ``unavailable``."""
    return _signer(native)[0]


def sign_as_node(message: BytesLike, data_dir: PathLike, native: Any | None) -> tuple[str, str]:
    """The signature (128 hex digits) of the node of this directory, and its public key (64).

    Raises:
        SigningUnavailable: There is no key to be read, or nothing that signs.
        TypeError: The message is not bytes-like.
    """
    content = to_bytes(message)
    sign = _signer(native)[1]
    if sign is None:
        raise SigningUnavailable(
            "PyO3 bindings not available for signing, and the cryptography package is not "
            "installed either; let the node sign, with RustAPIClient.identity_sign"
        )
    key: NodeKey = read_node_key(data_dir)
    signature, public_key = sign(key.secret, content)
    if public_key != key.public_key:
        raise SigningUnavailable(
            f"the identity {key.node_id} in {data_dir} is damaged: the secret is not the one of "
            "the public key"
        )
    return signature, public_key
