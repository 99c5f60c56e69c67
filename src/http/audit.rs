//! Puts privileged calls on record, before they take effect.

use axum::extract::{MatchedPath, Request};
use hyper::HeaderMap;

use crate::domain::audit::Call;
use crate::http::app::App;
use crate::http::auth::locality;
use crate::http::error::ApiError;
use crate::http::request_id::RequestId;
use crate::http::server::Peer;
use crate::messages::addr::Deadline;
use crate::messages::audit::AuditMsg;

/// Longest time to wait for the disk: whoever may call may also try again.
const RECORD_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// What is recorded of this request. Its path is told as the pattern that matched.
pub(super) fn call_of(request: &Request) -> Call {
    let extensions = request.extensions();
    let route = extensions.get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let id = extensions.get::<RequestId>().map(RequestId::as_str).unwrap_or_default();
    let peer = extensions.get::<Peer>().copied();
    call(id, request.method().as_str(), route, peer, request.headers())
}

/// What is recorded of a call with these properties. `method` and `route` are ours, not text of the
/// caller.
pub(super) fn call(
    request_id: &str,
    method: &str,
    route: &str,
    peer: Option<Peer>,
    headers: &HeaderMap,
) -> Call {
    let address = peer.map(|Peer(address)| address.ip().to_canonical().to_string());
    Call {
        request_id: request_id.to_owned(),
        method: method.to_owned(),
        route: route.to_owned(),
        peer: locality(peer, headers).as_str().to_owned(),
        address: address.unwrap_or_else(|| "unknown".to_owned()),
    }
}

/// Records the call. It may take effect when this returns, and must not if it fails.
///
/// # Errors
/// 503 when the call cannot be put on record.
pub(super) async fn record(app: &App, call: Call) -> Result<(), ApiError> {
    let refused = |inner: String| {
        let error = "the audit record cannot be written, so nothing privileged is done";
        ApiError::unavailable("AUDIT_UNAVAILABLE", error).because(inner)
    };
    let ask = |reply| AuditMsg::Record { call: call.clone(), reply };
    match app.roster.audit.call(Deadline::after(RECORD_WAIT), ask).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(refused(error.to_string())),
        Err(error) => Err(refused(error.to_string())),
    }
}
