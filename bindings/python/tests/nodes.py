"""Nodes for tests."""

import os
import subprocess
import sys
import time

import bizra

#: Budgets that drills do not spend, and no model server, whatever runs on this machine.
CONFIG = {
    "chaos": {"enabled": True},
    "http": {"port": 0, "drain_seconds": 0},
    "inference": {"ollama": {"url": "http://127.0.0.1:9"}},
    "supervisor": {
        "max_restarts": 1_000_000,
        "group_max_restarts": 1_000_000,
        "backoff_max_ms": 50,
        "heartbeat_ms": 200,
        "heartbeat_deadline_ms": 2000,
    },
}

#: A prompt whose answer takes as long as the demo model can make it.
LONG = {"prompt": "Once upon a time", "max_tokens": 400, "temperature": 1.0, "seed": 7}


def start(data_dir=None, **sections):
    """A node with the configuration of the tests and these sections beside."""
    return bizra.Node(data_dir, config(**sections))


def config(**sections):
    return {**CONFIG, **sections}


def until(condition, seconds=60):
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def actor(node, name):
    """What the tree says of an actor."""
    found = [info for top in node.actors() for info in (top, *top.children) if info.name == name]
    assert found, name
    return found[0]


def python(script, *arguments, seconds=60, **options):
    """Runs a program in an interpreter of its own, where warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=os.path.dirname(__file__),
        check=False,
        **options,
    )
