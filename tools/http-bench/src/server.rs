//! The two servers, as processes of their own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::Request;

/// Longer than a node takes to start on a busy machine.
const START_WAIT: Duration = Duration::from_secs(30);

/// The node with its defaults, but for its port and its own directory; its log goes to a file there.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    address: SocketAddr,
    token: String,
    folder: tempfile::TempDir,
}

impl Node {
    pub(crate) fn start(environment: &[(&str, &str)]) -> io::Result<Self> {
        Self::with_config("", environment)
    }

    /// With this text as its configuration file.
    pub(crate) fn with_config(config: &str, environment: &[(&str, &str)]) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("node.toml"), config)?;
        let log = folder.path().join("log");
        let child = Command::new(beside("bizra-api")?)
            .args(["--port", "0", "--log-format", "json", "--data-dir"])
            .arg(folder.path())
            .env_clear()
            // Nothing listens there, whatever runs on this machine.
            .env("BIZRA_INFERENCE__OLLAMA__URL", "http://127.0.0.1:9")
            .envs(environment.iter().copied())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut child = Stopped(Some(child));
        let given_up = Instant::now() + START_WAIT;
        let address = loop {
            if let Some(address) = address_in(&fs::read_to_string(&log)?) {
                break address;
            }
            let has_ended = child.0.as_mut().is_some_and(|it| !matches!(it.try_wait(), Ok(None)));
            if has_ended || Instant::now() > given_up {
                return Err(io::Error::other(format!(
                    "the node did not start:\n{}",
                    fs::read_to_string(&log)?
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let token = fs::read_to_string(folder.path().join("api-token"))?.trim().to_owned();
        let child = child.0.take().ok_or_else(|| io::Error::other("the node is gone"))?;
        Ok(Self { child, address, token, folder })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The body of the answer to `request`.
    pub(crate) fn ask(&self, request: &Request) -> io::Result<Value> {
        let body = request.body.as_deref().unwrap_or_default();
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            request.method,
            request.path,
            self.address,
            body.len()
        );
        if let Some(token) = &request.token {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "{head}content-type: application/json\r\n\r\n{body}")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|_| io::Error::other(said.clone()))
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS"))
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A server of this program in a process of its own, which is killed with this value.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    /// The bare server, which answers as the node did.
    pub(crate) fn bare(node: &Node) -> io::Result<Self> {
        let health = node.folder().join("health.json");
        fs::write(&health, node.ask(&Request::get("/api/v1/health"))?.to_string())?;
        Self::start(["serve".as_ref(), health.as_os_str()])
    }

    /// Runs this program with these arguments; it says where it listens.
    pub(crate) fn start<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let mut child = Stopped(Some(child));
        read.transpose()?;
        let address = line.trim().parse();
        let address = address.map_err(|_| io::Error::other("the other server did not start"))?;
        let child = child.0.take().ok_or_else(|| io::Error::other("the other server is gone"))?;
        Ok(Self { child, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn kill(&mut self) {
        stop(&mut self.child);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that ends with this value unless it is taken out.
struct Stopped(Option<Child>);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            stop(child);
        }
    }
}

fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A program that cargo built beside this one.
fn beside(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    let how = "is not built; run cargo xtask bench-http";
    if path.exists() {
        Ok(path)
    } else {
        Err(io::Error::other(format!("{} {how}", path.display())))
    }
}

fn address_in(log: &str) -> Option<SocketAddr> {
    log.lines().find_map(|line| {
        let entry: Value = serde_json::from_str(line).ok()?;
        entry["fields"]["address"].as_str()?.parse().ok()
    })
}
