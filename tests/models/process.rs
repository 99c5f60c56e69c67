//! The command line on the store of a data directory, killed and run twice at once.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hub::{Double, MODEL, Place, Reply, catalogue};

/// `bizra models` with the demo model as its only entry.
fn bizra(place: &Place, url: &str, args: &[&str]) -> Command {
    let file = place.dir.path().join("catalogue.toml");
    std::fs::write(&file, catalogue(MODEL)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
    command
        .arg("models")
        .args(args)
        .env_clear()
        .env("HOME", place.dir.path())
        .env("BIZRA_DATA_DIR", place.dir.path())
        .env("BIZRA_STORE__FREE_BYTES_MIN", "0")
        .env("BIZRA_INFERENCE__MODELS__CATALOGUE", &file)
        .env("HF_ENDPOINT", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn run(place: &Place, url: &str, args: &[&str]) -> (i32, String, String) {
    text(&bizra(place, url, args).output().unwrap())
}

fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn partial_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("models/partial")).into_iter().flatten().flatten();
    files.map(|file| file.metadata().map_or(0, |file| file.len())).sum()
}

#[test]
fn a_pull_that_was_killed_goes_on() {
    let double = Double::serve(MODEL, [Reply::Hang(3_000_000)]);
    let (place, url) = (Place::new(), double.url());
    let mut killed = bizra(&place, &url, &["pull", "demo"]).spawn().unwrap();
    until(|| partial_bytes(place.dir.path()) >= 2 << 20);
    // SIGKILL: nothing is said goodbye to.
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (_, list, _) = run(&place, &url, &["list"]);
    assert!(list.contains("demo   partial "), "{list}");

    let (code, told, errors) = run(&place, &url, &["pull", "demo", "--json"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(std::fs::read(told["path"].as_str().unwrap()).unwrap(), MODEL);
    let range = double.requests()[1].header("range").unwrap().to_owned();
    let from: u64 = range["bytes=".len()..range.len() - 1].parse().unwrap();
    assert!(from >= 2 << 20, "{range}");
}

#[test]
fn of_two_processes_one_fetches_and_the_other_waits() {
    // Slow enough for the other to come while it is under way.
    let double = Double::serve(MODEL, [Reply::Cut(2_000_000), Reply::Cut(1_000_000)]);
    let (place, url) = (Place::new(), double.url());
    let both = [(); 2].map(|()| bizra(&place, &url, &["pull", "demo"]).spawn().unwrap());
    for child in both {
        let (code, told, errors) = text(&child.wait_with_output().unwrap());
        assert_eq!(code, 0, "{told}{errors}");
    }
    assert_eq!(double.requests().len(), 3, "each byte was asked for once");
}

#[test]
fn the_commands_say_what_they_did_and_how_they_end() {
    let double = Double::serve(MODEL, [Reply::Head(401, Vec::new())]);
    let (place, url) = (Place::new(), double.url());
    let run = |args: &[&str]| run(&place, &url, args);
    let (code, list, _) = run(&["list"]);
    assert_eq!(code, 0);
    assert!(list.starts_with("MODEL") && list.contains("demo   available"), "{list}");
    let (code, _, errors) = run(&["pull", "demo"]);
    assert_eq!(code, 1);
    assert!(errors.contains("set HF_TOKEN"), "{errors}");
    let (code, _, errors) = run(&["pull", "other"]);
    assert!(code == 1 && errors.contains("there is: demo"), "{errors}");
    assert_eq!(run(&["pull", "../x"]).0, 2);
    let (code, told, _) = run(&["pull", "demo"]);
    assert!(code == 0 && told.contains("architecture    llama"), "{told}");
    let (code, told, _) = run(&["verify"]);
    assert_eq!((code, told.as_str()), (0, "demo  ok\n"));

    let file = place.dir.path().join("Mine.gguf");
    std::fs::write(&file, MODEL).unwrap();
    let file = file.to_str().unwrap();
    let (code, told, _) = run(&["import", file, "--name", "mine", "--json"]);
    assert_eq!(code, 0, "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    std::fs::write(told["path"].as_str().unwrap(), b"damaged").unwrap();
    let (code, told, _) = run(&["verify"]);
    assert_eq!(code, 1);
    assert!(told.contains("demo  damaged: it has 7 bytes"), "{told}");
    assert_eq!(run(&["rm", "mine"]).0, 0);
    let (code, told, _) = run(&["rm", "demo", "--json"]);
    assert!(code == 0 && told.contains("\"removed\": true"), "{told}");
    assert_eq!(run(&["rm", "demo"]).0, 1);

    let offline = bizra(&place, &url, &["pull", "demo"]).env("HF_HUB_OFFLINE", "1").output();
    let (code, _, errors) = text(&offline.unwrap());
    assert!(code == 1 && errors.contains("offline"), "{errors}");
    let plain = run(&["--url", "http://127.0.0.1:9", "import", file]);
    assert!(plain.0 == 2 && plain.2.contains("without --url"), "{}", plain.2);
}
