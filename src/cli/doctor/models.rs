//! Which model and which tier fit this machine.

use std::path::Path;

use serde_json::{Value, json};

use super::{Finding, billions, bytes, fit_json};
use crate::adapters::embedding::ModelEmbedder;
use crate::config;
use crate::domain::embedding::Embed;
use crate::domain::hardware::{
    Bound, Fit, Machine, SIZES, fit, is_enough, needed_bytes, needed_bytes_of_file,
};

/// The models that are configured for this process, and whether each fits.
pub(super) fn edge(config: &config::Edge, machine: &Machine, is_served: bool) -> Vec<Finding> {
    let named = config.model.iter().map(|path| file(path, "inference.edge.model", machine));
    let further = config.models.iter().map(|path| file(path, "inference.edge.models", machine));
    let findings: Vec<Finding> = named.chain(further).collect();
    if !findings.is_empty() {
        return findings;
    }
    let text = "the built-in demo, which knows nothing";
    vec![match is_served {
        true => Finding::ok("model", format!("{text}; a model server has others")),
        false => {
            let remedy = "name a GGUF file with --model, pull one with `bizra models pull`, or start \
                          Ollama";
            Finding::warn("model", text, remedy.to_owned())
        }
    }]
}

fn file(path: &Path, key: &str, machine: &Machine) -> Finding {
    let check = "model";
    let shown = path.display();
    let size = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => {
            let remedy = format!("name a file in {key}");
            return Finding::fail(check, format!("{shown} is no file"), remedy);
        }
        Err(error) => {
            let remedy = format!("put it there, or change {key}");
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

/// What gives texts their vectors; a model for that is read whole, as a node does.
pub(super) async fn embedding(config: &config::Embedding) -> Finding {
    let check = "embedding";
    let Some(folder) = config.model.clone() else {
        let text =
            "built in: alike is what is spelled alike; a folder in embedding.model knows meaning";
        return Finding::ok(check, text);
    };
    let remedy = "put a model there, or leave embedding.model empty".to_owned();
    match tokio::task::spawn_blocking(move || ModelEmbedder::load(&folder)).await {
        Ok(Ok(embedder)) => Finding::ok(check, embedder.id().to_string()),
        Ok(Err(error)) => Finding::fail(check, error.to_string(), remedy),
        Err(error) => Finding::fail(check, error.to_string(), remedy),
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
pub(super) fn tier(machine: &Machine, is_served: bool) -> Finding {
    let check = "advice";
    let has_gpu = machine.gpus.as_ref().is_some_and(|gpus| !gpus.is_empty());
    match (is_served, has_gpu) {
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
pub(super) fn advice(machine: &Machine, is_served: bool) -> Value {
    let tier = if is_served { "Local" } else { "Edge" };
    json!({ "tier": tier, "edge": fit_json(machine), "local": is_served })
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

    #[test]
    fn the_advice_names_size_need_and_reason() {
        let finding = size(&machine(16));
        let text = "up to 3 billion weights in four bits, in 3.1 GB with a full context, at about 8 \
                    tokens a second; a larger one would be slow on these processors";
        assert_eq!((finding.state, finding.text.as_str()), (State::Ok, text));
        assert!(size(&machine(0)).text.contains("only the built-in demo fits"));
        assert_eq!(size(&Machine::default()).state, State::Warn);
        assert!(tier(&machine(16), false).text.starts_with("edge"));
        assert!(tier(&machine(16), true).text.starts_with("local"));
        let idle =
            Machine { gpus: Some(vec![Gpu { name: "AMD".into(), memory: None }]), ..machine(16) };
        assert!(tier(&idle, false).remedy.is_some_and(|remedy| remedy.contains("Ollama")));
        assert_eq!(tier(&idle, true).state, State::Ok);
        assert_eq!(advice(&machine(16), false)["edge"]["bound_by"], "processors");
        assert_eq!(advice(&Machine::default(), true)["edge"], Value::Null);
    }

    #[test]
    fn a_model_that_is_missing_fails_and_one_too_large_warns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        let config = config::Edge { model: Some(path.clone()), ..config::Edge::default() };
        let state = |config: &config::Edge, machine: &Machine, is_served: bool| {
            edge(config, machine, is_served).iter().map(|finding| finding.state).collect::<Vec<_>>()
        };
        assert_eq!(state(&config, &machine(16), false), [State::Fail]);
        std::fs::File::create(&path).unwrap().set_len(4_000_000_000).unwrap();
        for (machine, expected) in
            [(machine(16), State::Ok), (machine(4), State::Warn), (Machine::default(), State::Warn)]
        {
            assert_eq!(state(&config, &machine, false), [expected]);
        }
        let further = config::Edge { models: vec!["/absent.gguf".into()], ..config };
        assert_eq!(state(&further, &machine(16), true), [State::Ok, State::Fail]);
        let built_in = config::Edge::default();
        assert_eq!(state(&built_in, &machine(4), false), [State::Warn]);
        assert_eq!(state(&built_in, &machine(4), true), [State::Ok]);
    }
}
