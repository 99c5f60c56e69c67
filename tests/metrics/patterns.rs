//! What moves the metrics of pattern memory, preferences and pulls.

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
    let recalled = ["pattern_recall_seconds_count", "pattern_answers_total{index=\"exact\"}"];
    moves.by(&recalled, recall).await;
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

/// More than are told at once.
pub(super) async fn by_preferences(moves: &mut Moves<'_>) {
    let client = &moves.house.client;
    let observe = async |number: usize| {
        let key = format!("k{}", number % 17);
        let body = json!({ "subject": "ann", "type": "custom", "key": key, "value": "x" });
        assert_eq!(client.post("/preferences/observe", &body).await.0, 200);
    };
    let learned = ["preference_subjects", "preference_observations_total{effect=\"activated\"}"];
    let observed = async {
        for number in 0..17 * 6 {
            observe(number).await;
        }
    };
    moves.by(&learned, observed).await;
    let ann = json!({ "subject": "ann" });
    let told = ["preference_told_total", "preference_left_out_total"];
    moves.by(&told, client.post("/preferences/apply", &ann)).await;
    moves.by(&["preference_forgotten_total"], client.post("/preferences/forget", &ann)).await;
}

/// A pull that finds nobody to pull from.
pub(super) async fn by_pulls(moves: &mut Moves<'_>) {
    let house = moves.house;
    let client = &house.client;
    let smollm = json!({ "name": "smollm2-135m-instruct" });
    let pull = moves.by(&["model_pulls_open"], client.post("/models/pull", &smollm)).await;
    let cancel = format!("/models/pulls/{}/cancel", pull.1["id"].as_str().unwrap());
    let ended = ["model_pulls_total{outcome=\"cancelled\"}"];
    assert_eq!(moves.by(&ended, client.post(&cancel, &json!({}))).await.0, 200);
    house.until("model_pulls_open", |open| open == 0.0).await;
}
