"""What the README shows of a node runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[3] / "README.md"


def test_the_example_of_the_readme_runs(monkeypatch, tmp_path, capsys):
    section = README.read_text().split("### A node in the process", 1)[1].split("\n## ", 1)[0]
    examples = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(examples) == 1
    monkeypatch.chdir(tmp_path)
    exec(compile(examples[0], "README.md", "exec"), {"__name__": "readme"})
    shown = capsys.readouterr().out
    assert "bizra-demo" in shown and "2 pci_" in shown
    assert (tmp_path / "node-data" / "identities").is_dir()
