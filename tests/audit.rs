//! The record of privileged calls of a running node, and every attack on it.

mod live;

use std::path::Path;
use std::time::Duration;

use live::*;
use serde_json::{Value, json};

/// The records of the node, the last 1000.
async fn records(data_dir: &Path) -> Vec<Value> {
    let (code, out, errors) =
        bizra(data_dir, None, &["audit", "show", "--limit", "1000", "--json"]).await;
    assert_eq!(code, 0, "{errors}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    shown["records"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_privileged_call_is_on_record_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let client = Client::new(node.address(), folder.path());
    let secret = "a prompt that nobody else should read";
    for (path, body, status) in [
        ("/identity/sign", json!({ "message": secret }), 200),
        ("/identity/sign", json!({}), 422),
        ("/pci/envelope/create", json!({ "payload": secret }), 200),
        ("/actors/nobody/stop", json!({}), 404),
        ("/pci/gates/check", json!({ "content": secret }), 200),
        ("/identity/generate", json!({ "label": "other" }), 200),
    ] {
        assert_eq!(client.post(path, &body).await.0, status, "{path}");
    }
    let (_, envelope) = client.envelope(json!(1)).await;
    assert_eq!(client.post("/pci/envelope/verify", &envelope).await.0, 200);
    assert_eq!(client.post("/pci/envelope/verify?consume=true", &envelope).await.0, 200);
    // Not let in, so not recorded.
    let refused = Client::with_token(node.address(), "wrong");
    assert_eq!(refused.post("/identity/sign", &json!({ "message": "x" })).await.0, 401);

    let records = records(folder.path()).await;
    let routes: Vec<&str> = records.iter().map(|it| it["route"].as_str().unwrap()).collect();
    assert_eq!(
        routes,
        [
            "/api/v1/identity/sign",
            "/api/v1/identity/sign",
            "/api/v1/pci/envelope/create",
            "/api/v1/actors/{name}/stop",
            "/api/v1/identity/generate",
            "/api/v1/pci/envelope/create",
            "/api/v1/pci/envelope/verify?consume=true",
        ]
    );
    for record in &records {
        assert_eq!((&record["method"], &record["peer"]), (&json!("POST"), &json!("loopback")));
        assert_eq!(record["address"], "127.0.0.1");
        assert_eq!(record["request_id"].as_str().unwrap().len(), 32);
    }
    let text = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    let token = std::fs::read_to_string(folder.path().join("api-token")).unwrap();
    for hidden in [secret, token.trim(), "nobody"] {
        assert!(!text.contains(hidden), "{hidden} is in the record");
    }
    let (code, out, _) = bizra(folder.path(), None, &["audit", "verify"]).await;
    assert!(code == 0 && out.starts_with("valid: records 1 to 7"), "{out}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recorded_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let client = Client::new(node.address(), folder.path());
    let sign = json!({ "message": "x" });
    assert_eq!(client.post("/identity/sign", &sign).await.0, 200);
    let log = folder.path().join("audit.log");
    let kept = std::fs::read(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let (_, before) = client.get("/status").await;
    for (path, body) in [
        ("/identity/sign", sign.clone()),
        ("/identity/generate", json!({})),
        ("/pci/envelope/create", json!({ "payload": 1 })),
        ("/actors/identity/stop", json!({})),
        ("/token/rotate", json!({})),
    ] {
        let (status, answer) = client.post(path, &body).await;
        assert_eq!((status, &answer["code"]), (503, &json!("AUDIT_UNAVAILABLE")), "{path}");
        assert!(!answer.to_string().contains("audit.log"), "no path of ours: {answer}");
    }
    // Nothing happened, and everything else goes on.
    let (status, after) = client.get("/status").await;
    assert_eq!((status, &after["public_key"]), (200, &before["public_key"]));
    assert_eq!(after["supervision"]["identity"]["restarts"], 0);
    assert_eq!(client.post("/pci/gates/check", &json!({ "content": "x" })).await.0, 200);
    let (code, out, _) = bizra(folder.path(), None, &["audit", "verify"]).await;
    assert!(code != 0, "{out}");

    std::fs::write(&log, kept).unwrap();
    let again = async {
        while client.post("/identity/sign", &sign).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, again).await.unwrap();
    assert_eq!(bizra(folder.path(), None, &["audit", "verify"]).await.0, 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_survives_the_death_of_its_actor_and_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..6 {
        let mut process =
            Process::start_with(folder.path(), &[("BIZRA_CHAOS__ENABLED", "true")]).await;
        let client = process.client();
        let signers: Vec<_> = (0..4)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    while let Ok(answer) =
                        client.try_post("/identity/sign", &json!({ "message": "x" })).await
                    {
                        if answer.status() == 200 {
                            ids.push(answer.headers()["x-request-id"].to_str().unwrap().to_owned());
                        }
                    }
                    ids
                })
            })
            .collect();
        for kind in ["panic", "kill"] {
            let _ = client.try_post("/actors/audit/stop", &json!({ "kind": kind })).await;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(getrandom::u32().unwrap() % 150))).await;
        process.child.kill().await.unwrap();
        for signer in signers {
            acknowledged.extend(signer.await.unwrap());
        }
        let (code, out, errors) = bizra(folder.path(), None, &["audit", "verify"]).await;
        assert_eq!(code, 0, "{out}{errors}");
    }
    assert!(acknowledged.len() > 20, "only {} were signed", acknowledged.len());
    let text = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    for id in acknowledged {
        assert!(text.contains(&id), "{id} was signed and is not on record");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_somebody_touched_is_found_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let client = Client::new(node.address(), folder.path());
    for _ in 0..5 {
        client.post("/identity/sign", &json!({ "message": "x" })).await;
    }
    node.shutdown().await;
    drop(node);
    let path = folder.path().join("audit.log");
    let whole = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let without = |at: usize| {
        let mut rest = lines.clone();
        rest.remove(at);
        joined(&rest)
    };
    let swapped = joined(&[lines[0], lines[2], lines[1], lines[3], lines[4]]);
    for (text, place) in [
        (whole.replacen("127.0.0.1", "127.0.0.2", 1), "audit.log:1: the record was changed"),
        (without(0), "audit.log:1: record 1 should be here, and this is record 2"),
        (without(2), "audit.log:3: record 3 should be here, and this is record 4"),
        (without(4), "audit.log:5: the records end here, and record 5 was written"),
        (swapped, "audit.log:2: record 2 should be here, and this is record 3"),
        (whole[..whole.len() - 20].to_owned(), "audit.log:5: the records end here"),
        (whole.replacen('{', "{ ", 1), "audit.log:1: this is not a record"),
        (String::new(), "audit.log:1: the records end here"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let (code, out, _) = bizra(folder.path(), None, &["audit", "verify"]).await;
        assert_eq!(code, 1, "{place}: {out}");
        assert!(out.contains(place), "{place}: {out}");
        let (_, out, _) = bizra(folder.path(), None, &["audit", "verify", "--json"]).await;
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["valid"], false, "{report}");
        // And the node does not go on from there as if nothing had been.
        let refused = bizra_omega::node::start(config(folder.path())).await.unwrap_err();
        assert!(refused.to_string().contains("audit.log"), "{refused}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(bizra(folder.path(), None, &["audit", "verify"]).await.0, 0);
    let copy = folder.path().join("copy.log");
    std::fs::write(&copy, joined(&lines[2..])).unwrap();
    let (code, out, _) =
        bizra(folder.path(), None, &["audit", "verify", copy.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("records 3 to 5") && out.contains("not known"), "{out}");
    std::fs::remove_file(folder.path().join("audit.head")).unwrap();
    let (code, out, _) = bizra(folder.path(), None, &["audit", "verify"]).await;
    assert!(code == 1 && out.contains("audit.head"), "{out}");
}
