//! The node as a process under crowds: many idle connections, and whatever clients do wrong.

mod live;

use std::fs;
use std::time::Duration;

use live::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for a loaded machine; nothing that works takes it.
const PATIENCE: Duration = Duration::from_secs(60);

const HEALTH: &[u8] = b"GET /api/v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n";

impl Process {
    fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    async fn until_open_files(&self, is_right: impl Fn(usize) -> bool) {
        let waiting = async {
            while !is_right(self.open_files()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{} files are open", self.open_files());
    }
}

/// As many connections as asked for, or what this machine allows, which is then told.
#[expect(clippy::print_stderr, reason = "whoever runs it should know what was not tested")]
fn affordable(count: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
    let files_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(files_max).unwrap_or(usize::MAX).saturating_sub(200);
    if most < count {
        eprintln!("only {most} connections: this machine allows {files_max} open files");
    }
    most.min(count)
}

async fn connect(address: &str) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(address)).await.unwrap().unwrap()
}

/// One answer, from its first byte to the end of its JSON body.
async fn answer(stream: &mut TcpStream) -> (u16, Value) {
    let reading = async {
        let mut said = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&said);
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && let Ok(json) = serde_json::from_str(body)
            {
                return (head[9..12].parse().unwrap(), json);
            }
            assert_ne!(stream.read_buf(&mut said).await.unwrap(), 0, "no whole answer");
        }
    };
    timeout(PATIENCE, reading).await.expect("the node answers")
}

async fn is_healthy(address: &str) -> bool {
    let mut stream = connect(address).await;
    stream.write_all(HEALTH).await.unwrap();
    answer(&mut stream).await.0 == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_leave_the_node_awake() {
    let count = affordable(10_000);
    let folder = tempfile::tempdir().unwrap();
    let connections_max = (count + 100).to_string();
    let mut process = Process::start_with(
        folder.path(),
        &[
            ("BIZRA_HTTP__CONNECTIONS_MAX", &connections_max),
            ("BIZRA_HTTP__HEADER_SECONDS", "600"),
            ("BIZRA_HTTP__IDLE_SECONDS", "600"),
        ],
    )
    .await;
    let address = process.address.clone();
    let (files, memory) = (process.open_files(), process.resident_kib());
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = connect(&address).await;
        // Every other one has been of use.
        if number % 2 == 0 {
            stream.write_all(HEALTH).await.unwrap();
            assert_eq!(answer(&mut stream).await.0, 200);
        }
        idle.push(stream);
        if number % 1000 == 0 {
            assert!(is_healthy(&address).await);
        }
    }
    process.until_open_files(|open| open >= files + count).await;
    let each_kib = (process.resident_kib() - memory) / count as u64;
    assert!(each_kib < 32, "{each_kib} KiB for each idle connection");
    for _ in 0..100 {
        assert!(is_healthy(&address).await);
    }
    let half = idle.split_off(count / 2);
    drop(idle);
    process.until_open_files(|open| open < files + count / 2 + 50).await;
    assert!(is_healthy(&address).await);

    // Those that are left do not hold up its end.
    process.terminate();
    let (code, last) = process.ended().await;
    assert_eq!(code, Some(0), "{last}");
    drop(half);
}

/// A thousand requests, each wrong in one of many ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_bad_requests_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start_with(folder.path(), &[("BIZRA_HTTP__HEADER_SECONDS", "1")]).await;
    let address = process.address.clone();
    assert!(is_healthy(&address).await);
    let files = process.open_files();
    // What is made once, such as buffers and threads, is made by the first of them.
    for number in 0..1000 {
        misbehave(&address, number).await;
    }
    process.until_open_files(|open| open <= files + 2).await;
    let memory = process.resident_kib();
    for number in 0..1000 {
        misbehave(&address, number).await;
    }
    process.until_open_files(|open| open <= files + 2).await;
    assert!(is_healthy(&address).await);
    let grown = process.resident_kib().saturating_sub(memory);
    assert!(grown < 8 * 1024, "{grown} KiB more than after the first thousand");
    let (status, answered) =
        process.client().post("/identity/sign", &json!({ "message": 1 })).await;
    assert_eq!((status, &answered["code"]), (422, &Value::from("INVALID_FIELD")), "{answered}");
    let (_, text) = process.client().get("/metrics").await;
    let text = text.as_str().unwrap();
    assert!(text.contains("http_requests_in_flight 1\n"), "{text}");
}

/// Sends what no client should, then reads until the node has had enough or half a second is over:
/// some of it is never answered, which is right.
async fn misbehave(address: &str, number: usize) {
    let bytes = wrong(number);
    let mut stream = connect(address).await;
    // The node may close before it has read all of it.
    let _ = stream.write_all(&bytes).await;
    if number.is_multiple_of(3) {
        return;
    }
    let _ = stream.shutdown().await;
    let mut said = Vec::new();
    let _ = timeout(Duration::from_millis(500), stream.read_to_end(&mut said)).await;
    let said = String::from_utf8_lossy(&said);
    if said.starts_with("HTTP/1.1 ") && !said.starts_with("HTTP/1.1 101") {
        let status: u16 = said[9..12].parse().unwrap();
        let (_, body) = said.split_once("\r\n\r\n").unwrap();
        let is_head = bytes.starts_with(b"HEAD");
        let json: Value = serde_json::from_str(body).unwrap_or_default();
        // That something is no valid envelope is an answer, and not an error.
        let is_refused = if status == 200 {
            json["valid"] == false
        } else {
            (400..=503).contains(&status) && status != 500
        };
        assert!(is_refused && (is_head || json["code"].is_string()), "{number}: {said}");
    }
}

/// The wrong bytes of that number.
fn wrong(number: usize) -> Vec<u8> {
    let seed = number as u64;
    let post = |path: &str, head: &str, body: &str| {
        format!(
            "POST /api/v1{path} HTTP/1.1\r\nhost: localhost\r\n{head}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "content-type: application/json\r\n";
    let text = match number % 24 {
        0 => return noise(seed, 300),
        1 => "GET / HTTP/1.1\r\n\r\n".into(),
        2 => "GET /api/v1/health HTTP/1.1\r\nhost: evil.example\r\n\r\n".into(),
        3 => {
            "GET /api/v1/health HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n\r\n"
                .into()
        }
        4 => format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(20_000)),
        5 => format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(70_000)),
        6 => format!("GET /none/{number} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        7 => "DELETE /api/v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n".into(),
        8 => post("/inference/generate", json, "{\"prompt\":"),
        9 => post("/inference/generate", json, "{\"prompt\":1}"),
        10 => post("/inference/generate", "content-type: text/plain\r\n", "{}"),
        11 => post("/pci/gates/check", json, &"[".repeat(100_000)),
        12 => post("/identity/sign", json, "{\"message\":\"no token\"}"),
        13 => post("/identity/sign", "authorization: Bearer wrong\r\n", "{}"),
        14 => post("/pci/gates/check", json, "{\"content\":\"a\",\"snr_score\":1e999}"),
        15 => post("/identity/verify", json, "{\"content\":\"a\"}"),
        16 => format!(
            "POST /api/v1/pci/gates/check HTTP/1.1\r\nhost: localhost\r\n{json}content-length: 99999999999\r\n\r\n"
        ),
        17 => format!(
            "POST /api/v1/pci/gates/check HTTP/1.1\r\nhost: localhost\r\n{json}transfer-encoding: chunked\r\n\r\nzz\r\n"
        ),
        18 => format!(
            "POST /api/v1/pci/gates/check HTTP/1.1\r\nhost: localhost\r\n{json}content-length: 500\r\n\r\n{{"
        ),
        19 => "GET /api/v1/ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\r\n".into(),
        20 => format!("{}\0\u{fffd}", upgrade()),
        21 => format!("{}{}", upgrade(), "\u{81}\u{7f}".repeat(200)),
        22 => "HEAD /none HTTP/1.1\r\nhost: localhost\r\n\r\n".into(),
        _ => post("/pci/envelope/verify", json, "{\"envelope\":{\"version\":\"\u{1f600}\"}}"),
    };
    // Half of them are cut short somewhere.
    let mut bytes = text.into_bytes();
    if number % 2 == 1 && number.is_multiple_of(5) {
        let rest = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % bytes.len() as u64;
        bytes.truncate(usize::try_from(rest).unwrap());
    }
    bytes
}

fn upgrade() -> String {
    "GET /api/v1/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        .to_owned()
}

/// Bytes that mean nothing, the same for the same seed.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

/// `curl http://localhost:3001/api/v1/health`, as curl sends it and whatever port the node has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_of_the_integration_guide_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path()).await;
    let mut stream = connect(&process.address).await;
    let request = "GET /api/v1/health HTTP/1.1\r\nHost: localhost:3001\r\nUser-Agent: curl/8.14.1\r\n\
                   Accept: */*\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let (status, health) = answer(&mut stream).await;
    assert_eq!(status, 200);
    for key in ["status", "version", "uptime_seconds", "requests_served", "actors"] {
        assert!(!health[key].is_null(), "{key}: {health}");
    }
}
