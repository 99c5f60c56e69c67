//! TLS on the listener, over real sockets.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::server::{Accepting, Readiness, Server};
use bizra_omega::http::tls::{Tls, TlsError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::door::{Door, door_with};

const PATIENCE: Duration = Duration::from_secs(20);
const AUTHORITY: &str = include_str!("tls/ca.pem");
const NODE: [&str; 2] = [include_str!("tls/node.pem"), include_str!("tls/node.key")];
const OTHER: [&str; 2] = [include_str!("tls/other.pem"), include_str!("tls/other.key")];

fn write(dir: &Path, [certificate, key]: [&str; 2]) {
    std::fs::write(dir.join("cert.pem"), certificate).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
    chmod(dir, 0o600);
}

fn chmod(dir: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(dir.join("key.pem"), permissions).unwrap();
}

fn load(dir: &Path) -> Result<Tls, TlsError> {
    Tls::load(&dir.join("cert.pem"), &dir.join("key.pem"))
}

struct Running {
    address: SocketAddr,
    tls: Tls,
    dir: tempfile::TempDir,
    server: Server,
    accepting: Accepting,
    door: Door,
}

async fn run() -> Running {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), NODE);
    let tls = load(dir.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { header_timeout: Duration::from_millis(300), ..Limits::default() };
    let door = door_with(Mode::Local, limits.clone());
    let (router, metrics) = (door.router.clone(), door.metrics.clone());
    let server = Server::new(vec![listener], router, limits, metrics, Readiness::default());
    server.use_tls(tls.clone());
    let accepting = server.accept();
    Running { address, tls, dir, server, accepting, door }
}

async fn connect(
    address: SocketAddr,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut said = String::new();
    let _ = timeout(PATIENCE, stream.read_to_string(&mut said)).await.unwrap();
    said
}

const LIVE: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn both_versions_are_served_and_only_as_http_1() {
    let running = run().await;
    for (offered, spoken) in
        [(&version::TLS13, ProtocolVersion::TLSv1_3), (&version::TLS12, ProtocolVersion::TLSv1_2)]
    {
        let mut stream = connect(running.address, &[offered]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let said = ask(&mut stream, LIVE).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with('}'), "{said}");
        let mut stream = connect(running.address, &[offered]).await.unwrap();
        let said = ask(&mut stream, b"nonsense\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 400") && said.contains("request_id"), "{said}");
    }
    let mut large = b"POST /api/v1/pci/gates/check HTTP/1.1\r\nHost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 3000000\r\n\r\n"
        .to_vec();
    large.resize(large.len() + 3_000_000, b' ');
    let mut stream = connect(running.address, &[&version::TLS13]).await.unwrap();
    let said = ask(&mut stream, &large).await;
    assert!(said.starts_with("HTTP/1.1 413") && said.contains("BODY_TOO_LARGE"), "{said}");
}

#[tokio::test]
async fn whoever_does_not_speak_tls_is_let_go() {
    let mut running = run().await;
    for bytes in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01", b""] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        // Refused with an alert, or silent for too long.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it is closed");
        assert!(!said.starts_with(b"HTTP"), "{}", said.escape_ascii());
    }
    let mut stream = connect(running.address, &[&version::TLS13]).await.unwrap();
    assert!(ask(&mut stream, LIVE).await.starts_with("HTTP/1.1 200"));
    // One in the middle of its greeting does not hold up the end.
    let _silent = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(running.server.drain(&mut running.accepting).await, 0);
    let text = running.door.metrics.encode().unwrap();
    assert!(text.contains("http_connections 0"), "{text}");
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
    let running = run().await;
    let certificate = async || {
        let stream = connect(running.address, &[&version::TLS13]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = certificate().await;
    std::fs::write(running.dir.path().join("cert.pem"), "nothing").unwrap();
    assert!(running.tls.reload().is_err());
    assert_eq!(certificate().await, first);
    write(running.dir.path(), OTHER);
    running.tls.reload().unwrap();
    assert_ne!(certificate().await, first);
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |part: &str, is_of_the_key: bool| {
        let error = load(dir.path()).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert_eq!(error.is_of_the_key(), is_of_the_key, "{error}");
    };
    refused("cert.pem: No such file", false);
    write(dir.path(), NODE);
    for mode in [0o644, 0o604, 0o602] {
        chmod(dir.path(), mode);
        refused("run: chmod 600 /", true);
    }
    chmod(dir.path(), 0o640);
    assert!(load(dir.path()).is_ok());
    write(dir.path(), [NODE[0], OTHER[1]]);
    refused("cannot be used", false);
    write(dir.path(), [NODE[1], NODE[1]]);
    refused("holds no certificate", false);
    write(dir.path(), [NODE[0], NODE[0]]);
    refused("holds no private key", true);
    write(dir.path(), [NODE[0], "-----BEGIN PRIVATE KEY-----\nAAAA\n"]);
    refused("holds no private key", true);
    std::fs::remove_file(dir.path().join("key.pem")).unwrap();
    refused("key.pem: No such file", true);
    std::fs::create_dir(dir.path().join("key.pem")).unwrap();
    refused("not a regular file", true);
}
