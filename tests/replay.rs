//! Proven answers are computed again by the command line, from the file alone.

mod live;
#[path = "support/tiny_gguf.rs"]
mod tiny_gguf;

use std::path::{Path, PathBuf};

use bizra_omega::config::Engine;
use live::{Client, bizra, config};
use serde_json::{Value, json};
use tiny_gguf::Tiny;

const PROMPT: &str = "The function returns";

/// A node, a folder for files, and what was answered to [`PROMPT`].
struct Scene {
    dir: tempfile::TempDir,
    client: Client,
    _node: bizra_omega::node::Node,
    answer: Value,
}

impl Scene {
    async fn new(parameters: Value) -> Self {
        Self::with(Engine::default(), parameters).await
    }

    async fn with(engine: Engine, parameters: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.inference.edge.engine = engine;
        let node = bizra_omega::node::start(config).await.unwrap();
        let client = Client::new(node.address(), dir.path());
        let mut body = json!({ "prompt": PROMPT, "max_tokens": 24, "temperature": 0 });
        for (key, value) in parameters.as_object().unwrap() {
            body[key] = value.clone();
        }
        let (status, answer) = client.post("/inference/generate", &body).await;
        assert_eq!(status, 200, "{answer}");
        Self { dir, client, _node: node, answer }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The exit code and what was printed for the envelope in `answer`.
    async fn replay(&self, answer: &Value, args: &[&str]) -> (i32, String) {
        let file = self.file("answer.json", answer.to_string());
        let all = [&["envelope", "replay", file.to_str().unwrap()], args].concat();
        let (code, out, errors) = bizra(self.dir.path(), None, &all).await;
        (code, format!("{out}{errors}"))
    }

    /// An envelope of this node, genuine, around a payload that differs.
    async fn forged(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut payload = self.answer["envelope"]["payload"].clone();
        change(&mut payload);
        let (status, made) = self.client.envelope(payload).await;
        assert_eq!(status, 200, "{made}");
        made
    }
}

#[tokio::test]
async fn the_same_text_comes_again() {
    let scene = Scene::new(json!({ "system": "Be brief.", "stop": ["\n\n"] })).await;
    let args = ["--prompt", PROMPT, "--system", "Be brief."];
    let (code, said) = scene.replay(&scene.answer, &args).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with("\nreproduced\n") && !said.contains("another build"), "{said}");

    let request = json!({ "prompt": PROMPT, "system": "Be brief.", "temperature": 0 });
    let request = scene.file("request.json", request.to_string());
    let args = ["--request", request.to_str().unwrap(), "--json"];
    let (code, said) = scene.replay(&scene.answer, &args).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["reproduced"]), (0, &json!(true)), "{said}");

    // The model inside the program is this file.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bizra-demo.gguf");
    let args = ["--prompt", PROMPT, "--system", "Be brief.", "--model", model.to_str().unwrap()];
    assert_eq!(scene.replay(&scene.answer, &args).await.0, 0);
}

#[tokio::test]
async fn a_seed_brings_the_same_choice_again() {
    let scene = Scene::new(json!({ "temperature": 0.8, "seed": 5 })).await;
    let (code, said) = scene.replay(&scene.answer, &["--prompt", PROMPT]).await;
    assert_eq!(code, 0, "{said}");
    let scene = Scene::new(json!({ "temperature": 0.8 })).await;
    let (code, said) = scene.replay(&scene.answer, &["--prompt", PROMPT]).await;
    assert_eq!(code, 1);
    assert!(said.contains("no seed is recorded"), "{said}");
}

#[tokio::test]
async fn whatever_differs_is_named() {
    let scene = Scene::new(json!({})).await;
    let right = ["--prompt", PROMPT];
    let failed = |check: &str, said: &str| {
        let line = said.lines().find(|line| line.contains("FAILED")).unwrap_or_default();
        assert!(line.starts_with(check) && said.ends_with("\nnot reproduced\n"), "{said}");
    };

    let mut tampered = scene.answer.clone();
    tampered["envelope"]["payload"]["text"] = json!("something else");
    let (code, said) = scene.replay(&tampered, &right).await;
    assert_eq!(code, 1);
    failed("envelope", &said);

    let (code, said) = scene.replay(&scene.answer, &["--prompt", "The function"]).await;
    assert_eq!(code, 1);
    failed("question", &said);

    let other = scene.file("other.gguf", Tiny::new("llama").bytes());
    let args = [right[0], right[1], "--model", other.to_str().unwrap()];
    let (code, said) = scene.replay(&scene.answer, &args).await;
    assert_eq!(code, 1);
    failed("model", &said);
    assert!(said.matches("blake3:").count() == 2, "both are named: {said}");

    // Signed, and yet not what this engine computes.
    let lie = scene.forged(|payload| payload["text"] = json!("something else")).await;
    let (code, said) = scene.replay(&lie, &right).await;
    assert_eq!(code, 1);
    failed("text", &said);
    assert!(said.contains("differs at byte 0") && !said.contains("proves nothing"), "{said}");

    let elsewhere = scene.forged(|payload| payload["tier"] = json!("Local")).await;
    let (code, said) = scene.replay(&elsewhere, &right).await;
    assert_eq!(code, 1);
    failed("record", &said);
}

#[tokio::test]
async fn another_build_is_said_to_be_one() {
    let scene = Scene::new(json!({})).await;
    let right = ["--prompt", PROMPT];
    let same_text = scene.forged(|payload| payload["engine"] = json!("bizra-omega 0.0.1")).await;
    let (code, said) = scene.replay(&same_text, &right).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("another build: it was bizra-omega 0.0.1"), "{said}");
    let other_text = scene
        .forged(|payload| {
            payload["engine"] = json!("bizra-omega 0.0.1");
            payload["text"] = json!("something else");
        })
        .await;
    let (code, said) = scene.replay(&other_text, &right).await;
    assert_eq!(code, 1);
    assert!(said.contains("so this proves nothing"), "{said}");
}

/// A line as another build would have it.
const LLAMA_CPP: &str = "bizra-omega 0.0.1 0123456789abcdef x86_64 llama.cpp";

#[cfg(feature = "llama-cpp")]
#[tokio::test]
async fn what_llama_cpp_computed_is_computed_by_it_again() {
    let scene = Scene::with(Engine::LlamaCpp, json!({ "temperature": 0.8, "seed": 7 })).await;
    let engine = scene.answer["envelope"]["payload"]["engine"].as_str().unwrap();
    assert!(engine.ends_with(" llama.cpp"), "{engine}");
    let (code, said) = scene.replay(&scene.answer, &["--prompt", PROMPT]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(engine) && !said.contains("another build"), "{said}");

    let lie = scene.forged(|payload| payload["engine"] = json!(LLAMA_CPP)).await;
    let (code, said) = scene.replay(&lie, &["--prompt", PROMPT]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("another build: it was {LLAMA_CPP}")), "{said}");
}

#[cfg(not(feature = "llama-cpp"))]
#[tokio::test]
async fn what_llama_cpp_computed_is_not_computed_by_another_engine() {
    let scene = Scene::new(json!({})).await;
    let other = scene.forged(|payload| payload["engine"] = json!(LLAMA_CPP)).await;
    let (code, said) = scene.replay(&other, &["--prompt", PROMPT]).await;
    assert_eq!(code, 1);
    assert!(said.contains("engine        FAILED") && said.contains(LLAMA_CPP), "{said}");
    assert!(said.contains("--features llama-cpp") && !said.contains("\ntext"), "{said}");
}
