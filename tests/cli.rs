//! Both programs from outside: exit codes, and what they say where nothing runs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a program with no environment but `HOME`, and standard input closed.
fn run(program: &str, home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).env_clear().env("HOME", home).stdin(Stdio::null());
    command.output().unwrap()
}

fn bizra(home: &Path, args: &[&str]) -> (i32, String, String) {
    told(run(env!("CARGO_BIN_EXE_bizra"), home, args))
}

fn bizra_api(home: &Path, args: &[&str]) -> (i32, String, String) {
    told(run(env!("CARGO_BIN_EXE_bizra-api"), home, args))
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn wrong_usage_of_the_node_ends_with_2_and_names_the_value() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("bad.toml"), "[http]\nport = \"x\"\n").unwrap();
    let bad = home.path().join("bad.toml");
    for (args, part) in [
        (&["--port", "99999"][..], "99999"),
        (&["--host", "nowhere"], "nowhere"),
        (&["--log-format", "xml"], "xml"),
        (&["extra"], "extra"),
        (&["--config", "/nonexistent/node.toml"], "/nonexistent/node.toml"),
        (&["--config", bad.to_str().unwrap()], "bad.toml:2: http.port: "),
    ] {
        let (code, out, errors) = bizra_api(home.path(), args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(errors.contains(part), "{args:?}: {errors}");
    }
    assert!(!home.path().join(".bizra").exists());
}

#[test]
fn help_and_version_go_to_standard_output() {
    let home = tempfile::tempdir().unwrap();
    for run in [bizra_api, bizra] {
        let (code, out, errors) = run(home.path(), &["--help"]);
        assert_eq!((code, errors.as_str()), (0, ""));
        assert!(out.contains("Examples:") && out.contains("Exit codes:"), "{out}");
        let (code, out, _) = run(home.path(), &["--version"]);
        assert!(code == 0 && out.contains(env!("CARGO_PKG_VERSION")), "{out}");
    }
}

#[test]
fn where_no_node_runs_every_command_says_so() {
    let home = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for args in [
        &["health"][..],
        &["status"],
        &["actors"],
        &["actors", "stop", "identity"],
        &["models"],
        &["generate", "hi"],
        &["gates", "check", "hi"],
        &["identity", "sign", "hi"],
        &["chaos", "--for", "1s"],
    ] {
        let (code, out, errors) = bizra(home.path(), &[&["--url", &url], args].concat());
        assert_eq!((code, out.as_str()), (3, ""), "{args:?}: {errors}");
        assert!(errors.contains(&format!("no node answers at {url}")), "{args:?}: {errors}");
        assert!(errors.contains("bizra-api"), "{args:?}: {errors}");
    }
}

#[test]
fn the_token_is_read_from_the_data_directory() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, errors) = bizra(home.path(), &["token"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(errors.contains(".bizra/api-token"), "{errors}");

    std::fs::create_dir(home.path().join(".bizra")).unwrap();
    std::fs::write(home.path().join(".bizra/api-token"), "secret\n").unwrap();
    assert_eq!(bizra(home.path(), &["token"]), (0, "secret\n".to_owned(), String::new()));

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("api-token"), "other").unwrap();
    let args = ["token", "--data-dir", other.path().to_str().unwrap()];
    assert_eq!(bizra(home.path(), &args).1, "other\n");
}

#[test]
fn an_envelope_is_checked_without_a_node() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("answer.json");
    std::fs::write(&file, "{\"envelope\": {\"id\": \"x\"}}").unwrap();
    let file = file.to_str().unwrap();
    let (code, out, _) = bizra(home.path(), &["envelope", "verify", file]);
    assert_eq!(code, 1);
    assert!(out.contains("invalid"), "{out}");
    let (code, out, _) = bizra(home.path(), &["envelope", "verify", "--json", file]);
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["valid"], false);
    let (code, out, _) = bizra(home.path(), &["envelope", "inspect", file]);
    assert!(code == 0 && out.contains("id") && out.contains('x'), "{out}");
    assert_eq!(bizra(home.path(), &["envelope", "verify", "/nonexistent"]).0, 2);
    let wrong_time = ["envelope", "verify", file, "--at", "yesterday"];
    assert_eq!(bizra(home.path(), &wrong_time).0, 2);
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("large.json");
    let large = format!("{{\"payload\": \"{}\"}}", "x".repeat(500_000));
    std::fs::File::create(&file).unwrap().write_all(large.as_bytes()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bizra"))
        .args(["envelope", "inspect", file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
