//! Patterns on disk: whole or not at all, in the revision that they say, put right if they are not.

use std::sync::Arc;

use super::super::*;
use super::disk::Disk;
use crate::domain::pattern::ledger::{Ledger, Row};
use crate::domain::pattern::tests::lesson;
use crate::domain::pattern::{Bounds, Page, Pattern, PatternId, Remembered};

const ALL: Page = Page { limit: 100, after: None };

/// A ledger as the store has it, and how whole that is.
fn load(store: &Store) -> (Ledger, Loaded) {
    let mut ledger = Ledger::new(Bounds::default());
    let loaded = store.load_patterns(|pattern, unit| {
        ledger.restore(pattern, unit).map_err(|error| error.to_string())
    });
    let loaded = loaded.unwrap();
    ledger.settle(loaded.revision);
    (ledger, loaded)
}

fn learn(ledger: &mut Ledger, number: u8, source: &str) -> PatternId {
    let mut numbers = [0.0; 8];
    numbers[usize::from(number % 8)] = 1.0;
    let lesson = lesson(&format!("lesson {number}"), &[&number.to_string()], source, &numbers);
    ledger.learn(&lesson, i64::from(number)).unwrap().pattern.id
}

async fn write(store: &Store, ledger: &mut Ledger) -> Result<Written, StoreError> {
    let (rows, revision) = ledger.take_rows();
    let written = store.write_patterns(PatternBatch::of(&rows, revision)?).await?;
    ledger.settle(revision);
    Ok(written)
}

fn sorted(ledger: &Ledger) -> Vec<Arc<Pattern>> {
    let mut all: Vec<_> = ledger.view().patterns().cloned().collect();
    all.sort_by_key(|pattern| pattern.id);
    all
}

#[tokio::test]
async fn what_is_written_is_read_back_and_what_is_forgotten_is_gone() {
    let store = Disk::default().open();
    let (mut ledger, loaded) = load(&store);
    assert_eq!(loaded, Loaded { revision: 0, is_whole: true });
    assert_eq!(store.patterns(&ALL), Ok(Vec::new()));
    assert_eq!(store.find_pattern(PatternId([1; 16])), Ok(None));
    assert_eq!(store.pattern_texts(&[PatternId([1; 16])]), Ok(vec![None]));
    let ids: Vec<_> = (1..=5).map(|number| learn(&mut ledger, number, "a")).collect();
    learn(&mut ledger, 1, "b");
    assert_eq!(write(&store, &mut ledger).await, Ok(Written::Done));
    ledger.pin(ids[1], true).unwrap();
    ledger.forget(ids[3]).unwrap();
    assert_eq!(write(&store, &mut ledger).await, Ok(Written::Done));

    let (again, loaded) = load(&store);
    assert_eq!(loaded, Loaded { revision: 2, is_whole: true });
    assert_eq!(store.pattern_revision(), Ok(2));
    assert_eq!(sorted(&again), sorted(&ledger));
    for pattern in sorted(&ledger) {
        assert_eq!(again.unit(pattern.id), ledger.unit(pattern.id));
        let content = format!("lesson {}", pattern.number);
        let found = store.find_pattern(pattern.id).unwrap();
        assert_eq!(found, Some(Remembered { pattern, content }));
    }
    assert_eq!(store.find_pattern(ids[3]), Ok(None));
    assert_eq!(
        store.pattern_texts(&[ids[4], ids[3], ids[0]]),
        Ok(vec![Some("lesson 5".into()), None, Some("lesson 1".into())])
    );
    // Newest first, page by page.
    let numbers = |page: &Page| {
        let listed = store.patterns(page).unwrap();
        listed.iter().map(|it| it.pattern.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&ALL), [5, 3, 2, 1]);
    assert_eq!(numbers(&Page { limit: 2, after: None }), [5, 3]);
    assert_eq!(numbers(&Page { limit: 2, after: Some(ids[2]) }), [2, 1]);
    assert_eq!(
        numbers(&Page { limit: 2, after: Some(ids[3]) }),
        Vec::<u64>::new(),
        "it is not held"
    );
}

#[tokio::test]
async fn a_change_that_does_not_follow_on_the_last_is_refused_whole() {
    let store = Disk::default().open();
    let (mut first, _) = load(&store);
    let (mut second, _) = load(&store);
    learn(&mut first, 1, "a");
    assert_eq!(write(&store, &mut first).await, Ok(Written::Done));
    learn(&mut second, 2, "a");
    assert_eq!(write(&store, &mut second).await, Ok(Written::Behind(1)));
    assert_eq!(sorted(&load(&store).0), sorted(&first));
}

#[tokio::test]
async fn a_batch_is_whole_or_not_at_all_wherever_the_power_is_cut() {
    let disk = Disk::default();
    let store = disk.open();
    let (mut ledger, _) = load(&store);
    let mut cuts = 0;
    for turn in 0..12_u8 {
        let before = sorted(&ledger);
        let ids: Vec<_> = (0..4).map(|it| learn(&mut ledger, 4 * turn + it, "a")).collect();
        if turn % 3 == 2 {
            ledger.forget(ids[0]).unwrap();
            ledger.forget(before[0].id).unwrap();
            ledger.pin(before[1].id, true).unwrap();
        }
        disk.record_cuts(true);
        assert_eq!(write(&store, &mut ledger).await, Ok(Written::Done));
        disk.record_cuts(false);
        let after = sorted(&ledger);
        for cut in disk.take_cuts() {
            let (found, loaded) = load(&cut.open());
            assert!(loaded.is_whole);
            let found = sorted(&found);
            let is_before = loaded.revision == u64::from(turn);
            assert_eq!(found, if is_before { before.clone() } else { after.clone() });
            cuts += 1;
        }
        // What was acknowledged is there after a cut at that moment.
        assert_eq!(sorted(&load(&disk.after_power_cut().open()).0), after);
    }
    assert!(cuts >= 24, "{cuts}");
}

#[tokio::test]
async fn below_the_floor_nothing_is_learned_and_everything_else_goes_on() {
    let disk = Disk::default();
    let store = disk.open_with_floor(1000);
    disk.set_free(2000);
    let (mut ledger, _) = load(&store);
    let id = learn(&mut ledger, 1, "a");
    write(&store, &mut ledger).await.unwrap();
    disk.set_free(10);
    learn(&mut ledger, 2, "a");
    let (rows, revision) = ledger.take_rows();
    let refused = store.write_patterns(PatternBatch::of(&rows, revision).unwrap()).await;
    assert!(matches!(refused, Err(StoreError::DiskFull { .. })), "{refused:?}");
    ledger.undo();
    ledger.forget(id).unwrap();
    assert_eq!(write(&store, &mut ledger).await, Ok(Written::Done));
    assert!(load(&store).0.view().patterns().next().is_none());
}

type Id = &'static [u8; 16];

/// Does something to a table that the node never does.
fn spoil(disk: &Disk, spoil: impl FnOnce(&redb::WriteTransaction)) {
    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    let write = db.begin_write().unwrap();
    spoil(&write);
    write.commit().unwrap();
}

fn table<V: redb::Value + 'static>(name: &str) -> redb::TableDefinition<'_, Id, V> {
    redb::TableDefinition::new(name)
}

#[tokio::test]
async fn tables_that_do_not_agree_are_put_right() {
    let order: redb::TableDefinition<'_, u64, Id> = redb::TableDefinition::new("pattern_order");
    type Spoil = Box<dyn Fn(&redb::WriteTransaction, PatternId)>;
    let cases: Vec<(&str, Spoil, Mended, usize)> = vec![
        (
            "a vector is missing",
            Box::new(|write, id| {
                let mut vectors = write.open_table(table::<&[u8]>("pattern_vectors")).unwrap();
                vectors.remove(&id.0).unwrap().unwrap();
            }),
            Mended { removed: 1, ..Mended::default() },
            2,
        ),
        (
            "a vector is cut off",
            Box::new(|write, id| {
                let mut vectors = write.open_table(table::<&[u8]>("pattern_vectors")).unwrap();
                vectors.insert(&id.0, &[0; 5][..]).unwrap();
            }),
            Mended { removed: 1, ..Mended::default() },
            2,
        ),
        (
            "a text is missing",
            Box::new(|write, id| {
                let mut texts = write.open_table(table::<&str>("pattern_texts")).unwrap();
                texts.remove(&id.0).unwrap().unwrap();
            }),
            Mended { removed: 1, ..Mended::default() },
            2,
        ),
        (
            "a pattern is missing",
            Box::new(|write, id| {
                let mut patterns = write.open_table(table::<&[u8]>("patterns")).unwrap();
                patterns.remove(&id.0).unwrap().unwrap();
            }),
            // Its vector, its text, its number and its saying.
            Mended { stray: 4, ..Mended::default() },
            2,
        ),
        (
            "numbers are missing",
            Box::new(move |write, _| {
                let mut order = write.open_table(order).unwrap();
                order.remove(1).unwrap().unwrap();
                order.remove(3).unwrap().unwrap();
            }),
            Mended { completed: 2, ..Mended::default() },
            3,
        ),
        (
            "a saying is missing and one is of nobody",
            Box::new(|write, _| {
                let mut said = write.open_table(table::<Id>("pattern_observations")).unwrap();
                said.pop_first().unwrap().unwrap();
                said.insert(&[7; 16], &[8; 16]).unwrap();
                said.insert(&[9; 16], &[8; 16]).unwrap();
            }),
            Mended { stray: 2, completed: 1, ..Mended::default() },
            3,
        ),
    ];
    for (what, change, expected, left) in cases {
        let disk = Disk::default();
        let store = disk.open();
        let (mut ledger, _) = load(&store);
        let ids: Vec<_> = (1..=3).map(|number| learn(&mut ledger, number, "a")).collect();
        write(&store, &mut ledger).await.unwrap();
        drop(store);
        spoil(&disk, |write| change(write, ids[1]));
        let store = disk.open();
        assert!(!load(&store).1.is_whole, "{what}");
        assert_eq!(store.mend_patterns().await, Ok(expected), "{what}");
        let (mended, loaded) = load(&store);
        assert_eq!(loaded, Loaded { revision: 2, is_whole: true }, "{what}");
        assert_eq!(mended.view().patterns().count(), left, "{what}");
        assert_eq!(store.patterns(&ALL).unwrap().len(), left, "{what}");
        assert_eq!(store.mend_patterns().await, Ok(Mended::default()), "{what}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_and_stays() {
    let disk = Disk::default();
    let store = disk.open();
    let (mut ledger, _) = load(&store);
    let id = learn(&mut ledger, 1, "a");
    write(&store, &mut ledger).await.unwrap();
    drop(store);
    spoil(&disk, |write| {
        let mut patterns = write.open_table(table::<&[u8]>("patterns")).unwrap();
        patterns.insert(&id.0, &b"of a later version"[..]).unwrap();
    });
    let store = disk.open();
    for found in [
        store.load_patterns(|_, _| Ok(())).map(drop),
        store.find_pattern(id).map(drop),
        store.patterns(&ALL).map(drop),
    ] {
        assert!(matches!(&found, Err(StoreError::Read(why)) if why.contains("damaged")));
    }
    store.mend_patterns().await.unwrap();
    assert!(store.find_pattern(id).is_err());
    assert_eq!(store.pattern_texts(&[id]), Ok(vec![Some("lesson 1".into())]));
}

#[test]
fn a_row_of_each_kind_is_written() {
    // A batch without additions is no growth, so that a full disk does not stop it.
    let mut ledger = Ledger::new(Bounds::default());
    learn(&mut ledger, 1, "a");
    let (rows, _) = ledger.take_rows();
    assert!(PatternBatch::of(&rows, 1).unwrap().is_growth);
    let rows: Vec<Row> = rows.into_iter().filter(|row| !matches!(row, Row::Add { .. })).collect();
    assert!(!rows.is_empty() && !PatternBatch::of(&rows, 1).unwrap().is_growth);
}
