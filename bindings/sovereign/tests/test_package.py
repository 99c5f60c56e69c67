"""The package as a whole."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import core.sovereign

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = sorted((PACKAGE / "core/sovereign").glob("*.py"))


def test_every_name_that_is_offered_is_there() -> None:
    assert set(core.sovereign.__all__) <= set(dir(core.sovereign))
    for name in core.sovereign.__all__:
        value = getattr(core.sovereign, name)
        assert isinstance(value, (float, str)) or value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = core.sovereign.nonsense


def test_importing_it_needs_nothing_and_loads_little() -> None:
    code = "import sys, core.sovereign; print(*sorted(m for m in sys.modules if 'core.' in m))"
    found = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.append({str(PACKAGE)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.split() == ["core.sovereign"]


def test_everything_works_where_nothing_is_installed() -> None:
    # Without site packages: no aiohttp, httpx, blake3, cryptography, nor the wheel.
    code = """
    import asyncio
    from core.sovereign import RustLifecycleManager
    rust = RustLifecycleManager(api_port=9)
    asyncio.run(rust.start())
    backend = rust.stats()["backend"]
    assert (backend["digest"], backend["transport"]) == ("python", "stdlib"), backend
    assert (backend["sign"], backend["thresholds"]) == ("unavailable", "python"), backend
    digest = "c05bf844556babc164032a2144a8453f361569235e65455ffd0f81823fb6e126"
    assert rust.pyo3_domain_digest(b"hello bizra") == digest
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    path = f"import sys; sys.path.append({str(PACKAGE)!r})\n"
    subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", path + lines], check=True, timeout=60
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_sources_keep_to_the_house(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.isascii()
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "every module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "eval", "exec"), f"line {node.lineno}"
    for each in tree.body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            is_told = each.name.startswith("_") or ast.get_docstring(each)
            assert is_told, f"{each.name} says what it is"


def test_it_is_a_part_of_a_namespace_and_typed() -> None:
    assert not (PACKAGE / "core/__init__.py").exists()
    assert (PACKAGE / "core/sovereign/py.typed").exists()


def test_types_agree() -> None:
    pytest.importorskip("mypy")
    subprocess.run(
        [sys.executable, "-m", "mypy", "-p", "core.sovereign", "--cache-dir", "/dev/null"],
        cwd=PACKAGE,
        check=True,
        timeout=300,
    )


def test_the_distribution_needs_nothing() -> None:
    try:
        found = importlib.metadata.distribution("bizra-sovereign")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("it is run from its sources")
    assert found.version == core.sovereign.__version__
    assert [it for it in found.requires or () if "extra ==" not in it] == []
