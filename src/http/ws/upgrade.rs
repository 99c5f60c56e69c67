//! From a request to a socket (RFC 6455, section 4.2).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument;
use zeroize::Zeroizing;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::limits::SocketLimits;
use crate::http::request_id::RequestId;
use crate::http::server::{Peer, Place};
use crate::http::ws::client::Client;
use crate::http::ws::codec::Codec;
use crate::http::ws::crowd::Crowd;
use crate::http::ws::session::Session;
use crate::http::ws::wire::Wire;
use crate::http::ws::work::Works;

/// A subprotocol that is none: pages of a browser cannot set header fields, and hand over their
/// token with it.
const BEARER: &str = "bizra.bearer.";

/// What every socket needs.
#[derive(Clone, Debug)]
struct Hall {
    operations: Router,
    crowd: Arc<Crowd>,
}

/// Opens a WebSocket.
///
/// A WebSocket handshake (RFC 6455, version 13), which this document cannot describe further: one JSON
/// object per text frame, or one MessagePack map per binary frame with subprotocol `bizra.msgpack`.
/// The server begins with `{"type": "welcome"}`; the client sends `ping`, `status`, `subscribe` and
/// `unsubscribe` with `topic`, `call` with `method` and `params`, `generate` with the keys of a
/// request to generate, `cancel`, each with an `id` that its answers repeat. Every operation of this
/// document can be called by its operationId, or by `"POST /inference/tier"` and the like. Pages show
/// their token as subprotocol `bizra.bearer.<token>` beside `bizra.json`.
#[utoipa::path(
    get,
    path = crate::http::router::WS,
    responses(
        (status = 101, description = "The connection is a socket now."),
        (status = 426, description = "This is no handshake of version 13."),
    ),
)]
#[expect(dead_code, reason = "the route's handler is a closure, which nothing can be derived from")]
pub(in crate::http) fn socket() {}

/// The route at `path`, whose sockets may call `operations`.
pub(in crate::http) fn routes(
    path: &str,
    operations: Router,
    limits: &SocketLimits,
) -> Router<App> {
    let hall = Hall { operations, crowd: Crowd::new(limits) };
    let handler = async move |State(app): State<App>, id: RequestId, request: Request| {
        upgrade(app, &hall, &id, request).unwrap_or_else(refuse)
    };
    Router::new().route(path, get(handler))
}

/// Takes a token among the subprotocols for one in `Authorization`, before it is looked for there.
/// A token in both is one given twice, which is refused like any other such.
pub(in crate::http) async fn bearer(mut request: Request, next: Next) -> Response {
    let headers = request.headers_mut();
    let offered = protocols(headers);
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        offered.iter().map(String::as_str).partition(|protocol| protocol.starts_with(BEARER));
    if !tokens.is_empty() {
        for token in tokens {
            let value = Zeroizing::new(format!("Bearer {}", &token[BEARER.len()..]));
            if let Ok(mut value) = HeaderValue::from_str(&value) {
                value.set_sensitive(true);
                headers.append(AUTHORIZATION, value);
            }
        }
        let others = HeaderValue::from_str(&others.join(", "));
        headers.remove(SEC_WEBSOCKET_PROTOCOL);
        if let Ok(others) = others {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, others);
        }
    }
    next.run(request).await
}

/// The subprotocols that the client offers, over all fields of this name.
fn protocols(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|protocol| protocol.trim().to_owned())
        .filter(|protocol| !protocol.is_empty())
        .collect()
}

/// Answers the handshake, and serves the socket once the answer is out.
fn upgrade(
    app: App,
    hall: &Hall,
    id: &RequestId,
    mut request: Request,
) -> Result<Response, ApiError> {
    let accept = accept(request.method(), request.headers())?;
    let extensions = request.extensions_mut();
    let upgrading = extensions.remove::<OnUpgrade>();
    let place = extensions.remove::<Place>();
    let peer = extensions.get::<Peer>().copied();
    let (Some(upgrading), Some(place), Some(peer)) = (upgrading, place, peer) else {
        return Err(malformed("this connection cannot become a WebSocket"));
    };
    if app.readiness.is_draining() {
        return Err(ApiError::unavailable("SHUTTING_DOWN", "the node is going down"));
    }
    let seat = hall.crowd.enter(peer.0.ip())?;
    let kept = place.keep();
    let open = app.metrics.socket_opened();
    let offered = protocols(request.headers());
    let chosen = Codec::ALL.into_iter().find(|(_, name)| offered.iter().any(|it| it == name));
    let client = Client::new(hall.operations.clone(), peer, request.headers());

    let span = tracing::info_span!("socket", request_id = %id);
    let codec = chosen.map_or(Codec::Json, |(codec, _)| codec);
    let serving = async move {
        // Gives up by itself when the connection ends before the answer is out.
        let Ok(upgraded) = upgrading.await else { return };
        let metrics = app.metrics.clone();
        let wire = Wire::open(upgraded, codec, &app.limits.sockets, &metrics).await;
        let ended = Session::new(app, wire, Works::new(client), kept).run().await;
        metrics.socket_closed(ended.as_str());
        tracing::info!(peer = %peer.0, reason = ended.as_str(), "socket closed");
        drop((seat, open));
    };
    tokio::spawn(serving.instrument(span));

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some((_, name)) = chosen {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok(response)
}

/// Says with a 426 what to upgrade to (RFC 9110, section 15.5.22; RFC 6455, section 4.2.2).
fn refuse(error: ApiError) -> Response {
    if error.status() != StatusCode::UPGRADE_REQUIRED {
        return error.into_response();
    }
    let fields = [(CONNECTION, "upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, "13")];
    (fields, error).into_response()
}

/// The answer to the key of a well-formed handshake.
fn accept(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    let required = |code, error| ApiError::new(StatusCode::UPGRADE_REQUIRED, code, error);
    if *method != Method::GET || !has_word(headers, &UPGRADE, "websocket") {
        return Err(required("UPGRADE_REQUIRED", "this path speaks the WebSocket protocol"));
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    if version != Some(b"13") {
        let error = "the version of the WebSocket protocol is 13";
        return Err(required("UNSUPPORTED_VERSION", error));
    }
    if !has_word(headers, &CONNECTION, "upgrade") {
        return Err(malformed("the connection field does not say upgrade"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(malformed("a handshake has one sec-websocket-key"));
    };
    let decoded = BASE64_STANDARD.decode(key.as_bytes());
    if !decoded.is_ok_and(|decoded| decoded.len() == 16) {
        return Err(malformed("sec-websocket-key is not 16 bytes in base64"));
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| ApiError::internal(error.to_string()))
}

fn malformed(error: &'static str) -> ApiError {
    ApiError::invalid("INVALID_HANDSHAKE", error)
}

/// Whether a field that lists words has this one, in any case.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
}
