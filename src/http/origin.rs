//! Which names the node answers to, and which web pages may speak to it.
//!
//! A web page can make its visitor's browser send requests to a node on the visitor's machine,
//! and by rebinding its own name to 127.0.0.1 even read the answers. The browser then sends the
//! page's name as `Host`, or its origin as `Origin`; both must be known.

use std::net::IpAddr;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HOST, HeaderValue, ORIGIN, VARY,
};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, StatusCode, Uri};

use crate::http::error::ApiError;

/// Seconds for which a browser may remember what is allowed; a restart may change it.
const PREFLIGHT_AGE_S: &str = "600";

/// Fields that a foreign page may send: those that mean something here, and those that OpenAI's own
/// client for browsers sends with every request and that nobody reads.
const ALLOWED_FIELDS: &str = "authorization, content-type, x-request-id, openai-organization, \
    openai-project, x-stainless-arch, x-stainless-async, x-stainless-custom-poll-interval, \
    x-stainless-helper-method, x-stainless-lang, x-stainless-os, x-stainless-package-version, \
    x-stainless-poll-helper, x-stainless-raw-response, x-stainless-read-timeout, \
    x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout";

/// The names of the node and the origins it lets in.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// An `Origin` that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No web page, or one that the node itself served. `varies` where others are let in too.
    Own {
        /// Whether some origins are configured.
        varies: bool,
    },
    /// A configured origin, whose pages may read the answers.
    Foreign(HeaderValue),
}

/// A name or origin that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not a host name.
    #[error("{0:?} is not a host name or address without port")]
    Host(String),
    /// Not an origin.
    #[error("{0:?} is not an origin such as https://example.org or http://localhost:8080")]
    Origin(String),
}

impl Origins {
    /// The node answers to `hosts` (names or addresses, without port) beside the loopback ones,
    /// and lets pages of `origins` (`scheme://host[:port]`) read its answers.
    ///
    /// # Errors
    /// When one of them is not what it should be; `*` and `null` are neither.
    pub fn new(hosts: &[String], origins: &[String]) -> Result<Self, OriginError> {
        let host = |host: &String| {
            let parsed: Option<Authority> = host.parse().ok();
            match parsed {
                Some(authority) if authority.host() == host && is_plain(host) => {
                    Ok(host.to_ascii_lowercase())
                }
                _ => Err(OriginError::Host(host.clone())),
            }
        };
        let origin = |origin: &String| {
            let authority = authority_of(origin);
            match authority {
                Some(authority) if is_plain(authority.host()) => Ok(origin.to_ascii_lowercase()),
                _ => Err(OriginError::Origin(origin.clone())),
            }
        };
        Ok(Self {
            hosts: hosts.iter().map(host).collect::<Result<_, _>>()?,
            origins: origins.iter().map(origin).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the request names this node.
    ///
    /// # Errors
    /// 400 without exactly one readable `Host` (RFC 9112, section 3.2), 403 for another name.
    pub fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Authority, ApiError> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(ApiError::invalid("INVALID_HOST", "a request has one host field"));
        };
        let host: Authority = Authority::try_from(host.as_bytes())
            .map_err(|_| ApiError::invalid("INVALID_HOST", "the host field is not a host"))?;
        // A target in absolute form takes precedence over the field, so both must be right.
        let are_known = self.is_known(&host) && uri.authority().is_none_or(|it| self.is_known(it));
        if are_known {
            return Ok(host);
        }
        Err(ApiError::forbidden(
            "HOST_FORBIDDEN",
            "the node does not answer to this host name; names are added in its configuration",
        ))
    }

    /// Whether the page that makes the request, if one does, may.
    ///
    /// # Errors
    /// 403 for an origin that is neither the node's own nor configured.
    pub fn check_origin(&self, host: &Authority, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let own = Caller::Own { varies: !self.origins.is_empty() };
        let refused = || {
            Err(ApiError::forbidden(
                "ORIGIN_FORBIDDEN",
                "pages of this origin may not call the node; origins are added in its configuration",
            ))
        };
        match (origins.next(), origins.next()) {
            (None, _) => Ok(own),
            (Some(origin), None) => {
                let Ok(text) = origin.to_str() else { return refused() };
                if authority_of(text).as_ref() == Some(host) {
                    return Ok(own);
                }
                if self.origins.contains(&text.to_ascii_lowercase()) {
                    return Ok(Caller::Foreign(origin.clone()));
                }
                refused()
            }
            (Some(_), Some(_)) => refused(),
        }
    }

    fn is_known(&self, authority: &Authority) -> bool {
        let host = authority.host();
        // An authority may carry a user, and a port that is none.
        let (user, port) =
            (authority.as_str().contains('@'), authority.as_str().len() > host.len());
        if user || (port && authority.port_u16().is_none()) {
            return false;
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_loopback = bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        is_loopback
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

impl Caller {
    /// Lets a foreign page read the answer. Where one may, answers depend on the origin, and say so.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        if *self != (Self::Own { varies: false }) {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Self::Foreign(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("x-request-id, retry-after, x-bizra-envelope"),
            );
        }
    }

    /// The answer to a browser that asks whether a foreign page may call (the CORS protocol of the
    /// Fetch standard).
    pub(super) fn preflight(&self) -> Option<(StatusCode, HeaderMap)> {
        if let Self::Own { .. } = self {
            return None;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
            (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_FIELDS),
            (ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE_S),
            (VARY, "access-control-request-method, access-control-request-headers"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Some((StatusCode::OK, headers))
    }
}

/// The authority of an origin `http(s)://authority`.
fn authority_of(origin: &str) -> Option<Authority> {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))?;
    let authority: Authority = authority.parse().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Whether a configured name means one host: no pattern, no user, nothing empty.
fn is_plain(host: &str) -> bool {
    !host.is_empty() && !host.contains(['*', '@', '/', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        Origins::new(
            &owned(&["Node.example", "192.0.2.7", "[2001:db8::1]"]),
            &owned(&["https://Console.example", "http://localhost:8080"]),
        )
        .unwrap()
    }

    fn headers(host: &[u8], origin: Option<&[u8]>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_bytes(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_bytes(origin).unwrap());
        }
        headers
    }

    fn host_status(host: &[u8]) -> u16 {
        let checked = origins().check_host(&Uri::from_static("/x"), &headers(host, None));
        checked.map_or_else(|error| error.status().as_u16(), |_| 200)
    }

    #[test]
    fn the_node_answers_to_its_names() {
        for host in [
            "localhost",
            "LOCALHOST:3001",
            "127.0.0.1",
            "127.0.0.1:3001",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:3001",
            "[::ffff:127.0.0.1]:1",
            "node.example",
            "NODE.EXAMPLE:443",
            "192.0.2.7:3001",
            "[2001:db8::1]:3001",
        ] {
            assert_eq!(host_status(host.as_bytes()), 200, "{host}");
        }
    }

    #[test]
    fn and_to_no_others() {
        for host in [
            "evil.example",
            "evil.example:3001",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "user@localhost",
            "localhost@evil.example",
            "0.0.0.0:3001",
            "[::]:3001",
            "127.1",
            "0x7f000001",
            "2130706433",
            "192.0.2.8",
            "localhost:99999",
            "localhost.",
        ] {
            assert!(matches!(host_status(host.as_bytes()), 400 | 403), "{host}");
        }
        for host in [&b""[..], b"a b", b"[::1", b"\xff\xfe", "b\u{fc}cher.example".as_bytes()] {
            assert_eq!(host_status(host), 400, "{host:?}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let none = origins().check_host(&Uri::from_static("/"), &HeaderMap::new()).unwrap_err();
        assert_eq!(none.status(), StatusCode::BAD_REQUEST);
        let mut two = headers(b"localhost", None);
        two.append(HOST, HeaderValue::from_static("localhost"));
        let two = origins().check_host(&Uri::from_static("/"), &two).unwrap_err();
        assert_eq!(two.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn the_target_may_not_name_another_host_than_the_field() {
        let local = headers(b"localhost:3001", None);
        let check = |uri| origins().check_host(&Uri::from_static(uri), &local).is_ok();
        assert!(check("http://127.0.0.1:3001/api/v1/health"));
        assert!(!check("http://evil.example/api/v1/health"));
    }

    #[test]
    fn pages_of_the_node_and_of_configured_origins_may_call() {
        let check = |origin: Option<&[u8]>| {
            let headers = headers(b"localhost:3001", origin);
            let host = origins().check_host(&Uri::from_static("/"), &headers).unwrap();
            origins().check_origin(&host, &headers).ok()
        };
        assert_eq!(check(None), Some(Caller::Own { varies: true }));
        assert_eq!(check(Some(b"http://localhost:3001")), Some(Caller::Own { varies: true }));
        for origin in ["https://console.example", "http://localhost:8080"] {
            let value = HeaderValue::from_static(origin);
            assert_eq!(check(Some(origin.as_bytes())), Some(Caller::Foreign(value)));
        }
        for origin in [
            "null",
            "",
            "*",
            "http://evil.example",
            "http://localhost",
            "http://localhost:3002",
            "http://127.0.0.1:3001",
            "http://localhost:3001.evil.example",
            "http://user@localhost:3001",
            "https://console.example.evil.example",
            "http://console.example",
            "https://console.example/",
            "file://",
            "http://\u{6f22}",
        ] {
            assert_eq!(check(Some(origin.as_bytes())), None, "{origin}");
        }
    }

    #[test]
    fn a_name_that_means_more_than_one_is_refused() {
        for host in ["", "*", "*.example", "http://a", "a/b", "a:80", "a b", "u@a"] {
            assert!(Origins::new(&[host.to_owned()], &[]).is_err(), "{host:?}");
        }
        for origin in
            ["*", "null", "example.org", "https://", "https://*.a", "https://a/b", "ws://a"]
        {
            assert!(Origins::new(&[], &[origin.to_owned()]).is_err(), "{origin:?}");
        }
    }
}
