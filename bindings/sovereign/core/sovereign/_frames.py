"""Frames of a WebSocket (RFC 6455, section 5), and the handshake before them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import struct

from core.sovereign.errors import RustAPIError, RustUnreachable

__all__ = [
    "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT",
    "handshake", "masked_frame", "read_frame", "take_admission",
]  # fmt: skip

CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10
_HEAD_BYTES_MAX = 16 << 10
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def masked_frame(kind: int, content: bytes) -> bytes:
    """A whole message as one frame of a client."""
    length = len(content)
    if length < 126:
        head = struct.pack("!BB", 0x80 | kind, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, length)
    mask = os.urandom(4)
    # As one whole number: a loop over bytes would hold up the event loop.
    repeated = (mask * (length // 4 + 1))[:length]
    masked = int.from_bytes(content, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + masked.to_bytes(length, "big")


async def read_frame(reader: asyncio.StreamReader, bytes_max: int) -> tuple[bool, int, bytes]:
    """The next frame of a server: whether it ends its message, its kind, its content.

    Raises:
        RustUnreachable: It is masked, has reserved bits, or more than ``bytes_max`` bytes.
        asyncio.IncompleteReadError: The connection ended.
    """
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", await reader.readexactly(8))
    if first & 0x70 or second & 0x80 or length > bytes_max:
        raise RustUnreachable("a frame is masked, has reserved bits, or is too large")
    return bool(first & 0x80), first & 0x0F, await reader.readexactly(length)


def handshake(path: str, host: str, token: str | None) -> tuple[bytes, str]:
    """The head of the request for a socket, and the key in it."""
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    ]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), key


async def take_admission(reader: asyncio.StreamReader, key: str) -> None:
    """Takes the head of the answer.

    Raises:
        RustAPIError: The node refused, with what it said.
        RustUnreachable: It is no answer to a handshake with this key.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise RustUnreachable("the handshake broke off") from error
    except (IndexError, ValueError) as error:
        raise RustUnreachable("the answer to the handshake is not HTTP") from error
    pairs = (line.partition(":") for line in lines[1:] if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if status != 101:
        length = headers.get("content-length", "")
        count = min(int(length), _HEAD_BYTES_MAX) if length.isdigit() else 0
        try:
            body = json.loads(await reader.readexactly(count)) if count else {}
        except (ValueError, asyncio.IncompleteReadError):
            body = {}
        raise RustAPIError(status, body if isinstance(body, dict) else {})
    expected = base64.b64encode(hashlib.sha1((key + _GUID).encode("ascii")).digest())
    if headers.get("sec-websocket-accept") != expected.decode("ascii"):
        raise RustUnreachable("the answer to the handshake is not for this key")
