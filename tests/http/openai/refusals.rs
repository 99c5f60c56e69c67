//! Everything that is refused below `/v1` is refused in the one shape that OpenAI's clients read.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::rate::Rates;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CHAT, TEXT, asking, post, with};
use crate::door::{Answer, DISTANT, LOCAL, door_with};
use crate::stream::{Running, running};

/// Checks the shape; gives status, param and code.
#[track_caller]
fn refused(answer: &Answer) -> (u16, &str, &str) {
    let json = &answer.json;
    let error = json["error"].as_object().unwrap_or_else(|| panic!("no error: {json}"));
    assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
    let keys: Vec<&str> = error.keys().map(String::as_str).filter(|key| *key != "bizra").collect();
    assert_eq!(keys.len(), 4, "{json}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
    let kind = match answer.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    };
    assert_eq!(error["type"], kind, "{json}");
    assert!(answer.headers.contains_key("x-request-id"));
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    let may_retry = matches!(answer.status, 429 | 503);
    assert_eq!(answer.headers.contains_key(header::RETRY_AFTER), may_retry, "{json}");
    assert!(error["param"].is_null() || error["param"].as_str().is_some_and(|it| !it.is_empty()));
    let param = error["param"].as_str().unwrap_or_default();
    (answer.status, param, error["code"].as_str().unwrap())
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_its_parameter() {
    let Running { door, .. } = &running(Limits::default()).await;
    let user = |content: Value| json!([{ "role": "user", "content": content }]);
    let image = json!([{ "type": "image_url", "image_url": { "url": "data:," } }]);
    let cases = [
        (json!({ "messages": null }), "messages", "INVALID_FIELD"),
        (json!({ "messages": [] }), "messages", "INVALID_FIELD"),
        (json!({ "messages": user(json!(" ")) }), "messages", "EMPTY_PROMPT"),
        (
            json!({ "messages": user(json!("a".repeat(70_000))) }),
            "messages",
            "context_length_exceeded",
        ),
        (
            json!({ "messages": vec![json!({ "role": "user", "content": "a" }); 258] }),
            "messages",
            "HISTORY_TOO_LONG",
        ),
        (json!({ "messages": user(image) }), "messages[0].content[0]", "INVALID_FIELD"),
        (
            json!({ "messages": [{ "role": "tool", "content": "a" }] }),
            "messages[0].role",
            "INVALID_FIELD",
        ),
        (json!({ "messages": [{ "role": 1 }] }), "messages[0].role", "INVALID_FIELD"),
        (json!({ "model": 1 }), "model", "INVALID_FIELD"),
        (json!({ "model": "" }), "model", "OUT_OF_RANGE"),
        (json!({ "model": "gpt-5" }), "model", "model_not_found"),
        (json!({ "n": 2 }), "n", "unsupported_value"),
        (json!({ "n": 0 }), "n", "unsupported_value"),
        (json!({ "max_tokens": 0 }), "max_tokens", "OUT_OF_RANGE"),
        (json!({ "max_tokens": -1 }), "max_tokens", "OUT_OF_RANGE"),
        (json!({ "max_tokens": "7" }), "max_tokens", "INVALID_FIELD"),
        (json!({ "max_tokens": 1, "max_completion_tokens": 2 }), "max_tokens", "OUT_OF_RANGE"),
        (json!({ "temperature": 2.1 }), "temperature", "OUT_OF_RANGE"),
        (json!({ "top_p": 0 }), "top_p", "OUT_OF_RANGE"),
        (json!({ "seed": -1 }), "seed", "OUT_OF_RANGE"),
        (json!({ "stop": 1 }), "stop", "INVALID_FIELD"),
        (json!({ "stop": ["a", 1] }), "stop", "INVALID_FIELD"),
        (json!({ "stop": "" }), "stop", "OUT_OF_RANGE"),
        (json!({ "stream": "yes" }), "stream", "INVALID_FIELD"),
        (json!({ "stream_options": {} }), "stream_options", "unsupported_parameter"),
        (
            json!({ "stream": true, "stream_options": { "include_usage": 1 } }),
            "stream_options.include_usage",
            "INVALID_FIELD",
        ),
        (json!({ "bizra": { "tier": "cloud" } }), "bizra.tier", "UNKNOWN_TIER"),
        (json!({ "tools": [{ "type": "function" }] }), "tools", "unsupported_parameter"),
        (json!({ "tool_choice": "required" }), "tool_choice", "unsupported_parameter"),
        (json!({ "functions": [{}] }), "functions", "unsupported_parameter"),
        (
            json!({ "response_format": { "type": "json_object" } }),
            "response_format",
            "unsupported_parameter",
        ),
        (json!({ "logprobs": true }), "logprobs", "unsupported_parameter"),
        (json!({ "top_logprobs": 2 }), "top_logprobs", "unsupported_parameter"),
        (json!({ "logit_bias": { "50256": -100 } }), "logit_bias", "unsupported_parameter"),
        (json!({ "presence_penalty": 0.1 }), "presence_penalty", "unsupported_parameter"),
        (json!({ "frequency_penalty": -2 }), "frequency_penalty", "unsupported_parameter"),
        (json!({ "modalities": ["audio"] }), "modalities", "unsupported_parameter"),
        (json!({ "reasoning_effort": "high" }), "reasoning_effort", "unsupported_parameter"),
        (json!({ "top_k": 40 }), "top_k", "unsupported_parameter"),
    ];
    for (more, param, code) in cases {
        let status = if code == "model_not_found" { 404 } else { 400 };
        let answer = post(door, CHAT, &with(asking("count"), more.clone())).await;
        assert_eq!(refused(&answer), (status, param, code), "{:.200}", more.to_string());
    }
    let text = json!({ "prompt": "count" });
    let cases = [
        (json!({ "prompt": null }), "prompt", "INVALID_FIELD"),
        (json!({ "prompt": ["a", "b"] }), "prompt", "INVALID_FIELD"),
        (json!({ "prompt": [1, 2] }), "prompt", "INVALID_FIELD"),
        (json!({ "prompt": "" }), "prompt", "EMPTY_PROMPT"),
        (json!({ "echo": true }), "echo", "unsupported_parameter"),
        (json!({ "suffix": "b" }), "suffix", "unsupported_parameter"),
        (json!({ "best_of": 2 }), "best_of", "unsupported_parameter"),
        (json!({ "logprobs": 0 }), "logprobs", "unsupported_parameter"),
        (json!({ "max_completion_tokens": 1 }), "max_completion_tokens", "unsupported_parameter"),
    ];
    for (more, param, code) in cases {
        let answer = post(door, TEXT, &with(text.clone(), more.clone())).await;
        assert_eq!(refused(&answer), (400, param, code), "{more}");
    }
    let none = post(door, CHAT, &json!({ "model": "auto" })).await;
    assert_eq!(refused(&none), (400, "messages", "INVALID_FIELD"));
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_has_the_same_shape() {
    let Running { door, .. } = &running(Limits::default()).await;
    let stream = |body: Value| with(body, json!({ "stream": true }));
    let unavailable = (503, "", "INFERENCE_UNAVAILABLE");
    for (body, expected) in [
        (asking("fail"), unavailable),
        (stream(asking("fail")), unavailable),
        (asking("fail later"), (500, "", "INFERENCE_FAILED")),
        (asking("too long"), (400, "messages", "context_length_exceeded")),
    ] {
        assert_eq!(refused(&post(door, CHAT, &body).await), expected, "{body}");
    }
    for body in [asking("refuse"), stream(asking("refuse"))] {
        let answer = post(door, CHAT, &body).await;
        assert_eq!(refused(&answer), (403, "", "CONSTITUTION_VIOLATION"));
        let bizra = json!({ "code": "RejectGateIhsan", "receipt": { "passed": false } });
        assert_eq!(answer.json["error"]["bizra"], bizra);
    }
}

#[tokio::test]
async fn what_the_framework_refuses_has_the_same_shape() {
    let Running { door, .. } = &running(Limits::default()).await;
    let large = "a".repeat(2 << 20);
    let body = |text: &str| Body::from(text.to_owned());
    for (method, path, content_type, text, expected) in [
        (Method::GET, "/v1", "", "", (404, "", "unknown_url")),
        (Method::GET, "/v1/none", "", "", (404, "", "unknown_url")),
        (Method::GET, CHAT, "", "", (405, "", "METHOD_NOT_ALLOWED")),
        (Method::DELETE, "/v1/models/a", "", "", (405, "", "METHOD_NOT_ALLOWED")),
        (Method::GET, "/v1/models/%ff", "", "", (400, "", "INVALID_PATH")),
        (Method::GET, "/v1/models/none", "", "", (404, "model", "model_not_found")),
        (Method::POST, CHAT, "text/plain", "{}", (415, "", "UNSUPPORTED_MEDIA_TYPE")),
        (Method::POST, CHAT, "", "{", (400, "", "INVALID_JSON")),
        (Method::POST, CHAT, "", "{\"n\":1,\"n\":1}", (400, "", "INVALID_JSON")),
        (Method::POST, CHAT, "", "[]", (400, "", "INVALID_FIELD")),
        (Method::POST, CHAT, "", "", (400, "", "INVALID_JSON")),
        (Method::POST, TEXT, "", &large, (413, "", "BODY_TOO_LARGE")),
    ] {
        let mut request = door.request(method.clone(), path).body(body(text)).unwrap();
        if !content_type.is_empty() {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let answer = door.send(request, LOCAL).await;
        assert_eq!(refused(&answer), expected, "{method} {path} {text:.20}");
        assert_eq!(answer.headers.contains_key(header::ALLOW), expected.0 == 405);
    }
    let foreign =
        door.request(Method::GET, "/v1/models").header(header::ORIGIN, "https://evil.example");
    let answer = door.send(foreign.body(Body::empty()).unwrap(), LOCAL).await;
    assert_eq!(refused(&answer), (403, "", "ORIGIN_FORBIDDEN"));
}

#[tokio::test(start_paused = true)]
async fn who_calls_too_often_too_long_or_without_the_token_is_told_in_the_same_shape() {
    let rates = Rates { act: 1, read: 1, burst_seconds: 1, ..Rates::default() };
    let door = door_with(Mode::Local, Limits { rates, ..Limits::default() });
    for (method, path) in [(Method::POST, CHAT), (Method::GET, "/v1/models")] {
        let ask = async || {
            let mut request = door.request(method.clone(), path).body(Body::from("{}")).unwrap();
            request.headers_mut().remove(header::AUTHORIZATION);
            door.send(request, DISTANT).await
        };
        assert_eq!(refused(&ask().await), (401, "", "invalid_api_key"));
        assert_eq!(refused(&ask().await), (429, "", "rate_limit_exceeded"));
    }
    let none = Limits { requests_max: 0, ..Limits::default() };
    let answer = post(&door_with(Mode::Local, none), CHAT, &asking("a")).await;
    assert_eq!(refused(&answer), (503, "", "OVERLOADED"));
    let short = Limits { generate_timeout: Duration::from_millis(20), ..Limits::default() };
    let answer = post(&door_with(Mode::Local, short), CHAT, &asking("a")).await;
    assert_eq!(refused(&answer), (504, "", "TIMEOUT"));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9i64..9).prop_map(Value::from),
        (-3.0..3.0f64).prop_map(Value::from),
        "[a-z\u{e9}\u{1f600} ]{0,8}".prop_map(Value::from),
        prop_oneof!["user", "system", "assistant", "text", "auto", "none"].prop_map(Value::from),
    ];
    let key = prop_oneof!["role", "content", "type", "text", "tier", "include_usage", "[a-z]{0,4}"];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn a_request() -> impl Strategy<Value = Value> {
    const KEYS: [&str; 20] = [
        "model",
        "messages",
        "prompt",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "n",
        "stream",
        "stream_options",
        "bizra",
        "tools",
        "logprobs",
        "echo",
        "response_format",
        "logit_bias",
        "presence_penalty",
        "user",
    ];
    let message = (prop_oneof!["user", "system", "assistant", "tool"], json_value())
        .prop_map(|(role, content)| json!({ "role": role, "content": content }));
    let messages = proptest::collection::vec(message, 0..4).prop_map(Value::from);
    let value = prop_oneof![3 => json_value(), 1 => messages];
    let keys = proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned);
    proptest::collection::btree_map(keys, value, 0..6)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

#[test]
fn whatever_is_sent_is_answered_or_refused_and_no_fault_of_ours() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let running = runtime.block_on(running(Limits::default()));
    proptest!(|(body in prop_oneof![3 => a_request(), 1 => json_value()])| {
        for path in [CHAT, TEXT] {
            let answer = runtime.block_on(post(&running.door, path, &body));
            prop_assert!(matches!(answer.status, 200 | 400 | 404), "{}: {body}", answer.status);
            if answer.status != 200 {
                refused(&answer);
            }
        }
    });
}
