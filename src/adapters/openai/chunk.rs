//! What one event of a streamed answer says, and what a whole answer says.

use serde::Deserialize;
use serde_json::Value;

use crate::adapters::upstream::{ServerError, clip, reported};
use crate::domain::inference::FinishReason;
use crate::domain::sse::Event;

/// The data of the event after the last one.
const DONE: &str = "[DONE]";

/// One event of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// More of the answer.
    Delta(Delta),
    /// Nothing follows.
    Done,
}

/// More of an answer, or all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Text, possibly empty (a thinking model thinks).
    pub text: String,
    /// Why it ended, if it did.
    pub finish: Option<FinishReason>,
    /// The server's count of tokens, if it is here.
    pub usage: Option<Usage>,
}

/// A server's count of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<usize>,
    /// Tokens generated.
    pub completion_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    /// Of a streamed chat.
    delta: Option<Message>,
    /// Of a whole chat.
    message: Option<Message>,
    /// Of a completion, streamed or whole.
    text: Option<String>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

/// Reads one event.
///
/// # Errors
/// When it reports an error or is no part of an answer.
pub fn read_event(event: &Event) -> Result<Chunk, ServerError> {
    let data = event.data.trim();
    if data == DONE {
        return Ok(Chunk::Done);
    }
    if event.name == "error" {
        let object = serde_json::from_str::<Value>(data).ok();
        let reason = object.as_ref().and_then(reported).unwrap_or_else(|| data.to_owned());
        return Err(ServerError::Refused(clip(&reason)));
    }
    read_answer(data.as_bytes()).map(Chunk::Delta)
}

/// Reads an object with a part of an answer, or with all of it.
///
/// # Errors
/// As [`read_event`].
pub fn read_answer(json: &[u8]) -> Result<Delta, ServerError> {
    let unreadable = |error| ServerError::Unreadable(format!("no part of an answer: {error}"));
    let object: Value = serde_json::from_slice(json).map_err(unreadable)?;
    if let Some(reason) = reported(&object) {
        return Err(ServerError::Refused(clip(&reason)));
    }
    if object.get("choices").is_none() && object.get("usage").is_none() {
        let reason = "no part of an answer: it has neither choices nor usage";
        return Err(ServerError::Unreadable(reason.to_owned()));
    }
    let wire: Wire = serde_json::from_value(object).map_err(unreadable)?;
    let mut delta = Delta { usage: wire.usage, ..Delta::default() };
    // One answer was asked for.
    for choice in wire.choices.into_iter().filter(|choice| choice.index == 0) {
        let message = choice.delta.or(choice.message).and_then(|message| message.content);
        delta.text.extend(message.or(choice.text));
        if let Some(word) = choice.finish_reason {
            delta.finish = Some(finish(&word)?);
        }
    }
    Ok(delta)
}

fn finish(word: &str) -> Result<FinishReason, ServerError> {
    match word {
        "length" => Ok(FinishReason::Length),
        // The text was cut by rules that are not ours, so it is no answer.
        "content_filter" => {
            let reason = "the server's content filter ended the answer";
            Err(ServerError::Refused(reason.to_owned()))
        }
        _ => Ok(FinishReason::Stop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &str) -> Result<Chunk, ServerError> {
        read_event(&Event { name: String::new(), data: data.into() })
    }

    fn delta(text: &str, finish: Option<FinishReason>, usage: Option<Usage>) -> Chunk {
        Chunk::Delta(Delta { text: text.into(), finish, usage })
    }

    #[test]
    fn every_shape_of_an_answer_is_read() {
        let usage = Usage { prompt_tokens: Some(7), completion_tokens: Some(3) };
        for (data, expected) in [
            (r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}]}"#, delta("", None, None)),
            (
                r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#,
                delta("a", None, None),
            ),
            (
                r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#,
                delta("", None, None),
            ),
            (
                r#"{"choices":[{"index":0,"text":"b","finish_reason":"length"}]}"#,
                delta("b", Some(FinishReason::Length), None),
            ),
            (
                r#"{"choices":[{"message":{"content":"c"},"finish_reason":"stop"}],
                    "usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#,
                delta("c", Some(FinishReason::Stop), Some(usage)),
            ),
            (
                r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
                delta("", None, Some(usage)),
            ),
            (r#"{"choices":[{"index":1,"delta":{"content":"other"}}]}"#, delta("", None, None)),
            (" [DONE] ", Chunk::Done),
        ] {
            assert_eq!(read(data), Ok(expected), "{data}");
        }
    }

    #[test]
    fn a_reported_error_is_an_error() {
        for data in [
            r#"{"error":"out of memory"}"#,
            r#"{"error":{"message":"out of memory","code":500},"choices":[]}"#,
            r#"{"object":"error","message":"out of memory"}"#,
        ] {
            let reason = "out of memory".to_owned();
            assert_eq!(read(data), Err(ServerError::Refused(reason)));
        }
        let named = Event { name: "error".into(), data: "out\nof memory".into() };
        let reason = "out of memory".to_owned();
        assert_eq!(read_event(&named), Err(ServerError::Refused(reason)));
        let filtered = read(r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#);
        assert!(matches!(filtered, Err(ServerError::Refused(_))));
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_not_skipped() {
        for data in ["", "<html>", "[]", "{}", "1", r#"{"choices":1}"#, r#"{"choices":[{"delta":"#]
        {
            assert!(matches!(read(data), Err(ServerError::Unreadable(_))), "{data}");
        }
    }
}
