//! Which models a server lists, and what it says of them.

use serde_json::Value;

use crate::adapters::upstream::{Description, MODELS_MAX, ServerError, is_name, reported};

/// Where servers report the tokens of a context: vLLM, llama.cpp (what it runs with, then what the
/// model was made for), LM Studio, OpenRouter.
const CONTEXT_KEYS: [&str; 5] = [
    "/max_model_len",
    "/meta/n_ctx",
    "/meta/n_ctx_train",
    "/max_context_length",
    "/context_length",
];

/// Reads the answer to `GET /v1/models`.
///
/// # Errors
/// When it reports an error or is no list of models.
pub fn read(json: &[u8]) -> Result<Vec<Description>, ServerError> {
    let object: Value = serde_json::from_slice(json)
        .map_err(|error| ServerError::Unreadable(format!("no list of models: {error}")))?;
    if let Some(reason) = reported(&object) {
        return Err(ServerError::Refused(reason));
    }
    let Some(listed) = object["data"].as_array() else {
        return Err(ServerError::Unreadable("no list of models: it has no data".to_owned()));
    };
    let mut models: Vec<Description> = Vec::new();
    for model in listed.iter().filter_map(describe) {
        if models.len() < MODELS_MAX && models.iter().all(|known| known.name != model.name) {
            models.push(model);
        }
    }
    Ok(models)
}

/// What a server says of one model; `None` if it does not even say its name.
fn describe(model: &Value) -> Option<Description> {
    let name = model["id"].as_str().filter(|name| is_name(name))?;
    let number = |key: &&str| model.pointer(key).and_then(Value::as_u64).filter(|n| *n > 0);
    let context = CONTEXT_KEYS.iter().find_map(number);
    let quantization = model["quantization"].as_str().filter(|word| {
        (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
    });
    Some(Description {
        name: name.to_owned(),
        parameters: number(&"/meta/n_params"),
        quantization: quantization.map(str::to_owned),
        context_length: context.and_then(|tokens| tokens.try_into().ok()),
        can_chat: model["type"] != "embeddings",
        // LM Studio says so. That of others that serve a single model is loaded, but not all do.
        is_loaded: model["state"] == "loaded",
        ..Description::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_what_its_server_says() {
        let list = br#"{"object":"list","data":[
            {"id":"Qwen/Qwen2.5-7B-Instruct","object":"model","owned_by":"vllm","max_model_len":32768},
            {"id":"m.gguf","meta":{"n_ctx_train":2048,"n_params":1100048384,"n_vocab":32000}},
            {"id":"lm","type":"llm","quantization":"Q4_K_M","max_context_length":4096,"state":"loaded"},
            {"id":"embedder-70b-8k-q4","type":"embeddings"},
            {"id":"lm"}, {"id":""}, {"id":"a\nb"}, {"name":"x"}, 7
        ]}"#;
        let models = read(list).unwrap();
        let model = |name: &str| Description {
            name: name.into(),
            can_chat: true,
            ..Description::default()
        };
        assert_eq!(
            models,
            [
                Description { context_length: Some(32768), ..model("Qwen/Qwen2.5-7B-Instruct") },
                Description {
                    context_length: Some(2048),
                    parameters: Some(1_100_048_384),
                    ..model("m.gguf")
                },
                Description {
                    context_length: Some(4096),
                    quantization: Some("Q4_K_M".into()),
                    is_loaded: true,
                    ..model("lm")
                },
                // A name says nothing, whatever it looks like.
                Description { can_chat: false, ..model("embedder-70b-8k-q4") },
            ]
        );
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for json in [&b""[..], b"<html>", b"[]", b"{}", br#"{"data":{}}"#, br#"{"error":"no"}"#] {
            assert!(read(json).is_err());
        }
        assert_eq!(read(br#"{"data":[]}"#), Ok(Vec::new()));
    }

    #[test]
    fn a_list_is_bounded() {
        let many: Vec<_> = (0..1000).map(|n| serde_json::json!({ "id": n.to_string() })).collect();
        let json = serde_json::json!({ "data": many }).to_string();
        assert_eq!(read(json.as_bytes()).unwrap().len(), MODELS_MAX);
    }
}
