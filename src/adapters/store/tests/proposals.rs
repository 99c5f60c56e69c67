//! Proposals and decisions: numbered without a gap, kept within bounds, whatever the disk does.

use super::super::*;
use super::disk::Disk;
use crate::domain::federation::tests::{decided, draft, pending};
use crate::domain::federation::{Bounds, Draft, Outcome, Page, Proposal, Record};

const ALL: Page = Page { limit: 100, after: None };

/// A proposal of this number from this source, as it waits.
fn record(number: u32, source: u8) -> Record {
    let draft = Draft {
        pattern_id: format!("pat_{number}"),
        source_node: format!("{source:02x}").repeat(16),
        ..draft()
    };
    pending(Proposal::new(draft).unwrap())
}

fn bounds(kept_max: u64, per_source_max: u64) -> Bounds {
    Bounds { kept_max, per_source_max, pending_max: 4 }
}

async fn commit(store: &Store, record: &Record, bounds: Bounds) -> u64 {
    assert_eq!(store.keep_proposal(record, bounds).await, Ok(Kept::New));
    let height = store.decisions().unwrap().height + 1;
    assert_eq!(store.decide_proposal(&decided(record.clone(), height)).await, Ok(Decided::New));
    height
}

fn patterns(store: &Store) -> Vec<String> {
    let all = store.proposals(&ALL).unwrap();
    all.iter().map(|record| record.proposal.pattern_id().to_owned()).collect()
}

#[tokio::test]
async fn a_proposal_is_kept_once_and_decided_once() {
    let store = Disk::default().open();
    let first = record(1, 1);
    assert_eq!(store.decisions(), Ok(Decisions::default()));
    assert_eq!(store.find_proposal(first.id()), Ok(None));
    assert_eq!(store.proposals(&ALL), Ok(Vec::new()));
    assert_eq!(store.pending_proposals(), Ok(Vec::new()));
    assert_eq!(store.decide_proposal(&decided(first.clone(), 1)).await, Ok(Decided::Unknown));

    assert_eq!(store.keep_proposal(&first, Bounds::default()).await, Ok(Kept::New));
    assert_eq!(store.pending_proposals(), Ok(vec![first.clone()]));
    let again = store.keep_proposal(&first, Bounds::default()).await;
    assert_eq!(again, Ok(Kept::Existing(Box::new(first.clone()))));

    // Neither a gap nor a repeat.
    for height in [2, 3] {
        let wrong = store.decide_proposal(&decided(first.clone(), height)).await;
        assert_eq!(wrong, Ok(Decided::Behind(0)));
    }
    let done = decided(first.clone(), 1);
    assert_eq!(store.decide_proposal(&done).await, Ok(Decided::New));
    let expired = Record { outcome: Outcome::Expired, ..first.clone() };
    for other in [&done, &expired] {
        let again = store.decide_proposal(other).await;
        assert_eq!(again, Ok(Decided::Existing(Box::new(done.clone()))));
    }
    assert_eq!(store.find_proposal(first.id()), Ok(Some(done)));
    assert_eq!(store.decisions(), Ok(Decisions { height: 1, patterns: 1, pending: 0 }));

    let second = record(2, 1);
    store.keep_proposal(&second, Bounds::default()).await.unwrap();
    let repeated = store.decide_proposal(&decided(second.clone(), 1)).await;
    assert_eq!(repeated, Ok(Decided::Behind(1)));
    // What expires takes no height.
    let expired = Record { outcome: Outcome::Expired, ..second };
    assert_eq!(store.decide_proposal(&expired).await, Ok(Decided::New));
    assert_eq!(store.decisions(), Ok(Decisions { height: 1, patterns: 1, pending: 0 }));
}

#[tokio::test]
async fn the_oldest_decided_ones_go_and_heights_go_on() {
    let store = Disk::default().open();
    let bounds = bounds(3, 3);
    let waiting = record(0, 9);
    store.keep_proposal(&waiting, bounds).await.unwrap();
    for number in 1..=5 {
        assert_eq!(commit(&store, &record(number, 1), bounds).await, u64::from(number));
    }
    // What waits is never let go, however old.
    assert_eq!(patterns(&store), ["pat_5", "pat_4", "pat_0"]);
    assert_eq!(store.decisions(), Ok(Decisions { height: 5, patterns: 2, pending: 1 }));
    // Proposed again, what was let go is a new proposal with a height of its own.
    assert_eq!(commit(&store, &record(1, 1), bounds).await, 6);
    assert_eq!(patterns(&store), ["pat_1", "pat_5", "pat_0"]);
}

#[tokio::test]
async fn no_source_drives_out_the_others() {
    let store = Disk::default().open();
    let bounds = bounds(100, 2);
    commit(&store, &record(1, 1), bounds).await;
    for number in 2..=9 {
        commit(&store, &record(number, 2), bounds).await;
    }
    assert_eq!(patterns(&store), ["pat_9", "pat_8", "pat_1"]);
    for number in 10..=11 {
        commit(&store, &record(number, 1), bounds).await;
    }
    assert_eq!(patterns(&store), ["pat_11", "pat_10", "pat_9", "pat_8"]);
}

#[tokio::test]
async fn only_so_many_wait() {
    let store = Disk::default().open();
    let bounds = bounds(100, 100);
    for number in 0..4 {
        assert_eq!(store.keep_proposal(&record(number, 1), bounds).await, Ok(Kept::New));
    }
    assert_eq!(store.keep_proposal(&record(4, 2), bounds).await, Ok(Kept::Crowded));
    assert_eq!(store.find_proposal(record(4, 2).id()), Ok(None));
    let refused = Outcome::Rejected { code: "x".into(), reason: "y".into() };
    let refused = Record { outcome: refused, ..record(5, 2) };
    assert_eq!(store.keep_proposal(&refused, bounds).await, Ok(Kept::New), "it does not wait");
    assert_eq!(store.pending_proposals().unwrap().len(), 4);
}

#[tokio::test]
async fn a_page_begins_after_the_one_before() {
    let store = Disk::default().open();
    for number in 0..5 {
        commit(&store, &record(number, 1), Bounds::default()).await;
    }
    let all = store.proposals(&ALL).unwrap();
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = store.proposals(&Page { limit: 2, after }).unwrap();
        after = page.last().map(Record::id);
        paged.extend(page);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
    assert_eq!(all.len(), 5);
    let unknown = Page { limit: 2, after: Some(record(9, 9).id()) };
    assert_eq!(store.proposals(&unknown), Ok(Vec::new()));
}

#[tokio::test]
async fn a_pattern_counts_once_for_as_long_as_a_decision_speaks_for_it() {
    let store = Disk::default().open();
    let bounds = bounds(2, 2);
    let of_one_pattern = |confidence| {
        let draft = Draft { confidence, source_node: "01".repeat(16), ..draft() };
        pending(Proposal::new(draft).unwrap())
    };
    commit(&store, &of_one_pattern(0.96), bounds).await;
    commit(&store, &of_one_pattern(0.97), bounds).await;
    assert_eq!(store.decisions().unwrap().patterns, 1);
    commit(&store, &record(1, 1), bounds).await;
    assert_eq!(store.decisions().unwrap().patterns, 2, "the later decision still stands");
    commit(&store, &record(2, 1), bounds).await;
    assert_eq!(store.decisions().unwrap().patterns, 2, "and goes with its record");
}

#[tokio::test]
async fn a_decision_is_whole_or_not_at_all_wherever_the_power_is_cut() {
    let disk = Disk::default();
    let store = disk.open();
    let mut cuts = 0;
    for number in 1..=8 {
        let record = record(number, 1);
        let height = u64::from(number);
        let done = decided(record.clone(), height);
        disk.record_cuts(true);
        store.keep_proposal(&record, Bounds::default()).await.unwrap();
        store.decide_proposal(&done).await.unwrap();
        disk.record_cuts(false);
        for cut in disk.take_cuts() {
            let after = cut.open();
            let decisions = after.decisions().unwrap();
            let found = after.find_proposal(record.id()).unwrap();
            let expected = match &found {
                None => (height - 1, 0),
                Some(found) if found.is_pending() => (height - 1, 1),
                Some(found) => {
                    assert_eq!(found, &done);
                    (height, 0)
                }
            };
            assert_eq!((decisions.height, decisions.pending), expected);
            // Whoever goes on from there decides the same height, once.
            if found.is_none() {
                after.keep_proposal(&record, Bounds::default()).await.unwrap();
            }
            let again = after.decide_proposal(&done).await.unwrap();
            assert_eq!(again == Decided::New, expected.0 == height - 1);
            assert_eq!(after.decisions().unwrap().height, height);
            cuts += 1;
        }
        // What was acknowledged is there after a cut at that moment.
        let after = disk.after_power_cut().open();
        assert_eq!(after.find_proposal(record.id()), Ok(Some(done)));
    }
    assert!(cuts >= 16, "{cuts}");
}

#[tokio::test]
async fn below_the_floor_nothing_is_proposed_and_what_waits_is_decided() {
    let disk = Disk::default();
    let store = disk.open_with_floor(1000);
    disk.set_free(2000);
    let first = record(1, 1);
    store.keep_proposal(&first, Bounds::default()).await.unwrap();
    disk.set_free(10);
    let refused = store.keep_proposal(&record(2, 1), Bounds::default()).await;
    assert!(matches!(refused, Err(StoreError::DiskFull { .. })), "{refused:?}");
    assert_eq!(store.decide_proposal(&decided(first, 1)).await, Ok(Decided::New));
}

#[tokio::test]
async fn what_is_damaged_is_an_error_and_no_record() {
    let disk = Disk::default();
    let first = record(1, 1);
    disk.open().keep_proposal(&first, Bounds::default()).await.unwrap();
    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    type Place = (u64, &'static [u8; 16], &'static [u8]);
    let table: redb::TableDefinition<'_, &[u8; 32], Place> =
        redb::TableDefinition::new("proposals");
    let write = db.begin_write().unwrap();
    write.open_table(table).unwrap().insert(&first.id().0, (1, &[1; 16], &b"{}"[..])).unwrap();
    write.commit().unwrap();
    drop(db);
    let found = disk.open().find_proposal(first.id());
    assert!(matches!(&found, Err(StoreError::Read(why)) if why.contains("damaged")), "{found:?}");
}
