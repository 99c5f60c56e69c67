//! `[http]`: the server, and how much of it one client may have.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{empty_is_none, host};

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address to listen on; `localhost` is read as 127.0.0.1.
    #[serde(deserialize_with = "host")]
    pub host: IpAddr,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Most connections open at once.
    pub connections_max: usize,
    /// Most connections of one client; those from this machine are not counted.
    pub connections_per_client_max: usize,
    /// Most requests served at once.
    pub requests_max: usize,
    /// Time for a request's header to arrive.
    pub header_seconds: u64,
    /// Time a connection may be open without a request.
    pub idle_seconds: u64,
    /// Time for a request as a whole, its body included.
    pub request_seconds: u64,
    /// Time for a request that generates text.
    pub generate_seconds: u64,
    /// Time for which a node that was told to stop still accepts connections.
    pub drain_seconds: u64,
    /// The PEM file of the certificate and those that it stands on; `None` (written as an empty
    /// string) is no TLS.
    #[serde(with = "empty_is_none")]
    pub tls_cert: Option<PathBuf>,
    /// The PEM file of the certificate's key.
    #[serde(with = "empty_is_none")]
    pub tls_key: Option<PathBuf>,
    /// Whether to serve other machines without TLS.
    pub insecure: bool,
    /// Host names, beside loopback ones and the address itself, that requests may name.
    pub hosts: Vec<String>,
    /// Web origins whose pages may call the node.
    pub origins: Vec<String>,
    /// How often one client may call.
    pub rate: Rate,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 3001,
            body_bytes_max: 1 << 20,
            connections_max: 512,
            connections_per_client_max: 64,
            requests_max: 256,
            header_seconds: 5,
            idle_seconds: 15,
            request_seconds: 30,
            generate_seconds: 120,
            drain_seconds: 1,
            tls_cert: None,
            tls_key: None,
            insecure: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            rate: Rate::default(),
        }
    }
}

/// `[http.rate]`: requests a second and client; zero is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// Of what is open to all.
    pub open_per_second: u32,
    /// Of what only reads.
    pub read_per_second: u32,
    /// Of what uses the node.
    pub act_per_second: u32,
    /// Of what uses its keys.
    pub privileged_per_second: u32,
    /// Seconds of these that may come at once.
    pub burst_seconds: u32,
    /// Wrong tokens a minute before a client is not listened to.
    pub bad_tokens_per_minute: u32,
    /// Whether callers on this machine are limited as well.
    pub loopback: bool,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            open_per_second: 50,
            read_per_second: 50,
            act_per_second: 20,
            privileged_per_second: 10,
            burst_seconds: 4,
            bad_tokens_per_minute: 10,
            loopback: false,
        }
    }
}
