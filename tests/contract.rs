//! A live node held against its own document by schemathesis, with all its checks.

mod live;
mod python;

use std::process::Stdio;

use live::Process;

/// Both the document and the node follow these, so that a text takes milliseconds. The hooks of
/// schemathesis know the first.
const SETTINGS: [(&str, &str); 6] = [
    ("BIZRA_INFERENCE__PROMPT_CHARS_MAX", "64"),
    ("BIZRA_INFERENCE__MAX_TOKENS_MAX", "4"),
    ("BIZRA_INFERENCE__MAX_TOKENS_DEFAULT", "4"),
    // Actors are made to fail all the time.
    // A model that exists is not fetched for a test.
    ("BIZRA_INFERENCE__MODELS__OFFLINE", "true"),
    ("BIZRA_SUPERVISOR__MAX_RESTARTS", "1000000"),
    ("BIZRA_SUPERVISOR__GROUP_MAX_RESTARTS", "1000000"),
];

#[tokio::test]
async fn the_node_does_what_its_document_says() {
    let Some(python) = python::interpreter() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = Process::start_with(dir.path(), &SETTINGS).await;
    let token = std::fs::read_to_string(dir.path().join("api-token")).unwrap();
    let output = tokio::process::Command::new(python)
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(python::script("schemathesis.toml"))
        .args(["run", "--no-color", &format!("http://{}/openapi.json", node.address)])
        .env("BIZRA_TOKEN", token.trim())
        .env("BIZRA_HOOKS", python::script("contract_hooks.py"))
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (code, said, complained) = live::told(output);
    assert_eq!(code, 0, "{said}\n{complained}\nthe node's last line: {}", node.last_line());
}

#[tokio::test]
async fn streams_are_what_the_document_says() {
    let Some(python) = python::interpreter() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = Process::start(dir.path()).await;
    let script = python::script("check_streams.py");
    let base = format!("http://{}", node.address);
    let output = tokio::process::Command::new(python).arg(script).arg(base).output();
    let (code, said, complained) = live::told(output.await.unwrap());
    assert_eq!(code, 0, "{said}{complained}");
}

#[tokio::test]
async fn the_document_is_openapi_and_its_examples_are_examples() {
    let Some(python) = python::interpreter() else { return };
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let script = python::script("check_openapi.py");
    let output = tokio::process::Command::new(python).arg(script).arg(document).output();
    let (code, said, complained) = live::told(output.await.unwrap());
    assert_eq!(code, 0, "{said}{complained}");
}
