//! The contract as it is served: what programs read, and what people read without leaving the node.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::openapi::document;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::door::{DISTANT, LOCAL, door, door_with};

/// The page, with the header fields that the browser gets.
async fn page() -> (axum::http::HeaderMap, String) {
    let door = door(Mode::Local);
    let request = door.request(Method::GET, "/docs").body(Body::empty()).unwrap();
    let answer = door.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// The values of these attributes.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    let values = page.split(begin.as_str()).skip(1);
    values.map(|rest| rest.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn the_document_that_is_served_is_that_of_the_node_with_its_limits() {
    let mut limits = Limits::default();
    limits.prompts.max_tokens_max = 7;
    let door = door_with(Mode::Local, limits.clone());
    let answer = door
        .send(door.request(Method::GET, "/openapi.json").body(Body::empty()).unwrap(), LOCAL)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.json, document(&limits));
    let bound = "/components/schemas/InferenceGenerateRequest/properties/max_tokens/maximum";
    assert_eq!(answer.json.pointer(bound), Some(&Value::from(7)));
}

#[tokio::test]
async fn documents_are_read_from_elsewhere_with_the_token_only() {
    let door = door(Mode::Local);
    for path in ["/openapi.json", "/docs"] {
        let mut request = door.request(Method::GET, path).body(Body::empty()).unwrap();
        request.headers_mut().remove(header::AUTHORIZATION);
        door.send(request, DISTANT).await.assert_error(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let (headers, page) = page().await;
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    let allowed: Vec<_> = policy.split(';').map(str::trim).collect();
    assert!(allowed.contains(&"default-src 'none'"), "{policy}");
    // A style by its digest, and nothing else: no host, no scheme, no inline script.
    for directive in &allowed {
        let mut words = directive.split(' ');
        let name = words.next().unwrap();
        assert!(
            words
                .all(|word| word == "'none'"
                    || (name == "style-src" && word.starts_with("'sha256-"))),
            "{policy}"
        );
    }
    // What the policy would stop is not there.
    for tag in ["<script", "<link", "<img", "<iframe", "<object", "<embed", "<form", "<base"] {
        assert!(!page.contains(tag), "{tag}");
    }
    for attribute in ["src", "style", "onclick", "onload", "action", "srcset", "ping"] {
        assert!(attributes(&page, attribute).is_empty(), "{attribute}");
    }
    assert!(!page.contains("url(") && !page.contains("@import"));
    // Every link stays on the page or the node.
    let links = attributes(&page, "href");
    assert!(links.len() > 50);
    for link in links {
        assert!(link.starts_with('#') || link == "/openapi.json", "{link}");
    }
}

#[tokio::test]
async fn the_page_has_every_operation_and_schema_and_no_dead_link() {
    let (_, page) = page().await;
    let ids = attributes(&page, "id");
    let anchors: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(anchors.len(), ids.len(), "an anchor is there twice");
    for link in attributes(&page, "href") {
        let Some(anchor) = link.strip_prefix('#') else { continue };
        assert!(anchors.contains(anchor), "#{anchor} leads nowhere");
    }
    let document = document(&Limits::default());
    let entries = |value: &Value| value.as_object().unwrap().clone();
    for (_, item) in entries(&document["paths"]) {
        for (_, operation) in entries(&item) {
            let name = operation["operationId"].as_str().unwrap();
            assert!(anchors.contains(name), "{name}");
        }
    }
    for (name, _) in entries(&document["components"]["schemas"]) {
        assert!(anchors.contains(format!("schema-{name}").as_str()), "{name}");
    }
    assert!(page.contains("curl -s "));
}

#[tokio::test]
async fn a_path_takes_the_methods_that_are_described_and_no_others() {
    let door = door(Mode::Local);
    let document = document(&Limits::default());
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled = path.replace("{name}", "x").replace("{id}", "x");
        let request = door.request(Method::PATCH, &filled).body(Body::empty()).unwrap();
        let answer = door.send(request, LOCAL).await;
        answer.assert_error_of(path, 405, "METHOD_NOT_ALLOWED", "METHOD_NOT_ALLOWED");
        let allowed = answer.headers[header::ALLOW].to_str().unwrap().to_ascii_lowercase();
        // Whoever may get may ask for the head alone.
        let allowed: BTreeSet<&str> = allowed.split(',').filter(|it| *it != "head").collect();
        let described: BTreeSet<&str> =
            item.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(allowed, described, "{path}");
    }
}
