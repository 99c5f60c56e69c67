//! Encrypted keystores and exports.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::bytes;
use crate::domain::digest::domain_separated_digest;
use crate::domain::json;
use crate::domain::passphrase::Passphrase;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn right() -> Passphrase {
    passphrase("correct horse")
}

fn wrong() -> Passphrase {
    passphrase("battery staple")
}

fn infos(identities: &[Identity]) -> Vec<IdentityInfo> {
    identities.iter().map(|identity| identity.info.clone()).collect()
}

/// Two identities, encrypted.
fn encrypted() -> (Home, Vec<IdentityInfo>) {
    let home = home();
    home.store.load().unwrap();
    home.store.generate(Some("work".to_owned()), true).unwrap();
    let all = infos(&home.store.load().unwrap());
    home.store.encrypt(&right()).unwrap();
    (home, all)
}

/// The secret of an identity, as its open file would have it.
fn secret_of(identity: &Identity) -> String {
    bytes::to_hex(identity.key.expose_secret())
}

impl Home {
    fn again(&self) -> Keystore {
        Keystore::new(self.dir.path())
    }

    /// Every byte of every file of the keystore.
    fn content(&self) -> String {
        let files = fs::read_dir(self.path("")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| fs::read_to_string(path).unwrap()).collect()
    }
}

#[test]
fn what_is_encrypted_is_read_with_the_passphrase_and_not_without() {
    let (home, all) = encrypted();
    let secrets: Vec<_> = home.store.load().unwrap().iter().map(secret_of).collect();
    let content = home.content();
    assert!(secrets.iter().all(|secret| !content.contains(secret.as_str())));
    for name in fs::read_dir(home.path("")).unwrap() {
        assert_eq!(mode(&name.unwrap().path()), 0o600);
    }

    let store = home.again();
    assert!(store.is_encrypted().unwrap());
    let locked = store.load().unwrap_err();
    assert!(locked.is_passphrase() && locked.to_string().contains("BIZRA_PASSPHRASE_FILE"));
    assert!(matches!(store.generate(None, true), Err(KeystoreError::Locked { .. })));
    let refused = store.unlock(&wrong()).unwrap_err();
    assert!(refused.is_passphrase(), "{refused}");
    assert!(refused.to_string().ends_with("keystore.key: the passphrase is wrong"), "{refused}");
    store.unlock(&right()).unwrap();
    assert_eq!(infos(&store.load().unwrap()), all);
    // What is made later is encrypted too.
    let made = store.generate(None, false).unwrap();
    let found = store.identities();
    let made = found.iter().find(|identity| identity.info.node_id == made.node_id).unwrap();
    assert!(!home.content().contains(&secret_of(made)));

    assert!(matches!(store.encrypt(&right()), Err(KeystoreError::Encrypted { .. })));
    store.decrypt().unwrap();
    assert!(matches!(store.decrypt(), Err(KeystoreError::Plain { .. })));
    let open = home.again();
    assert!(!open.is_encrypted().unwrap());
    assert_eq!(open.load().unwrap().len(), 3);
}

#[test]
fn a_new_passphrase_takes_the_place_of_the_old_one() {
    let (home, all) = encrypted();
    home.store.change_passphrase(&wrong()).unwrap();
    let store = home.again();
    assert!(store.change_passphrase(&right()).unwrap_err().is_passphrase(), "it is locked");
    assert!(store.unlock(&right()).unwrap_err().is_passphrase());
    store.unlock(&wrong()).unwrap();
    assert_eq!(infos(&store.load().unwrap()), all);
}

#[test]
fn a_damaged_key_file_is_told_from_a_wrong_passphrase() {
    let (home, _) = encrypted();
    let path = home.path("keystore.key");
    let whole = fs::read(&path).unwrap();
    let told = || home.again().unlock(&wrong()).unwrap_err();
    for length in (0..whole.len() - 1).step_by(37) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(!told().is_passphrase(), "{length}: {}", told());
    }
    for bit in (0..8 * (whole.len() - 1)).step_by(211) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        assert!(!told().is_passphrase(), "{bit}: {}", told());
    }
    fs::write(&path, &whole).unwrap();
    assert!(told().is_passphrase());
}

/// The file with something changed, and a checksum that fits, as an attacker would make it.
fn forged(whole: &[u8], change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut file = json::parse(whole).unwrap();
    change(&mut file);
    file.as_object_mut().unwrap().remove("checksum");
    let sum = domain_separated_digest(&json::canonical(&file).unwrap());
    file["checksum"] = json!(sum.to_hex());
    json::canonical(&file).unwrap()
}

#[test]
fn a_hostile_header_cannot_ask_for_the_machine_nor_for_less_safety() {
    let (home, _) = encrypted();
    let path = home.path("keystore.key");
    let whole = fs::read(&path).unwrap();
    for (member, value, problem) in [
        ("memory_kib", json!(64 << 20), "its memory_kib is 67108864, which must be between"),
        ("memory_kib", json!(u32::MAX), "its memory_kib is 4294967295"),
        ("memory_kib", json!(8), "its memory_kib is 8, which must be between 65536 and 1048576"),
        ("passes", json!(11), "its passes is 11, which must be between 3 and 10"),
        ("passes", json!(0), "its passes is 0"),
        ("lanes", json!(17), "its lanes is 17, which must be between 1 and 16"),
        ("lanes", json!(0), "its lanes is 0"),
        ("memory_kib", json!(-1), "newer version"),
        ("name", json!("scrypt"), "newer version"),
        ("salt", json!(""), "changed or cut short"),
    ] {
        fs::write(&path, forged(&whole, |file| file["kdf"][member] = value.clone())).unwrap();
        let told = home.again().unlock(&right()).unwrap_err().to_string();
        assert!(told.contains(problem), "{member} {value}: {told}");
    }
    for (member, value, problem) in [
        ("type", json!("bizra-identity-export"), "not of type bizra-keystore-key"),
        ("version", json!(2), "newer version"),
        ("cipher", json!("none"), "newer version"),
        ("more", json!(1), "newer version"),
        // The header is authenticated: it opens nothing once it is changed.
        ("label", json!("x"), "the passphrase is wrong"),
        ("nonce", json!("00".repeat(24)), "the passphrase is wrong"),
    ] {
        fs::write(&path, forged(&whole, |file| file[member] = value.clone())).unwrap();
        let told = home.again().unlock(&right()).unwrap_err().to_string();
        assert!(told.contains(problem), "{member} {value}: {told}");
    }
}

#[test]
fn an_identity_file_that_was_changed_is_refused() {
    let (home, all) = encrypted();
    let path = home.path(&format!("{}.json", all[0].node_id));
    let other = home.path(&format!("{}.json", all[1].node_id));
    let whole = fs::read_to_string(&path).unwrap();
    let swapped = fs::read_to_string(&other).unwrap();
    let (a, b) = (all[0].public_key.to_hex(), all[1].public_key.to_hex());
    for text in [
        whole.replace("\"label\":\"work\"", "\"label\":\"home\""),
        whole.replace(&a, &b),
        swapped.clone(),
        swapped.replace(&b, &a),
    ] {
        assert_ne!(text, whole);
        fs::write(&path, text).unwrap();
        let told = home.store.load().unwrap_err();
        assert!(!told.is_passphrase() && told.to_string().contains(".json"), "{told}");
    }
}

#[test]
fn a_switch_that_was_cut_off_leaves_a_keystore_that_its_passphrase_opens() {
    let (home, all) = encrypted();
    let key = fs::read(home.path("keystore.key")).unwrap();
    let names: Vec<_> = all.iter().map(|info| format!("{}.json", info.node_id)).collect();
    let sealed: Vec<_> = names.iter().map(|name| fs::read(home.path(name)).unwrap()).collect();
    home.store.decrypt().unwrap();
    let open: Vec<_> = names.iter().map(|name| fs::read(home.path(name)).unwrap()).collect();
    // Every state between the two, in whichever direction it was passed.
    for first_sealed in [false, true] {
        for second_sealed in [false, true] {
            write(&home.path(""), "keystore.key", &key).unwrap();
            for (at, is_sealed) in [first_sealed, second_sealed].into_iter().enumerate() {
                let content = if is_sealed { &sealed[at] } else { &open[at] };
                write(&home.path(""), &names[at], content).unwrap();
            }
            let store = home.again();
            assert!(store.load().unwrap_err().is_passphrase());
            store.unlock(&right()).unwrap();
            let found = store.load().unwrap();
            assert_eq!(infos(&found), all);
            assert!(found.iter().all(|it| !home.content().contains(&secret_of(it))));
        }
    }
    fs::remove_file(home.path("keystore.key")).unwrap();
    assert!(home.again().load().unwrap_err().to_string().contains("data key is gone"));
}

#[test]
fn an_export_is_opened_by_its_passphrase_and_comes_in_once() {
    let (home, all) = encrypted();
    let export = home.store.export(all[0].node_id, &wrong()).unwrap();
    let secret = secret_of(&home.store.load().unwrap()[0]);
    assert!(!String::from_utf8(export.clone()).unwrap().contains(&secret));
    let again = home.store.import(&export, &wrong(), None);
    assert!(matches!(again, Err(KeystoreError::Exists(id)) if id == all[0].node_id), "{again:?}");

    let other = super::home();
    other.store.load().unwrap();
    let before = other.content();
    let refused = other.store.import(&export, &right(), None).unwrap_err();
    assert_eq!(refused.to_string(), "the passphrase is wrong");
    for damaged in [&export[..export.len() / 2], b"", b"{}", b"[]", &[0xff; 64]] {
        let refused = other.store.import(damaged, &wrong(), None).unwrap_err();
        assert!(!refused.is_passphrase(), "{refused}");
    }
    let label = Some("a\nb".to_owned());
    let refused = other.store.import(&export, &wrong(), label).unwrap_err();
    assert!(matches!(refused, KeystoreError::Label));
    assert_eq!(other.content(), before, "nothing was taken in");

    let taken = other.store.import(&export, &wrong(), None).unwrap();
    assert_eq!(taken, IdentityInfo { is_active: false, ..all[0].clone() });
    let found = other.again().load().unwrap();
    assert_eq!(secret_of(found.iter().find(|it| it.info == taken).unwrap()), secret);
    let unknown = NodeId::from_hex(&"00".repeat(16)).unwrap();
    assert!(matches!(other.store.export(unknown, &right()), Err(KeystoreError::Unknown(_))));
}

#[test]
fn the_first_identity_that_comes_in_signs() {
    let (home, all) = encrypted();
    let export = home.store.export(all[0].node_id, &right()).unwrap();
    let other = super::home();
    let taken = other.store.import(&export, &right(), Some("moved".to_owned())).unwrap();
    assert!(taken.is_active && taken.label.as_deref() == Some("moved"));
    assert_eq!(other.again().load().unwrap().len(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_no_export(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let refused = sealed::open(sealed::Kind::Export, &bytes, &right());
        prop_assert!(refused.is_err_and(|error| error != SealedError::Passphrase));
    }
}
