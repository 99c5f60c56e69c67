"""Where the program of the node is: named, on the path, or in a build tree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from core.sovereign.data_dir import PathLike

__all__ = ["PROGRAM", "find_binary"]

#: The node's program.
PROGRAM = "bizra-api"
#: Where cargo puts it in a build tree, the faster one first.
_BUILT = (Path("target/release") / PROGRAM, Path("target/debug") / PROGRAM)


def find_binary(named: PathLike | None = None) -> tuple[Path | None, str]:
    """The node's program, and where it was found; or ``None``, and where it was looked for.

    It is looked for, in this order, at ``named`` (the program itself, or a build tree), at
    ``BIZRA_API_BIN``, in the build tree ``BIZRA_OMEGA_PATH``, on ``PATH``, and in the build tree
    around the working directory. What is named and is not there is an answer: nothing else is run
    in its place.
    """
    if named is not None:
        return _at(Path(named), "the path that was given")
    for variable in ("BIZRA_API_BIN", "BIZRA_OMEGA_PATH"):
        value = os.environ.get(variable)
        if value:
            return _at(Path(value), variable)
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        return Path(on_path), "PATH"
    for tree in _trees(Path.cwd()):
        for built in _BUILT:
            if _runs(tree / built):
                return tree / built, f"the build tree {tree}"
    return None, (
        f"there is no {PROGRAM} on PATH nor in a build tree around {Path.cwd()}; build it with "
        "cargo build --release, or name it with BIZRA_API_BIN"
    )


def _at(path: Path, who: str) -> tuple[Path | None, str]:
    for candidate in (path, *(path / built for built in _BUILT)):
        if _runs(candidate):
            return candidate.absolute(), who
    return None, f"{who} is {path}, and there is no program {PROGRAM}"


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _trees(start: Path) -> Iterator[Path]:
    """The node's own build trees around a directory: only they have its manifest."""
    for folder in (start, *start.parents):
        for tree in (folder, folder / "bizra-omega"):
            try:
                manifest = (tree / "Cargo.toml").read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if 'name = "bizra-omega"' in manifest:
                yield tree
