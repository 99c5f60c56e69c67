//! Heads that nobody can read, and clients that write before they read: what they are told.

use std::net::SocketAddr;
use std::time::Duration;

use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::server::{Accepting, Readiness, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::door::{Door, door_with};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    door: Door,
    _accepting: Accepting,
    _server: Server,
}

async fn run() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = door_with(Mode::Local, Limits::default());
    let (router, metrics) = (door.router.clone(), door.metrics.clone());
    let server =
        Server::new(vec![listener], router, Limits::default(), metrics, Readiness::default());
    Running { address, door, _accepting: server.accept(), _server: server }
}

/// What is answered to these bytes; the answer has a length, and the connection closes.
async fn told(address: SocketAddr, bytes: &[u8]) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap().unwrap();
    let said = String::from_utf8(said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{said:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_answered_in_the_one_shape() {
    let running = run().await;
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(66_000));
    let long_field = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "a".repeat(300_000));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(200));
    let cases: &[(&[u8], u16, &str)] = &[
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "BAD_REQUEST"),
        (b"nonsense\r\n\r\n", 400, "BAD_REQUEST"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "BAD_REQUEST"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "BAD_REQUEST"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "BAD_REQUEST"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            400,
            "BAD_REQUEST",
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "BAD_REQUEST"),
        (long_line.as_bytes(), 414, "URI_TOO_LONG"),
        (long_field.as_bytes(), 431, "HEADERS_TOO_LARGE"),
        (many_fields.as_bytes(), 431, "HEADERS_TOO_LARGE"),
    ];
    for (bytes, status, code) in cases {
        let place = bytes[..bytes.len().min(60)].escape_ascii().to_string();
        let (found, head, json) = told(running.address, bytes).await;
        assert_eq!((found, json["code"].as_str()), (*status, Some(*code)), "{place}: {json}");
        assert!(json["error"].is_string() && json["details"].is_null(), "{json}");
        let id = json["request_id"].as_str().unwrap();
        for field in [
            format!("x-request-id: {id}"),
            "content-type: application/json".to_owned(),
            "connection: close".to_owned(),
        ] {
            assert!(head.contains(&field), "{place}: {head}");
        }
    }
    let text = running.door.metrics.encode().unwrap();
    assert!(text.contains("method=\"other\",route=\"none\",status=\"431\"} 2"), "{text}");
}

#[tokio::test]
async fn a_bad_head_after_a_good_request_is_answered_too() {
    let running = run().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"}") {
        timeout(PATIENCE, stream.read_buf(&mut said)).await.unwrap().unwrap();
    }
    assert!(said.starts_with(b"HTTP/1.1 200"), "{}", said.escape_ascii());
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.starts_with("HTTP/1.1 400") && rest.contains("\"BAD_REQUEST\""), "{rest}");
    assert_eq!(rest.matches("HTTP/1.1 4").count(), 1, "{rest}");
}

#[tokio::test]
async fn what_a_body_says_is_not_taken_for_a_refusal() {
    let running = run().await;
    let text = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let body = serde_json::json!({ "prompt": text, "tier": text }).to_string();
    let request = format!(
        "POST /api/v1/inference/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, _, json) = told(running.address, request.as_bytes()).await;
    assert_eq!((status, json["code"].as_str()), (400, Some("UNKNOWN_TIER")), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_writes_it_all_before_it_reads_still_hears_that_it_is_too_much() {
    let running = run().await;
    for declared in [true, false] {
        let size = 3_000_000;
        let framing = match declared {
            true => format!("content-length: {size}"),
            false => "transfer-encoding: chunked".to_owned(),
        };
        let mut request = format!(
            "POST /api/v1/pci/gates/check HTTP/1.1\r\nHost: localhost\r\n\
             content-type: application/json\r\n{framing}\r\n\r\n"
        )
        .into_bytes();
        if !declared {
            request.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        }
        request.resize(request.len() + size, b' ');
        let (status, head, json) = told(running.address, &request).await;
        assert_eq!((status, json["code"].as_str()), (413, Some("BODY_TOO_LARGE")), "{json}");
        assert!(head.contains("connection: close"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_stops_writing_is_not_listened_to_for_ever() {
    let running = run().await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    writer
        .write_all(
            b"POST /api/v1/pci/gates/check HTTP/1.1\r\nHost: localhost\r\n\
              content-type: application/json\r\ncontent-length: 99999999999\r\n\r\n",
        )
        .await
        .unwrap();
    let endless = async {
        let piece = vec![b' '; 65536];
        while writer.write_all(&piece).await.is_ok() {}
    };
    let mut said = Vec::new();
    let read = async {
        let _ = reader.read_to_end(&mut said).await;
        // The answer is here; what is written goes on until the node closes.
        std::future::pending::<()>().await;
    };
    timeout(PATIENCE, async {
        tokio::select! { () = endless => {} () = read => {} }
    })
    .await
    .expect("the node closes");
}
