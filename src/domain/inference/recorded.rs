//! What a proof records of an answer, read again so that the answer can be computed again.
//!
//! A proof holds the parameters and the text, and names prompt, system text and earlier turns by
//! hash: whoever wants to see the text come again has to have them.

use serde_json::Value;

use crate::domain::digest::domain_separated_digest;
use crate::domain::inference::conversation::{Form, Turn};
use crate::domain::inference::{InferenceRequest, Sampling};

/// What a proof records of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// What identifies the model's bytes.
    pub model_digest: String,
    /// The code that computed the text; proofs of before do not say.
    pub engine: Option<String>,
    /// The text.
    pub text: String,
    prompt_hash: String,
    system_hash: Option<String>,
    history_hash: Option<String>,
    form: Form,
    max_tokens: usize,
    sampling: Sampling,
    stop: Vec<String>,
}

/// What was asked, as somebody who has it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// What to answer.
    pub prompt: String,
    /// What went before everything.
    pub system: Option<String>,
    /// What was said in between.
    pub history: Vec<Turn>,
}

/// Why an answer cannot be computed again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordedError {
    /// It is the proof of something else.
    #[error("it is no proof of an answer: {0} is missing or wrong")]
    NotAnAnswer(&'static str),
    /// Another program computed it.
    #[error("tier {0} answered; only what this engine computed (tier Edge) can be computed again")]
    NotHere(String),
    /// Its tokens were drawn at random.
    #[error("temperature is {0} and no seed is recorded, so that another text would come")]
    Random(String),
    /// What was given is not what was asked.
    #[error("{0} is not the one that was asked with; its hash differs")]
    Other(&'static str),
}

impl Recorded {
    /// Reads the payload of an envelope.
    ///
    /// # Errors
    /// When it is not of an answer that this engine could compute again.
    pub fn read(payload: &Value) -> Result<Self, RecordedError> {
        let text = |key: &'static str| {
            let text = payload[key].as_str().map(str::to_owned);
            text.ok_or(RecordedError::NotAnAnswer(key))
        };
        if payload["type"] != "inference" {
            return Err(RecordedError::NotAnAnswer("type"));
        }
        let tier = text("tier")?;
        if tier != "Edge" {
            return Err(RecordedError::NotHere(tier));
        }
        let asked = &payload["parameters"];
        let max_tokens = asked["max_tokens"].as_u64().and_then(|count| count.try_into().ok());
        let temperature = asked["temperature"].as_f64();
        let temperature =
            temperature.ok_or(RecordedError::NotAnAnswer("parameters.temperature"))?;
        let seed = asked["seed"].as_u64();
        if temperature != 0.0 && seed.is_none() {
            return Err(RecordedError::Random(temperature.to_string()));
        }
        let stop = match &asked["stop"] {
            Value::Array(stop) => {
                stop.iter().map(|text| text.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        };
        let form = match payload.get("form").map(Value::as_str) {
            None => Form::Chat,
            Some(Some(form)) if form == Form::Completion.as_str() => Form::Completion,
            Some(_) => return Err(RecordedError::NotAnAnswer("form")),
        };
        Ok(Self {
            model_digest: text("model_digest")?,
            engine: payload["engine"].as_str().map(str::to_owned),
            text: text("text")?,
            prompt_hash: text("prompt_hash")?,
            system_hash: payload["system_hash"].as_str().map(str::to_owned),
            history_hash: payload["history_hash"].as_str().map(str::to_owned),
            form,
            max_tokens: max_tokens.ok_or(RecordedError::NotAnAnswer("parameters.max_tokens"))?,
            sampling: Sampling { temperature, top_p: asked["top_p"].as_f64(), seed },
            stop: stop.ok_or(RecordedError::NotAnAnswer("parameters.stop"))?,
        })
    }

    /// The request that was answered, from the parameters on record and from what was asked.
    ///
    /// # Errors
    /// [`RecordedError::Other`] when something was not what was asked with.
    pub fn request(&self, asked: Asked) -> Result<InferenceRequest, RecordedError> {
        let hash = |text: &str| domain_separated_digest(text.as_bytes()).to_hex();
        if hash(&asked.prompt) != self.prompt_hash {
            return Err(RecordedError::Other("the prompt"));
        }
        // As when it was asked: a blank system text says nothing and is left out.
        let system = asked.system.filter(|text| !text.trim().is_empty());
        if system.as_deref().map(hash) != self.system_hash {
            return Err(RecordedError::Other("the system text"));
        }
        let request = InferenceRequest {
            prompt: asked.prompt,
            system,
            history: asked.history,
            form: self.form,
            max_tokens: self.max_tokens,
            // A model with less room gave what it had, and does so again.
            is_length_asked: false,
            sampling: self.sampling.clone(),
            stop: self.stop.clone(),
            tier: None,
            model: None,
        };
        let history = request.history_digest().ok().flatten().map(|digest| digest.to_hex());
        if history != self.history_hash {
            return Err(RecordedError::Other("what was said before the prompt"));
        }
        Ok(request)
    }
}

/// Where two texts part, in bytes from their beginning; `None` if they are the same.
pub fn first_difference(one: &str, other: &str) -> Option<usize> {
    let common = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    (one.len().max(other.len()) > common).then_some(common)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload() -> Value {
        let hash = |text: &str| domain_separated_digest(text.as_bytes()).to_hex();
        json!({
            "type": "inference", "tier": "Edge", "model_digest": "blake3:00", "engine": "e",
            "text": "so", "prompt_hash": hash("why?"), "system_hash": hash("be brief"),
            "parameters": {
                "max_tokens": 7, "temperature": 0.0, "top_p": null, "seed": null, "stop": ["\n"],
            },
        })
    }

    fn asked() -> Asked {
        let system = Some("be brief".to_owned());
        Asked { prompt: "why?".into(), system, history: Vec::new() }
    }

    #[test]
    fn the_request_is_what_was_recorded_and_what_was_asked() {
        let request = Recorded::read(&payload()).unwrap().request(asked()).unwrap();
        assert_eq!((request.prompt.as_str(), request.max_tokens), ("why?", 7));
        assert_eq!(
            (request.system.as_deref(), &*request.stop),
            (Some("be brief"), &["\n".into()][..])
        );
    }

    #[test]
    fn anything_that_was_not_asked_is_noticed() {
        let recorded = Recorded::read(&payload()).unwrap();
        for (asked, what) in [
            (Asked { prompt: "why".into(), ..asked() }, "the prompt"),
            (Asked { system: None, ..asked() }, "the system text"),
            (Asked { system: Some("be long".into()), ..asked() }, "the system text"),
            (
                Asked { history: vec![Turn::user("a")], ..asked() },
                "what was said before the prompt",
            ),
        ] {
            assert_eq!(recorded.request(asked), Err(RecordedError::Other(what)));
        }
    }

    #[test]
    fn what_cannot_be_computed_again_says_why() {
        let with = |key: &str, value: Value| {
            let mut payload = payload();
            *payload.pointer_mut(key).unwrap() = value;
            Recorded::read(&payload)
        };
        assert_eq!(with("/tier", json!("Local")), Err(RecordedError::NotHere("Local".into())));
        let random = Err(RecordedError::Random("0.7".into()));
        assert_eq!(with("/parameters/temperature", json!(0.7)), random);
        for (key, field) in [
            ("/type", "type"),
            ("/text", "text"),
            ("/model_digest", "model_digest"),
            ("/parameters/stop", "parameters.stop"),
            ("/parameters/max_tokens", "parameters.max_tokens"),
        ] {
            assert_eq!(with(key, json!(null)), Err(RecordedError::NotAnAnswer(field)));
        }
        assert!(Recorded::read(&json!([])).is_err());
        let mut seeded = payload();
        seeded["parameters"]["temperature"] = json!(0.7);
        seeded["parameters"]["seed"] = json!(3);
        assert!(Recorded::read(&seeded).is_ok(), "a seed repeats the choice");
    }

    #[test]
    fn texts_part_where_their_bytes_do() {
        for (one, other, at) in
            [("", "", None), ("ab", "ab", None), ("ab", "ac", Some(1)), ("a", "ab", Some(1))]
        {
            assert_eq!(first_difference(one, other), at);
        }
    }
}
