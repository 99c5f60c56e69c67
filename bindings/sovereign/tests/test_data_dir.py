"""Who is told the token: the node that runs on the directory, and nobody else."""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import Double

from core.sovereign import PrivateFileError, RustAPIClient, RustAPIError
from core.sovereign.data_dir import door_for, read_token, running_node

TOKEN = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")


@contextmanager
def running(data_dir: Path, url: str, pid: int | None = None) -> Iterator[None]:
    """A directory as a running node keeps it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    address = {"pid": pid or os.getpid(), "url": url, "certificate": None}
    for name, text in (
        ("lock", f"{os.getpid()}\n"),
        ("address", json.dumps(address)),
        ("api-token", f"{TOKEN}\n"),
    ):
        (data_dir / name).write_text(text)
        (data_dir / name).chmod(0o600)
    with open(data_dir / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_the_token_goes_to_the_node_of_the_directory(tmp_path: Path) -> None:
    with running(tmp_path, "http://127.0.0.1:3001"):
        door = door_for("http://127.0.0.1:3001", tmp_path)
        assert (door.url, door.token) == ("http://127.0.0.1:3001", TOKEN)
        # localhost may be ::1, where another program can listen: the node's own address is taken.
        door = door_for("http://localhost:3001", tmp_path)
        assert (door.url, door.token) == ("http://127.0.0.1:3001", TOKEN)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:3002",
        "http://localhost:3002",
        "https://127.0.0.1:3001",
        "http://127.0.0.2:3001",
        "http://[::1]:3001",
        "http://example.org:3001",
    ],
)
def test_the_token_goes_to_nobody_else(url: str, tmp_path: Path) -> None:
    with running(tmp_path, "http://127.0.0.1:3001"):
        door = door_for(url, tmp_path)
        assert (door.url, door.token) == (url, None)
        assert "http://127.0.0.1:3001" in (door.withheld or "")


def test_what_a_node_left_behind_is_nobodys_address(tmp_path: Path) -> None:
    with running(tmp_path, "http://127.0.0.1:3001"):
        assert running_node(tmp_path) is not None
    assert running_node(tmp_path) is None
    assert "no running node" in (door_for("http://127.0.0.1:3001", tmp_path).withheld or "")
    # Another process holds the directory, and the address is not what it wrote.
    with running(tmp_path, "http://127.0.0.1:3001", pid=os.getpid() + 1):
        assert running_node(tmp_path) is None
    assert running_node(tmp_path / "absent") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid":"x","url":1}', '{"pid":1}', "\x00\xff"])
def test_a_garbled_address_is_none(text: str, tmp_path: Path) -> None:
    with running(tmp_path, "http://127.0.0.1:3001"):
        (tmp_path / "address").write_text(text)
        assert running_node(tmp_path) is None


def test_what_others_could_have_written_or_read_is_not_used(tmp_path: Path) -> None:
    with running(tmp_path, "http://127.0.0.1:3001"):
        (tmp_path / "api-token").chmod(0o644)
        door = door_for("http://127.0.0.1:3001", tmp_path)
        assert door.token is None
        assert "run: chmod 600" in (door.withheld or "")
        (tmp_path / "api-token").chmod(0o600)
        (tmp_path / "address").chmod(0o666)
        door = door_for("http://127.0.0.1:3001", tmp_path)
        assert door.token is None
        assert "run: chmod 600" in (door.withheld or "")


@pytest.mark.parametrize("text", ["", "\n", "short", TOKEN + "A", TOKEN[:-1] + "*", "A" * 65])
def test_what_is_no_token_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "api-token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(PrivateFileError):
        read_token(tmp_path)


async def test_the_client_sends_what_it_found_and_says_why_it_did_not(
    double: Double, tmp_path: Path
) -> None:
    double.answer("/status", {"error": "needs the token", "code": "UNAUTHORIZED"}, 401)
    async with RustAPIClient(double.url, data_dir=tmp_path, transport="stdlib") as client:
        with pytest.raises(RustAPIError) as caught:
            await client.status()
        assert "no token was sent: no running node holds" in (caught.value.details or "")
        assert "authorization" not in double.requests[-1][2]
        with running(tmp_path, double.url):
            with pytest.raises(RustAPIError):
                await client.status()
        assert double.requests[-1][2]["authorization"] == f"Bearer {TOKEN}"
    async with RustAPIClient(
        double.url, data_dir=tmp_path, transport="stdlib", token="given"
    ) as client:
        with pytest.raises(RustAPIError):
            await client.status()
    assert double.requests[-1][2]["authorization"] == "Bearer given"


def test_a_token_that_would_break_the_header_is_refused() -> None:
    for token in ("a\r\nx: y", "\u00e9", "", " "):
        with pytest.raises(ValueError, match="token"):
            RustAPIClient(token=token)
