"""The package: what it exports and says of itself."""

import collections.abc
import inspect
import os
import pydoc
import subprocess
import sys
from pathlib import Path

import bizra

SOURCES = Path(__file__).parent.parent / "python"


def test_everything_that_is_exported_says_what_it_is():
    for name in bizra.__all__:
        found = getattr(bizra, name)
        if name.startswith("__") or name.isupper():
            continue
        assert inspect.getdoc(found), name
        if inspect.isclass(found):
            assert found.__module__ == "bizra", name
            for member, value in vars(found).items():
                if not member.startswith("_") and not isinstance(value, found):
                    assert inspect.getdoc(value), f"{name}.{member}"
    text = pydoc.plain(pydoc.render_doc(bizra))
    assert "sign(self, /, message)" in text.replace("sign(self, message, /)", "sign(self, /, message)")
    assert "Raises InvalidInput" in text


def test_nothing_is_exported_that_does_not_exist_or_twice():
    assert len(set(bizra.__all__)) == len(bizra.__all__)
    names: dict = {}
    exec("from bizra import *", names)
    assert set(bizra.__all__) <= set(names)


def test_a_result_is_a_sequence():
    assert issubclass(bizra.GateResult, collections.abc.Sequence)


def test_without_its_native_part_there_is_no_package():
    assert not list(SOURCES.glob("bizra/_native*.so"))
    program = "try:\n import bizra\nexcept ImportError as error:\n print(error.name)"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "bizra._native", run
