//! `GET /openapi.json` and `GET /docs`: the contract, for programs and for people.
//!
//! The page is made of the document by the node itself, without script: what runs in a page that the
//! node serves may do what its visitor's machine may, so nothing of others runs there, and nothing
//! has to be fetched from elsewhere.

mod page;

use std::sync::OnceLock;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};

use crate::http::app::App;
use crate::http::limits::Limits;
use crate::http::{openapi, router};

/// What the page looks like.
const STYLE: &str = include_str!("docs/style.css");

/// Nothing but the page's own style, by its digest, which a test computes.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-nX0UjOrZZmD6+9YPeQPRblnyuhJYEFDhxB0kJMmwe2s='; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// Both, made when somebody first asks.
#[derive(Debug, Default)]
pub(super) struct Documents(OnceLock<Texts>);

#[derive(Debug)]
struct Texts {
    document: String,
    page: String,
}

impl Documents {
    fn of(&self, limits: &Limits) -> &Texts {
        self.0.get_or_init(|| {
            let document = openapi::document(limits);
            Texts { page: page::render(&document, STYLE), document: document.to_string() }
        })
    }
}

/// Shows this document.
#[utoipa::path(
    get,
    path = router::OPENAPI,
    responses((status = 200, body = openapi::forms::AnyJson)),
)]
pub(super) async fn document(State(app): State<App>) -> Response {
    let document = app.documents().of(&app.limits).document.clone();
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], document).into_response()
}

/// Shows this document as a page.
#[utoipa::path(
    get,
    path = router::DOCS,
    responses((status = 200, body = String, content_type = "text/html")),
)]
pub(super) async fn page(State(app): State<App>) -> Response {
    let page = app.documents().of(&app.limits).page.clone();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    ([(CONTENT_TYPE, html), (CONTENT_SECURITY_POLICY, POLICY)], page).into_response()
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_policy_lets_the_style_in() {
        let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        let policy = POLICY.to_str().unwrap().to_owned();
        assert!(policy.contains(&format!("'sha256-{digest}'")), "the digest is {digest}");
    }
}
