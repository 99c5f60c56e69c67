//! Patterns over the real actors, as clients use them.

use axum::body::Body;
use axum::http::{Method, header};
use bizra_omega::domain::identity::{KeyUse, NodeKey};
use bizra_omega::domain::pattern::PatternId;
use bizra_omega::domain::pattern::feedback::statement;
use serde_json::{Value, json};

use crate::door::{Answer, DISTANT, LOCAL};
use crate::resources::{Node, node};

fn lesson(content: &str) -> Value {
    json!({ "content": content, "tags": ["style"], "source": "laptop" })
}

/// A lesson at a place of its own.
fn placed(content: &str, numbers: &[f64]) -> Value {
    let embedder = json!({ "name": "own", "version": 1, "dimension": numbers.len() });
    json!({ "content": content, "embedding": numbers, "embedder": embedder })
}

fn near(numbers: &[f64]) -> Value {
    let embedder = json!({ "name": "own", "version": 1, "dimension": numbers.len() });
    json!({ "embedding": numbers, "embedder": embedder })
}

async fn send(node: &Node, method: Method, path: &str) -> Answer {
    let request = node.door.request(method, &format!("/api/v1/{path}"));
    node.door.send(request.body(Body::empty()).unwrap(), LOCAL).await
}

async fn learn(node: &Node, lesson: &Value) -> String {
    node.served("patterns", lesson).await["id"].as_str().unwrap().to_owned()
}

/// A feedback that this key signed.
fn signed(id: &str, key: u8, is_positive: bool, number: u64) -> Value {
    let key = NodeKey::from_secret(&[key; 32]);
    let pattern = PatternId::from_text(id).unwrap();
    let signed = key.sign(KeyUse::Feedback, &statement(pattern, is_positive, number).unwrap());
    json!({ "positive": is_positive, "signed": {
        "public_key": key.public_key().to_hex(),
        "number": number,
        "signature": signed.signature.to_hex(),
    }})
}

#[tokio::test]
async fn a_pattern_is_learned_recalled_judged_and_forgotten() {
    let node = node().await;
    let learned = node.served("patterns", &lesson("Ask before you delete a file.")).await;
    let id = learned["id"].as_str().unwrap();
    let expected = json!({
        "id": id, "outcome": "new", "similarity": null, "confidence": 0.5, "evidence": 1,
        "evicted": [], "code": null, "error": null,
    });
    assert_eq!(learned, expected);
    let again = node.served("patterns", &lesson("Ask before you delete a file.")).await;
    assert_eq!((&again["id"], &again["outcome"]), (&json!(id), &json!("known")));
    let mut other = lesson("Ask before you delete a file.");
    other["source"] = json!("phone");
    let merged = node.served("patterns", &other).await;
    assert_eq!(merged["outcome"], "merged");
    assert_eq!((&merged["similarity"], &merged["evidence"]), (&json!(1.0), &json!(2)));

    let query = json!({ "query": "ask before you delete it", "min_similarity": 0.1 });
    let recalled = node.served("patterns/recall", &query).await;
    let first = &recalled["patterns"][0];
    assert_eq!((&first["id"], &first["tags"]), (&json!(id), &json!(["style"])));
    assert_eq!(first["content"], "Ask before you delete a file.");
    assert!(first["similarity"].as_f64().unwrap() > 0.3 && first["age_seconds"].is_u64());
    let found = node.get(&format!("patterns/{id}")).await;
    assert_eq!((&found["source"], &found["is_elevated"]), (&json!("laptop"), &json!(false)));
    assert_eq!(found["embedder"]["dimension"], 384);
    assert_eq!(found["elevation"], Value::Null);

    let counted =
        node.served(&format!("patterns/{id}/feedback"), &json!({ "positive": true })).await;
    assert_eq!(
        (&counted["counted"], &counted["pattern"]["confidence"]),
        (&json!(true), &json!(0.55))
    );
    let counted =
        node.served(&format!("patterns/{id}/feedback"), &json!({ "positive": false })).await;
    assert_eq!(counted["pattern"]["confidence"], 0.52);
    let pinned = node.served(&format!("patterns/{id}/pin"), &json!({})).await;
    assert_eq!(pinned["pinned"], true);
    assert_eq!(node.get("patterns/stats").await["pinned"], 1);
    assert_eq!(
        send(&node, Method::POST, &format!("patterns/{id}/unpin")).await.json["pinned"],
        false
    );
    assert_eq!(node.get("federation/status").await["pattern_count"], 1);

    let gone = send(&node, Method::DELETE, &format!("patterns/{id}")).await;
    assert_eq!((gone.status, gone.json), (200, json!({ "id": id, "forgotten": true })));
    for (method, path) in [
        (Method::GET, format!("patterns/{id}")),
        (Method::DELETE, format!("patterns/{id}")),
        (Method::POST, format!("patterns/{id}/pin")),
        (Method::POST, format!("patterns/{id}/elevate")),
    ] {
        send(&node, method, &path).await.assert_error(404, "PATTERN_UNKNOWN");
    }
    assert_eq!(node.served("patterns/recall", &query).await, json!({ "patterns": [] }));
    assert_eq!(node.get("federation/status").await["pattern_count"], 0);
}

#[tokio::test]
async fn recall_is_filtered_limited_and_in_order() {
    let node = node().await;
    for (content, numbers) in [
        ("east", [1.0, 0.0]),
        ("north-east", [1.0, 1.0]),
        ("north", [0.0, 1.0]),
        ("west", [-1.0, 0.0]),
    ] {
        let mut lesson = placed(content, &numbers);
        lesson["tags"] = json!(["way", content]);
        learn(&node, &lesson).await;
    }
    let contents = |more: Value| {
        let mut query = near(&[2.0, 0.5]);
        query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let node = &node;
        async move {
            let recalled = node.served("patterns/recall", &query).await;
            let all = recalled["patterns"].as_array().unwrap();
            all.iter().map(|it| it["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    assert_eq!(contents(json!({})).await, ["east", "north-east"], "0.5 unless told otherwise");
    let all = contents(json!({ "min_similarity": -1 })).await;
    assert_eq!(all, ["east", "north-east", "north", "west"]);
    assert_eq!(contents(json!({ "min_similarity": -1, "limit": 1 })).await, ["east"]);
    let tagged = contents(json!({ "min_similarity": -1, "tags": ["north", "way"] })).await;
    assert_eq!(tagged, ["north"]);
    assert!(contents(json!({ "source": "laptop" })).await.is_empty());
    assert!(contents(json!({ "elevated": true })).await.is_empty());
    assert_eq!(contents(json!({ "elevated": false })).await.len(), 2);
    // A text is seen by the node's embedder, and meets none of these.
    let by_text =
        node.served("patterns/recall", &json!({ "query": "east", "min_similarity": -1 })).await;
    assert_eq!(by_text, json!({ "patterns": [] }));
}

#[tokio::test]
async fn a_batch_is_learned_in_order_and_a_wrong_one_not_at_all() {
    let node = node().await;
    let batch = json!({ "patterns": [placed("a", &[1.0, 0.0]), placed("b", &[0.0, 1.0]),
        placed("c", &[1.0, 0.01])] });
    let learned = node.served("patterns/batch", &batch).await;
    let outcomes: Vec<_> =
        learned["results"].as_array().unwrap().iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["new", "new", "merged"]);
    assert_eq!(learned["results"][2]["id"], learned["results"][0]["id"]);
    let mut wrong = batch.clone();
    wrong["patterns"][1]["content"] = json!("");
    wrong["patterns"][0]["content"] = json!("d");
    let answer = node.post("patterns/batch", &wrong).await;
    answer.assert_error(400, "INVALID_CONTENT");
    assert_eq!(answer.json["details"], "$.patterns[1].content");
    assert_eq!(node.get("patterns/stats").await["patterns"], 2);
    for patterns in [json!([]), json!(vec![lesson("x"); 257])] {
        let answer = node.post("patterns/batch", &json!({ "patterns": patterns })).await;
        answer.assert_error(400, "BATCH_TOO_LARGE");
    }
}

#[tokio::test]
async fn each_wrong_value_is_refused_with_its_place() {
    let node = node().await;
    let long = "\u{6f22}".repeat(11_000);
    for (field, value, status, code) in [
        ("content", json!(""), 400, "INVALID_CONTENT"),
        ("content", json!(long), 400, "INVALID_CONTENT"),
        ("content", json!(1), 422, "INVALID_FIELD"),
        ("content", json!(null), 422, "INVALID_FIELD"),
        ("tags", json!(vec!["x"; 17]), 400, "INVALID_TAGS"),
        ("tags", json!([""]), 400, "INVALID_TAGS"),
        ("tags", json!(["a\u{0}"]), 400, "INVALID_TAGS"),
        ("tags", json!("x"), 422, "INVALID_FIELD"),
        ("source", json!(""), 400, "INVALID_SOURCE"),
        ("source", json!("a b"), 400, "INVALID_SOURCE"),
        ("source", json!("\u{e9}"), 400, "INVALID_SOURCE"),
        ("embedding", json!([]), 400, "INVALID_EMBEDDING"),
        ("embedding", json!([1.0, 2.0, 3.0]), 400, "INVALID_EMBEDDING"),
        ("embedding", json!([0.0, 0.0]), 400, "INVALID_EMBEDDING"),
        ("embedding", json!({}), 422, "INVALID_FIELD"),
    ] {
        let mut wrong = placed("a", &[1.0, 0.0]);
        wrong[field] = value;
        let answer = node.post("patterns", &wrong).await;
        answer.assert_error(status, code);
        assert_eq!(answer.json["details"], format!("$.{field}"), "{}", answer.json);
    }
    for embedder in [
        json!({ "name": "", "version": 1, "dimension": 2 }),
        json!({ "name": "x".repeat(129), "version": 1, "dimension": 2 }),
        json!({ "name": "own", "version": 1, "dimension": 0 }),
        json!({ "name": "own", "version": 1, "dimension": 4097 }),
    ] {
        let mut wrong = placed("a", &[1.0, 0.0]);
        wrong["embedder"] = embedder;
        node.post("patterns", &wrong).await.assert_error(400, "INVALID_EMBEDDER");
    }
    let mut half = placed("a", &[1.0, 0.0]);
    half.as_object_mut().unwrap().remove("embedder");
    node.post("patterns", &half).await.assert_error(400, "TEXT_OR_EMBEDDING");
    node.post("patterns", &lesson(" \n\t ")).await.assert_error(400, "TEXT_NOT_EMBEDDED");
    for body in ["", "{", "{\"content\":\"a\",\"embedding\":[NaN]}", "{\"embedding\":[1e999]}"] {
        node.door.post("/api/v1/patterns", body).await.assert_error(400, "INVALID_JSON");
    }
    for (query, code, field) in [
        (json!({}), "TEXT_OR_EMBEDDING", None),
        (json!({ "query": "" }), "OUT_OF_RANGE", Some("query")),
        (json!({ "query": "x".repeat(40_000) }), "OUT_OF_RANGE", Some("query")),
        (json!({ "query": "a", "limit": 0 }), "OUT_OF_RANGE", Some("limit")),
        (json!({ "query": "a", "limit": 101 }), "OUT_OF_RANGE", Some("limit")),
        (json!({ "query": "a", "min_similarity": 1.1 }), "OUT_OF_RANGE", Some("min_similarity")),
        (json!({ "query": "a", "tags": [""] }), "INVALID_TAGS", Some("tags")),
        (json!({ "query": "a", "source": "/" }), "INVALID_SOURCE", Some("source")),
        (near(&[0.0, -0.0]), "INVALID_EMBEDDING", Some("embedding")),
    ] {
        let answer = node.post("patterns/recall", &query).await;
        answer.assert_error(400, code);
        if let Some(field) = field {
            assert_eq!(answer.json["details"], format!("$.{field}"), "{query}");
        }
    }
    let mut both = near(&[1.0]);
    both["query"] = json!("a");
    node.post("patterns/recall", &both).await.assert_error(400, "TEXT_OR_EMBEDDING");
    assert_eq!(node.get("patterns/stats").await["patterns"], 0);
}

#[tokio::test]
async fn feedback_is_its_signers_and_counts_once() {
    let node = node().await;
    let id = learn(&node, &lesson("Ask before you act.")).await;
    let path = format!("patterns/{id}/feedback");
    let first = node.served(&path, &signed(&id, 1, true, 5)).await;
    assert_eq!(
        (&first["counted"], &first["pattern"]["signed_positive"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(node.served(&path, &signed(&id, 1, true, 5)).await["counted"], false);
    node.post(&path, &signed(&id, 1, true, 4)).await.assert_error(409, "FEEDBACK_STALE");
    // Somebody else's signature, and one over something else.
    let mut forged = signed(&id, 1, true, 6);
    forged["signed"]["public_key"] = signed(&id, 2, true, 6)["signed"]["public_key"].clone();
    node.post(&path, &forged).await.assert_error(403, "FEEDBACK_SIGNATURE");
    let mut turned = signed(&id, 1, true, 6);
    turned["positive"] = json!(false);
    node.post(&path, &turned).await.assert_error(403, "FEEDBACK_SIGNATURE");
    for (field, value) in [("signature", "x"), ("public_key", "\u{6f22}"), ("public_key", "AB")] {
        let mut wrong = signed(&id, 1, true, 6);
        wrong["signed"][field] = json!(value);
        let answer = node.post(&path, &wrong).await;
        answer.assert_error(400, "INVALID_HEX");
        assert_eq!(answer.json["details"], format!("$.signed.{field}"));
    }
    let mut weak = signed(&id, 1, true, 6);
    weak["signed"]["public_key"] = json!("0".repeat(64));
    node.post(&path, &weak).await.assert_error(403, "FEEDBACK_SIGNATURE");
    let found = node.get(&format!("patterns/{id}")).await;
    assert_eq!((&found["positive"], &found["negative"]), (&json!(1), &json!(0)));

    // What the node signs is taken, here and by whoever holds the pattern.
    let own = node.served(&format!("{path}/sign"), &json!({ "positive": true, "number": 7 })).await;
    assert_eq!(own["signed"]["number"], 7);
    assert_eq!(node.served(&path, &own).await["counted"], true);
    let refused =
        node.post(&format!("{path}/sign"), &json!({ "positive": true, "number": 0 })).await;
    refused.assert_error(400, "OUT_OF_RANGE");
    for id in ["x", "pat_", "pat_12", "%E6%BC%A2", &"0".repeat(32)] {
        let path = format!("patterns/{id}/feedback");
        node.post(&path, &json!({ "positive": true })).await.assert_error(400, "INVALID_HEX");
    }
}

#[tokio::test]
async fn only_a_decision_elevates_and_the_gates_have_their_say() {
    let node = node().await;
    let id = learn(&node, &lesson("Ask before you act.")).await;
    let leak = learn(&node, &lesson("The key is AKIAQX7C5WTRB3DKM2LF.")).await;
    let answer = send(&node, Method::POST, &format!("patterns/{id}/elevate")).await;
    answer.assert_error(409, "NOT_A_CANDIDATE");
    for id in [&id, &leak] {
        for (key, number) in (1..=3).flat_map(|key| (1..=3).map(move |number| (key, number))) {
            node.served(&format!("patterns/{id}/feedback"), &signed(id, key, true, number)).await;
        }
    }
    assert_eq!(node.get("patterns/stats").await["candidates"], 2);
    let elevated = node.served(&format!("patterns/{id}/elevate"), &json!({})).await;
    assert_eq!(
        (&elevated["is_elevated"], &elevated["proposal"]["status"]),
        (&json!(true), &json!("committed"))
    );
    assert_eq!(
        (&elevated["elevation"]["mode"], &elevated["elevation"]["height"]),
        (&json!("solo"), &json!(1))
    );
    assert_eq!(elevated["elevation"]["validators"], 1);
    let proposal = elevated["proposal"]["proposal_id"].as_str().unwrap();
    let record = node.get(&format!("federation/proposals/{proposal}")).await;
    assert_eq!(record["proposal"]["pattern_id"], json!(id));
    let again = node.served(&format!("patterns/{id}/elevate"), &json!({})).await;
    assert_eq!(again, elevated);
    let refused = send(&node, Method::POST, &format!("patterns/{leak}/elevate")).await;
    refused.assert_error(403, "REFUSED_BY_GATES");
    assert_eq!(node.get(&format!("patterns/{leak}")).await["is_elevated"], false);
    let only = json!({ "query": "Ask before you act.", "elevated": true });
    assert_eq!(node.served("patterns/recall", &only).await["patterns"][0]["id"], json!(id));
}

#[tokio::test]
async fn patterns_are_listed_in_bounded_pages_newest_first() {
    let node = node().await;
    let places: Vec<Vec<f64>> =
        (0..5).map(|at| (0..5).map(|it| f64::from(u8::from(it == at))).collect()).collect();
    for (at, place) in places.iter().enumerate() {
        learn(&node, &placed(&format!("lesson {at}"), place)).await;
    }
    let all = node.get("patterns").await;
    let listed = all["patterns"].as_array().unwrap();
    assert_eq!((listed.len(), &all["next"]), (5, &Value::Null));
    assert!(
        listed.iter().enumerate().all(|(at, it)| it["content"] == format!("lesson {}", 4 - at))
    );
    let first = node.get("patterns?limit=3").await;
    let next = first["next"].as_str().unwrap();
    let second = node.get(&format!("patterns?limit=3&after={next}")).await;
    let contents = |page: &Value| {
        page["patterns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["content"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!([contents(&first), contents(&second)].concat(), contents(&all));
    for (query, code) in [
        ("limit=0", "OUT_OF_RANGE"),
        ("limit=101", "OUT_OF_RANGE"),
        ("limit=x", "INVALID_QUERY"),
        ("after=x", "INVALID_HEX"),
    ] {
        send(&node, Method::GET, &format!("patterns?{query}")).await.assert_error(400, code);
    }
    let stats = node.get("patterns/stats").await;
    assert_eq!((&stats["patterns"], &stats["sources"]), (&json!(5), &json!(1)));
    assert_eq!(stats["embedders"][0]["patterns"], 5);
}

#[tokio::test]
async fn what_uses_keys_takes_the_token_and_the_rest_does_not_from_here() {
    let node = node().await;
    let id = learn(&node, &lesson("Ask before you act.")).await;
    for (method, path, local, distant) in [
        (Method::GET, "patterns".to_owned(), 200, 401),
        (Method::GET, format!("patterns/{id}"), 200, 401),
        (Method::GET, "patterns/stats".to_owned(), 200, 401),
        (Method::POST, format!("patterns/{id}/pin"), 200, 401),
        (Method::POST, format!("patterns/{id}/elevate"), 401, 401),
        (Method::POST, format!("patterns/{id}/feedback/sign"), 401, 401),
        (Method::DELETE, format!("patterns/{id}"), 200, 401),
    ] {
        for (peer, status) in [(DISTANT, distant), (LOCAL, local)] {
            let mut request = node.door.request(method.clone(), &format!("/api/v1/{path}"));
            request.headers_mut().unwrap().remove(header::AUTHORIZATION);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(
                node.door.send(request, peer).await.status,
                status,
                "{method} {path} {peer}"
            );
        }
    }
}
