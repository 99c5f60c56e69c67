"""A node and the process it is in: signals, forks, the exit, the memory."""

import asyncio
import gc
import os
import signal
import threading
import time

import pytest

import bizra
from nodes import LONG, actor, python, start, until


def interrupt_later(node):
    """Interrupts this process when the edge is at work."""

    def run():
        until(lambda: actor(node, "edge").queue_depth > 0)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_interrupt_ends_a_long_call():
    with start() as node:
        for ask in (
            lambda: node.inference.generate(**LONG, timeout=600),
            lambda: [piece for piece in node.inference.stream(**LONG, timeout=600)],
        ):
            interrupting = interrupt_later(node)
            with pytest.raises(KeyboardInterrupt):
                ask()
                # A model that is quicker than this test would have answered before.
                time.sleep(60)
            interrupting.join()
            until(lambda: actor(node, "edge").queue_depth == 0)
        assert node.identity.sign(b"still there")


def test_a_handler_that_does_not_raise_ends_nothing():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        with start() as node:
            interrupting = interrupt_later(node)
            assert node.inference.generate(**LONG).text
            interrupting.join()
            until(lambda: heard)
    finally:
        signal.signal(signal.SIGINT, before)


FORK = """
import os, sys, warnings
import bizra, nodes
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
node = nodes.start()
stream = node.inference.stream("a", max_tokens=1)
folder = node.data_dir
child = os.fork()
if child == 0:
    try:
        for call in (
            lambda: node.identity.sign(b"a"),
            lambda: node.actors(),
            lambda: next(stream),
            lambda: node.stop(),
            lambda: nodes.start(),
        ):
            try:
                call()
                os._exit(2)
            except bizra.Unavailable as error:
                if error.code != "FORKED" or str(os.getpid()) not in str(error):
                    os._exit(3)
        if node.is_running:
            os._exit(4)
        # Nothing of its parent's goes with it.
        del stream, node
        if not os.path.exists(folder):
            os._exit(5)
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert node.identity.sign(b"a") and os.path.exists(folder)
node.stop()
print("both went on")
"""


def test_a_forked_process_is_refused():
    ran = python(FORK)
    assert (ran.stdout, ran.returncode) == ("both went on\n", 0), ran.stderr


FORK_BEFORE = """
import os
import bizra, nodes
child = os.fork()
with nodes.start() as node:
    node.identity.sign(b"a")
if child:
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
"""


def test_before_the_first_node_processes_may_fork():
    ran = python(FORK_BEFORE)
    assert (ran.stderr, ran.returncode) == ("", 0)


EXIT_OF_A_FORK = """
import os, sys, warnings
import nodes
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
node = nodes.start()
child = os.fork()
if child == 0:
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert os.path.exists(node.data_dir) and node.identity.sign(b"a")
print(node.data_dir)
"""


def test_the_exit_of_a_forked_process_leaves_its_parents_node_alone():
    ran = python(EXIT_OF_A_FORK)
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert not os.path.exists(ran.stdout.strip())


EXIT = """
import asyncio, sys, threading, time
import nodes
how = sys.argv[1]
node = nodes.start()
print(node.data_dir, flush=True)
if how == "thread":
    for _ in range(8):
        threading.Thread(target=lambda: node.inference.generate(**nodes.LONG), daemon=True).start()
    nodes.until(lambda: nodes.actor(node, "edge").queue_depth > 0)
elif how == "stream":
    stream = node.inference.stream(**nodes.LONG)
    next(stream)
elif how == "loop":
    async def run():
        asyncio.ensure_future(node.inference.agenerate(**nodes.LONG))
        await asyncio.sleep(0.05)
    asyncio.run(run())
elif how == "global":
    import builtins
    builtins.kept_for_ever = [node, node.inference, node.inference.stream(**nodes.LONG)]
elif how == "error":
    node.inference.stream(**nodes.LONG)
    raise SystemExit(7)
elif how == "frozen":
    node.stop_actor("identity", "freeze")
"""


@pytest.mark.parametrize("how", ["plain", "thread", "stream", "loop", "global", "error", "frozen"])
def test_the_exit_of_the_interpreter_does_not_hang(how):
    began = time.monotonic()
    ran = python(EXIT, how)
    took = time.monotonic() - began
    assert (ran.stderr, ran.returncode) == ("", 7 if how == "error" else 0)
    assert not os.path.exists(ran.stdout.strip())
    assert took < 25, f"{took} s"


STOP_AT_EXIT = """
import atexit
late = []
atexit.register(lambda: [node.stop() for node in late])
import bizra, nodes
node = nodes.start()
late.append(node)
def call():
    try:
        node.identity.sign(b"a")
    except bizra.Unavailable as error:
        print(error.code)
late.append(type("Late", (), {"stop": staticmethod(call)}))
"""


def test_what_is_called_after_the_exit_is_refused():
    ran = python(STOP_AT_EXIT)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("NODE_STOPPED\n", "", 0)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the system does not tell")
def test_memory_is_steady():
    message, long = b"x" * 100, b"x" * 10_000

    async def tasks(node, count):
        await asyncio.gather(*(node.identity.asign(message) for _ in range(count)))

    def work(node, rounds):
        for _ in range(rounds):
            for _ in range(100):
                node.identity.sign(message)
                node.gates.check("claimed", 0.9, 0.97)
            node.identity.sign_many([long] * 300)
            asyncio.run(tasks(node, 500))

    with start() as node:
        work(node, 20)
        gc.collect()
        before = resident()
        work(node, 143)
        gc.collect()
        grown = resident() - before
    # These are 100,000 calls. If each left its message behind, that would be 10 MB, and 400 MB of
    # those in batches.
    assert grown < 6_000_000, f"{grown} bytes"


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="the system does not tell")
def test_a_node_that_stops_leaves_no_thread_and_no_file():
    def held():
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    with start() as node:
        node.identity.sign(b"a")
    before = held()
    for _ in range(5):
        with start() as node:
            node.identity.sign(b"a")
    until(lambda: held()[0] <= before[0] and held()[1] <= before[1])
