//! Sockets of a whole node: events of what really happens, and what outlives what.

use bizra_omega::actors::http;
use bizra_omega::domain::restart::Outcome;
use bizra_omega::http::auth::Class;
use bizra_omega::http::router::ROUTES;
use bizra_omega::messages::supervisor::Fault;
use bizra_omega::node::{self, Node};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::live::{Process, config};
use crate::ws::{PATIENCE, Socket};

struct Living {
    node: Node,
    token: String,
    _data_dir: tempfile::TempDir,
}

async fn living() -> Living {
    let data_dir = tempfile::tempdir().unwrap();
    let node = node::start(config(data_dir.path())).await.unwrap();
    let token = std::fs::read_to_string(data_dir.path().join("api-token")).unwrap();
    Living { node, token: token.trim().to_owned(), _data_dir: data_dir }
}

impl Living {
    async fn socket(&self) -> Socket {
        let mut socket = Socket::with_token(self.node.address(), &self.token).await;
        assert_eq!(socket.hear().await["type"], "welcome");
        socket
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_is_killed_is_heard_of() {
    let living = living().await;
    let mut socket = living.socket().await;
    socket.subscribe("actors").await;
    let mut last = 0;
    for fault in ["error", "panic", "kill"] {
        let params = json!({ "name": "gate-chain", "kind": fault });
        socket.say(json!({ "type": "call", "method": "actors.stop", "params": params })).await;
        let about = |event: &Value| event["data"]["name"] == "gate-chain";
        let failed = socket.hear_event(about).await;
        assert_eq!(
            (&failed["topic"], &failed["data"]["what"]),
            (&json!("actors"), &json!("failed"))
        );
        assert!(failed["data"]["reason"].is_string(), "{failed}");
        let restarted = socket.hear_event(about).await;
        assert_eq!(restarted["data"]["what"], "restarted");
        for event in [failed, restarted] {
            let seq = event["seq"].as_u64().unwrap();
            assert!(seq > last, "{event}");
            last = seq;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_is_streamed_proven_and_heard_of() {
    let living = living().await;
    let mut socket = living.socket().await;
    let mut watcher = living.socket().await;
    watcher.subscribe("inference").await;
    watcher.subscribe("envelopes").await;
    let generate = json!({
        "type": "generate", "id": "g", "prompt": "The", "max_tokens": 8, "tier": "edge",
    });
    socket.say(generate).await;
    let mut text = String::new();
    let done = loop {
        let frame = socket.hear().await;
        match frame["type"].as_str() {
            Some("token") => text += frame["text"].as_str().unwrap(),
            Some("done") => break frame,
            _ => panic!("{frame}"),
        }
    };
    assert_eq!(done["text"], text);
    let report = socket.call("pci.envelope.verify", done["envelope"].clone()).await.unwrap();
    assert_eq!(report["valid"], true, "{report}");
    let twice = "POST /pci/envelope/verify?consume=true";
    assert_eq!(socket.call(twice, done["envelope"].clone()).await.unwrap()["valid"], true);
    let again = socket.call(twice, done["envelope"].clone()).await.unwrap();
    assert_eq!(again["code"], "RejectReplay");

    let mut told = Vec::new();
    while told.len() < 6 {
        let frame = watcher.hear().await;
        assert_eq!(frame["type"], "event");
        assert!(!frame.to_string().contains(&text), "no payload is told: {frame}");
        told.push((frame["topic"].as_str().unwrap().to_owned(), frame["data"].clone()));
    }
    let of = |topic: &str| -> Vec<&Value> {
        told.iter().filter(|(it, _)| it == topic).map(|(_, data)| data).collect()
    };
    let inference = of("inference");
    assert_eq!(inference[0]["what"], "began");
    assert_eq!(inference[1]["what"], "finished");
    assert_eq!(inference[1]["request_id"], done["request_id"]);
    for key in ["tier", "model"] {
        assert_eq!(inference[1][key], done[key]);
    }
    assert_eq!(inference[1]["tokens"], done["completion_tokens"]);
    let id = &done["envelope"]["id"];
    let expected = [
        json!({ "what": "made", "id": id }),
        json!({ "what": "verified", "id": id, "consumed": false }),
        json!({ "what": "verified", "id": id, "consumed": true }),
        json!({ "what": "refused", "code": "RejectReplay" }),
    ];
    assert!(of("envelopes").into_iter().eq(&expected), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_and_its_decision_are_heard_of() {
    let living = living().await;
    let mut watcher = living.socket().await;
    watcher.subscribe("consensus").await;
    watcher.subscribe("federation").await;
    let mut socket = living.socket().await;
    let proposal = json!({
        "pattern_id": "pat_1", "pattern_embedding": [0.5], "source_node": "ab".repeat(16),
        "confidence": 0.97, "content": "Ask before you act.",
    });
    let proposed = socket.call("federation.propose", proposal).await.unwrap();
    let id = &proposed["proposal_id"];
    for expected in [
        json!({ "what": "proposal", "proposal_id": id, "pattern_id": "pat_1" }),
        json!({ "what": "decided", "proposal_id": id, "status": "committed", "height": 1 }),
    ] {
        let event = watcher.hear().await;
        assert_eq!((&event["topic"], &event["data"]), (&json!("consensus"), &expected));
    }
    let record = socket.call("federation.proposals", json!({ "id": id })).await.unwrap();
    assert_eq!(record["certificate"]["height"], 1);
    let listed = socket.call("federation.proposals", Value::Null).await.unwrap();
    assert_eq!(listed["proposals"][0]["proposal_id"], *id);
    let params = json!({ "name": "gossip", "kind": "panic" });
    socket.call("actors.stop", params).await.unwrap();
    let event = watcher.hear().await;
    assert_eq!(event["topic"], "federation");
    let expected = json!({ "what": "began", "mode": "solo", "connected": false, "peers": 0 });
    assert_eq!(event["data"], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_stops_the_model() {
    let living = living().await;
    let mut socket = living.socket().await;
    socket.subscribe("inference").await;
    let generate = json!({
        "type": "generate", "id": 1, "prompt": "The", "max_tokens": 500, "tier": "edge",
        "temperature": 0,
    });
    socket.say(generate).await;
    assert_eq!(socket.hear_answer().await["type"], "token");
    socket.say(json!({ "type": "cancel", "id": 1 })).await;
    let is_end = |event: &Value| event["data"]["what"] == "failed";
    let ended = socket.hear_event(is_end).await;
    assert_eq!(ended["data"]["code"], "cancelled");
    // The one place for generations is free again: the model has stopped.
    let generate = json!({ "prompt": "The", "max_tokens": 2, "tier": "edge" });
    assert_eq!(socket.call("inference.generate", generate).await.unwrap()["tier"], "Edge");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_a_method_and_keeps_its_class() {
    let living = living().await;
    let mut with = living.socket().await;
    let mut without = Socket::open(living.node.address(), &[]).await;
    without.hear().await;
    let mut count = 0;
    for (path, class) in ROUTES {
        let Some(path) = path.strip_prefix("/api/v1/").filter(|path| *path != "ws") else {
            continue;
        };
        let words = ["/{name}", "/{id}", "/{subject}"]
            .iter()
            .fold(path.to_owned(), |it, part| it.replace(part, ""));
        let words = words.replace('/', ".");
        let params = match path.split(['{', '}']).nth(1) {
            Some(part) => json!({ part: "none" }),
            None => json!({}),
        };
        // Rotating the token is for the one who knows it, and what it knows is then no more.
        if path != "token/rotate" {
            let told = with.call(&words, params.clone()).await;
            let wrong = ["UNKNOWN_METHOD", "METHOD_NOT_ALLOWED", "NOT_FOUND", "UNAUTHORIZED"];
            assert!(
                !told.as_ref().is_err_and(|code| wrong.contains(&code.as_str())),
                "{path}: {told:?}"
            );
        }
        let told = without.call(&words, params).await;
        let is_refused = told.is_err_and(|code| code == "UNAUTHORIZED");
        assert_eq!(is_refused, class == Class::Privileged, "{path}");
        count += 1;
    }
    assert!(count > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_outlive_the_actor_that_accepted_them() {
    let living = living().await;
    let mut socket = living.socket().await;
    socket.subscribe("actors").await;
    for fault in Fault::ALL {
        let params = json!({ "name": http::NAME, "kind": fault.as_str() });
        socket.say(json!({ "type": "call", "method": "actors.stop", "params": params })).await;
        let is_back = |event: &Value| {
            event["data"]["name"] == http::NAME && event["data"]["what"] == "restarted"
        };
        socket.hear_event(is_back).await;
    }
    socket.assert_open().await;
    living.socket().await.assert_open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_goes_down_ends_what_is_in_flight_and_says_so() {
    let living = living().await;
    let mut idle = living.socket().await;
    let mut busy = living.socket().await;
    let generate = json!({
        "type": "generate", "prompt": "The", "max_tokens": 200, "tier": "edge", "temperature": 0,
    });
    busy.say(generate).await;
    assert_eq!(busy.hear().await["type"], "token");
    let down = tokio::spawn(async move { living.node.shutdown().await.outcome });
    idle.assert_closed(1001).await;
    while busy.hear().await["type"] == "token" {}
    busy.assert_closed(1001).await;
    assert_eq!(down.await.unwrap(), Outcome::Shutdown);
}

/// Bytes of the process that are in memory.
#[cfg(target_os = "linux")]
fn resident_bytes(process: &Process) -> u64 {
    let path = format!("/proc/{}/status", process.child.id().unwrap());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[expect(clippy::print_stdout, reason = "the figure is worth reading, too")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_socket_takes_no_more_than_32_kib() {
    const WARM: usize = 50;
    const SOCKETS: usize = 450;
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("BIZRA_HTTP__CONNECTIONS_MAX", "2000"),
        ("BIZRA_WS__SOCKETS_MAX", "2000"),
        ("BIZRA_WS__SOCKETS_PER_CLIENT_MAX", "2000"),
    ];
    let process = Process::start_with(folder.path(), &environment).await;
    // A model that loads meanwhile would be counted too.
    let client = process.client();
    let is_ready = async {
        while client.get("/health").await.1["inference_ready"] != true {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, is_ready).await.unwrap();
    let address = process.address.parse().unwrap();
    let mut sockets = Vec::new();
    let mut before = 0;
    for count in 0..WARM + SOCKETS {
        if count == WARM {
            // What is made once, whoever comes, is not of one socket.
            before = resident_bytes(&process);
        }
        let mut socket = Socket::open(address, &[]).await;
        assert_eq!(socket.hear().await["type"], "welcome");
        socket.assert_open().await;
        sockets.push(socket);
    }
    let grown = resident_bytes(&process).saturating_sub(before);
    let each = grown / SOCKETS as u64;
    println!("{each} bytes for each of {SOCKETS} sockets");
    assert!(each <= 32 * 1024, "{each} bytes for each of {SOCKETS} sockets");
}
