//! The Ollama backend against a double of its HTTP API that misbehaves on command.

#[path = "support/remote.rs"]
mod remote;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bizra_omega::adapters::model_server::Kind;
use bizra_omega::adapters::upstream::{Access, Waits};
use bizra_omega::domain::inference::conversation::{Form, Turn};
use bizra_omega::domain::inference::request::RawRequest;
use bizra_omega::domain::inference::{BackendError, FinishReason};
use bizra_omega::messages::addr::Addr;
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::messages::supervisor::Fault;
use bizra_omega::supervisor::Root;
use remote::{ask, models, raw, remote};
use serde_json::{Value, json};
use support::{SECOND, drill, until};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

const NAME: &str = "ollama";

/// Bytes of a streamed body, or the end of its connection.
type Chunk = Result<Bytes, std::io::Error>;

/// What the double does next.
enum Script {
    /// Answers with this status and body.
    Answer(u16, String),
    /// Streams these chunks, then ends.
    Stream(Vec<Chunk>),
    /// Streams what comes through the channel for as long as it is open.
    Live(mpsc::Receiver<Chunk>),
    /// Never answers.
    Hang,
}

/// What the double has, and what it was asked.
#[derive(Clone, Default)]
struct Double {
    tags: Arc<Mutex<Value>>,
    scripts: Arc<Mutex<Vec<Script>>>,
    asked: Arc<Mutex<Vec<Value>>>,
    shows: Arc<AtomicUsize>,
}

fn frame(text: &str) -> Chunk {
    let message = json!({"role": "assistant", "content": text});
    let frame = json!({"model": "m", "created_at": "", "message": message, "done": false});
    Ok(format!("{frame}\n").into())
}

fn last() -> Chunk {
    let frame = json!({
        "model": "m", "created_at": "", "message": {"role": "assistant", "content": ""},
        "done": true, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 5,
    });
    Ok(format!("{frame}\n").into())
}

async fn tags(State(double): State<Double>) -> Response {
    axum::Json(double.tags.lock().unwrap().clone()).into_response()
}

async fn show(State(double): State<Double>, body: Bytes) -> Response {
    double.shows.fetch_add(1, Ordering::SeqCst);
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let capability = if asked["name"] == "embedder:latest" { "embedding" } else { "completion" };
    axum::Json(json!({
        "capabilities": [capability],
        "model_info": {"general.parameter_count": 3_212_749_888_u64, "llama.context_length": 8192},
    }))
    .into_response()
}

async fn chat(State(double): State<Double>, body: Bytes) -> Response {
    double.asked.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    let script = double.scripts.lock().unwrap().pop().expect("a script for every request");
    match script {
        Script::Answer(status, body) => {
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        }
        Script::Stream(chunks) => Body::from_stream(tokio_stream::iter(chunks)).into_response(),
        Script::Live(chunks) => Body::from_stream(ReceiverStream::new(chunks)).into_response(),
        Script::Hang => std::future::pending().await,
    }
}

impl Double {
    fn new(models: &[&str]) -> Self {
        let double = Self::default();
        double.offer(models);
        double
    }

    fn offer(&self, models: &[&str]) {
        let model = |name: &&str| {
            json!({
                "name": name, "modified_at": "2026-01-01T00:00:00Z", "size": 1,
                "digest": "0123abcd", "details": {"quantization_level": "Q4_K_M"},
            })
        };
        let models: Vec<_> = models.iter().map(model).collect();
        *self.tags.lock().unwrap() = json!({ "models": models });
    }

    fn script(&self, script: Script) {
        self.scripts.lock().unwrap().insert(0, script);
    }

    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/api/tags", get(tags))
            .route("/api/show", post(show))
            .route("/api/chat", post(chat))
            .route("/api/generate", post(chat))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }
}

async fn backend(url: &str, model: Option<&str>, waits: Waits) -> (Root, Addr<BackendMsg>) {
    remote((Kind::Ollama, NAME), url, model, waits, &Access::default()).await
}

async fn start(double: &Double) -> (Root, Addr<BackendMsg>) {
    backend(&double.serve().await, None, Waits::default()).await
}

#[tokio::test]
async fn an_answer_is_streamed_with_the_servers_own_numbers() {
    let double = Double::new(&["llama3.2:latest"]);
    // A character is split between two chunks.
    let smile = "na\u{ef}ve \u{1f600}";
    let bytes = frame(smile).unwrap();
    let cut = bytes.len() - 12;
    let chunks = vec![Ok(bytes.slice(..cut)), Ok(bytes.slice(cut..)), frame(" end"), last()];
    double.script(Script::Stream(chunks));
    let (_root, addr) = start(&double).await;

    let (sender, mut pieces) = mpsc::channel(8);
    let generated = ask(&addr, raw(), Some(sender)).await.unwrap();
    assert_eq!(generated.text, format!("{smile} end"));
    assert_eq!(generated.model, "llama3.2:latest");
    assert_eq!(generated.model_digest.as_deref(), Some("0123abcd"));
    assert_eq!((generated.prompt_tokens, generated.completion_tokens), (11, 5));
    assert_eq!(generated.finish_reason, FinishReason::Stop);
    assert!(generated.time_to_first_token <= generated.duration);
    let mut shown = String::new();
    while let Some(piece) = pieces.recv().await {
        shown.push_str(&piece);
    }
    assert_eq!(shown, generated.text);
}

#[tokio::test]
async fn the_request_reaches_the_server_whole() {
    let double = Double::new(&["m:latest"]);
    double.script(Script::Stream(vec![last()]));
    let (_root, addr) = start(&double).await;
    let raw = RawRequest {
        system: Some("be brief".into()),
        max_tokens: Some(7),
        temperature: Some(0.5),
        top_p: Some(0.25),
        seed: Some((1 << 53) - 1),
        stop: vec!["\n".into()],
        model: Some("m".into()),
        history: vec![Turn::user("what?"), Turn::assistant("that.")],
        ..raw()
    };
    ask(&addr, raw, None).await.unwrap();
    let asked = double.asked.lock().unwrap()[0].clone();
    assert_eq!(asked["model"], "m:latest");
    assert_eq!(asked["stream"], true);
    assert_eq!(asked["truncate"], false);
    let message =
        |index: usize| (&asked["messages"][index]["role"], &asked["messages"][index]["content"]);
    assert_eq!(message(0), (&json!("system"), &json!("be brief")));
    assert_eq!(message(1), (&json!("user"), &json!("what?")));
    assert_eq!(message(2), (&json!("assistant"), &json!("that.")));
    assert_eq!(message(3), (&json!("user"), &json!("why?")));
    let expected = json!({
        "num_predict": 7, "temperature": 0.5, "top_p": 0.25,
        "seed": 9_007_199_254_740_991_u64, "stop": ["\n"],
    });
    assert_eq!(asked["options"], expected);
}

#[tokio::test]
async fn a_text_is_continued_without_a_template() {
    let double = Double::new(&["m:latest"]);
    let frame = |text: &str, is_last: bool| {
        let frame = json!({"model": "m", "response": text, "done": is_last, "eval_count": 2});
        Ok::<_, std::io::Error>(Bytes::from(format!("{frame}\n")))
    };
    double.script(Script::Stream(vec![frame(" upon", false), frame(" a", true)]));
    let (_root, addr) = start(&double).await;
    let raw = RawRequest { prompt: "Once".into(), form: Form::Completion, ..raw() };
    let generated = ask(&addr, raw, None).await.unwrap();
    assert_eq!(generated.text, " upon a");
    let asked = double.asked.lock().unwrap()[0].clone();
    assert_eq!((&asked["raw"], &asked["prompt"]), (&json!(true), &json!("Once")));
    assert_eq!((&asked["stream"], &asked["truncate"]), (&json!(true), &json!(false)));
    assert!(asked.get("messages").is_none() && asked["options"]["num_predict"].is_u64());
}

#[tokio::test]
async fn models_are_what_the_server_reports_and_embedders_do_not_chat() {
    let double = Double::new(&["embedder:latest", "llama3.2:3b"]);
    double.script(Script::Stream(vec![last()]));
    let (_root, addr) = start(&double).await;
    let seen = models(&addr).await;
    assert_eq!(seen.len(), 2);
    assert!(!seen[0].is_available && seen[1].is_available);
    assert_eq!(seen[1].parameters, Some(3_212_749_888));
    assert_eq!(seen[1].context_length, Some(8192));
    assert_eq!(seen[1].quantization.as_deref(), Some("Q4_K_M"));
    assert!(seen[1].last_seen_ms > 0);
    assert_eq!(ask(&addr, raw(), None).await.unwrap().model, "llama3.2:3b");
}

#[tokio::test]
async fn an_unknown_model_is_refused_and_the_known_are_listed() {
    let double = Double::new(&["a:latest", "b:latest"]);
    let (_root, addr) = start(&double).await;
    let error = ask(&addr, RawRequest { model: Some("c".into()), ..raw() }, None).await;
    let available = vec!["a:latest".to_owned(), "b:latest".to_owned()];
    assert_eq!(error, Err(BackendError::UnknownModel { model: "c".into(), available }));
}

#[tokio::test]
async fn a_model_that_is_missing_is_named_with_its_key_and_the_fix() {
    let cases: [(&[&str], _, _); 2] = [
        (&["a:latest"], Some("b"), "no model b (inference.ollama.model)"),
        (&[], None, "pull one"),
    ];
    for (models, configured, part) in cases {
        let url = Double::new(models).serve().await;
        let (_root, addr) = backend(&url, configured, Waits::default()).await;
        let Err(BackendError::Unavailable(reason)) = ask(&addr, raw(), None).await else {
            panic!("it is missing")
        };
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn without_a_server_the_answer_is_where_it_was_looked_for_and_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (_root, addr) = backend(&url, None, Waits::default()).await;
    assert_eq!(models(&addr).await, []);
    let Err(BackendError::Unavailable(reason)) = ask(&addr, raw(), None).await else {
        panic!("nobody is there")
    };
    assert!(reason.contains(&url) && reason.contains("OLLAMA_HOST"), "{reason}");
}

#[tokio::test]
async fn a_silent_server_is_absent_after_the_probes_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let waits = Waits { probe: Duration::from_millis(50), ..Waits::default() };
    let (_root, addr) = backend(&url, None, waits).await;
    assert!(matches!(ask(&addr, raw(), None).await, Err(BackendError::Unavailable(_))));
}

#[tokio::test]
async fn what_is_no_ollama_server_is_absent() {
    let app = Router::new().fallback(|| async { "<html>welcome</html>" });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let (_root, addr) = backend(&url, None, Waits::default()).await;
    assert!(matches!(ask(&addr, raw(), None).await, Err(BackendError::Unavailable(_))));
}

#[tokio::test]
async fn a_server_that_comes_later_is_found_and_known_models_are_not_described_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_root, addr) = backend(&format!("http://{address}"), None, Waits::default()).await;
    assert_eq!(models(&addr).await, []);

    let double = Double::new(&["a:latest"]);
    let app = Router::new()
        .route("/api/tags", get(tags))
        .route("/api/show", post(show))
        .with_state(double.clone());
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let found = async {
        while models(&addr).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        double.offer(&["a:latest", "b:latest"]);
        while models(&addr).await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, found).await.unwrap();
    assert_eq!(double.shows.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn refusals_of_the_server_are_told_apart() {
    let cases = [
        (503, "{\"error\":\"server busy\"}", "turned away 503 None"),
        (429, "", "turned away 429 None"),
        (404, "{\"error\":\"model not found\"}", "unknown"),
        (500, "{\"error\":\"out of\\nmemory\"}", "failed: out of memory"),
        (400, "<html>", "rejected 400: status 400"),
        (502, "", "turned away 502 None"),
    ];
    let double = Double::new(&["a:latest"]);
    let (_root, addr) = start(&double).await;
    for (status, body, expected) in cases {
        double.script(Script::Answer(status, body.into()));
        let said = match ask(&addr, raw(), None).await {
            Err(BackendError::TurnedAway { status, retry_after, .. }) => {
                format!("turned away {status} {retry_after:?}")
            }
            Err(BackendError::UnknownModel { .. }) => "unknown".to_owned(),
            Err(BackendError::Rejected { status, reason, .. }) => {
                format!("rejected {status}: {reason}")
            }
            Err(BackendError::Failed { reason, .. }) => {
                reason.replace("the server answered", "failed")
            }
            other => panic!("{status}: {other:?}"),
        };
        assert_eq!(said, expected, "{status}");
    }
}

#[tokio::test]
async fn a_broken_stream_never_gives_a_text() {
    let reset = || Err(std::io::ErrorKind::ConnectionReset.into());
    let line = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    let double = Double::new(&["a:latest"]);
    let (_root, addr) = start(&double).await;
    let cases: [(Vec<Chunk>, &str); 4] = [
        (vec![frame("half"), line("{\"error\":\"out of memory\"}\n")], "out of memory"),
        (vec![frame("half")], "without its last frame"),
        (vec![frame("half"), line("gibberish\n")], "no frame"),
        (vec![frame("half"), line("{\"message\":{\"content\":\"cut")], "no frame"),
    ];
    for (chunks, expected) in cases {
        double.script(Script::Stream(chunks));
        let Err(BackendError::Failed { reason, .. } | BackendError::BrokenOff { reason, .. }) =
            ask(&addr, raw(), None).await
        else {
            panic!("{expected}")
        };
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    double.script(Script::Stream(vec![reset()]));
    let error = ask(&addr, raw(), None).await;
    assert!(matches!(error, Err(BackendError::Unreachable(_))), "another backend may be tried");

    let upstream = endless(&double).await;
    let (sender, mut pieces) = mpsc::channel(4);
    let task = tokio::spawn(async move { ask(&addr, raw(), Some(sender)).await });
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    upstream.send(reset()).await.unwrap();
    let error = task.await.unwrap();
    assert!(matches!(error, Err(BackendError::BrokenOff { .. })), "the text has begun");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let double = Double::new(&["a:latest"]);
    let waits = Waits {
        first_token: Duration::from_millis(100),
        between_tokens: Duration::from_millis(100),
        ..Waits::default()
    };
    let (_root, addr) = backend(&double.serve().await, None, waits).await;
    double.script(Script::Hang);
    assert!(matches!(ask(&addr, raw(), None).await, Err(BackendError::Timeout { .. })));
    let (sender, chunks) = mpsc::channel(4);
    sender.send(frame("half")).await.unwrap();
    double.script(Script::Live(chunks));
    assert!(matches!(ask(&addr, raw(), None).await, Err(BackendError::Timeout { .. })));
}

/// Starts an answer that never ends and returns what the server notices it by.
async fn endless(double: &Double) -> mpsc::Sender<Chunk> {
    let (sender, chunks) = mpsc::channel(4);
    sender.send(frame("half")).await.unwrap();
    double.script(Script::Live(chunks));
    sender
}

#[tokio::test]
async fn when_the_caller_leaves_the_server_is_let_go() {
    let double = Double::new(&["a:latest"]);
    let (_root, addr) = start(&double).await;

    let upstream = endless(&double).await;
    let (sender, mut pieces) = mpsc::channel(4);
    let task = tokio::spawn({
        let addr = addr.clone();
        async move { ask(&addr, raw(), Some(sender)).await }
    });
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    task.abort();
    tokio::time::timeout(SECOND, upstream.closed()).await.expect("the connection is closed");

    let upstream = endless(&double).await;
    let (sender, mut pieces) = mpsc::channel(4);
    let (ended, end) = oneshot::channel();
    tokio::spawn(async move {
        let _ = ended.send(ask(&addr, raw(), Some(sender)).await);
    });
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    drop(pieces);
    tokio::time::timeout(SECOND, upstream.closed()).await.expect("the connection is closed");
    assert_eq!(end.await.unwrap(), Err(BackendError::Cancelled));
}

#[tokio::test]
async fn what_was_seen_outlives_the_actor() {
    let double = Double::new(&["a:latest"]);
    let (root, addr) = start(&double).await;
    let before = models(&addr).await;
    for fault in [Fault::Panic, Fault::Kill, Fault::Error] {
        drill(&root, NAME, fault).await;
        let after = models(&addr).await;
        assert_eq!(after[0].name, before[0].name);
    }
    assert_eq!(double.shows.load(Ordering::SeqCst), 1, "a known model is not described again");
}

#[tokio::test]
async fn answers_go_on_when_the_actor_is_replaced() {
    let double = Double::new(&["a:latest"]);
    let (root, addr) = start(&double).await;
    let upstream = endless(&double).await;
    let task = tokio::spawn(async move { ask(&addr, raw(), None).await });
    until(|| !double.asked.lock().unwrap().is_empty()).await;
    drill(&root, NAME, Fault::Panic).await;
    upstream.send(frame(" whole")).await.unwrap();
    upstream.send(last()).await.unwrap();
    assert_eq!(task.await.unwrap().unwrap().text, "half whole");
}
