//! From a request to a socket: who is let in, and what a handshake must say.

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;

use crate::door::{DISTANT, LOCAL, door};
use crate::ws::{Host, PATIENCE, Socket, host, host_of};

/// The status and the code of the answer to a handshake.
async fn status(host: &Host, fields: &[(&str, &str)]) -> (u16, String) {
    match Socket::try_open(host.address, fields).await {
        Ok((_, response)) => (response.status().as_u16(), String::new()),
        Err(Error::Http(response)) => {
            let json: Value =
                serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap();
            assert!(json["error"].is_string() && json["request_id"].is_string(), "{json}");
            (response.status().as_u16(), json["code"].as_str().unwrap().to_owned())
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn names_pages_and_tokens_are_checked_before_a_socket_opens() {
    let host = host().await;
    let token = format!("Bearer {}", host.door.token);
    let bearer = format!("bizra.bearer.{}, bizra.json", host.door.token);
    let hosts = [
        ("localhost:3001", None),
        ("node.example", None),
        ("evil.example", Some("HOST_FORBIDDEN")),
        ("127.0.0.1.evil.example", Some("HOST_FORBIDDEN")),
    ];
    let origins = [
        (None, None),
        (Some("https://console.example"), None),
        (Some("https://evil.example"), Some("ORIGIN_FORBIDDEN")),
        (Some("null"), Some("ORIGIN_FORBIDDEN")),
    ];
    let tokens: [(&[(&str, &str)], bool); 8] = [
        (&[], true),
        (&[("authorization", &token)], true),
        (&[("sec-websocket-protocol", &bearer)], true),
        // A proxy speaks for somebody else, who needs the token.
        (&[("x-forwarded-for", "192.0.2.1")], false),
        (&[("x-forwarded-for", "192.0.2.1"), ("authorization", &token)], true),
        (&[("x-forwarded-for", "192.0.2.1"), ("sec-websocket-protocol", &bearer)], true),
        (&[("via", "1.1 a"), ("authorization", "Bearer wrong")], false),
        (&[("via", "1.1 a"), ("sec-websocket-protocol", "bizra.bearer.wrong, bizra.json")], false),
    ];
    for (name, host_refused) in hosts {
        for (origin, origin_refused) in origins {
            for (fields, is_let_in) in tokens {
                let mut all = vec![("host", name)];
                all.extend(origin.map(|origin| ("origin", origin)));
                all.extend(fields);
                let expected = match host_refused.or(origin_refused) {
                    Some(code) => (403, code.to_owned()),
                    None if is_let_in => (101, String::new()),
                    None => (401, "UNAUTHORIZED".to_owned()),
                };
                assert_eq!(status(&host, &all).await, expected, "{all:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_given_in_two_places_is_refused_where_one_is_needed() {
    let host = host().await;
    let token = format!("Bearer {}", host.door.token);
    let bearer = format!("bizra.bearer.{}", host.door.token);
    let twice = format!("{bearer}, {bearer}, bizra.json");
    for fields in [
        [("authorization", token.as_str()), ("sec-websocket-protocol", bearer.as_str())],
        [("accept", "*/*"), ("sec-websocket-protocol", &twice)],
    ] {
        let all = [&fields[..], &[("via", "1.1 a")]].concat();
        assert_eq!(status(&host, &all).await.0, 401);
    }
}

#[tokio::test]
async fn a_handshake_that_is_none_is_told_what_is_wrong() {
    let host = host().await;
    for (field, value, code, expected) in [
        ("upgrade", "h2c", 426, "UPGRADE_REQUIRED"),
        ("upgrade", "", 426, "UPGRADE_REQUIRED"),
        ("sec-websocket-version", "8", 426, "UNSUPPORTED_VERSION"),
        ("sec-websocket-version", "", 426, "UNSUPPORTED_VERSION"),
        ("connection", "keep-alive", 400, "INVALID_HANDSHAKE"),
    ] {
        assert_eq!(raw(&host, field, value).await, (code, expected.to_owned()), "{field} {value}");
    }
    for key in ["", "a", "AAAA", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "\u{e9}"] {
        let expected = (400, "INVALID_HANDSHAKE".to_owned());
        assert_eq!(raw(&host, "sec-websocket-key", key).await, expected, "{key}");
    }
    assert_eq!(host.metric("ws_clients"), 0);
}

/// A handshake by hand, with one field other than usual.
async fn raw(host: &Host, field: &str, value: &str) -> (u16, String) {
    let usual = [
        ("host", "localhost"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut head = "GET /api/v1/ws HTTP/1.1\r\n".to_owned();
    for (name, usual) in usual {
        head += &format!("{name}: {}\r\n", if name == field { value } else { usual });
    }
    // Without an upgrade the connection would stay open for the next request.
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let end = async {
        while !said.ends_with(b"}") {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0);
        }
    };
    timeout(PATIENCE, end).await.expect("an answer");
    let said = String::from_utf8(said).unwrap();
    let (_, body) = said.split_once("\r\n\r\n").unwrap();
    let json: Value = serde_json::from_str(body).unwrap();
    (said[9..12].parse().unwrap(), json["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn without_a_connection_of_its_own_there_is_no_socket() {
    let door = door(Mode::Local);
    for peer in [LOCAL, DISTANT] {
        let request = door
            .request(Method::GET, "/api/v1/ws")
            .header(header::CONNECTION, "keep-alive, Upgrade")
            .header(header::UPGRADE, "WebSocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = door.send(request.body(Body::empty()).unwrap(), peer).await;
        answer.assert_error(400, "INVALID_HANDSHAKE");
    }
    let plain = door.request(Method::GET, "/api/v1/ws").body(Body::empty()).unwrap();
    let answer = door.send(plain, LOCAL).await;
    answer.assert_error(426, "UPGRADE_REQUIRED");
    assert_eq!(answer.headers[header::UPGRADE], "websocket");
}

#[tokio::test]
async fn a_handshake_that_dribbles_in_is_cut_off() {
    let header_timeout = std::time::Duration::from_millis(200);
    let host = host_of(Limits { header_timeout, ..Limits::default() }).await;
    let (mut reader, mut writer) = TcpStream::connect(host.address).await.unwrap().into_split();
    let dribble = async {
        for byte in b"GET /api/v1/ws HTTP/1.1\r\nupgrade: websocket\r\nx: ".iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    tokio::select! {
        () = dribble => {}
        ended = timeout(PATIENCE, reader.read_to_end(&mut said)) => {
            let _ = ended.expect("it is closed");
        }
    }
    assert_eq!(String::from_utf8_lossy(&said), "");
    host.until_metric("http_connections", 0).await;
}

#[tokio::test]
async fn an_open_socket_outlives_the_times_of_requests() {
    let header_timeout = std::time::Duration::from_millis(100);
    let (idle_timeout, request_timeout) = (header_timeout, header_timeout);
    let generate_timeout = header_timeout;
    let limits = Limits {
        header_timeout,
        idle_timeout,
        request_timeout,
        generate_timeout,
        ..Limits::default()
    };
    let host = host_of(limits).await;
    let mut socket = host.welcomed().await;
    // Another connection that is silent for as long has been closed by then.
    let mut silent = TcpStream::connect(host.address).await.unwrap();
    let _ = timeout(PATIENCE, silent.read(&mut [0; 1])).await.expect("it is closed");
    tokio::time::sleep(5 * header_timeout).await;
    socket.assert_open().await;
    assert_eq!(host.metric("http_connections"), 1, "it still counts as a connection");
}

/// What the log in this file holds once it holds `word`.
async fn log_with(path: &std::path::Path, word: &str) -> String {
    let reached = async {
        loop {
            let log = std::fs::read_to_string(path).unwrap();
            if log.contains(word) {
                return log;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{word} is not logged"))
}

#[tokio::test]
async fn the_token_is_neither_echoed_nor_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    // A process of its own: what is logged at all is decided once for a process.
    let _node = tokio::process::Command::new(env!("CARGO_BIN_EXE_bizra-api"))
        .args(["--port", "0", "--log-format", "json", "--data-dir"])
        .arg(folder.path())
        .env_clear()
        .env("RUST_LOG", "trace")
        .env("BIZRA_INFERENCE__OLLAMA__URL", "http://127.0.0.1:9")
        .stderr(std::fs::File::create(&path).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = log_with(&path, "the node is up").await;
    let line = log.lines().find(|line| line.contains("the node is up")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let address = line["fields"]["address"].as_str().unwrap().parse().unwrap();
    let token = std::fs::read_to_string(folder.path().join("api-token")).unwrap();
    let token = token.trim();

    let bearer = format!("bizra.bearer.{token}, bizra.msgpack");
    let fields = [("sec-websocket-protocol", bearer.as_str())];
    let (mut socket, response) = Socket::try_open(address, &fields).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "bizra.msgpack");
    socket.hear().await;
    socket.call("identity.sign", json!({ "message": "a" })).await.unwrap();
    drop(socket);
    let log = log_with(&path, "socket closed").await;
    assert!(log.contains("/api/v1/ws"), "{log}");
    assert!(!log.contains(token), "the token is in the log");
}
