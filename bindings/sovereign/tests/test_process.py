"""The process manager, with programs that behave in every way that a node might."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import until

from core.sovereign import RustProcessManager
from core.sovereign.binary import find_binary

PACKAGE = Path(__file__).resolve().parents[1]

#: Looks like a node to whoever looks from outside: lock, address file, health.
LIKE_A_NODE = """
import fcntl, http.server, json, os, pathlib, signal, sys, threading
asked = dict(zip(sys.argv[1::2], sys.argv[2::2]))
place = pathlib.Path(asked["--data-dir"])
place.mkdir(parents=True, exist_ok=True)
lock = open(place / "lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print(os.getpid(), file=lock, flush=True)
(place / "arguments").write_text(json.dumps(sys.argv[1:]))
(place / "variables").write_text(json.dumps(dict(os.environ)))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/api/v1/noise":
            for number in range(20000):
                print("line", number, "x" * 80)
            sys.stdout.flush()
        found = {"status": "healthy", "uptime_seconds": 1.0, "requests_served": 1}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer((asked["--host"], int(asked["--port"])), Handler)
url = "http://127.0.0.1:%d" % server.server_address[1]
address = place / "address"
address.write_text(json.dumps({"pid": os.getpid(), "url": url, "certificate": None}))
address.chmod(0o600)
def leave(*_):
    (place / "left").write_text("in order")
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
print("serving", url, flush=True)
server.serve_forever()
"""


def program(folder: Path, text: str = LIKE_A_NODE, name: str = "bizra-api") -> Path:
    """A program of these lines of Python."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}")
    path.chmod(0o755)
    return path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[RustProcessManager]:
    made = RustProcessManager(
        program(tmp_path / "bin"), api_port=0, data_dir=tmp_path / "data", start_timeout=20.0
    )
    yield made
    made.stop()


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        # A zombie, whose parent did not ask for its end yet, does not run.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return Path("/proc/self").exists() is False
    return state != "Z"


async def test_it_starts_serves_and_stops_in_order(
    manager: RustProcessManager, tmp_path: Path
) -> None:
    assert (manager.is_running(), manager.uptime(), manager.pid) == (False, 0.0, None)
    assert await manager.start(), manager.last_error
    assert manager.is_running()
    assert manager.api_port != 0
    assert 0 < manager.uptime() < 60
    pid = manager.pid
    assert await manager.start(), "it runs already"
    assert manager.pid == pid
    manager.stop()
    assert (manager.is_running(), manager.uptime(), manager.exit_code) == (False, 0.0, 0)
    assert (tmp_path / "data" / "left").read_text() == "in order"
    manager.stop()
    # And again, on a port that is chosen anew.
    assert await manager.start(), manager.last_error
    assert manager.pid != pid
    await manager.astop()
    assert not manager.is_running()


async def test_ports_directory_and_variables_reach_the_program(tmp_path: Path) -> None:
    manager = RustProcessManager(
        program(tmp_path / "bin"),
        api_port=0,
        gossip_port=7999,
        data_dir=tmp_path / "data",
        extra_args=("--log-format", "json"),
        env={"RUST_LOG": "debug"},
    )
    assert await manager.start(), manager.last_error
    manager.stop()
    expected = [
        *("--host", "127.0.0.1", "--port", "0", "--gossip-port", "7999"),
        *("--data-dir", str(tmp_path / "data"), "--log-format", "json"),
    ]
    assert (tmp_path / "data" / "arguments").read_text() == str(expected).replace("'", '"')
    assert '"RUST_LOG": "debug"' in (tmp_path / "data" / "variables").read_text()


async def test_a_program_that_says_much_does_not_wait_for_a_reader(
    manager: RustProcessManager,
) -> None:
    assert await manager.start(), manager.last_error
    # Some megabytes, where a pipe holds 64 KiB. Who does not drain it never gets the answer.
    reader, writer = await asyncio.open_connection("127.0.0.1", manager.api_port)
    for _ in range(2):
        writer.write(b"GET /api/v1/noise HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200" in await asyncio.wait_for(reader.readline(), 30)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", manager.api_port)
    writer.close()
    await writer.wait_closed()
    await until(lambda: any("line 19999" in line for line in manager.output))
    assert len(manager.output) <= 200


async def test_a_program_that_ends_is_noticed_at_once(tmp_path: Path) -> None:
    path = program(tmp_path, "import sys; print('no key', file=sys.stderr); sys.exit(2)")
    manager = RustProcessManager(path, api_port=0, data_dir=tmp_path / "data")
    began = time.monotonic()
    assert not await manager.start()
    assert time.monotonic() - began < 20
    assert manager.last_error == "the node ended with 2: no key"
    assert (manager.is_running(), manager.exit_code) == (False, 2)


async def test_the_end_of_a_running_program_is_told(manager: RustProcessManager) -> None:
    told: list[int] = []
    manager.set_exit_callback(told.append)
    assert await manager.start(), manager.last_error
    os.kill(manager.pid or 0, signal.SIGKILL)
    await until(lambda: told)
    assert told == [-signal.SIGKILL]
    assert not manager.is_running()
    # One that was asked to end is no news.
    assert await manager.start(), manager.last_error
    manager.stop()
    assert told == [-signal.SIGKILL]


async def test_a_program_that_never_serves_is_not_left_running(tmp_path: Path) -> None:
    path = program(tmp_path, "import time; print('thinking', flush=True); time.sleep(600)")
    manager = RustProcessManager(path, api_port=0, data_dir=tmp_path / "data", start_timeout=0.5)
    assert not await manager.start()
    assert "does not serve after 0.5 s" in (manager.last_error or "")
    assert not manager.is_running()


async def test_a_program_that_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    text = LIKE_A_NODE.replace("os._exit(0)", "pass")
    manager = RustProcessManager(
        program(tmp_path / "bin", text), api_port=0, data_dir=tmp_path / "data", stop_timeout=0.3
    )
    assert await manager.start(), manager.last_error
    manager.stop()
    assert manager.exit_code == -signal.SIGKILL


async def test_a_port_that_somebody_serves_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        manager = RustProcessManager(
            program(tmp_path / "bin"), api_port=port, data_dir=tmp_path / "data"
        )
        assert not await manager.start()
        assert f"somebody else serves on port {port}" in (manager.last_error or "")
        assert not (tmp_path / "data").exists(), "nothing was started"


async def test_who_serves_in_its_place_is_not_taken_for_it(tmp_path: Path) -> None:
    # The program takes its port and says that it is somewhere else, as another process.
    text = LIKE_A_NODE.replace('{"pid": os.getpid()', '{"pid": os.getpid() + 1')
    manager = RustProcessManager(
        program(tmp_path / "bin", text), api_port=0, data_dir=tmp_path / "data", start_timeout=1.0
    )
    assert not await manager.start()
    assert not manager.is_running()


async def test_another_node_on_its_directory_is_not_taken_for_it(
    manager: RustProcessManager, tmp_path: Path
) -> None:
    assert await manager.start(), manager.last_error
    idle = program(tmp_path / "idle", "import time; time.sleep(600)")
    second = RustProcessManager(idle, api_port=0, data_dir=tmp_path / "data", start_timeout=0.5)
    assert not await second.start()
    assert not second.is_running()
    assert manager.is_running()


async def test_who_no_longer_waits_leaves_nothing_running(tmp_path: Path) -> None:
    path = program(tmp_path, "import time; time.sleep(600)")
    manager = RustProcessManager(path, api_port=0, data_dir=tmp_path / "data")
    starting = asyncio.ensure_future(manager.start())
    await until(lambda: manager.pid)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: not manager.is_running())


async def test_one_that_nobody_holds_ends(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    manager = RustProcessManager(program(tmp_path / "bin"), api_port=0, data_dir=tmp_path / "data")
    assert await manager.start(), manager.last_error
    pid = manager.pid or 0
    del manager
    gc.collect()
    await until(lambda: not runs(pid))
    # With it ends who read what it wrote, and who waited for its end.
    await until(lambda: set(threading.enumerate()) <= before)


SCRIPT = """
import asyncio, os, sys
from core.sovereign import RustProcessManager
manager = RustProcessManager(sys.argv[1], api_port=0, data_dir=sys.argv[2])
assert asyncio.run(manager.start()), manager.last_error
print(manager.pid, flush=True)
{end}
"""


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "raise KeyboardInterrupt", "import gc; gc.disable()"]
)
def test_it_ends_with_the_interpreter(end: str, tmp_path: Path) -> None:
    script = program(tmp_path, SCRIPT.format(end=end), "script")
    found = subprocess.run(
        [sys.executable, str(script), str(program(tmp_path / "bin")), str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    pid = int(found.stdout.split()[0])
    assert not runs(pid), found.stderr
    assert (tmp_path / "data" / "left").read_text() == "in order"


def test_a_fork_does_not_end_its_parents_node(tmp_path: Path) -> None:
    fork = """
    child = os.fork()
    if child == 0:
        sys.exit(0)  # With all that the interpreter does at its end.
    os.waitpid(child, 0)
    print("runs" if manager.is_running() and not os.path.exists(sys.argv[2] + "/left") else "gone")
    """
    script = program(tmp_path, SCRIPT.format(end=textwrap.dedent(fork)), "script")
    found = subprocess.run(
        [
            *(sys.executable, "-W", "ignore::DeprecationWarning", str(script)),
            *(str(program(tmp_path / "bin")), str(tmp_path / "data")),
        ],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "runs" in found.stdout.split(), found.stderr
    assert not runs(int(found.stdout.split()[0]))


async def test_no_program_is_said_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = RustProcessManager(tmp_path / "absent", api_port=0)
    assert not await manager.start()
    assert "there is no program bizra-api" in (manager.last_error or "")
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    manager = RustProcessManager(broken, api_port=0)
    assert not await manager.start()
    assert "does not start" in (manager.last_error or "")
    for port in (-1, 65536):
        with pytest.raises(ValueError, match="a port is between"):
            RustProcessManager(api_port=port)


def test_the_program_is_found_where_it_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BIZRA_API_BIN", "BIZRA_OMEGA_PATH"):
        monkeypatch.delenv(name, raising=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.chdir(empty)
    binary, reason = find_binary()
    assert binary is None
    assert "cargo build --release" in reason

    tree = tmp_path / "tree"
    debug = program(tree / "target/debug")
    monkeypatch.chdir(tree)
    assert find_binary()[0] is None, "a folder without the node's manifest is not its build tree"
    (tree / "Cargo.toml").write_text('[package]\nname = "bizra-omega"\n')
    assert find_binary()[0] == debug
    (tree / "src").mkdir()
    monkeypatch.chdir(tree / "src")
    assert find_binary()[0] == debug
    release = program(tree / "target/release")
    assert find_binary()[0] == release

    on_path = program(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_binary() == (on_path, "PATH")
    other = tmp_path / "other"
    monkeypatch.setenv("BIZRA_OMEGA_PATH", str(other))
    binary, reason = find_binary()
    assert binary is None, "what is named and absent is not replaced by something else"
    assert str(other) in reason
    built = program(other / "target/debug")
    assert find_binary() == (built, "BIZRA_OMEGA_PATH")
    monkeypatch.setenv("BIZRA_API_BIN", str(debug))
    assert find_binary() == (debug, "BIZRA_API_BIN")
    assert find_binary(release) == (release, "the path that was given")
    assert find_binary(tree)[0] == release
