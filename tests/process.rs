//! The node as a process: killed at random, and told to stop under load.

mod live;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use live::*;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut sealed: Vec<Value> = Vec::new();
    let mut consumed: Vec<Value> = Vec::new();
    let mut keys = std::collections::BTreeSet::new();
    for cycle in 0..20_u64 {
        let mut process = Process::start(folder.path()).await;
        let client = process.client();
        let (_, status) = client.get("/status").await;
        keys.insert(status["public_key"].as_str().unwrap().to_owned());

        // What was consumed before the kill is a replay after it.
        for envelope in consumed.iter().rev().take(3) {
            let (_, again) = client.post("/pci/envelope/verify?consume=true", envelope).await;
            assert_eq!(again["code"], "RejectReplay", "{again}");
        }
        let done = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (client, done) = (client.clone(), done.clone());
                tokio::spawn(async move {
                    let (mut sealed, mut consumed) = (Vec::new(), Vec::new());
                    for number in 0.. {
                        let payload = json!({ "cycle": cycle, "writer": writer, "n": number });
                        let body = json!({ "payload": payload });
                        let Some(mut created) =
                            client.post_if_alive("/pci/envelope/create", &body).await
                        else {
                            break;
                        };
                        let envelope = created["envelope"].take();
                        sealed.push(envelope.clone());
                        let path = "/pci/envelope/verify?consume=true";
                        let Some(verified) = client.post_if_alive(path, &envelope).await else {
                            break;
                        };
                        assert_eq!(verified["valid"], true, "{verified}");
                        consumed.push(envelope);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    (sealed, consumed)
                })
            })
            .collect();
        process.kill_amid((&done, 3), 30 * SECOND, 150).await;
        for writer in writers {
            let (made, used) = writer.await.unwrap();
            sealed.extend(made);
            consumed.extend(used);
        }
    }
    assert!(consumed.len() > 20, "only {} envelopes were consumed", consumed.len());
    assert_eq!(keys.len(), 1, "the key changed: {keys:?}");

    let mut process = Process::start(folder.path()).await;
    let client = process.client();
    for envelope in &consumed {
        let (_, again) = client.post("/pci/envelope/verify?consume=true", envelope).await;
        assert_eq!(again["code"], "RejectReplay", "{again}");
    }
    process.child.kill().await.unwrap();
    let store = bizra_omega::adapters::store::Store::open(folder.path(), 0);
    let store = store.unwrap();
    for envelope in &sealed {
        let id = envelope["id"].as_str().unwrap().strip_prefix("pci_").unwrap();
        let id = bizra_omega::domain::bytes::from_hex(id).unwrap();
        let id = bizra_omega::domain::envelope::EnvelopeId(id);
        assert!(store.find_envelope(id).unwrap().is_some(), "{envelope} was lost");
    }
}

fn proposal(name: &str) -> Value {
    json!({
        "pattern_id": name, "pattern_embedding": [0.5, -0.25], "source_node": "ab".repeat(16),
        "confidence": 0.97, "content": "Ask before you act.",
    })
}

/// Every record that a node keeps.
async fn records(client: &Client) -> Vec<Value> {
    let mut records = Vec::new();
    let mut query = String::new();
    loop {
        let (_, page) = client.get(&format!("/federation/proposals?limit=100{query}")).await;
        for head in page["proposals"].as_array().unwrap() {
            let id = head["proposal_id"].as_str().unwrap();
            let (status, record) = client.get(&format!("/federation/proposals/{id}")).await;
            assert_eq!(status, 200, "{record}");
            records.push(record);
        }
        let Some(next) = page["next"].as_str() else { return records };
        query = format!("&after={next}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_survives_a_kill_and_heights_go_on_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<Value> = Vec::new();
    for cycle in 0..8_u64 {
        let mut process = Process::start(folder.path()).await;
        let client = process.client();
        let done = Arc::new(AtomicU64::new(0));
        let proposers: Vec<_> = (0..4)
            .map(|proposer| {
                let (client, done) = (client.clone(), done.clone());
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for number in 0..25 {
                        let proposal = proposal(&format!("pat_{cycle}-{proposer}-{number}"));
                        let Some(made) =
                            client.post_if_alive("/federation/propose", &proposal).await
                        else {
                            break;
                        };
                        acknowledged.push(made);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    acknowledged
                })
            })
            .collect();
        process.kill_amid((&done, 3), 30 * SECOND, 60).await;
        for proposer in proposers {
            acknowledged.extend(proposer.await.unwrap());
        }
    }
    let process = Process::start(folder.path()).await;
    let client = process.client();
    let is_decided = async {
        loop {
            let (_, status) = client.get("/federation/status").await;
            if status["pending_count"] == 0 {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let status = tokio::time::timeout(30 * SECOND, is_decided).await.unwrap();
    let records = records(&client).await;
    let mut heights = std::collections::BTreeSet::new();
    for record in &records {
        let read = bizra_omega::domain::federation::Record::from_json(record).unwrap();
        read.verify().unwrap();
        assert!(heights.insert(read.height().unwrap()), "{record}");
    }
    assert!(heights.iter().copied().eq(1..=status["consensus_height"].as_u64().unwrap()));
    for made in &acknowledged {
        let is_it = |record: &&Value| record["proposal_id"] == made["proposal_id"];
        let record = records.iter().find(is_it).unwrap_or_else(|| panic!("{made} was lost"));
        if made["status"] == "committed" {
            assert_eq!(record["height"], made["height"], "{made} was decided twice");
        }
    }
    assert!(acknowledged.len() >= 24, "{}", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_proposes_and_checks_what_was_decided() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path()).await;
    let url = format!("http://{}", process.address);
    let bizra = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let (url, dir) = (url.clone(), folder.path().to_owned());
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let (code, out, errors) = live::bizra(&dir, Some(&url), &args).await;
            (code, format!("{out}{errors}"))
        }
    };
    let file = folder.path().join("pattern.json");
    std::fs::write(&file, proposal("pat_1").to_string()).unwrap();
    let (code, text) = bizra(&["federation", "status"]).await;
    assert!(code == 0 && text.contains("solo") && text.contains("connected"), "{text}");
    let (code, text) = bizra(&["federation", "peers"]).await;
    assert!(code == 0 && text.lines().count() == 1, "{text}");
    let propose = ["federation", "propose", file.to_str().unwrap()];
    let (code, text) = bizra(&[&propose[..], &["--json"]].concat()).await;
    let proposed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &proposed["height"]), (0, &json!(1)));
    let id = proposed["proposal_id"].as_str().unwrap();
    let (code, text) = bizra(&["federation", "proposals"]).await;
    assert!(code == 0 && text.contains("committed") && text.contains(id), "{text}");
    let (code, text) = bizra(&["federation", "proposal", id, "--verify"]).await;
    assert!(code == 0 && text.contains("valid") && text.contains("true"), "{text}");
    // As a file, where no node is: whole, then with a letter of the content changed.
    let (code, record) = bizra(&["federation", "proposal", id, "--json"]).await;
    assert_eq!(code, 0);
    let kept = folder.path().join("record.json");
    for (text, expected) in [(record.clone(), 0), (record.replace("Ask", "Act"), 1)] {
        std::fs::write(&kept, text).unwrap();
        let (code, text) = bizra(&["federation", "verify", kept.to_str().unwrap()]).await;
        assert_eq!(code, expected, "{text}");
    }
    std::fs::write(&file, proposal("AKIAQX7C5WTRB3DKM2LF").to_string()).unwrap();
    let (code, text) = bizra(&propose).await;
    assert!(code == 1 && text.contains("harm"), "{text}");
    std::fs::write(&file, "{").unwrap();
    assert_eq!(bizra(&propose).await.0, 2);
    assert_eq!(bizra(&["federation", "proposal", "x"]).await.0, 1);
}

/// Ten thousand live envelopes of one sender are the most that are remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_with_a_full_window_is_refused_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path()).await;
    let (_, status) = process.client().get("/status").await;
    process.child.kill().await.unwrap();
    let key = |hex: &Value| bizra_omega::domain::bytes::from_hex(hex.as_str().unwrap()).unwrap();
    let public_key: [u8; 32] = key(&status["public_key"]);
    let store = bizra_omega::adapters::store::Store::open(folder.path(), 0).unwrap();
    let store = std::sync::Arc::new(store);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..10_000_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let id = bizra_omega::domain::envelope::EnvelopeId(id);
        let nonce = bizra_omega::domain::replay::Nonce { public_key, id };
        let store = std::sync::Arc::clone(&store);
        tasks.spawn(async move { store.record_nonce(nonce, [0; 32], i64::MAX, 0).await.unwrap() });
        while tasks.len() > 500 {
            tasks.join_next().await.unwrap().unwrap();
        }
    }
    tasks.join_all().await;
    drop(store);

    let process = Process::start(folder.path()).await;
    let client = process.client();
    let (_, mut made) = client.envelope(json!(1)).await;
    let path = "/pci/envelope/verify?consume=true";
    let (_, full) = client.post(path, &made["envelope"].take()).await;
    assert_eq!(full["code"], "RejectQuota", "{full}");
    // Another key of the same keystore is another sender.
    client.post("/identity/generate", &json!({})).await;
    let (_, mut made) = client.envelope(json!(1)).await;
    let (_, taken) = client.post(path, &made["envelope"].take()).await;
    assert_eq!(taken["valid"], true, "{taken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_floor_of_the_disk_nothing_is_made_and_the_node_stays_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path()).await;
    let (_, mut made) = process.client().envelope(json!(1)).await;
    let envelope = made["envelope"].take();
    process.child.kill().await.unwrap();
    let floor = [("BIZRA_STORE__FREE_BYTES_MIN", "1125899906842624")];
    let process = Process::start_with(folder.path(), &floor).await;
    let client = process.client();
    let (status, refused) = client.envelope(json!(2)).await;
    assert_eq!((status, &refused["code"]), (507, &json!("DISK_FULL")), "{refused}");
    assert_eq!(refused["details"], "RejectQuota");
    // What is small and bounded goes on, and so does reading.
    let (_, taken) = client.post("/pci/envelope/verify?consume=true", &envelope).await;
    assert_eq!(taken["valid"], true, "{taken}");
    let (status, found) =
        client.get(&format!("/pci/envelope/{}", envelope["id"].as_str().unwrap())).await;
    assert_eq!((status, &found["envelope"]), (200, &envelope));
    assert_eq!(client.get("/health").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_finds_and_lists_what_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path()).await;
    let url = format!("http://{}", process.address);
    let bizra = |args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bizra"));
        command.args(["--url", &url, "--data-dir"]).arg(folder.path()).args(args).env_clear();
        async move {
            let output = command.output().await.unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.code().unwrap(), text)
        }
    };
    let mut ids = Vec::new();
    for n in 0..3 {
        let (_, made) = process.client().envelope(json!(n)).await;
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let (code, found) = bizra(&["envelope", "find", &ids[1]]).await;
    assert!(code == 0 && found.contains("issued") && found.contains(&ids[1]), "{found}");
    let (code, unknown) = bizra(&["envelope", "find", &format!("pci_{}", "0".repeat(32))]).await;
    assert!(code == 1 && unknown.contains("made no envelope"), "{unknown}");
    let (code, page) = bizra(&["envelope", "log", "--limit", "2"]).await;
    let after = page.lines().last().unwrap().strip_prefix("for more: --after ").unwrap();
    assert!(code == 0 && ids.iter().filter(|id| page.contains(*id)).count() == 2, "{page}");
    let (code, rest) = bizra(&["envelope", "log", "--after", after]).await;
    assert!(code == 0 && ids.iter().all(|id| page.contains(id) != rest.contains(id)), "{rest}");
    let (code, none) = bizra(&["envelope", "log", "--since", "9999-01-01T00:00:00Z"]).await;
    assert!(code == 0 && none.lines().count() == 1, "{none}");
    assert_eq!(bizra(&["envelope", "log", "--since", "yesterday"]).await.0, 1);
    assert_eq!(bizra(&["envelope", "log", "--limit", "none"]).await.0, 2);
}

async fn until_ready(client: &Client) {
    let is_ready = async {
        while client.get("/health").await.1["inference_ready"] != true {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, is_ready).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_fails_no_request_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path()).await;
    let client = process.client();
    let prompt = json!({ "prompt": "The", "max_tokens": 40, "tier": "edge" });
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let (client, prompt) = (client.clone(), prompt.clone());
            tokio::spawn(async move { client.post("/inference/generate", &prompt).await })
        })
        .collect();
    // In flight once the first answer is there: the others were sent before it.
    let mut asked = asked.into_iter();
    let first = asked.next().unwrap().await.unwrap();
    assert_eq!(first.0, 200, "{}", first.1);
    process.terminate();
    for asked in asked {
        let (status, answer) = asked.await.unwrap();
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(process.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_on_one_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _process = Process::start(folder.path()).await;
    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_bizra-api"))
        .args(["--port", "0", "--log-format", "text", "--data-dir"])
        .arg(folder.path())
        .env_clear()
        .output();
    let second = tokio::time::timeout(30 * SECOND, second).await.unwrap().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(folder.path().to_str().unwrap()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_keep_its_keys_alive_ends_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut process =
        Process::start_with(folder.path(), &[("BIZRA_SUPERVISOR__MAX_RESTARTS", "2")]).await;
    let client = process.client();
    until_ready(&client).await;
    // Loading the model has its own lines to say.
    client.post("/inference/generate", &json!({ "prompt": "The", "max_tokens": 1 })).await;
    let mut drills = 0;
    while let Ok(answer) = client.try_post("/actors/identity/stop", &json!({})).await {
        // Refused while the actor is between two incarnations.
        drills += u32::from(answer.status() == 200);
        assert!(drills <= 3, "the budget of two restarts is not enforced");
    }
    let (code, last_line) = process.ended().await;
    assert_eq!(code, Some(1));
    let entry: Value = serde_json::from_str(&last_line).unwrap();
    assert_eq!(entry["level"], "ERROR", "{last_line}");
    let reason = entry["fields"]["reason"].as_str().unwrap();
    assert!(reason.contains("actor identity ended: drill: error"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_outlast_the_grace_are_told_and_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let environment =
        [("BIZRA_SUPERVISOR__SHUTDOWN_SECONDS", "4"), ("BIZRA_SUPERVISOR__STOP_SECONDS", "1")];
    let mut process = Process::start_with(folder.path(), &environment).await;
    let client = process.client();
    let prompt = json!({ "prompt": "The", "max_tokens": 500, "tier": "edge", "temperature": 0 });
    let asked: Vec<_> = (0..40)
        .map(|_| {
            let (client, prompt) = (client.clone(), prompt.clone());
            tokio::spawn(async move { client.post("/inference/generate", &prompt).await })
        })
        .collect();
    // Each takes a good part of a second and one runs at a time.
    let is_waiting = async {
        let mut waiting = 0;
        while waiting < 30 {
            let (_, status) = client.get("/status").await;
            waiting = status["supervision"]["inference-router"]["queue_depth"].as_u64().unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, is_waiting).await.unwrap();
    process.terminate();
    let mut told = 0;
    for asked in asked {
        let (status, answer) = asked.await.unwrap();
        if status != 200 {
            assert_eq!((status, &answer["code"]), (503, &json!("SHUTTING_DOWN")), "{answer}");
            told += 1;
        }
    }
    assert!(told > 0, "nothing outlasted the grace");
    assert_eq!(process.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_root_supervisor_dies_ends_and_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    for fault in ["panic", "kill"] {
        let environment = [("BIZRA_CHAOS__ENABLED", "true")];
        let mut process = Process::start_with(folder.path(), &environment).await;
        let client = process.client();
        until_ready(&client).await;
        let (status, mut created) = client.envelope(json!({ "fault": fault })).await;
        assert_eq!(status, 200, "{created}");
        let envelope = created["envelope"].take();
        let die = json!({ "kind": fault });
        // The answer may or may not come before the end of whoever gives it.
        let _ = client.try_post("/actors/supervisor/stop", &die).await;
        let (code, last_line) = process.ended().await;
        assert_eq!(code, Some(1), "{last_line}");
        assert!(last_line.contains("the root supervisor died"), "{last_line}");

        let mut process = Process::start(folder.path()).await;
        let client = process.client();
        let path = "/pci/envelope/verify?consume=true";
        let (_, verified) = client.post(path, &envelope).await;
        assert_eq!(verified["valid"], true, "{verified}");
        let die = json!({ "kind": "error" });
        let (status, refused) = client.post("/actors/supervisor/stop", &die).await;
        assert_eq!((status, &refused["code"]), (403, &json!("CHAOS_DISABLED")), "{refused}");
        process.terminate();
        assert_eq!(process.ended().await.0, Some(0));
    }
}
