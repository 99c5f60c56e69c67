//! Rotation and activation.

use super::*;
use crate::domain::rotation::Rotation;

const AT_MS: i64 = 1_767_225_600_123;

#[test]
fn a_rotated_key_signs_no_more_and_its_record_stays() {
    let home = home();
    let first = home.store.load().unwrap()[0].info.clone();
    let rotated = home.store.rotate(Some("new".to_owned()), AT_MS).unwrap();
    let second = rotated.new.clone();
    assert!(second.is_active && second.label.as_deref() == Some("new"));
    assert_eq!(
        (rotated.rotation.old(), rotated.rotation.new_key()),
        (&first.public_key, &second.public_key)
    );
    let third = home.store.rotate(None, AT_MS + 1).unwrap().new;
    assert_eq!(third.label.as_deref(), Some("new"), "it keeps the label");

    let all = Keystore::new(home.dir.path()).load().unwrap();
    assert_eq!((all.len(), all[0].info.clone()), (3, third.clone()));
    let found = all.iter().find(|it| it.info.node_id == first.node_id).unwrap();
    assert_eq!(found.info.rotation, Some(rotated.rotation));
    // The file alone says so to anybody.
    let record = fs::read(home.path(&format!("{}.rotation", first.node_id))).unwrap();
    assert_eq!(Rotation::parse(&record).unwrap().new_key(), &second.public_key);

    for retired in [first.node_id, second.node_id] {
        let refused = home.store.activate(retired);
        assert!(matches!(refused, Err(KeystoreError::Retired { old, .. }) if old == retired));
    }
    assert_eq!(home.store.identities()[0].info, third);
}

#[test]
fn an_identity_is_activated_and_stays_so() {
    let home = home();
    let first = home.store.load().unwrap()[0].info.clone();
    let spare = home.store.generate(None, false).unwrap();
    let activated = home.store.activate(spare.node_id).unwrap();
    assert_eq!(activated, IdentityInfo { is_active: true, ..spare.clone() });
    assert_eq!(home.store.activate(spare.node_id).unwrap(), activated, "twice is like once");
    assert_eq!(home.store.identities()[0].info, activated);
    assert_eq!(Keystore::new(home.dir.path()).load().unwrap()[0].info, activated);
    let unknown = NodeId::from_hex(&"00".repeat(16)).unwrap();
    assert!(matches!(home.store.activate(unknown), Err(KeystoreError::Unknown(_))));
    home.store.activate(first.node_id).unwrap();
    assert_eq!(home.store.identities()[0].info.node_id, first.node_id);
}

/// Every state that a crash can leave, step by step.
#[test]
fn a_rotation_that_was_cut_off_is_done_whole_or_not_at_all() {
    let home = home();
    let old = home.store.load().unwrap()[0].info.clone();
    let pointer = fs::read(home.path("active")).unwrap();
    let new = home.store.rotate(None, AT_MS).unwrap().new;
    let (json, pending) = (
        home.path(&format!("{}.json", new.node_id)),
        home.path(&format!("{}.pending", new.node_id)),
    );
    let record = home.path(&format!("{}.rotation", old.node_id));
    let record_text = fs::read(&record).unwrap();

    // Named, but not active yet.
    fs::write(home.path("active"), &pointer).unwrap();
    assert_eq!(home.store.load().unwrap()[0].info, new);
    // Recorded, but not named yet.
    fs::write(home.path("active"), &pointer).unwrap();
    fs::rename(&json, &pending).unwrap();
    assert_eq!(home.store.load().unwrap()[0].info, new);
    assert!(json.exists() && !pending.exists());
    assert_eq!(fs::read_to_string(home.path("active")).unwrap(), format!("{}\n", new.node_id));
    // Not recorded.
    fs::write(home.path("active"), &pointer).unwrap();
    fs::rename(&json, &pending).unwrap();
    fs::remove_file(&record).unwrap();
    let all = home.store.load().unwrap();
    assert_eq!((all.len(), &all[0].info), (1, &old));
    assert!(!pending.exists(), "a key that never was is not kept");
    // Recorded, and the new key is gone: nothing may sign instead.
    write(&home.path(""), &format!("{}.rotation", old.node_id), &record_text).unwrap();
    assert!(home.refusal().contains("does not name an identity"));
}

#[test]
fn a_record_that_does_not_hold_is_refused_with_its_name() {
    let home = home();
    let first = home.store.load().unwrap()[0].info.node_id;
    home.store.rotate(None, AT_MS).unwrap();
    let name = format!("{first}.rotation");
    let whole = fs::read_to_string(home.path(&name)).unwrap();
    for (text, problem) in [
        (whole.replace("600.123", "600.124").replace(".123Z", ".124Z"), "did not sign"),
        (String::new(), "not a rotation record"),
        (whole[..whole.len() / 2].to_owned(), "not a rotation record"),
    ] {
        fs::write(home.path(&name), text).unwrap();
        let told = home.refusal();
        assert!(told.contains(&name) && told.contains(problem), "{problem}: {told}");
    }
    fs::write(home.path(&name), &whole).unwrap();
    fs::rename(home.path(&name), home.path(&format!("{}.rotation", "00".repeat(16)))).unwrap();
    assert!(home.refusal().contains("another identity"));
}

#[test]
fn a_rotation_that_cannot_be_recorded_leaves_nothing() {
    let home = home();
    let old = home.store.load().unwrap()[0].info.clone();
    // A directory in the record's place: the rename fails.
    let record = home.path(&format!("{}.rotation", old.node_id));
    fs::create_dir(&record).unwrap();
    assert!(home.store.rotate(None, AT_MS).is_err());
    fs::remove_dir(&record).unwrap();
    assert_eq!(home.store.identities()[0].info, old);
    let all = home.store.load().unwrap();
    assert_eq!((all.len(), &all[0].info), (1, &old));
    assert!(home.store.rotate(None, -1).is_err(), "a time that cannot be written");
    assert_eq!(home.store.load().unwrap().len(), 1);
}

#[test]
fn a_rotation_is_not_begun_where_the_active_key_is_unknown() {
    let home = home();
    let old = home.store.load().unwrap()[0].info.clone();
    fs::remove_file(home.path("active")).unwrap();
    fs::create_dir(home.path("active")).unwrap();
    assert!(home.store.rotate(None, AT_MS).is_err());
    fs::remove_dir(home.path("active")).unwrap();
    write(&home.path(""), "active", old.node_id.to_hex().as_bytes()).unwrap();
    let all = home.store.load().unwrap();
    assert_eq!((all.len(), &all[0].info), (1, &old));
}

#[test]
fn a_full_keystore_is_not_rotated() {
    let home = home();
    for _ in 0..IDENTITIES_MAX {
        home.store.generate(None, false).unwrap();
    }
    let full = home.store.rotate(None, AT_MS);
    assert!(matches!(full, Err(KeystoreError::Full { .. })), "{full:?}");
}

#[test]
fn looking_at_a_keystore_makes_none() {
    let home = home();
    assert!(home.store.read().unwrap().is_empty());
    assert!(!home.path("").exists());
    let id = NodeId::from_hex(&"00".repeat(16)).unwrap();
    for refused in [home.store.activate(id).map(drop), home.store.rotate(None, 0).map(drop)] {
        assert!(matches!(refused, Err(KeystoreError::Empty { .. })), "{refused:?}");
    }
    home.store.load().unwrap();
    assert_eq!(home.store.read().unwrap().len(), 1);
}
