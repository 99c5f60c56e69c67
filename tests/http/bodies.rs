//! What is refused of a request's body, and how.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::server::{Readiness, Server};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::door::{LOCAL, door, door_with};

#[tokio::test(start_paused = true)]
async fn bodies_are_refused_by_what_is_wrong_with_them() {
    let door = door(Mode::Local);
    let deep = format!("{{\"payload\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let deep_gate = deep.replace("payload", "content");
    let large = format!("{{\"message\":\"{}\"}}", "\u{6f22}".repeat(400_000));
    let sign = "/api/v1/identity/sign";
    let verify = "/api/v1/identity/verify";
    let create = "/api/v1/pci/envelope/create";
    let gates = "/api/v1/pci/gates/check";
    let constitution = "/api/v1/constitution/check";
    let generate = "/api/v1/inference/generate";
    let tier = "/api/v1/inference/tier";
    let stop = "/api/v1/actors/identity/stop";
    for (path, body, status, code, details) in [
        (sign, "", 400, "INVALID_JSON", None),
        (sign, "{", 400, "INVALID_JSON", None),
        (sign, "{\"message\":\"a\",\"message\":\"b\"}", 400, "INVALID_JSON", None),
        (sign, "{\"message\":\"\\ud800\"}", 400, "INVALID_JSON", None),
        (sign, "{}", 422, "INVALID_FIELD", Some("$")),
        (sign, "[]", 422, "INVALID_FIELD", Some("$")),
        (sign, "{\"message\":1}", 422, "INVALID_FIELD", Some("$.message")),
        (sign, "{\"message_b64\":\"\u{e9}\"}", 400, "INVALID_BASE64", Some("$.message_b64")),
        (sign, large.as_str(), 413, "BODY_TOO_LARGE", None),
        (
            verify,
            "{\"message\":\"a\",\"signature\":\"00\"}",
            422,
            "INVALID_FIELD",
            Some("$.public_key"),
        ),
        (create, "{}", 422, "INVALID_FIELD", Some("$.payload")),
        (create, deep.as_str(), 400, "INVALID_JSON", None),
        (create, "{\"payload\":9007199254740993}", 400, "INVALID_JSON", None),
        (create, "{\"payload\":1e999}", 400, "INVALID_JSON", None),
        (create, "{\"payload\":1,\"ttl\":1.5}", 422, "INVALID_FIELD", Some("$.ttl")),
        (create, "{\"payload\":1,\"ttl\":0}", 400, "INVALID_TTL", Some("$.ttl")),
        (
            create,
            "{\"payload\":1,\"provenance\":[\"a\"]}",
            422,
            "INVALID_FIELD",
            Some("$.provenance[0]"),
        ),
        (
            create,
            "{\"payload\":1,\"audience\":\"\u{6f22}\"}",
            400,
            "INVALID_HEX",
            Some("$.audience"),
        ),
        (gates, "{}", 422, "INVALID_FIELD", Some("$")),
        (gates, deep_gate.as_str(), 400, "INVALID_JSON", None),
        (gates, "{\"content\":\"a\",\"snr_score\":1.1}", 400, "INVALID_SCORE", Some("$.snr_score")),
        (
            gates,
            "{\"content\":\"a\",\"ihsan_score\":-1}",
            400,
            "INVALID_SCORE",
            Some("$.ihsan_score"),
        ),
        (gates, "{\"content\":\"a\",\"ihsan_score\":NaN}", 400, "INVALID_JSON", None),
        (gates, "{\"content\":\"a\",\"profile\":\"x\"}", 400, "UNKNOWN_PROFILE", Some("$.profile")),
        (constitution, "{\"ihsan_score\":7}", 400, "INVALID_SCORE", Some("$.ihsan_score")),
        (constitution, "{\"has_signature\":\"no\"}", 422, "INVALID_FIELD", Some("$.has_signature")),
        (generate, "{}", 422, "INVALID_FIELD", Some("$.prompt")),
        (generate, "{\"prompt\":\"\"}", 400, "EMPTY_PROMPT", Some("$.prompt")),
        (generate, "{\"prompt\":\"a\",\"tier\":\"sky\"}", 400, "UNKNOWN_TIER", Some("$.tier")),
        (
            generate,
            "{\"prompt\":\"a\",\"max_tokens\":0}",
            400,
            "OUT_OF_RANGE",
            Some("$.max_tokens"),
        ),
        (
            generate,
            "{\"prompt\":\"a\",\"temperature\":3}",
            400,
            "OUT_OF_RANGE",
            Some("$.temperature"),
        ),
        (tier, "{\"prompt\":[]}", 422, "INVALID_FIELD", Some("$.prompt")),
        (stop, "{\"kind\":\"panic\"}", 403, "CHAOS_DISABLED", None),
        (stop, "{\"kind\":\"\u{7206}\"}", 400, "UNKNOWN_FAULT", Some("$.kind")),
    ] {
        let body = body.to_owned();
        let start: String = body.chars().take(60).collect();
        let answer = door.post(path, body.clone()).await;
        answer.assert_error(status, code);
        assert_eq!(answer.json["details"], json!(details), "{path} {start}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_json_is_taken_as_json() {
    let door = door(Mode::Local);
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let mut request = door.request(Method::POST, "/api/v1/identity/sign");
        let headers = request.headers_mut().unwrap();
        headers.remove(header::CONTENT_TYPE);
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let request = request.body(Body::from("{\"message\":\"a\"}")).unwrap();
        door.send(request, LOCAL).await.assert_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let compressed = door
        .request(Method::POST, "/api/v1/identity/sign")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from("{\"message\":\"a\"}"))
        .unwrap();
    door.send(compressed, LOCAL).await.assert_error(415, "UNSUPPORTED_MEDIA_TYPE");
}

async fn over_a_socket(limits: Limits, bytes: &[u8], then: &[u8]) -> String {
    let door = door_with(Mode::Local, limits.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let readiness = Readiness::default();
    let metrics = door.metrics.clone();
    let server = Server::new(vec![listener], door.router.clone(), limits, metrics, readiness);
    let _accepting = server.accept();
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    writer.write_all(bytes).await.unwrap();
    let dribble = async {
        for byte in then.iter().cycle().take(if then.is_empty() { 0 } else { usize::MAX }) {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = vec![0; 4096];
    let answer = async { reader.read(&mut said).await.unwrap() };
    let length = tokio::select! {
        () = dribble => unreachable!("it is pending for ever"),
        length = tokio::time::timeout(Duration::from_secs(10), answer) => length.expect("an answer"),
    };
    String::from_utf8_lossy(&said[..length]).into_owned()
}

#[tokio::test]
async fn a_declared_length_beyond_the_limit_is_refused_before_the_body_comes() {
    let head = b"POST /api/v1/identity/verify HTTP/1.1\r\nHost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 3000000\r\n\r\n";
    let said = over_a_socket(Limits::default(), head, b"").await;
    assert!(said.starts_with("HTTP/1.1 413") && said.contains("BODY_TOO_LARGE"), "{said}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let limits = Limits { body_bytes_max: 1000, ..Limits::default() };
    let head = b"POST /api/v1/identity/verify HTTP/1.1\r\nHost: localhost\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("7d0\r\n{}\r\n", "a".repeat(2000));
    let said = over_a_socket(limits, &[head, chunk.as_bytes()].concat(), b"").await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
}

#[tokio::test]
async fn a_body_that_dribbles_in_is_cut_off_in_the_time_of_a_request() {
    let limits = Limits { request_timeout: Duration::from_millis(200), ..Limits::default() };
    let head = b"POST /api/v1/identity/verify HTTP/1.1\r\nHost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 100000\r\n\r\n";
    let said = over_a_socket(limits, head, b"a").await;
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("REQUEST_TIMEOUT"), "{said}");
}

/// A body of which a byte comes every `pause`.
fn slow_body(text: &'static str, pause: Duration) -> Body {
    let bytes = stream::iter(text.as_bytes().chunks(1)).then(move |byte| async move {
        sleep(pause).await;
        Ok::<_, Infallible>(byte)
    });
    Body::from_stream(bytes)
}

#[tokio::test(start_paused = true)]
async fn a_silent_body_is_given_the_time_of_a_head_and_a_dribbling_one_that_of_a_request() {
    let door = door_with(Mode::Local, Limits::default());
    let endless = "{\"prompt\":\"a long story, told slowly\"}";
    for path in [
        "/api/v1/inference/generate",
        "/api/v1/identity/sign",
        "/api/v1/pci/envelope/verify",
        "/api/v1/actors/identity/stop",
    ] {
        for (pause, seconds) in [(3600, 5), (4, 30)] {
            let started = Instant::now();
            let answer = door.post(path, slow_body(endless, Duration::from_secs(pause))).await;
            answer.assert_error(408, "REQUEST_TIMEOUT");
            assert_eq!(answer.headers[header::CONNECTION], "close");
            assert_eq!(started.elapsed().as_secs(), seconds, "{path} {pause}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_to_generate_begins_when_the_prompt_has_come() {
    let generate_timeout = Duration::from_secs(4);
    let door = door_with(Mode::Local, Limits { generate_timeout, ..Limits::default() });
    let prompt = "{\"prompt\":\"a\"}";
    let started = Instant::now();
    let body = slow_body(prompt, Duration::from_secs(1));
    let answer = door.post("/api/v1/inference/generate", body).await;
    answer.assert_error(504, "TIMEOUT");
    assert_eq!(started.elapsed().as_secs(), prompt.len() as u64 + generate_timeout.as_secs());
}
