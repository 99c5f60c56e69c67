//! The gate-chain actor, under a supervisor: what it judges, whom it punishes, and what it enforces
//! after its constitution was read again, over restarts too.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bizra_omega::actors::gate_chain::{self, GateChain};
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::constitution::{Constitution, DEFAULT_TOML};
use bizra_omega::domain::gate::{Facts, GateInput, Receipt};
use bizra_omega::domain::identity::NodeKey;
use bizra_omega::domain::profile::Profile;
use bizra_omega::domain::reject::RejectCode;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::domain::score::Score;
use bizra_omega::messages::addr::{Addr, Reply};
use bizra_omega::messages::gate_chain::{BATCH_MAX, GateChainMsg, ReloadError};
use bizra_omega::messages::supervisor::Fault;
use bizra_omega::supervisor::{ChildSpec, Root};
use proptest::prelude::*;
use support::*;

/// A text with a key that nobody publishes by choice.
const LEAK: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp\n\
                    -----END PRIVATE KEY-----\n";

struct Court {
    root: Root,
    gates: Addr<GateChainMsg>,
    dir: tempfile::TempDir,
}

async fn court() -> Court {
    let dir = tempfile::tempdir().unwrap();
    court_in(dir, Constitution::default(), None).await
}

async fn court_in(
    dir: tempfile::TempDir,
    constitution: Constitution,
    file: Option<PathBuf>,
) -> Court {
    let settings = settings(Strategy::OneForOne);
    let store = Arc::new(Store::open(dir.path(), 0).unwrap());
    let judge = GateChain::new(constitution, file, store, &settings.metrics).unwrap();
    let make = move || judge.clone();
    let (child, gates) =
        ChildSpec::actor(gate_chain::NAME, permanent(), SECOND, 256, &settings.metrics, make);
    Court { root: root(&settings, vec![child]).await, gates, dir }
}

impl Court {
    async fn ask<T: Send>(&self, ask: impl Fn(Reply<T>) -> GateChainMsg + Send) -> T {
        self.gates.call(soon(), ask).await.unwrap()
    }

    async fn check(&self, profile: Profile, inputs: Vec<GateInput>) -> Vec<Receipt> {
        self.ask(|reply| GateChainMsg::Check { profile, inputs: inputs.clone(), reply }).await
    }

    /// Admits a message of the peer with this number.
    async fn admit(&self, peer: u8, content: &str) -> Receipt {
        let input = Box::new(message(peer, content));
        let profile = Profile::PeerMessage;
        self.ask(|reply| GateChainMsg::Admit { profile, input: input.clone(), reply }).await
    }

    async fn reload(&self) -> Result<Arc<Constitution>, ReloadError> {
        self.ask(|reply| GateChainMsg::Reload { reply }).await
    }

    async fn version(&self) -> String {
        self.ask(|reply| GateChainMsg::Constitution { reply }).await.version().to_owned()
    }
}

fn message(peer: u8, content: &str) -> GateInput {
    let sender = Some(*NodeKey::from_secret(&[peer; 32]).public_key());
    let facts = Some(Box::new(Facts { sender, ..Facts::default() }));
    GateInput { facts, ..GateInput::text(content.to_owned()) }
}

fn claim(content: impl Into<bytes::Bytes>, score: f64) -> GateInput {
    let claim = Some(Score::try_from(score).unwrap());
    GateInput { snr_claim: claim, ihsan_claim: claim, ..GateInput::text(content) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_harm_loses_its_trust_and_nobody_else_does() {
    let court = court().await;
    assert!(court.admit(1, "hello").await.passed());
    // Each costs a quarter of the trust, and a quarter must be left.
    for _ in 0..4 {
        let receipt = court.admit(1, LEAK).await;
        assert_eq!(receipt.code(), Some(RejectCode::RejectGateIhsan));
    }
    let receipt = court.admit(1, "hello").await;
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateRate), "{:?}", receipt.reason());
    assert!(court.admit(2, "hello").await.passed());
    // A check punishes nobody, whatever it is about.
    let checked = court.check(Profile::PeerMessage, vec![message(2, LEAK); 9]).await;
    assert!(checked.iter().all(|receipt| !receipt.passed()));
    assert!(court.admit(2, "hello").await.passed());
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_that_was_lost_stays_lost_over_restarts() {
    let court = court().await;
    for fault in [Fault::Panic, Fault::Error, Fault::Kill, Fault::Stop] {
        court.admit(1, LEAK).await;
        drill(&court.root, gate_chain::NAME, fault).await;
    }
    let receipt = court.admit(1, "hello").await;
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateRate));
    // Also over the end of the node: the store is what remembers.
    let Court { root, gates, dir } = court;
    root.shutdown(5 * SECOND).await;
    drop((root, gates));
    // Whoever still ends holds it a moment longer.
    until(|| Store::open(dir.path(), 0).is_ok()).await;
    let court = court_in(dir, Constitution::default(), None).await;
    let receipt = court.admit(1, "hello").await;
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateRate));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_can_make_a_breach_cost_time() {
    let at = DEFAULT_TOML.find("HARM_001").unwrap();
    let (before, after) = DEFAULT_TOML.split_at(at);
    let cost = "{ kind = \"trust\", amount = 0.25 }";
    let after = after.replacen(cost, "{ kind = \"cooldown\", seconds = 3600 }", 1);
    let constitution = Constitution::parse("site", &format!("{before}{after}")).unwrap();
    let court = court_in(tempfile::tempdir().unwrap(), constitution, None).await;
    court.admit(1, LEAK).await;
    let receipt = court.admit(1, "hello").await;
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateRate));
    assert!(receipt.reason().unwrap().contains("cooldown"), "{:?}", receipt.reason());
}

fn write(path: &Path, version: &str, threshold: &str) {
    let text = DEFAULT_TOML.replace("\"1.0.0\"", &format!("\"{version}\""));
    let text = text.replace("threshold = 0.85", &format!("threshold = {threshold}"));
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constitution_is_read_again_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.toml");
    write(&path, "1.0.0", "0.85");
    let court = court_in(dir, Constitution::default(), Some(path.clone())).await;
    let passes = async || court.check(Profile::Check, vec![claim("text", 0.96)]).await[0].passed();
    assert!(passes().await);

    write(&path, "1.0.1", "0.97");
    assert_eq!(court.reload().await.unwrap().version(), "1.0.1");
    assert!(!passes().await);
    drill(&court.root, gate_chain::NAME, Fault::Panic).await;
    assert_eq!(court.version().await, "1.0.1", "it outlives the actor");
    assert!(!passes().await);

    // Lower or equal versions, broken text and absent files change nothing, and say why.
    write(&path, "1.0.1", "0.85");
    assert!(court.reload().await.unwrap_err().to_string().contains("above 1.0.1"));
    write(&path, "1.0.2", "2.0");
    assert!(court.reload().await.unwrap_err().to_string().contains("between 0 and 1"));
    std::fs::write(&path, "version = ").unwrap();
    assert!(matches!(court.reload().await, Err(ReloadError::Document(_))));
    std::fs::remove_file(&path).unwrap();
    let error = court.reload().await.unwrap_err();
    assert!(matches!(&error, ReloadError::File(text) if text.contains("site.toml")), "{error}");
    assert_eq!(court.version().await, "1.0.1");
    assert!(!passes().await);

    write(&path, "1.1.0", "0.85");
    court.reload().await.unwrap();
    assert!(passes().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constitution_that_is_built_in_is_not_read_again() {
    assert_eq!(court().await.reload().await, Err(ReloadError::BuiltIn));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_judged_by_one_constitution_also_when_another_comes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.toml");
    let court = Arc::new(court_in(dir, Constitution::default(), Some(path.clone())).await);
    let reloading = tokio::spawn({
        let court = Arc::clone(&court);
        async move {
            for patch in 1..50 {
                write(&path, &format!("1.0.{patch}"), "0.85");
                court.reload().await.unwrap();
            }
        }
    });
    while !reloading.is_finished() {
        let receipts = court.check(Profile::Check, vec![claim("x", 1.0); 200]).await;
        let first = receipts[0].constitution_digest();
        assert!(receipts.iter().all(|receipt| receipt.constitution_digest() == first));
    }
    reloading.await.unwrap();
    assert_eq!(court.version().await, "1.0.49");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_bounded() {
    let court = court().await;
    let full = court.check(Profile::Check, vec![claim("x", 1.0); BATCH_MAX]).await;
    assert!(full.len() == BATCH_MAX && full.iter().all(Receipt::passed));
    let over = court.check(Profile::Check, vec![claim("x", 1.0); BATCH_MAX + 1]).await;
    assert_eq!(over.len(), BATCH_MAX + 1);
    assert!(over.iter().all(|receipt| receipt.code() == Some(RejectCode::RejectQuota)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_batch_through_the_actor_answers_what_single_calls_do(
        batch in proptest::collection::vec(("[a-z @.]{0,40}|\\PC{0,200}", 0.8..=1.0f64), 1..100),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let court = court().await;
            let inputs: Vec<_> =
                batch.into_iter().map(|(content, score)| claim(content, score)).collect();
            let together = court.check(Profile::Check, inputs.clone()).await;
            for (input, receipt) in inputs.into_iter().zip(together) {
                let alone = court.check(Profile::Check, vec![input]).await;
                assert_eq!(alone, [receipt]);
            }
        });
    }
}
