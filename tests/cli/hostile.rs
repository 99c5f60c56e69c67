//! What answers may be anything: it must not reach the terminal as more than text, nor be told more
//! than it should.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::{told, write_token};

/// Answers every request with `status` and a body. Gives the head of each.
fn answering(
    status: &'static str,
    kind: &'static str,
    body: String,
) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = read_request(&mut stream);
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
            if heads.send(head).is_err() {
                break;
            }
        }
    });
    (port, received)
}

/// Reads a request, and returns its head in small letters.
fn read_request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    let _ = stream.read_exact(&mut body);
    head
}

fn run(port: u16, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
    command.env_clear().env("HOME", "/nonexistent").args(args).stdin(Stdio::null());
    command.args(["--url", &format!("http://127.0.0.1:{port}")]);
    told(command.output().unwrap())
}

fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| {
        c == '\n'
            || (!c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    })
}

/// Sets the title, clears, rings, returns; in seven and eight bits; and turns text around.
const EVIL: &str = "x\u{1b}]0;t\u{7}\u{1b}[2J\u{9b}2J\r\u{8}\u{7f}\u{202e}\u{2066}y";

#[test]
fn no_answer_of_a_node_commands_the_terminal() {
    let failure = json!({ "class": EVIL, "reason": EVIL });
    let actor = json!({ "name": EVIL, "state": EVIL, "incarnation": EVIL, "last_failure": failure,
        "children": [{ "name": EVIL, "state": EVIL, "children": [] }] });
    let body = json!({
        "status": EVIL, "actors": [actor], "models": [{ "name": EVIL, "note": EVIL }],
        "error": EVIL, "code": EVIL, "details": EVIL, EVIL: EVIL,
        "identities": [{ "node_id": EVIL, "label": EVIL, "public_key": EVIL }],
        "envelopes": [{ "id": EVIL, "at": EVIL, "sender": EVIL }], "next": EVIL,
        "rules": [{ "id": EVIL, "metric": EVIL }], "profiles": { EVIL: { "gates": { EVIL: EVIL } } },
        "results": [{ "gate": EVIL }], "passed": false, "reason": EVIL, "text": EVIL, "model": EVIL,
        "rotation": { "x": EVIL }, "tier": EVIL,
    });
    let health = json!({ "status": EVIL, "actors": { EVIL: EVIL } });
    for (status, body) in [
        ("200 OK", &body),
        ("200 OK", &health),
        ("503 Service Unavailable", &health),
        ("400 Bad", &body),
    ] {
        let (port, _heads) = answering(status, "application/json", body.to_string());
        for args in [
            &["status"][..],
            &["health"],
            &["actors"],
            &["models"],
            &["constitution", "show"],
            &["gates", "check", "x"],
            &["identity", "list"],
            &["identity", "sign", "x"],
            &["identity", "rotate"],
            &["envelope", "log"],
            &["envelope", "find", "x"],
            &["generate", "x"],
            &["chaos", "--for", "50ms"],
        ] {
            for json in [&[][..], &["--json"]] {
                let (_, out, errors) = run(port, &[args, json].concat());
                assert!(is_harmless(&out) && is_harmless(&errors), "{args:?}: {out:?} {errors:?}");
                if !json.is_empty() && args[0] != "chaos" {
                    serde_json::from_str::<Value>(&out).unwrap();
                }
            }
        }
    }
}

#[test]
fn streamed_text_commands_nothing_and_a_stream_without_proof_fails() {
    let event = |name: &str, data: Value| format!("event: {name}\ndata: {data}\n\n");
    let token = event("token", json!({ "text": format!("{EVIL}\n") }));
    let done = json!({ "text": EVIL, "model": EVIL, "tier": EVIL, "finish_reason": EVIL });
    let error = json!({ "error": EVIL, "code": EVIL });
    for (last, code, part) in [
        (event("done", done), 0, "tokens"),
        (event("error", error), 1, "broke off: x"),
        (String::new(), 1, "ended before the proof"),
        ("event: done\ndata: {\n\n".to_owned(), 1, "holds no JSON"),
    ] {
        let (port, _heads) = answering("200 OK", "text/event-stream", format!("{token}{last}"));
        let (is, out, errors) = run(port, &["generate", "x"]);
        assert_eq!(is, code, "{errors}");
        assert!(is_harmless(&out) && is_harmless(&errors), "{out:?} {errors:?}");
        assert!(out.starts_with("x\\u{1b}") && errors.contains(part), "{out:?} {errors:?}");
    }
}

#[test]
fn a_token_is_not_sent_to_whoever_listens_where_no_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    write_token(dir.path(), &"A".repeat(43), 0o600);
    let ask = |port: u16, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
        command.env_clear().env("BIZRA_DATA_DIR", dir.path());
        command.env("BIZRA_HTTP__PORT", port.to_string()).args(args);
        told(command.output().unwrap())
    };
    let (port, heads) = answering("401 Unauthorized", "application/json", "{}".to_owned());
    let (code, _, errors) = ask(port, &["envelope", "log"]);
    assert!(code == 1 && errors.contains("does not run on"), "{errors}");
    assert!(!heads.recv().unwrap().contains("authorization"));
    // Nor to one that a node which was killed left behind: its lock is free.
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let told = bizra_omega::address_file::Told::of(dir.path(), address);
    told.tell(None);
    assert_eq!(ask(port, &["status"]).0, 1);
    assert!(!heads.recv().unwrap().contains("authorization"));
    // It is to the one that has the directory, and to one that was named.
    let lock = bizra_omega::adapters::lock::DirLock::acquire(dir.path()).unwrap();
    ask(9, &["status"]);
    assert!(heads.recv().unwrap().contains("authorization: bearer aaa"));
    drop(lock);
    ask(9, &["status", "--url", &format!("http://127.0.0.1:{port}")]);
    assert!(heads.recv().unwrap().contains("authorization: bearer aaa"));
}

/// A node that says one word and then nothing. Tells when its caller has left.
fn talking() -> (u16, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (left, received) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let event = "event: token\ndata: {\"text\":\"once\"}\n\n";
        stream.write_all(format!("{head}{event}").as_bytes()).unwrap();
        // Ends, or is cut off.
        let _ = stream.read_to_end(&mut Vec::new());
        left.send(()).unwrap();
    });
    (port, received)
}

#[test]
fn an_interrupt_leaves_the_node_and_ends_with_130() {
    let (port, left) = talking();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bizra"))
        .env_clear()
        .env("HOME", Path::new("/nonexistent"))
        .args(["generate", "x", "--url", &format!("http://127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The word is here before the answer is whole.
    let mut word = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"once");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let (code, out, errors) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (130, "\n"), "{errors}");
    assert!(errors.contains("interrupted"), "{errors}");
    left.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
}
