"""The key that signs for a node, read from its data directory.

The files are those of the node's keystore: ``identities/active`` names an identity, which is
``identities/<node id>.json`` with ``version`` 1, ``protection``, ``label``, ``public_key`` and
``secret``. A keystore that is encrypted is refused with a reason: its passphrase is the node's to
ask for.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.sovereign.data_dir import PathLike
from core.sovereign.errors import PrivateFileError, SigningUnavailable
from core.sovereign.private_file import read_private, refuse_open

__all__ = ["NodeKey", "read_node_key"]

_FILE_BYTES_MAX = 4096
#: Identities in one keystore: a key takes the place of another once, so there are no more steps.
_IDENTITIES_MAX = 64
_NODE_ID = re.compile(r"[0-9a-f]{32}\Z")
_HEX_32 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class NodeKey:
    """The key that signs. Its secret is not shown."""

    node_id: str
    public_key: str
    secret: bytes = field(repr=False)


def read_node_key(data_dir: PathLike) -> NodeKey:
    """The active key of the node of this directory.

    Raises:
        SigningUnavailable: There is none, it is encrypted, open to others, or damaged.
    """
    folder = Path(data_dir) / "identities"
    try:
        refuse_open(folder, os.stat(folder))
    except FileNotFoundError:
        raise SigningUnavailable(
            f"there is no keystore in {data_dir}; the first start of a node makes it"
        ) from None
    except (OSError, PrivateFileError) as error:
        raise SigningUnavailable(str(error)) from error
    if os.path.lexists(folder / "keystore.key"):
        raise SigningUnavailable(
            f"the keystore {folder} is encrypted; let a node that has its passphrase sign, "
            "with RustAPIClient.identity_sign"
        )
    try:
        return _read_identity(folder, _active(folder))
    except PrivateFileError as error:
        raise SigningUnavailable(str(error)) from error


def _active(folder: Path) -> str:
    path = folder / "active"
    name = read_private(path, _FILE_BYTES_MAX).decode("ascii", "replace").rstrip("\n")
    for _ in range(_IDENTITIES_MAX + 1):
        if not _NODE_ID.match(name):
            raise SigningUnavailable(f"{path} is damaged: it names no identity")
        # A key that was replaced signs no more, also where a crash left the pointer behind.
        try:
            record = _object(folder / f"{name}.rotation")
        except PrivateFileError as error:
            if error.absent:
                return name
            raise
        name = str(record.get("new_public_key"))[:32]
    raise SigningUnavailable(f"{folder} is damaged: its rotations have no end")


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_private(path, _FILE_BYTES_MAX))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SigningUnavailable(f"{path} is damaged: it is not a JSON object")
    return value


def _read_identity(folder: Path, node_id: str) -> NodeKey:
    path = folder / f"{node_id}.json"
    file = _object(path)
    if file.get("version") != 1:
        raise SigningUnavailable(f"{path} has an unknown version")
    if file.get("protection") != "none":
        raise SigningUnavailable(
            f"{path} is protected with {file.get('protection')!r}; let the node sign, with "
            "RustAPIClient.identity_sign"
        )
    secret, public_key = file.get("secret"), file.get("public_key")
    if not (isinstance(secret, str) and _HEX_32.match(secret)):
        raise SigningUnavailable(f"{path} is damaged: the secret is not 64 hex digits")
    if not (isinstance(public_key, str) and _HEX_32.match(public_key)):
        raise SigningUnavailable(f"{path} is damaged: the public key is not 64 hex digits")
    if public_key[:32] != node_id:
        raise SigningUnavailable(f"{path} is damaged: its name is that of another identity")
    return NodeKey(node_id, public_key, bytes.fromhex(secret))
