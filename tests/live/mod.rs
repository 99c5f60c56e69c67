//! A live node and a client that speaks to it over HTTP.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bizra_omega::config::{Config, LogFormat};
use bizra_omega::node::{self, Node};
use serde_json::{Value, json};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A configuration for a test: its own directory, any free port, short watches, and budgets that
/// drills do not spend.
pub(crate) fn config(data_dir: &Path) -> Config {
    let mut config = Config::default();
    config.node.data_dir = data_dir.to_owned();
    config.http.port = 0;
    config.http.drain_seconds = 0;
    config.log.format = LogFormat::Text;
    config.chaos.enabled = true;
    config.supervisor.max_restarts = 1_000_000;
    config.supervisor.group_max_restarts = 1_000_000;
    config.supervisor.backoff_max_ms = 50;
    config.supervisor.heartbeat_ms = 100;
    config.supervisor.heartbeat_deadline_ms = 400;
    // Nothing listens there, so the tier is absent whatever runs on this machine.
    config.inference.ollama.url = "http://127.0.0.1:9".to_owned();
    config
}

/// A node in this process.
pub(crate) async fn start(data_dir: &Path) -> Node {
    node::start(config(data_dir)).await.unwrap()
}

/// A client with the node's token.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(address: impl std::fmt::Display, data_dir: &Path) -> Self {
        let token = std::fs::read_to_string(data_dir.join("api-token")).unwrap();
        Self::with_token(address, token.trim())
    }

    pub(crate) fn with_token(address: impl std::fmt::Display, token: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(60 * SECOND).build().unwrap();
        Self { base: format!("http://{address}/api/v1"), token: token.to_owned(), http }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.try_post(path, body).await.unwrap()).await
    }

    /// The answer, unless the node died. There is nothing in it to refuse.
    pub(crate) async fn post_if_alive(&self, path: &str, body: &Value) -> Option<Value> {
        let response = self.try_post(path, body).await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await;
        assert_eq!(status, 200, "{path}: {text:?}");
        serde_json::from_str(&text.ok()?).ok()
    }

    pub(crate) async fn try_post(
        &self,
        path: &str,
        body: &Value,
    ) -> reqwest::Result<reqwest::Response> {
        self.http
            .post(format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
    }

    /// Removes something; nothing if no answer came.
    pub(crate) async fn delete(&self, path: &str) -> Option<(u16, Value)> {
        let request = self.http.delete(format!("{}{path}", self.base)).bearer_auth(&self.token);
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, serde_json::from_str(&response.text().await.ok()?).ok()?))
    }

    /// A signed envelope around `payload`.
    pub(crate) async fn envelope(&self, payload: Value) -> (u16, Value) {
        self.post("/pci/envelope/create", &json!({ "payload": payload })).await
    }
}

async fn read(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text));
    (status, value)
}

/// The node's own program, as a process of its own.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: tokio::process::Child,
    pub(crate) address: String,
    data_dir: PathBuf,
    /// The lines of its log since it listens.
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) async fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[]).await
    }

    /// Starts it in this environment and waits until it listens.
    pub(crate) async fn start_with(data_dir: &Path, environment: &[(&str, &str)]) -> Self {
        use tokio::io::{AsyncBufReadExt, BufReader};
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_bizra-api"))
            .args(["--port", "0", "--log-format", "json", "--data-dir"])
            .arg(data_dir)
            .env_clear()
            .env("BIZRA_INFERENCE__OLLAMA__URL", "http://127.0.0.1:9")
            .env("BIZRA_HTTP__DRAIN_SECONDS", "0")
            .envs(environment.iter().copied())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let address = loop {
            let line = tokio::time::timeout(60 * SECOND, lines.next_line()).await.unwrap();
            let Some(line) = line.unwrap() else { panic!("ended early: {seen:#?}") };
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = entry["fields"]["address"].as_str() {
                break address.to_owned();
            }
            seen.push(line);
        };
        // Drained, so that the node never waits for a reader of its log.
        let log = Arc::new(Mutex::new(Vec::new()));
        let heard = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                heard.lock().unwrap().push(line);
            }
        });
        Self { child, address, data_dir: data_dir.to_owned(), log }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address, &self.data_dir)
    }

    /// The last line of its log so far.
    pub(crate) fn last_line(&self) -> String {
        self.log.lock().unwrap().last().cloned().unwrap_or_default()
    }

    /// Whether its log has a line with this text.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Waits for its end; returns its exit code and the last line of its log.
    pub(crate) async fn ended(&mut self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(30 * SECOND, self.child.wait()).await.unwrap().unwrap();
        // The pipe outlives the process: wait until the reader has seen its end.
        while Arc::strong_count(&self.log) > 1 {
            tokio::task::yield_now().await;
        }
        (ended.code(), self.last_line())
    }

    /// Kills it in the middle of work, however slow the machine is: after `least` pieces of it are
    /// `done`, and then at any moment of `moment_ms`.
    pub(crate) async fn kill_amid(
        &mut self,
        (done, least): (&AtomicU64, u64),
        patience: Duration,
        moment_ms: u32,
    ) {
        let is_at_work = async {
            while done.load(Ordering::Relaxed) < least {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(patience, is_at_work).await.unwrap();
        let moment = getrandom::u32().unwrap() % moment_ms;
        tokio::time::sleep(Duration::from_millis(u64::from(moment))).await;
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, as an operator would.
    pub(crate) fn terminate(&self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

/// Runs `bizra` against this node.
pub(crate) async fn bizra(
    data_dir: &Path,
    url: Option<&str>,
    args: &[&str],
) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bizra"));
    command.env_clear().env("BIZRA_DATA_DIR", data_dir).args(args);
    if let Some(url) = url {
        command.args(["--url", url]);
    }
    told(command.output().await.unwrap())
}

pub(crate) fn told(output: std::process::Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
