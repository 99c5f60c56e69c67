//! The log: it only grows, it is found by id and by time, and it stops before the disk is full.

use std::collections::BTreeMap;

use proptest::prelude::*;
use redb::{Database, ReadableTableMetadata, TableDefinition};
use serde_json::json;

use super::super::*;
use super::disk::Disk;
use super::nonce;
use crate::domain::envelope::tests::{NOW_MS, draft, seal};
use crate::domain::envelope::{Draft, Sealed};

const ENVELOPES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("envelopes");
const HEADS: TableDefinition<'_, &[u8; 16], &[u8; Head::BYTES]> =
    TableDefinition::new("envelope_heads");
const TIMES: TableDefinition<'_, (i64, &[u8; 16]), ()> = TableDefinition::new("envelope_times");

fn sealed(id: u16, at_ms: i64) -> Sealed {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    let timestamp_ms = NOW_MS + at_ms;
    seal(Draft { id: EnvelopeId(bytes), timestamp_ms, ..draft(json!({ "n": id })) })
}

fn all() -> Page {
    Page { limit: 1000, since_ms: i64::MIN, after: None }
}

async fn append(store: &Store, sealed: &Sealed) -> Appended {
    let head = Head::of(sealed).unwrap();
    store.append_envelope(head, sealed.to_bytes()).await.unwrap()
}

fn ids(heads: &[Head]) -> Vec<EnvelopeId> {
    heads.iter().map(|head| head.id).collect()
}

#[tokio::test]
async fn the_log_is_listed_newest_first_in_pages() {
    let store = Disk::default().open();
    assert_eq!(store.page(&all()), Ok(Vec::new()));
    let mut made = Vec::new();
    for (id, at_ms) in [(3, 10), (1, 20), (2, 20), (5, 0), (4, 30)] {
        let sealed = sealed(id, at_ms);
        append(&store, &sealed).await;
        made.push(Head::of(&sealed).unwrap());
    }
    made.sort_by_key(|head| std::cmp::Reverse((head.at_ms, head.id)));
    assert_eq!(store.page(&all()), Ok(made.clone()));
    let mut pages = Vec::new();
    let mut page = Page { limit: 2, ..all() };
    loop {
        let heads = store.page(&page).unwrap();
        assert!(heads.len() <= 2);
        page.after = heads.last().map(|last| last.id);
        pages.extend(heads);
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, made);
    let since = store.page(&Page { since_ms: NOW_MS + 20, ..all() }).unwrap();
    assert_eq!(ids(&since), ids(&made[..3]));
    let after = Page { since_ms: NOW_MS + 20, after: Some(made[1].id), ..all() };
    assert_eq!(ids(&store.page(&after).unwrap()), ids(&made[2..3]));
    for nothing in [
        Page { since_ms: i64::MAX, ..all() },
        Page { since_ms: NOW_MS + 20, after: Some(made[4].id), ..all() },
        Page { after: Some(EnvelopeId([9; 16])), ..all() },
        Page { limit: 0, ..all() },
    ] {
        assert_eq!(store.page(&nothing), Ok(Vec::new()), "{nothing:?}");
    }
    for head in made {
        assert_eq!(store.find_head(head.id), Ok(Some(head)));
    }
    assert_eq!(store.find_head(EnvelopeId([9; 16])), Ok(None));
}

#[tokio::test]
async fn a_store_without_an_index_gets_one_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), 0).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..300 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { append(&store, &sealed(id, i64::from(id % 7))).await });
    }
    tasks.join_all().await;
    let before = store.page(&all()).unwrap();
    drop(store);
    // As an earlier version left it; then as an earlier version used it again for one envelope.
    let db = Database::create(dir.path().join(FILE)).unwrap();
    let write = db.begin_write().unwrap();
    write.delete_table(HEADS).unwrap();
    write.delete_table(TIMES).unwrap();
    write.commit().unwrap();
    drop(db);
    let store = Store::open(dir.path(), 0).unwrap();
    assert_eq!(store.page(&all()).unwrap(), before);
    drop(store);
    let db = Database::create(dir.path().join(FILE)).unwrap();
    let write = db.begin_write().unwrap();
    let late = sealed(700, 100);
    write.open_table(ENVELOPES).unwrap().insert(&late.id.0, &late.to_bytes()[..]).unwrap();
    write.commit().unwrap();
    drop(db);
    let store = Store::open(dir.path(), 0).unwrap();
    let after = store.page(&all()).unwrap();
    assert_eq!((after[0].id, &after[1..]), (late.id, &before[..]));
}

#[tokio::test]
async fn a_damaged_entry_without_an_index_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::create(dir.path().join(FILE)).unwrap();
    let write = db.begin_write().unwrap();
    write.open_table(ENVELOPES).unwrap().insert(&[5; 16], &b"{\"id\":"[..]).unwrap();
    write.commit().unwrap();
    drop(db);
    let error = Store::open(dir.path(), 0).unwrap_err().to_string();
    assert!(error.contains(&format!("log entry {} is damaged", EnvelopeId([5; 16]))), "{error}");
}

#[tokio::test]
async fn near_a_full_disk_envelopes_are_refused_and_nonces_are_still_written() {
    let disk = Disk::default();
    let store = disk.open_with_floor(1000);
    disk.set_free(1000);
    assert_eq!(append(&store, &sealed(1, 0)).await, Appended::New);
    disk.set_free(999);
    let refused = sealed(2, 0);
    let head = Head::of(&refused).unwrap();
    let full = store.append_envelope(head, refused.to_bytes()).await;
    assert_eq!(full, Err(StoreError::DiskFull { free: 999, free_min: 1000 }));
    assert_eq!(store.record_nonce(nonce(1), [7; 32], 1000, 0).await, Ok(Recorded::New));
    assert_eq!(store.flush().await, Ok(()));
    assert_eq!(store.broken(), None);
    // With room again it goes on.
    disk.set_free(1000);
    assert_eq!(append(&store, &refused).await, Appended::New);
    assert_eq!(store.page(&all()).unwrap().len(), 2);
}

/// What can be done to a store.
#[derive(Clone, Debug)]
enum Step {
    Append(u16, i64),
    AppendOther(u16),
    Record(u8, i64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u16..20, 0_i64..5).prop_map(|(id, at)| Step::Append(id, at)),
        2 => (0_u16..20).prop_map(Step::AppendOther),
        2 => (0_u8..20, 0_i64..50).prop_map(|(id, closed)| Step::Record(id, closed)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Against a memory of everything that was ever appended.
    #[test]
    fn nothing_changes_or_removes_an_entry(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut disk = Disk::default();
            let mut store = disk.open();
            let mut logged: BTreeMap<EnvelopeId, Sealed> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Append(id, at_ms) => {
                        let sealed = sealed(id, at_ms);
                        let appended = append(&store, &sealed).await;
                        match logged.get(&sealed.id) {
                            Some(first) => {
                                assert_eq!(appended, Appended::Existing(first.to_bytes()));
                            }
                            None => {
                                assert_eq!(appended, Appended::New);
                                logged.insert(sealed.id, sealed);
                            }
                        }
                    }
                    Step::AppendOther(id) => {
                        let first = sealed(id, 0);
                        let other = seal(Draft { id: first.id, ..draft(json!("other")) });
                        if logged.contains_key(&first.id) {
                            assert!(matches!(append(&store, &other).await, Appended::Existing(_)));
                        }
                    }
                    Step::Record(id, closed) => {
                        store.record_nonce(nonce(id), [7; 32], 40, closed).await.unwrap();
                    }
                    Step::Reopen => {
                        drop(store);
                        disk = disk.after_power_cut();
                        store = disk.open();
                    }
                }
                for (id, sealed) in &logged {
                    assert_eq!(store.find_envelope(*id), Ok(Some(sealed.to_bytes())));
                    assert_eq!(store.find_head(*id), Ok(Some(Head::of(sealed).unwrap())));
                }
                assert_eq!(store.page(&all()).unwrap().len(), logged.len());
            }
        });
    }
}

#[tokio::test]
async fn every_table_holds_one_row_for_an_envelope() {
    let store = Disk::default().open();
    for id in 0..10 {
        append(&store, &sealed(id, 0)).await;
        append(&store, &sealed(id, 1)).await;
    }
    let rows = store.read(|read| {
        let envelopes = read.open_table(ENVELOPES)?.len()?;
        Ok((envelopes, read.open_table(HEADS)?.len()?, read.open_table(TIMES)?.len()?))
    });
    assert_eq!(rows, Ok((10, 10, 10)));
}
