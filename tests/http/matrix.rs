//! Host, origin, method, token and place: what is answered in every cell.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::rate::Rates;

use crate::door::{DISTANT, LOCAL, door, door_with};

const BEHIND_PROXY: &str = "behind a proxy";

/// A name of the node, one of somebody else (as after rebinding), and what is none.
const HOSTS: [(Option<&str>, u16); 7] = [
    (Some("localhost:3001"), 200),
    (Some("127.0.0.1"), 200),
    (Some("node.example"), 200),
    (Some("evil.example:3001"), 403),
    (Some("127.0.0.1.evil.example"), 403),
    (Some("a b"), 400),
    (None, 400),
];

const ORIGINS: [(Option<&str>, bool); 6] = [
    (None, true),
    (Some("own"), true),
    (Some("https://console.example"), true),
    (Some("https://evil.example"), false),
    (Some("https://console.example.evil.example"), false),
    (Some("null"), false),
];

/// A path of each class, with its method, and what is answered when the caller is let in: the actors
/// behind it are down, and bodies are empty.
const PATHS: [(&str, &str, Method, u16); 6] = [
    ("open", "/livez", Method::GET, 200),
    ("read", "/api/v1/metrics", Method::GET, 200),
    ("act", "/api/v1/inference/generate", Method::POST, 400),
    ("privileged", "/api/v1/identity/sign", Method::POST, 400),
    ("privileged", "/api/v1/token/rotate", Method::POST, 200),
    ("none", "/nothing", Method::GET, 404),
];

const TOKENS: [(Option<&str>, bool); 4] =
    [(None, false), (Some("right"), true), (Some("wrong"), false), (Some("Basic x"), false)];

fn is_let_in(class: &str, place: &str, has_token: bool) -> bool {
    match class {
        "open" | "none" => true,
        "privileged" => has_token,
        _ => has_token || place == LOCAL,
    }
}

#[tokio::test(start_paused = true)]
async fn every_cell_is_answered_as_specified() {
    let none = Rates {
        open: 0,
        read: 0,
        act: 0,
        privileged: 0,
        bad_tokens_per_minute: 0,
        ..Rates::default()
    };
    let short = Duration::from_millis(200);
    let limits = Limits { request_timeout: short, generate_timeout: short, ..Limits::default() };
    let door = door_with(Mode::Local, Limits { rates: none, ..limits });
    let mut cells = 0;
    for (token, has_token) in TOKENS {
        for place in [LOCAL, DISTANT, BEHIND_PROXY] {
            for (class, path, right, when_let_in) in &PATHS {
                for (host, by_host) in HOSTS {
                    for (origin, is_allowed) in ORIGINS {
                        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
                            let token = match token {
                                // Rotating replaces it.
                                Some("right") => Some(format!("Bearer {}", door.current_token())),
                                Some("wrong") => Some("Bearer wrong".to_owned()),
                                other => other.map(str::to_owned),
                            };
                            let mut request =
                                door.request(method.clone(), path).body(Body::empty()).unwrap();
                            let headers = request.headers_mut();
                            headers.remove(header::HOST);
                            headers.remove(header::AUTHORIZATION);
                            if let Some(host) = host {
                                headers.insert(header::HOST, host.parse().unwrap());
                            }
                            if let Some(token) = token {
                                headers.insert(header::AUTHORIZATION, token.parse().unwrap());
                            }
                            let own = format!("http://{}", host.unwrap_or_default());
                            let origin = origin.map(|it| if it == "own" { &own } else { it });
                            if let Some(origin) = origin {
                                headers.insert(header::ORIGIN, origin.parse().unwrap());
                            }
                            let peer = if place == DISTANT { DISTANT } else { LOCAL };
                            if place == BEHIND_PROXY {
                                headers.insert("x-forwarded-for", "127.0.0.1".parse().unwrap());
                            }
                            let expected = if by_host != 200 {
                                by_host
                            } else if !is_allowed {
                                403
                            } else if *class == "none" {
                                404
                            } else if !is_let_in(class, place, has_token) {
                                401
                            } else if method != *right {
                                405
                            } else {
                                *when_let_in
                            };
                            let answer = door.send(request, peer).await;
                            let cell = format!(
                                "{method} {path}, host {host:?}, origin {origin:?}, \
                                 token {has_token}, {place}"
                            );
                            assert_eq!(answer.status, expected, "{cell}: {}", answer.json);
                            assert!(answer.headers.contains_key("x-request-id"), "{cell}");
                            if expected != 200 {
                                let code = answer.code().to_owned();
                                answer.assert_error(expected, &code);
                                assert!(!code.is_empty(), "{cell}");
                            }
                            let may_read =
                                answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
                            let is_foreign = origin == Some("https://console.example");
                            let reads = (by_host == 200 && is_foreign)
                                .then(|| "https://console.example".parse().unwrap());
                            assert_eq!(may_read, reads, "{cell}");
                            let credentials = "access-control-allow-credentials";
                            assert!(!answer.headers.contains_key(credentials), "{cell}");
                            cells += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(cells, 4 * 3 * 6 * 7 * 6 * 4);
}

/// A browser asks first for whatever a form could not send.
#[tokio::test(start_paused = true)]
async fn only_a_configured_page_is_told_what_it_may_send() {
    let door = door(Mode::Local);
    for (class, path, ..) in &PATHS {
        for (origin, is_told) in
            [("https://console.example", true), ("http://localhost:3001", false)]
        {
            for place in [LOCAL, DISTANT] {
                let request = door
                    .request(Method::OPTIONS, path)
                    .header(header::ORIGIN, origin)
                    .header("access-control-request-method", "POST")
                    .header("access-control-request-headers", "authorization");
                let answer = door.send(request.body(Body::empty()).unwrap(), place).await;
                let told = answer.headers.get("access-control-allow-headers");
                assert_eq!(told.is_some(), is_told, "{class} {path} {origin}");
                if is_told {
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.headers["access-control-allow-methods"], "GET, POST, DELETE");
                    let may_send: Vec<_> = told.unwrap().to_str().unwrap().split(", ").collect();
                    // The last is one of those that OpenAI's client for browsers always sends.
                    for field in ["authorization", "content-type", "x-stainless-lang"] {
                        assert!(may_send.contains(&field), "{field}: {may_send:?}");
                    }
                    assert_eq!(answer.headers["access-control-max-age"], "600");
                    let vary: Vec<_> = answer.headers.get_all(header::VARY).iter().collect();
                    assert_eq!(
                        vary,
                        ["access-control-request-method, access-control-request-headers", "origin"]
                    );
                }
            }
        }
    }
}
