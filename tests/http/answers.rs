//! What every answer has, and what is answered when no actor does.

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;

use crate::door::{DISTANT, LOCAL, door, door_with};

#[tokio::test(start_paused = true)]
async fn an_actor_that_does_not_come_back_is_a_timeout() {
    let door = door(Mode::Local);
    let answer = door.post("/api/v1/identity/sign", "{\"message\":\"a\"}").await;
    answer.assert_error(504, "TIMEOUT");
    let answer = door.post("/api/v1/inference/generate", "{\"prompt\":\"a\"}").await;
    answer.assert_error(504, "TIMEOUT");
    let answer =
        door.post("/api/v1/inference/generate", "{\"prompt\":\"a\",\"stream\":true}").await;
    answer.assert_error(504, "TIMEOUT");
}

#[tokio::test(start_paused = true)]
async fn health_is_told_when_nothing_works() {
    let door = door(Mode::Local);
    let get = |path: &str| door.request(Method::GET, path).body(Body::empty()).unwrap();
    let health = door.send(get("/api/v1/health"), DISTANT).await;
    health.assert_error(503, "UNHEALTHY");
    assert_eq!(health.json["status"], "unhealthy");
    assert!(health.json["uptime_seconds"].is_number() && health.json["actors"].is_object());
    door.send(get("/readyz"), DISTANT).await.assert_error(503, "NOT_READY");
    assert_eq!(door.send(get("/livez"), DISTANT).await.status, 200);
    assert_eq!(door.send(get("/api/v1/status"), LOCAL).await.json["identity_initialized"], false);
}

#[tokio::test(start_paused = true)]
async fn the_callers_request_id_comes_back_if_it_is_one() {
    let door = door(Mode::Local);
    for (given, is_kept) in [("trace-1.A_b", true), ("a b", false), ("{}", false)] {
        let request = door.request(Method::GET, "/livez").header("x-request-id", given);
        let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
        assert_eq!(answer.headers["x-request-id"] == given, is_kept, "{given}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_heads_are_refused_in_json() {
    let door = door(Mode::Local);
    let request = door.request(Method::GET, "/livez").header("x-large", "a".repeat(20_000));
    let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
    answer.assert_error(431, "HEADERS_TOO_LARGE");
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_pattern_and_status() {
    let door = door(Mode::Local);
    let get = |path: &str| door.request(Method::GET, path).body(Body::empty()).unwrap();
    door.send(get("/livez"), LOCAL).await;
    door.send(get("/livez?x=1"), LOCAL).await;
    door.send(get("/nothing/a"), LOCAL).await;
    door.post("/api/v1/actors/anything/stop", "{\"kind\":\"kill\"}").await;
    let text = door.metrics.encode().unwrap();
    for line in [
        "http_requests_total{method=\"GET\",route=\"/livez\",status=\"200\"} 2",
        "http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "http_requests_total{method=\"POST\",route=\"/api/v1/actors/{name}/stop\",status=\"403\"} 1",
        "http_request_seconds_count{method=\"GET\",route=\"/livez\"} 2",
        "http_requests_in_flight 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    }
    assert_eq!(door.metrics.requests_served(), 4);
}

#[tokio::test(start_paused = true)]
async fn metrics_come_in_the_format_that_was_asked_for() {
    let door = door_with(Mode::Local, Limits::default());
    for (accept, content_type) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let request = door.request(Method::GET, "/api/v1/metrics").header(header::ACCEPT, accept);
        let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
        assert_eq!(
            (answer.status, &answer.headers[header::CONTENT_TYPE]),
            (200, &content_type.parse().unwrap())
        );
    }
}
