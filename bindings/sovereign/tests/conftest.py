"""A node, something that looks like one, and a place for its data."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import NODE_ENV, REPOSITORY, Double, missing

from core.sovereign import RustProcessManager
from core.sovereign.native import load


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the data of whoever runs it."""
    monkeypatch.setenv("BIZRA_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def binary() -> Path:
    """The node's program: the one that the environment names, or that cargo built for its tests."""
    named = os.environ.get("BIZRA_API_BIN")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    path = Path(named) if named else target / "debug/bizra-api"
    if not path.exists():
        missing(f"there is no {path}; build it with cargo build, or name one with BIZRA_API_BIN")
    return path


@pytest.fixture(scope="session")
def native() -> Any:
    """The wheel ``bizra``."""
    module, reason = load()
    if module is None:
        missing(str(reason))
    return module


@pytest.fixture(scope="session")
def node(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RustProcessManager]:
    """A node that runs for all tests which do not change it."""
    data_dir = tmp_path_factory.mktemp("node") / "data"
    manager = RustProcessManager(binary, api_port=0, data_dir=data_dir, env=NODE_ENV)
    assert asyncio.run(manager.start()), manager.last_error
    yield manager
    manager.stop()


@pytest.fixture
def double() -> Iterator[Double]:
    """Something that answers in the place of a node."""
    server = Double()
    yield server
    server.close()
