//! Clients that measure the time to the first token, which wrk cannot.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::mock::MODEL;

/// Longer than any answer takes; what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a gateway listens, and what it wants to see.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

/// What one request came to.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) began: Instant,
    /// To the first piece of text.
    pub(crate) first: Duration,
    /// To the last byte.
    pub(crate) last: Duration,
    /// Why it was not answered with 200, and wholly.
    pub(crate) failure: Option<String>,
}

/// `connections` clients, each of which asks again as soon as it has its answer, for `time`.
pub(crate) async fn load(
    target: &Target,
    connections: usize,
    time: Duration,
    streams: bool,
) -> io::Result<Vec<Answer>> {
    let until = Instant::now() + time;
    let clients: Vec<_> =
        (0..connections).map(|_| tokio::spawn(client(target.clone(), until, streams))).collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await.map_err(io::Error::other)?);
    }
    Ok(answers)
}

async fn client(target: Target, until: Instant, streams: bool) -> Vec<Answer> {
    let message = json!([{ "role": "user", "content": "Say some words." }]);
    let body = json!({ "model": MODEL, "messages": message, "stream": streams }).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        target.address,
        target.token,
        body.len()
    );
    let mut answers = Vec::new();
    let mut open = None;
    while Instant::now() < until {
        let began = Instant::now();
        let asked = ask(&mut open, target.address, request.as_bytes(), began);
        let answer = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer.unwrap_or_else(|error| Err(error.to_string())),
            Err(_) => Err(format!("nothing in {} s", PATIENCE.as_secs())),
        };
        let failure = answer.as_ref().err().cloned();
        let first = answer.unwrap_or_else(|_| began.elapsed());
        answers.push(Answer { began, first, last: began.elapsed(), failure });
        if answers.last().is_some_and(|answer| answer.failure.is_some()) {
            open = None;
            // Whoever is refused does not ask again at once.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    answers
}

/// One request over the connection there is, or a new one: the time to its first text, or what was
/// said instead.
async fn ask(
    open: &mut Option<TcpStream>,
    address: SocketAddr,
    request: &[u8],
    began: Instant,
) -> io::Result<Result<Duration, String>> {
    let stream = match open {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            open.insert(stream)
        }
    };
    stream.write_all(request).await?;
    let (mut said, mut first) = (Vec::with_capacity(16 * 1024), None);
    loop {
        if stream.read_buf(&mut said).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first.is_none() && contains(&said, b"some words") {
            first = Some(began.elapsed());
        }
        if is_complete(&said) {
            break;
        }
    }
    let is_ok = said.starts_with(b"HTTP/1.1 200");
    Ok(first.filter(|_| is_ok).ok_or_else(|| String::from_utf8_lossy(&said).into_owned()))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|it| it == part)
}

/// Whether the answer has come to its end: by its length, or by its last chunk.
fn is_complete(said: &[u8]) -> bool {
    let Some(end) = said.windows(4).position(|it| it == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&said[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => said.len() >= end + 4 + length,
        None => said.ends_with(b"\r\n0\r\n\r\n"),
    }
}
