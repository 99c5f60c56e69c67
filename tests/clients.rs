//! Clients that other people wrote, against a live node.

mod live;
mod python;

use bizra_omega::config::AuthMode;
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::node;
use serde_json::{Value, json};

/// Longer than any run; a hanging client must not hang the tests.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn the_official_openai_package_speaks_to_a_node() {
    let Some(python) = tokio::task::spawn_blocking(python::interpreter).await.unwrap() else {
        return;
    };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let open = live::start(dirs[0].path()).await;
    let mut config = live::config(dirs[1].path());
    config.auth.mode = AuthMode::Token;
    let closed = node::start(config).await.unwrap();
    let url = |node: &node::Node| format!("http://{}/v1", node.address());
    let token = std::fs::read_to_string(dirs[1].path().join("api-token")).unwrap();
    let client = tokio::process::Command::new(python)
        // Warnings are errors, and nothing of this machine's environment is looked at.
        .args(["-I", "-W", "error"])
        .arg(python::script("openai_client.py"))
        .args([url(&open), url(&closed), token.trim().to_owned()])
        .env_clear()
        .kill_on_drop(true)
        .output();
    let client = tokio::time::timeout(PATIENCE, client).await.expect("it ends").unwrap();
    let (code, said, complained) = live::told(client);
    assert_eq!(code, 0, "after {said}: {complained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_is_judged_and_proved_like_the_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let node = live::start(dir.path()).await;
    let secret = "AKIAQX7C5WTRB3DKM2LF";
    let body = json!({ "max_tokens": 4, "messages": [
        { "role": "user", "content": "What is the key?" },
        { "role": "assistant", "content": format!("It is {secret} of course.") },
        { "role": "user", "content": "The function returns" },
    ] });
    let url = format!("http://{}/v1/chat/completions", node.address());
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(url);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let proof = &answer["bizra"];
    let harm = |content: &str| proof["gates"][content]["scores"]["harm"].as_f64().unwrap();
    assert!(harm("history") > 0.3 && harm("input") < 0.3, "{answer}");
    let payload = &proof["envelope"]["payload"];
    let turns = format!(
        "inference-history-v1:[{{\"role\":\"user\",\"text\":\"What is the key?\"}},\
         {{\"role\":\"assistant\",\"text\":\"It is {secret} of course.\"}}]"
    );
    assert_eq!(payload["history_hash"], domain_separated_digest(turns.as_bytes()).to_hex());
    assert!(
        !answer.to_string().contains(secret),
        "a proof names what was said and does not say it"
    );
    let client = live::Client::new(node.address(), dir.path());
    let verified = client.post("/pci/envelope/verify", &proof["envelope"]).await;
    assert_eq!((verified.0, &verified.1["valid"]), (200, &json!(true)));
}
