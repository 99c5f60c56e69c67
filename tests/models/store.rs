//! The store itself: importing, verifying, removing, and what processes leave for one another.

use std::fs;

use bizra_omega::adapters::models::{
    Installed, ModelStore, ModelStoreError, Stop, hold, installed,
};
use bizra_omega::domain::model_store::Presence;
use bizra_omega::domain::model_store::catalogue::Catalogue;
use bizra_omega::domain::model_store::listing::Condition;

use crate::hub::{MODEL, Place, name, parsed, sha256};

impl Place {
    fn import(&self, as_name: Option<&str>) -> Result<Installed, ModelStoreError> {
        let file = self.dir.path().join("Some Model.gguf");
        fs::write(&file, MODEL).unwrap();
        let none = Catalogue::default();
        self.store.import(&file, as_name.map(name), &none, false, 1, &|_| {})
    }

    fn verify(&self) -> Vec<Condition> {
        let verified = self.store.verify(None, &Stop::default(), &|_| {}).unwrap();
        verified.into_iter().map(|verified| verified.condition).collect()
    }

    fn remove(&self, what: &str, is_forced: bool) -> Result<u64, ModelStoreError> {
        let removed = self.store.remove(&name(what), &parsed(b"x"), is_forced)?;
        Ok(removed.bytes_freed)
    }
}

#[test]
fn an_import_is_a_copy_with_the_name_of_its_file_or_its_entry() {
    let place = Place::new();
    let imported = place.import(None).unwrap();
    assert_eq!(imported.name, "some-model");
    assert_eq!(fs::read(&imported.path).unwrap(), MODEL);
    let file = place.dir.path().join("Some Model.gguf");
    fs::write(&file, b"changed").unwrap();
    assert_eq!(place.verify(), [Condition::Ok]);

    // The catalogue knows it by its digest, whatever the file is called.
    fs::write(&file, MODEL).unwrap();
    let known = parsed(MODEL);
    let imported = place.store.import(&file, None, &known, false, 1, &|_| {}).unwrap();
    assert_eq!(imported.name, "demo");
    let listed = place.store.list(&known).unwrap();
    assert_eq!(listed[0].licence.as_deref(), Some("MIT"));
    // Two names, one file.
    assert_eq!(place.files().iter().filter(|file| file.starts_with("blobs")).count(), 1);
}

#[test]
fn an_import_may_be_a_link() {
    let place = Place::new();
    let file = place.dir.path().join("m.gguf");
    fs::write(&file, MODEL).unwrap();
    let none = Catalogue::default();
    let linked = place.store.import(&file, None, &none, true, 1, &|_| {}).unwrap();
    assert_eq!(linked.sha256, sha256(MODEL).to_hex());
    assert_eq!(fs::read(&linked.path).unwrap(), MODEL);
    // A link follows its file, and verifying finds that.
    fs::write(&file, b"changed").unwrap();
    assert!(matches!(place.verify()[..], [Condition::Damaged { .. }]));
}

#[test]
fn what_cannot_be_imported_leaves_nothing() {
    let place = Place::new();
    let none = Catalogue::default();
    let dir = place.dir.path();
    fs::write(dir.join("zip.gguf"), b"PK\x03\x04").unwrap();
    fs::write(dir.join("empty.gguf"), b"").unwrap();
    fs::write(dir.join("half.gguf"), &MODEL[..MODEL.len() / 2]).unwrap();
    for (file, reason) in [
        ("zip.gguf", "does not begin with GGUF"),
        ("empty.gguf", "is empty"),
        ("half.gguf", "download it again"),
        ("absent.gguf", "No such file"),
        (".", "no regular file"),
    ] {
        let imported = place.store.import(&dir.join(file), None, &none, false, 1, &|_| {});
        let error = imported.unwrap_err().to_string();
        assert!(error.contains(reason), "{file}: {error}");
    }
    let full = ModelStore::new(dir, 0).with_free_bytes(|_| Some(10));
    fs::write(dir.join("good.gguf"), MODEL).unwrap();
    let imported = full.import(&dir.join("good.gguf"), None, &none, false, 1, &|_| {});
    assert!(matches!(imported.unwrap_err(), ModelStoreError::NoRoom(_)));
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn a_name_keeps_its_model() {
    let place = Place::new();
    place.import(Some("a")).unwrap();
    let mut other = MODEL.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let file = place.dir.path().join("other.gguf");
    fs::write(&file, other).unwrap();
    let none = Catalogue::default();
    let imported = place.store.import(&file, Some(name("a")), &none, false, 1, &|_| {});
    assert!(imported.unwrap_err().to_string().contains("already with other content"));
    assert_eq!(place.files().len(), 2, "{:?}", place.files());
    assert_eq!(place.verify(), [Condition::Ok]);
}

#[test]
fn damage_is_found_and_told() {
    let place = Place::new();
    let path = place.import(Some("a")).unwrap().path;
    assert_eq!(place.verify(), [Condition::Ok]);
    let mut damaged = MODEL.to_vec();
    damaged[1_000_000] ^= 1;
    for (bytes, reason) in [(&damaged[..], "its SHA-256 is"), (&MODEL[1..], "bytes where")] {
        fs::write(&path, bytes).unwrap();
        let [Condition::Damaged { reason: found }] = &place.verify()[..] else { panic!() };
        assert!(found.contains(reason), "{found}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(place.verify(), [Condition::Missing]);
    let unknown = place.store.verify(Some(&name("b")), &Stop::default(), &|_| {});
    assert!(unknown.unwrap_err().to_string().contains("there is: a"));
}

#[test]
fn a_removal_frees_what_no_other_name_needs() {
    let place = Place::new();
    let path = place.import(Some("a")).unwrap().path;
    place.import(Some("b")).unwrap();
    assert_eq!(place.remove("a", false).unwrap(), 0);
    assert!(path.exists());
    assert_eq!(place.remove("b", false).unwrap(), MODEL.len() as u64);
    assert_eq!(place.files(), ["index.json"]);
    let error = place.remove("b", false).unwrap_err();
    assert!(matches!(error, ModelStoreError::Unknown { .. }), "{error}");
    // Known to the catalogue, but nothing of it is here.
    assert!(place.remove("demo", false).is_err());
}

#[test]
fn a_model_in_use_is_kept_unless_it_is_forced() {
    let place = Place::new();
    let path = place.import(Some("a")).unwrap().path;
    let (first, second) = (hold(&path).unwrap(), hold(&path).unwrap());
    let presence = || place.store.list(&Catalogue::default()).unwrap()[0].presence;
    drop(first);
    assert_eq!(presence(), Presence::Loaded);
    let error = place.remove("a", false).unwrap_err();
    assert!(matches!(error, ModelStoreError::InUse(_)), "{error}");
    assert_eq!(installed(place.dir.path()).unwrap().len(), 1);
    drop(second);
    assert_eq!(presence(), Presence::Installed);
    let held = hold(&path).unwrap();
    place.remove("a", true).unwrap();
    assert!(!path.exists() && installed(place.dir.path()).unwrap().is_empty());
    drop(held);
}

#[test]
fn what_a_crash_left_is_cleared_away() {
    let place = Place::new();
    place.import(Some("a")).unwrap();
    let models = place.dir.path().join("models");
    // An import that was cut off, a file without a name, a half-written index.
    fs::write(models.join("partial/import-0123.part"), b"half").unwrap();
    fs::write(models.join("blobs/sha256").join("0".repeat(64)), b"nameless").unwrap();
    fs::write(models.join(".tmp-0123"), b"{").unwrap();
    fs::write(models.join("blobs/sha256/README"), b"not ours").unwrap();
    place.import(Some("b")).unwrap();
    assert!(!models.join("partial/import-0123.part").exists());
    place.remove("a", false).unwrap();
    let blob = format!("blobs/sha256/{}", sha256(MODEL));
    assert_eq!(place.files(), ["blobs/sha256/README", blob.as_str(), "index.json"]);
}

#[test]
fn a_broken_index_is_told_and_kept() {
    let place = Place::new();
    place.import(Some("a")).unwrap();
    let index = place.dir.path().join("models/index.json");
    fs::write(&index, b"{\"version\":1,").unwrap();
    let error = installed(place.dir.path()).unwrap_err().to_string();
    assert!(error.contains("the index is damaged"), "{error}");
    assert!(place.import(Some("b")).is_err() && place.remove("a", true).is_err());
    assert_eq!(fs::read(&index).unwrap(), b"{\"version\":1,");
}

#[test]
fn many_processes_change_the_index_and_none_is_lost() {
    let place = Place::new();
    place.import(Some("m")).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let place = &place;
            scope.spawn(move || {
                let file = place.dir.path().join("Some Model.gguf");
                let none = Catalogue::default();
                for n in 0..4 {
                    let as_name = Some(name(&format!("m{worker}-{n}")));
                    place.store.import(&file, as_name, &none, false, 1, &|_| {}).unwrap();
                }
            });
        }
    });
    assert_eq!(installed(place.dir.path()).unwrap().len(), 17);
}
