"""The data directory of a node: where it is reached, and the token that it asks for.

A running node holds the lock of its directory and writes its address there. Only who does both is
the node of that directory, and only that node is told its token: any program of this machine could
listen on the port.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Union
from urllib.parse import urlsplit

from core.sovereign.errors import PrivateFileError
from core.sovereign.private_file import read_private

__all__ = ["Door", "Reached", "default_data_dir", "door_for", "read_token", "running_node"]

PathLike = Union[str, "os.PathLike[str]"]

_ADDRESS_BYTES_MAX = 1024
_TOKEN_BYTES_MAX = 64
_TOKEN_SECRET_BYTES = 32


@dataclass(frozen=True)
class Reached:
    """Where the node of a directory is, as it says itself."""

    pid: int
    #: ``http://address:port``, or ``https://`` if it has a certificate.
    url: str
    #: BLAKE3 of the certificate that it shows, in hex; ``None`` without TLS.
    certificate: str | None


@dataclass(frozen=True)
class Door:
    """Where a request goes, and what it shows."""

    url: str
    token: str | None
    #: Why there is no token, where there is none.
    withheld: str | None = None


def default_data_dir() -> Path:
    """``BIZRA_DATA_DIR``, or ``~/.bizra``, as the node itself takes it."""
    named = os.environ.get("BIZRA_DATA_DIR")
    return Path(named) if named else Path.home() / ".bizra"


def _holder(data_dir: Path) -> int | None:
    """The process that holds the lock of the directory; ``None`` if nobody does or says so."""
    try:
        handle = os.open(data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, so that two who look do not take each other for a node.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(handle, 16)
        return int(text) if text.strip().isdigit() else None
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(handle)


def running_node(data_dir: PathLike) -> Reached | None:
    """What the node that runs on the directory says about itself; ``None`` if there is none.

    Raises:
        PrivateFileError: Others could have written what it says.
    """
    folder = Path(data_dir)
    holder = _holder(folder)
    if holder is None:
        return None
    try:
        content = read_private(folder / "address", _ADDRESS_BYTES_MAX)
    except PrivateFileError as error:
        if error.absent:
            return None
        raise
    try:
        told = json.loads(content)
        reached = Reached(int(told["pid"]), str(told["url"]), told.get("certificate"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    # What a node that was killed left behind is nobody's address.
    return reached if reached.pid == holder else None


def read_token(data_dir: PathLike) -> str:
    """The token of the directory, as it is sent.

    Raises:
        PrivateFileError: There is none, it is no token, or others could have read it.
    """
    path = Path(data_dir) / "api-token"
    content = read_private(path, _TOKEN_BYTES_MAX).rstrip(b"\n\r\t ")
    try:
        secret = base64.b64decode(content + b"=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != _TOKEN_SECRET_BYTES:
        raise PrivateFileError(
            f"{path} holds no token; delete it, and the next start makes a new one"
        )
    return content.decode("ascii")


def door_for(base_url: str, data_dir: PathLike) -> Door:
    """Where a request for ``base_url`` goes, and whether the token of the directory goes with it.

    It goes to the node that holds the directory and to nobody else. ``localhost`` is more than one
    address, and another program may listen on the other; so where the node says that it is on one
    of them, the request goes to that one.
    """
    folder = Path(data_dir)
    try:
        reached = running_node(folder)
        if reached is None:
            return Door(base_url, None, f"no running node holds {folder}")
        wanted, told = urlsplit(base_url), urlsplit(reached.url)
        is_same_port = (wanted.scheme, wanted.port) == (told.scheme, told.port)
        is_localhost = wanted.hostname == "localhost" and told.hostname in ("127.0.0.1", "::1")
        if not is_same_port or not (is_localhost or wanted.hostname == told.hostname):
            return Door(base_url, None, f"the node of {folder} is at {reached.url}")
        # A certificate names a host, not its address: over TLS the name is kept.
        url = base_url if told.scheme == "https" else f"{reached.url}{wanted.path}"
        return Door(url, read_token(folder))
    except PrivateFileError as error:
        return Door(base_url, None, str(error))
