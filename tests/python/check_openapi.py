"""Holds the document that is given as a file to OpenAPI 3.1, and its examples to their schemas."""

import json
import sys

import jsonschema_rs
from openapi_spec_validator import OpenAPIV31SpecValidator


def complaints(document):
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
    registry = "https://node.invalid/openapi.json"
    resources = jsonschema_rs.Registry(
        [(registry, {"$schema": "https://json-schema.org/draft/2020-12/schema", **document})]
    )
    for name, schema in document["components"]["schemas"].items():
        reference = {"$ref": f"{registry}#/components/schemas/{name}"}
        validator = jsonschema_rs.Draft202012Validator(
            reference, registry=resources, validate_formats=True
        )
        for example in schema["examples"]:
            for error in validator.iter_errors(example):
                yield f"example of {name}: {error.message}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        found = list(complaints(json.load(file)))
    print("\n".join(found))
    sys.exit(bool(found))
