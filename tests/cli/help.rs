//! Completions, manual pages, and what is said where nothing runs.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{bizra, told};

#[test]
fn the_script_for_bash_is_one_and_completes_what_there_is() {
    let home = tempfile::tempdir().unwrap();
    for program in ["bizra", "bizra-api"] {
        let (code, script, errors) =
            bizra(home.path(), &["completions", "bash", "--program", program]);
        assert_eq!((code, errors.as_str()), (0, ""));
        let path = home.path().join(program);
        std::fs::write(&path, script).unwrap();
        let read = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    }
    // As if tab were pressed after `bizra identity ro`.
    let ask = format!(
        "source {}; COMP_WORDS=(bizra identity ro) COMP_CWORD=2; _bizra bizra ro identity; \
         echo \"${{COMPREPLY[@]}}\"",
        home.path().join("bizra").display()
    );
    let answered = Command::new("bash").args(["-c", &ask]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(told(answered).1, "rotate\n");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = bizra(home.path(), &["completions", shell]);
        assert!(code == 0 && script.contains("identity"), "{shell}");
    }
    assert_eq!(bizra(home.path(), &["completions", "tcsh"]).0, 2);
}

#[test]
fn every_command_of_both_programs_gets_its_page() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("man/man1");
    let (code, out, errors) = bizra(home.path(), &["man", "--out", dir.to_str().unwrap()]);
    assert_eq!((code, out.as_str(), errors.as_str()), (0, "", ""));
    for page in [
        "bizra.1",
        "bizra-api.1",
        "bizra-doctor.1",
        "bizra-identity-rotate.1",
        "bizra-envelope-verify.1",
        "bizra-chaos.1",
    ] {
        let text = std::fs::read_to_string(dir.join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{page}: {text}");
    }
    let (code, page, _) = bizra(home.path(), &["man"]);
    assert!(
        code == 0 && page.contains("bizra\\-doctor(1)") && page.contains("Exit codes"),
        "{page}"
    );
    let (_, page, _) = bizra(home.path(), &["man", "--program", "bizra-api"]);
    assert!(page.contains("supervised actors"), "{page}");
    assert_eq!(bizra(home.path(), &["man", "--out", "/dev/null/x"]).0, 2);
}

/// Runs `bizra doctor` with no node, no model server, and any port.
fn doctor(home: &std::path::Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
    command.env_clear().env("HOME", home).env("BIZRA_HTTP__PORT", "0");
    command.env("OLLAMA_HOST", "http://127.0.0.1:9").arg("doctor").args(args);
    told(command.output().unwrap())
}

#[test]
fn the_doctor_needs_no_node_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, errors) = doctor(home.path(), &[]);
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
    for check in [
        "processors",
        "memory",
        "graphics",
        "clock",
        "disk",
        "node",
        "port",
        "tier",
        "model",
        "advice",
    ] {
        let is_told = |line: &str| line.split_whitespace().nth(1) == Some(check);
        assert!(out.lines().any(is_told), "{check}: {out}");
    }
    assert!(out.ends_with("a node can run here\n"), "{out}");
    assert!(!home.path().join(".bizra").exists());

    let (_, out, _) = doctor(home.path(), &["--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["failed"], 0);
    assert!(answer["machine"]["cores"].as_u64().is_some_and(|cores| cores > 0), "{answer}");
    for finding in answer["checks"].as_array().unwrap() {
        assert!(finding["check"].is_string() && finding["text"].is_string(), "{finding}");
        assert!(matches!(finding["state"].as_str(), Some("ok" | "warn" | "fail")), "{finding}");
    }
}

#[test]
fn the_doctor_ends_with_1_and_names_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("node.toml");
    for (text, part) in [
        ("[http]\nport = \"x\"\n", "node.toml:2: http.port: "),
        ("[http]\nhost = \"0.0.0.0\"\n", "without TLS"),
        ("[gates]\nconstitution = \"/absent.toml\"\n", "/absent.toml"),
        ("[inference.edge]\nmodel = \"/absent.gguf\"\n", "/absent.gguf"),
        ("[embedding]\nmodel = \"/absent\"\n", "model.safetensors"),
        (
            "[[inference.openai]]\nname = \"a\"\nurl = \"http://127.0.0.1:9\"\napi_key_file = \"/no.key\"\n",
            "/no.key",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, out, _) = doctor(home.path(), &["--config", file.to_str().unwrap()]);
        assert_eq!(code, 1, "{text}: {out}");
        assert!(out.contains(part) && out.contains("-> "), "{text}: {out}");
        assert!(out.ends_with("1 check failed\n"), "{text}: {out}");
    }
}
