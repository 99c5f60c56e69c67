//! The keys from outside: the commands over them, and what both programs say of each wrong state.

mod live;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use live::*;
use serde_json::Value;

/// A data directory, and files with passphrases beside it.
struct Home {
    dir: tempfile::TempDir,
}

fn home() -> Home {
    let home = Home { dir: tempfile::tempdir().unwrap() };
    home.write("right", b"correct horse\n", 0o600);
    home.write("wrong", b"battery staple\n", 0o600);
    home
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// `bizra identity` over the data directory; `passphrase` names a file of this home.
    fn command(&self, passphrase: Option<&str>, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
        command.arg("identity").args(args).arg("--data-dir").arg(self.data());
        command.env_clear().env("HOME", self.dir.path()).stdin(Stdio::null());
        if let Some(name) = passphrase {
            command.env("BIZRA_PASSPHRASE_FILE", self.path(name));
        }
        command.current_dir(self.dir.path());
        command
    }

    fn identity(&self, passphrase: Option<&str>, args: &[&str]) -> (i32, String, String) {
        told(self.command(passphrase, args).output().unwrap())
    }

    /// The JSON of a command that does what it should.
    fn json(&self, passphrase: Option<&str>, args: &[&str]) -> Value {
        let (code, out, errors) = self.identity(passphrase, &[args, &["--json"]].concat());
        assert_eq!((code, errors.as_str()), (0, ""), "{args:?}: {out}");
        serde_json::from_str(&out).unwrap()
    }

    /// The node's exit code and the reason that it gives.
    fn node(&self, passphrase: Option<&str>) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bizra-api"));
        command.args(["--port", "0", "--log-format", "json", "--data-dir"]).arg(self.data());
        command.env_clear().env("HOME", self.dir.path()).stdin(Stdio::null());
        if let Some(name) = passphrase {
            command.env("BIZRA_PASSPHRASE_FILE", self.path(name));
        }
        let (code, _, errors) = told(command.output().unwrap());
        let line: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
        (code, line["fields"]["reason"].as_str().unwrap().to_owned())
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn id(identity: &Value) -> &str {
    identity["node_id"].as_str().unwrap()
}

#[test]
fn keys_are_made_listed_activated_and_rotated_without_a_node() {
    let home = home();
    assert_eq!(home.json(None, &["list"])["identities"], Value::Array(Vec::new()));
    assert!(!home.data().exists(), "looking makes nothing");
    let first = home.json(None, &["generate", "--label", "home"]);
    assert_eq!((&first["active"], &first["label"]), (&true.into(), &"home".into()));
    let spare = home.json(None, &["generate", "--idle"]);
    assert_eq!(spare["active"], false);
    assert_eq!(home.json(None, &["activate", id(&spare)])["active"], true);
    home.json(None, &["activate", id(&first)]);

    let rotated = home.json(None, &["rotate"]);
    assert_eq!(rotated["label"], "home");
    let listed = home.json(None, &["list"]);
    let all = listed["identities"].as_array().unwrap();
    assert_eq!((all.len(), id(&all[0])), (3, id(&rotated)));
    let (code, out, _) = home.identity(None, &["list"]);
    let row = out.lines().find(|line| line.starts_with(id(&first))).unwrap();
    assert!(code == 0 && row.contains("no") && row.ends_with(id(&rotated)), "{out}");
    let (code, out, errors) = home.identity(None, &["activate", id(&first)]);
    let (old, new) = (id(&first), id(&rotated));
    let expected = format!("bizra: identity {old} was replaced by {new} and signs no more\n");
    assert_eq!((code, out.as_str(), errors), (1, "", expected));

    // The record, the answer and the list all verify, with nothing but themselves.
    let record = rotated["rotation"].to_string();
    for text in [record.clone(), rotated.to_string(), listed.to_string(), format!("[{record}]")] {
        home.write("record", text.as_bytes(), 0o644);
        let verified = home.json(None, &["verify-rotation", "record"]);
        assert_eq!(verified["records"][0]["old_node_id"], *old);
        assert_eq!(verified["records"][0]["new_public_key"], rotated["public_key"]);
    }
    for (text, reason) in [
        (record.replace("\"at\":\"2", "\"at\":\"3"), "the old key did not sign this record"),
        ("[]".to_owned(), "there is no rotation record in it"),
        ("nonsense".to_owned(), "expected null at byte 0"),
    ] {
        home.write("record", text.as_bytes(), 0o644);
        let (code, out, errors) = home.identity(None, &["verify-rotation", "record"]);
        assert_eq!((code, errors.as_str()), (1, ""), "{text}");
        assert_eq!(out, format!("invalid: {reason}\n"));
    }
    assert_eq!(home.identity(None, &["verify-rotation", "absent"]).0, 2);
}

#[test]
fn a_key_moves_only_in_a_file_that_its_passphrase_opens() {
    let (from, to) = (home(), home());
    let key = from.json(None, &["generate", "--label", "home"]);
    let out = from.path("key.json");
    let out = out.to_str().unwrap();
    let (code, _, errors) = from.identity(None, &["export", "--out", out]);
    let text = "bizra: there is no passphrase of the export: name a file that holds it with \
                --passphrase-file\n";
    assert_eq!((code, errors.as_str()), (2, text));
    let export = ["export", "--out", out, "--passphrase-file", "right"];
    assert_eq!(from.json(None, &export)["node_id"], key["node_id"]);
    assert_eq!(fs::metadata(out).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, _, errors) = from.identity(None, &export);
    assert!(code == 1 && errors.contains("File exists"), "it is not overwritten: {errors}");

    let (code, _, errors) = to.identity(None, &["import", out, "--passphrase-file", "wrong"]);
    assert_eq!((code, errors.as_str()), (2, "bizra: the passphrase is wrong\n"));
    let first = to.json(None, &["generate"]);
    let import = ["import", out, "--passphrase-file", "right"];
    let taken = to.json(None, &import);
    assert_eq!((&taken["public_key"], &taken["label"]), (&key["public_key"], &"home".into()));
    assert_eq!(taken["active"], false);
    assert_eq!(to.json(None, &["list"])["identities"][0]["node_id"], first["node_id"]);
    let (code, _, errors) = to.identity(None, &import);
    let text = format!("bizra: identity {} is in the keystore already\n", id(&key));
    assert_eq!((code, errors), (1, text));
    to.write("cut", &fs::read(out).unwrap()[..100], 0o600);
    let (code, _, errors) = to.identity(None, &["import", "cut", "--passphrase-file", "right"]);
    let text = "bizra: it was changed or cut short; restore it from a backup\n";
    assert_eq!((code, errors.as_str()), (1, text));
}

#[test]
fn a_keystore_is_encrypted_and_made_plain_again() {
    let home = home();
    let (code, _, errors) = home.identity(Some("right"), &["encrypt"]);
    let data = home.data();
    let text = format!(
        "bizra: there is no identity in {}; make one: bizra identity generate\n",
        data.display()
    );
    assert_eq!((code, errors), (2, text));
    home.json(None, &["generate"]);
    let before = home.json(None, &["list"]);
    let (code, _, errors) = home.identity(None, &["encrypt"]);
    let text = "bizra: there is no passphrase of the keystore: name a file that holds it in \
                BIZRA_PASSPHRASE_FILE\n";
    assert_eq!((code, errors.as_str()), (2, text));
    let encrypted = home.json(Some("right"), &["encrypt"]);
    assert_eq!(encrypted, serde_json::json!({ "encrypted": true, "identities": 1 }));
    assert_eq!(home.identity(Some("right"), &["encrypt"]).0, 2, "it is encrypted already");
    assert_eq!(home.json(Some("right"), &["list"]), before);
    home.json(Some("right"), &["passwd", "--new-passphrase-file", "wrong"]);
    assert_eq!(home.identity(Some("right"), &["list"]).0, 2);
    home.json(Some("wrong"), &["rotate"]);
    home.json(Some("wrong"), &["decrypt"]);
    assert_eq!(home.json(None, &["list"])["identities"].as_array().unwrap().len(), 2);
    let (code, _, errors) = home.identity(Some("wrong"), &["decrypt"]);
    let keystore = data.join("identities");
    let text = format!("bizra: the keystore {} is not encrypted\n", keystore.display());
    assert_eq!((code, errors), (1, text));
}

/// Each wrong state, its exit code, and what both programs say.
#[test]
fn each_wrong_state_has_its_text() {
    let home = home();
    let key = home.json(None, &["generate"]);
    let keystore = home.data().join("identities");
    let file = keystore.join(format!("{}.json", id(&key)));
    let sealed = keystore.join("keystore.key");
    let (shown, shown_sealed) = (file.display().to_string(), sealed.display().to_string());
    let whole = fs::read(&file).unwrap();
    let both = |passphrase: Option<&str>, code: i32, text: &str| {
        let (said, out, errors) = home.identity(passphrase, &["list"]);
        assert_eq!((said, out.as_str(), errors), (code, "", format!("bizra: {text}\n")));
        let (said, reason) = home.node(passphrase);
        let reason = reason.trim_start_matches("environment variable BIZRA_PASSPHRASE_FILE: ");
        assert_eq!((said, reason), (code, text));
    };

    for mode in [0o644, 0o640] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let text = format!("{shown} is open to others (mode {mode:04o}); run: chmod 600 {shown}");
        both(None, 1, &text);
    }
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&keystore, Permissions::from_mode(0o750)).unwrap();
    let dir = keystore.display();
    both(None, 1, &format!("{dir} is open to others (mode 0750); run: chmod 700 {dir}"));
    fs::set_permissions(&keystore, Permissions::from_mode(0o700)).unwrap();

    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let text = "not an identity file, or cut short; restore it from a backup or move it away";
    both(None, 1, &format!("{shown}: {text}"));
    fs::remove_file(&file).unwrap();
    home.write("elsewhere", &whole, 0o600);
    std::os::unix::fs::symlink(home.path("elsewhere"), &file).unwrap();
    both(None, 1, &format!("{shown} is a link, which is not followed"));
    fs::rename(home.path("elsewhere"), &file).unwrap();
    // Only the superuser can give a file away.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
        both(None, 1, &format!("{shown} belongs to user 12345, not to the user of this process"));
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    }

    home.json(Some("right"), &["encrypt"]);
    let locked = format!(
        "the keystore {dir} is encrypted and there is no passphrase; name a file that holds it in \
         BIZRA_PASSPHRASE_FILE, or start from a terminal to be asked for it"
    );
    both(None, 2, &locked);
    both(Some("wrong"), 2, &format!("{shown_sealed}: the passphrase is wrong"));
    let open = home.path("open");
    home.write("open", b"correct horse\n", 0o644);
    let open = open.display();
    both(
        Some("open"),
        2,
        &format!("the passphrase: {open} is open to others (mode 0644); run: chmod 600 {open}"),
    );
    let absent = home.path("absent");
    let text = format!("{}: No such file or directory (os error 2)", absent.display());
    both(Some("absent"), 2, &format!("the passphrase: {text}"));
    home.write("short", b"short\n", 0o600);
    let text = "a passphrase has at least 8 characters";
    both(Some("short"), 2, &format!("the passphrase: {}: {text}", home.path("short").display()));
    let whole = fs::read(&sealed).unwrap();
    fs::write(&sealed, &whole[..whole.len() / 2]).unwrap();
    let text = "it was changed or cut short; restore it from a backup";
    both(Some("right"), 1, &format!("{shown_sealed}: {text}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_is_asked_and_its_directory_left_alone() {
    let home = home();
    home.json(None, &["generate"]);
    home.json(Some("right"), &["encrypt"]);
    let offline = home.json(Some("right"), &["list"]);
    let file = home.path("right");
    let environment = [("BIZRA_PASSPHRASE_FILE", file.to_str().unwrap())];
    let process = Process::start_with(&home.data(), &environment).await;
    let url = format!("http://{}", process.address);
    let node = |args: &[&str]| home.json(None, &[args, &["--url", &url]].concat());
    assert_eq!(node(&["list"]), offline, "the node and its directory tell the same");
    let made = node(&["generate", "--idle"]);
    assert_eq!(node(&["activate", id(&made)])["active"], true);
    let rotated = node(&["rotate"]);
    assert_eq!(node(&["list"])["identities"][0]["node_id"], rotated["node_id"]);

    let (data, pid) = (home.data(), process.child.id().unwrap());
    let held = format!(
        "data directory {} is in use by process {pid}; stop it or choose another directory",
        data.display()
    );
    for args in [
        &["export", "--out", "x", "--passphrase-file", "right"][..],
        &["import", "x", "--passphrase-file", "right"],
        &["encrypt"],
        &["decrypt"],
        &["passwd", "--new-passphrase-file", "wrong"],
    ] {
        let (code, out, errors) = home.identity(Some("right"), args);
        assert_eq!((code, out.as_str(), errors), (1, "", format!("bizra: {held}\n")), "{args:?}");
    }
    // Two nodes on one directory.
    assert_eq!(home.node(Some("right")), (1, held.clone()));
    // The node is not where its configuration says; it has written down where it is.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = home.command(Some("right"), &["list"]);
    command.env("BIZRA_HTTP__PORT", nobody.port().to_string());
    let (code, out, errors) = told(command.output().unwrap());
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
}

#[test]
fn a_passphrase_is_asked_for_on_a_terminal_and_not_shown() {
    let home = home();
    home.json(None, &["generate"]);
    let (code, shown) = home.typed(&["encrypt"], "correct horse\ncorrect horsf\n");
    assert!(code == 2 && shown.contains("the two passphrases differ"), "{shown}");
    let (code, shown) = home.typed(&["encrypt"], "short\n");
    assert!(code == 2 && shown.contains("at least 8 characters"), "{shown}");
    let (code, shown) = home.typed(&["encrypt"], "correct horse\ncorrect horse\n");
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("passphrase of the keystore: ") && shown.contains("the same again: "));
    assert!(!shown.contains("horse"), "{shown}");
    assert_eq!(home.typed(&["list"], "battery staple\n").0, 2);
    let (code, shown) = home.typed(&["list"], "correct\u{3}\n");
    assert!(code == 1 && shown.contains("interrupted"), "{shown}");
    // Typed, taken back by character and by line, and typed again.
    let edited = "wrong\u{15}correct horss\u{6f22}\u{7f}\u{8}e\n";
    assert_eq!(home.typed(&["list"], edited).0, 0);
    let (code, shown) = home.typed(&["list"], "correct horse\n");
    assert!(code == 0 && shown.contains("NODE ID") && !shown.contains("horse"), "{shown}");
}

impl Home {
    /// Runs a command on a terminal of its own and types `text`; returns what the terminal shows.
    fn typed(&self, args: &[&str], text: &str) -> (i32, String) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = || -> OwnedFd {
            fs::OpenOptions::new().read(true).write(true).open(Path::new(&name)).unwrap().into()
        };
        let held = theirs();
        let mut command = self.command(None, args);
        command.stdin(Stdio::from(theirs())).stdout(theirs()).stderr(theirs());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut terminal = fs::File::from(ours);
        let mut shown = Vec::new();
        for line in text.split_inclusive('\n') {
            // Typed when it is asked for: what is typed earlier a terminal would show.
            let asked = shown.len();
            while !shown[asked..].ends_with(b": ") {
                let mut byte = [0];
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                terminal.read_exact(&mut byte).unwrap();
                shown.push(byte[0]);
            }
            terminal.write_all(line.as_bytes()).unwrap();
        }
        let code = child.wait().unwrap().code().unwrap();
        drop(held);
        // The other end is closed: what is left is read up to an error.
        let _ = terminal.read_to_end(&mut shown);
        (code, String::from_utf8(shown).unwrap())
    }
}
