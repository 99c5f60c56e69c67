//! A node that pulls: over REST, told on the WebSocket's topic, outliving its actor.

use std::time::Duration;

use bizra_omega::actors::models::{self, Models};
use bizra_omega::adapters::models::hold;
use bizra_omega::adapters::models::hub::Hub;
use bizra_omega::config::{Config, Flags};
use bizra_omega::domain::model_store::catalogue::Catalogue;
use bizra_omega::domain::model_store::pulls::PullState;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::Deadline;
use bizra_omega::messages::event::{Event, Heard, ModelEvent, Topic};
use bizra_omega::messages::models::ModelsMsg;
use bizra_omega::node::{self, Node};
use bizra_omega::supervisor::ChildSpec;
use serde_json::{Value, json};

use crate::hub::{Double, MODEL, Place, Reply, catalogue, name};
use crate::live::{self, Client, SECOND};
use crate::support::{permanent, root, settings};

/// A node whose hub is `double`, with the demo model as its only entry.
async fn start(place: &Place, double: &Double) -> (Node, Client) {
    let file = place.dir.path().join("catalogue.toml");
    std::fs::write(&file, catalogue(MODEL)).unwrap();
    let home = place.dir.path().to_str().unwrap();
    let env = [
        ("HOME", home.to_owned()),
        ("HF_ENDPOINT", double.url()),
        ("HF_TOKEN", "hf_token".to_owned()),
        ("BIZRA_INFERENCE__MODELS__CATALOGUE", file.to_str().unwrap().to_owned()),
    ];
    let env = env.map(|(name, text)| (name.to_owned(), text));
    let read = Config::load(None, env.into_iter(), &Flags::default()).unwrap();
    let mut config = live::config(place.dir.path());
    config.inference.models = read.inference.models;
    let node = node::start(config).await.unwrap();
    let client = Client::new(node.address(), place.dir.path());
    (node, client)
}

async fn ended(client: &Client, id: &str) -> Value {
    let ending = async {
        loop {
            let (status, pull) = client.get(&format!("/models/pulls/{id}")).await;
            assert_eq!(status, 200, "{pull}");
            if !pull["ended_ms"].is_null() {
                return pull;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, ending).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_listed_pulled_verified_and_removed() {
    let (place, double) = (Place::new(), Double::serve(MODEL, []));
    let (node, client) = start(&place, &double).await;
    let mut heard = node.roster().events.follow(Topic::Models).unwrap();
    let (status, list) = client.get("/models").await;
    assert_eq!((status, &list["models"][0]["state"]), (200, &json!("available")));
    assert_eq!(list["models"][0]["licence"], "MIT");
    assert!(list["free_bytes"].as_u64().is_some());

    let (status, pull) = client.post("/models/pull", &json!({ "name": "demo" })).await;
    assert_eq!((status, &pull["total"]), (200, &json!(MODEL.len())));
    let pull = ended(&client, pull["id"].as_str().unwrap()).await;
    assert_eq!((&pull["state"], &pull["bytes"]), (&json!("done"), &json!(MODEL.len())), "{pull}");
    let mut states = Vec::new();
    while states.last().map(String::as_str) != Some("done") {
        let Some(Heard::Told(told)) = heard.next().await else { panic!() };
        let Event::Model(ModelEvent::Pull(info)) = &told.event else { continue };
        let json = serde_json::to_value(&told.event).unwrap();
        assert_eq!((&json["what"], &json["name"]), (&json!("pull"), &json!("demo")));
        assert_eq!(json["id"], info.id);
        states.push(json["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(states[0], "queued");

    let (_, list) = client.get("/models").await;
    assert_eq!(list["models"][0]["state"], "installed", "{list}");
    assert_eq!(list["pulls"][0]["state"], "done");
    let (status, found) = client.post("/models/verify", &json!({})).await;
    assert_eq!((status, &found["ok"]), (200, &json!(true)), "{found}");
    assert_eq!(found["models"][0]["condition"], "ok");

    let blob = place.store.installed().unwrap()[0].path.clone();
    let held = hold(&blob).unwrap();
    let (status, refused) = client.post("/models/remove", &json!({ "name": "demo" })).await;
    assert_eq!((status, &refused["code"]), (409, &json!("MODEL_CONFLICT")), "{refused}");
    drop(held);
    let (status, gone) = client.post("/models/remove", &json!({ "name": "demo" })).await;
    assert_eq!((status, &gone["bytes_freed"]), (200, &json!(MODEL.len())), "{gone}");
    assert!(!blob.exists());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_was_pulled_answers_without_a_restart() {
    let (place, double) = (Place::new(), Double::serve(MODEL, []));
    let (node, client) = start(&place, &double).await;
    let prompt = json!({ "prompt": "The function", "model": "demo", "max_tokens": 2 });
    let (status, refused) = client.post("/inference/generate", &prompt).await;
    assert_eq!((status, &refused["code"]), (404, &json!("UNKNOWN_MODEL")), "{refused}");
    let (_, pull) = client.post("/models/pull", &json!({ "name": "demo" })).await;
    let pull = ended(&client, pull["id"].as_str().unwrap()).await;
    assert_eq!(pull["state"], "done", "{pull}");

    let (status, answer) = client.post("/inference/generate", &prompt).await;
    assert_eq!((status, &answer["model"]), (200, &json!("demo")), "{answer}");
    assert_eq!((&answer["tier"], &answer["degraded"]), (&json!("Edge"), &json!(false)));
    let (_, listed) = client.get("/inference/models").await;
    let listed = listed["models"].as_array().unwrap();
    assert!(listed.iter().any(|model| model["name"] == "demo" && model["loaded"] == true));

    // It is in use while it is in memory, and who removes it is told so.
    let (status, refused) = client.post("/models/remove", &json!({ "name": "demo" })).await;
    assert_eq!((status, &refused["code"]), (409, &json!("MODEL_CONFLICT")), "{refused}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_has_its_status() {
    let double = Double::serve(MODEL, [Reply::Head(404, Vec::new())]);
    let place = Place::new();
    let (node, client) = start(&place, &double).await;
    for (path, body, status, code) in [
        ("/models/pull", json!({ "name": "../x" }), 400, "INVALID_NAME"),
        ("/models/pull", json!({ "name": "absent" }), 404, "UNKNOWN_MODEL"),
        ("/models/pull", json!({}), 422, "INVALID_FIELD"),
        ("/models/verify", json!({ "name": "absent" }), 404, "UNKNOWN_MODEL"),
        ("/models/remove", json!({ "name": "demo" }), 404, "UNKNOWN_MODEL"),
        ("/models/pulls/pull_0_0/cancel", json!({}), 404, "UNKNOWN_MODEL"),
    ] {
        let (found, answer) = client.post(path, &body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{path} {body}: {answer}");
    }
    let (_, pull) = client.post("/models/pull", &json!({ "name": "demo" })).await;
    let pull = ended(&client, pull["id"].as_str().unwrap()).await;
    assert_eq!(pull["state"], "failed");
    assert!(pull["reason"].as_str().unwrap().contains("does not have the file"), "{pull}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_outlives_its_actor_and_ends_when_it_is_told_to() {
    let double = Double::serve(MODEL, [Reply::Hang(2_000_000), Reply::Hang(1_000_000)]);
    let place = Place::new();
    let (node, client) = start(&place, &double).await;
    let (_, pull) = client.post("/models/pull", &json!({ "name": "demo" })).await;
    let id = pull["id"].as_str().unwrap().to_owned();
    for kind in ["panic", "kill", "error"] {
        let (status, answer) = client.post("/actors/models/stop", &json!({ "kind": kind })).await;
        assert_eq!(status, 200, "{answer}");
        // Asked for again, it is the same pull.
        let (status, again) = client.post("/models/pull", &json!({ "name": "demo" })).await;
        assert_eq!((status, again["id"].as_str()), (200, Some(id.as_str())), "{again}");
    }
    let (status, ended) = client.post(&format!("/models/pulls/{id}/cancel"), &json!({})).await;
    assert_eq!((status, &ended["state"]), (200, &json!("cancelled")));
    // The next one begins where it ended, and the end of the node ends it.
    let (_, pull) = client.post("/models/pull", &json!({ "name": "demo" })).await;
    assert_ne!(pull["id"], id.as_str());
    let asked = async {
        while double.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, asked).await.unwrap();
    let shutdown = tokio::time::timeout(20 * SECOND, node.shutdown());
    shutdown.await.unwrap();
    assert!(place.store.installed().unwrap().is_empty());
}

#[tokio::test]
async fn at_most_two_run_and_sixteen_are_open() {
    let hangs = (0..64).map(|_| Reply::Hang(10));
    let (place, double) = (Place::new(), Double::serve(MODEL, hangs));
    let entries: String = (0..20)
        .map(|n| {
            let mut other = MODEL.to_vec();
            other[0] = n;
            catalogue(&other).replacen("\"demo\"", &format!("\"demo{n}\""), 1)
        })
        .collect();
    let listed = Catalogue::parse("test", &entries).unwrap();
    let hub = Hub::new(&double.url(), "", false, crate::hub::waits());
    let settings = settings(Strategy::OneForOne);
    let (events, meter) = (settings.events.clone(), settings.metrics.pulls());
    let models = Models::new(place.store.clone(), listed, hub, events, meter);
    let make = move || models.clone();
    let (spec, addr) =
        ChildSpec::actor(models::NAME, permanent(), SECOND, 64, &settings.metrics, make);
    let _root = root(&settings, vec![spec]).await;
    let wait = || Deadline::after(60 * SECOND);
    let pull = async |n: usize| {
        let name = name(&format!("demo{n}"));
        let ask = |reply| ModelsMsg::Pull { name: name.clone(), reply };
        addr.call(wait(), ask).await.unwrap()
    };
    for n in 0..16 {
        pull(n).await.unwrap();
    }
    assert!(pull(16).await.unwrap_err().to_string().contains("16 pulls wait"));
    let both = async {
        while double.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, both).await.unwrap();
    let listing = addr.call(wait(), |reply| ModelsMsg::List { reply }).await.unwrap().unwrap();
    let count = |state| listing.pulls.iter().filter(|pull| pull.state == state).count();
    assert_eq!((count(PullState::Running), count(PullState::Queued)), (2, 14));
    // One that is cancelled makes room for the next.
    let running = listing.pulls.iter().find(|pull| pull.state == PullState::Running).unwrap();
    let id = running.id.clone();
    let ask = |reply| ModelsMsg::Cancel { id: id.clone(), reply };
    addr.call(wait(), ask).await.unwrap().unwrap();
    let next = async {
        while double.requests().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, next).await.unwrap();
    pull(16).await.unwrap();
}
