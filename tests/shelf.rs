//! The edge backend with several models: which are listed, which are in memory, which make room.

mod support;
#[path = "support/tiny_gguf.rs"]
mod tiny_gguf;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bizra_omega::actors::backend::edge::{EdgeBackend, NAME, Setup};
use bizra_omega::adapters::edge::demo::DEMO_NAME;
use bizra_omega::adapters::edge::generate::Limits;
use bizra_omega::adapters::models::{ModelStore, ModelStoreError};
use bizra_omega::config::Engine;
use bizra_omega::domain::inference::request::{self, RawRequest};
use bizra_omega::domain::inference::{BackendError, Generated, ModelInfo};
use bizra_omega::domain::model_store::ModelName;
use bizra_omega::domain::model_store::catalogue::Catalogue;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::messages::supervisor::Fault;
use bizra_omega::supervisor::{ChildSpec, Root};
use candle_core::quantized::gguf_file::Value;
use support::{SECOND, drill, permanent, settings};
use tempfile::TempDir;
use tiny_gguf::{CONTEXT, Tiny};
use tokio::sync::mpsc;

/// A data directory with a folder of models.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("models")).unwrap();
        Self(dir)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join("models").join(file)
    }

    /// A model of this name in this file.
    fn put(&self, file: &str, name: &str) -> PathBuf {
        let tiny = Tiny::new("llama").with("general.name", Value::String(name.into()));
        std::fs::write(self.path(file), tiny.bytes()).unwrap();
        self.path(file)
    }
}

/// Bytes of the weights of one tiny model.
fn weights() -> u64 {
    let bytes = Tiny::new("llama").bytes();
    let header = bizra_omega::adapters::edge::gguf::Header::read(&*bytes, bytes.len() as u64);
    header.unwrap().tensors.values().map(|tensor| tensor.bytes).sum()
}

async fn backend(
    models: &[PathBuf],
    data_dir: &Path,
    memory_bytes: u64,
) -> (Root, Addr<BackendMsg>) {
    let settings = settings(Strategy::OneForOne);
    let (models, data_dir) = (models.to_vec(), Some(data_dir.to_owned()));
    let (engine, limits) = (Engine::Candle, Limits::default());
    let backend =
        EdgeBackend::with(Setup { models, data_dir, engine, memory_bytes, parallel: 2, limits });
    let make = move || backend.clone();
    let (spec, addr) = ChildSpec::actor(NAME, permanent(), SECOND, 64, &settings.metrics, make);
    (support::root(&settings, vec![spec]).await, addr)
}

async fn ask_for(
    addr: &Addr<BackendMsg>,
    model: Option<&str>,
    max_tokens: u64,
    tokens: Option<mpsc::Sender<String>>,
) -> Result<Generated, BackendError> {
    let raw = RawRequest {
        prompt: "the rain".into(),
        max_tokens: Some(max_tokens),
        temperature: Some(0.0),
        model: model.map(str::to_owned),
        ..RawRequest::default()
    };
    let request = raw.validate(&request::Limits::default()).unwrap();
    let deadline = Deadline::after(60 * SECOND);
    let ask = |reply| BackendMsg::Generate {
        request: request.clone(),
        tokens: tokens.clone(),
        deadline,
        reply,
    };
    addr.call(deadline, ask).await.unwrap()
}

async fn ask(addr: &Addr<BackendMsg>, model: Option<&str>) -> Result<Generated, BackendError> {
    ask_for(addr, model, 3, None).await
}

async fn models(addr: &Addr<BackendMsg>) -> Vec<ModelInfo> {
    addr.call(Deadline::after(60 * SECOND), |reply| BackendMsg::Models { reply }).await.unwrap()
}

/// The names of those in memory, sorted.
async fn loaded(addr: &Addr<BackendMsg>) -> Vec<String> {
    let models = models(addr).await.into_iter().filter(|model| model.is_loaded);
    let mut names: Vec<_> = models.map(|model| model.name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_file_is_listed_with_what_its_header_says_and_loaded_when_it_is_named() {
    let folder = Folder::new();
    folder.put("a.gguf", "alpha");
    folder.put("b.gguf", "beta");
    folder.put("c.gguf", "beta");
    folder.put("not-a-model.bin", "bin");
    std::fs::write(folder.path("broken.gguf"), b"GGUF").unwrap();
    let (_root, addr) = backend(&[], folder.0.path(), u64::MAX).await;
    assert_eq!(ask(&addr, None).await.unwrap().model, DEMO_NAME, "nothing else is configured");

    let listed = models(&addr).await;
    let names: Vec<_> = listed.iter().map(|model| model.name.as_str()).collect();
    let broken = folder.path("broken.gguf").display().to_string();
    // Two files with one name of their own: the second has that of its file.
    assert_eq!(names, [DEMO_NAME, "alpha", "beta", &broken, "c"]);
    let alpha = &listed[1];
    assert!(alpha.is_available && !alpha.is_loaded, "its header was read, nothing else");
    assert_eq!((alpha.context_length, alpha.quantization.as_deref()), (Some(128), Some("F32")));
    assert_eq!(CONTEXT, 128);
    assert!(alpha.parameters.is_some() && alpha.note.is_none());
    assert!(!listed[3].is_available && listed[3].note.as_ref().is_some_and(|n| n.contains("ends")));

    for name in ["alpha", "c"] {
        let generated = ask(&addr, Some(name)).await.unwrap();
        assert_eq!(generated.model, name);
        assert!(generated.model_digest.unwrap().starts_with("blake3:"));
    }
    assert_eq!(loaded(&addr).await, ["alpha", DEMO_NAME, "c"]);
    let available = [DEMO_NAME, "alpha", "beta", "c"].map(str::to_owned).to_vec();
    let unknown = BackendError::UnknownModel { model: "gamma".into(), available };
    assert_eq!(ask(&addr, Some("gamma")).await, Err(unknown));
    let Err(BackendError::Unavailable(reason)) = ask(&addr, Some(&broken)).await else {
        panic!("it is broken")
    };
    assert!(reason.contains("broken.gguf"), "{reason}");
}

#[tokio::test]
async fn a_model_of_the_store_has_its_name_there_and_is_not_removed_while_it_is_loaded() {
    let folder = Folder::new();
    let tiny = Tiny::new("llama").with("general.name", Value::String("of its own".into()));
    let file = folder.0.path().join("file.gguf");
    std::fs::write(&file, tiny.bytes()).unwrap();
    let (store, known) = (ModelStore::new(folder.0.path(), 0), Catalogue::default());
    let name = ModelName::parse("stored").unwrap();
    store.import(&file, Some(name.clone()), &known, false, 1, &|_| {}).unwrap();
    let (_root, addr) = backend(&[], folder.0.path(), u64::MAX).await;
    let names: Vec<_> = models(&addr).await.into_iter().map(|model| model.name).collect();
    assert_eq!(names, [DEMO_NAME, "stored"]);
    assert_eq!(ask(&addr, Some("stored")).await.unwrap().model, "stored");
    let removed = store.remove(&name, &known, false);
    assert!(matches!(removed, Err(ModelStoreError::InUse(_))), "{removed:?}");
}

#[tokio::test]
async fn the_first_configured_file_is_the_default_and_the_demo_is_not_listed() {
    let folder = Folder::new();
    let (a, b) = (folder.put("a.gguf", "alpha"), folder.put("b.gguf", "beta"));
    let (_root, addr) = backend(&[b, a], folder.0.path(), u64::MAX).await;
    assert_eq!(ask(&addr, None).await.unwrap().model, "beta");
    let names: Vec<_> = models(&addr).await.into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["beta", "alpha"], "no file twice");
}

#[tokio::test]
async fn a_file_that_comes_later_is_found_and_one_that_changed_is_loaded_anew() {
    let folder = Folder::new();
    let (_root, addr) = backend(&[], folder.0.path(), u64::MAX).await;
    assert!(matches!(ask(&addr, Some("late")).await, Err(BackendError::UnknownModel { .. })));
    folder.put("late.gguf", "late");
    let found = async {
        loop {
            if let Ok(generated) = ask(&addr, Some("late")).await {
                break generated.model_digest;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let before = tokio::time::timeout(60 * SECOND, found).await.unwrap();

    let other = Tiny::new("qwen2").with("general.name", Value::String("late".into()));
    std::fs::write(folder.path("new"), other.bytes()).unwrap();
    std::fs::rename(folder.path("new"), folder.path("late.gguf")).unwrap();
    let changed = async {
        while ask(&addr, Some("late")).await.unwrap().model_digest == before {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, changed).await.unwrap();
}

#[tokio::test]
async fn the_model_not_used_for_longest_makes_room() {
    let folder = Folder::new();
    let a = folder.put("a.gguf", "a");
    folder.put("b.gguf", "b");
    folder.put("c.gguf", "c");
    let (root, addr) = backend(&[a], folder.0.path(), 2 * weights()).await;
    let first = ask(&addr, None).await.unwrap();
    ask(&addr, Some("b")).await.unwrap();
    assert_eq!(loaded(&addr).await, ["a", "b"]);
    ask(&addr, Some("a")).await.unwrap();
    ask(&addr, Some("c")).await.unwrap();
    assert_eq!(loaded(&addr).await, ["a", "c"]);
    // What is in memory outlives the actor.
    drill(&root, NAME, Fault::Panic).await;
    assert_eq!(loaded(&addr).await, ["a", "c"]);
    ask(&addr, Some("b")).await.unwrap();
    let again = ask(&addr, Some("a")).await.unwrap();
    assert_eq!((again.text, again.model_digest), (first.text, first.model_digest));
}

#[tokio::test]
async fn one_in_use_stays_and_who_needs_its_room_waits() {
    let folder = Folder::new();
    let a = folder.put("a.gguf", "a");
    folder.put("b.gguf", "b");
    let (_root, addr) = backend(&[a], folder.0.path(), weights()).await;
    let (sender, mut pieces) = mpsc::channel(1);
    let long = tokio::spawn({
        let addr = addr.clone();
        async move { ask_for(&addr, None, 100, Some(sender)).await }
    });
    assert!(pieces.recv().await.is_some(), "it has begun, and its reader is slow");
    let other = tokio::spawn({
        let addr = addr.clone();
        async move { ask(&addr, Some("b")).await }
    });
    for _ in 0..5 {
        assert_eq!(loaded(&addr).await, ["a"]);
        assert!(!other.is_finished());
    }
    while pieces.recv().await.is_some() {}
    assert_eq!(long.await.unwrap().unwrap().model, "a");
    assert_eq!(other.await.unwrap().unwrap().model, "b");
    assert_eq!(loaded(&addr).await, ["b"]);
}

#[tokio::test]
async fn one_that_can_never_fit_is_refused_with_the_numbers() {
    let folder = Folder::new();
    let a = folder.put("a.gguf", "a");
    let (_root, addr) = backend(&[a], folder.0.path(), weights() - 1).await;
    let Err(BackendError::Unavailable(reason)) = ask(&addr, None).await else {
        panic!("it does not fit")
    };
    for part in [weights().to_string(), (weights() - 1).to_string(), "memory_bytes".to_owned()] {
        assert!(reason.contains(&part), "{reason}");
    }
}

#[tokio::test]
async fn many_requests_for_more_models_than_fit_are_all_answered() {
    let folder = Folder::new();
    let names = ["a", "b", "c", "d"];
    for name in names {
        folder.put(&format!("{name}.gguf"), name);
    }
    let a = folder.path("a.gguf");
    let (_root, addr) = backend(&[a], folder.0.path(), 2 * weights()).await;
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let (addr, name) = (addr.clone(), names[n * 7 % 4]);
            tokio::spawn(async move { (name, ask(&addr, Some(name)).await) })
        })
        .collect();
    for task in tasks {
        let (name, answer) = task.await.unwrap();
        assert_eq!(answer.unwrap().model, name);
    }
    assert!(loaded(&addr).await.len() <= 2);
}
