//! Streamed answers, over an inference actor that does as its prompt says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, header};
use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::domain::envelope::{EnvelopeId, Sealed};
use bizra_omega::domain::inference::{
    FinishReason, Generated, InferenceError, InferenceRequest, ModelInfo, Tier,
};
use bizra_omega::domain::reject::RejectCode;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::server::Peer;
use bizra_omega::messages::addr::Reply;
use bizra_omega::messages::inference_router::{Answer, InferenceMsg};
use bizra_omega::supervisor::{ChildSpec, Root};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tower::ServiceExt;

use crate::door::{Door, LOCAL, door_over, roster};
use crate::support::{SECOND, permanent, root, settings};

/// Does as the prompt says: `count`, `hang`, `busy`, `fail`, `fail later`, `refuse`, `too long`, `nothing`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted {
    /// Told when a hanging generation is given up.
    pub(crate) stopped: Arc<Notify>,
    /// What was asked for.
    pub(crate) seen: Arc<Mutex<Vec<InferenceRequest>>>,
}

impl Actor for Scripted {
    type Msg = InferenceMsg;
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: InferenceMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        let (request_id, request, tokens, reply) = match message {
            InferenceMsg::Generate { request_id, request, tokens, reply, .. } => {
                (request_id, request, tokens, reply)
            }
            InferenceMsg::Models { reply } => {
                reply.send(vec![model(Tier::Edge), model(Tier::Local)]);
                return Ok(());
            }
            InferenceMsg::Recommend { .. } | InferenceMsg::Backends { .. } => return Ok(()),
        };
        self.seen.lock().unwrap().push((*request).clone());
        if let Some(model) = request.model.clone().filter(|model| model != "scripted") {
            reply.send(Err(InferenceError::UnknownModel { model, tier: None, available: vec![] }));
            return Ok(());
        }
        let stopped = self.stopped.clone();
        turn.spawn(
            async move { generate(&request.prompt, request_id, tokens, reply, &stopped).await },
        );
        Ok(())
    }
}

async fn generate(
    prompt: &str,
    request_id: String,
    tokens: Option<mpsc::Sender<String>>,
    mut reply: Reply<Result<Box<Answer>, InferenceError>>,
    stopped: &Notify,
) {
    let say = async |text: &str| {
        if let Some(tokens) = &tokens {
            let _ = tokens.send(text.to_owned()).await;
        }
    };
    match prompt {
        "fail" => reply.send(Err(InferenceError::Unavailable("no model at /srv/m.gguf".into()))),
        "busy" => reply.send(Err(InferenceError::Busy { wait: Duration::from_millis(6100) })),
        "fail later" => {
            say("one").await;
            reply.send(Err(InferenceError::Failed("segment 7 of /srv/m.gguf".into())));
        }
        "too long" => {
            reply.send(Err(InferenceError::TooLong { tokens: 9, max_tokens: 1, context: 9 }));
        }
        "refuse" => reply.send(Err(InferenceError::Refused {
            code: RejectCode::RejectGateIhsan,
            reason: "the harm is above 0.3".into(),
            receipt: Box::new(json!({ "passed": false })),
        })),
        "nothing" => {
            let mut answer = answer(request_id);
            answer.generated.text.clear();
            reply.send(Ok(Box::new(answer)));
        }
        "hang" => {
            say("one").await;
            reply.closed().await;
            stopped.notify_one();
        }
        _ => {
            for text in ["one ", "\u{6f22}\n\n", "data: three"] {
                say(text).await;
            }
            reply.send(Ok(Box::new(answer(request_id))));
        }
    }
}

/// One name in two tiers.
fn model(tier: Tier) -> ModelInfo {
    ModelInfo {
        name: "hub/s:latest".into(),
        tier,
        backend: tier.as_str().to_lowercase(),
        parameters: None,
        quantization: None,
        context_length: None,
        is_available: true,
        is_loaded: true,
        last_seen_ms: 1999,
        note: None,
    }
}

pub(crate) fn envelope() -> Value {
    let gates = json!([{ "gate": "harm", "score": 0.0 }, { "gate": "snr", "score": null }]);
    json!({
        "id": "pci_01",
        "gates": { "input": { "passed": true, "gates": gates }, "system": null },
    })
}

fn answer(request_id: String) -> Answer {
    Answer {
        request_id,
        requested_tier: Some(Tier::Local),
        tier: Tier::Edge,
        is_degraded: true,
        attempts: vec![],
        queued: Duration::ZERO,
        generated: Generated {
            text: "one \u{6f22}\n\ndata: three".into(),
            model: "scripted".into(),
            model_digest: Some("blake3:00".into()),
            prompt_tokens: 1,
            completion_tokens: 3,
            is_estimated: false,
            engine: None,
            finish_reason: FinishReason::Stop,
            time_to_first_token: Duration::from_millis(1),
            duration: Duration::from_millis(2),
        },
        elapsed: Duration::from_millis(3),
        envelope: Sealed { id: EnvelopeId([1; 16]), json: Arc::new(envelope()) },
    }
}

pub(crate) struct Running {
    pub(crate) door: Door,
    pub(crate) stopped: Arc<Notify>,
    pub(crate) seen: Arc<Mutex<Vec<InferenceRequest>>>,
    _root: Root,
}

pub(crate) async fn running(limits: Limits) -> Running {
    let settings = settings(Strategy::OneForOne);
    let scripted = Scripted::default();
    let (stopped, seen) = (scripted.stopped.clone(), scripted.seen.clone());
    let make = move || scripted.clone();
    let (spec, inference) =
        ChildSpec::actor("inference-router", permanent(), SECOND, 8, &settings.metrics, make);
    let root = root(&settings, vec![spec]).await;
    let mut roster = roster(&settings.metrics);
    roster.inference = inference;
    let door = door_over(roster, settings.metrics, Mode::Local, limits);
    Running { door, stopped, seen, _root: root }
}

/// Asks for a stream; gives the status, the content type, and the events as they come.
async fn ask(door: &Door, prompt: &str) -> (u16, String, BodyDataStream) {
    let body = json!({ "prompt": prompt, "stream": true }).to_string();
    let mut request = door
        .request(Method::POST, "/api/v1/inference/generate")
        .header("x-request-id", "mine")
        .body(Body::from(body))
        .unwrap();
    request.extensions_mut().insert(Peer(LOCAL.parse().unwrap()));
    let response = door.router.clone().oneshot(request).await.unwrap();
    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    (response.status().as_u16(), content_type, response.into_body().into_data_stream())
}

/// Every event: its name and its data.
async fn events(mut stream: BodyDataStream) -> Vec<(String, Value)> {
    let mut text = Vec::new();
    while let Some(piece) = stream.next().await {
        text.extend(piece.unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    let event = |block: &str| {
        let (name, data) = block.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    };
    text.split("\n\n").filter_map(event).collect()
}

#[tokio::test]
async fn the_text_comes_in_pieces_and_the_proof_comes_last() {
    let running = running(Limits::default()).await;
    let (status, content_type, stream) = ask(&running.door, "count").await;
    assert_eq!((status, content_type.as_str()), (200, "text/event-stream"));
    let events = events(stream).await;
    let (last, pieces) = events.split_last().unwrap();
    let text: String = pieces
        .iter()
        .map(|(name, data)| {
            assert_eq!(name, "token");
            data["text"].as_str().unwrap()
        })
        .collect();
    assert_eq!(last.0, "done");
    assert_eq!(last.1["text"], text);
    assert_eq!(last.1["request_id"], "mine");
    assert_eq!(last.1["envelope"], envelope());
    assert_eq!((&last.1["tier"], &last.1["requested_tier"]), (&json!("Edge"), &json!("Local")));
    assert_eq!((&last.1["degraded"], &last.1["tokens_per_second"]), (&json!(true), &json!(1500.0)));
}

#[tokio::test]
async fn what_fails_before_the_first_piece_is_an_error_with_a_status() {
    let running = running(Limits::default()).await;
    let (status, content_type, mut stream) = ask(&running.door, "fail").await;
    assert_eq!((status, content_type.as_str()), (503, "application/json"));
    let body = stream.next().await.unwrap().unwrap();
    let error: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(error["code"], "INFERENCE_UNAVAILABLE");
    assert_eq!(error["error"], "no model at /srv/m.gguf", "the operator is told what to mend");
}

#[tokio::test]
async fn who_is_shed_is_told_when_to_come_again() {
    let running = running(Limits::default()).await;
    for body in ["{\"prompt\":\"busy\"}", "{\"prompt\":\"busy\",\"stream\":true}"] {
        let answer = running.door.post("/api/v1/inference/generate", body).await;
        answer.assert_error(503, "INFERENCE_BUSY");
        assert_eq!(answer.headers["retry-after"], "7", "not before there is room");
    }
}

#[tokio::test]
async fn what_fails_later_is_an_event_without_inner_text() {
    let running = running(Limits::default()).await;
    let (status, _, stream) = ask(&running.door, "fail later").await;
    assert_eq!(status, 200);
    let events = events(stream).await;
    assert_eq!(events[0], ("token".to_owned(), json!({ "text": "one" })));
    let (name, error) = &events[1];
    assert_eq!((name.as_str(), &error["code"]), ("error", &json!("INFERENCE_FAILED")));
    assert_eq!(error["request_id"], "mine");
    assert!(!error.to_string().contains("/srv"), "{error}");
}

#[tokio::test]
async fn the_work_stops_when_the_reader_leaves() {
    let running = running(Limits::default()).await;
    let (_, _, mut stream) = ask(&running.door, "hang").await;
    assert!(stream.next().await.is_some());
    drop(stream);
    tokio::time::timeout(SECOND, running.stopped.notified()).await.expect("the work stops");
    let text = running.door.metrics.encode().unwrap();
    assert!(text.contains("http_requests_in_flight 0"), "{text}");
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline() {
    let limits = Limits { generate_timeout: Duration::from_millis(200), ..Limits::default() };
    let running = running(limits).await;
    let (status, _, stream) = ask(&running.door, "hang").await;
    assert_eq!(status, 200);
    let events = tokio::time::timeout(10 * SECOND, events(stream)).await.expect("it ends");
    assert_eq!(events.last().unwrap().1["code"], "TIMEOUT");
    tokio::time::timeout(SECOND, running.stopped.notified()).await.expect("the work stops");
}

#[tokio::test]
async fn without_a_stream_the_answer_comes_whole() {
    let running = running(Limits::default()).await;
    let whole = running.door.post("/api/v1/inference/generate", "{\"prompt\":\"count\"}").await;
    assert_eq!((whole.status, &whole.json["completion_tokens"]), (200, &json!(3)));
    assert_eq!(whole.json["request_id"].as_str(), whole.headers["x-request-id"].to_str().ok());
    for key in ["attempts", "finish_reason", "duration_ms", "ttft_ms", "model", "prompt_tokens"] {
        assert!(!whole.json[key].is_null(), "{key}");
    }
}
