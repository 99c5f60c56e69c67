//! A live node under mixed load while its actors are made to fail in every way, at random times.
//! The seed is printed; `BIZRA_CHAOS_SEED` repeats it.

mod live;
#[path = "support/random.rs"]
mod random;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bizra_omega::messages::addr::Deadline;
use bizra_omega::messages::supervisor::{ActorInfo, ActorState, Fault, SupervisorMsg};
use bizra_omega::node::Node;
use live::*;
use random::Random;
use serde_json::{Value, json};

fn seed() -> u64 {
    let given = std::env::var("BIZRA_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| getrandom::u64().unwrap()) | 1
}

/// What the load saw.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    requests: AtomicU64,
}

impl Seen {
    fn goes_on(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed);
        !self.stop.load(Ordering::Relaxed)
    }
}

async fn signs(client: Client, seen: Arc<Seen>) {
    let mut number = 0_u64;
    while seen.goes_on() {
        number += 1;
        let message = format!("message {number}");
        let (status, signed) = client.post("/identity/sign", &json!({ "message": message })).await;
        assert_eq!(status, 200, "{signed}");
        let claim = json!({
            "message": message,
            "signature": signed["signature"],
            "public_key": signed["public_key"],
        });
        let (status, verified) = client.post("/identity/verify", &claim).await;
        assert_eq!((status, &verified["valid"]), (200, &Value::Bool(true)), "{verified}");
    }
}

/// Returns the envelopes that were acknowledged.
async fn seals(client: Client, seen: Arc<Seen>) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    while seen.goes_on() {
        let (status, mut sealed) = client.envelope(json!({ "number": acknowledged.len() })).await;
        assert_eq!(status, 200, "{sealed}");
        let envelope = sealed["envelope"].take();
        let (status, verified) = client.post("/pci/envelope/verify", &envelope).await;
        assert_eq!((status, &verified["valid"]), (200, &Value::Bool(true)), "{verified}");
        acknowledged.push(envelope);
    }
    acknowledged
}

/// Fewer than are kept; then the same ones are proposed again.
const PROPOSALS_MAX: usize = 400;

/// Returns what was proposed and acknowledged: the first answer to each.
async fn proposes(client: Client, seen: Arc<Seen>) -> Vec<Value> {
    let mut acknowledged: Vec<Value> = Vec::new();
    for number in (0..PROPOSALS_MAX).cycle() {
        if !seen.goes_on() {
            break;
        }
        let proposal = json!({
            "pattern_id": format!("pat_{number}"), "pattern_embedding": [0.5],
            "source_node": "ab".repeat(16), "confidence": 0.97,
        });
        let (status, proposed) = client.post("/federation/propose", &proposal).await;
        assert_eq!(status, 200, "{proposed}");
        let is_fine = ["committed", "pending"].contains(&proposed["status"].as_str().unwrap());
        assert!(is_fine, "{proposed}");
        match acknowledged.get(number) {
            None => acknowledged.push(proposed),
            Some(first) if first["status"] == "committed" => assert_eq!(*first, proposed),
            Some(_) => {}
        }
    }
    acknowledged
}

async fn asks(client: Client, seen: Arc<Seen>) {
    while seen.goes_on() {
        let prompt = json!({ "prompt": "The", "max_tokens": 3, "tier": "edge", "temperature": 0 });
        let (status, answer) = client.post("/inference/generate", &prompt).await;
        assert_eq!(status, 200, "{answer}");
        let (status, verified) = client.post("/pci/envelope/verify", &answer["envelope"]).await;
        assert_eq!((status, &verified["valid"]), (200, &Value::Bool(true)), "{verified}");
    }
}

async fn reads(client: Client, seen: Arc<Seen>) {
    while seen.goes_on() {
        let (status, health) = client.get("/health").await;
        assert!(status == 200 || health["status"] == "unhealthy", "{health}");
        let check = json!({ "content": "text", "snr_score": 0.92, "ihsan_score": 0.97 });
        let (status, gates) = client.post("/pci/gates/check", &check).await;
        assert_eq!((status, &gates["passed"]), (200, &Value::Bool(true)), "{gates}");
    }
}

async fn tree(node: &Node) -> Vec<ActorInfo> {
    let ask = |reply| SupervisorMsg::Tree { reply };
    let tree = node.roster().supervisor.call(Deadline::after(5 * SECOND), ask).await.unwrap();
    tree.iter().flat_map(|info| std::iter::once(info).chain(&info.children)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_under_load_survives_every_way_its_actors_can_fail() {
    let seed = seed();
    // Shown whatever the outcome.
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("BIZRA_CHAOS_SEED={seed}\n").as_bytes(),
    )
    .unwrap();
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let client = Client::new(node.address(), folder.path());
    assert_eq!(client.get("/health").await.0, 200);
    let tasks_before = tokio::runtime::Handle::current().metrics().num_alive_tasks();

    let seen = Arc::new(Seen::default());
    let signing = tokio::spawn(signs(client.clone(), seen.clone()));
    let sealing = tokio::spawn(seals(client.clone(), seen.clone()));
    let asking = tokio::spawn(asks(client.clone(), seen.clone()));
    let reading = tokio::spawn(reads(client.clone(), seen.clone()));
    let proposing = tokio::spawn(proposes(client.clone(), seen.clone()));

    let names: Vec<_> = tree(&node).await.into_iter().map(|info| info.name).collect();
    assert!(names.len() >= 10, "{names:?}");
    let mut drills = 0_u64;
    for _ in 0..2 {
        for name in &names {
            for fault in Fault::ALL {
                tokio::time::sleep(Duration::from_millis(random.below(40))).await;
                let ask =
                    |reply| SupervisorMsg::Drill { name: name.as_str().to_owned(), fault, reply };
                let wait = Deadline::after(5 * SECOND);
                // Refused when the actor is between two incarnations.
                if matches!(node.roster().supervisor.call(wait, ask).await, Ok(Ok(()))) {
                    drills += 1;
                }
            }
        }
    }
    let is_settled = async {
        loop {
            let tree = tree(&node).await;
            if tree.len() >= 10 && tree.iter().all(|info| info.state == ActorState::Running) {
                break tree;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let tree = tokio::time::timeout(60 * SECOND, is_settled).await.unwrap();
    seen.stop.store(true, Ordering::Relaxed);
    signing.await.unwrap();
    asking.await.unwrap();
    reading.await.unwrap();
    let acknowledged = sealing.await.unwrap();
    let proposed = proposing.await.unwrap();

    assert!(drills >= 40, "only {drills} drills were carried out");
    for info in &tree {
        assert!(info.restarts > 0, "{} was never restarted", info.name);
    }
    let requests = seen.requests.load(Ordering::Relaxed);
    assert!(requests > 50 && !acknowledged.is_empty(), "{requests} requests");

    // Every acknowledged write is there, once: a nonce is taken once and then never again.
    for envelope in &acknowledged {
        let (_, first) = client.post("/pci/envelope/verify?consume=true", envelope).await;
        assert_eq!(first["valid"], true, "{first}");
        let (_, again) = client.post("/pci/envelope/verify?consume=true", envelope).await;
        assert_eq!(again["code"], "RejectReplay", "{again}");
    }
    // Every proposal that was acknowledged is decided, once, and heights have no gap.
    let mut heights = std::collections::BTreeSet::new();
    for proposed in &proposed {
        let path = format!("/federation/proposals/{}", proposed["proposal_id"].as_str().unwrap());
        let is_decided = async {
            loop {
                let (_, record) = client.get(&path).await;
                if record["status"] != "pending" {
                    break record;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let record = tokio::time::timeout(60 * SECOND, is_decided).await.unwrap();
        assert_eq!(record["status"], "committed", "{record}");
        if proposed["status"] == "committed" {
            assert_eq!(record["height"], proposed["height"], "{record}");
        }
        assert!(heights.insert(record["height"].as_u64().unwrap()), "{record}");
    }
    assert!(!heights.is_empty() && heights.iter().copied().eq(1..=heights.len() as u64));
    drop(client);
    let has_returned = async {
        let metrics = tokio::runtime::Handle::current().metrics();
        while metrics.num_alive_tasks() > tasks_before + 4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let returned = tokio::time::timeout(60 * SECOND, has_returned).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(returned.is_ok(), "{tasks} tasks live, {tasks_before} before");
    node.shutdown().await;
}
