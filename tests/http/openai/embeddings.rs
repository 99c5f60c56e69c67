//! Vectors of texts, as OpenAI's clients ask for them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bizra_omega::domain::embedding::Embed;
use bizra_omega::domain::embedding::ngram::NgramEmbedder;
use bizra_omega::http::auth::Mode;
use serde_json::{Value, json};

use super::post;
use crate::door::{Door, door};

const PATH: &str = "/v1/embeddings";

async fn served(door: &Door, body: Value) -> Value {
    let answer = post(door, PATH, &body).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.json);
    answer.json
}

#[tokio::test]
async fn each_text_gets_its_vector_in_the_order_of_the_texts() {
    let door = door(Mode::Local);
    let texts = ["ask before you act", "\u{6f22}\u{5b57}", "ask before you act"];
    let answer = served(&door, json!({ "model": "auto", "input": texts })).await;
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("bizra-ngram")));
    for (index, text) in texts.iter().enumerate() {
        let one = &answer["data"][index];
        assert_eq!((&one["object"], &one["index"]), (&json!("embedding"), &json!(index)));
        let found: Vec<f32> = serde_json::from_value(one["embedding"].clone()).unwrap();
        assert_eq!(found, NgramEmbedder::default().embed(text).unwrap(), "to the last bit");
    }
    let bizra = json!({
        "embedder": "bizra-ngram", "version": 1, "dimensions": 384, "tokens_estimated": true,
    });
    assert_eq!(answer["bizra"], bizra);
    // 42 bytes.
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 11, "total_tokens": 11 }));

    let asked = json!({ "input": texts[0], "encoding_format": "base64", "dimensions": 384 });
    let answer = served(&door, asked).await;
    let bytes = STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<f32> =
        bytes.chunks_exact(4).map(|it| f32::from_le_bytes(it.try_into().unwrap())).collect();
    assert_eq!(numbers, NgramEmbedder::default().embed(texts[0]).unwrap());
    let most = served(&door, json!({ "input": vec!["a"; 256] })).await;
    assert_eq!(most["data"].as_array().unwrap().len(), 256);
    let metrics = door.metrics.encode().unwrap();
    assert!(metrics.contains("embedding_request_seconds_count 3"), "{metrics}");
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused_with_its_place() {
    let door = door(Mode::Local);
    for (body, status, param, code) in [
        (json!({}), 400, "input", "INVALID_FIELD"),
        (json!({ "input": null }), 400, "input", "INVALID_FIELD"),
        (json!({ "input": 1 }), 400, "input", "INVALID_FIELD"),
        (json!({ "input": [] }), 400, "input", "INVALID_FIELD"),
        (json!({ "input": [1, 2, 3] }), 400, "input", "INVALID_FIELD"),
        (json!({ "input": [[1, 2], [3]] }), 400, "input", "INVALID_FIELD"),
        (json!({ "input": ["a", null] }), 400, "input", "INVALID_FIELD"),
        (json!({ "input": vec!["a"; 257] }), 400, "input", "INVALID_FIELD"),
        (json!({ "input": "" }), 400, "input", "EMPTY_INPUT"),
        (json!({ "input": ["a", "\u{2003}\n"] }), 400, "input[1]", "EMPTY_INPUT"),
        (json!({ "input": "a".repeat(32_769) }), 400, "input", "INPUT_TOO_LONG"),
        (json!({ "input": "a", "model": "gpt" }), 404, "model", "model_not_found"),
        (json!({ "input": "a", "model": "" }), 404, "model", "model_not_found"),
        (json!({ "input": "a", "model": 1 }), 400, "model", "INVALID_FIELD"),
        (json!({ "input": "a", "dimensions": 383 }), 400, "dimensions", "unsupported_value"),
        (json!({ "input": "a", "dimensions": -384 }), 400, "dimensions", "unsupported_value"),
        (
            json!({ "input": "a", "encoding_format": "binary" }),
            400,
            "encoding_format",
            "unsupported_value",
        ),
    ] {
        let answer = post(&door, PATH, &body).await;
        let error = &answer.json["error"];
        let found = (answer.status, error["param"].as_str(), error["code"].as_str());
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(found, (status, Some(param), Some(code)), "{shown}: {error}");
    }
}
