//! wrk: many connections over which requests follow one another.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

/// One request, sent again and again.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Option<String>,
}

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), token: None, body: None }
    }

    pub(crate) fn post(path: &str, body: &serde_json::Value) -> Self {
        let body = Some(body.to_string());
        Self { method: "POST", path: path.to_owned(), token: None, body }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// A script for wrk. Lua's long brackets hold any text but their own end.
    fn script(&self) -> String {
        let mut script = format!("wrk.method = \"{}\"\n", self.method);
        if let Some(body) = &self.body {
            script += &format!("wrk.body = [==[{body}]==]\n");
            script += "wrk.headers[\"content-type\"] = \"application/json\"\n";
        }
        if let Some(token) = &self.token {
            script += &format!("wrk.headers[\"authorization\"] = \"Bearer {token}\"\n");
        }
        script + REPORT
    }
}

/// Times are in microseconds.
const REPORT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"micros":%d,"p50":%d,"p99":%d,"unanswered":%d,"refused":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout, e.status))
end
"#;

#[derive(Deserialize)]
struct Report {
    requests: u64,
    micros: u64,
    p50: u64,
    p99: u64,
    unanswered: u64,
    refused: u64,
}

/// What one load came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Answers a second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Whether wrk can be run.
pub(crate) fn is_there() -> io::Result<()> {
    let found = Command::new("wrk").arg("--version").output();
    found.map(drop).map_err(|error| {
        let how = "install it (Debian: apt install wrk)";
        io::Error::new(
            error.kind(),
            format!("wrk makes the load, and does not start: {error}; {how}"),
        )
    })
}

/// Loads a server that must answer everything with 200.
pub(crate) fn run(
    server: SocketAddr,
    request: &Request,
    connections: usize,
    time: Duration,
) -> io::Result<Measured> {
    load(server, request, connections, time, true)
}

/// Loads a server, whatever it answers.
pub(crate) fn run_any(
    server: SocketAddr,
    request: &Request,
    connections: usize,
    time: Duration,
) -> io::Result<Measured> {
    load(server, request, connections, time, false)
}

fn load(
    server: SocketAddr,
    request: &Request,
    connections: usize,
    time: Duration,
    must_succeed: bool,
) -> io::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("request.lua");
    std::fs::write(&script, request.script())?;
    let output = Command::new("wrk")
        .args(["--threads", if connections > 1 { "2" } else { "1" }])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", time.as_secs())])
        .arg("--script")
        .arg(&script)
        .arg(format!("http://{server}{}", request.path))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().rfind(|line| line.starts_with('{'));
    let failed = || {
        let why = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("wrk on {}: {}{said}", request.path, why.trim()))
    };
    let report: Report = line.and_then(|it| serde_json::from_str(it).ok()).ok_or_else(failed)?;
    if report.requests == 0 || report.unanswered > 0 || (must_succeed && report.refused > 0) {
        let Report { requests, unanswered, refused, .. } = report;
        return Err(io::Error::other(format!(
            "{}: of {requests} requests {unanswered} were not answered, {refused} not with 200",
            request.path
        )));
    }
    Ok(Measured {
        rate: report.requests as f64 / (report.micros as f64 / 1e6),
        p50_ms: report.p50 as f64 / 1e3,
        p99_ms: report.p99 as f64 / 1e3,
    })
}
