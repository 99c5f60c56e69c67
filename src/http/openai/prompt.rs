//! Conversations and texts as OpenAI's clients send them.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::inference::conversation::{Form, Turn};
use crate::domain::inference::request::RawRequest;
use crate::http::body::read_as;
use crate::http::error::ApiError;
use crate::http::openai::parameters::Parameters;
use crate::http::openapi::forms::AnyJson;

/// The messages of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiConversation)]
pub(in crate::http) struct Conversation {
    /// Instructions first, then what user and assistant said, and last the user's word. Their
    /// characters together are limited.
    #[schema(min_items = 1)]
    messages: Vec<Message>,
}

/// One message of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiMessage, examples(json!({ "role": "user", "content": "The function returns" })))]
pub(in crate::http) struct Message {
    /// Who says it. `system` and `developer` are instructions.
    #[schema(pattern = "^(system|developer|user|assistant)$")]
    role: String,
    /// A string, or a list of parts of type `text`; null only of an assistant that said nothing.
    #[serde(default)]
    #[schema(value_type = Option<Content>)]
    content: Value,
    /// None: this node calls no tools.
    #[serde(default)]
    #[schema(value_type = Option<Vec<AnyJson>>, max_items = 0)]
    tool_calls: Value,
    /// None: this node calls no functions.
    #[serde(default)]
    #[schema(value_type = Option<Vec<AnyJson>>, max_items = 0)]
    function_call: Value,
}

/// What a message says: a string, or parts of it.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiContent, examples(json!("The function returns")))]
#[expect(
    dead_code,
    reason = "it describes a value that is read by hand, for the sake of its errors"
)]
#[serde(untagged)]
pub(in crate::http) enum Content {
    Whole(String),
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiPart, examples(json!({ "type": "text", "text": "The function returns" })))]
#[expect(dead_code, reason = "as of Content")]
pub(in crate::http) struct Part {
    /// Always `text`.
    #[schema(pattern = "^text$")]
    r#type: String,
    /// The text.
    text: String,
}

/// A text to continue.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiText)]
pub(in crate::http) struct Text {
    /// The text, as it is.
    #[schema(value_type = String, pattern = "\\S", example = "The function returns")]
    prompt: Value,
}

/// A conversation, and how to answer it.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "its parts are read one after the other")]
pub(in crate::http) struct ChatCompletionRequest {
    /// What was said.
    #[serde(flatten)]
    conversation: Conversation,
    /// How to answer.
    #[serde(flatten)]
    parameters: Parameters,
}

/// A text, and how to continue it.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "its parts are read one after the other")]
pub(in crate::http) struct CompletionRequest {
    /// The text.
    #[serde(flatten)]
    text: Text,
    /// How to continue it.
    #[serde(flatten)]
    parameters: Parameters,
}

/// The roles of a conversation, by OpenAI's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
}

impl Conversation {
    /// Reads the messages of a request.
    ///
    /// # Errors
    /// 422 for another type.
    pub(super) fn read(body: &Value) -> Result<Self, ApiError> {
        read_as(body.clone())
    }

    /// What was asked: instructions first, then what was said, then the user's last word.
    ///
    /// # Errors
    /// 400 for what is no such conversation, with the message as place.
    pub(super) fn into_raw(self) -> Result<RawRequest, ApiError> {
        let mut system: Vec<String> = Vec::new();
        let mut history: Vec<Turn> = Vec::new();
        let count = self.messages.len();
        let Some(last) = count.checked_sub(1) else {
            return Err(invalid("messages", "messages is empty"));
        };
        for (index, message) in self.messages.into_iter().enumerate() {
            let place = format!("messages[{index}]");
            let speaker = speaker(&message.role, &place)?;
            let text = message.text(speaker, &place)?;
            match speaker {
                Speaker::System if history.is_empty() => system.push(text),
                Speaker::System => {
                    let error = "instructions (system, developer) go before all other messages";
                    return Err(invalid(format!("{place}.role"), error));
                }
                Speaker::User => history.push(Turn::user(text)),
                Speaker::Assistant => history.push(Turn::assistant(text)),
            }
            if index == last && speaker != Speaker::User {
                let error = "the last message must be the user's";
                return Err(invalid(format!("{place}.role"), error));
            }
        }
        // The last message is the user's, so there is one.
        let prompt = history.pop().map(|turn| turn.text().to_owned()).unwrap_or_default();
        let system = (!system.is_empty()).then(|| system.join("\n\n"));
        Ok(RawRequest { prompt, system, history, form: Form::Chat, ..RawRequest::default() })
    }
}

fn speaker(role: &str, place: &str) -> Result<Speaker, ApiError> {
    match role {
        "system" | "developer" => Ok(Speaker::System),
        "user" => Ok(Speaker::User),
        "assistant" => Ok(Speaker::Assistant),
        "tool" | "function" => {
            Err(invalid(format!("{place}.role"), "this node calls no tools, so they say nothing"))
        }
        _ => {
            let error = "a role is system, developer, user or assistant";
            Err(invalid(format!("{place}.role"), error))
        }
    }
}

impl Message {
    fn text(self, speaker: Speaker, place: &str) -> Result<String, ApiError> {
        for (key, value) in [("tool_calls", self.tool_calls), ("function_call", self.function_call)]
        {
            let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !is_empty {
                return Err(invalid(format!("{place}.{key}"), "this node calls no tools"));
            }
        }
        let place = format!("{place}.content");
        match self.content {
            Value::String(text) => Ok(text),
            // An assistant may have said nothing.
            Value::Null if speaker == Speaker::Assistant => Ok(String::new()),
            Value::Array(parts) => {
                let parts = parts.into_iter().enumerate();
                let texts =
                    parts.map(|(index, part)| part_text(part, &format!("{place}[{index}]")));
                Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
            }
            _ => Err(invalid(place, "content is a string or a list of parts of type text")),
        }
    }
}

fn part_text(mut part: Value, place: &str) -> Result<String, ApiError> {
    if part["type"] != "text" {
        return Err(invalid(place, "this node reads parts of type text only"));
    }
    match part.get_mut("text").map(Value::take) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(invalid(format!("{place}.text"), "text is a string")),
    }
}

impl Text {
    /// Reads the prompt of a request.
    ///
    /// # Errors
    /// 422 if there is none.
    pub(super) fn read(body: &Value) -> Result<Self, ApiError> {
        read_as(body.clone())
    }

    /// What is to be continued.
    ///
    /// # Errors
    /// 400 for what is not one text.
    pub(super) fn into_raw(self) -> Result<RawRequest, ApiError> {
        let prompt = match self.prompt {
            Value::String(text) => text,
            Value::Array(mut texts) if texts.len() == 1 && texts[0].is_string() => {
                let text = texts.pop().and_then(|text| text.as_str().map(str::to_owned));
                text.unwrap_or_default()
            }
            _ => return Err(invalid("prompt", "prompt is one string; tokens are not read")),
        };
        Ok(RawRequest { prompt, form: Form::Completion, ..RawRequest::default() })
    }
}

fn invalid(place: impl std::fmt::Display, error: &'static str) -> ApiError {
    ApiError::invalid("INVALID_FIELD", error).details(format!("$.{place}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(messages: Value) -> Result<RawRequest, ApiError> {
        Conversation::read(&json!({ "messages": messages }))?.into_raw()
    }

    fn refused(messages: Value) -> String {
        read(messages).unwrap_err().place().unwrap().to_owned()
    }

    #[test]
    fn a_conversation_is_taken_apart() {
        let raw = read(json!([
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [
                {"type": "text", "text": "What?"}, {"type": "text", "text": "Where?"},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [], "refusal": null},
            {"role": "user", "content": "Why?", "name": "ann"},
        ]))
        .unwrap();
        assert_eq!(raw.system.as_deref(), Some("Be brief.\n\nBe kind."));
        assert_eq!(raw.history, [Turn::user("What?\nWhere?"), Turn::assistant("")]);
        assert_eq!((raw.prompt.as_str(), raw.form), ("Why?", Form::Chat));
    }

    #[test]
    fn what_is_no_conversation_is_refused_with_its_place() {
        let user = json!({"role": "user", "content": "a"});
        for (messages, place) in [
            (json!([]), "$.messages"),
            (json!([{"role": "tool", "content": "a"}]), "$.messages[0].role"),
            (json!([{"role": "User", "content": "a"}]), "$.messages[0].role"),
            (json!([user, {"role": "system", "content": "a"}, user]), "$.messages[1].role"),
            (json!([user, {"role": "assistant", "content": "a"}]), "$.messages[1].role"),
            (json!([{"role": "system", "content": "a"}]), "$.messages[0].role"),
            (json!([{"role": "user"}]), "$.messages[0].content"),
            (json!([{"role": "user", "content": 1}]), "$.messages[0].content"),
            (json!([{"role": "user", "content": ["a"]}]), "$.messages[0].content[0]"),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
                "$.messages[0].content[0]",
            ),
            (
                json!([{"role": "user", "content": [{"type": "text", "text": 1}]}]),
                "$.messages[0].content[0].text",
            ),
            (
                json!([{"role": "assistant", "tool_calls": [{"id": "a"}]}, user]),
                "$.messages[0].tool_calls",
            ),
            (json!([user, {"content": "a"}]), "$.messages[1].role"),
            (json!("a"), "$.messages"),
        ] {
            assert_eq!(refused(messages.clone()), place, "{messages}");
        }
    }

    #[test]
    fn a_text_to_continue_is_one_string() {
        let read = |prompt| Text::read(&json!({ "prompt": prompt })).unwrap().into_raw();
        for prompt in [json!("Once"), json!(["Once"])] {
            let raw = read(prompt).unwrap();
            assert_eq!((raw.prompt.as_str(), raw.form), ("Once", Form::Completion));
        }
        for prompt in [json!(null), json!(["a", "b"]), json!([1, 2]), json!([[1]]), json!([])] {
            assert_eq!(read(prompt).unwrap_err().place(), Some("$.prompt"));
        }
        assert_eq!(Text::read(&json!({})).unwrap_err().place(), Some("$.prompt"));
    }
}
