//! How much one client gets: rates, places, and what is said at the limit.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::rate::Rates;
use tokio::time::advance;

use crate::door::{Answer, DISTANT, Door, LOCAL, door, door_with};

const OTHER: &str = "192.0.2.2:4000";
const SIGN: &str = "/api/v1/identity/sign";

fn limits(rates: Rates) -> Limits {
    let short = Duration::from_millis(200);
    Limits { request_timeout: short, generate_timeout: short, rates, ..Limits::default() }
}

async fn get(door: &Door, path: &str, peer: &str) -> Answer {
    door.send(door.request(Method::GET, path).body(Body::empty()).unwrap(), peer).await
}

async fn get_with_token(door: &Door, token: &str, peer: &str) -> Answer {
    let mut request =
        door.request(Method::GET, "/api/v1/constitution").body(Body::empty()).unwrap();
    let value = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, value);
    door.send(request, peer).await
}

#[tokio::test(start_paused = true)]
async fn a_client_that_calls_too_often_is_told_when_to_come_again() {
    let rates = Rates { open: 2, burst_seconds: 2, ..Rates::default() };
    let door = door_with(Mode::Local, limits(rates));
    for _ in 0..4 {
        assert_eq!(get(&door, "/livez", DISTANT).await.status, 200);
    }
    let refused = get(&door, "/livez", DISTANT).await;
    refused.assert_error(429, "RATE_LIMITED");
    assert_eq!(refused.headers[header::RETRY_AFTER], "1");
    // Others are not concerned, nor is another class, nor this machine.
    assert_eq!(get(&door, "/livez", OTHER).await.status, 200);
    assert_ne!(get(&door, "/api/v1/constitution", DISTANT).await.status, 429);
    for _ in 0..100 {
        assert_eq!(get(&door, "/livez", LOCAL).await.status, 200);
    }
    advance(Duration::from_secs(1)).await;
    assert_eq!(get(&door, "/livez", DISTANT).await.status, 200);
    assert_eq!(get(&door, "/livez", DISTANT).await.status, 200);
    assert_eq!(get(&door, "/livez", DISTANT).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn paths_that_do_not_exist_and_wrong_methods_are_counted_too() {
    let rates = Rates { open: 1, read: 1, burst_seconds: 3, ..Rates::default() };
    let door = door_with(Mode::Local, limits(rates));
    for (method, path) in [(Method::GET, "/nothing"), (Method::PUT, "/api/v1/constitution")] {
        let mut last = 0;
        for _ in 0..4 {
            let request = door.request(method.clone(), path).body(Body::empty()).unwrap();
            last = door.send(request, DISTANT).await.status;
        }
        assert_eq!(last, 429, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_class_has_its_own_rate() {
    let rates =
        Rates { open: 5, read: 4, act: 3, privileged: 2, burst_seconds: 1, ..Rates::default() };
    let door = door_with(Mode::Local, limits(rates));
    for (path, rate) in
        [("/livez", 5), ("/api/v1/constitution", 4), ("/api/v1/inference/generate", 3), (SIGN, 2)]
    {
        let mut passed = 0;
        // Not allowed or without a body, so that no time passes.
        for _ in 0..10 {
            let request = door.request(Method::PUT, path).body(Body::empty()).unwrap();
            passed += u32::from(door.send(request, DISTANT).await.status != 429);
        }
        assert_eq!(passed, rate, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_are_listened_to_only_so_often() {
    let rates = Rates { bad_tokens_per_minute: 5, ..Rates::default() };
    let door = door_with(Mode::Local, limits(rates));
    for _ in 0..5 {
        get_with_token(&door, "wrong", DISTANT).await.assert_error(401, "UNAUTHORIZED");
    }
    get_with_token(&door, "wrong", DISTANT).await.assert_error(429, "TOO_MANY_BAD_TOKENS");
    // Nor would the right one tell a guesser anything now.
    get_with_token(&door, &door.token, DISTANT).await.assert_error(429, "TOO_MANY_BAD_TOKENS");
    assert_ne!(get_with_token(&door, &door.token, OTHER).await.status, 429);
    // Whoever gives none is not guessing.
    let mut bare = door.request(Method::GET, "/api/v1/constitution").body(Body::empty()).unwrap();
    bare.headers_mut().remove(header::AUTHORIZATION);
    door.send(bare, DISTANT).await.assert_error(401, "UNAUTHORIZED");
    advance(Duration::from_secs(12)).await;
    assert_ne!(get_with_token(&door, &door.token, DISTANT).await.status, 429);
    // A user of this machine cannot lock its owner out.
    for _ in 0..50 {
        let mut request = door.request(Method::POST, SIGN).body(Body::empty()).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, "Bearer wrong".parse().unwrap());
        door.send(request, LOCAL).await.assert_error(401, "UNAUTHORIZED");
    }
}

#[tokio::test(start_paused = true)]
async fn this_machine_is_limited_where_the_configuration_says_so_and_behind_a_proxy() {
    let rates = Rates { open: 1, burst_seconds: 1, is_loopback_limited: true, ..Rates::default() };
    let door = door_with(Mode::Local, limits(rates));
    assert_eq!(get(&door, "/livez", LOCAL).await.status, 200);
    assert_eq!(get(&door, "/livez", LOCAL).await.status, 429);

    let door = door_with(Mode::Local, limits(Rates { is_loopback_limited: false, ..rates }));
    let relayed = || {
        let request = door.request(Method::GET, "/livez").header("x-forwarded-for", "192.0.2.9");
        door.send(request.body(Body::empty()).unwrap(), LOCAL)
    };
    assert_eq!(relayed().await.status, 200);
    assert_eq!(relayed().await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn over_the_places_a_request_is_shed_at_once_and_the_node_still_says_that_it_lives() {
    let limits = Limits { requests_max: 2, ..limits(Rates::default()) };
    let door = door_with(Mode::Local, limits);
    let waiting = || door.post("/api/v1/pci/gates/check", "{\"content\":\"x\"}");
    let (first, second, (), third) = tokio::join!(
        waiting(),
        waiting(),
        async {
            tokio::task::yield_now().await;
            get(&door, "/api/v1/constitution", LOCAL).await.assert_error(503, "OVERLOADED");
            assert_eq!(get(&door, "/livez", LOCAL).await.status, 200);
        },
        async {
            tokio::task::yield_now().await;
            waiting().await
        }
    );
    // Those with a place wait for an actor that never comes.
    first.assert_error(504, "TIMEOUT");
    second.assert_error(504, "TIMEOUT");
    third.assert_error(503, "OVERLOADED");
    // And their places are free again.
    assert_ne!(waiting().await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn every_answer_says_that_it_is_no_page() {
    let door = door(Mode::Local);
    for path in ["/livez", "/nothing", "/api/v1/health", "/api/v1/constitution"] {
        let answer = get(&door, path, DISTANT).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.headers[name], value, "{path}");
        }
        assert!(answer.headers.contains_key("x-request-id"), "{path}");
        // Some pages may read answers, so every cache has to know.
        assert_eq!(answer.headers[header::VARY], "origin", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_texts_are_compressed_for_those_who_ask_and_small_ones_never() {
    let door = door(Mode::Local);
    // Enough series to be large.
    for _ in 0..3 {
        for path in ["/livez", "/readyz", "/api/v1/health", "/nothing", "/api/v1/constitution"] {
            get(&door, path, LOCAL).await;
        }
    }
    for (coding, is_coded) in [("gzip", true), ("br", false)] {
        for (path, is_large) in [("/api/v1/metrics", true), ("/livez", false)] {
            let request = door.request(Method::GET, path).header(header::ACCEPT_ENCODING, coding);
            let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
            let told = answer.headers.contains_key(header::CONTENT_ENCODING);
            assert_eq!(told, is_coded && is_large, "{path} {coding}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_may_call_may_read_that_it_calls_too_often() {
    let rates = Rates { open: 1, burst_seconds: 1, ..Rates::default() };
    let door = door_with(Mode::Local, limits(rates));
    let ask = || {
        let request = door.request(Method::GET, "/livez");
        let request = request.header(header::ORIGIN, "https://console.example");
        door.send(request.body(Body::empty()).unwrap(), DISTANT)
    };
    assert_eq!(ask().await.status, 200);
    let refused = ask().await;
    refused.assert_error(429, "RATE_LIMITED");
    assert_eq!(refused.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://console.example");
    let exposed = &refused.headers[header::ACCESS_CONTROL_EXPOSE_HEADERS];
    assert_eq!(exposed, "x-request-id, retry-after, x-bizra-envelope");
}
