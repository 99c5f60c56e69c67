//! What both kinds of generation take beside the prompt, and what is refused.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::inference::request::RawRequest;
use crate::http::body::read_as;
use crate::http::error::ApiError;
use crate::http::openai::models::AUTO;
use crate::http::openai::shape::Endpoint;
use crate::http::openapi::forms::{StopTexts, SubjectText};

/// The parameters that are served. Absent and `null` mean the same.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = OpenAiParameters, examples(json!({ "model": "auto", "max_tokens": 16, "temperature": 0.0 })))]
pub(in crate::http) struct Parameters {
    /// An id of `/v1/models`. With `auto`, or without, the node chooses.
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$")]
    model: Option<String>,
    /// The most tokens to generate.
    max_tokens: Option<i64>,
    /// The same; of conversations only.
    max_completion_tokens: Option<i64>,
    /// How freely tokens are chosen; 0 is greedy.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// Mass of the nucleus that tokens are chosen from; 1 unless told otherwise.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// Makes the choice repeatable.
    #[schema(minimum = 0)]
    seed: Option<i64>,
    /// What ends the answer and is no part of it.
    #[schema(value_type = Option<StopTexts>)]
    stop: Option<Value>,
    /// One answer is made for each request.
    #[schema(minimum = 1, maximum = 1)]
    n: Option<i64>,
    /// Whether to send the text as it comes, as server-sent events.
    stream: Option<bool>,
    /// Only with `stream`.
    stream_options: Option<StreamOptions>,
    /// What this node takes beside.
    bizra: Option<Vendor>,
}

/// How a stream ends.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = OpenAiStreamOptions)]
pub(in crate::http) struct StreamOptions {
    /// Whether a last chunk counts the tokens.
    include_usage: Option<bool>,
}

/// What this node takes beside.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = OpenAiVendor, examples(json!({ "tier": "edge" })))]
pub(in crate::http) struct Vendor {
    /// Whose preferences to tell the model, behind its instructions; of conversations only.
    #[schema(value_type = Option<SubjectText>)]
    preferences_of: Option<String>,
    /// Where the model should run; by the prompt's form unless told otherwise. In any case of
    /// letters.
    #[schema(pattern = "^([Ee][Dd][Gg][Ee]|[Nn][Aa][Nn][Oo]|[Ll][Oo][Cc][Aa][Ll]|\
                        [Mm][Ee][Dd][Ii][Uu][Mm]|[Pp][Oo][Oo][Ll]|[Ll][Aa][Rr][Gg][Ee])$")]
    tier: Option<String>,
}

/// Where preferences are asked for.
pub(super) const PREFERENCES_OF: &str = "bizra.preferences_of";

/// Whether a value changes nothing.
type IsHarmless = fn(&Value) -> bool;

/// Parameters that would change the answer and are not served, with the values of each that change
/// nothing. Whatever is not here and not served is taken to be for somebody else.
const UNSERVED: [(&str, IsHarmless); 23] = [
    ("tools", is_empty),
    ("tool_choice", |value| is_word(value, &["none", "auto"])),
    ("functions", is_empty),
    ("function_call", |value| is_word(value, &["none", "auto"])),
    ("response_format", |value| is_word(&value["type"], &["text"])),
    ("logprobs", |value| *value == Value::Bool(false)),
    ("top_logprobs", is_zero),
    ("logit_bias", is_empty),
    ("presence_penalty", is_zero),
    ("frequency_penalty", is_zero),
    ("modalities", |value| *value == serde_json::json!(["text"])),
    ("audio", |_| false),
    ("web_search_options", |_| false),
    ("reasoning_effort", |value| is_word(value, &["none"])),
    ("verbosity", |value| is_word(value, &["medium"])),
    ("echo", |value| *value == Value::Bool(false)),
    ("suffix", |value| is_word(value, &[""])),
    ("best_of", |value| value.as_f64() == Some(1.0)),
    // Not OpenAI's, but sent by clients of other servers.
    ("top_k", |value| value.as_i64().is_some_and(|count| count <= 0)),
    ("min_p", is_zero),
    ("repetition_penalty", |value| value.as_f64() == Some(1.0)),
    ("grammar", |_| false),
    ("guided_json", |_| false),
];

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|it| it.is_empty())
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_word(value: &Value, words: &[&str]) -> bool {
    value.as_str().is_some_and(|word| words.contains(&word))
}

impl Parameters {
    /// Reads what is served, and refuses what is not.
    ///
    /// # Errors
    /// 400, and 422 for another type, with the parameter as place.
    pub(super) fn read(body: &Value, endpoint: Endpoint) -> Result<Self, ApiError> {
        for (name, changes_nothing) in UNSERVED {
            if body.get(name).is_some_and(|value| !value.is_null() && !changes_nothing(value)) {
                let error = format!("{name} is not served by this node; leave it out");
                return Err(unsupported("UNSUPPORTED_PARAMETER", name, error));
            }
        }
        let parameters: Self = read_as(body.clone())?;
        if let Some(n) = parameters.n.filter(|n| *n != 1) {
            let error = format!("n is {n}; one answer is made for each request");
            return Err(unsupported("UNSUPPORTED_VALUE", "n", error));
        }
        if endpoint == Endpoint::Completion && parameters.max_completion_tokens.is_some() {
            let error = "max_completion_tokens is for conversations; here it is max_tokens";
            return Err(unsupported("UNSUPPORTED_PARAMETER", "max_completion_tokens", error));
        }
        if endpoint == Endpoint::Completion && parameters.preferences_of().is_some() {
            let error = "preferences are told among the instructions of a conversation, and a text \
                         that is continued has none";
            return Err(unsupported("UNSUPPORTED_PARAMETER", PREFERENCES_OF, error));
        }
        Ok(parameters)
    }

    /// Whose preferences the model is to be told.
    pub(super) fn preferences_of(&self) -> Option<&str> {
        self.bizra.as_ref().and_then(|bizra| bizra.preferences_of.as_deref())
    }

    pub(super) fn is_stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Whether a stream is to end with its usage.
    pub(super) fn has_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// Puts them into a request that has its texts.
    ///
    /// # Errors
    /// 400 for a number that cannot be used, 422 for another type.
    pub(super) fn fill(self, raw: RawRequest) -> Result<RawRequest, ApiError> {
        if self.stream_options.is_some() && !self.is_stream() {
            let error = "stream_options is only for streams";
            return Err(unsupported("UNSUPPORTED_PARAMETER", "stream_options", error));
        }
        Ok(RawRequest {
            max_tokens: self.max_tokens()?,
            temperature: self.temperature,
            top_p: self.top_p,
            seed: unsigned("seed", self.seed)?,
            stop: stop(self.stop.unwrap_or_default())?,
            tier: self.bizra.and_then(|bizra| bizra.tier),
            model: self.model.filter(|model| model != AUTO),
            ..raw
        })
    }

    /// The newer name and the older one mean the same.
    fn max_tokens(&self) -> Result<Option<u64>, ApiError> {
        let older = unsigned("max_tokens", self.max_tokens)?;
        let newer = unsigned("max_completion_tokens", self.max_completion_tokens)?;
        if older.zip(newer).is_some_and(|(older, newer)| older != newer) {
            let error = "max_tokens and max_completion_tokens mean the same and differ";
            return Err(ApiError::invalid("OUT_OF_RANGE", error).details("$.max_tokens"));
        }
        Ok(newer.or(older))
    }
}

/// Negative numbers are out of range and not of another type.
fn unsigned(name: &str, given: Option<i64>) -> Result<Option<u64>, ApiError> {
    given.map(u64::try_from).transpose().map_err(|_| {
        ApiError::invalid("OUT_OF_RANGE", format!("{name} is negative"))
            .details(format!("$.{name}"))
    })
}

/// One string or several.
fn stop(stop: Value) -> Result<Vec<String>, ApiError> {
    let of_another_type = || {
        let error = "stop is a string or a list of strings";
        ApiError::invalid("INVALID_FIELD", error).details("$.stop")
    };
    match stop {
        Value::Null => Ok(Vec::new()),
        Value::String(one) => Ok(vec![one]),
        Value::Array(several) => {
            let text = |it| if let Value::String(text) = it { Some(text) } else { None };
            several.into_iter().map(text).collect::<Option<_>>().ok_or_else(of_another_type)
        }
        _ => Err(of_another_type()),
    }
}

/// 400 with a code word and the parameter's name.
pub(super) fn unsupported(
    code: &'static str,
    name: &str,
    error: impl Into<std::borrow::Cow<'static, str>>,
) -> ApiError {
    ApiError::invalid(code, error).details(format!("$.{name}"))
}
