//! Connections and their limits, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::http::server::{Accepting, Readiness, Server};
use bizra_omega::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::door::door_with;

const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Long enough for a loaded machine; nothing that works takes it.
const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    server: Server,
    accepting: Accepting,
    address: SocketAddr,
    metrics: Metrics,
    readiness: Readiness,
}

async fn run(app: Router, limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, readiness) = (Metrics::new(), Readiness::default());
    let server = Server::new(vec![listener], app, limits, metrics.clone(), readiness.clone());
    let accepting = server.accept();
    Running { server, accepting, address, metrics, readiness }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn open_connections(&self) -> String {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find(|line| line.starts_with("http_connections ")).unwrap();
        line["http_connections ".len()..].to_owned()
    }

    async fn until_all_are_closed(&self) {
        let closed = async {
            while self.open_connections() != "0" {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, closed).await.expect("every connection closes");
    }
}

fn hello() -> Router {
    Router::new().route("/hello", get(async || "hello"))
}

fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(150),
        idle_timeout: Duration::from_millis(600),
        write_timeout: Duration::from_millis(200),
        stop_grace: Duration::from_millis(800),
        ..Limits::default()
    }
}

/// What the server says until it closes, and how long that takes.
async fn read_to_end(stream: &mut TcpStream) -> (String, Duration) {
    let started = Instant::now();
    let mut said = Vec::new();
    // A connection that is cut off with bytes unread is reset, which ends it as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the server closes");
    (String::from_utf8_lossy(&said).into_owned(), started.elapsed())
}

/// One response with a body of known length.
async fn read_response(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let read = async {
        while !said.ends_with(b"hello") {
            if stream.read_buf(&mut said).await.unwrap() == 0 {
                break;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("the server answers");
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let running = run(hello(), limits()).await;
    let (said, took) = read_to_end(&mut running.connect().await).await;
    assert_eq!(said, "");
    assert!(took >= Duration::from_millis(100), "{took:?}");
    running.until_all_are_closed().await;
}

#[tokio::test]
async fn a_slow_head_is_cut_off_however_steadily_it_comes() {
    let running = run(hello(), limits()).await;
    let stream = running.connect().await;
    let (mut reader, mut writer) = stream.into_split();
    let dribble = async {
        for byte in HELLO.iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let mut said = Vec::new();
    let started = Instant::now();
    tokio::select! {
        () = dribble => {}
        _ = reader.read_to_end(&mut said) => {}
    }
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(String::from_utf8_lossy(&said), "");
    running.until_all_are_closed().await;
}

#[tokio::test]
async fn an_idle_connection_is_kept_longer_than_a_silent_one_but_not_for_ever() {
    let running = run(hello(), limits()).await;
    let mut stream = running.connect().await;
    stream.write_all(HELLO).await.unwrap();
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
    sleep(limits().header_timeout * 2).await;
    stream.write_all(HELLO).await.unwrap();
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
    let (said, took) = read_to_end(&mut stream).await;
    assert_eq!(said, "");
    assert!(took >= limits().idle_timeout - Duration::from_millis(50), "{took:?}");
}

#[tokio::test]
async fn a_long_answer_is_not_hurried() {
    let slow = get(async || {
        sleep(Duration::from_millis(900)).await;
        "hello"
    });
    let running = run(Router::new().route("/hello", slow), limits()).await;
    let mut stream = running.connect().await;
    stream.write_all(HELLO).await.unwrap();
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let large = get(async || vec![b'x'; 64 << 20]);
    let running = run(Router::new().route("/hello", large), limits()).await;
    let mut stream = running.connect().await;
    stream.write_all(HELLO).await.unwrap();
    running.until_all_are_closed().await;
}

#[tokio::test]
async fn over_the_cap_a_connection_waits_for_its_turn() {
    let limits = Limits { connections_max: 2, ..limits() };
    let running = run(hello(), limits).await;
    let (_first, _second) = (running.connect().await, running.connect().await);
    let mut third = running.connect().await;
    third.write_all(HELLO).await.unwrap();
    let mut byte = [0; 1];
    let early = timeout(Duration::from_millis(50), third.peek(&mut byte)).await;
    assert!(early.is_err(), "two are served at a time");
    assert!(read_response(&mut third).await.starts_with("HTTP/1.1 200"));
}

/// A handler that says when it began, and ends when told.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (began, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (began.clone(), release.clone());
    let handler = get(async move || {
        tell.notify_one();
        wait.notified().await;
        "hello"
    });
    (Router::new().route("/hello", handler), began, release)
}

#[tokio::test]
async fn a_graceful_stop_lets_requests_in_flight_end() {
    let (app, began, release) = held();
    let mut running = run(app, limits()).await;
    let mut idle = running.connect().await;
    let mut busy = running.connect().await;
    busy.write_all(HELLO).await.unwrap();
    began.notified().await;
    let (cut, (said, _), ()) =
        tokio::join!(running.server.drain(&mut running.accepting), read_to_end(&mut busy), async {
            assert_eq!(read_to_end(&mut idle).await.0, "", "an idle connection is closed at once");
            release.notify_one();
        },);
    assert_eq!(cut, 0);
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("hello"), "{said}");
    assert!(running.readiness.is_draining());
    assert_eq!(running.open_connections(), "0");
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_cut() {
    let (app, began, _release) = held();
    let mut running = run(app, limits()).await;
    let mut stream = running.connect().await;
    stream.write_all(HELLO).await.unwrap();
    began.notified().await;
    let started = Instant::now();
    assert_eq!(running.server.drain(&mut running.accepting).await, 1);
    assert!(started.elapsed() >= limits().stop_grace);
    assert_eq!(read_to_end(&mut stream).await.0, "");
    assert_eq!(running.open_connections(), "0");
}

#[tokio::test]
async fn connections_made_while_nobody_accepts_are_served_by_the_next() {
    let mut running = run(hello(), limits()).await;
    running.server.drain(&mut running.accepting).await;
    let mut stream = running.connect().await;
    stream.write_all(HELLO).await.unwrap();
    running.accepting = running.server.accept();
    assert!(!running.readiness.is_draining());
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_outlive_the_accept_loop_that_took_them_in() {
    let (app, began, release) = held();
    let Running { server, accepting, address, .. } = run(app, limits()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(HELLO).await.unwrap();
    began.notified().await;
    drop(accepting);
    release.notify_one();
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200"));

    let mut next = server.accept();
    assert!(!next.is_over());
    assert_eq!(server.drain(&mut next).await, 0, "the next incarnation drains them too");
    assert_eq!(read_to_end(&mut stream).await.0, "");
}

#[tokio::test]
async fn work_stops_when_its_caller_leaves() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, guard) = (began.clone(), dropped.clone());
    let handler = get(async move || {
        let _guard = Dropped(guard.clone());
        tell.notify_one();
        std::future::pending::<()>().await;
    });
    let running = run(Router::new().route("/hello", handler), limits()).await;
    let mut stream = running.connect().await;
    stream.write_all(HELLO).await.unwrap();
    began.notified().await;
    drop(stream);
    timeout(Duration::from_secs(1), dropped.notified()).await.expect("the work stops");
}

#[tokio::test]
async fn a_stream_stops_when_its_caller_leaves() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let dropped = Arc::new(Notify::new());
    let guard = dropped.clone();
    let handler = get(async move || {
        let guard = Dropped(guard.clone());
        let pieces = futures_util::stream::unfold(guard, async |guard| {
            sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, std::io::Error>("hello"), guard))
        });
        Body::from_stream(pieces)
    });
    let running = run(Router::new().route("/hello", handler), limits()).await;
    let mut stream = running.connect().await;
    stream.write_all(HELLO).await.unwrap();
    stream.read_exact(&mut [0; 256]).await.unwrap();
    drop(stream);
    timeout(Duration::from_secs(1), dropped.notified()).await.expect("the stream stops");
}

#[tokio::test]
async fn whatever_comes_in_the_next_client_is_served() {
    let running = run(hello(), limits()).await;
    let long_line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let long_field = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    let garbage: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET  HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
        "GET /\u{6f22} HTTP/1.1\r\n\r\n".as_bytes(),
        long_line.as_bytes(),
        long_field.as_bytes(),
        many_fields.as_bytes(),
        &garbage,
    ] {
        let mut stream = running.connect().await;
        let _ = stream.write_all(bytes).await;
        let (said, _) = read_to_end(&mut stream).await;
        let is_refused = said.is_empty() || said.starts_with("HTTP/1.1 4");
        assert!(is_refused, "{}: {said}", bytes[..bytes.len().min(40)].escape_ascii());
    }
    let mut stream = running.connect().await;
    stream.write_all(HELLO).await.unwrap();
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
}

/// Takes every place with bodies that do not end, and tells what each of them is answered once
/// another client has been served.
async fn hold_every_place(limits: Limits, pause: Duration) {
    let door = door_with(Mode::Local, limits.clone());
    let running = run(door.router.clone(), limits.clone()).await;
    let mut holders = tokio::task::JoinSet::new();
    for _ in 0..limits.connections_max {
        let (mut reader, mut writer) = running.connect().await.into_split();
        holders.spawn(async move {
            let head = b"POST /api/v1/inference/generate HTTP/1.1\r\nHost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n";
            writer.write_all(head).await.unwrap();
            let dribble = async {
                while writer.write_all(b" ").await.is_ok() {
                    sleep(pause).await;
                }
                std::future::pending::<()>().await;
            };
            let mut said = Vec::new();
            tokio::select! {
                () = dribble => {}
                _ = timeout(PATIENCE, reader.read_to_end(&mut said)) => {}
            }
            String::from_utf8(said).unwrap()
        });
    }
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let (said, took) = read_to_end(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(took < limits.generate_timeout / 2, "{took:?}");
    for said in holders.join_all().await {
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
        assert!(said.contains("connection: close") && said.contains("REQUEST_TIMEOUT"), "{said}");
    }
    running.until_all_are_closed().await;
}

#[tokio::test]
async fn silent_bodies_do_not_keep_others_out() {
    let limits = Limits { connections_max: 8, ..limits() };
    hold_every_place(limits, PATIENCE).await;
}

#[tokio::test]
async fn dribbling_bodies_do_not_keep_others_out() {
    let request_timeout = Duration::from_millis(300);
    let header_timeout = Duration::from_secs(5);
    let limits = Limits { connections_max: 8, request_timeout, header_timeout, ..limits() };
    hold_every_place(limits, Duration::from_millis(20)).await;
}
