//! Examples of schemas: those that are given, and what follows from them.

use serde_json::{Map, Value, json};

/// How deep schemas may refer to each other. Ours do so four times.
const DEPTH_MAX: usize = 16;

/// Gives every schema of the document an example, in the way of JSON Schema: a list, `examples`.
pub(super) fn complete(document: &mut Value) {
    let Some(schemas) = document.pointer_mut("/components/schemas").map(Value::take) else {
        return;
    };
    let mut completed = schemas.clone();
    for (name, schema) in completed.as_object_mut().into_iter().flatten() {
        rename(schema);
        if schema.get("examples").is_none() {
            schema["examples"] = json!([of(&schemas[name], &schemas)]);
        }
    }
    document["components"]["schemas"] = completed;
}

/// OpenAPI's own `example` is deprecated in favour of JSON Schema's `examples`.
fn rename(schema: &mut Value) {
    match schema {
        Value::Object(keys) => {
            for (key, value) in keys.iter_mut() {
                if !matches!(key.as_str(), "examples" | "example" | "default" | "enum") {
                    rename(value);
                }
            }
            // A property may have this name; its value is then a schema.
            if keys.get("type").is_some_and(|it| !it.is_object())
                && let Some(example) = keys.remove("example")
            {
                keys.insert("examples".to_owned(), json!([example]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        _ => {}
    }
}

/// An example of `schema`; `schemas` has those it refers to.
pub(in crate::http) fn of(schema: &Value, schemas: &Value) -> Value {
    of_depth(schema, schemas, DEPTH_MAX)
}

fn of_depth(schema: &Value, schemas: &Value, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return Value::Null };
    let of = |schema: &Value| of_depth(schema, schemas, depth);
    for given in ["/examples/0", "/example", "/default", "/enum/0"] {
        if let Some(given) = schema.pointer(given) {
            return given.clone();
        }
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return of(&schemas[name]);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let parts = parts.iter().map(of).filter_map(|part| match part {
            Value::Object(keys) => Some(keys),
            _ => None,
        });
        return parts.flatten().collect::<Map<_, _>>().into();
    }
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let choice = choices.iter().find(|choice| choice["type"] != "null");
        return choice.map_or(Value::Null, of);
    }
    let is_of = |name: &str| match &schema["type"] {
        Value::Array(names) => names.iter().any(|it| it == name),
        only => only == name,
    };
    if is_of("object") {
        let properties = schema["properties"].as_object().into_iter().flatten();
        return properties
            .map(|(key, value)| (key.clone(), of(value)))
            .collect::<Map<_, _>>()
            .into();
    }
    if is_of("array") {
        let items = schema["minItems"].as_u64().unwrap_or(1).min(8);
        return (0..items).map(|_| of(&schema["items"])).collect::<Vec<_>>().into();
    }
    if is_of("integer") || is_of("number") {
        return schema.get("minimum").cloned().unwrap_or(json!(0));
    }
    if is_of("boolean") {
        return json!(true);
    }
    if is_of("string") { json!("text") } else { Value::Null }
}
