//! `bizra` and a node that runs: how it is found, trusted and asked.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::live::{Process, SECOND, told};

const AUTHORITY: &str = include_str!("../http/tls/ca.pem");
const NODE: [&str; 2] =
    [include_str!("../http/tls/node.pem"), include_str!("../http/tls/node.key")];
const OTHER: [&str; 2] =
    [include_str!("../http/tls/other.pem"), include_str!("../http/tls/other.key")];

/// Runs `bizra` on a data directory, where nothing is configured that leads to a node.
async fn ask(data_dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
    command.env_clear().env("BIZRA_DATA_DIR", data_dir).env("BIZRA_HTTP__PORT", "9").args(args);
    command.env("OLLAMA_HOST", "http://127.0.0.1:9").stdin(std::process::Stdio::null());
    told(command.output().await.unwrap())
}

async fn json(data_dir: &Path, args: &[&str]) -> Value {
    let (code, out, errors) = ask(data_dir, &[args, &["--json"]].concat()).await;
    assert_eq!(code, 0, "{args:?}: {out} {errors}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_is_found_by_its_directory_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    assert_eq!(ask(dir, &["health"]).await.0, 3);
    let mut process = Process::start(dir).await;
    assert_eq!(ask(dir, &["health"]).await.0, 0);
    // With its token.
    assert!(json(dir, &["identity", "sign", "x"]).await["signature"].is_string());
    assert_eq!(json(dir, &["token", "rotate"]).await["rotated"], true);
    assert!(json(dir, &["identity", "sign", "x"]).await["signature"].is_string());
    let token = json(dir, &["token"]).await;
    assert_eq!(ask(dir, &["token"]).await.1.trim(), token["token"].as_str().unwrap());

    let found = json(dir, &["doctor"]).await;
    let node = found["checks"].as_array().unwrap().iter().find(|it| it["check"] == "node").unwrap();
    let at = format!("serves at http://{}", process.address);
    assert!(node["text"].as_str().unwrap().contains(&at) && node["state"] != "fail", "{node}");

    // Killed: what it left is nobody's address, and the next one is found again.
    process.child.kill().await.unwrap();
    assert!(dir.join("address").exists());
    let (code, _, errors) = ask(dir, &["health"]).await;
    assert!(code == 3 && errors.contains("start one with bizra-api"), "{errors}");
    let mut process = Process::start(dir).await;
    assert_eq!(ask(dir, &["health"]).await.0, 0);
    process.terminate();
    process.ended().await;
    assert!(!dir.join("address").exists());
    assert_eq!(ask(dir, &["health"]).await.0, 3);
}

fn certify(dir: &Path, [certificate, key]: [&str; 2]) {
    std::fs::write(dir.join("cert.pem"), certificate).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(dir.join("key.pem"), private).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_known_from_the_directory_or_verified() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    certify(dir, NODE);
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    std::fs::write(file("ca.pem"), AUTHORITY).unwrap();
    std::fs::write(file("other.pem"), OTHER[0]).unwrap();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let tls = [("BIZRA_HTTP__TLS_CERT", cert.as_str()), ("BIZRA_HTTP__TLS_KEY", key.as_str())];
    let process = Process::start_with(dir, &tls).await;

    assert_eq!(ask(dir, &["health"]).await.0, 0);
    assert_eq!(json(dir, &["token", "rotate"]).await["rotated"], true);
    assert!(json(dir, &["identity", "sign", "x"]).await["signature"].is_string());

    let url = format!("https://{}", process.address);
    for (ca, code) in [
        (None, 1),
        (Some("other.pem"), 1),
        // By its authority, and by itself.
        (Some("ca.pem"), 0),
        (Some("cert.pem"), 0),
        (Some("key.pem"), 2),
        (Some("absent.pem"), 2),
    ] {
        let ca_file = ca.map(file);
        let mut args = vec!["status", "--url", &url];
        args.extend(ca_file.as_deref().into_iter().flat_map(|file| ["--ca", file]));
        let (is, _, errors) = ask(dir, &args).await;
        assert_eq!(is, code, "{ca:?}: {errors}");
        if code == 1 {
            assert!(errors.contains("not trusted") && errors.contains("--ca FILE"), "{errors}");
        }
    }
    let plain = format!("http://{}", process.address);
    let (code, _, errors) = ask(dir, &["status", "--url", &plain]).await;
    assert!(code == 3 && errors.contains("https://"), "{errors}");

    // A new certificate is known as soon as it is shown.
    let before = std::fs::read_to_string(dir.join("address")).unwrap();
    certify(dir, OTHER);
    let pid = i32::try_from(process.child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let renewed = async {
        while std::fs::read_to_string(dir.join("address")).unwrap() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, renewed).await.unwrap();
    assert_eq!(ask(dir, &["health"]).await.0, 0);

    // Any other certificate than that which was written down is refused.
    std::fs::write(dir.join("address"), before).unwrap();
    let (code, _, errors) = ask(dir, &["health"]).await;
    assert!(code == 1 && errors.contains("not trusted"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_printed_as_it_comes_and_its_proof_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let _process = Process::start(dir).await;
    let file = dir.join("answer.json");
    let shown = file.to_str().unwrap();
    let asked = ["generate", "The function", "--max-tokens", "12", "--temperature", "0"];
    let (code, out, errors) = ask(dir, &[&asked[..], &["--out", shown]].concat()).await;
    assert_eq!(code, 0, "{errors}");
    assert!(errors.starts_with('[') && errors.contains("12 tokens"), "{errors}");
    let answer: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let text = answer["text"].as_str().unwrap();
    assert_eq!(out.trim_end_matches('\n'), text.trim_end_matches('\n'));
    assert_eq!(ask(dir, &["envelope", "verify", shown]).await.0, 0);
    // It is not written over, and nothing was asked for.
    let (code, out, errors) = ask(dir, &[&asked[..], &["--out", shown]].concat()).await;
    assert!(code == 2 && out.is_empty() && errors.contains("is there already"), "{errors}");

    // The same in one piece.
    let whole = json(dir, &asked).await;
    assert_eq!(whole["text"], answer["text"]);
    let word = text.split_whitespace().nth(1).unwrap();
    let stopped = json(dir, &[&asked[..], &["--stop", word, "--top-p", "0.9"]].concat()).await;
    assert!(!stopped["text"].as_str().unwrap().contains(word), "{stopped}");
    assert_eq!(stopped["finish_reason"], "stop");

    for (args, part) in [
        (["--tier", "x"], "UNKNOWN_TIER"),
        (["--model", "x"], "MODEL"),
        (["--temperature", "9"], "OUT_OF_RANGE"),
    ] {
        let (code, out, errors) = ask(dir, &[&["generate", "x"], &args[..]].concat()).await;
        assert_eq!((code, out.as_str()), (1, ""), "{errors}");
        assert!(errors.contains(part), "{part}: {errors}");
        let args = [&["generate", "x", "--json"], &args[..]].concat();
        let (code, out, errors) = ask(dir, &args).await;
        assert_eq!((code, errors.as_str()), (1, ""));
        let body: Value = serde_json::from_str(&out).unwrap();
        assert!(body["code"].as_str().unwrap().contains(part), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_has_json_of_a_stable_shape() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let _process = Process::start_with(dir, &[("BIZRA_CHAOS__ENABLED", "true")]).await;
    for (args, keys) in [
        (&["status"][..], &["version", "node_id"][..]),
        (&["health"], &["status", "actors"]),
        (&["token"], &["token"]),
        (&["actors"], &["actors"]),
        (&["models"], &["models"]),
        (&["constitution", "show"], &["version", "digest"]),
        (&["identity", "list"], &["identities"]),
        (&["identity", "generate", "--idle"], &["node_id", "public_key"]),
        (&["identity", "sign", "x"], &["signature"]),
        (&["envelope", "log"], &["envelopes"]),
        (&["audit", "show"], &["records"]),
        (&["audit", "verify"], &["valid", "records", "hash"]),
        (&["chaos", "--for", "100ms", "--actor", "gate-chain"], &["seed", "clean", "drills"]),
        (&["actors", "stop", "gate-chain"], &["actor", "kind"]),
        (&["doctor"], &["failed", "checks", "machine", "advice"]),
    ] {
        let answer = json(dir, args).await;
        for key in keys {
            assert!(answer.get(key).is_some(), "{args:?}: no {key} in {answer}");
        }
    }
    let (code, out, _) = ask(dir, &["gates", "check", "x", "--snr", "0.1", "--json"]).await;
    let refused: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 1 && refused["results"].is_array(), "{refused}");
    // A watcher prints one value a line.
    let mut watching = Command::new(env!("CARGO_BIN_EXE_bizra"))
        .env_clear()
        .env("BIZRA_DATA_DIR", dir)
        .args(["actors", "--watch", "--json"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let out = watching.stdout.take().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(out));
    for _ in 0..2 {
        let line = tokio::time::timeout(30 * SECOND, lines.next_line()).await.unwrap();
        let tree: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
        assert!(tree["actors"].is_array(), "{tree}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preferences_are_learned_shown_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let _process = Process::start(dir).await;
    let note = ["preferences", "observe", "ann", "custom", "vim", "--key", "editor"];
    for number in 1..=6 {
        let formal = json(dir, &["preferences", "observe", "ann", "style", "formal"]).await;
        assert_eq!(formal["active"], number == 6, "{formal}");
        json(dir, &note).await;
    }
    let (code, shown, _) = ask(dir, &["preferences", "list", "ann"]).await;
    assert!(code == 0 && shown.contains("formal") && shown.contains("editor"), "{shown}");
    let (_, shown, _) = ask(dir, &["preferences", "list"]).await;
    assert!(shown.lines().any(|line| line.starts_with("ann")), "{shown}");
    let (_, told, _) = ask(dir, &["preferences", "apply", "ann", "--system", "Be kind."]).await;
    assert!(told.starts_with("Be kind.\n\n") && told.ends_with("\"vim\".\n"), "{told}");
    let generate = ["generate", "Once", "--preferences-of", "ann", "--max-tokens", "2"];
    let answer = json(dir, &generate).await;
    assert_eq!(answer["preferences"]["applied"].as_array().unwrap().len(), 2, "{answer}");

    let wrong = ["preferences", "observe", "ann", "style", "rude"];
    let (code, _, errors) = ask(dir, &wrong).await;
    assert!(code == 1 && errors.contains("one of academic, casual"), "{errors}");
    let forget = ["preferences", "forget", "ann", "--type", "custom", "--key", "editor"];
    assert_eq!(json(dir, &forget).await["forgotten"], 1);
    assert_eq!(json(dir, &["preferences", "forget", "ann"]).await["forgotten"], 1);
    let (code, told, errors) = ask(dir, &["preferences", "apply", "ann"]).await;
    assert!(code == 0 && told.is_empty() && errors.contains("no preference"), "{errors}");
}
