"""Holds the events of every stream of a live node to its document."""

import json
import sys
import urllib.request

import jsonschema_rs

BASE = sys.argv[1]
REGISTRY = "https://node.invalid/openapi.json"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
SHORT = {"stream": True, "max_tokens": 4, "seed": 1}
MESSAGES = [{"role": "user", "content": "The function returns"}]
USAGE = {"stream_options": {"include_usage": True}}

# Each with the schemas that must be met at least once.
STREAMS = [
    ("/api/v1/inference/generate", {"prompt": "Once upon a"}, {"Token", "Generated"}),
    ("/v1/chat/completions", {"messages": MESSAGES}, {"ChatCompletionChunk", "[DONE]"}),
    ("/v1/chat/completions", {"messages": MESSAGES, **USAGE}, {"ChatCompletionChunk", "[DONE]"}),
    ("/v1/completions", {"prompt": "Once upon a"}, {"TextCompletionChunk", "[DONE]"}),
]


def fetched(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def events(text):
    """The events of a stream, each with its fields."""
    for block in filter(None, text.split("\n\n")):
        lines = [line.partition(":") for line in block.splitlines() if not line.startswith(":")]
        fields = {name: value.removeprefix(" ") for name, _, value in lines}
        if fields:
            yield fields


def complaints(document):
    resources = jsonschema_rs.Registry([(REGISTRY, {"$schema": DRAFT, **document})])
    for path, body, wanted in STREAMS:
        content = document["paths"][path]["post"]["responses"]["200"]["content"]
        forms = content["text/event-stream"]["x-itemSchema"]["oneOf"]
        met = set()
        for event in events(fetched(path, {**SHORT, **body})):
            found = [form for form in forms if is_of(event, form, resources)]
            if len(found) != 1:
                yield f"{path}: {event} is of {len(found)} forms"
            met.update(name_of(form["properties"]["data"]) for form in found)
        if missing := wanted - met:
            yield f"{path}: nothing is {missing}"


def name_of(data):
    return data.get("const") or data["contentSchema"]["$ref"].rpartition("/")[2]


def is_of(event, form, resources):
    properties = form["properties"]
    if not set(form["required"]) <= event.keys() or event.keys() - properties.keys():
        return False
    if event.get("event") != properties.get("event", {}).get("const"):
        return False
    data = properties["data"]
    if "const" in data:
        return event["data"] == data["const"]
    try:
        value = json.loads(event["data"])
    except ValueError:
        return False
    reference = {"$ref": REGISTRY + data["contentSchema"]["$ref"]}
    return jsonschema_rs.Draft202012Validator(
        reference, registry=resources, validate_formats=True
    ).is_valid(value)


if __name__ == "__main__":
    found = list(complaints(json.loads(fetched("/openapi.json"))))
    print("\n".join(found))
    sys.exit(bool(found))
