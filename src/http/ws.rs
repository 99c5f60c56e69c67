//! `GET /api/v1/ws`: calls, streams and events over one connection (RFC 6455).
//!
//! One JSON object per text frame, or one MessagePack map per binary frame when the client asks for
//! the subprotocol `bizra.msgpack`. The server begins with `welcome`; each frame of the client has
//! a `type` and may have an `id` (a string or a whole number), which whatever answers it repeats.
//!
//! | client | server |
//! |---|---|
//! | `ping` | `pong` |
//! | `status` | `status` |
//! | `subscribe`, `unsubscribe` with `topic` | `subscribed`, `unsubscribed`; then `event`, `lagged` |
//! | `call` with `method`, `params` | `result` with `data` |
//! | `generate` with the keys of a request to generate | `token` with `text`, then `done` |
//! | `cancel` with the `id` of a call or generation | `cancelled` |
//!
//! Any of them may be answered by `error` with `code` and `message`, and the socket stays open. It
//! is closed with 1001 when the node goes down, 1002 or 1007 for what is not the protocol, 1008 for
//! a client that does not read or is silent, 1009 for a message that is too large. Limits are in
//! [`SocketLimits`](crate::http::limits::SocketLimits).
//!
//! A call is a request to the node's own router with the caller's address and token, so that
//! whoever may do what, every limit and every error are those of the HTTP interface. Its method is
//! `"POST /inference/tier"`, a verb and a path with or without `/api/v1`, or the path in words,
//! `"inference.tier"`; in words, parts of a path such as an actor's name are parameters. Calls and
//! generations end with `cancel`, or with the socket.
//!
//! A client shows its token as for any request, or, being a page in a browser, among the
//! subprotocols: `bizra.json, bizra.bearer.<token>`. A browser wants one of those it offers to be
//! chosen, which the one with the token never is.
//!
//! Who does not read holds up nobody: calls and models wait for it, events are lost and counted,
//! and in the end it is closed.

mod client;
mod codec;
mod crowd;
mod frame;
mod method;
mod session;
mod upgrade;
mod wire;
mod work;

pub(super) use upgrade::{__path_socket, bearer, routes};
