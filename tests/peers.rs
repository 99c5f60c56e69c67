//! The OpenAI backend and the edge engine against llama.cpp, on one file.
//!
//! `cargo xtask test-peers` builds its server, of llama-cpp-python, and runs these tests with it.

#[path = "support/remote.rs"]
mod remote;
mod support;

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bizra_omega::adapters::edge::demo::DEMO;
use bizra_omega::adapters::edge::generate::{Limits, generate};
use bizra_omega::adapters::edge::model::EdgeModel;
use bizra_omega::adapters::model_server::Kind;
use bizra_omega::adapters::upstream::{Access, Waits};
use bizra_omega::config::Engine;
use bizra_omega::domain::inference::conversation::Form;
use bizra_omega::domain::inference::request::{self, RawRequest};
use bizra_omega::domain::inference::{Generated, InferenceRequest};
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::supervisor::Root;
use remote::remote;
use serde_json::{Value, json};
use support::SECOND;
use tokio::sync::mpsc;

const PROMPTS: [&str; 4] =
    ["The function returns", "To install the package,", "If the file does not exist", "A"];

/// The server as a process of its own, ended with the test.
struct Peer {
    child: Child,
    port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bizra-demo.gguf")
}

/// Starts the server with the Python that has it.
fn peer() -> Peer {
    let python = std::env::var("BIZRA_PEER_PYTHON").expect("cargo xtask test-peers sets it");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(python)
        .args(["-m", "llama_cpp.server", "--host", "127.0.0.1", "--n_ctx", "512"])
        .args(["--model_alias", "demo", "--n_threads", "2", "--port", &port.to_string()])
        .arg("--model")
        .arg(model())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    Peer { child, port }
}

async fn backend(peer: &Peer) -> (Root, Addr<BackendMsg>) {
    let (url, access) = (format!("http://127.0.0.1:{}", peer.port), Access::default());
    let kind = (Kind::OpenAi, "openai-peer");
    let (root, addr) = remote(kind, &url, None, Waits::default(), &access).await;
    // It loads its model before it listens.
    let listed = async {
        loop {
            let ask = |reply| BackendMsg::Models { reply };
            let models = addr.call(Deadline::after(60 * SECOND), ask).await.unwrap();
            if models.iter().any(|model| model.is_available && model.name == "demo") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(180 * SECOND, listed).await.expect("the server lists its model");
    (root, addr)
}

/// The text is continued as it is, so that no template differs; the likeliest token is always taken.
fn greedy(prompt: &str, max_tokens: u64) -> InferenceRequest {
    let raw = RawRequest {
        prompt: prompt.to_owned(),
        form: Form::Completion,
        max_tokens: Some(max_tokens),
        temperature: Some(0.0),
        ..RawRequest::default()
    };
    raw.validate(&request::Limits::default()).unwrap()
}

async fn ask(
    addr: &Addr<BackendMsg>,
    request: &InferenceRequest,
    tokens: Option<mpsc::Sender<String>>,
) -> Generated {
    let deadline = Deadline::after(120 * SECOND);
    let ask = |reply| BackendMsg::Generate {
        request: request.clone(),
        tokens: tokens.clone(),
        deadline,
        reply,
    };
    addr.call(deadline, ask).await.unwrap().unwrap()
}

/// What the server says by itself, as a whole. Without a penalty of its own, 1.1 as it comes, it takes
/// the likeliest token as the edge engine does.
async fn whole(peer: &Peer, prompt: &str, repeat_penalty: f64) -> String {
    let body = json!({
        "model": "demo", "prompt": prompt, "max_tokens": 32, "temperature": 0,
        "repeat_penalty": repeat_penalty,
    });
    let url = format!("http://127.0.0.1:{}/v1/completions", peer.port);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(url).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["choices"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
#[ignore = "needs the server that cargo xtask test-peers builds"]
async fn its_text_is_streamed_as_it_is() {
    let peer = peer();
    let (_root, addr) = backend(&peer).await;
    for prompt in PROMPTS {
        let request = greedy(prompt, 32);
        let (sender, mut pieces) = mpsc::channel(64);
        let streamed = ask(&addr, &request, Some(sender)).await;
        let mut shown = Vec::new();
        while let Some(piece) = pieces.recv().await {
            shown.push(piece);
        }
        assert!(shown.len() > 1, "it came in pieces");
        assert_eq!(shown.concat(), streamed.text);
        assert_eq!(streamed.text, whole(&peer, prompt, 1.1).await, "{prompt}");
    }
}

#[tokio::test]
#[ignore = "needs the server that cargo xtask test-peers builds"]
async fn its_greedy_tokens_are_those_of_the_edge_engine() {
    let peer = peer();
    let up = backend(&peer).await;
    // Nobody else asks the server from here on: it drops an answer for a newer request.
    drop(up);
    let ours = EdgeModel::load(&DEMO, Engine::Candle).unwrap();
    let mut show = |_: &str| ControlFlow::Continue(());
    for prompt in PROMPTS {
        let request = greedy(prompt, 32);
        let ours = generate(&ours, &request, Limits::default(), &mut show, &|| false).unwrap();
        assert_eq!(whole(&peer, prompt, 1.0).await, ours.text, "{prompt}");
    }
}

#[tokio::test]
#[ignore = "needs the server that cargo xtask test-peers builds"]
async fn a_chat_is_answered_too() {
    let peer = peer();
    let (_root, addr) = backend(&peer).await;
    let request = InferenceRequest { form: Form::Chat, ..greedy("What is a file?", 16) };
    let answer = ask(&addr, &request, None).await;
    assert!(!answer.text.is_empty() && answer.model == "demo");
    assert!(answer.prompt_tokens > 0 && answer.completion_tokens > 0);
}
