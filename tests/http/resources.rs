//! The resources over the real actors, as clients use them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::actors::consensus::{self, Consensus};
use bizra_omega::actors::envelope::{self, Envelope};
use bizra_omega::actors::gate_chain::{self, GateChain};
use bizra_omega::actors::gossip::{self, Gossip};
use bizra_omega::actors::identity::{self, Identity};
use bizra_omega::actors::pattern_memory::{self, Keeper, Parts, PatternMemory};
use bizra_omega::adapters::keystore::Keystore;
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::embedding::ngram::NgramEmbedder;
use bizra_omega::domain::federation::Bounds;
use bizra_omega::domain::replay::ReplayLimits;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::domain::rotation::Rotation;
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::Limits;
use bizra_omega::messages::supervisor::ActorState;
use bizra_omega::supervisor::{ChildSpec, Root};
use serde_json::{Value, json};

use crate::door::{Answer, DISTANT, Door, LOCAL, door_over, roster};
use crate::support::{SECOND, permanent, settings, until_state};

pub(crate) struct Node {
    pub(crate) door: Door,
    root: Root,
    _data_dir: tempfile::TempDir,
}

pub(crate) async fn node() -> Node {
    let settings = settings(Strategy::OneForOne);
    let metrics = &settings.metrics;
    let data_dir = tempfile::tempdir().unwrap();
    let keystore = Arc::new(Keystore::new(data_dir.path()));
    let store = Arc::new(Store::open(data_dir.path(), 0).unwrap());
    let judge = GateChain::new(Constitution::default(), None, store.clone(), metrics).unwrap();
    let mut roster = roster(metrics);
    let (identity_child, identity) =
        ChildSpec::actor(identity::NAME, permanent(), SECOND, 64, metrics, move || Identity {
            keystore: keystore.clone(),
        });
    let (gate_chain_child, gate_chain) =
        ChildSpec::actor(gate_chain::NAME, permanent(), SECOND, 64, metrics, move || judge.clone());
    let (signer, gates) = (identity.clone(), gate_chain.clone());
    let (events, meter) = (settings.events.clone(), metrics.federation());
    let solo = Gossip { port: 7946, events: events.clone(), meter: meter.clone() };
    let (gossip_child, gossip) =
        ChildSpec::actor(gossip::NAME, permanent(), SECOND, 64, metrics, move || solo.clone());
    let decider = Consensus {
        identity: identity.clone(),
        gates: gate_chain.clone(),
        store: store.clone(),
        seat: Arc::default(),
        bounds: Bounds::default(),
        now_ms: bizra_omega::clock::now_ms,
        events: events.clone(),
        meter,
    };
    let (consensus_child, consensus) =
        ChildSpec::actor(consensus::NAME, permanent(), SECOND, 64, metrics, move || {
            decider.clone()
        });
    let memory = PatternMemory {
        keeper: Arc::new(Keeper::new(Parts {
            store: store.clone(),
            embedder: Arc::new(NgramEmbedder::default()),
            bounds: bizra_omega::domain::pattern::Bounds::default(),
            computing_max: 2,
            now_ms: bizra_omega::clock::now_ms,
            events: events.clone(),
            meter: metrics.patterns(),
        })),
        identity: identity.clone(),
        consensus: consensus.clone(),
        now_ms: bizra_omega::clock::now_ms,
    };
    let (memory_child, pattern_memory) =
        ChildSpec::actor(pattern_memory::NAME, permanent(), SECOND, 64, metrics, move || {
            memory.clone()
        });
    let meter = metrics.envelopes();
    let (envelope_child, envelope) =
        ChildSpec::actor(envelope::NAME, permanent(), SECOND, 64, metrics, move || Envelope {
            identity: signer.clone(),
            gates: gates.clone(),
            store: store.clone(),
            limits: ReplayLimits::default(),
            accept_v1: false,
            now_ms: bizra_omega::clock::now_ms,
            events: events.clone(),
            meter: meter.clone(),
        });
    roster.supervisor = Root::address(metrics);
    roster.identity = identity;
    roster.envelope = envelope;
    roster.gate_chain = gate_chain;
    roster.gossip = gossip;
    roster.consensus = consensus;
    roster.pattern_memory = pattern_memory;
    let children = vec![
        identity_child,
        gate_chain_child,
        envelope_child,
        gossip_child,
        consensus_child,
        memory_child,
    ];
    let root = Root::start(roster.supervisor.clone(), settings.clone(), children).await.unwrap();
    let door = door_over(roster, settings.metrics, Mode::Local, Limits::default());
    Node { door, root, _data_dir: data_dir }
}

impl Node {
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.door.post(&format!("/api/v1/{path}"), body.to_string()).await
    }

    pub(crate) async fn served(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = self.door.request(Method::GET, &format!("/api/v1/{path}"));
        let answer = self.door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    }
}

#[tokio::test]
async fn what_the_node_signs_verifies_and_nothing_else_does() {
    let node = node().await;
    for message in ["", "hello bizra", "\u{6f22}\u{1f600}\u{0}"] {
        let signed = node.served("identity/sign", &json!({ "message": message })).await;
        assert_eq!(signed["node_id"], signed["public_key"].as_str().unwrap()[..32]);
        let claim = json!({
            "message": message,
            "signature": signed["signature"],
            "public_key": signed["public_key"],
        });
        let verdict = node.served("identity/verify", &claim).await;
        assert_eq!(verdict, json!({ "valid": true, "reason": null }));
        for (field, value) in [
            ("message", "another"),
            ("signature", ""),
            ("signature", "\u{6f22}"),
            ("signature", "a\u{e9}"),
            ("signature", &signed["signature"].as_str().unwrap().to_uppercase()),
            ("signature", &"0".repeat(128)),
            ("public_key", &"0".repeat(64)),
            ("public_key", "\u{e9}"),
        ] {
            let mut other = claim.clone();
            other[field] = value.into();
            let verdict = node.served("identity/verify", &other).await;
            assert_eq!(verdict["valid"], false, "{field} {value}");
            assert!(verdict["reason"].is_string());
        }
    }
    let bytes = node.served("identity/sign", &json!({ "message_b64": "aGVsbG8=" })).await;
    let text = node.served("identity/sign", &json!({ "message": "hello" })).await;
    assert_eq!(bytes, text);
}

#[tokio::test]
async fn a_new_identity_is_active_unless_told_otherwise() {
    let node = node().await;
    let first = node.get("status").await["node_id"].clone();
    let spare =
        node.served("identity/generate", &json!({ "label": "spare", "activate": false })).await;
    assert_eq!((&spare["label"], &spare["active"]), (&json!("spare"), &json!(false)));
    assert_eq!(node.get("status").await["node_id"], first);
    let request = node.door.request(Method::POST, "/api/v1/identity/generate");
    let bare = node.door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
    assert_eq!((bare.status, &bare.json["active"]), (200, &json!(true)));
    assert_eq!(node.get("status").await["node_id"], bare.json["node_id"]);
    assert_eq!(bare.json.as_object().unwrap().len(), 4, "never the secret");
    for label in ["", "a\nb", &"\u{6f22}".repeat(65)] {
        let refused = node.post("identity/generate", &json!({ "label": label })).await;
        refused.assert_error(400, "INVALID_LABEL");
    }
}

#[tokio::test]
async fn the_keys_are_listed_activated_and_rotated() {
    let node = node().await;
    let first = node.get("identity").await["identities"][0].clone();
    assert_eq!((&first["active"], &first["rotation"]), (&json!(true), &Value::Null));
    assert_eq!(first["node_id"], node.get("status").await["node_id"]);
    let spare = node.served("identity/generate", &json!({ "activate": false })).await;
    let activated = node.served("identity/activate", &json!({ "node_id": spare["node_id"] })).await;
    let mut expected = spare.clone();
    expected["active"] = json!(true);
    assert_eq!(activated, expected);

    let rotated = node.served("identity/rotate", &json!({ "label": "new" })).await;
    assert_eq!((&rotated["label"], &rotated["active"]), (&json!("new"), &json!(true)));
    let record = Rotation::from_json(&rotated["rotation"]).unwrap();
    assert_eq!(record.old().to_hex(), spare["public_key"]);
    assert_eq!(record.new_key().to_hex(), rotated["public_key"]);
    let all = node.get("identity").await["identities"].clone();
    let all = all.as_array().unwrap();
    assert_eq!((all.len(), &all[0]["node_id"]), (3, &rotated["node_id"]));
    let old = all.iter().find(|it| it["node_id"] == spare["node_id"]).unwrap();
    assert_eq!(old["rotation"], rotated["rotation"]);
    // No body is no label, and the label stays.
    let request = node.door.request(Method::POST, "/api/v1/identity/rotate");
    let bare = node.door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
    assert_eq!((bare.status, &bare.json["label"]), (200, &json!("new")));
    assert_eq!(node.get("status").await["node_id"], bare.json["node_id"]);

    for (body, status, code) in [
        (json!({ "node_id": spare["node_id"] }), 409, "IDENTITY_RETIRED"),
        (json!({ "node_id": "00".repeat(16) }), 404, "IDENTITY_UNKNOWN"),
        (json!({ "node_id": "\u{6f22}" }), 400, "INVALID_NODE_ID"),
        (json!({}), 422, "INVALID_FIELD"),
        (json!({ "node_id": 1 }), 422, "INVALID_FIELD"),
    ] {
        node.post("identity/activate", &body).await.assert_error(status, code);
    }
    let refused = node.post("identity/rotate", &json!({ "label": "" })).await;
    refused.assert_error(400, "INVALID_LABEL");
    // Not offered here, whatever the token.
    for path in ["identity/export", "identity/import"] {
        node.post(path, &json!({})).await.assert_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn an_envelope_verifies_in_every_form_it_is_given_in() {
    let node = node().await;
    let payload = json!({ "text": "\u{6f22}", "x": 0.9396554707778659, "n": null, "deep": [[[]]] });
    let made = node.served("pci/envelope/create", &json!({ "payload": payload })).await;
    let envelope = made["envelope"].clone();
    for (field, value) in envelope.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field} is also there flat");
    }
    assert_eq!((&made["version"], &made["ttl"]), (&json!("2.0"), &json!(3600)));
    assert_eq!(made["payload"], payload);
    for form in [&made, &envelope, &json!({ "envelope": envelope })] {
        let report = node.served("pci/envelope/verify", form).await;
        assert_eq!((&report["valid"], &report["code"]), (&json!(true), &Value::Null), "{report}");
        assert!(report["checks"].as_array().is_some_and(|checks| !checks.is_empty()));
    }
    for (field, value) in [
        ("payload", json!({ "text": "x" })),
        ("ttl", json!(60)),
        ("sender", json!("00".repeat(16))),
        ("signature", json!("00".repeat(64))),
        ("version", json!("1.0")),
        ("id", json!("\u{e9}")),
        ("more", json!(1)),
    ] {
        let mut other = envelope.clone();
        other[field] = value;
        let report = node.served("pci/envelope/verify", &other).await;
        assert_eq!(report["valid"], false, "{field}: {report}");
        assert!(report["code"].as_str().unwrap().starts_with("Reject"), "{report}");
    }
}

#[tokio::test]
async fn an_envelope_is_consumed_once() {
    let node = node().await;
    let made = node.served("pci/envelope/create", &json!({ "payload": 1, "ttl": 60 })).await;
    let consume = "pci/envelope/verify?consume=true";
    let mut bare = node.door.request(Method::POST, &format!("/api/v1/{consume}"));
    bare.headers_mut().unwrap().remove(header::AUTHORIZATION);
    let bare = bare.body(made["envelope"].to_string().into()).unwrap();
    node.door.send(bare, LOCAL).await.assert_error(401, "UNAUTHORIZED");
    assert_eq!(node.served(consume, &made["envelope"]).await["valid"], true);
    let again = node.served(consume, &made["envelope"]).await;
    assert_eq!((&again["valid"], &again["code"]), (&json!(false), &json!("RejectReplay")));
    let looked = node.served("pci/envelope/verify", &made["envelope"]).await;
    assert_eq!(looked["valid"], true, "looking records nothing");
    node.post("pci/envelope/verify?consume=maybe", &made).await.assert_error(400, "INVALID_QUERY");
}

#[tokio::test]
async fn what_was_made_here_is_found_by_its_id() {
    let node = node().await;
    let made = node.served("pci/envelope/create", &json!({ "payload": { "n": 1 } })).await;
    let id = made["id"].as_str().unwrap();
    let found = node.get(&format!("pci/envelope/{id}")).await;
    let constitution = node.get("constitution").await["digest"].clone();
    let expected = json!({
        "issued": true,
        "id": id,
        "at": made["timestamp"],
        "sender": made["sender"],
        "content_hash": made["content_hash"],
        "constitution": constitution,
        "envelope": made["envelope"],
    });
    assert_eq!(found, expected);
    assert_eq!(node.served("pci/envelope/verify", &found).await["valid"], true);
    let get = |path: &str| {
        let request = node.door.request(Method::GET, &format!("/api/v1/{path}"));
        node.door.send(request.body(Body::empty()).unwrap(), LOCAL)
    };
    let unknown = format!("pci/envelope/pci_{}", "0".repeat(32));
    get(&unknown).await.assert_error(404, "ENVELOPE_UNKNOWN");
    for id in ["x", "pci_", "pci_0123456789abcdef", "%e2%82%ac", &id.to_uppercase(), "..%2f"] {
        get(&format!("pci/envelope/{id}")).await.assert_error(400, "INVALID_HEX");
    }
    get("pci/envelope/%ff").await.assert_error(400, "INVALID_PATH");
    // What others made and was consumed here was not made here.
    get("pci/envelope/create").await.assert_error(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn the_log_is_read_in_bounded_pages_and_only_with_the_token() {
    let node = node().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let made = node.served("pci/envelope/create", &json!({ "payload": n })).await;
        ids.push(made["id"].clone());
    }
    let all = node.get("pci/envelopes").await;
    let listed = all["envelopes"].as_array().unwrap();
    assert_eq!((listed.len(), &all["next"]), (5, &Value::Null));
    let times: Vec<&str> = listed.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert!(
        listed.iter().all(|entry| ids.contains(&entry["id"]) && entry.get("payload").is_none())
    );
    let first = node.get("pci/envelopes?limit=3").await;
    assert_eq!(first["envelopes"].as_array().unwrap()[..], listed[..3]);
    let next = first["next"].as_str().unwrap();
    let second = node.get(&format!("pci/envelopes?limit=3&after={next}")).await;
    assert_eq!(second, json!({ "envelopes": listed[3..], "next": null }));
    let later = node.get("pci/envelopes?since=9999-01-01T00:00:00Z").await;
    assert_eq!(later, json!({ "envelopes": [], "next": null }));
    for (query, code) in [
        ("limit=0", "OUT_OF_RANGE"),
        ("limit=1001", "OUT_OF_RANGE"),
        ("limit=-1", "INVALID_QUERY"),
        ("limit=many", "INVALID_QUERY"),
        ("since=yesterday", "INVALID_TIME"),
        ("after=x", "INVALID_HEX"),
    ] {
        let request = node.door.request(Method::GET, &format!("/api/v1/pci/envelopes?{query}"));
        let answer = node.door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
        answer.assert_error(400, code);
    }
}

#[tokio::test]
async fn what_is_no_json_is_malformed_and_what_is_not_strict_is_not_valid() {
    let node = node().await;
    let verify = "/api/v1/pci/envelope/verify";
    for body in ["", "nonsense", "{}x", "{\"envelope\":"] {
        node.door.post(verify, body).await.assert_error(400, "INVALID_JSON");
    }
    let bomb = "[".repeat(100_000);
    for body in ["{}", "[]", "1", "{\"a\":1,\"a\":1}", "{\"x\":1e999}", bomb.as_str()] {
        let answer = node.door.post(verify, body.to_owned()).await;
        assert_eq!((answer.status, &answer.json["valid"]), (200, &json!(false)), "{}", answer.json);
    }
}

#[tokio::test]
async fn the_gates_answer_in_the_words_of_every_client() {
    let node = node().await;
    // As the guide calls it: plain text, two scores, no ids.
    let asked = json!({ "content": "content to validate", "snr_score": 0.92, "ihsan_score": 0.97 });
    let passed = node.served("pci/gates/check", &asked).await;
    assert_eq!(
        (&passed["passed"], &passed["all_passed"]),
        (&json!(true), &json!(true)),
        "{passed}"
    );
    assert_eq!((&passed["code"], &passed["reason"]), (&Value::Null, &Value::Null));
    assert_eq!(passed["results"].as_array().unwrap().len(), 3);
    assert_eq!(passed["results"][1]["source"], "claimed");
    assert_eq!(passed["constitution_digest"].as_str().unwrap().len(), 64);
    for (fields, code) in [
        (json!({ "content": "a", "snr_score": 0.92 }), "RejectGateIhsan"),
        (json!({ "content": "a", "ihsan_score": 0.97 }), "RejectGateSNR"),
        (json!({ "content": "a", "snr_score": 0.92, "ihsan_score": 0.9 }), "RejectGateIhsan"),
        (
            json!({ "content": "a", "content_type": "application/json", "snr_score": 1, "ihsan_score": 1 }),
            "RejectGateSchema",
        ),
        (
            json!({ "content": "a", "sender_id": "x", "snr_score": 1, "ihsan_score": 1 }),
            "RejectGateSchema",
        ),
        (json!({ "content_b64": "/w==", "snr_score": 1, "ihsan_score": 1 }), "RejectGateSchema"),
    ] {
        let refused = node.served("pci/gates/check", &fields).await;
        assert_eq!(
            (&refused["passed"], &refused["code"]),
            (&json!(false), &json!(code)),
            "{refused}"
        );
        assert!(refused["reason"].is_string());
    }
}

#[tokio::test]
async fn the_constitution_is_told_and_judges_facts() {
    let node = node().await;
    let told = node.get("constitution").await;
    assert_eq!((&told["version"], &told["ihsan_threshold"]), (&json!("1.0.0"), &json!(0.95)));
    assert_eq!(told["snr_threshold"], 0.85);
    assert_eq!(told["digest"], node.get("status").await["constitution_digest"]);
    assert_eq!(
        told["penalties"].as_object().unwrap().len(),
        told["rules"].as_array().unwrap().len()
    );
    let full =
        json!({ "ihsan_score": 1, "snr_score": 1, "has_signature": true, "has_provenance": true });
    for (facts, verdict) in [
        (full, "compliant"),
        (json!({ "has_signature": true, "has_provenance": true }), "indeterminate"),
        (json!({}), "violation"),
        (json!({ "ihsan_score": 0.1, "snr_score": 1, "has_signature": true }), "violation"),
    ] {
        let judged = node.served("constitution/check", &facts).await;
        assert_eq!(
            (&judged["verdict"], &judged["compliant"]),
            (&json!(verdict), &json!(verdict == "compliant"))
        );
        assert!(judged["checks"][0]["rule"].is_string());
    }
}

#[tokio::test]
async fn the_node_tells_how_it_stands() {
    let node = node().await;
    let health = node.get("health").await;
    assert_eq!(health["status"], "degraded", "there is nobody to answer prompts: {health}");
    assert_eq!(health["actors"]["identity"], "running");
    let status = node.get("status").await;
    for key in ["uptime_secs", "uptime_seconds", "total_requests", "requests_served"] {
        assert!(status[key].is_number(), "{key}");
    }
    assert_eq!(status["identity_initialized"], true);
    assert_eq!(status["federation_connected"], false);
    assert!(status["data_dir_free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(status["supervision"]["envelope"]["restarts"], 0);
    let actors = node.get("actors").await;
    assert_eq!(actors["actors"][0]["name"], "identity");
    assert_eq!(actors["actors"][0]["incarnation"], 1);
}

#[tokio::test]
async fn an_actor_that_was_made_to_fail_comes_back_with_the_same_key() {
    let node = node().await;
    let before = node.served("identity/sign", &json!({ "message": "a" })).await;
    let stopped = node.served("actors/identity/stop", &json!({})).await;
    assert_eq!(stopped, json!({ "actor": "identity", "kind": "error" }));
    let after = node.served("identity/sign", &json!({ "message": "a" })).await;
    assert_eq!(before, after);
    until_state(&node.root, "identity", ActorState::Running).await;
    let restarted = node.get("actors").await["actors"][0].clone();
    assert_eq!((&restarted["restarts"], &restarted["incarnation"]), (&json!(1), &json!(2)));
    assert_eq!(restarted["last_failure"]["class"], "error");
    let request = node.door.request(Method::GET, "/api/v1/metrics");
    let request = request.header(header::ACCEPT, "text/plain").body(Body::empty()).unwrap();
    assert_eq!(node.door.send(request, LOCAL).await.status, 200);
    let text = node.door.metrics.encode().unwrap();
    assert!(text.contains("actor_restarts_total{actor=\"identity\",reason=\"error\"} 1"), "{text}");
    assert!(text.contains("actor_waiting{actor=\"identity\"} 0"), "{text}");

    for name in ["nobody", "\u{6f22}", "%2e%2e"] {
        let path = format!("actors/{}/stop", name.replace('\u{6f22}', "%E6%BC%A2"));
        node.post(&path, &json!({})).await.assert_error(404, "ACTOR_UNKNOWN");
    }
    node.post("actors/%FF/stop", &json!({})).await.assert_error(400, "INVALID_PATH");
    let request = node.door.request(Method::POST, "/api/v1/actors/identity/stop");
    let mut request = request.body(Body::empty()).unwrap();
    request.headers_mut().remove(header::AUTHORIZATION);
    node.door.send(request, DISTANT).await.assert_error(401, "UNAUTHORIZED");
}
