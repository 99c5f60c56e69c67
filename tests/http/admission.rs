//! Who is let in, on every route.

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::http::auth::{Class, Mode};
use bizra_omega::http::router::ROUTES;

use crate::door::{DISTANT, LOCAL, door};

fn method_of(path: &str) -> Method {
    let is_read = [
        "health",
        "livez",
        "readyz",
        "status",
        "metrics",
        "/actors",
        "/constitution",
        "models",
        "/backends",
        "/envelope/{id}",
        "/models/{id}",
        "/pulls/{id}",
        "/envelopes",
        "/identity",
        "/peers",
        "/proposals",
        "/proposals/{id}",
        "/preferences",
        "/of/{subject}",
        "/patterns",
        "/patterns/{id}",
        "/stats",
        "/ws",
        "/openapi.json",
        "/docs",
    ];
    if is_read.iter().any(|end| path.ends_with(end)) { Method::GET } else { Method::POST }
}

#[tokio::test(start_paused = true)]
async fn every_route_lets_in_whom_its_class_does() {
    for mode in [Mode::Token, Mode::Local, Mode::TrustLoopback] {
        let door = door(mode);
        for (path, class) in ROUTES {
            for peer in [LOCAL, DISTANT] {
                for has_token in [false, true] {
                    // An empty body is refused after the caller is let in, without any actor.
                    let mut request = door
                        .request(
                            method_of(path),
                            &path
                                .replace("{name}", "x")
                                .replace("{id}", "x")
                                .replace("{subject}", "x"),
                        )
                        .header(header::CONTENT_LENGTH, "0")
                        .body(Body::empty())
                        .unwrap();
                    if !has_token {
                        request.headers_mut().remove(header::AUTHORIZATION);
                    }
                    let answer = door.send(request, peer).await;
                    let is_let_in = has_token
                        || match (class, mode, peer == LOCAL) {
                            (Class::Open, _, _) => true,
                            // Whoever does not know the token must not replace it.
                            (_, Mode::TrustLoopback, is_local) => {
                                is_local && !path.ends_with("/token/rotate")
                            }
                            (Class::Read | Class::Act, Mode::Local, is_local) => is_local,
                            (_, Mode::Local | Mode::Token, _) => false,
                        };
                    let place = format!("{path} {mode:?} {peer} {has_token}: {}", answer.json);
                    assert_eq!(answer.status != 401, is_let_in, "{place}");
                    if !is_let_in {
                        answer.assert_error_of(path, 401, "UNAUTHORIZED", "invalid_api_key");
                        assert_eq!(
                            answer.headers[header::WWW_AUTHENTICATE],
                            "Bearer realm=\"bizra\""
                        );
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_name_or_page_is_refused_on_every_route_whoever_calls() {
    let door = door(Mode::TrustLoopback);
    let hosts = [
        ("localhost:3001", true),
        ("[::1]", true),
        ("node.example", true),
        ("evil.example", false),
    ];
    let origins = [
        (None, true),
        (Some("same"), true),
        (Some("https://console.example"), true),
        (Some("https://evil.example"), false),
        (Some("null"), false),
    ];
    let mut paths: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
    paths.extend(["/", "/none", "/api/v1/none"]);
    for (host, is_known) in hosts {
        for (origin, is_allowed) in origins {
            for path in &paths {
                for method in [Method::GET, Method::POST, Method::OPTIONS] {
                    let mut request = door.request(
                        method,
                        &path.replace("{name}", "x").replace("{id}", "x").replace("{subject}", "x"),
                    );
                    let headers = request.headers_mut().unwrap();
                    headers.insert(header::HOST, host.parse().unwrap());
                    if let Some(origin) = origin {
                        let own = format!("http://{host}");
                        let origin = if origin == "same" { own.as_str() } else { origin };
                        headers.insert(header::ORIGIN, origin.parse().unwrap());
                    }
                    // Neither body nor actors: only who is let in matters.
                    headers.remove(header::CONTENT_TYPE);
                    let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
                    let is_refused = answer.status == 403;
                    assert_eq!(is_refused, !(is_known && is_allowed), "{host} {origin:?} {path}");
                    if !is_known {
                        answer.assert_error_of(path, 403, "HOST_FORBIDDEN", "HOST_FORBIDDEN");
                    } else if !is_allowed {
                        answer.assert_error_of(path, 403, "ORIGIN_FORBIDDEN", "ORIGIN_FORBIDDEN");
                    }
                    let may_read = answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                    assert_eq!(may_read, is_known && origin == Some("https://console.example"));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_host_is_malformed() {
    let door = door(Mode::Local);
    let mut request = door.request(Method::GET, "/livez").body(Body::empty()).unwrap();
    request.headers_mut().remove(header::HOST);
    door.send(request, LOCAL).await.assert_error(400, "INVALID_HOST");
}

#[tokio::test(start_paused = true)]
async fn a_configured_page_may_ask_first() {
    let door = door(Mode::Local);
    let request = door
        .request(Method::OPTIONS, "/api/v1/inference/generate")
        .header(header::ORIGIN, "https://console.example")
        .header("access-control-request-method", "POST")
        .body(Body::empty())
        .unwrap();
    let answer = door.send(request, DISTANT).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://console.example");
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, DELETE");
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_said_in_json() {
    let door = door(Mode::Local);
    for path in [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/health/",
        "/api/v1/nothing",
        "/api/v1/federation",
        "/openapi.yaml",
        "/v2/chat/completions",
        "/%00",
        "/%F0%9F%98%80",
        "/api/v1/../../etc/passwd",
    ] {
        let request = door.request(Method::GET, path).body(Body::empty()).unwrap();
        door.send(request, LOCAL).await.assert_error(404, "NOT_FOUND");
    }
}

#[tokio::test(start_paused = true)]
async fn another_method_is_refused_with_those_allowed() {
    for (path, _) in ROUTES {
        // A fresh one each: all of them together are more than one client may ask for at once.
        let door = door(Mode::Local);
        let allowed = match path {
            "/api/v1/patterns" => "GET,HEAD,POST",
            "/api/v1/patterns/{id}" => "GET,HEAD,DELETE",
            path if method_of(path) == Method::GET => "GET,HEAD",
            _ => "POST",
        };
        let others = [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];
        for method in others.into_iter().filter(|it| !allowed.contains(it.as_str())) {
            let path = path.replace("{name}", "x").replace("{id}", "x").replace("{subject}", "x");
            let request = door.request(method, &path).body(Body::empty()).unwrap();
            let answer = door.send(request, DISTANT).await;
            answer.assert_error_of(&path, 405, "METHOD_NOT_ALLOWED", "METHOD_NOT_ALLOWED");
            assert_eq!(answer.headers[header::ALLOW], allowed, "{path}");
        }
    }
}
