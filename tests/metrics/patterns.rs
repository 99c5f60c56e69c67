//! What moves the metrics of pattern memory.

use serde_json::json;

use crate::house::Moves;

pub(super) async fn by_patterns(moves: &mut Moves<'_>) {
    let client = &moves.house.client;
    let lesson = json!({ "content": "Ask before you act." });
    let learned = [
        "pattern_held",
        "pattern_held_bytes",
        "pattern_lessons_total{outcome=\"new\"}",
        "actor_handle_seconds_count{actor=\"pattern-memory\",message=\"learn\"}",
    ];
    let (status, made) = moves.by(&learned, client.post("/patterns", &lesson)).await;
    assert_eq!(status, 200, "{made}");
    let path = format!("/patterns/{}", made["id"].as_str().unwrap());
    let query = json!({ "query": "ask before you act" });
    let recall = client.post("/patterns/recall", &query);
    moves.by(&["pattern_recall_seconds_count"], recall).await;
    let feedbacks = ["pattern_feedbacks_total{outcome=\"positive\"}"];
    moves
        .by(&feedbacks, async {
            // Three keys of this node, three times each.
            for _ in 0..3 {
                for number in 1..=3 {
                    let sign = format!("{path}/feedback/sign");
                    let said = json!({ "positive": true, "number": number });
                    let (_, signed) = client.post(&sign, &said).await;
                    let (status, told) = client.post(&format!("{path}/feedback"), &signed).await;
                    assert_eq!(status, 200, "{told}");
                }
                client.post("/identity/generate", &json!({})).await;
            }
        })
        .await;
    let (elevate, nothing) = (format!("{path}/elevate"), json!({}));
    let elevate = client.post(&elevate, &nothing);
    let (status, told) = moves.by(&["pattern_elevated_total"], elevate).await;
    assert_eq!(status, 200, "{told}");
    let forgotten = ["pattern_removed_total{reason=\"forgotten\"}"];
    moves.by(&forgotten, client.delete(&path)).await;
}
