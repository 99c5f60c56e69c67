//! What follows for an operation from its route's class and from having a body, so that no handler
//! has to say it.

use serde_json::{Map, Value, json};

use crate::http::auth::Class;
use crate::http::openapi::example;

/// The schema that a request's unknown keys may have.
const ANY: &str = "#/components/schemas/AnyJson";

/// An error that comes from around the handlers.
struct Common {
    status: &'static str,
    name: &'static str,
    description: &'static str,
    when: When,
}

/// Which operations it is an answer of.
#[derive(PartialEq)]
enum When {
    Always,
    /// Where a token may be asked for.
    Token,
    /// Where there is a body.
    Body,
}

const COMMON: [Common; 12] = [
    Common {
        status: "400",
        name: "BadRequest",
        description: "Something in the request cannot be read or is out of its range.",
        when: When::Always,
    },
    Common {
        status: "401",
        name: "Unauthorized",
        description: "The token is missing or another one.",
        when: When::Token,
    },
    Common {
        status: "403",
        name: "Forbidden",
        description: "The node does not answer to this Host, or not to pages of this Origin.",
        when: When::Always,
    },
    Common {
        status: "408",
        name: "RequestTimeout",
        description: "The body did not come in time.",
        when: When::Body,
    },
    Common {
        status: "413",
        name: "ContentTooLarge",
        description: "The body is too large.",
        when: When::Body,
    },
    Common {
        status: "415",
        name: "UnsupportedMediaType",
        description: "The body is not application/json, or is compressed.",
        when: When::Body,
    },
    Common {
        status: "422",
        name: "UnprocessableContent",
        description: "The body is JSON that misses a key or has a value of another type; `details` \
                      is its path.",
        when: When::Body,
    },
    Common {
        status: "429",
        name: "TooManyRequests",
        description: "This client calls too often.",
        when: When::Always,
    },
    Common {
        status: "431",
        name: "HeaderFieldsTooLarge",
        description: "The header fields are too large.",
        when: When::Always,
    },
    Common {
        status: "500",
        name: "InternalServerError",
        description: "The node made an error; its log says which.",
        when: When::Always,
    },
    Common {
        status: "503",
        name: "ServiceUnavailable",
        description: "The node is overloaded, on its way down, or what answers is just restarting.",
        when: When::Always,
    },
    Common {
        status: "504",
        name: "GatewayTimeout",
        description: "There was no answer in time.",
        when: When::Always,
    },
];

/// Completes the document of these routes.
pub(super) fn complete(document: &mut Value, routes: &[(&str, Class)], tags: &[(&str, &str)]) {
    either(document);
    nullable(document);
    example::complete(document);
    let mut requests = Vec::new();
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            let class = routes.iter().find(|(route, _)| route == path).map(|(_, class)| *class);
            let Some(item) = item.as_object_mut() else { continue };
            let is_only = item.len() == 1;
            let name_of_path = name_among(path, routes);
            for (method, operation) in item {
                let name = match is_only {
                    true => name_of_path.clone(),
                    false => format!("{name_of_path}.{method}"),
                };
                requests.extend(complete_operation(operation, class, name, Errors::of(path)));
                operation["tags"] = json!([tag(path, tags)]);
            }
        }
    }
    let tags = tags.iter().map(|(name, about)| json!({ "name": name, "description": about }));
    let used: Vec<Value> = tags.filter(|tag| is_used(document, &tag["name"])).collect();
    document["tags"] = used.into();
    tolerate(document, requests);
    let components = &mut document["components"];
    let shared = [Errors::Own, Errors::OpenAi].into_iter().flat_map(|errors| {
        COMMON.iter().filter(move |it| errors.has(it.status)).map(move |it| errors.shared(it))
    });
    components["responses"] = shared.collect::<Map<_, _>>().into();
    components["headers"] = json!({
        "RequestId": {
            "description": "Id of the request, as in the node's log.",
            "required": true,
            "schema": { "$ref": "#/components/schemas/RequestIdText" },
        },
        "RetryAfter": {
            "description": "Seconds after which to try again.",
            "required": true,
            "schema": { "type": "integer", "minimum": 1 },
        },
    });
    components["securitySchemes"] = json!({ "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of the node; `bizra token` prints it.",
    }});
}

/// Keys of which a request has one or the other, given as text or as base64.
const EITHER: [(&str, &str); 3] =
    [("GatesCheckRequest", "content"), ("SignRequest", "message"), ("VerifyRequest", "message")];

fn either(document: &mut Value) {
    for (name, key) in EITHER {
        let base64 = format!("{key}_b64");
        let only = |given: &str, other: &str| {
            json!({
                "required": [given],
                "properties": {
                    (given): { "type": "string" },
                    (other): { "type": "null" },
                },
            })
        };
        if let Some(schema) = document.pointer_mut(&format!("/components/schemas/{name}")) {
            schema["oneOf"] = json!([only(key, &base64), only(&base64, key)]);
        }
    }
}

/// What refers to a schema or is null says so in a way that keeps its description outside, and that
/// holds also where the schema takes null itself.
fn nullable(value: &mut Value) {
    match value {
        Value::Object(keys) => {
            keys.values_mut().for_each(nullable);
            let is_nullable = keys.get("oneOf").and_then(Value::as_array).is_some_and(|choices| {
                choices.iter().any(|choice| *choice == json!({ "type": "null" }))
            });
            let Some(mut choices) = keys.remove("oneOf") else { return };
            for choice in choices.as_array_mut().into_iter().flatten() {
                let about = choice.as_object_mut().and_then(|choice| choice.remove("description"));
                if let (true, Some(about)) = (is_nullable, about) {
                    keys.insert("description".to_owned(), about);
                }
            }
            keys.insert(if is_nullable { "anyOf" } else { "oneOf" }.to_owned(), choices);
        }
        Value::Array(items) => items.iter_mut().for_each(nullable),
        _ => {}
    }
}

/// The operation's name: what a call over a socket names it by. Below `/v1`, where a call is named
/// by verb and path, one thing of a list has the name of the list and its parameter's.
fn name(path: &str) -> String {
    let is_own = !path.starts_with("/v1/");
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let parts = path.split('/').filter(|part| !part.is_empty());
    let parts = parts.filter(|part| !is_own || !part.starts_with('{'));
    parts.map(|part| part.trim_matches(['{', '}'])).collect::<Vec<_>>().join(".")
}

/// As [`name`]; one of a kind is told from all of them by the part that says which.
fn name_among(path: &str, routes: &[(&str, Class)]) -> String {
    let own = name(path);
    let is_shared = routes.iter().filter(|(route, _)| name(route) == own).count() > 1;
    match path.rsplit('/').next().and_then(|last| last.strip_prefix('{')?.strip_suffix('}')) {
        Some(part) if is_shared => format!("{own}.{part}"),
        _ => own,
    }
}

fn tag<'a>(path: &str, tags: &'a [(&str, &str)]) -> &'a str {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let first = path.split('/').nth(1).unwrap_or_default();
    let known = tags.iter().find(|(tag, _)| *tag == first).or(tags.first());
    known.map_or("", |(tag, _)| tag)
}

fn is_used(document: &Value, tag: &Value) -> bool {
    let items = document["paths"].as_object().into_iter().flat_map(Map::values);
    let mut operations = items.filter_map(Value::as_object).flat_map(Map::values);
    operations.any(|operation| operation["tags"][0] == *tag)
}

/// In which shape an operation tells errors.
#[derive(Clone, Copy, PartialEq)]
enum Errors {
    Own,
    /// Below `/v1`.
    OpenAi,
}

impl Errors {
    fn of(path: &str) -> Self {
        if path.starts_with("/v1/") { Self::OpenAi } else { Self::Own }
    }

    /// Whether there are errors of this status: OpenAI knows no 422.
    fn has(self, status: &str) -> bool {
        self == Self::Own || status != "422"
    }

    fn name(self, common: &Common) -> String {
        match self {
            Self::Own => common.name.to_owned(),
            Self::OpenAi => format!("OpenAi{}", common.name),
        }
    }

    fn content(self) -> Value {
        let name = match self {
            Self::Own => "ApiError",
            Self::OpenAi => "OpenAiError",
        };
        let reference = format!("#/components/schemas/{name}");
        json!({ "application/json": { "schema": { "$ref": reference } } })
    }

    fn shared(self, common: &Common) -> (String, Value) {
        let response = json!({
            "description": common.description,
            "headers": headers(common.status),
            "content": self.content(),
        });
        (self.name(common), response)
    }
}

/// Completes one operation; tells the schema of its body, if it has one.
fn complete_operation(
    operation: &mut Value,
    class: Option<Class>,
    name: String,
    errors: Errors,
) -> Option<Value> {
    operation["operationId"] = name.into();
    let token = json!({ "token": [] });
    let (class_name, security) = match class {
        // A route that is not there is told by a test.
        None | Some(Class::Open) => ("open", json!([])),
        Some(Class::Read) => ("read", json!([{}, token])),
        Some(Class::Act) => ("act", json!([{}, token])),
        Some(Class::Privileged) => ("privileged", json!([token])),
    };
    operation["x-class"] = class_name.into();
    operation["security"] = security;
    let body = operation.pointer_mut("/requestBody").map(|body| {
        let is_required = body["required"] == true;
        body["required"] = is_required.into();
        let schema = &mut body["content"]["application/json"]["schema"];
        if !is_required {
            unwrap_optional(schema);
        }
        schema.clone()
    });
    let is_met = |when: &When| match when {
        When::Always => true,
        When::Token => class != Some(Class::Open),
        When::Body => body.is_some(),
    };
    if let Some(responses) = operation["responses"].as_object_mut() {
        for (status, response) in responses.iter_mut() {
            complete_response(status, response, errors);
        }
        let is_met = |common: &&Common| is_met(&common.when) && errors.has(common.status);
        for common in COMMON.iter().filter(is_met) {
            let reference = format!("#/components/responses/{}", errors.name(common));
            let shared = json!({ "$ref": reference });
            responses.entry(common.status).or_insert(shared);
        }
    }
    body
}

/// A body that may be left out is still no `null`.
fn unwrap_optional(schema: &mut Value) {
    let others = schema["anyOf"].as_array().into_iter().flatten();
    let mut others = others.filter(|other| other["type"] != "null");
    if let (Some(only), None) = (others.next().cloned(), others.next()) {
        *schema = only;
    }
}

fn complete_response(status: &str, response: &mut Value, errors: Errors) {
    if response["description"].as_str().is_none_or(str::is_empty) {
        response["description"] = "OK".into();
    }
    response["headers"] = headers(status);
    // Events come one by one, and a schema would be of each or of all: `events` says what each is.
    if let Some(Value::Object(stream)) = response.pointer_mut("/content/text~1event-stream") {
        stream.remove("schema");
    }
    if status.starts_with(['4', '5']) && response.get("content").is_none() {
        response["content"] = errors.content();
    }
}

fn headers(status: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    let mut headers = json!({ "x-request-id": reference("RequestId") });
    if matches!(status, "429" | "503") {
        headers["retry-after"] = reference("RetryAfter");
    }
    headers
}

/// Says of every object in requests that other keys are ignored, whatever JSON they hold.
fn tolerate(document: &mut Value, mut schemas: Vec<Value>) {
    let mut seen = Vec::new();
    while let Some(schema) = schemas.pop() {
        match schema {
            Value::Object(keys) => {
                schemas.extend(keys.into_iter().map(|(key, value)| match (key.as_str(), value) {
                    ("examples" | "enum" | "default", _) => Value::Null,
                    (_, value) => value,
                }))
            }
            Value::Array(items) => schemas.extend(items),
            Value::String(reference) => {
                let name = reference.strip_prefix("#/components/schemas/");
                let Some(name) = name.filter(|_| reference != ANY) else { continue };
                if seen.iter().any(|other| other == name) {
                    continue;
                }
                seen.push(name.to_owned());
                let schema = &mut document["components"]["schemas"][name];
                if schema.get("properties").is_some() {
                    schema["additionalProperties"] = json!({ "$ref": ANY });
                }
                schemas.push(schema.clone());
            }
            _ => {}
        }
    }
}
