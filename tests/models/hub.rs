//! A double of a model hub on this machine, which misbehaves on command, and a store to pull into.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bizra_omega::adapters::models::download::pull;
use bizra_omega::adapters::models::hub::{Hub, Waits};
use bizra_omega::adapters::models::{Installed, ModelStore, ModelStoreError};
use bizra_omega::domain::model_store::catalogue::{Catalogue, Entry};
use bizra_omega::domain::model_store::{ModelName, Sha256};
use sha2::Digest;
use tempfile::TempDir;

/// The demo model: two and a half megabytes that the engine can run.
pub(crate) const MODEL: &[u8] = include_bytes!("../../models/bizra-demo.gguf");

/// What the hub does about one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// What a hub should: the whole file, or the part that was asked for.
    Honest,
    /// The same, without a length.
    NoLength,
    /// The whole file, whatever was asked for.
    Whole,
    /// As it should, but so many bytes only, and then no more.
    Cut(usize),
    /// So many bytes as it should, then nothing, for as long as the client waits.
    Hang(usize),
    /// One byte at a time, with a pause after each.
    Trickle(Duration),
    /// As it should, with one byte changed at this place of the file.
    Corrupt(usize),
    /// The whole file and more, without a length.
    TooMuch,
    /// A head with this status and these lines, and no body.
    Head(u16, Vec<(&'static str, String)>),
    /// 206 with this `Content-Range` and the whole file.
    Range(&'static str),
    /// The whole file, said to be packed.
    Packed(&'static str),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Debug)]
pub(crate) struct State {
    file: Vec<u8>,
    /// For the next requests; then it is honest.
    script: VecDeque<Reply>,
    requests: Vec<Request>,
}

/// The double.
#[derive(Clone, Debug)]
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Double {
    /// Serves `file` at every path, by `script` first.
    pub(crate) fn serve(file: &[u8], script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = script.into_iter().collect();
        let state = State { file: file.to_vec(), script, requests: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let double = Self { address, state };
        let served = double.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (served, stream) = (served.clone(), stream.unwrap());
                // A client that has gone is no failure of the hub's.
                std::thread::spawn(move || drop(served.answer(&stream)));
            }
        });
        double
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let request = read(stream)?;
        let (reply, file) = {
            let mut state = self.state.lock().unwrap();
            state.requests.push(request.clone());
            (state.script.pop_front().unwrap_or(Reply::Honest), state.file.clone())
        };
        let range = request.header("range").and_then(|range| {
            range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
        });
        // Of another version nothing goes on.
        let range = range.filter(|_| request.header("if-range").is_none_or(|etag| etag == ETAG));
        let total = file.len();
        let (status, from) = match range {
            Some(from) if from >= total => (416, total),
            Some(from) => (206, from),
            None => (200, 0),
        };
        let mut headers = vec![("etag", ETAG.to_owned())];
        if status == 206 {
            headers.push(("content-range", format!("bytes {from}-{}/{total}", total - 1)));
        }
        let length = ("content-length", (total - from).to_string());
        let mut body = file[from..].to_vec();
        match reply {
            Reply::Honest => {
                headers.push(length);
                head(stream, status, &headers)?;
                stream.write_all(&body)
            }
            Reply::NoLength => {
                head(stream, status, &headers)?;
                stream.write_all(&body)
            }
            Reply::Whole => {
                head(stream, 200, &[("content-length", total.to_string())])?;
                stream.write_all(&file)
            }
            Reply::Cut(bytes) => {
                headers.push(length);
                head(stream, status, &headers)?;
                stream.write_all(&body[..bytes])
            }
            Reply::Hang(bytes) => {
                headers.push(length);
                head(stream, status, &headers)?;
                stream.write_all(&body[..bytes])?;
                // Until the client goes.
                std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
            }
            Reply::Trickle(pause) => {
                headers.push(length);
                head(stream, status, &headers)?;
                for byte in body {
                    stream.write_all(&[byte])?;
                    std::thread::sleep(pause);
                }
                Ok(())
            }
            Reply::Corrupt(at) => {
                body[at - from] ^= 1;
                headers.push(length);
                head(stream, status, &headers)?;
                stream.write_all(&body)
            }
            Reply::TooMuch => {
                head(stream, 200, &[])?;
                stream.write_all(&file)?;
                stream.write_all(&file)
            }
            Reply::Head(status, mut lines) => {
                lines.push(("content-length", "0".to_owned()));
                head(stream, status, &lines)
            }
            Reply::Range(range) => {
                let lines =
                    [("content-range", range.to_owned()), ("content-length", total.to_string())];
                head(stream, 206, &lines)?;
                stream.write_all(&file)
            }
            Reply::Packed(encoding) => {
                let lines = [
                    ("content-encoding", encoding.to_owned()),
                    ("content-length", total.to_string()),
                ];
                head(stream, 200, &lines)?;
                stream.write_all(&file)
            }
        }
    }
}

pub(crate) const ETAG: &str = "\"version-1\"";

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    Ok(Request { path, headers })
}

fn head(mut stream: &TcpStream, status: u16, lines: &[(&str, String)]) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    for (name, value) in lines {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n").as_bytes())
}

/// A data directory with an empty store.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) store: ModelStore,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ModelStore::new(dir.path(), 0);
        Self { dir, store }
    }

    /// Pulls the model that `double` serves, patiently enough for a loaded machine only where the
    /// test does not wait for it.
    pub(crate) async fn pull(&self, double: &Double) -> Result<Installed, ModelStoreError> {
        self.pull_with(double, &entry(MODEL), waits()).await
    }

    pub(crate) async fn pull_with(
        &self,
        double: &Double,
        entry: &Entry,
        waits: Waits,
    ) -> Result<Installed, ModelStoreError> {
        let hub = Hub::new(&double.url(), "hf_token", false, waits).unwrap();
        pull(&self.store, &hub, entry, 1, Arc::new(|_| {})).await
    }

    /// Files of the store, below its folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let root = self.dir.path().join("models");
        walk(&root, &root, &mut files);
        files.retain(|file| file != "lock");
        files.sort();
        files
    }
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// Short pauses, long waits.
pub(crate) fn waits() -> Waits {
    Waits { pause: Duration::from_millis(1), pace_bytes: 1024, ..Waits::default() }
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::from(<[u8; 32]>::from(sha2::Sha256::digest(bytes)))
}

pub(crate) fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

/// A catalogue with `bytes` as `demo`.
pub(crate) fn catalogue(bytes: &[u8]) -> String {
    format!(
        "[[model]]\nname = \"demo\"\nrepository = \"bizra/demo\"\nrevision = \"main\"\n\
         file = \"demo.gguf\"\nbytes = {}\nsha256 = \"{}\"\nquantization = \"Q8_0\"\n\
         licence = \"MIT\"\ncontext = 512\nmemory_bytes = {}\ndescription = \"for tests\"\n",
        bytes.len(),
        sha256(bytes),
        2 * bytes.len(),
    )
}

pub(crate) fn parsed(bytes: &[u8]) -> Catalogue {
    Catalogue::parse("test", &catalogue(bytes)).unwrap()
}

pub(crate) fn entry(bytes: &[u8]) -> Entry {
    parsed(bytes).entries()[0].clone()
}
