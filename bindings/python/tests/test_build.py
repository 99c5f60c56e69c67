"""The lines of the integration guide's section on building: the wheel is where they look for it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDE = REPOSITORY / "docs/rust-integration-guide.md"


def lines():
    """The commands of the section, each with the folder that it is run in."""
    text = GUIDE.read_text(encoding="utf-8")
    block = re.search(r"### 1\. Build Rust Binaries\s+```bash\n(.*?)```", text, re.S).group(1)
    # The first folder is this one, whatever it is called here.
    folder = REPOSITORY.parent
    for line in block.splitlines():
        if line == "cd bizra-omega":
            folder = REPOSITORY
        elif line.startswith("cd "):
            folder = folder / line.removeprefix("cd ")
        elif line and not line.startswith("#"):
            yield line, folder


def test_the_wheel_is_built_where_the_guide_installs_it_from():
    commands = dict(lines())
    assert set(commands) == {
        "cargo build --release",
        "maturin build --release",
        "pip install target/wheels/bizra-*.whl",
    }
    folder = commands["maturin build --release"]
    assert (folder / "pyproject.toml").exists()
    assert commands["pip install target/wheels/bizra-*.whl"] == folder
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("there is no cargo to ask")
    # maturin puts wheels into `wheels` of the folder that cargo names here.
    asked = [cargo, "metadata", "--format-version", "1", "--no-deps", "--offline"]
    said = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert Path(json.loads(said)["target_directory"]) == folder.resolve() / "target"
