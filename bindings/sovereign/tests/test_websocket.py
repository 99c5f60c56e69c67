"""The socket against a server that says what it is told to say."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Callable

import pytest
from support import until

from core.sovereign import RustAPIClient, RustAPIError, RustUnreachable, RustWebSocket, websocket

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WELCOME = {"type": "welcome", "version": "1", "node_id": "n"}


def frame(kind: int, content: bytes, *, last: bool = True) -> bytes:
    """A frame of a server, which is not masked."""
    first = (0x80 if last else 0) | kind
    if len(content) < 126:
        return struct.pack("!BB", first, len(content)) + content
    if len(content) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(content)) + content
    return struct.pack("!BBQ", first, 127, len(content)) + content


def text(value: Any) -> bytes:
    return frame(1, json.dumps(value).encode())


async def read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """A frame of a client, which is masked."""
    first, second = await reader.readexactly(2)
    assert second & 0x80, "a client masks"
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4)
    content = await reader.readexactly(length)
    return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(content))


def admission(head: bytes) -> bytes:
    key = next(
        line.split(": ")[1] for line in head.decode().split("\r\n") if "Sec-WebSocket-Key" in line
    )
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    accept = base64.b64encode(digest).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: upgrade"]
    return ("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}"]) + "\r\n\r\n").encode()


@asynccontextmanager
async def server(serve: Serve, *, greet: bool = True) -> AsyncIterator[str]:
    """Admits each socket, welcomes it, and hands it to ``serve``."""
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            if greet:
                writer.write(admission(head) + text(WELCOME))
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await listening.wait_closed()


async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def connected(url: str, timeout: float = 5.0) -> RustWebSocket:
    return await RustAPIClient(url, token="t", transport="stdlib").websocket(timeout=timeout)


async def test_a_call_is_answered_also_among_other_messages() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: list[dict[str, Any]] = []
        while len(asked) < 2:
            asked.append(json.loads((await read(reader))[1]))
        assert asked[0]["method"] == "inference.tier"
        assert asked[0]["params"] == {"prompt": "p"}
        writer.write(text({"type": "event", "topic": "actors", "seq": 1}))
        # The other way round, and cut in pieces with a ping between them.
        late = json.dumps({"type": "result", "id": asked[1]["id"], "data": {"which": 2}}).encode()
        writer.write(frame(1, late[:5], last=False) + frame(9, b"ping") + frame(0, late[5:]))
        assert await read(reader) == (10, b"ping")
        writer.write(text({"type": "result", "id": asked[0]["id"], "data": {"which": 1}}))
        await reader.read()

    async with server(serve) as url, await connected(url) as socket:
        assert socket.welcome == WELCOME
        found = await asyncio.gather(
            socket.call("inference.tier", {"prompt": "p"}), socket.call("status")
        )
        assert list(found) == [{"which": 1}, {"which": 2}]
        assert (await socket.receive())["topic"] == "actors"


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536, 300_000])
async def test_messages_of_every_length_travel(length: int) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, content = await read(reader)
        writer.write(frame(1, content))
        await reader.read()

    async with server(echo) as url, await connected(url) as socket:
        await socket.send({"x": "\u00e9" * length})
        assert await socket.receive() == {"x": "\u00e9" * length}


async def test_an_error_is_told_as_over_rest() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads((await read(reader))[1])
        error = {"type": "error", "code": "NO", "message": "because", "status": 403}
        writer.write(text({**error, "id": asked["id"]}))
        await reader.read()

    async with server(serve) as url, await connected(url) as socket:
        with pytest.raises(RustAPIError) as caught:
            await socket.subscribe("actors")
    error = caught.value
    assert (error.status, error.code, error.message) == (403, "NO", "because")


async def test_a_call_without_an_answer_ends_in_time_and_the_socket_goes_on() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        asked = json.loads((await read(reader))[1])
        writer.write(text({"type": "result", "id": asked["id"], "data": 7}))
        await reader.read()

    async with server(serve) as url, await connected(url) as socket:
        with pytest.raises(RustUnreachable, match="no answer within"):
            await socket.call("status", timeout=0.1)
        assert await socket.call("status") == 7


async def test_text_comes_in_pieces_and_who_stops_early_ends_the_work() -> None:
    asked: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, content = await read(reader)
            if kind == 8:
                return
            said = json.loads(content)
            asked.append(said)
            if said["type"] == "cancel":
                writer.write(text({"type": "cancelled", "id": said["id"]}))
                continue
            for piece in ("a", "b"):
                writer.write(text({"type": "token", "id": said["id"], "text": piece}))
            if said["prompt"] == "whole":
                writer.write(text({"type": "done", "id": said["id"], "text": "ab"}))
            if said["prompt"] == "broken":
                writer.write(text({"type": "error", "id": said["id"], "message": "no"}))

    async with server(serve) as url, await connected(url) as socket:
        found = [it async for it in socket.generate("whole", tier="edge", max_tokens=2)]
        assert [(it["type"], it["text"]) for it in found] == [
            *(("token", "a"), ("token", "b"), ("done", "ab"))
        ]
        assert asked[-1]["tier"] == "edge"

        stream = socket.generate("endless")
        assert (await stream.__anext__())["text"] == "a"
        await stream.aclose()
        await until(lambda: asked[-1]["type"] == "cancel")
        assert asked[-1]["id"] == asked[-2]["id"]

        pieces = []
        with pytest.raises(RustAPIError, match="no"):
            async for it in socket.generate("broken"):
                pieces.append(it["text"])
        assert pieces == ["a", "b"]
        with pytest.raises(RustUnreachable, match="no answer within"):
            async for _ in socket.generate("endless", timeout=0.1):
                pass
        # Nothing of all that is left among the messages.
        await socket.close()
        assert [it async for it in socket] == []


BREAKING = {
    "masked": struct.pack("!BB", 0x81, 0x82) + b"\0\0\0\0{}",
    "reserved": struct.pack("!BB", 0xC1, 2) + b"{}",
    "too large": struct.pack("!BBQ", 0x81, 127, 1 << 40),
    "goes on without a beginning": frame(0, b"{}"),
    "begins twice": frame(1, b"{", last=False) + frame(1, b"}"),
    "binary": frame(2, b"{}"),
    "no object": text([1]),
    "no json": frame(1, b"\xff"),
    "cut off": b"\x81",
    "closed": frame(8, struct.pack("!H", 1001) + b"going down"),
}


@pytest.mark.parametrize("name", BREAKING)
async def test_what_is_not_the_protocol_ends_the_socket_and_every_wait(name: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        writer.write(BREAKING[name])
        if name == "cut off":
            await writer.drain()
            return
        await reader.read()

    async with server(serve) as url, await connected(url) as socket:
        with pytest.raises(RustUnreachable) as caught:
            await socket.call("status")
        if name == "closed":
            assert "1001 going down" in str(caught.value)
        with pytest.raises(RustUnreachable):
            await socket.receive()
        with pytest.raises(RustUnreachable):
            await socket.send({})
        assert [message async for message in socket] == []


REFUSALS = {
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 40\r\n\r\n"
    b'{"error":"not from here","code":"ORIGIN"}': RustAPIError,
    b"HTTP/1.1 500 x\r\n\r\n": RustAPIError,
    b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: c29tZXRoaW5n\r\n\r\n": RustUnreachable,
    b"SSH-2.0-x\r\n\r\n": RustUnreachable,
    b"": RustUnreachable,
    b"x" * 100_000: RustUnreachable,
}


@pytest.mark.parametrize("answer", REFUSALS)
async def test_what_is_no_admission_is_told(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with server(serve, greet=False) as url:
        with pytest.raises(REFUSALS[answer]):
            await connected(url)


async def test_an_admission_for_another_key_is_none() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(admission(b"Sec-WebSocket-Key: another") + text(WELCOME))
        await reader.read()

    async with server(serve, greet=False) as url:
        with pytest.raises(RustUnreachable, match="not for this key"):
            await connected(url)


async def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    async with server(quiet, greet=False) as url:
        with pytest.raises(RustUnreachable, match="no answer within"):
            await connected(url, timeout=0.2)


async def test_who_does_not_receive_loses_the_oldest_and_knows_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "_WAITING_MAX", 3)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads((await read(reader))[1])
        for number in range(5):
            writer.write(text({"type": "event", "seq": number}))
        writer.write(text({"type": "result", "id": asked["id"], "data": None}))
        await reader.read()

    async with server(serve) as url, await connected(url) as socket:
        await socket.call("status")
        assert socket.missed == 2
        assert [(await socket.receive())["seq"] for _ in range(3)] == [2, 3, 4]


async def test_closing_twice_does_no_harm_and_frees_who_waits() -> None:
    async with server(quiet) as url:
        socket = await connected(url)
        waiting = asyncio.ensure_future(socket.receive())
        await asyncio.sleep(0)
        await socket.close()
        await socket.close()
        with pytest.raises(RustUnreachable, match="was closed here"):
            await waiting
