//! The federation's resources over the real actors, as clients use them.

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::domain::federation::Record;
use serde_json::{Value, json};

use crate::door::LOCAL;
use crate::resources::{Node, node};

fn proposal(number: usize) -> Value {
    json!({
        "pattern_id": format!("pat_{number}"),
        "pattern_embedding": [0.25, -1, 1e-7],
        "source_node": "ab".repeat(16),
        // A whole number too is a confidence, and is read back.
        "confidence": if number == 1 { json!(0.97) } else { json!(1) },
        "content": "Ask before you act.",
    })
}

async fn refused(node: &Node, method: Method, path: &str, status: u16, code: &str) {
    let request = node.door.request(method, &format!("/api/v1/{path}"));
    let answer = node.door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
    answer.assert_error(status, code);
}

#[tokio::test]
async fn a_node_that_is_alone_tells_it_in_the_words_of_every_client() {
    let node = node().await;
    let status = node.get("federation/status").await;
    // As the guide reads it.
    assert_eq!((&status["connected"], &status["peers"]), (&json!(false), &json!(0)));
    let node_id = node.get("status").await["node_id"].clone();
    let expected = json!({
        "connected": false,
        "mode": "solo",
        "node_id": node_id,
        "peer_id": null,
        "listen_addrs": [],
        "gossip_port": 7946,
        "peers": 0,
        "peer_count": 0,
        "peer_list": [],
        "gossip_round": 0,
        "consensus_height": 0,
        "pattern_count": 0,
        "decided_count": 0,
        "pending_count": 0,
        "validators": 1,
        "fault_tolerance": 0,
        "quorum": 1,
    });
    assert_eq!(status, expected);
    assert_eq!(node.get("federation/peers").await, json!({ "peers": [] }));
    assert_eq!(node.get("status").await["federation_connected"], false);
}

#[tokio::test]
async fn a_proposal_is_followed_to_its_certificate() {
    let node = node().await;
    let proposed = node.served("federation/propose", &proposal(1)).await;
    let id = proposed["proposal_id"].as_str().unwrap();
    let expected = json!({
        "proposal_id": id,
        "status": "committed",
        "mode": "solo",
        "quorum_needed": 1,
        "votes_received": 1,
        "height": 1,
    });
    assert_eq!(proposed, expected);
    // Said again, however it is spelled, it is the same.
    assert_eq!(node.served("federation/propose", &proposal(1)).await, proposed);
    let mut spelled = proposal(1);
    spelled["pattern_embedding"] = json!([0.25, -1.0, 0.000_000_1]);
    spelled["more"] = json!("is left out");
    assert_eq!(node.served("federation/propose", &spelled).await, proposed);

    let found = node.get(&format!("federation/proposals/{id}")).await;
    assert_eq!((&found["status"], &found["height"]), (&json!("committed"), &json!(1)));
    assert_eq!(found["proposal"]["content"], "Ask before you act.");
    assert_eq!(found["certificate"]["mode"], "solo");
    let record = Record::from_json(&found).unwrap();
    record.verify().unwrap();
    let status = node.get("federation/status").await;
    assert_eq!((&status["consensus_height"], &status["decided_count"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn what_the_gates_refuse_is_forbidden_and_on_record() {
    let node = node().await;
    let mut leak = proposal(1);
    leak["content"] = json!("The key is AKIAQX7C5WTRB3DKM2LF.");
    let answer = node.post("federation/propose", &leak).await;
    answer.assert_error(403, "REFUSED_BY_GATES");
    assert_eq!(answer.json["details"], "RejectGateIhsan");
    assert_eq!(
        (&answer.json["status"], &answer.json["height"]),
        (&json!("rejected"), &Value::Null)
    );
    assert_eq!(answer.json["gates"]["passed"], false);
    let id = answer.json["proposal_id"].as_str().unwrap();
    let found = node.get(&format!("federation/proposals/{id}")).await;
    assert_eq!((&found["status"], &found["certificate"]), (&json!("rejected"), &Value::Null));
    assert!(found["proposal"]["content"].is_null() && !found.to_string().contains("AKIA"));
    assert!(found["proposal"]["content_hash"].is_string());
    let again = node.post("federation/propose", &leak).await;
    assert_eq!((again.status, &again.json["proposal_id"]), (403, &json!(id)));
}

#[tokio::test]
async fn each_wrong_value_is_refused_with_its_place() {
    let node = node().await;
    let long = "\u{6f22}".repeat(6000);
    let wide: Vec<f64> = (0..4096).map(|at| 0.1 + f64::from(at) / 7919.0).collect();
    for (field, value, status, code) in [
        ("pattern_id", json!(""), 400, "INVALID_PATTERN_ID"),
        ("pattern_id", json!("a/b"), 400, "INVALID_PATTERN_ID"),
        ("pattern_id", json!("\u{6f22}"), 400, "INVALID_PATTERN_ID"),
        ("pattern_id", json!("x".repeat(129)), 400, "INVALID_PATTERN_ID"),
        ("pattern_id", json!(1), 422, "INVALID_FIELD"),
        ("pattern_id", json!(null), 422, "INVALID_FIELD"),
        ("pattern_embedding", json!([]), 400, "INVALID_EMBEDDING"),
        ("pattern_embedding", json!(vec![0.5; 4097]), 400, "INVALID_EMBEDDING"),
        ("pattern_embedding", json!([1e7]), 400, "INVALID_EMBEDDING"),
        ("pattern_embedding", json!(1), 422, "INVALID_FIELD"),
        ("source_node", json!(""), 400, "INVALID_NODE_ID"),
        ("source_node", json!("AB".repeat(16)), 400, "INVALID_NODE_ID"),
        ("source_node", json!("\u{e9}".repeat(16)), 400, "INVALID_NODE_ID"),
        ("confidence", json!(1.01), 400, "INVALID_SCORE"),
        ("confidence", json!(-0.5), 400, "INVALID_SCORE"),
        ("confidence", json!("0.97"), 422, "INVALID_FIELD"),
        ("confidence", json!(0.94), 403, "CONFIDENCE_TOO_LOW"),
        ("content", json!(long), 400, "CONTENT_TOO_LONG"),
        ("content", json!(1), 422, "INVALID_FIELD"),
    ] {
        let mut wrong = proposal(1);
        wrong[field] = value;
        let answer = node.post("federation/propose", &wrong).await;
        answer.assert_error(status, code);
        assert_eq!(answer.json["details"], format!("$.{field}"), "{}", answer.json);
    }
    let mut wrong = proposal(1);
    wrong["pattern_embedding"] = json!([1, "x"]);
    let answer = node.post("federation/propose", &wrong).await;
    answer.assert_error(422, "INVALID_FIELD");
    assert_eq!(answer.json["details"], "$.pattern_embedding[1]");
    wrong["pattern_embedding"] = json!(wide);
    node.post("federation/propose", &wrong).await.assert_error(400, "PROPOSAL_TOO_LARGE");
    for field in ["pattern_id", "pattern_embedding", "source_node", "confidence"] {
        let mut less = proposal(1);
        less.as_object_mut().unwrap().remove(field);
        let answer = node.post("federation/propose", &less).await;
        answer.assert_error(422, "INVALID_FIELD");
        assert_eq!(answer.json["details"], format!("$.{field}"));
    }
    for body in ["", "{", "{\"confidence\":NaN}", "{\"pattern_embedding\":[1e999]}", "[1,1}"] {
        let answer = node.door.post("/api/v1/federation/propose", body).await;
        answer.assert_error(400, "INVALID_JSON");
    }
    // Nothing of all this was kept.
    let status = node.get("federation/status").await;
    assert_eq!((&status["consensus_height"], &status["pending_count"]), (&json!(0), &json!(0)));
    assert_eq!(node.get("federation/proposals").await, json!({ "proposals": [], "next": null }));
}

#[tokio::test]
async fn proposing_takes_the_token_and_reading_does_not() {
    let node = node().await;
    for (method, path, status) in [
        (Method::POST, "federation/propose", 401),
        (Method::GET, "federation/status", 200),
        (Method::GET, "federation/peers", 200),
        (Method::GET, "federation/proposals", 200),
    ] {
        let mut request = node.door.request(method, &format!("/api/v1/{path}"));
        request.headers_mut().unwrap().remove(header::AUTHORIZATION);
        let request = request.body(proposal(1).to_string().into()).unwrap();
        assert_eq!(node.door.send(request, LOCAL).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn proposals_are_listed_in_bounded_pages_newest_first() {
    let node = node().await;
    for number in 0..5 {
        node.served("federation/propose", &proposal(number)).await;
    }
    let all = node.get("federation/proposals").await;
    let listed = all["proposals"].as_array().unwrap();
    assert_eq!((listed.len(), &all["next"]), (5, &Value::Null));
    let heights: Vec<_> = listed.iter().map(|it| it["height"].as_u64().unwrap()).collect();
    assert_eq!(heights, [5, 4, 3, 2, 1]);
    let is_head = |it: &Value| it.get("proposal").is_none() && it.get("certificate").is_none();
    assert!(listed.iter().all(is_head), "a page is small: {all}");
    let first = node.get("federation/proposals?limit=3").await;
    assert_eq!(first["proposals"].as_array().unwrap()[..], listed[..3]);
    let next = first["next"].as_str().unwrap();
    let second = node.get(&format!("federation/proposals?limit=3&after={next}")).await;
    assert_eq!(second, json!({ "proposals": listed[3..], "next": null }));
    for (query, code) in [
        ("limit=0", "OUT_OF_RANGE"),
        ("limit=101", "OUT_OF_RANGE"),
        ("limit=-1", "INVALID_QUERY"),
        ("limit=many", "INVALID_QUERY"),
        ("after=x", "INVALID_HEX"),
        ("after=%E6%BC%A2", "INVALID_HEX"),
    ] {
        let path = format!("federation/proposals?{query}");
        refused(&node, Method::GET, &path, 400, code).await;
    }
    let unknown = format!("federation/proposals/prop_{}", "0".repeat(64));
    refused(&node, Method::GET, &unknown, 404, "PROPOSAL_UNKNOWN").await;
    for id in ["x", "prop_", "prop_12", "%E6%BC%A2", &"0".repeat(64)] {
        let path = format!("federation/proposals/{id}");
        refused(&node, Method::GET, &path, 400, "INVALID_HEX").await;
    }
    refused(&node, Method::GET, "federation/proposals/%ff", 400, "INVALID_PATH").await;
    refused(&node, Method::POST, "federation/status", 405, "METHOD_NOT_ALLOWED").await;
    refused(&node, Method::GET, "federation/propose", 405, "METHOD_NOT_ALLOWED").await;
}
