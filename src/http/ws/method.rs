//! Which operation a call names.

use hyper::Method;
use hyper::http::uri::PathAndQuery;
use serde_json::{Map, Value};

use crate::domain::name::is_plain;
use crate::http::error::ApiError;
use crate::http::router::ROUTES;

const BASE: &str = "/api/v1/";

/// Operations that are read; the others are posted. A path that takes both is called by its verb.
const READ: [&str; 16] = [
    "health",
    "status",
    "metrics",
    "actors",
    "constitution",
    "models",
    "backends",
    "identity",
    "envelopes",
    "peers",
    "proposals",
    "preferences",
    "patterns",
    "stats",
    "{id}",
    "{subject}",
];

/// Characters of a part of a path that parameters give: the id of a proposal has 69.
const PART_CHARS_MAX: usize = 72;

/// A request to the node's own router.
#[derive(Debug, PartialEq)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) body: Option<Value>,
}

impl Operation {
    /// The operation that `name` names: `POST /inference/tier`, or `inference.tier`. In the second
    /// form a part of the path such as an actor's name is one of the parameters, and the verb may stand
    /// at the end, which tells those of one path apart: `patterns.delete`.
    ///
    /// # Errors
    /// When there is none of this name, or it does not take such parameters.
    pub(super) fn find(name: &str, params: Option<Value>) -> Result<Self, ApiError> {
        match name.split_once(' ') {
            Some((verb, path)) => Self::of_path(verb, path, params),
            None => Self::of_words(name, params),
        }
    }

    fn of_path(verb: &str, path: &str, params: Option<Value>) -> Result<Self, ApiError> {
        let method = match verb {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "DELETE" => Method::DELETE,
            _ => return Err(unknown()),
        };
        let path = match path.strip_prefix('/') {
            Some(rest) if !is_outside(path) => format!("{BASE}{rest}"),
            Some(_) => path.to_owned(),
            None => return Err(unknown()),
        };
        Self::new(method, &path, params)
    }

    fn of_words(name: &str, params: Option<Value>) -> Result<Self, ApiError> {
        let (name, verb) = match name.rsplit_once('.') {
            Some((name, "get")) => (name, Some(Method::GET)),
            Some((name, "post")) => (name, Some(Method::POST)),
            Some((name, "delete")) => (name, Some(Method::DELETE)),
            _ => (name, None),
        };
        let is_named = |path: &&str| words(path).is_some_and(|words| words == name);
        let named = ROUTES.iter().map(|(path, _)| *path).filter(is_named);
        // One of a kind and all of them may have the same name; a part that is given says which.
        let has_part = |path: &&str| {
            params
                .as_ref()
                .is_some_and(|params| part_of(path).is_some_and(|key| params.get(key).is_some()))
        };
        let pattern = named.max_by_key(|path| (has_part(path), part_of(path).is_none()));
        let pattern = pattern.ok_or_else(unknown)?;
        let last = pattern.rsplit('/').next().unwrap_or_default();
        let usual = if READ.contains(&last) { Method::GET } else { Method::POST };
        let method = verb.unwrap_or(usual);
        let mut params = params;
        let mut path = String::new();
        for part in pattern.split('/').skip(1) {
            path.push('/');
            match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(key) => path.push_str(&take_part(params.as_mut(), key)?),
                None => path.push_str(part),
            }
        }
        if method != Method::POST && params.as_ref().is_some_and(is_empty) {
            params = None;
        }
        Self::new(method, &path, params)
    }

    fn new(method: Method, path: &str, params: Option<Value>) -> Result<Self, ApiError> {
        let path = PathAndQuery::try_from(path).map_err(|_| unknown())?;
        let body = match (&method, params) {
            (&Method::GET | &Method::DELETE, None) => None,
            (&Method::GET | &Method::DELETE, Some(_)) => {
                let error = "what is read or removed takes its parameters in the path";
                return Err(ApiError::invalid("INVALID_PARAMS", error).details("$.params"));
            }
            (_, params) => Some(params.unwrap_or_else(|| Value::Object(Map::new()))),
        };
        Ok(Self { method, path, body })
    }
}

/// Whether a path is one beside the contract's base path.
fn is_outside(path: &str) -> bool {
    fn root(path: &str) -> &str {
        path[1..].split(['/', '?']).next().unwrap_or_default()
    }
    path.starts_with(BASE)
        || ROUTES.iter().any(|(known, _)| !known.starts_with(BASE) && root(known) == root(path))
}

/// What the part of a path is called that a parameter gives.
fn part_of(pattern: &str) -> Option<&str> {
    pattern.split(['{', '}']).nth(1)
}

/// The name in words of a path under the base path.
fn words(pattern: &str) -> Option<String> {
    let parts = pattern.strip_prefix(BASE)?.split('/').filter(|part| !part.starts_with('{'));
    Some(parts.collect::<Vec<_>>().join("."))
}

/// Takes a part of the path out of the parameters.
fn take_part(params: Option<&mut Value>, key: &str) -> Result<String, ApiError> {
    let part = params.and_then(Value::as_object_mut).and_then(|params| params.remove(key));
    let is_part = |text: &str| is_plain(text, b"._-", PART_CHARS_MAX) && !text.starts_with('.');
    match part {
        Some(Value::String(part)) if is_part(&part) => Ok(part),
        _ => {
            let error = format!("{key} must be 1 to {PART_CHARS_MAX} of: letters, digits, . _ -");
            Err(ApiError::invalid("INVALID_PARAMS", error).details(format!("$.params.{key}")))
        }
    }
}

fn is_empty(params: &Value) -> bool {
    params.as_object().is_some_and(Map::is_empty)
}

fn unknown() -> ApiError {
    let error = "a method is a verb and a path, such as \"POST /inference/tier\", or \
                 \"inference.tier\"";
    ApiError::new(hyper::StatusCode::NOT_FOUND, "UNKNOWN_METHOD", error).details("$.method")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(name: &str, params: Option<Value>) -> (String, String, Option<Value>) {
        let operation = Operation::find(name, params).unwrap();
        (operation.method.to_string(), operation.path.to_string(), operation.body)
    }

    #[test]
    fn a_method_is_a_verb_and_a_path_or_the_path_in_words() {
        let empty = Some(json!({}));
        for (name, verb, path) in [
            ("POST /inference/tier", "POST", "/api/v1/inference/tier"),
            ("POST /api/v1/inference/tier", "POST", "/api/v1/inference/tier"),
            ("inference.tier", "POST", "/api/v1/inference/tier"),
            (
                "POST /pci/envelope/verify?consume=true",
                "POST",
                "/api/v1/pci/envelope/verify?consume=true",
            ),
            ("pci.gates.check", "POST", "/api/v1/pci/gates/check"),
            ("constitution.check", "POST", "/api/v1/constitution/check"),
        ] {
            let expected = (verb.to_owned(), path.to_owned(), empty.clone());
            assert_eq!(found(name, None), expected, "{name}");
        }
        for (name, path) in [
            ("GET /status", "/api/v1/status"),
            ("status", "/api/v1/status"),
            ("inference.models", "/api/v1/inference/models"),
            ("models", "/api/v1/models"),
            ("preferences", "/api/v1/preferences"),
            ("actors", "/api/v1/actors"),
            ("GET /livez", "/livez"),
        ] {
            assert_eq!(found(name, None), ("GET".to_owned(), path.to_owned(), None), "{name}");
        }
    }

    #[test]
    fn a_part_of_the_path_is_a_parameter() {
        let (_, path, body) =
            found("actors.stop", Some(json!({"name": "gate-chain", "kind": "kill"})));
        assert_eq!(path, "/api/v1/actors/gate-chain/stop");
        assert_eq!(body, Some(json!({"kind": "kill"})));
        // All of them have the same name as one, which is told by its part.
        let all = found("federation.proposals", Some(json!({})));
        assert_eq!(all, ("GET".to_owned(), "/api/v1/federation/proposals".to_owned(), None));
        let id = format!("prop_{}", "0".repeat(64));
        let one = found("federation.proposals", Some(json!({ "id": id })));
        assert_eq!(one.1, format!("/api/v1/federation/proposals/{id}"));
        let (verb, path, _) = found("models.pulls", Some(json!({"id": "pull_1_2"})));
        assert_eq!((verb.as_str(), path.as_str()), ("GET", "/api/v1/models/pulls/pull_1_2"));
        let (verb, path, _) = found("preferences.of", Some(json!({"subject": "ann"})));
        assert_eq!((verb.as_str(), path.as_str()), ("GET", "/api/v1/preferences/of/ann"));
        let (verb, path, _) = found("models.pulls.cancel", Some(json!({"id": "pull_1_2"})));
        assert_eq!(
            (verb.as_str(), path.as_str()),
            ("POST", "/api/v1/models/pulls/pull_1_2/cancel")
        );
        let id = format!("pat_{}", "0".repeat(32));
        for (name, given, verb, path) in [
            ("patterns", json!({}), "GET", "/api/v1/patterns".to_owned()),
            ("patterns.post", json!({}), "POST", "/api/v1/patterns".to_owned()),
            ("patterns", json!({ "id": id }), "GET", format!("/api/v1/patterns/{id}")),
            ("patterns.delete", json!({ "id": id }), "DELETE", format!("/api/v1/patterns/{id}")),
            ("patterns.pin", json!({ "id": id }), "POST", format!("/api/v1/patterns/{id}/pin")),
            ("patterns.stats", json!({}), "GET", "/api/v1/patterns/stats".to_owned()),
        ] {
            let (found_verb, found_path, _) = found(name, Some(given));
            assert_eq!((found_verb.as_str(), found_path), (verb, path), "{name}");
        }
        for name in [json!("a/b"), json!(".."), json!(""), json!("a?b"), json!(1), json!("\u{e9}")]
        {
            let refused = Operation::find("actors.stop", Some(json!({ "name": name })));
            assert_eq!(refused.unwrap_err().code(), "INVALID_PARAMS");
        }
    }

    #[test]
    fn what_is_no_method_is_unknown() {
        for name in [
            "",
            " ",
            "tier",
            "inference",
            "Inference.tier",
            "inference.tier ",
            "patterns.put",
            "get",
            ".get",
            "PUT /inference/tier",
            "POST inference/tier",
            "POST http://evil.example/",
            "POST /a b",
            "POST /\u{7f}",
            "GET /\r\nx: y",
        ] {
            assert_eq!(Operation::find(name, None).unwrap_err().code(), "UNKNOWN_METHOD", "{name}");
        }
        let refused = Operation::find("GET /status", Some(json!({"a": 1}))).unwrap_err();
        assert_eq!(refused.code(), "INVALID_PARAMS");
    }
}
