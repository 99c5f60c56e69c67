"""Holds the dashboard and the alert rules in config/ against expositions of live actors and a node.

Every query must parse, ask for series that there are, and use labels that these have.
"""

import json
import re
import sys

import promql_parser
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

# What the scraper adds.
TARGET_LABELS = {"job", "instance"}
DURATIONS = re.compile(r"^\d+[smhd]$")


def known_series(paths):
    """The labels of every sample name."""
    known = {"up": set(TARGET_LABELS)}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for family in text_string_to_metric_families(file.read()):
                for sample in family.samples:
                    known.setdefault(sample.name, set(TARGET_LABELS)).update(sample.labels)
    return known


def parts(node):
    """An expression and all that is in it."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str):
            yield from parts(child)
    args = getattr(node, "args", None) or []
    for child in args:
        yield from parts(child)


def check_query(where, text, known):
    """Returns the labels that the query's result may have."""
    text = text.replace("$__rate_interval", "5m")
    try:
        tree = list(parts(promql_parser.parse(text)))
    except Exception as error:
        sys.exit(f"{where}: {error}: {text}")
    labels, asked = set(), 0
    for node in tree:
        if not isinstance(node, promql_parser.VectorSelector):
            continue
        asked += 1
        assert node.name in known, f"{where}: there is no series {node.name}"
        labels |= known[node.name]
        for matcher in node.matchers.matchers:
            assert matcher.name in known[node.name], f"{where}: {node.name} has no {matcher.name}"
    for node in tree:
        modifier = getattr(node, "modifier", None)
        for group in (modifier, getattr(modifier, "matching", None)):
            for label in getattr(group, "labels", None) or []:
                assert label in labels, f"{where}: nothing has the label {label}"
    assert asked or text.startswith("vector("), f"{where}: asks for nothing"
    return labels


def check_dashboard(path, known):
    with open(path, encoding="utf-8") as file:
        dashboard = json.load(file)
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert dashboard["schemaVersion"] >= 39 and dashboard["uid"] and "id" not in dashboard
    for name, variable in variables.items():
        query = re.fullmatch(r"label_values\((\w+)(?:\{(.*)\})?, (\w+)\)", variable.get("definition", ""))
        if variable["type"] == "query":
            assert query and query[1] in known and query[3] in known[query[1]], name
            assert variable["query"]["query"] == variable["definition"], name
    ids, taken, queries = set(), set(), 0
    for panel in dashboard["panels"]:
        where = f"panel {panel['title']!r}"
        assert panel["id"] not in ids, f"{where}: its id is taken"
        ids.add(panel["id"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, where
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{where}: lies over another"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["description"] and panel["datasource"]["uid"] == "${datasource}", where
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)), where
        for target in panel["targets"]:
            queries += 1
            assert target["datasource"]["uid"] == "${datasource}", where
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= set(variables), f"{where}: no variable {used}"
            labels = check_query(where, target["expr"], known)
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= labels, f"{where}: {shown - labels} is no label"
    return queries


def check_rules(path, known):
    with open(path, encoding="utf-8") as file:
        groups = yaml.safe_load(file)["groups"]
    names = set()
    for rule in (rule for group in groups for rule in group["rules"]):
        where = f"alert {rule['alert']}"
        assert rule["alert"] not in names, f"{where}: twice"
        names.add(rule["alert"])
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, where
        assert DURATIONS.match(rule.get("for", "0s")), where
        assert rule["labels"]["severity"] in ("page", "ticket"), where
        labels = check_query(where, rule["expr"], known)
        for part in ("summary", "description", "action"):
            text = rule["annotations"][part]
            assert text.strip(), f"{where}: no {part}"
            shown = set(re.findall(r"\$labels\.(\w+)", text))
            assert shown <= labels, f"{where}: {shown - labels} is no label"
            assert text.count("{{") == text.count("}}"), where
    return names


dashboard, rules, *expositions = sys.argv[1:]
series = known_series(expositions)
assert check_dashboard(dashboard, series) > 40
assert len(check_rules(rules, series)) >= 10
# It must be able to fail.
for wrong in ("sum(nothing_total)", "rate(http_requests_total{nobody=\"1\"}[5m])", "sum by (nobody) (up)"):
    try:
        check_query("self", wrong, series)
    except AssertionError:
        continue
    raise SystemExit(f"{wrong} was let through")
