//! Who may call what: classes of endpoints, places callers come from, and the bearer token.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, FORWARDED, HeaderName, VIA};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::http::error::ApiError;
use crate::http::server::Peer;

/// What an endpoint lets its caller do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anybody may: whether the node lives.
    Open,
    /// Looks at the node and changes nothing.
    Read,
    /// Uses the node.
    Act,
    /// Uses its keys, or makes it fail.
    Privileged,
}

/// How much is trusted to a caller on this machine. From elsewhere everything but
/// [`Class::Open`] needs the token, in every mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: the token is asked for as from elsewhere.
    Token,
    /// Reading and acting. The default.
    #[default]
    Local,
    /// Everything: every local user can then sign with the node's key.
    TrustLoopback,
}

/// The bearer token: 32 random bytes as 43 characters of base64url. Never shown.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    pub(super) fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// Whether `text` is this token; takes the same time whichever character differs.
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(text).into()
    }

    /// The token itself, for the one who owns the node.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Decides over callers. Clones share the token.
#[derive(Clone, Debug)]
pub struct Auth {
    mode: Mode,
    token: Arc<ArcSwap<Token>>,
    /// Held while the token is replaced, so that the last one on disk is the one that counts.
    replacing: Arc<Mutex<()>>,
}

impl Auth {
    /// From its parts.
    pub fn new(mode: Mode, token: Token) -> Self {
        Self { mode, token: Arc::new(ArcSwap::from_pointee(token)), replacing: Arc::default() }
    }

    /// Whether this caller may use an endpoint of this class.
    ///
    /// # Errors
    /// 401 when a token is needed and there is none or another.
    pub fn check(
        &self,
        class: Class,
        peer: Option<Peer>,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        if !self.asks(class, peer, headers) {
            return Ok(());
        }
        self.require(headers)
    }

    /// Whether this caller needs the token for an endpoint of this class.
    pub(super) fn asks(&self, class: Class, peer: Option<Peer>, headers: &HeaderMap) -> bool {
        self.is_token_needed(class, locality(peer, headers) == Locality::Loopback)
    }

    /// Whether the caller knows the token, wherever it is.
    ///
    /// # Errors
    /// 401 when there is none or another.
    pub fn require(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let refused = |error| Err(ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", error));
        let mut given = headers.get_all(AUTHORIZATION).iter();
        match (given.next().map(|value| bearer(value.as_bytes())), given.next()) {
            (Some(Some(token)), None) if self.token.load().is(token) => Ok(()),
            (Some(Some(_)), None) => refused("this is not the token of this node"),
            (None, _) => refused("this needs the node's token; `bizra token` prints it"),
            _ => refused("authorization must be given once, as: Bearer <token>"),
        }
    }

    /// Puts the token that `make` makes in the place of the old one, which is refused from then on.
    /// Waits for whatever `make` waits for.
    ///
    /// # Errors
    /// Those of `make`; the old token then stays.
    pub fn replace_token<E>(&self, make: impl FnOnce() -> Result<Token, E>) -> Result<(), E> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        self.token.store(Arc::new(make()?));
        Ok(())
    }

    fn is_token_needed(&self, class: Class, is_local: bool) -> bool {
        match (class, self.mode, is_local) {
            (Class::Open, _, _) => false,
            (_, _, false) | (_, Mode::Token, true) => true,
            (Class::Read | Class::Act, Mode::Local, true) => false,
            (Class::Privileged, Mode::Local, true) => true,
            (_, Mode::TrustLoopback, true) => false,
        }
    }
}

/// The token of an `Authorization: Bearer` value (RFC 6750); the scheme's case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Where a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// On this machine.
    Loopback,
    /// Somewhere, behind a proxy on this machine.
    Relayed,
    /// Elsewhere.
    Distant,
}

impl Locality {
    /// Its name in the audit record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Relayed => "relayed",
            Self::Distant => "distant",
        }
    }
}

/// Where the caller itself is. A proxy on this machine says by these fields that it speaks for
/// somebody else, who may be anywhere. Without an address nobody is near.
pub(super) fn locality(peer: Option<Peer>, headers: &HeaderMap) -> Locality {
    const RELAYED: [HeaderName; 4] = [
        FORWARDED,
        VIA,
        HeaderName::from_static("x-forwarded-for"),
        HeaderName::from_static("x-real-ip"),
    ];
    let is_loopback = peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback());
    match is_loopback {
        false => Locality::Distant,
        true if RELAYED.iter().any(|name| headers.contains_key(name)) => Locality::Relayed,
        true => Locality::Loopback,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const TOKEN: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn auth(mode: Mode) -> Auth {
        Auth::new(mode, Token::new(Zeroizing::new(TOKEN.to_owned())))
    }

    fn from(address: &str) -> Option<Peer> {
        Some(Peer(address.parse().unwrap()))
    }

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        headers
    }

    #[test]
    fn each_class_asks_for_the_token_where_it_should() {
        use Class::{Act, Open, Privileged, Read};
        use Mode::{Local, Token, TrustLoopback};
        // Is it served without a token, from loopback and from elsewhere?
        let table = [
            (Open, Token, true, true),
            (Open, Local, true, true),
            (Open, TrustLoopback, true, true),
            (Read, Token, false, false),
            (Read, Local, true, false),
            (Read, TrustLoopback, true, false),
            (Act, Token, false, false),
            (Act, Local, true, false),
            (Act, TrustLoopback, true, false),
            (Privileged, Token, false, false),
            (Privileged, Local, false, false),
            (Privileged, TrustLoopback, true, false),
        ];
        let local = ["127.0.0.1:5", "127.9.9.9:5", "[::1]:5", "[::ffff:127.0.0.1]:5"];
        let distant = ["192.0.2.1:5", "0.0.0.0:5", "[2001:db8::1]:5", "[::ffff:192.0.2.1]:5"];
        let bearer = with(&format!("Bearer {TOKEN}"));
        for (class, mode, is_local_served, is_distant_served) in table {
            let auth = auth(mode);
            for (peers, is_served) in [(local, is_local_served), (distant, is_distant_served)] {
                for peer in peers.map(from) {
                    let bare = auth.check(class, peer, &HeaderMap::new());
                    assert_eq!(bare.is_ok(), is_served, "{class:?} {mode:?} {peer:?}");
                    assert!(auth.check(class, peer, &bearer).is_ok());
                }
            }
            let bare = auth.check(class, None, &HeaderMap::new());
            assert_eq!(bare.is_ok(), class == Open, "without an address nobody is local");
        }
    }

    #[test]
    fn only_the_token_is_the_token() {
        let auth = auth(Mode::Token);
        let served =
            |headers: &HeaderMap| auth.check(Class::Read, from("[::1]:1"), headers).is_ok();
        for given in ["Bearer", "bearer", "BEARER"] {
            assert!(served(&with(&format!("{given} {TOKEN}"))));
        }
        let (short, long) = (&TOKEN[1..], format!("{TOKEN}A"));
        let other_case = TOKEN.to_ascii_lowercase();
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            TOKEN,
            &format!("Basic {TOKEN}"),
            &format!("Bearer{TOKEN}"),
            &format!("Bearer {short}"),
            &format!("Bearer {long}"),
            &format!("Bearer {other_case}"),
            &format!("Bearer {TOKEN}, Bearer {TOKEN}"),
            "Bearer \u{e9}\u{4e2d}",
        ] {
            assert!(!served(&with(wrong)), "{wrong:?}");
        }
        let mut twice = with(&format!("Bearer {TOKEN}"));
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        assert!(!served(&twice));
    }

    #[test]
    fn a_caller_behind_a_local_proxy_is_not_local() {
        let auth = auth(Mode::TrustLoopback);
        for name in ["x-forwarded-for", "forwarded", "via", "x-real-ip"] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("127.0.0.1"));
            assert!(auth.check(Class::Privileged, from("127.0.0.1:1"), &headers).is_err());
        }
    }

    #[test]
    fn the_token_is_not_shown() {
        assert_eq!(format!("{:?}", auth(Mode::Local).token.load_full()), "Token(hidden)");
    }
}
