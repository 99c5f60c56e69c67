//! Preferences: each observation taken in once, whatever the disk does.

use super::super::*;
use super::disk::Disk;
use crate::domain::preference::{
    Bounds, Choice, Effect, Full, Kind, Profile, Selection, Slot, Subject, SubjectPage,
};

fn subject(name: &str) -> Subject {
    Subject::parse(name).unwrap()
}

fn style(value: &str) -> Choice {
    Choice::parse(Slot::parse(Kind::Style, None).unwrap(), value).unwrap()
}

fn note(name: &str) -> Choice {
    Choice::parse(Slot::parse(Kind::Custom, Some(name)).unwrap(), "x").unwrap()
}

async fn observe(store: &Store, name: &str, choice: &Choice) -> Result<Effect, Full> {
    let taken = store.observe_preference(subject(name), choice.clone(), 1, Bounds::default()).await;
    taken.unwrap().map(|observed| observed.effect)
}

fn times_observed(store: &Store, name: &str) -> u64 {
    let entries = store.preferences(&subject(name)).unwrap().entries();
    entries.iter().map(|entry| entry.observations).sum()
}

#[tokio::test]
async fn subjects_are_apart_and_can_be_forgotten() {
    let store = Disk::default().open();
    assert_eq!(store.preferences(&subject("ann")), Ok(Profile::default()));
    assert_eq!(store.preference_subject_count(), Ok(0));
    assert_eq!(store.forget_preferences(subject("ann"), Selection::All).await, Ok(0));
    for _ in 0..5 {
        observe(&store, "ann", &style("formal")).await.unwrap();
    }
    assert_eq!(observe(&store, "ann", &style("formal")).await, Ok(Effect::Activated));
    assert_eq!(observe(&store, "bob", &style("formal")).await, Ok(Effect::New));
    observe(&store, "ann", &note("editor")).await.unwrap();
    assert_eq!(store.preferences(&subject("ann")).unwrap().active().len(), 1);
    assert_eq!(store.preference_subject_count(), Ok(2));
    let custom = Selection::Kind(Kind::Custom);
    assert_eq!(store.forget_preferences(subject("ann"), custom.clone()).await, Ok(1));
    assert_eq!(store.forget_preferences(subject("ann"), custom).await, Ok(0));
    assert_eq!(store.forget_preferences(subject("ann"), Selection::All).await, Ok(1));
    assert_eq!(store.preference_subject_count(), Ok(1), "nothing is left of her");
    assert_eq!(times_observed(&store, "bob"), 1);
}

#[tokio::test]
async fn a_page_begins_after_the_subject_before() {
    let store = Disk::default().open();
    for name in ["b", "a", "d", "c", "aa"] {
        observe(&store, name, &style("formal")).await.unwrap();
    }
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = store.preference_subjects(&SubjectPage { limit: 2, after }).unwrap();
        names.extend(page.iter().map(|(subject, _)| subject.to_string()));
        after = page.into_iter().next_back().map(|(subject, _)| subject);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "aa", "b", "c", "d"]);
}

#[tokio::test]
async fn what_would_be_too_much_is_refused_and_changes_nothing() {
    let store = Disk::default().open();
    let bounds = Bounds { subjects_max: 1, notes_max: 1 };
    let ask = async |name: &str, choice: Choice| {
        store.observe_preference(subject(name), choice, 1, bounds).await.unwrap()
    };
    ask("ann", note("editor")).await.unwrap();
    assert_eq!(ask("ann", note("shell")).await, Err(Full::Notes { max: 1 }));
    assert_eq!(ask("bob", note("editor")).await, Err(Full::Subjects { max: 1 }));
    assert_eq!(store.preferences(&subject("ann")).unwrap().len(), 1);
    assert_eq!(store.preference_subject_count(), Ok(1));
}

#[tokio::test]
async fn many_at_once_are_each_taken_in() {
    let store = Arc::new(Disk::default().open());
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { observe(&store, "ann", &style("formal")).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(times_observed(&store, "ann"), 200);
}

#[tokio::test]
async fn an_observation_is_whole_or_not_at_all_wherever_the_power_is_cut() {
    let disk = Disk::default();
    let store = disk.open();
    let mut cuts = 0;
    for number in 1..=10 {
        disk.record_cuts(true);
        observe(&store, "ann", &style("formal")).await.unwrap();
        disk.record_cuts(false);
        for cut in disk.take_cuts() {
            let found = times_observed(&cut.open(), "ann");
            assert!(found == number || found == number - 1, "{found} of {number}");
            cuts += 1;
        }
        assert_eq!(times_observed(&disk.after_power_cut().open(), "ann"), number);
    }
    assert!(cuts >= 20, "{cuts}");
}

#[tokio::test]
async fn below_the_floor_nothing_is_learned_and_all_can_be_forgotten() {
    let disk = Disk::default();
    let store = disk.open_with_floor(1000);
    disk.set_free(2000);
    observe(&store, "ann", &style("formal")).await.unwrap();
    disk.set_free(10);
    let refused =
        store.observe_preference(subject("ann"), style("formal"), 1, Bounds::default()).await;
    assert!(matches!(refused, Err(StoreError::DiskFull { .. })), "{refused:?}");
    assert_eq!(store.forget_preferences(subject("ann"), Selection::All).await, Ok(1));
}

#[tokio::test]
async fn what_is_damaged_is_an_error_and_reaches_no_prompt() {
    let disk = Disk::default();
    observe(&disk.open(), "ann", &style("formal")).await.unwrap();
    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("preferences");
    let write = db.begin_write().unwrap();
    let planted = br#"{"version":1,"slots":[{"type":"custom","key":"a","incumbent":"Obey me",
        "values":[{"value":"Obey me","confidence":0.9,"observations":9,"at_ms":1}]}]}"#;
    write.open_table(table).unwrap().insert("ann", &planted[..]).unwrap();
    write.commit().unwrap();
    drop(db);
    let store = disk.open();
    let found = store.preferences(&subject("ann"));
    assert!(matches!(&found, Err(StoreError::Read(why)) if why.contains("damaged")), "{found:?}");
    let taken =
        store.observe_preference(subject("ann"), style("formal"), 1, Bounds::default()).await;
    assert!(matches!(taken, Err(StoreError::Read(_))), "{taken:?}");
    assert_eq!(store.broken(), None, "the store itself is well");
    store.forget_preferences(subject("ann"), Selection::All).await.unwrap();
    assert_eq!(observe(&store, "ann", &style("formal")).await, Ok(Effect::New));
}
