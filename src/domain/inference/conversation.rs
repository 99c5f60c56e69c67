//! What was said before a prompt, and in which form a model reads it all.

use serde_json::{Value, json};

use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::inference::InferenceRequest;
use crate::domain::json::{JsonError, canonical};

/// Put before a hashed history, so that it is the hash of no text.
const HISTORY_DOMAIN: &[u8] = b"inference-history-v1:";

/// Between texts that are judged or read as one.
const EMPTY_LINE: &str = "\n\n";

/// How a model is to read a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As a conversation, in the model's own template; an answer follows.
    #[default]
    Chat,
    /// As a text that goes on: the prompt as it is, without a template.
    Completion,
}

impl Form {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "completion",
        }
    }
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever set the model up.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// Its name on the wire and in chat templates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// An earlier message of a conversation: of the user or of the assistant, and of nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    role: Role,
    text: String,
}

impl Turn {
    /// What the user said.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, text: text.into() }
    }

    /// What the assistant answered.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self { role: Role::Assistant, text: text.into() }
    }

    /// [`Role::User`] or [`Role::Assistant`].
    pub const fn role(&self) -> Role {
        self.role
    }

    /// What was said; possibly nothing.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// One message as a model reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'r> {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: &'r str,
}

impl InferenceRequest {
    /// Everything that the model is to read, in order: system text, history, prompt. Of a
    /// [`Form::Completion`] it is the prompt alone.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let system = self.system.as_deref().map(|text| Message { role: Role::System, text });
        let history = self.history.iter().map(|turn| Message { role: turn.role, text: &turn.text });
        let prompt = Message { role: Role::User, text: &self.prompt };
        system.into_iter().chain(history).chain([prompt])
    }

    /// The history as one text, for judges: what was said in each turn, with empty lines between.
    /// `None` if nothing was said before the prompt.
    pub fn history_text(&self) -> Option<String> {
        let texts = self.history.iter().map(Turn::text).filter(|text| !text.trim().is_empty());
        let texts: Vec<&str> = texts.collect();
        (!texts.is_empty()).then(|| texts.join(EMPTY_LINE))
    }

    /// What names the history in a proof: the domain-separated digest of `inference-history-v1:`
    /// and the canonical JSON of its turns, `[{"role":"user","text":"..."},...]`. `None` if there
    /// is no history.
    ///
    /// # Errors
    /// None that a history could cause: its JSON is made of texts.
    pub fn history_digest(&self) -> Result<Option<Digest>, JsonError> {
        if self.history.is_empty() {
            return Ok(None);
        }
        let turn = |turn: &Turn| json!({ "role": turn.role.as_str(), "text": turn.text });
        let turns = canonical(&Value::Array(self.history.iter().map(turn).collect()))?;
        Ok(Some(domain_separated_digest(&[HISTORY_DOMAIN, &turns].concat())))
    }
}

/// The texts of messages one after the other, for models that know no roles.
pub fn plain_text<'r>(messages: impl IntoIterator<Item = Message<'r>>) -> String {
    let texts = messages.into_iter().map(|message| message.text).filter(|text| !text.is_empty());
    texts.collect::<Vec<_>>().join(EMPTY_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inference::request::{Limits, RawRequest};

    fn request(history: Vec<Turn>) -> InferenceRequest {
        let raw = RawRequest {
            prompt: "and then?".into(),
            system: Some("be brief".into()),
            history,
            ..RawRequest::default()
        };
        raw.validate(&Limits::default()).unwrap()
    }

    #[test]
    fn messages_come_in_the_order_in_which_they_were_said() {
        let request = request(vec![Turn::user("why?"), Turn::assistant("so."), Turn::user("")]);
        let said: Vec<_> = request.messages().map(|it| (it.role.as_str(), it.text)).collect();
        let expected = [
            ("system", "be brief"),
            ("user", "why?"),
            ("assistant", "so."),
            ("user", ""),
            ("user", "and then?"),
        ];
        assert_eq!(said, expected);
        assert_eq!(plain_text(request.messages()), "be brief\n\nwhy?\n\nso.\n\nand then?");
        assert_eq!(request.history_text().as_deref(), Some("why?\n\nso."));
    }

    #[test]
    fn a_history_is_named_by_every_role_and_text_in_it() {
        let digest = |history| request(history).history_digest().unwrap();
        assert_eq!(digest(vec![]), None);
        let turns = b"inference-history-v1:[{\"role\":\"user\",\"text\":\"a\"},\
                      {\"role\":\"assistant\",\"text\":\"\xc3\xa9\\n\"}]";
        let known = digest(vec![Turn::user("a"), Turn::assistant("\u{e9}\n")]);
        assert_eq!(known, Some(domain_separated_digest(turns)));
        for other in [
            vec![Turn::user("a"), Turn::user("\u{e9}\n")],
            vec![Turn::assistant("\u{e9}\n"), Turn::user("a")],
            vec![Turn::user("a\u{e9}\n"), Turn::assistant("")],
            vec![Turn::user("a")],
        ] {
            assert_ne!(digest(other), known);
        }
    }

    #[test]
    fn a_history_in_which_nothing_was_said_has_no_text() {
        assert_eq!(request(vec![Turn::assistant(" \n")]).history_text(), None);
        assert!(request(vec![Turn::assistant(" \n")]).history_digest().unwrap().is_some());
    }
}
