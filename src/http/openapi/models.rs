//! Shapes of what is told of models on disk. The contract test holds the answers of a live node to
//! them.
#![expect(dead_code, reason = "these describe values that are made elsewhere")]

use utoipa::ToSchema;

use crate::http::openapi::forms::{
    ConditionName, EpochMs, ModelNameText, PresenceName, PullIdText, PullStateName, Sha256Hex,
    StageName,
};

/// The models on disk, those that can be pulled, and what is going on.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "models": [{
        "name": "qwen2.5-0.5b-instruct",
        "state": "available",
        "bytes": 491_400_032,
        "bytes_here": 0,
        "sha256": "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
        "quantization": "Q4_K_M",
        "parameters": null,
        "context_length": 32_768,
        "licence": "Apache-2.0",
        "memory_bytes": 872_415_232,
        "description": "Small and quick; short answers in many languages",
        "source": "Qwen/Qwen2.5-0.5B-Instruct-GGUF@9217f5db79a29953eb74d5343926648285ec7e67/\
                   qwen2.5-0.5b-instruct-q4_k_m.gguf",
    }],
    "free_bytes": 50_000_000_000_u64,
    "pulls": [],
})))]
pub(in crate::http) struct ModelListing {
    /// Installed models by name, then those of the catalogue that are not.
    models: Vec<ModelOnDisk>,
    /// Bytes that are free on the disk; null if the system does not tell.
    #[schema(required)]
    free_bytes: Option<u64>,
    /// The latest pulls, newest first.
    pulls: Vec<ModelPull>,
}

/// A model that is installed, on its way, or in the catalogue.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "name": "qwen2.5-0.5b-instruct",
    "state": "installed",
    "bytes": 491_400_032,
    "bytes_here": 491_400_032,
    "sha256": "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
    "quantization": "Q4_K_M",
    "parameters": 630_167_424,
    "context_length": 32_768,
    "licence": "Apache-2.0",
    "memory_bytes": 872_415_232,
    "description": "Small and quick; short answers in many languages",
    "source": "Qwen/Qwen2.5-0.5B-Instruct-GGUF@9217f5db79a29953eb74d5343926648285ec7e67/\
               qwen2.5-0.5b-instruct-q4_k_m.gguf",
})))]
pub(in crate::http) struct ModelOnDisk {
    /// What it is called here.
    #[schema(value_type = ModelNameText)]
    name: String,
    /// How far it is.
    #[schema(value_type = PresenceName)]
    state: String,
    /// Its size.
    bytes: u64,
    /// Bytes of it that are here.
    bytes_here: u64,
    /// What its file hashes to.
    #[schema(value_type = Sha256Hex)]
    sha256: String,
    /// The number format of its weights.
    quantization: String,
    /// Number of its weights; null until it was looked into.
    #[schema(required)]
    parameters: Option<u64>,
    /// Tokens of context that it was made for.
    context_length: u32,
    /// Its licence, if it is known.
    #[schema(required)]
    licence: Option<String>,
    /// Bytes of memory to run it, if it is in the catalogue.
    #[schema(required)]
    memory_bytes: Option<u64>,
    /// What it is good for, if it is in the catalogue.
    #[schema(required)]
    description: Option<String>,
    /// Where it is from.
    source: String,
}

/// How a pull stands.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "id": "pull_19b7e2c1f7b_1",
    "name": "qwen2.5-0.5b-instruct",
    "state": "running",
    "stage": "downloading",
    "bytes": 104_857_600,
    "total": 491_400_032,
    "reason": null,
    "began_ms": 1_767_225_600_123_u64,
    "ended_ms": null,
})))]
pub(in crate::http) struct ModelPull {
    /// Names it.
    #[schema(value_type = PullIdText)]
    id: String,
    /// The model.
    #[schema(value_type = ModelNameText)]
    name: String,
    /// How it stands.
    #[schema(value_type = PullStateName)]
    state: String,
    /// What is being done, while it runs.
    #[schema(value_type = Option<StageName>, required)]
    stage: Option<String>,
    /// Bytes that are here.
    bytes: u64,
    /// Bytes of the whole file.
    total: u64,
    /// Why it pauses or failed.
    #[schema(required)]
    reason: Option<String>,
    /// When it was asked for.
    #[schema(value_type = EpochMs)]
    began_ms: u64,
    /// When it ended.
    #[schema(value_type = Option<EpochMs>, required)]
    ended_ms: Option<u64>,
}

/// How an installed model was found.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "name": "qwen2.5-0.5b-instruct",
    "sha256": "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
    "condition": "ok",
})))]
pub(in crate::http) struct ModelFound {
    /// What it is called.
    #[schema(value_type = ModelNameText)]
    name: String,
    /// What its file is to hash to.
    #[schema(value_type = Sha256Hex)]
    sha256: String,
    /// How its file was found.
    #[schema(value_type = ConditionName)]
    condition: String,
    /// What is wrong with a damaged one.
    reason: Option<String>,
}
