//! Which values go with which type of preference, from where they are enforced.

use serde_json::{Value, json};

use crate::domain::preference::choice::{
    NAME_CHARS_MAX, NOTE_CHARS_MAX, RESPONSE, WORDS_MAX, Word,
};
use crate::domain::preference::{Kind, choice};

/// Says of an observation, and of what is forgotten, that its type decides over key and value.
pub(super) fn set(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    schemas["PreferenceObservation"]["oneOf"] = Kind::ALL.map(observation).into();
    let no_key = json!({ "properties": { "key": { "type": "null" } } });
    let kinds = Kind::ALL.map(|kind| {
        json!({ "required": ["type"], "properties": { "type": one_of([kind.as_str()]), "key": key(kind) } })
    });
    let forget = kinds.into_iter().chain([no_key]).collect::<Vec<_>>();
    schemas["PreferenceForgetRequest"]["anyOf"] = forget.into();
}

fn observation(kind: Kind) -> Value {
    let value = match kind {
        Kind::Custom => json!({ "type": "string", "maxLength": NOTE_CHARS_MAX, "pattern": note() }),
        kind => one_of(kind.vocabulary().iter().map(|word: &Word| word.value)),
    };
    let mut form = json!({
        "required": ["type", "value"],
        "properties": { "type": one_of([kind.as_str()]), "key": key(kind), "value": value },
    });
    if kind == Kind::Custom {
        form["required"] = json!(["type", "key", "value"]);
    }
    form
}

fn one_of(values: impl IntoIterator<Item = &'static str>) -> Value {
    json!({ "type": "string", "enum": values.into_iter().collect::<Vec<_>>() })
}

fn key(kind: Kind) -> Value {
    match kind {
        Kind::Custom => {
            let more = WORDS_MAX - 1;
            let pattern = format!("^[a-z][a-z0-9]*(_[a-z0-9]*){{0,{more}}}$");
            json!({ "type": "string", "maxLength": NAME_CHARS_MAX, "pattern": pattern })
        }
        _ => json!({ "type": ["string", "null"], "enum": [RESPONSE, null] }),
    }
}

/// The words of a note.
fn note() -> String {
    let (word, more) = ("[A-Za-z0-9.+#_-]+", choice::WORDS_MAX - 1);
    format!("^[A-Za-z0-9][A-Za-z0-9.+#_-]*( {word}){{0,{more}}}$")
}
