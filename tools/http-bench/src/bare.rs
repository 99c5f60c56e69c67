//! The server to compare with: axum as its documentation shows it, doing the same work in the
//! handler. No limits, no actors, no log, no metrics.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::gate::{self, GateInput, Surroundings, Verdict};
use bizra_omega::domain::profile::Profile;
use bizra_omega::domain::score::Score;
use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Debug)]
struct Bare {
    health: Bytes,
    key: SigningKey,
    constitution: Constitution,
}

/// Serves on any free port, which it writes to standard output, until it is killed.
pub(crate) fn serve(health: &str) -> io::Result<()> {
    let health = Bytes::from(std::fs::read(health)?);
    let (key, constitution) = (SigningKey::from_bytes(&[7; 32]), Constitution::default());
    let bare = Arc::new(Bare { health, key, constitution });
    let app = Router::new()
        .route("/health", get(status))
        .route("/verify", post(verify))
        .route("/sign", post(sign))
        .route("/check", post(check))
        .with_state(bare);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = io::stdout();
        writeln!(out, "{}", listener.local_addr()?)?;
        out.flush()?;
        axum::serve(listener, app).await
    })
}

async fn status(State(bare): State<Arc<Bare>>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], bare.health.clone()).into_response()
}

#[derive(Deserialize)]
struct Signed {
    message: String,
    signature: String,
    public_key: String,
}

#[derive(Serialize)]
struct Verified {
    valid: bool,
    reason: Option<&'static str>,
}

async fn verify(Json(signed): Json<Signed>) -> Json<Verified> {
    let is_valid = || {
        let mut key = [0; 32];
        base16ct::lower::decode(&signed.public_key, &mut key).ok()?;
        let mut signature = [0; 64];
        base16ct::lower::decode(&signed.signature, &mut signature).ok()?;
        let key = VerifyingKey::from_bytes(&key).ok()?;
        let digest = domain_separated_digest(signed.message.as_bytes()).to_hex();
        key.verify_strict(digest.as_bytes(), &Signature::from_bytes(&signature)).ok()
    };
    let valid = is_valid().is_some();
    Json(Verified { valid, reason: (!valid).then_some("no") })
}

#[derive(Deserialize)]
struct Unsigned {
    message: String,
}

#[derive(Serialize)]
struct Made {
    signature: String,
    public_key: String,
    node_id: String,
}

async fn sign(State(bare): State<Arc<Bare>>, Json(unsigned): Json<Unsigned>) -> Json<Made> {
    let digest = domain_separated_digest(unsigned.message.as_bytes()).to_hex();
    let signature = bare.key.sign(digest.as_bytes());
    let public_key = bare.key.verifying_key().to_bytes();
    Json(Made {
        signature: base16ct::lower::encode_string(&signature.to_bytes()),
        public_key: base16ct::lower::encode_string(&public_key),
        node_id: base16ct::lower::encode_string(&public_key[..16]),
    })
}

#[derive(Deserialize)]
struct Content {
    content: String,
    snr_score: f64,
    ihsan_score: f64,
}

#[derive(Serialize)]
struct Checked {
    passed: bool,
    code: Option<&'static str>,
    results: Vec<Checks>,
    constitution_digest: String,
}

#[derive(Serialize)]
struct Checks {
    gate: &'static str,
    passed: bool,
    score: Option<f64>,
    threshold: Option<f64>,
    source: &'static str,
}

async fn check(
    State(bare): State<Arc<Bare>>,
    Json(content): Json<Content>,
) -> Result<Json<Checked>, StatusCode> {
    let score = |value| Score::try_from(value).map_err(|_| StatusCode::BAD_REQUEST);
    let mut input = GateInput::text(content.content);
    input.snr_claim = Some(score(content.snr_score)?);
    input.ihsan_claim = Some(score(content.ihsan_score)?);
    let began = Instant::now();
    let around = Surroundings::default();
    let receipt = gate::run(&bare.constitution, Profile::Check, input, &around, || began.elapsed());
    let result = |verdict: &Verdict| Checks {
        gate: verdict.gate.as_str(),
        passed: verdict.passed,
        score: verdict.score.map(Score::value),
        threshold: verdict.threshold.map(Score::value),
        source: verdict.source.as_str(),
    };
    Ok(Json(Checked {
        passed: receipt.passed(),
        code: receipt.code().map(|code| code.as_str()),
        results: receipt.verdicts().iter().map(result).collect(),
        constitution_digest: receipt.constitution_digest().to_string(),
    }))
}
