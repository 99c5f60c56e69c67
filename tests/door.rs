//! The door of a running node: its token, its end, and what bad clients do.

mod live;

use std::time::Duration;

use live::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_token_counts_at_once_and_the_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // Without a node it is a matter of the file.
    let nowhere = [("BIZRA_HTTP__PORT", "9")];
    let offline = || async {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
        command.env_clear().env("BIZRA_DATA_DIR", folder.path()).envs(nowhere);
        told(command.args(["token", "rotate"]).output().await.unwrap())
    };
    let token = || std::fs::read_to_string(folder.path().join("api-token")).unwrap();
    assert_eq!(offline().await.0, 0);
    let first = token();
    assert_eq!(offline().await.0, 0);
    assert_ne!(token(), first);

    // Whoever holds the directory and cannot be asked keeps its token.
    let lock = bizra_omega::adapters::lock::DirLock::acquire(folder.path()).unwrap();
    let (code, _, errors) = offline().await;
    assert!(code == 1 && errors.contains("is in use by"), "{errors}");
    drop(lock);

    let node = start(folder.path()).await;
    let old = Client::new(node.address(), folder.path());
    let sign = json!({ "message": "x" });
    assert_eq!(old.post("/identity/sign", &sign).await.0, 200);
    let url = format!("http://{}", node.address());
    let (code, out, errors) = bizra(folder.path(), Some(&url), &["token", "rotate"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(!out.contains(token().trim()), "only asked for is it printed");
    assert_eq!(old.post("/identity/sign", &sign).await.0, 401);
    let new = Client::new(node.address(), folder.path());
    assert_eq!(new.post("/identity/sign", &sign).await.0, 200);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.path().join("api-token")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // Many at once: the last one on disk is the one that counts.
    let rotations: Vec<_> = (0..8)
        .map(|_| {
            let new = new.clone();
            tokio::spawn(async move { new.post("/token/rotate", &json!({})).await.0 })
        })
        .collect();
    for rotation in rotations {
        assert!(matches!(rotation.await.unwrap(), 200 | 401));
    }
    assert_eq!(
        Client::new(node.address(), folder.path()).post("/identity/sign", &sign).await.0,
        200
    );
    assert_eq!(new.post("/identity/sign", &sign).await.0, 401);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_loopback_is_trusted_rotating_still_needs_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.auth.mode = bizra_omega::config::AuthMode::TrustLoopback;
    let node = bizra_omega::node::start(config).await.unwrap();
    let anybody = Client::with_token(node.address(), "wrong");
    assert_eq!(anybody.post("/identity/sign", &json!({ "message": "x" })).await.0, 200);
    assert_eq!(anybody.post("/token/rotate", &json!({})).await.0, 401);
    node.shutdown().await;
}

/// One request over a connection of its own; `None` when nobody accepts.
async fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut said = Vec::new();
    while !said.ends_with(b"}") {
        if stream.read_buf(&mut said).await.ok()? == 0 {
            return None;
        }
    }
    let said = String::from_utf8(said).unwrap();
    Some((said.split(' ').nth(1)?.parse().ok()?, said))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_stop_says_so_before_it_stops_accepting() {
    let folder = tempfile::tempdir().unwrap();
    let mut process =
        Process::start_with(folder.path(), &[("BIZRA_HTTP__DRAIN_SECONDS", "2")]).await;
    let address = process.address.clone();
    let ready = async {
        while ask(&address, "/readyz").await.is_none_or(|(status, _)| status != 200) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, ready).await.unwrap();
    let told = std::time::Instant::now();
    process.terminate();
    let (mut refused, mut served) = (0, 0);
    let gone = async {
        loop {
            match ask(&address, "/readyz").await {
                None => break,
                Some((503, said)) => {
                    assert!(said.contains("connection: close"), "{said}");
                    refused += 1;
                    // What comes all the same is served.
                    served +=
                        u32::from(ask(&address, "/livez").await.is_some_and(|it| it.0 == 200));
                }
                // The signal may not have arrived yet.
                Some((status, said)) => assert!(status == 200 && refused == 0, "{said}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, gone).await.unwrap();
    assert!(refused > 3 && served > 3, "{refused} refused, {served} served");
    assert!(told.elapsed() >= SECOND, "it stopped accepting after {:?}", told.elapsed());
    assert_eq!(process.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_machines_are_not_served_in_the_clear_unless_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bizra-api"));
        command.env_clear().args(["--port", "0", "--host", "0.0.0.0", "--data-dir"]);
        command.arg(folder.path()).args(more);
        command
    };
    let (code, _, errors) = told(run(&[]).output().await.unwrap());
    assert_eq!(code, 2, "{errors}");
    for part in ["flag --host", "http.host", "--tls-cert", "--tls-key", "--insecure"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert!(!folder.path().join("api-token").exists(), "nothing was made");
    let (code, _, errors) = told(run(&["--tls-cert", "/nonexistent"]).output().await.unwrap());
    assert!(code == 2 && errors.contains("--tls-key"), "{errors}");

    let mut process = Process::start_with(
        folder.path(),
        &[("BIZRA_HTTP__HOST", "0.0.0.0"), ("BIZRA_HTTP__INSECURE", "true")],
    )
    .await;
    let port = process.address.rsplit_once(':').unwrap().1.to_owned();
    assert!(ask(&format!("127.0.0.1:{port}"), "/livez").await.is_some());
    process.terminate();
    assert_eq!(process.ended().await.0, Some(0));

    // Half of what TLS needs is none, wherever it is said.
    let mut command = run(&["--insecure"]);
    let half = command.env("BIZRA_HTTP__TLS_KEY", "/key.pem").output().await.unwrap();
    let (code, _, errors) = told(half);
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("BIZRA_HTTP__TLS_KEY") && errors.contains("tls_cert"), "{errors}");
}

/// Open files of the process and its resident memory in kilobytes.
fn usage(pid: u32) -> (usize, u64) {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    (files, line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

/// One bad request; whatever is answered is read to its end.
async fn misbehave(address: &str, number: usize) {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let post = |path: &str, content_type: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let verify = "/api/v1/pci/gates/check";
    let bytes: Vec<u8> = match number % 20 {
        0 => b"nonsense\r\n\r\n".to_vec(),
        1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(),
        2 => format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)).into_bytes(),
        3 => {
            format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "a".repeat(200_000)).into_bytes()
        }
        4 => format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(500)).into_bytes(),
        5 => b"GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_vec(),
        6 => b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
        7 => post(verify, "application/json", &deep).into_bytes(),
        8 => post(verify, "text/plain", "hello").into_bytes(),
        9 => post(verify, "application/json", "{\"a\":1,\"a\":2}").into_bytes(),
        10 => post(verify, "application/json", &"x".repeat(2_200_000)).into_bytes(),
        11 => b"POST /api/v1/pci/gates/check HTTP/1.1\r\nHost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 99999999\r\n\r\n{"
            .to_vec(),
        12 => b"POST /api/v1/pci/gates/check HTTP/1.1\r\nHost: localhost\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
            .to_vec(),
        13 => b"DELETE /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            .to_vec(),
        14 => b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
        15 => post("/api/v1/identity/sign", "application/json", "{}").into_bytes(),
        16 => post("/api/v1/identity/sign", "application/json", "{\"message\":\"x\"}")
            .replace("Connection", "Authorization: Bearer wrong\r\nConnection")
            .into_bytes(),
        17 => {
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nConnection: close\r\n\r\n"
                .to_vec()
        }
        // Gone in the middle of a head, and of a body.
        18 => b"GET /livez HT".to_vec(),
        _ => b"POST /api/v1/pci/gates/check HTTP/1.1\r\nHost: localhost\r\n\
               content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"content\""
            .to_vec(),
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(&bytes).await;
    if matches!(number % 20, 1 | 18 | 19) {
        return;
    }
    let mut said = Vec::new();
    let _ = tokio::time::timeout(30 * SECOND, stream.read_to_end(&mut said)).await.unwrap();
    if !said.is_empty() {
        assert!(said.starts_with(b"HTTP/1.1 4"), "{number}: {}", said.escape_ascii());
        let text = String::from_utf8_lossy(&said);
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let json: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{number}: {text}"));
        assert!(json["code"].is_string() && json["request_id"].is_string(), "{json}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_thousand_bad_requests_the_node_answers_and_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path()).await;
    let (pid, address) = (process.child.id().unwrap(), process.address.clone());
    let storm = |count: usize| {
        let address = address.clone();
        async move {
            let mut running = tokio::task::JoinSet::new();
            for number in 0..count {
                if running.len() == 16 {
                    running.join_next().await.unwrap().unwrap();
                }
                let address = address.clone();
                running.spawn(async move { misbehave(&address, number).await });
            }
            running.join_all().await;
        }
    };
    let settled = || async {
        let settle = async {
            loop {
                let client = process.client();
                let (status, text) = client.get("/metrics").await;
                assert_eq!(status, 200);
                let text = text.as_str().unwrap().to_owned();
                // The one that asks is open.
                if text.lines().any(|line| line == "http_connections 1") {
                    break;
                }
                drop(client);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(60 * SECOND, settle).await.unwrap();
        usage(pid)
    };
    // What is made once, such as arenas and buffers, is there after the first.
    storm(400).await;
    let (files_before, memory_before) = settled().await;
    storm(1000).await;
    let (files, memory) = settled().await;
    assert!(files <= files_before + 2, "{files_before} files, then {files}");
    // Three times as many requests as before, for a few megabytes of noise.
    assert!(memory <= memory_before + 24 * 1024, "{memory_before} kB, then {memory} kB");
    let (status, health) = process.client().get("/health").await;
    assert_eq!(status, 200, "{health}");
    process.terminate();
    assert_eq!(process.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_up_to_the_limit_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("BIZRA_HTTP__CONNECTIONS_MAX", "300"), ("BIZRA_HTTP__HEADER_SECONDS", "1")];
    let mut process = Process::start_with(folder.path(), &environment).await;
    let mut held = Vec::new();
    // More than there are places: the rest wait in the kernel's queue.
    for _ in 0..400 {
        held.push(TcpStream::connect(&process.address).await.unwrap());
    }
    let asked = tokio::time::timeout(20 * SECOND, ask(&process.address, "/livez")).await;
    assert_eq!(asked.unwrap().unwrap().0, 200, "silent ones make room after a second");
    drop(held);
    process.terminate();
    assert_eq!(process.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_read_again_when_the_node_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, include_str!("http/tls/node.pem")).unwrap();
    std::fs::write(&key, include_str!("http/tls/node.key")).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    let environment = [
        ("BIZRA_HTTP__HOST", "0.0.0.0"),
        ("BIZRA_HTTP__TLS_CERT", certificate.to_str().unwrap()),
        ("BIZRA_HTTP__TLS_KEY", key.to_str().unwrap()),
    ];
    let mut process = Process::start_with(folder.path(), &environment).await;
    let port = process.address.rsplit_once(':').unwrap().1.to_owned();
    // Spoken to in the clear it says nothing that a client could take for an answer.
    assert!(ask(&format!("127.0.0.1:{port}"), "/livez").await.is_none());
    // A broken one is told in the log, and the node goes on.
    std::fs::write(&certificate, "nothing").unwrap();
    let id = i32::try_from(process.child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let told = async {
        while !process.has_said("the certificate from before stays in use") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, told).await.unwrap();
    process.terminate();
    assert_eq!(process.ended().await.0, Some(0));
}
