//! Whatever comes from outside is answered: the properties that the fuzz targets check, over inputs
//! that are generated here, and the seeds of the fuzz targets themselves.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;

/// The properties.
#[path = "../fuzz/src/lib.rs"]
pub mod properties;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let read = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.unwrap().path()).unwrap();
    let mut seeds: Vec<Vec<u8>> = fs::read_dir(folder).unwrap().map(read).collect();
    assert!(!seeds.is_empty());
    seeds.sort();
    seeds
}

/// A seed with some of its bytes replaced, cut out or repeated.
fn changed_seed(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), 0_u8..4, any::<u8>()), 0..6);
    (prop::sample::select(seeds(target)), changes).prop_map(|(mut bytes, changes)| {
        for (at, kind, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => _ = bytes.remove(at),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

fn changed_text(target: &'static str) -> impl Strategy<Value = String> {
    changed_seed(target).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn every_seed_is_answered() {
    for bytes in seeds("hex") {
        properties::hex(std::str::from_utf8(&bytes).unwrap());
    }
    seeds("json").iter().for_each(|bytes| properties::json(bytes));
    seeds("envelope").iter().for_each(|bytes| properties::envelope(bytes));
    seeds("gates").iter().for_each(|bytes| properties::gates(bytes));
    for bytes in seeds("constitution") {
        properties::constitution(std::str::from_utf8(&bytes).unwrap());
    }
}

#[test]
fn the_seeds_of_envelopes_are_valid() {
    use bizra_omega::domain::envelope::{Options, verify};
    let options = Options { accept_v1: true, ..Options::default() };
    for bytes in seeds("envelope") {
        let report = verify(&bytes, properties::NOW_MS, &options);
        assert!(report.is_valid(), "{report:?}");
    }
}

proptest! {
    #[test]
    fn hex_of_any_text_is_answered(text in changed_text("hex"), other: String) {
        properties::hex(&text);
        properties::hex(&other);
    }

    #[test]
    fn json_of_any_bytes_is_answered(bytes in changed_seed("json")) {
        properties::json(&bytes);
    }

    #[test]
    fn envelopes_of_any_bytes_are_answered(bytes in changed_seed("envelope")) {
        properties::envelope(&bytes);
    }

    #[test]
    fn constitutions_of_any_text_are_answered(text in changed_text("constitution")) {
        properties::constitution(&text);
    }

    #[test]
    fn gates_over_any_content_answer(bytes in changed_seed("gates"), other: Vec<u8>) {
        properties::gates(&bytes);
        properties::gates(&other);
    }
}
