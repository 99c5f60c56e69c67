//! A node as a process, killed in the middle of learning.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bizra_omega::adapters::store::Store;
use serde_json::{Value, json};

use crate::house::text;
use crate::live::{self, Client, Process, SECOND};
use crate::random::Random;

/// What one writer was told before the node was killed.
#[derive(Default)]
struct Told {
    /// Ids with their contents and the feedbacks that were counted.
    held: BTreeMap<String, (String, u64)>,
    gone: Vec<String>,
    /// Asked to be forgotten, without an answer.
    unknown: Vec<String>,
}

async fn write(client: Client, writer: u64, done: Arc<AtomicU64>) -> Told {
    let mut told = Told::default();
    let mut random = Random(writer + 1);
    let source = format!("writer{writer}");
    for number in writer << 32.. {
        let some = told.held.keys().nth(usize::try_from(random.below(4)).unwrap()).cloned();
        let went_well = match (random.below(6), some) {
            (0, Some(id)) => {
                told.held.remove(&id);
                let gone = client.delete(&format!("/patterns/{id}")).await;
                match gone {
                    Some((status, answer)) => {
                        assert_eq!(status, 200, "{answer}");
                        told.gone.push(id);
                        true
                    }
                    None => {
                        told.unknown.push(id);
                        false
                    }
                }
            }
            (1 | 2, Some(id)) => {
                let path = format!("/patterns/{id}/feedback");
                match client.post_if_alive(&path, &json!({ "positive": true })).await {
                    Some(answer) => {
                        let positive = answer["pattern"]["positive"].as_u64().unwrap();
                        told.held.get_mut(&id).unwrap().1 = positive;
                        true
                    }
                    None => false,
                }
            }
            _ => {
                let lessons: Vec<_> = (0..3)
                    .map(|it| json!({ "content": text(3 * number + it), "source": source }))
                    .collect();
                match client.post_if_alive("/patterns/batch", &json!({ "patterns": lessons })).await
                {
                    Some(answer) => {
                        let results = answer["results"].as_array().unwrap();
                        for (result, lesson) in results.iter().zip(&lessons) {
                            let id = result["id"].as_str().unwrap().to_owned();
                            let content = lesson["content"].as_str().unwrap().to_owned();
                            told.held.insert(id, (content, 0));
                        }
                        true
                    }
                    None => false,
                }
            }
        };
        if !went_well {
            break;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learned_forgotten_and_said_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut told: Vec<Told> = Vec::new();
    for cycle in 0..8_u64 {
        let mut process = Process::start(folder.path()).await;
        let client = process.client();
        let done = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..4)
            .map(|writer| tokio::spawn(write(client.clone(), 4 * cycle + writer, done.clone())))
            .collect();
        process.kill_amid((&done, 12), 60 * SECOND, 100).await;
        for writer in writers {
            told.push(writer.await.unwrap());
        }
        // Nothing half-written.
        let store = Store::open(folder.path(), 0).unwrap();
        assert!(store.load_patterns(|_, _| Ok(())).unwrap().is_whole, "cycle {cycle}");
    }
    let process = Process::start(folder.path()).await;
    let client = process.client();
    let mut held = 0;
    for told in &told {
        for (id, (content, positive)) in &told.held {
            let (status, found) = client.get(&format!("/patterns/{id}")).await;
            assert_eq!((status, &found["content"]), (200, &json!(content)), "{id}: {found}");
            assert!(found["positive"].as_u64().unwrap() >= *positive, "{found}");
            held += 1;
        }
        for id in &told.gone {
            assert_eq!(client.get(&format!("/patterns/{id}")).await.0, 404, "{id} came back");
        }
        // The index has what the store has.
        if let Some((id, (content, _))) = told.held.last_key_value() {
            let (_, near) = client.post("/patterns/recall", &json!({ "query": content })).await;
            assert_eq!(near["patterns"][0]["id"], json!(id), "{near}");
        }
    }
    assert!(held > 40, "{held}");
    let (_, stats) = client.get("/patterns/stats").await;
    assert!(stats["patterns"].as_u64().unwrap() >= held, "{stats}");
    let (_, status) = client.get("/federation/status").await;
    assert_eq!(status["pattern_count"], stats["patterns"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_teaches_recalls_and_elevates() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path()).await;
    let url = format!("http://{}", process.address);
    let bizra = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let (url, dir) = (url.clone(), folder.path().to_owned());
        async move {
            let args: Vec<&str> =
                [&["patterns"][..], &args.iter().map(String::as_str).collect::<Vec<_>>()].concat();
            let (code, out, errors) = live::bizra(&dir, Some(&url), &args).await;
            (code, format!("{out}{errors}"))
        }
    };
    let taught = ["learn", "Ask before you delete.", "--tag", "style", "--json"];
    let (code, text) = bizra(&taught).await;
    let learned: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &learned["outcome"]), (0, &json!("new")), "{text}");
    let id = learned["id"].as_str().unwrap();
    let (code, text) = bizra(&["recall", "ask before you delete it", "--tag", "style"]).await;
    assert!(code == 0 && text.contains(id) && text.contains("Ask before"), "{text}");
    let (code, text) = bizra(&["list"]).await;
    assert!(code == 0 && text.contains(id), "{text}");
    let (code, text) = bizra(&["stats"]).await;
    assert!(code == 0 && text.contains("patterns_max"), "{text}");
    let (code, text) = bizra(&["pin", id]).await;
    assert!(code == 0 && text.contains("pinned"), "{text}");
    let (code, text) = bizra(&["pin", id, "--undo", "--json"]).await;
    assert!(code == 0 && text.contains("\"pinned\": false"), "{text}");
    let (code, text) = bizra(&["elevate", id]).await;
    assert!(code == 1 && text.contains("not a candidate"), "{text}");
    // Three keys of this node sign three feedbacks each; the numbers are times, and so rise.
    let client = process.client();
    let signed = folder.path().join("feedback.json");
    for _ in 0..3 {
        for _ in 0..3 {
            let (code, text) = bizra(&["sign-feedback", id, "--positive"]).await;
            assert_eq!(code, 0, "{text}");
            std::fs::write(&signed, text).unwrap();
            let give = ["feedback", id, "--signed", signed.to_str().unwrap()];
            let (code, text) = bizra(&give).await;
            assert!(code == 0 && text.contains("counted") && text.contains("true"), "{text}");
        }
        client.post("/identity/generate", &json!({})).await;
    }
    let (code, text) = bizra(&["elevate", id]).await;
    assert!(code == 0 && text.contains("solo") && text.contains("committed"), "{text}");
    let (code, text) = bizra(&["get", id, "--json"]).await;
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &shown["is_elevated"]), (0, &json!(true)));
    assert_eq!(
        (&shown["elevation"]["mode"], &shown["elevation"]["height"]),
        (&json!("solo"), &json!(1))
    );
    let (code, text) = bizra(&["recall", "ask before you delete it", "--elevated"]).await;
    assert!(code == 0 && text.contains(id), "{text}");
    assert_eq!(bizra(&["feedback", id, "--negative"]).await.0, 0);
    let (code, text) = bizra(&["forget", id]).await;
    assert!(code == 0 && text.contains("forgotten"), "{text}");
    let (code, text) = bizra(&["get", id]).await;
    assert!(code == 1 && text.contains("there is no pattern"), "{text}");
    let (code, _) = bizra(&["get", "x"]).await;
    assert_eq!(code, 1);
}
