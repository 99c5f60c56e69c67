//! Requests to the node's own router in the name of a socket's client.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, FORWARDED, HOST, HeaderName, ORIGIN, VIA};
use hyper::{HeaderMap, Request};
use tower::ServiceExt;

use crate::http::openai::told::Shape;
use crate::http::server::Peer;
use crate::http::ws::method::Operation;

/// What of the request that opened the socket decides over what its client may do. Each call is
/// checked by it anew.
const KEPT: [HeaderName; 7] = [
    HOST,
    ORIGIN,
    AUTHORIZATION,
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// Who is at the other end of a socket, and the way to what it may call.
#[derive(Clone)]
pub(super) struct Client {
    operations: Router,
    peer: Peer,
    headers: HeaderMap,
}

impl Client {
    /// The client that sent these headers.
    pub(super) fn new(operations: Router, peer: Peer, headers: &HeaderMap) -> Self {
        let mut kept = HeaderMap::with_capacity(4);
        for name in &KEPT {
            for value in headers.get_all(name) {
                kept.append(name, value.clone());
            }
        }
        Self { operations, peer, headers: kept }
    }

    /// What the router answers; an error is an answer like any other.
    pub(super) async fn ask(&self, operation: Operation) -> Response {
        let body = operation.body.map_or_else(Body::empty, |body| body.to_string().into());
        let mut request = Request::new(body);
        *request.method_mut() = operation.method;
        *request.uri_mut() = operation.path.into();
        *request.headers_mut() = self.headers.clone();
        let json = hyper::header::HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request.extensions_mut().insert(self.peer);
        // Errors of a socket have one shape, whatever was called.
        request.extensions_mut().insert(Shape::Own);
        let answer = self.operations.clone().oneshot(request).await;
        answer.unwrap_or_else(|never: std::convert::Infallible| match never {})
    }
}

/// Shows neither token nor routes.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("peer", &self.peer).finish_non_exhaustive()
    }
}
