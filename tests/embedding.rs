//! all-MiniLM-L6-v2 in this process, held against values that another implementation gives, and served.

mod live;
mod python;

use std::path::Path;

use bizra_omega::adapters::embedding::ModelEmbedder;
use bizra_omega::domain::embedding::Embed;
use bizra_omega::node::{self, StartError};
use serde_json::{Value, json};

/// Texts with their vectors; the file says how they were made.
const GOLDEN: &str = include_str!("golden/minilm.json");

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn vectors_are_those_of_another_implementation() {
    let Some(folder) = python::minilm() else { return };
    let embedder = ModelEmbedder::load(&folder).unwrap();
    assert_eq!((embedder.id().version, embedder.id().dimension), (1, 384));
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut compared = 0;
    for case in golden["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let expected: Vec<f32> = serde_json::from_value(case["vector"].clone()).unwrap();
        let vector = embedder.embed(text).unwrap();
        let likeness = cosine(&vector, &expected);
        assert!(likeness > 0.9999, "{likeness}: {text}");
        let farthest = vector.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(farthest < 1e-4, "{farthest}: {text}");
        compared += 1;
    }
    assert!(compared >= 10);
}

#[test]
fn likeness_is_what_the_models_own_documentation_shows() {
    let Some(folder) = python::minilm() else { return };
    let embedder = ModelEmbedder::load(&folder).unwrap();
    let embed = |text: &str| embedder.embed(text).unwrap();
    // Sentence Transformers, Quickstart: all-MiniLM-L6-v2.
    let weather = embed("The weather is lovely today.");
    let sunny = embed("It's so sunny outside!");
    let stadium = embed("He drove to the stadium.");
    for (a, b, published) in
        [(&weather, &sunny, 0.6660), (&weather, &stadium, 0.1046), (&sunny, &stadium, 0.1411)]
    {
        let found = cosine(a, b);
        assert!((found - published).abs() < 2e-4, "{found}, and {published} is published");
    }
    // What the embedder without a model cannot do.
    let (car, automobile) = (embed("buy a car"), embed("purchase an automobile"));
    assert!(cosine(&car, &automobile) > 0.7 && cosine(&car, &stadium) < 0.4);
}

async fn embeddings(address: impl std::fmt::Display, body: Value) -> (u16, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.post(format!("http://{address}/v1/embeddings"));
    let request = request.header("content-type", "application/json").body(body.to_string());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_the_model_that_it_is_given() {
    let Some(folder) = tokio::task::spawn_blocking(python::minilm).await.unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut config = live::config(dir.path());
    config.embedding.model = Some(folder);
    let node = node::start(config).await.unwrap();
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let case = &golden["cases"][0];
    let (status, answer) = embeddings(node.address(), json!({ "input": case["text"] })).await;
    assert_eq!(status, 200, "{answer}");
    let vector: Vec<f32> = serde_json::from_value(answer["data"][0]["embedding"].clone()).unwrap();
    let expected: Vec<f32> = serde_json::from_value(case["vector"].clone()).unwrap();
    assert!(cosine(&vector, &expected) > 0.9999);
    let name = answer["model"].as_str().unwrap();
    assert!(name.starts_with("model@"), "{name}");
    for (model, status) in [(name, 200), ("model", 200), ("auto", 200), ("bizra-ngram", 404)] {
        let body = json!({ "input": "a", "model": model });
        assert_eq!(embeddings(node.address(), body).await.0, status, "{model}");
    }
    node.shutdown().await;
}

#[tokio::test]
async fn a_node_that_is_given_no_model_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = live::config(dir.path());
    config.embedding.model = Some(dir.path().join("nothing"));
    let error = node::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Embedding(_)), "{error}");
    assert_eq!(error.key().as_deref(), Some("embedding.model"));
    let text = error.to_string();
    assert!(text.contains("embedding.model: ") && text.contains("config.json: No such"), "{text}");
    // Nothing is left behind that would keep another one from starting.
    let node = live::start(dir.path()).await;
    assert!(Path::new(dir.path()).join("node.redb").exists());
    node.shutdown().await;
}
