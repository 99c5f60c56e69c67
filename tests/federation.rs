//! The consensus and gossip actors of a node that is alone, under a supervisor: what they promise,
//! over restarts too.

mod support;
#[path = "federation/terms.rs"]
mod terms;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bizra_omega::actors::consensus::{self, Consensus, Seat};
use bizra_omega::actors::gate_chain::{self, GateChain};
use bizra_omega::actors::gossip::{self, Gossip};
use bizra_omega::actors::identity::{self, Identity};
use bizra_omega::adapters::keystore::Keystore;
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::federation::record::LIFE_MS;
use bizra_omega::domain::federation::{Bounds, Draft, Outcome, Page, Proposal, Record};
use bizra_omega::domain::gossip::View;
use bizra_omega::domain::identity::{IdentityInfo, KeyUse, NodeKey};
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{Addr, Reply};
use bizra_omega::messages::consensus::{ConsensusError, ConsensusMsg, Standing};
use bizra_omega::messages::event::{ConsensusEvent, Event, FederationEvent, Heard, Topic};
use bizra_omega::messages::gossip::GossipMsg;
use bizra_omega::messages::identity::IdentityMsg;
use bizra_omega::messages::supervisor::{Fault, SupervisorMsg};
use bizra_omega::supervisor::{ChildSpec, Root, Settings};
use serde_json::json;
use support::*;

const NOW_MS: i64 = 1_767_225_600_123;

fn noon() -> i64 {
    NOW_MS
}

/// What a node is made of, and what outlives its actors.
struct Floor {
    dir: tempfile::TempDir,
    constitution: Constitution,
    bounds: Bounds,
    now_ms: fn() -> i64,
    free_bytes_min: u64,
}

impl Default for Floor {
    fn default() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            constitution: Constitution::default(),
            bounds: Bounds::default(),
            now_ms: noon,
            free_bytes_min: 0,
        }
    }
}

struct Node {
    root: Root,
    settings: Settings,
    identity: Addr<IdentityMsg>,
    gossip: Addr<GossipMsg>,
    consensus: Addr<ConsensusMsg>,
    store: Arc<Store>,
    dir: tempfile::TempDir,
}

async fn node(floor: Floor) -> Node {
    let Floor { dir, constitution, bounds, now_ms, free_bytes_min } = floor;
    let settings = settings(Strategy::OneForOne);
    let metrics = &settings.metrics;
    let keystore = Arc::new(Keystore::new(dir.path()));
    let make = move || Identity { keystore: Arc::clone(&keystore) };
    let (identity_child, identity) =
        ChildSpec::actor(identity::NAME, permanent(), SECOND, 256, metrics, make);
    let store = Arc::new(Store::open(dir.path(), free_bytes_min).unwrap());
    let judge = GateChain::new(constitution, None, Arc::clone(&store), metrics).unwrap();
    let make = move || judge.clone();
    let (gates_child, gates) =
        ChildSpec::actor(gate_chain::NAME, permanent(), SECOND, 256, metrics, make);
    let (events, meter) = (settings.events.clone(), metrics.federation());
    let solo = Gossip { port: 7946, events: events.clone(), meter: meter.clone() };
    let (gossip_child, gossip) =
        ChildSpec::actor(gossip::NAME, permanent(), SECOND, 64, metrics, move || solo.clone());
    let decider = Consensus {
        identity: identity.clone(),
        gates,
        store: Arc::clone(&store),
        seat: Arc::new(Seat::default()),
        bounds,
        now_ms,
        events,
        meter,
    };
    let make = move || decider.clone();
    let (consensus_child, consensus) =
        ChildSpec::actor(consensus::NAME, permanent(), SECOND, 64, metrics, make);
    let children = vec![identity_child, gates_child, gossip_child, consensus_child];
    let root = root(&settings, children).await;
    Node { root, settings, identity, gossip, consensus, store, dir }
}

fn proposal(number: u64) -> Proposal {
    named(number, &format!("Pattern {number}: ask before you act."))
}

fn named(number: u64, content: &str) -> Proposal {
    let draft = Draft {
        pattern_id: format!("pat_{number}"),
        pattern_embedding: vec![0.5, -0.25, 1.0],
        source_node: "ab".repeat(16),
        confidence: 0.97,
        content: Some(content.to_owned()),
    };
    Proposal::new(draft).unwrap()
}

impl Node {
    async fn say<T: Send>(&self, ask: impl Fn(Reply<T>) -> ConsensusMsg + Send) -> T {
        self.consensus.call(soon(), ask).await.unwrap()
    }

    async fn propose(&self, proposal: &Proposal) -> Result<Record, ConsensusError> {
        let proposal = Box::new(proposal.clone());
        self.say(|reply| ConsensusMsg::Propose { proposal: proposal.clone(), reply }).await
    }

    async fn find(&self, proposal: &Proposal) -> Option<Record> {
        let id = proposal.id();
        self.say(|reply| ConsensusMsg::Find { id, reply }).await.unwrap()
    }

    async fn list(&self) -> Vec<Record> {
        let page = Page { limit: 1000, after: None };
        self.say(|reply| ConsensusMsg::List { page, reply }).await.unwrap()
    }

    async fn standing(&self) -> Standing {
        self.say(|reply| ConsensusMsg::Standing { reply }).await.unwrap()
    }

    async fn active(&self) -> IdentityInfo {
        self.identity.call(soon(), |reply| IdentityMsg::Active { reply }).await.unwrap()
    }

    async fn until_decided(&self, proposal: &Proposal) -> Record {
        let decided = async {
            loop {
                match self.find(proposal).await {
                    Some(record) if !record.is_pending() => break record,
                    _ => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
                }
            }
        };
        tokio::time::timeout(60 * SECOND, decided).await.unwrap()
    }

    fn metrics(&self) -> String {
        self.settings.metrics.encode().unwrap()
    }

    /// The directory, with nothing running on it.
    async fn stopped(self) -> tempfile::TempDir {
        self.root.shutdown(5 * SECOND).await;
        self.store.close();
        self.dir
    }
}

/// A record that waits, as a node with this key would have left it.
fn left_behind(proposal: Proposal, at_ms: i64, judged_by: &Constitution) -> Record {
    let signed = NodeKey::from_secret(&[7; 32]).sign(KeyUse::Proposal, proposal.statement());
    let judged = proposal.judged().unwrap();
    Record {
        proposer: signed.public_key,
        signature: signed.signature,
        at_ms,
        constitution: judged_by.digest(),
        gates: json!({
            "passed": true,
            "constitution": judged_by.digest().to_hex(),
            "input_hash": domain_separated_digest(&judged).to_hex(),
        }),
        outcome: Outcome::Pending,
        proposal,
    }
}

#[tokio::test]
async fn a_node_that_is_alone_says_so() {
    let node = node(Floor::default()).await;
    let mut heard = node.settings.events.subscribe(Topic::Federation);
    for fault in [None, Some(Fault::Panic), Some(Fault::Kill)] {
        if let Some(fault) = fault {
            drill(&node.root, gossip::NAME, fault).await;
            let Some(Heard::Told(told)) = heard.next().await else { panic!("nothing") };
            let Event::Federation(FederationEvent::Began { connected, peers, .. }) = told.event
            else {
                panic!("{told:?}")
            };
            assert_eq!((connected, peers), (false, 0));
        }
        let view = node.gossip.call(soon(), |reply| GossipMsg::View { reply }).await.unwrap();
        assert_eq!(view, View::solo(7946));
    }
    assert!(node.metrics().contains("federation_peers 0"), "{}", node.metrics());
}

#[tokio::test]
async fn the_only_validator_decides_and_anyone_can_check_it() {
    let node = node(Floor::default()).await;
    let mut heard = node.settings.events.subscribe(Topic::Consensus);
    let standing = Standing { height: 0, patterns: 0, pending: 0, validators: 1 };
    assert_eq!(node.standing().await, standing);
    let key = node.active().await.public_key;
    for number in 1..=3 {
        let record = node.propose(&proposal(number)).await.unwrap();
        assert_eq!((record.status(), record.height()), ("committed", Some(number)));
        assert_eq!((record.quorum_needed(), record.votes_received()), (1, 1));
        assert_eq!(record.proposal, proposal(number));
        // With nothing but the record, as it is written.
        let read = Record::from_json(&record.to_json()).unwrap();
        let certificate = read.verify().unwrap();
        assert_eq!(certificate.validators(), [key]);
        assert_eq!(certificate.constitution(), Constitution::default().digest());
        assert_eq!(certificate.to_json()["mode"], "solo");
        // Asked again, it is the same one.
        assert_eq!(node.propose(&proposal(number)).await.unwrap(), record);
        assert_eq!(node.find(&proposal(number)).await, Some(record.clone()));
        let (id, status) = (record.id().to_string(), "committed");
        for expected in [
            ConsensusEvent::Proposal {
                proposal_id: id.clone(),
                pattern_id: format!("pat_{number}"),
            },
            ConsensusEvent::Decided { proposal_id: id, status, height: Some(number) },
        ] {
            let Some(Heard::Told(told)) = heard.next().await else { panic!("nothing") };
            assert_eq!(told.event, Event::Consensus(expected));
        }
    }
    let standing = Standing { height: 3, patterns: 3, pending: 0, validators: 1 };
    assert_eq!(node.standing().await, standing);
    let heights: Vec<_> = node.list().await.iter().map(Record::height).collect();
    assert_eq!(heights, [Some(3), Some(2), Some(1)], "newest first");
    assert_eq!(node.find(&proposal(9)).await, None);
    let metrics = node.metrics();
    for line in [
        "consensus_height 3",
        "consensus_proposals_total{outcome=\"committed\"} 3",
        "consensus_proposals_total{outcome=\"repeated\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_each_is_decided_once() {
    let node = Arc::new(node(Floor::default()).await);
    let tasks: Vec<_> = (0..60)
        .map(|number| {
            let node = Arc::clone(&node);
            // Every one three times.
            tokio::spawn(async move { node.propose(&proposal(number / 3)).await.unwrap() })
        })
        .collect();
    let mut heights = Vec::new();
    for task in tasks {
        let record = task.await.unwrap();
        heights.push((record.id(), record.height().unwrap()));
    }
    heights.sort_unstable();
    heights.dedup();
    let heights: BTreeSet<u64> = heights.into_iter().map(|(_, height)| height).collect();
    assert!(heights.into_iter().eq(1..=20));
}

#[tokio::test]
async fn what_the_gates_refuse_is_rejected_and_its_content_is_kept_nowhere() {
    let node = node(Floor::default()).await;
    let secret = "AKIAQX7C5WTRB3DKM2LF";
    let refused = named(1, &format!("Use the key {secret} for the upload."));
    let record = node.propose(&refused).await.unwrap();
    let Outcome::Rejected { code, reason } = &record.outcome else { panic!("{record:?}") };
    assert_eq!(code, "RejectGateIhsan");
    assert!(reason.contains("harm"), "{reason}");
    assert_eq!((record.status(), record.height(), record.votes_received()), ("rejected", None, 0));
    assert_eq!(record.gates["passed"], false);
    assert_eq!(record.id(), refused.id(), "its hash is in its id");
    assert!(record.verify().is_err(), "nothing was decided");
    assert_eq!(node.propose(&refused).await.unwrap(), record, "again the same answer");
    assert_eq!(node.standing().await.height, 0);
    // The next one is the first decision.
    assert_eq!(node.propose(&proposal(2)).await.unwrap().height(), Some(1));
    assert!(node.metrics().contains("consensus_proposals_total{outcome=\"rejected\"} 1"));
    let dir = node.stopped().await;
    let bytes = std::fs::read(dir.path().join("node.redb")).unwrap();
    assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "it is on disk");
}

#[tokio::test]
async fn of_a_name_that_does_harm_nothing_is_kept() {
    let node = node(Floor::default()).await;
    let named = |name: &str| {
        let (pattern_embedding, source_node) = (vec![0.5], "ab".repeat(16));
        let pattern_id = name.to_owned();
        let draft =
            Draft { pattern_id, pattern_embedding, source_node, confidence: 1.0, content: None };
        Proposal::new(draft).unwrap()
    };
    let secret = named("AKIAQX7C5WTRB3DKM2LF");
    let refused = node.propose(&secret).await;
    assert!(matches!(refused, Err(ConsensusError::Refused { .. })), "{refused:?}");
    assert_eq!(node.find(&secret).await, None);
    // Names as they are usual do none.
    for name in ["pat_0123456789abcdef", "greeting:v2", "a.b-c_d"] {
        assert_eq!(node.propose(&named(name)).await.unwrap().status(), "committed", "{name}");
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_there_whichever_way_the_actor_dies() {
    let node = node(Floor::default()).await;
    let mut known = Vec::new();
    for (number, fault) in (1..).zip([Fault::Panic, Fault::Error, Fault::Stop, Fault::Kill]) {
        known.push(node.propose(&proposal(number)).await.unwrap());
        drill(&node.root, consensus::NAME, fault).await;
        for record in &known {
            assert_eq!(node.find(&record.proposal).await.as_ref(), Some(record), "{fault:?}");
            assert_eq!(&node.propose(&record.proposal).await.unwrap(), record, "{fault:?}");
        }
    }
    assert_eq!(node.standing().await.height, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heights_have_no_gap_while_the_actors_are_killed_all_the_time() {
    let node = Arc::new(node(Floor::default()).await);
    let stop = Arc::new(AtomicBool::new(false));
    let proposers: Vec<_> = (0..4_u64)
        .map(|proposer| {
            let (node, stop) = (Arc::clone(&node), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                let mut number = proposer;
                while !stop.load(Ordering::SeqCst) {
                    acknowledged.push(node.propose(&proposal(number)).await.unwrap());
                    number += 4;
                }
                acknowledged
            })
        })
        .collect();
    let mut drills = 0;
    while drills < 36 {
        let name = [consensus::NAME, identity::NAME, gate_chain::NAME][drills % 3];
        let fault = [Fault::Kill, Fault::Panic, Fault::Error][drills / 3 % 3];
        let ask = |reply| SupervisorMsg::Drill { name: name.to_owned(), fault, reply };
        // Refused while the actor is between two incarnations.
        if node.root.addr().call(soon(), ask).await.unwrap().is_ok() {
            drills += 1;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for proposer in proposers {
        acknowledged.extend(proposer.await.unwrap());
    }
    assert!(acknowledged.len() > 8, "{}", acknowledged.len());
    let mut heights = BTreeSet::new();
    for record in &acknowledged {
        let decided = node.until_decided(&record.proposal).await;
        decided.verify().unwrap();
        if let Some(height) = record.height() {
            assert_eq!(decided.height(), Some(height), "it was decided twice");
        }
        assert!(heights.insert(decided.height().unwrap()), "two decisions have one height");
    }
    assert!(heights.into_iter().eq(1..=node.standing().await.height));
}

#[tokio::test]
async fn what_was_kept_and_not_decided_is_decided_at_the_next_start() {
    let floor = Floor::default();
    let store = Store::open(floor.dir.path(), 0).unwrap();
    let constitution = Constitution::default();
    for number in 1..=3 {
        let record = left_behind(proposal(number), NOW_MS - 1000, &constitution);
        store.keep_proposal(&record, Bounds::default()).await.unwrap();
    }
    drop(store);
    let node = node(floor).await;
    for number in 1..=3 {
        let record = node.until_decided(&proposal(number)).await;
        assert_eq!(record.height(), Some(number), "in the order in which they came");
        record.verify().unwrap();
    }
    assert_eq!(node.standing().await.pending, 0);
    assert_eq!(node.propose(&proposal(4)).await.unwrap().height(), Some(4));
}

#[tokio::test]
async fn what_waited_too_long_expires_and_takes_no_height() {
    let floor = Floor::default();
    let store = Store::open(floor.dir.path(), 0).unwrap();
    let constitution = Constitution::default();
    let late = left_behind(proposal(1), NOW_MS - LIFE_MS, &constitution);
    let early = left_behind(proposal(2), NOW_MS - LIFE_MS + 1, &constitution);
    for record in [&late, &early] {
        store.keep_proposal(record, Bounds::default()).await.unwrap();
    }
    drop(store);
    let node = node(floor).await;
    assert_eq!(node.until_decided(&proposal(1)).await.outcome, Outcome::Expired);
    assert_eq!(node.until_decided(&proposal(2)).await.height(), Some(1));
    assert_eq!(node.propose(&proposal(1)).await.unwrap().status(), "expired");
}
