//! What OpenAI's clients speak, over an inference actor that does as its prompt says.

mod embeddings;
mod refusals;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::domain::inference::conversation::{Form, Role};
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::server::Peer;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::door::{Answer, DISTANT, Door, LOCAL, door_over, roster};
use crate::stream::{Running, envelope, running};
use crate::support::{SECOND, until};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A question that the scripted actor knows.
fn asking(prompt: &str) -> Value {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": prompt }] })
}

/// `body` with these keys as well.
fn with(mut body: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

async fn post(door: &Door, path: &str, body: &Value) -> Answer {
    door.post(path, body.to_string()).await
}

/// Everything that comes as `data:`, in order.
async fn data(door: &Door, path: &str, body: &Value) -> Vec<String> {
    let mut request = door.request(Method::POST, path).body(Body::from(body.to_string())).unwrap();
    request.extensions_mut().insert(Peer(LOCAL.parse().unwrap()));
    let response = door.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut text = Vec::new();
    while let Some(piece) = stream.next().await {
        text.extend(piece.unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("\n\n"), "{text:?}");
    let line = |line: &str| line.strip_prefix("data: ").unwrap().to_owned();
    text.split_terminator("\n\n").map(line).collect()
}

/// The chunks of a stream that ended as it should.
async fn chunks(door: &Door, path: &str, body: &Value) -> Vec<Value> {
    let mut lines = data(door, path, body).await;
    assert_eq!(lines.pop().as_deref(), Some("[DONE]"));
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same without what differs from time to time.
fn timeless(mut answer: Value) -> Value {
    let created = answer["created"].take().as_u64().unwrap();
    assert!(created > 1_700_000_000, "seconds since the epoch");
    answer
}

fn bizra() -> Value {
    json!({
        "request_id": "mine",
        "tier": "Edge",
        "requested_tier": "Local",
        "degraded": true,
        "attempts": [],
        "duration_ms": 3.0,
        "ttft_ms": 1.0,
        "tokens_per_second": 1500.0,
        "tokens_estimated": false,
        "preferences": null,
        "gates": { "input": { "passed": true, "scores": { "harm": 0.0, "snr": null } } },
        "envelope_id": format!("pci_{}", "01".repeat(16)),
        "envelope": envelope(),
    })
}

const USAGE: &str = "{\"prompt_tokens\":1,\"completion_tokens\":3,\"total_tokens\":4}";

fn usage() -> Value {
    serde_json::from_str(USAGE).unwrap()
}

async fn whole(door: &Door, path: &str, body: &Value) -> Answer {
    let request = door.request(Method::POST, path).header("x-request-id", "mine");
    let answer = door.send(request.body(Body::from(body.to_string())).unwrap(), LOCAL).await;
    assert_eq!(answer.status, 200, "{}", answer.json);
    assert_eq!(answer.headers["x-bizra-envelope"], format!("pci_{}", "01".repeat(16)));
    assert_eq!(answer.headers["x-request-id"], "mine");
    answer
}

#[tokio::test]
async fn a_whole_answer_has_their_shape_and_our_proof() {
    let Running { door, .. } = &running(Limits::default()).await;
    let text = "one \u{6f22}\n\ndata: three";
    let expected = json!({
        "id": "chatcmpl-mine", "object": "chat.completion", "created": null, "model": "scripted",
        "system_fingerprint": "blake3:00",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage(),
        "bizra": bizra(),
    });
    let answer = whole(door, CHAT, &asking("count")).await;
    assert_eq!(timeless(answer.json), expected);
    let expected = json!({
        "id": "cmpl-mine", "object": "text_completion", "created": null, "model": "scripted",
        "system_fingerprint": "blake3:00",
        "choices": [{ "index": 0, "text": text, "logprobs": null, "finish_reason": "stop" }],
        "usage": usage(),
        "bizra": bizra(),
    });
    let answer = whole(door, TEXT, &json!({ "model": "auto", "prompt": "count" })).await;
    assert_eq!(timeless(answer.json), expected);
}

#[tokio::test]
async fn a_stream_says_who_speaks_then_the_text_then_why_it_ended_with_the_proof() {
    let Running { door, .. } = &running(Limits::default()).await;
    let body = with(asking("count"), json!({ "stream": true, "model": null }));
    let chunks = chunks(door, CHAT, &body).await;
    let deltas: Vec<&Value> = chunks.iter().map(|it| &it["choices"][0]["delta"]).collect();
    let texts = ["one ", "\u{6f22}\n\n", "data: three"];
    assert_eq!(*deltas[0], json!({ "role": "assistant", "content": "" }));
    let said: Vec<Value> = texts.iter().map(|text| json!({ "content": text })).collect();
    assert_eq!(deltas[1..4], said.iter().collect::<Vec<_>>());
    assert_eq!(*deltas[4], json!({}));
    let (last, before) = chunks.split_last().unwrap();
    for chunk in before {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!((&chunk["model"], &chunk["id"]), (&json!("auto"), &last["id"]));
        assert!(chunk.get("bizra").is_none() && chunk.get("usage").is_none());
        assert!(chunk["choices"][0]["finish_reason"].is_null());
    }
    assert_eq!(last["model"], "scripted", "who answered is known at the end");
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["bizra"]["envelope"], bizra()["envelope"]);
    assert_eq!(last["bizra"]["envelope_id"], bizra()["envelope_id"]);
}

#[tokio::test]
async fn a_stream_counts_its_tokens_if_it_is_asked_to() {
    let Running { door, .. } = &running(Limits::default()).await;
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let texts = json!({ "model": "auto", "prompt": "count" });
    for (path, body) in [(CHAT, asking("count")), (TEXT, texts)] {
        let chunks = chunks(door, path, &with(body, more.clone())).await;
        let (last, before) = chunks.split_last().unwrap();
        assert!(before.iter().all(|chunk| chunk["usage"].is_null()), "{chunks:?}");
        assert_eq!((&last["usage"], &last["choices"]), (&usage(), &json!([])));
        assert_eq!(before.last().unwrap()["bizra"]["tier"], "Edge");
        if path == TEXT {
            let text: String =
                before.iter().map(|it| it["choices"][0]["text"].as_str().unwrap()).collect();
            assert_eq!(text, "one \u{6f22}\n\ndata: three");
            assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion"));
        }
    }
}

#[tokio::test]
async fn an_answer_without_text_is_streamed_as_well() {
    let Running { door, .. } = &running(Limits::default()).await;
    let chunks = chunks(door, CHAT, &with(asking("nothing"), json!({ "stream": true }))).await;
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[1]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks.len(), 2);
}

#[tokio::test]
async fn what_breaks_off_says_so_in_the_stream_without_inner_text() {
    let Running { door, .. } = &running(Limits::default()).await;
    let lines = data(door, CHAT, &with(asking("fail later"), json!({ "stream": true }))).await;
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    let expected = json!({ "error": {
        "message": "the model failed while generating",
        "type": "server_error",
        "param": null,
        "code": "INFERENCE_FAILED",
    } });
    assert_eq!(last, expected);
    assert_eq!(lines.len(), 3, "who speaks, one piece, the error");
}

#[tokio::test]
async fn the_work_stops_within_a_second_when_the_reader_leaves() {
    let Running { door, stopped, seen, .. } = &running(Limits::default()).await;
    let body = with(asking("hang"), json!({ "stream": true })).to_string();
    let mut request = door.request(Method::POST, CHAT).body(Body::from(body)).unwrap();
    request.extensions_mut().insert(Peer(LOCAL.parse().unwrap()));
    let response = door.router.clone().oneshot(request).await.unwrap();
    let mut stream = response.into_body().into_data_stream();
    assert!(stream.next().await.is_some());
    drop(stream);
    tokio::time::timeout(SECOND, stopped.notified()).await.expect("the work stops");

    // The same of one that waits for the whole.
    let has_begun = until(|| seen.lock().unwrap().len() == 2);
    tokio::select! {
        _ = door.post(CHAT, asking("hang").to_string()) => panic!("it hangs"),
        () = has_begun => {}
    }
    tokio::time::timeout(SECOND, stopped.notified()).await.expect("the work stops");
}

#[tokio::test]
async fn what_is_asked_for_reaches_the_node_as_it_was_said() {
    let Running { door, seen, .. } = &running(Limits::default()).await;
    let body = json!({
        "model": "scripted",
        "messages": [
            { "role": "developer", "content": "be brief" },
            { "role": "user", "content": [{ "type": "text", "text": "what?" }] },
            { "role": "assistant", "content": "that.", "refusal": null, "annotations": [] },
            { "role": "user", "content": "count", "name": "ann" },
        ],
        "max_completion_tokens": 7, "temperature": 0, "top_p": 0.5, "seed": 3, "stop": ["a", "b"],
        "n": 1, "user": "ann", "store": false, "metadata": {}, "bizra": { "tier": "local" },
        "tools": [], "tool_choice": "auto", "response_format": { "type": "text" },
        "logprobs": false, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0,
        "parallel_tool_calls": true, "service_tier": "auto", "more": { "a": [1] },
    });
    assert_eq!(post(door, CHAT, &body).await.status, 200);
    let body = json!({ "prompt": ["count"], "max_tokens": 5, "stop": "a", "echo": false });
    assert_eq!(post(door, TEXT, &body).await.status, 200);
    let seen = seen.lock().unwrap();
    let said: Vec<_> = seen[0].messages().map(|it| (it.role, it.text)).collect();
    let expected = [
        (Role::System, "be brief"),
        (Role::User, "what?"),
        (Role::Assistant, "that."),
        (Role::User, "count"),
    ];
    assert_eq!(said, expected);
    let asked = &seen[0];
    assert_eq!((asked.max_tokens, asked.is_length_asked), (7, true));
    assert_eq!((asked.sampling.temperature, asked.sampling.top_p), (0.0, Some(0.5)));
    assert_eq!(
        (asked.sampling.seed, asked.stop.as_slice()),
        (Some(3), ["a", "b"].map(String::from).as_slice())
    );
    assert_eq!((asked.model.as_deref(), asked.form), (Some("scripted"), Form::Chat));
    assert_eq!(asked.tier, Some("local".parse().unwrap()));
    assert_eq!(
        (seen[1].form, seen[1].prompt.as_str(), seen[1].max_tokens),
        (Form::Completion, "count", 5)
    );
    assert_eq!((&seen[1].model, seen[1].stop.as_slice()), (&None, ["a".to_owned()].as_slice()));
}

#[tokio::test]
async fn models_are_listed_and_found_by_their_names() {
    let Running { door, .. } = &running(Limits::default()).await;
    let get = async |path: &str| {
        door.send(door.request(Method::GET, path).body(Body::empty()).unwrap(), LOCAL).await
    };
    let list = get("/v1/models").await;
    let auto = json!({
        "id": "auto", "object": "model", "created": 0, "owned_by": "bizra", "bizra": null,
        "embedder": null,
    });
    assert_eq!((list.status, &list.json["object"]), (200, &json!("list")));
    assert_eq!(list.json["data"][0], auto);
    let scripted = &list.json["data"][1];
    assert_eq!((&scripted["id"], &scripted["object"]), (&json!("hub/s:latest"), &json!("model")));
    assert_eq!((&scripted["created"], &scripted["owned_by"]), (&json!(1), &json!("edge")));
    assert_eq!(scripted["bizra"]["tier"], "Edge");
    let embedder = &list.json["data"][2];
    assert_eq!((&embedder["id"], &embedder["bizra"]), (&json!("bizra-ngram"), &Value::Null));
    assert_eq!(embedder["embedder"]["dimensions"], 384);
    assert_eq!(&get("/v1/models/bizra-ngram").await.json, embedder);
    assert_eq!(list.json["data"].as_array().unwrap().len(), 3, "one name is listed once");
    assert_eq!(get("/v1/models/auto").await.json, auto);
    for path in ["/v1/models/hub%2Fs:latest", "/v1/models/hub%2Fs"] {
        let found = get(path).await;
        assert_eq!((found.status, &found.json), (200, scripted), "{path}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_needed_is_not_looked_at_and_elsewhere_it_is_the_token() {
    let settings = crate::support::settings(bizra_omega::domain::restart::Strategy::OneForOne);
    for (mode, peer, key, is_let_in) in [
        (Mode::Local, LOCAL, "sk-anything", true),
        (Mode::Local, DISTANT, "sk-anything", false),
        (Mode::Local, DISTANT, "token", true),
        (Mode::Token, LOCAL, "sk-anything", false),
        (Mode::Token, LOCAL, "token", true),
    ] {
        let limits = Limits { generate_timeout: Duration::from_millis(50), ..Limits::default() };
        let limits = Limits { request_timeout: Duration::from_millis(50), ..limits };
        let door = door_over(roster(&settings.metrics), settings.metrics.clone(), mode, limits);
        for (method, path) in [(Method::POST, CHAT), (Method::GET, "/v1/models")] {
            let mut request = door.request(method, path).body(asking("a").to_string().into());
            if key != "token" {
                let headers = request.as_mut().unwrap().headers_mut();
                headers.insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
            }
            let answer = door.send(request.unwrap(), peer).await;
            let place = format!("{mode:?} {peer} {key}: {}", answer.json);
            assert_eq!(answer.status, if is_let_in { 504 } else { 401 }, "{place}");
            let code = if is_let_in { "TIMEOUT" } else { "invalid_api_key" };
            assert_eq!(answer.json["error"]["code"], code, "{place}");
        }
    }
}
