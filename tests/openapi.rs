//! The contract as a document: whole, described to the last field, and seen in review when it
//! changes.

use std::collections::BTreeSet;
use std::path::Path;

use bizra_omega::http::auth::Class;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::openapi::document;
use bizra_omega::http::router::ROUTES;
use serde_json::Value;

const HELP: &str = "describe the handler (`#[utoipa::path]`) and its types (`ToSchema`), and name \
                    the handler in src/http/openapi.rs; CONTRIBUTING.md says how";

/// Set to have the committed copy written anew.
const RENEW: &str = "BIZRA_RENEW_OPENAPI";

fn made() -> Value {
    document(&Limits::default())
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Every operation: path, method, and what is said of it.
fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let items = entries(&document["paths"]);
    items.flat_map(|(path, item)| entries(item).map(move |(method, it)| (path, method, it)))
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = made();
    let described: BTreeSet<&str> =
        entries(&document["paths"]).map(|(path, _)| path.as_str()).collect();
    let served: BTreeSet<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
    let missing: Vec<_> = served.difference(&described).collect();
    assert!(missing.is_empty(), "not in the OpenAPI document: {missing:?}; {HELP}");
    let absent: Vec<_> = described.difference(&served).collect();
    assert!(absent.is_empty(), "described, but not in ROUTES of src/http/router.rs: {absent:?}");
}

#[test]
fn an_operation_asks_for_the_token_as_its_class_does() {
    let document = made();
    for (path, class) in ROUTES {
        let security = match class {
            Class::Open => "[]",
            Class::Read | Class::Act => "[{},{\"token\":[]}]",
            Class::Privileged => "[{\"token\":[]}]",
        };
        for (method, operation) in entries(&document["paths"][path]) {
            let place = format!("{method} {path}");
            assert_eq!(operation["security"].to_string(), security, "{place}");
            let is_open = class == Class::Open;
            assert_eq!(operation["responses"].get("401").is_none(), is_open, "{place}");
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_words() {
    let document = made();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}: {HELP}");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(summary.len() > 3 && summary.ends_with('.'), "no summary: {place}");
        assert!(!summary.contains('\n'), "a summary is one line: {place}");
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{place}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{} of {place}", parameter["name"]);
        }
        for (status, response) in entries(&operation["responses"]) {
            assert!(response.get("$ref").is_some() || response["description"] != "", "{place}");
            if status.starts_with(['4', '5']) && response.get("$ref").is_none() {
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                let name = if path.starts_with("/v1/") { "OpenAiError" } else { "ApiError" };
                let expected = format!("#/components/schemas/{name}");
                assert_eq!(*schema, expected, "{status} of {place}");
            }
        }
        let never = path.ends_with("/ws");
        assert_eq!(operation["responses"].get("200").is_some(), !never, "{place}");
    }
}

#[test]
fn every_schema_and_every_field_is_described() {
    let document = made();
    let mut poor = Vec::new();
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let parts = schema["allOf"].as_array().into_iter().flatten().chain([schema]);
        if !parts.clone().any(|part| part["description"].is_string()) {
            poor.push(format!("{name} has no description"));
        }
        if schema["examples"].as_array().is_none_or(Vec::is_empty) {
            poor.push(format!("{name} has no example"));
        }
        for (field, schema) in parts.flat_map(|part| entries(&part["properties"])) {
            if !schema["description"].is_string() {
                poor.push(format!("{name}.{field} has no description"));
            }
        }
    }
    assert!(poor.is_empty(), "write doc comments: {poor:#?}");
}

#[test]
fn the_committed_copy_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let text = serde_json::to_string_pretty(&made()).unwrap() + "\n";
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/openapi.json is not what the code says; look whether the change is meant, then run: \
         cargo xtask openapi"
    );
}

#[test]
fn the_version_is_that_of_the_node() {
    let document = made();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
}
