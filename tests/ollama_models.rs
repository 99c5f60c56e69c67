//! What an Ollama server does beside answering: says what is loaded, embeds, pulls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bizra_omega::adapters::ollama::Server;
use bizra_omega::adapters::ollama::embed::TEXTS_MAX;
use bizra_omega::adapters::ollama::pull::Progress;
use bizra_omega::adapters::upstream::{Access, ServerError, Waits};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of a streamed body, or the end of its connection.
type Chunk = Result<Bytes, std::io::Error>;

/// Answers every question in the same way, and remembers the last.
#[derive(Clone, Default)]
struct Double {
    loaded: Arc<Mutex<Option<Value>>>,
    answer: Arc<Mutex<Option<Answer>>>,
    asked: Arc<Mutex<Value>>,
}

enum Answer {
    Whole(u16, Value),
    Stream(mpsc::Receiver<Chunk>),
}

async fn answer(State(double): State<Double>, body: Bytes) -> Response {
    *double.asked.lock().unwrap() = serde_json::from_slice(&body).unwrap();
    let answer = double.answer.lock().unwrap().take().expect("an answer for every question");
    match answer {
        Answer::Whole(status, body) => {
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
        }
        Answer::Stream(chunks) => Body::from_stream(ReceiverStream::new(chunks)).into_response(),
    }
}

async fn tags() -> axum::Json<Value> {
    let model = |name: &str| json!({ "name": name, "modified_at": "2026-01-01T00:00:00Z", "size": 1, "digest": "ab" });
    axum::Json(json!({ "models": [model("a:latest"), model("b:latest")] }))
}

async fn loaded(State(double): State<Double>) -> Response {
    match double.loaded.lock().unwrap().clone() {
        Some(loaded) => axum::Json(loaded).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Double {
    async fn serve(&self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/api/tags", get(tags))
            .route("/api/ps", get(loaded))
            .route("/api/embed", post(answer))
            .route("/api/pull", post(answer))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let waits = Waits { first_token: Duration::from_millis(300), ..Waits::default() };
        Server::new(&url, waits, &Access::default()).unwrap()
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    /// Streams these lines as one chunk and then ends.
    async fn streams(&self, lines: &[Value]) {
        let (sender, chunks) = mpsc::channel(1);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        sender.send(Ok(text.into())).await.unwrap();
        self.answers(Answer::Stream(chunks));
    }
}

#[tokio::test]
async fn what_is_in_memory_is_what_the_server_says_and_old_servers_say_nothing() {
    let double = Double::default();
    let server = double.serve().await;
    let is_loaded = async |known: &[_]| {
        let models = server.models(known).await.unwrap();
        (models.iter().map(|model| model.is_loaded).collect::<Vec<_>>(), models)
    };
    let (before, models) = is_loaded(&[]).await;
    assert_eq!(before, [false, false]);
    *double.loaded.lock().unwrap() = Some(json!({ "models": [{ "name": "b:latest" }] }));
    assert_eq!(is_loaded(&models).await.0, [false, true], "also of models that are known");
    *double.loaded.lock().unwrap() = Some(json!("nonsense"));
    assert_eq!(is_loaded(&models).await.0, [false, false]);
}

#[tokio::test]
async fn texts_become_vectors() {
    let double = Double::default();
    let server = double.serve().await;
    let texts = ["one".to_owned(), "two".to_owned()];
    let vectors = json!({ "embeddings": [[0.5, 1.0], [0.0, -1.0]], "prompt_eval_count": 4 });
    double.answers(Answer::Whole(200, vectors));
    let embedded = server.embed("m", &texts).await.unwrap();
    assert_eq!(embedded.vectors, [[0.5, 1.0], [0.0, -1.0]]);
    assert_eq!(embedded.prompt_tokens, Some(4));
    let asked = json!({ "model": "m", "input": texts, "truncate": false });
    assert_eq!(*double.asked.lock().unwrap(), asked);

    double.answers(Answer::Whole(200, json!({ "embeddings": [[1.0]] })));
    assert!(matches!(server.embed("m", &texts).await, Err(ServerError::Unreadable(_))));
    double.answers(Answer::Whole(404, json!({ "error": "model \"m\" not found" })));
    assert_eq!(server.embed("m", &texts).await, Err(ServerError::UnknownModel("m".into())));
    let many = vec![String::new(); TEXTS_MAX + 1];
    assert!(matches!(server.embed("m", &many).await, Err(ServerError::Refused(_))));
}

#[tokio::test]
async fn a_model_is_pulled_with_its_progress() {
    let double = Double::default();
    let server = double.serve().await;
    let file =
        |done| json!({ "status": "pulling ab", "digest": "ab", "total": 9, "completed": done });
    let lines =
        [json!({ "status": "pulling manifest" }), file(3), file(9), json!({ "status": "success" })];
    double.streams(&lines).await;
    let mut pull = server.pull("m").await.unwrap();
    let mut seen = Vec::new();
    while let Some(progress) = pull.next().await.unwrap() {
        seen.push(progress);
    }
    let file = |done_bytes| Progress::File { digest: "ab".into(), done_bytes, bytes: 9 };
    let manifest = Progress::Step("pulling manifest".into());
    assert_eq!(seen, [manifest, file(3), file(9), Progress::Done]);
    assert_eq!(*double.asked.lock().unwrap(), json!({ "model": "m", "stream": true }));
}

#[tokio::test]
async fn a_pull_that_does_not_end_well_is_an_error() {
    let double = Double::default();
    let server = double.serve().await;
    let begun = json!({ "status": "pulling manifest" });
    let end = async |server: &Server| {
        let mut pull = server.pull("m").await?;
        while pull.next().await?.is_some() {}
        Ok::<_, ServerError>(())
    };

    double.streams(&[begun.clone(), json!({ "error": "no space left" })]).await;
    assert_eq!(end(&server).await, Err(ServerError::Refused("no space left".into())));
    double.streams(std::slice::from_ref(&begun)).await;
    assert!(matches!(end(&server).await, Err(ServerError::Unreadable(_))), "no last line");
    double.streams(&[json!([])]).await;
    assert!(matches!(end(&server).await, Err(ServerError::Unreadable(_))));
    double.answers(Answer::Whole(500, json!({ "error": "pull model manifest: not found" })));
    assert!(matches!(end(&server).await, Err(ServerError::Refused(_))));

    let (sender, chunks) = mpsc::channel(4);
    double.answers(Answer::Stream(chunks));
    sender.send(Ok(format!("{begun}\n").into())).await.unwrap();
    assert!(matches!(end(&server).await, Err(ServerError::Stalled(_))), "it says nothing more");
    tokio::time::timeout(Duration::from_secs(1), sender.closed()).await.expect("it is let go");

    let (sender, chunks) = mpsc::channel(4);
    double.answers(Answer::Stream(chunks));
    sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).await.unwrap();
    assert!(end(&server).await.is_err());
}
