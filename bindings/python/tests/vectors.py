"""Golden values, the same files that the tests in Rust read."""

import json
from pathlib import Path

HERE = Path(__file__).parent


def pci(section):
    text = (HERE / "../../../tests/vectors/pci.json").read_text(encoding="utf-8")
    return json.loads(text)[section]


def own(section):
    return json.loads((HERE / "vectors.json").read_text(encoding="utf-8"))[section]
