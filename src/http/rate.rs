//! How often a caller may call, by where it is and what it calls.
//!
//! Callers on this machine are not limited unless the configuration says so: what they could
//! exhaust they have anyway. Behind a proxy on this machine all callers are one.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use tokio::time::Instant;

use crate::domain::rate::{Buckets, Client, Rule};
use crate::http::app::App;
use crate::http::auth::{Class, Locality, locality};
use crate::http::error::ApiError;
use crate::http::server::Peer;

/// Clients whose buckets are remembered: a megabyte.
const CLIENTS_MAX: usize = 16_384;

/// Requests a second and client, for each class; zero is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of [`Class::Open`], and of paths that do not exist. Default 50.
    pub open: u32,
    /// Of [`Class::Read`]. Default 50.
    pub read: u32,
    /// Of [`Class::Act`]. Default 20: each takes seconds of a model.
    pub act: u32,
    /// Of [`Class::Privileged`]. Default 10: each is a write to the audit record.
    pub privileged: u32,
    /// Seconds of these that may come at once. Default 4: a page that loads, a client that starts.
    pub burst_seconds: u32,
    /// Wrong tokens a minute, that many of them at once; then the client is not listened to until
    /// one comes back. Default 10.
    pub bad_tokens_per_minute: u32,
    /// Whether callers on this machine are limited as well. Default no.
    pub is_loopback_limited: bool,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            open: 50,
            read: 50,
            act: 20,
            privileged: 10,
            burst_seconds: 4,
            bad_tokens_per_minute: 10,
            is_loopback_limited: false,
        }
    }
}

/// What is counted, beside the classes.
const BAD_TOKEN: usize = 4;

/// Counts what clients do; cheap to clone. A lock and not an actor: it is held for one lookup in
/// memory, on the way of every request from elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    buckets: Mutex<Buckets<5>>,
    started: Instant,
    is_loopback_limited: bool,
}

impl Limiter {
    pub(super) fn new(rates: &Rates) -> Self {
        let second = Duration::from_secs(1);
        let per_second =
            |count: u32| Rule::new(count, second, count.saturating_mul(rates.burst_seconds));
        let bad_tokens = rates.bad_tokens_per_minute;
        let rules = [
            per_second(rates.open),
            per_second(rates.read),
            per_second(rates.act),
            per_second(rates.privileged),
            Rule::new(bad_tokens, 60 * second, bad_tokens),
        ];
        Self(Arc::new(Inner {
            buckets: Mutex::new(Buckets::new(rules, CLIENTS_MAX)),
            started: Instant::now(),
            is_loopback_limited: rates.is_loopback_limited,
        }))
    }

    /// Whether one more request of this class may come from there now.
    ///
    /// # Errors
    /// 429 with the time after which it may.
    pub(super) fn admit(
        &self,
        class: Class,
        peer: Option<Peer>,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let kind = match class {
            Class::Open => 0,
            Class::Read => 1,
            Class::Act => 2,
            Class::Privileged => 3,
        };
        let error = "this client calls too often";
        self.count(peer, headers, |buckets, client, now_ns| buckets.take(client, kind, now_ns))
            .map_err(|wait| ApiError::too_many("RATE_LIMITED", error, wait))
    }

    /// Whether a client that gives a token is listened to.
    ///
    /// # Errors
    /// 429 after too many wrong ones.
    fn hear(&self, peer: Option<Peer>, headers: &HeaderMap) -> Result<(), ApiError> {
        let error = "this client gave too many wrong tokens";
        self.count(peer, headers, |buckets, client, now_ns| buckets.look(client, BAD_TOKEN, now_ns))
            .map_err(|wait| ApiError::too_many("TOO_MANY_BAD_TOKENS", error, wait))
    }

    fn count_bad_token(&self, peer: Option<Peer>, headers: &HeaderMap) {
        // The last one of those allowed is answered like the others.
        let _ = self.count(peer, headers, |buckets, client, now_ns| {
            buckets.take(client, BAD_TOKEN, now_ns)
        });
    }

    fn count(
        &self,
        peer: Option<Peer>,
        headers: &HeaderMap,
        act: impl FnOnce(&mut Buckets<5>, Client, u64) -> Result<(), Duration>,
    ) -> Result<(), Duration> {
        if locality(peer, headers) == Locality::Loopback && !self.0.is_loopback_limited {
            return Ok(());
        }
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let client = Client::from(peer.map_or(nowhere, |Peer(address)| address.ip()));
        let now_ns = u64::try_from(self.0.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut buckets = self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut buckets, client, now_ns)
    }
}

impl App {
    /// Whether this caller may use an endpoint of this class; wrong tokens are counted.
    ///
    /// # Errors
    /// 401 without the token where it is needed, 429 after too many wrong ones.
    pub(super) fn authorize(
        &self,
        class: Class,
        peer: Option<Peer>,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        // Where none is needed none is looked at: clients of OpenAI's interface always send a key, and
        // what does not depend on it tells nothing to whoever guesses.
        let has_token = headers.contains_key(AUTHORIZATION) && self.auth.asks(class, peer, headers);
        if has_token {
            self.limiter().hear(peer, headers)?;
        }
        let checked = self.auth.check(class, peer, headers);
        if has_token && checked.is_err() {
            self.limiter().count_bad_token(peer, headers);
        }
        checked
    }
}
