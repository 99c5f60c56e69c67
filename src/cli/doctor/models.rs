//! Which model and which tier fit this machine, and whether a model server answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Finding, billions, bytes, fit_json};
use crate::config;
use crate::domain::hardware::{
    Bound, Fit, Machine, SIZES, fit, is_enough, needed_bytes, needed_bytes_of_file,
};

/// Bytes of a list of models.
const LIST_BYTES_MAX: usize = 4 << 20;

/// What was seen of the model server.
#[derive(Debug)]
pub(super) enum Ollama {
    /// It answers, and has so many models.
    Answers { url: String, models: usize },
    /// It does not.
    Absent { url: String, reason: String },
}

impl Ollama {
    pub(super) fn finding(&self) -> Finding {
        let check = "tier local";
        match self {
            Self::Answers { url, models: 0 } => {
                let remedy = "get one, for example: ollama pull qwen2.5:1.5b".to_owned();
                Finding::warn(check, format!("Ollama answers at {url} and has no model"), remedy)
            }
            Self::Answers { url, models } => {
                Finding::ok(check, format!("Ollama answers at {url} with {models} models"))
            }
            Self::Absent { url, reason } => {
                let text = format!("serves nothing: Ollama does not answer at {url} ({reason})");
                let remedy = "start one, or name another in OLLAMA_HOST, if you want it".to_owned();
                Finding::warn(check, text, remedy)
            }
        }
    }

    fn serves(&self) -> bool {
        matches!(self, Self::Answers { models: 1.., .. })
    }
}

/// Asks the model server what it has.
pub(super) async fn ollama(config: &config::Ollama) -> Ollama {
    let url = config.url.clone();
    let wait = Duration::from_millis(config.probe_timeout_ms);
    match tokio::time::timeout(wait, models(&url)).await {
        Ok(Ok(models)) => Ollama::Answers { url, models },
        Ok(Err(reason)) => Ollama::Absent { url, reason },
        Err(_) => Ollama::Absent { url, reason: "no answer in time".to_owned() },
    }
}

async fn models(url: &str) -> Result<usize, String> {
    // As the node asks it: past proxies and without following it elsewhere.
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let http = http.build().map_err(|error| error.to_string())?;
    let answer = http.get(format!("{url}/api/tags")).send().await;
    let mut answer = answer.map_err(|error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string()
    })?;
    if !answer.status().is_success() {
        return Err(format!("HTTP {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
        body.extend_from_slice(&piece);
        if body.len() > LIST_BYTES_MAX {
            return Err(format!("its list has more than {LIST_BYTES_MAX} bytes"));
        }
    }
    let list: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let models = list["models"].as_array().ok_or("it does not answer as Ollama does")?;
    Ok(models.len())
}

/// The model that is configured for this process, and whether it fits.
pub(super) fn edge(config: &config::Edge, machine: &Machine, ollama: &Ollama) -> Finding {
    let check = "model";
    let Some(path) = &config.model else {
        let text = "the built-in demo, which knows nothing";
        if ollama.serves() {
            return Finding::ok(check, format!("{text}; the model server has others"));
        }
        let remedy = "name a GGUF file with --model, or start Ollama".to_owned();
        return Finding::warn(check, text, remedy);
    };
    let shown = path.display();
    let size = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => {
            let remedy = "name a file in inference.edge.model".to_owned();
            return Finding::fail(check, format!("{shown} is no file"), remedy);
        }
        Err(error) => {
            let remedy = "put it there, or change inference.edge.model".to_owned();
            return Finding::fail(check, format!("{shown}: {error}"), remedy);
        }
    };
    let needed = needed_bytes_of_file(size);
    let text = format!("{shown} has {} and takes up to {}", bytes(size), bytes(needed));
    match machine.memory_available() {
        None => Finding::warn(check, format!("{text}; the memory is unknown"), None),
        Some(available) if is_enough(available, needed) => {
            Finding::ok(check, format!("{text} of the {} that are free", bytes(available)))
        }
        Some(available) => {
            let remedy = "take a smaller model or a tighter quantization".to_owned();
            Finding::warn(check, format!("{text}; {} are free", bytes(available)), remedy)
        }
    }
}

/// The largest model for this process, and why it is no larger.
pub(super) fn size(machine: &Machine) -> Finding {
    let check = "tier edge";
    match fit(machine) {
        None => {
            let text = "memory or processors are unknown, so no size of model can be named";
            Finding::warn(check, text, None)
        }
        Some(Fit { weights: None, .. }) => {
            let text = format!(
                "only the built-in demo fits; the smallest model in use takes {}",
                bytes(needed_bytes(SIZES[0]))
            );
            Finding::warn(check, text, "free memory, or raise its limit".to_owned())
        }
        Some(Fit { weights: Some(weights), bound, tokens_per_second }) => {
            let reason = match bound {
                Bound::Memory => "a larger one does not fit the memory",
                Bound::Processors => "a larger one would be slow on these processors",
                Bound::None => "no larger one is in use",
            };
            let text = format!(
                "up to {} in four bits, in {} with a full context, at about {:.0} tokens a second; \
                 {reason}",
                billions(weights),
                bytes(needed_bytes(weights)),
                tokens_per_second.unwrap_or_default(),
            );
            Finding::ok(check, text)
        }
    }
}

/// Which tier is the better one here.
pub(super) fn tier(machine: &Machine, ollama: &Ollama) -> Finding {
    let check = "advice";
    let has_gpu = machine.gpus.as_ref().is_some_and(|gpus| !gpus.is_empty());
    match (ollama.serves(), has_gpu) {
        (true, true) => Finding::ok(check, "local, where a graphics processor can be used"),
        (true, false) => Finding::ok(check, "local for what takes long, edge for short answers"),
        (false, true) => {
            let remedy = "the engine in this process uses no graphics processor; Ollama would";
            Finding::warn(check, "edge, on the processors alone", remedy.to_owned())
        }
        (false, false) => Finding::ok(check, "edge, as nothing else serves"),
    }
}

/// The same for programs.
pub(super) fn advice(machine: &Machine, ollama: &Ollama) -> Value {
    let tier = if ollama.serves() { "Local" } else { "Edge" };
    json!({ "tier": tier, "edge": fit_json(machine), "local": ollama.serves() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;
    use crate::domain::hardware::{Gpu, Memory};

    fn machine(gigabytes: u64) -> Machine {
        let memory =
            Memory { total: gigabytes * 1_000_000_000, available: gigabytes * 1_000_000_000 };
        let gpus = Some(Vec::new());
        Machine { cores: Some(4), memory: Some(memory), gpus, ..Machine::default() }
    }

    fn ollama(models: usize) -> Ollama {
        Ollama::Answers { url: "http://127.0.0.1:1".to_owned(), models }
    }

    #[test]
    fn the_advice_names_size_need_and_reason() {
        let finding = size(&machine(16));
        let text = "up to 3 billion weights in four bits, in 3.1 GB with a full context, at about 8 \
                    tokens a second; a larger one would be slow on these processors";
        assert_eq!((finding.state, finding.text.as_str()), (State::Ok, text));
        assert!(size(&machine(0)).text.contains("only the built-in demo fits"));
        assert_eq!(size(&Machine::default()).state, State::Warn);
        assert!(tier(&machine(16), &ollama(0)).text.starts_with("edge"));
        assert!(tier(&machine(16), &ollama(1)).text.starts_with("local"));
        let idle =
            Machine { gpus: Some(vec![Gpu { name: "AMD".into(), memory: None }]), ..machine(16) };
        assert!(tier(&idle, &ollama(0)).remedy.is_some_and(|remedy| remedy.contains("Ollama")));
        assert_eq!(tier(&idle, &ollama(1)).state, State::Ok);
        assert_eq!(advice(&machine(16), &ollama(0))["edge"]["bound_by"], "processors");
        assert_eq!(advice(&Machine::default(), &ollama(1))["edge"], Value::Null);
    }

    #[test]
    fn a_model_that_is_missing_fails_and_one_too_large_warns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        let config = config::Edge { model: Some(path.clone()), ..config::Edge::default() };
        assert_eq!(edge(&config, &machine(16), &ollama(0)).state, State::Fail);
        std::fs::File::create(&path).unwrap().set_len(4_000_000_000).unwrap();
        for (machine, state) in
            [(machine(16), State::Ok), (machine(4), State::Warn), (Machine::default(), State::Warn)]
        {
            assert_eq!(edge(&config, &machine, &ollama(0)).state, state);
        }
        let built_in = config::Edge::default();
        assert_eq!(edge(&built_in, &machine(4), &ollama(0)).state, State::Warn);
        assert_eq!(edge(&built_in, &machine(4), &ollama(1)).state, State::Ok);
    }

    #[tokio::test]
    async fn a_model_server_that_is_none_is_told_from_one_that_is_absent() {
        use std::io::{Read, Write};
        for (body, expected) in [
            (Some("{\"models\":[{},{}]}"), "with 2 models"),
            (Some("{\"models\":[]}"), "has no model"),
            (Some("{}"), "does not answer as Ollama does"),
            (None, "serves nothing"),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let server = body.map(|body| {
                std::thread::spawn(move || {
                    let (mut stream, _) = listener.accept().unwrap();
                    let _ = stream.read(&mut [0; 4096]).unwrap();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                })
            });
            let config = config::Ollama { url, ..config::Ollama::default() };
            let finding = ollama_of(&config).await.finding();
            assert!(finding.text.contains(expected), "{finding:?}");
            if let Some(server) = server {
                server.join().unwrap();
            }
        }
    }

    async fn ollama_of(config: &config::Ollama) -> Ollama {
        super::ollama(config).await
    }
}
