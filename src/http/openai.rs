//! The interface that OpenAI's clients speak, below `/v1`, over the same path from prompt to proof.
//!
//! What a client sends is read by its type; keys that are not known are left out, because clients
//! send many. A parameter that would change the answer and is not served is refused by name and
//! never ignored. The proof is in the vendor field `bizra`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::domain::inference::InferenceRequest;
use crate::domain::inference::request::RawRequest;
use crate::domain::rate::Client;
use crate::http::app::{App, Sender, Until};
use crate::http::body::Body;
use crate::http::error::ApiError;
use crate::http::openai::chunks::Chunks;
use crate::http::openai::parameters::{PREFERENCES_OF, Parameters};
use crate::http::openai::prompt::{ChatCompletionRequest, CompletionRequest, Conversation, Text};
use crate::http::openai::shape::{ChatCompletion, Endpoint, Parts, TextCompletion, whole};
use crate::http::request_id::RequestId;
use crate::http::{preferences, router, stream};
use crate::messages::addr::Deadline;
use crate::messages::inference_router::InferenceMsg;

mod chunks;
pub(super) mod embeddings;
pub(super) mod models;
pub(super) mod parameters;
pub(super) mod prompt;
pub(super) mod shape;
pub(super) mod told;

/// Names the envelope of a whole answer.
pub(super) const X_BIZRA_ENVELOPE: HeaderName = HeaderName::from_static("x-bizra-envelope");

/// Answers a conversation for OpenAI's clients.
///
/// With a signed proof in `bizra`. Parameters of OpenAI's that would change the answer and are not
/// listed here (tools, other formats than text, penalties, log probabilities) are refused.
/// `"stream": true` answers with server-sent events: chunks, and then `[DONE]`; the proof is in the
/// one with a `finish_reason`.
#[utoipa::path(
    post,
    path = router::OPENAI_CHAT,
    request_body = ChatCompletionRequest,
    responses(
        (status = 200, content((ChatCompletion = "application/json"), (String = "text/event-stream"))),
        (status = 403, description = "The gates refused what was said or the answer \
                                      (`CONSTITUTION_VIOLATION`), or the host or origin is not allowed."),
        (status = 404, description = "There is no such model."),
    ),
)]
pub(super) async fn chat(
    State(app): State<App>,
    Until(deadline): Until,
    Sender(client): Sender,
    id: RequestId,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let body = Value::Object(body);
    let parameters = Parameters::read(&body, Endpoint::Chat)?;
    let raw = Conversation::read(&body)?.into_raw()?;
    answer(app, deadline, client, id, Endpoint::Chat, parameters, raw).await
}

/// Continues a text for OpenAI's clients.
///
/// As it is, without the model's chat template; otherwise as for conversations.
#[utoipa::path(
    post,
    path = router::OPENAI_COMPLETIONS,
    request_body = CompletionRequest,
    responses(
        (status = 200, content((TextCompletion = "application/json"), (String = "text/event-stream"))),
        (status = 403, description = "The gates refused the prompt or the answer \
                                      (`CONSTITUTION_VIOLATION`), or the host or origin is not allowed."),
        (status = 404, description = "There is no such model."),
    ),
)]
pub(super) async fn completions(
    State(app): State<App>,
    Until(deadline): Until,
    Sender(client): Sender,
    id: RequestId,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let body = Value::Object(body);
    let parameters = Parameters::read(&body, Endpoint::Completion)?;
    let raw = Text::read(&body)?.into_raw()?;
    answer(app, deadline, client, id, Endpoint::Completion, parameters, raw).await
}

async fn answer(
    app: App,
    deadline: Deadline,
    client: Client,
    id: RequestId,
    endpoint: Endpoint,
    parameters: Parameters,
    raw: RawRequest,
) -> Result<Response, ApiError> {
    let place = move |error| placed(error, endpoint);
    let (is_stream, has_usage) = (parameters.is_stream(), parameters.has_usage());
    let preferences_of = parameters.preferences_of().map(str::to_owned);
    let raw = parameters.fill(raw)?;
    let request = raw.validate(&app.limits.prompts).map_err(ApiError::from).map_err(place)?;
    let mut request: Box<InferenceRequest> = Box::new(request);
    let mut applied = None;
    if let Some(subject) = preferences_of {
        // What the node adds itself does not count as the caller's.
        let (at, system) = (format!("$.{PREFERENCES_OF}"), request.system.take());
        let (system, told) = preferences::behind(&app, deadline, &at, &subject, system).await?;
        (request.system, applied) = (system, Some(told));
    }
    if is_stream {
        let model = request.model.clone().unwrap_or_else(|| models::AUTO.to_owned());
        let chunks = Chunks::new(endpoint, &id, model, has_usage, applied);
        return stream::generate(app, deadline, client, id, request, chunks).await.map_err(place);
    }
    let ask = |reply| InferenceMsg::Generate {
        request_id: id.as_str().to_owned(),
        client,
        request: request.clone(),
        tokens: None,
        deadline,
        reply,
    };
    let answer = app.roster.inference.call(deadline, ask).await?;
    let answer = answer.map_err(ApiError::from).map_err(place)?;
    let envelope = HeaderValue::try_from(answer.envelope.id.to_string());
    let mut response = Json(whole(endpoint, Parts::of(*answer, applied))).into_response();
    // Its text is `pci_` and hex digits, which a header holds.
    response.headers_mut().extend(envelope.ok().map(|envelope| (X_BIZRA_ENVELOPE, envelope)));
    Ok(response)
}

/// The same with its place by the names of this interface.
fn placed(error: ApiError, endpoint: Endpoint) -> ApiError {
    let place = match (error.place(), error.code()) {
        (Some("$.prompt" | "$.system" | "$.history"), _) => endpoint.prompt_place(),
        (Some("$.tier"), _) => "$.bizra.tier",
        (None, "UNKNOWN_MODEL") => "$.model",
        _ => return error,
    };
    error.details(place)
}
