//! Both programs from outside: exit codes, and what they say where nothing runs.

#[path = "cli/help.rs"]
mod help;
#[path = "cli/hostile.rs"]
mod hostile;
mod live;
#[path = "cli/running.rs"]
mod running;

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
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
        // No colours where nobody looks.
        assert!(!out.contains('\u{1b}'), "{out:?}");
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
        &["envelope", "find", "x"],
        &["envelope", "log"],
        &["generate", "hi"],
        &["gates", "check", "hi"],
        &["identity", "sign", "hi"],
        &["federation", "status"],
        &["federation", "peers"],
        &["federation", "proposals"],
        &["federation", "proposal", "x", "--verify"],
        &["chaos", "--for", "1s"],
    ] {
        let (code, out, errors) = bizra(home.path(), &[&["--url", &url], args].concat());
        assert_eq!((code, out.as_str()), (3, ""), "{args:?}: {errors}");
        assert!(errors.contains(&format!("no node answers at {url}")), "{args:?}: {errors}");
        assert!(errors.contains("bizra-api"), "{args:?}: {errors}");
        let json = bizra(home.path(), &[&["--json", "--url", &url], args].concat());
        assert_eq!((json.0, json.2.as_str()), (3, ""), "{args:?}");
        let failure: serde_json::Value = serde_json::from_str(&json.1).unwrap();
        assert_eq!(failure["code"], "NO_NODE", "{args:?}");
    }
}

#[test]
fn the_token_is_read_from_the_data_directory() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, errors) = bizra(home.path(), &["token"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(errors.contains(".bizra/api-token"), "{errors}");

    let secret = "A".repeat(43);
    std::fs::create_dir(home.path().join(".bizra")).unwrap();
    write_token(&home.path().join(".bizra"), &secret, 0o600);
    assert_eq!(bizra(home.path(), &["token"]), (0, format!("{secret}\n"), String::new()));

    let other = tempfile::tempdir().unwrap();
    write_token(other.path(), &"E".repeat(43), 0o600);
    let args = ["token", "--data-dir", other.path().to_str().unwrap()];
    assert_eq!(bizra(home.path(), &args).1, format!("{}\n", "E".repeat(43)));
}

fn write_token(dir: &Path, text: &str, mode: u32) {
    let path = dir.join("api-token");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_token_that_the_node_would_refuse_is_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["token", "--data-dir", dir.path().to_str().unwrap()];
    let refused = |part: &str| {
        let (code, out, errors) = bizra(dir.path(), &args);
        assert_eq!((code, out.as_str()), (1, ""), "{part}");
        assert!(errors.contains(part) && errors.contains("api-token"), "{errors}");
    };
    write_token(dir.path(), &"A".repeat(43), 0o644);
    refused("chmod 600");
    write_token(dir.path(), "somebody's secret", 0o600);
    refused("holds no token");
    let path = dir.path().join("api-token");
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    refused("is a link");
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

/// As [`bizra`], with `input` as standard input.
fn bizra_reading(home: &Path, args: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bizra"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may stop reading before the end, and then the pipe breaks.
    let writer = std::thread::spawn(move || _ = stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    told(output)
}

#[test]
fn whatever_is_no_envelope_is_invalid_and_what_cannot_be_read_is_wrong_usage() {
    let home = tempfile::tempdir().unwrap();
    let huge = vec![b' '; 3 << 20];
    let deep = vec![b'['; 1 << 20];
    for (input, code) in [
        (&b""[..], "RejectSchema"),
        (b"\x00\xff\xfe\x80", "RejectSchema"),
        (b"{}", "RejectMissingField"),
        (b"\xef\xbb\xbf{}", "RejectSchema"),
        (&huge, "RejectSchema"),
        (&deep, "RejectSchema"),
    ] {
        let path = home.path().join("input");
        std::fs::write(&path, input).unwrap();
        for (args, input) in [
            (["envelope", "verify", "-"], input),
            (["envelope", "verify", path.to_str().unwrap()], b""),
        ] {
            let (status, out, errors) = bizra_reading(home.path(), &args, input);
            assert_eq!((status, errors.as_str()), (1, ""), "{args:?}");
            assert!(out.contains(code), "{args:?}: {out}");
        }
        let (status, _, errors) = bizra_reading(home.path(), &["envelope", "inspect", "-"], input);
        assert_eq!((status, errors.as_str()), (i32::from(input != b"{}"), ""));
    }
    let folder = home.path().to_str().unwrap();
    for command in ["verify", "inspect"] {
        for unreadable in [folder, "/nonexistent/file", ""] {
            let (status, out, errors) = bizra(home.path(), &["envelope", command, unreadable]);
            assert_eq!(status, 2, "{command} {unreadable:?}: {out} {errors}");
        }
        assert_eq!(bizra(home.path(), &["envelope", command]).0, 2);
    }
}

#[test]
fn an_old_envelope_is_checked_only_when_asked() {
    let home = tempfile::tempdir().unwrap();
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("vectors/pci.json")).unwrap();
    let old = vectors["old_envelopes"][0]["envelope_utf8"].as_str().unwrap().as_bytes();
    let args = ["envelope", "verify", "--at", "2099-01-01T00:10:00Z", "-"];
    let (status, out, _) = bizra_reading(home.path(), &args, old);
    assert!(status == 1 && out.contains("RejectVersion"), "{out}");
    let args = [&args[..], &["--accept-v1"]].concat();
    let (status, out, _) = bizra_reading(home.path(), &args, old);
    assert!(status == 0 && out.contains("version 1.0: of public_key only"), "{out}");
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

#[test]
fn configuration_found_wrong_at_the_start_ends_with_2_and_names_who_set_it() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("node.toml");
    std::fs::write(home.path().join("empty.toml"), "version = \"x\"\n").unwrap();
    let invalid = format!("[gates]\nconstitution = {:?}\n", home.path().join("empty.toml"));
    for (text, parts) in [
        (
            "[supervisor.actors.nobody]\nmax_restarts = 1\n",
            ["node.toml: supervisor.actors.nobody: ", "identity"],
        ),
        (
            "[gates]\nconstitution = \"/nonexistent.toml\"\n",
            ["node.toml: gates.constitution: ", "/nonexistent.toml"],
        ),
        (&invalid, ["node.toml: gates.constitution: ", "empty.toml"]),
        ("[log]\nfilter = \"a=b=c\"\n", ["node.toml: log.filter: ", "a=b=c"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let args = ["--config", file.to_str().unwrap(), "--port", "0"];
        let (code, out, errors) = bizra_api(home.path(), &args);
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {errors}");
        for part in parts {
            assert!(errors.contains(part), "{part}: {errors}");
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_bizra-api"));
    command.env_clear().env("HOME", home.path()).env("RUST_LOG", "a=b=c");
    let (code, _, errors) = told(command.stdin(Stdio::null()).output().unwrap());
    assert_eq!(code, 2);
    assert!(errors.contains("environment variable RUST_LOG: log.filter: "), "{errors}");
}
