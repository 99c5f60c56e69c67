use std::os::unix::fs::PermissionsExt;

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::private_file::write;

mod encrypted;
mod rotated;

struct Home {
    dir: tempfile::TempDir,
    store: Keystore,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let store = Keystore::new(dir.path());
    Home { dir, store }
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("identities").join(name)
    }

    fn key_path(&self, identity: &Identity) -> PathBuf {
        self.path(&format!("{}.json", identity.info.node_id))
    }

    /// The error of loading, as text.
    fn refusal(&self) -> String {
        self.store.load().expect_err("the keystore is broken").to_string()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn an_empty_keystore_gets_an_identity_that_stays() {
    let home = home();
    let first = home.store.load().unwrap();
    assert_eq!(first.len(), 1);
    assert!(first[0].info.is_active);
    let again = Keystore::new(home.dir.path()).load().unwrap();
    assert_eq!(again[0].info, first[0].info);
    assert_eq!(again[0].key.public_key(), first[0].key.public_key());
}

#[test]
fn nobody_else_can_read_what_is_written() {
    let home = home();
    let first = home.store.load().unwrap();
    assert_eq!(mode(&home.path("")), 0o700);
    assert_eq!(mode(&home.key_path(&first[0])), 0o600);
    assert_eq!(mode(&home.path("active")), 0o600);
}

#[test]
fn a_generated_identity_is_kept_and_signs_only_when_activated() {
    let home = home();
    let first = home.store.load().unwrap()[0].info.clone();
    let second = home.store.generate(Some("work".to_owned()), false).unwrap();
    let all = home.store.identities();
    assert!(!second.is_active);
    assert_eq!((all.len(), all[0].info.node_id), (2, first.node_id));
    let third = home.store.generate(None, true).unwrap();
    let all = home.store.identities();
    assert!(third.is_active);
    assert_eq!(all[0].info, third);
    let reloaded = Keystore::new(home.dir.path()).load().unwrap();
    let infos = |identities: Arc<Vec<Identity>>| -> Vec<_> {
        identities.iter().map(|identity| identity.info.clone()).collect()
    };
    let reloaded = infos(reloaded);
    assert_eq!(reloaded, infos(all));
    assert!(reloaded.iter().any(|info| info.label.as_deref() == Some("work")));
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    let home = home();
    let path = home.key_path(&home.store.load().unwrap()[0]);
    for wide in [0o640, 0o604, 0o660] {
        set_mode(&path, wide);
        let text = home.refusal();
        assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
    }
    set_mode(&path, 0o600);
    set_mode(&home.path(""), 0o755);
    assert!(home.refusal().contains("chmod 700"));
    set_mode(&home.path(""), 0o700);
    home.store.load().unwrap();
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let home = home();
    let path = home.key_path(&home.store.load().unwrap()[0]);
    let whole = fs::read(&path).unwrap();
    // Without the newline it is still whole.
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        let text = home.refusal();
        assert!(text.contains("cut short") && text.contains(".json"), "{length}: {text}");
    }
}

#[test]
fn a_garbled_file_is_refused_with_its_name() {
    let home = home();
    let path = home.key_path(&home.store.load().unwrap()[0]);
    let whole = fs::read_to_string(&path).unwrap();
    let secret_at = whole.find("\"secret\":\"").unwrap() + "\"secret\":\"".len();
    let mut other_secret = whole.clone().into_bytes();
    other_secret[secret_at] = if other_secret[secret_at] == b'0' { b'1' } else { b'0' };
    for (text, problem) in [
        (String::from_utf8(other_secret).unwrap(), "public key"),
        (whole.replace("\"version\":1", "\"version\":2"), "version"),
        (whole.replace("none", "argon"), "protection"),
        (whole.replace("\"label\":null", "\"label\":\"\""), "label"),
        (whole.replace("\"label\":null", "\"else\":null"), "identity file"),
        ("x".repeat(5000), "regular file"),
        (whole.replace("none", "xchacha20poly1305"), "the file with the data key is gone"),
    ] {
        fs::write(&path, text).unwrap();
        let text = home.refusal();
        assert!(text.contains(problem) && text.contains(".json"), "{problem}: {text}");
    }
    fs::write(&path, &whole).unwrap();
    fs::rename(&path, home.path(&format!("{}.json", "00".repeat(16)))).unwrap();
    assert!(home.refusal().contains("another identity"));
}

#[test]
fn a_linked_key_is_refused() {
    let home = home();
    let path = home.key_path(&home.store.load().unwrap()[0]);
    fs::rename(&path, home.dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(home.dir.path().join("elsewhere"), &path).unwrap();
    assert!(home.refusal().contains(".json"));
}

#[test]
fn the_active_pointer_must_name_an_identity() {
    let home = home();
    home.store.load().unwrap();
    fs::write(home.path("active"), "00".repeat(16)).unwrap();
    assert!(home.refusal().contains("active"));
    fs::write(home.path("active"), "not an id").unwrap();
    assert!(home.refusal().contains("active"));
    // Lost by a crash at the first start: the only identity is meant.
    fs::remove_file(home.path("active")).unwrap();
    assert!(home.store.load().unwrap()[0].info.is_active);
    home.store.generate(None, false).unwrap();
    fs::remove_file(home.path("active")).unwrap();
    assert!(home.refusal().contains("active"));
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let home = home();
    home.store.load().unwrap();
    let left = home.path(".tmp-0011223344556677");
    fs::write(&left, "half a secret").unwrap();
    home.store.load().unwrap();
    assert!(!left.exists());
}

#[test]
fn a_full_keystore_makes_no_more() {
    let home = home();
    for _ in 0..IDENTITIES_MAX {
        home.store.generate(None, false).unwrap();
    }
    let full = home.store.generate(None, false);
    assert!(matches!(full, Err(KeystoreError::Full { max: IDENTITIES_MAX })), "{full:?}");
    assert_eq!(home.store.load().unwrap().len(), IDENTITIES_MAX);
}

#[test]
fn a_label_that_is_none_makes_nothing() {
    let home = home();
    for label in ["", "a\nb", &"x".repeat(65)] {
        let refused = home.store.generate(Some(label.to_owned()), true);
        assert!(matches!(refused, Err(KeystoreError::Label)), "{label:?}");
    }
    assert!(!home.path("").exists());
}

#[test]
fn a_full_disk_or_a_locked_directory_is_an_error_and_loses_nothing() {
    let home = home();
    let first = home.store.load().unwrap()[0].info.clone();
    // A directory in the pointer's place: the rename fails.
    fs::remove_file(home.path("active")).unwrap();
    fs::create_dir(home.path("active")).unwrap();
    assert!(home.store.generate(None, true).is_err());
    fs::remove_dir(home.path("active")).unwrap();
    write(&home.path(""), "active", first.node_id.to_hex().as_bytes()).unwrap();
    // The key that was made is not lost: it is there, and not active.
    let all = home.store.load().unwrap();
    assert_eq!((all.len(), all[0].info.node_id), (2, first.node_id));
}

#[test]
fn many_at_once_all_find_their_identity() {
    let home = home();
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| home.store.generate(None, true).unwrap().node_id))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let all = home.store.load().unwrap();
    assert_eq!(all.len(), 8);
    assert!(made.iter().all(|id| all.iter().any(|identity| identity.info.node_id == *id)));
    assert_eq!(all.iter().filter(|identity| identity.info.is_active).count(), 1);
}
