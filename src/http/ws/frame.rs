//! What clients say, and the frames that answer.

use serde_json::{Map, Value};

use crate::http::error::ApiError;

/// Characters of an id: enough for every usual scheme.
const ID_CHARS_MAX: usize = 128;

/// The name of a frame in its answers: a string or a whole number, chosen by the client.
pub(super) type Id = Value;

/// A frame of a client.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) id: Option<Id>,
    pub(super) ask: Ask,
}

/// What a client wants.
#[derive(Debug, PartialEq)]
pub(super) enum Ask {
    Ping,
    Status,
    Subscribe(String),
    Unsubscribe(String),
    Call {
        method: String,
        params: Option<Value>,
    },
    /// With the keys of a request to generate.
    Generate(Map<String, Value>),
    /// What the frame's id names.
    Cancel(Id),
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    /// Why not, with the frame's id if it has a usable one.
    pub(super) fn read(value: Value) -> Result<Self, (Option<Id>, ApiError)> {
        let Value::Object(mut frame) = value else {
            return Err((None, ApiError::invalid("INVALID_FRAME", "a frame is an object")));
        };
        let id = match frame.remove("id") {
            None | Some(Value::Null) => None,
            Some(id) if is_id(&id) => Some(id),
            Some(_) => {
                let error = format!("an id is a whole number or 1 to {ID_CHARS_MAX} characters");
                return Err((None, ApiError::invalid("INVALID_ID", error).details("$.id")));
            }
        };
        match Ask::read(frame, id.as_ref()) {
            Ok(ask) => Ok(Self { id, ask }),
            Err(error) => Err((id, error)),
        }
    }
}

impl Ask {
    fn read(mut frame: Map<String, Value>, id: Option<&Id>) -> Result<Self, ApiError> {
        let kind = text(&mut frame, "type")?;
        Ok(match kind.as_str() {
            "ping" => Self::Ping,
            "status" => Self::Status,
            "subscribe" => Self::Subscribe(text(&mut frame, "topic")?),
            "unsubscribe" => Self::Unsubscribe(text(&mut frame, "topic")?),
            "call" => {
                let method = text(&mut frame, "method")?;
                let params = frame.remove("params").filter(|params| !params.is_null());
                Self::Call { method, params }
            }
            "generate" => Self::Generate(frame),
            "cancel" => match id {
                Some(id) => Self::Cancel(id.clone()),
                None => return Err(invalid_field("id", "is missing: it names what to cancel")),
            },
            _ => {
                let known = "ping, status, subscribe, unsubscribe, call, generate, cancel";
                let error = format!("there is no such type; there is: {known}");
                return Err(ApiError::invalid("UNKNOWN_TYPE", error));
            }
        })
    }
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => (1..=ID_CHARS_MAX).contains(&text.chars().count()),
        Value::Number(number) => number.is_i64(),
        _ => false,
    }
}

fn text(frame: &mut Map<String, Value>, field: &'static str) -> Result<String, ApiError> {
    match frame.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(invalid_field(field, "is not a string")),
        None => Err(invalid_field(field, "is missing")),
    }
}

fn invalid_field(field: &str, problem: &str) -> ApiError {
    ApiError::invalid("INVALID_FRAME", format!("{field} {problem}")).details(format!("$.{field}"))
}

/// An answer of this type with what `body` holds.
pub(super) fn answer(kind: &str, id: Option<&Id>, body: Value) -> Value {
    let mut frame = match body {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    frame.insert("type".into(), kind.into());
    if let Some(id) = id {
        frame.insert("id".into(), id.clone());
    }
    Value::Object(frame)
}

/// An error that has no request of its own.
pub(super) fn error(id: Option<&Id>, error: &ApiError) -> Value {
    let mut told = error.to_json("");
    if let Some(told) = told.as_object_mut() {
        told.remove("request_id");
    }
    failure(id, Some(error.status().as_u16()), told)
}

/// An error as HTTP tells it, in a frame: `error` is `message`, and the status is a key. An error
/// within a stream has none.
pub(super) fn failure(id: Option<&Id>, status: Option<u16>, mut told: Value) -> Value {
    if let Some(told) = told.as_object_mut() {
        let message = told.remove("error").unwrap_or_default();
        told.insert("message".into(), message);
        if let Some(status) = status {
            told.insert("status".into(), status.into());
        }
    }
    answer("error", id, told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(frame: Value) -> (Option<Id>, &'static str) {
        let (id, error) = Frame::read(frame).unwrap_err();
        (id, error.code())
    }

    #[test]
    fn what_is_no_frame_is_named_with_its_id_if_it_has_one() {
        for (frame, id, expected) in [
            (json!([]), None, "INVALID_FRAME"),
            (json!("ping"), None, "INVALID_FRAME"),
            (json!({}), None, "INVALID_FRAME"),
            (json!({"id": 1}), Some(json!(1)), "INVALID_FRAME"),
            (json!({"id": "a", "type": 1}), Some(json!("a")), "INVALID_FRAME"),
            (json!({"id": "a", "type": "Ping"}), Some(json!("a")), "UNKNOWN_TYPE"),
            (json!({"type": "subscribe"}), None, "INVALID_FRAME"),
            (json!({"type": "subscribe", "topic": []}), None, "INVALID_FRAME"),
            (json!({"type": "call", "params": {}}), None, "INVALID_FRAME"),
            (json!({"type": "cancel"}), None, "INVALID_FRAME"),
            (json!({"type": "ping", "id": {}}), None, "INVALID_ID"),
            (json!({"type": "ping", "id": 1.5}), None, "INVALID_ID"),
            (json!({"type": "ping", "id": ""}), None, "INVALID_ID"),
            (json!({"type": "ping", "id": "x".repeat(129)}), None, "INVALID_ID"),
        ] {
            assert_eq!(code(frame.clone()), (id, expected), "{frame}");
        }
    }

    #[test]
    fn an_answer_repeats_the_id_and_no_other_has_one() {
        let frame = Frame::read(json!({"type": "ping", "id": "a"})).unwrap();
        assert_eq!(frame, Frame { id: Some(json!("a")), ask: Ask::Ping });
        let told = answer("pong", frame.id.as_ref(), json!({"timestamp": 1}));
        assert_eq!(told, json!({"type": "pong", "id": "a", "timestamp": 1}));
        assert_eq!(answer("pong", None, json!({})), json!({"type": "pong"}));
    }

    #[test]
    fn an_error_has_code_and_message() {
        let told = error(None, &ApiError::invalid("CODE", "why").details("$.x"));
        let expected = json!({
            "type": "error", "code": "CODE", "message": "why", "details": "$.x", "status": 400,
        });
        assert_eq!(told, expected);
    }
}
