"""Reads two expositions with the strict parsers of prometheus_client; fails on what they refuse."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_older


def families(read, path):
    with open(path, encoding="utf-8") as file:
        return {family.name: family for family in read(file.read())}


def samples(family):
    return {(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples}


open_metrics, older = families(read_open, sys.argv[1]), families(read_older, sys.argv[2])
assert len(open_metrics) > 30, sorted(open_metrics)
for name, family in open_metrics.items():
    assert family.documentation, name
    assert family.type != "unknown", name
    if family.unit:
        assert name.endswith("_" + family.unit), name
    # The older format names an info after its sample.
    other = older.get(name) or older.get(name + "_info")
    assert other is not None, f"{name} is missing in the older format"
    assert other.type == {"info": "gauge"}.get(family.type, family.type), name
    if family.samples and family.type != "info":
        assert samples(family) & samples(other), name
unknown = [name for name, family in older.items() if family.type in ("unknown", "untyped")]
assert not unknown, unknown
