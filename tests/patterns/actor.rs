//! What the actor promises, over its deaths too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bizra_omega::actors::pattern_memory;
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::embedding::EmbedderId;
use bizra_omega::domain::pattern::feedback::Opinion;
use bizra_omega::domain::pattern::ledger::Learning;
use bizra_omega::domain::pattern::view::{Filter, Near, Query};
use bizra_omega::domain::pattern::{
    Bounds, Lesson, PatternError, PatternId, Position, Source, Tags,
};
use bizra_omega::messages::event::{Event, Heard, PatternEvent, Topic};
use bizra_omega::messages::pattern_memory::{MemoryError, PatternMemoryMsg};
use bizra_omega::messages::supervisor::{Fault, SupervisorMsg};

use crate::house::{Floor, House, house, lesson, text};
use crate::random::Random;
use crate::support::{drill, soon, until};

fn none() -> Filter {
    Filter::default()
}

#[tokio::test]
async fn what_is_learned_is_recalled_by_what_it_is_like_and_no_more_once_forgotten() {
    let house = house(Floor::default()).await;
    let mut heard = house.settings.events.subscribe(Topic::Patterns);
    let asked = house.learned(lesson("Ask before you delete a file.", &["style"], "a")).await;
    assert_eq!(asked.learning, Learning::New);
    house.learned(lesson("The harbour closes at nine in winter.", &["place"], "b")).await;
    let found = house.near("may I delete this file? ask before", none()).await;
    assert_eq!(found.first().map(|it| it.pattern.id), Some(asked.pattern.id), "{found:?}");
    assert_eq!(found[0].content, "Ask before you delete a file.");
    // The same text is as near as can be.
    let same = house.near("Ask before you delete a file.", none()).await;
    assert!(same[0].similarity > 0.999 && same[0].pattern.id == asked.pattern.id);

    let tagged = |tag: &str| Filter { tags: Tags::new(vec![tag.into()]).unwrap(), ..none() };
    let query = "Ask before you delete a file.";
    assert_eq!(house.near(query, tagged("style")).await.len(), 1);
    assert_eq!(house.near(query, tagged("place")).await.len(), 0);
    let of = |source: &str| Filter { source: Some(Source::new(source).unwrap()), ..none() };
    assert_eq!(house.near(query, of("a")).await.len(), 1);
    assert_eq!(house.near(query, of("b")).await.len(), 0);
    assert_eq!(house.near(query, Filter { is_elevated: Some(true), ..none() }).await.len(), 0);

    let merged = house.learned(lesson("Ask before you delete a file!", &["style"], "b")).await;
    assert!(matches!(merged.learning, Learning::Merged { .. }), "{merged:?}");
    let changed = house.feedback(asked.pattern.id, Opinion::unsigned(true)).await.unwrap();
    assert_eq!(changed.pattern.confidence.value(), 0.55);
    house.forget(asked.pattern.id).await.unwrap();
    assert!(house.near(query, tagged("style")).await.is_empty());
    assert_eq!(house.find(asked.pattern.id).await, None);
    let unknown = PatternError::Unknown(asked.pattern.id);
    assert_eq!(house.forget(asked.pattern.id).await, Err(MemoryError::Pattern(unknown)));

    let id = asked.pattern.id.to_string();
    let mut told = Vec::new();
    while told.len() < 5 {
        let Some(Heard::Told(next)) = heard.next().await else { panic!("nothing") };
        let Event::Pattern(event) = next.event else { panic!("{next:?}") };
        told.push(event);
    }
    assert_eq!(told[0], PatternEvent::Learned { id: id.clone(), source: "a".into() });
    assert_eq!(told[2], PatternEvent::Merged { id: id.clone(), evidence: 2 });
    let is_feedback = |it: &PatternEvent| matches!(it, PatternEvent::Feedback { .. });
    assert!(is_feedback(&told[3]), "{told:?}");
    assert_eq!(told[4], PatternEvent::Forgotten { id });
    let metrics = house.metrics();
    for line in [
        "pattern_held 1",
        "pattern_lessons_total{outcome=\"new\"} 2",
        "pattern_lessons_total{outcome=\"merged\"} 1",
        "pattern_feedbacks_total{outcome=\"positive\"} 1",
        "pattern_removed_total{reason=\"forgotten\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn vectors_of_two_embedders_never_meet() {
    let house = house(Floor::default()).await;
    let id = |version| EmbedderId { name: "own".into(), version, dimension: 2 };
    let position = |version| Position::new(id(version), &[1.0, 0.0]).unwrap();
    for version in [1, 2] {
        let lesson = Lesson::new(
            &format!("by version {version}"),
            Tags::default(),
            Source::new("a").unwrap(),
            Some(position(version)),
        );
        assert_eq!(house.learned(lesson.unwrap()).await.learning, Learning::New);
    }
    let at = |version| Query::new(Near::Position(position(version)), 10, None, none()).unwrap();
    for version in [1, 2] {
        let found = house.recall(at(version)).await;
        let contents: Vec<_> = found.iter().map(|it| it.content.as_str()).collect();
        assert_eq!(contents, [format!("by version {version}")]);
    }
    assert!(house.recall(at(3)).await.is_empty());
}

#[tokio::test]
async fn a_text_with_nothing_to_embed_is_refused_and_nothing_of_its_batch_is_learned() {
    let house = house(Floor::default()).await;
    let lessons = vec![lesson("a text", &[], "a"), lesson(" \n ", &[], "a")];
    let refused = house.learn(lessons).await;
    assert!(matches!(refused, Err(MemoryError::Embedding(_))), "{refused:?}");
    assert_eq!(house.stats().await.held.patterns, 0);
}

#[tokio::test]
async fn limits_are_kept_and_told() {
    let bounds = Bounds { patterns_max: 3, source_patterns_max: 3, ..Bounds::default() };
    let house = house(Floor { bounds, ..Floor::default() }).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(house.learned(lesson(&text(number), &[], "a")).await.pattern.id);
    }
    house.pin(ids[0]).await.unwrap();
    let fourth = house.learned(lesson(&text(3), &[], "a")).await;
    assert_eq!(fourth.evicted, [ids[1]]);
    assert_eq!(house.find(ids[1]).await, None);
    for id in [ids[2], fourth.pattern.id] {
        house.pin(id).await.unwrap();
    }
    let full = house.learn(vec![lesson(&text(4), &[], "a")]).await.unwrap();
    assert!(matches!(full[0], Err(PatternError::Full { .. })), "{full:?}");
    assert_eq!(house.stats().await.held.patterns, 3);
    assert!(house.metrics().contains("pattern_removed_total{reason=\"evicted\"} 1"));
}

#[tokio::test]
async fn below_the_floor_of_the_disk_nothing_is_learned_and_the_rest_goes_on() {
    let floor = Floor::default();
    let first = house(floor).await;
    let id = first.learned(lesson("a text to keep", &[], "a")).await.pattern.id;
    let dir = first.stopped().await;
    let house = house(Floor { dir, free_bytes_min: u64::MAX, ..Floor::default() }).await;
    // Together, so that they share a write.
    let (learned, changed) = tokio::join!(
        house.learn(vec![lesson("another text", &[], "a")]),
        house.feedback(id, Opinion::unsigned(true)),
    );
    assert!(matches!(learned, Err(MemoryError::DiskFull(_))), "{learned:?}");
    assert_eq!(changed.unwrap().pattern.positives, 1);
    assert_eq!(house.near("a text to keep", none()).await.len(), 1);
    assert_eq!(house.all().await.len(), 1);
    house.forget(id).await.unwrap();
}

#[tokio::test]
async fn nothing_is_promised_when_the_store_cannot_write_and_recall_goes_on() {
    let house = house(Floor::default()).await;
    house.learned(lesson("a text to keep", &[], "a")).await;
    house.store.stop_writing();
    let refused = house.learn(vec![lesson("another text", &[], "a")]).await;
    assert!(matches!(refused, Err(MemoryError::Unavailable(_))), "{refused:?}");
    assert_eq!(house.near("a text to keep", none()).await.len(), 1);
    assert!(house.near("another text", none()).await.iter().all(|it| it.content != "another text"));
}

#[tokio::test]
async fn uses_are_written_down_and_what_is_not_used_fades() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    const DAY_MS: i64 = 86_400_000;
    let floor = Floor { now_ms: || CLOCK.load(Ordering::SeqCst), ..Floor::default() };
    let house = house(floor).await;
    let id = house.learned(lesson("a text to use", &[], "a")).await.pattern.id;
    for _ in 0..8 {
        house.feedback(id, Opinion::unsigned(true)).await.unwrap();
    }
    CLOCK.store(30 * DAY_MS, Ordering::SeqCst);
    let found = house.find(id).await.unwrap().pattern;
    assert_eq!(found.confidence_at(30 * DAY_MS).value(), 0.7);
    assert_eq!(house.near("a text to use", none()).await.len(), 1);
    // A graceful end writes them down.
    drill(&house.root, pattern_memory::NAME, Fault::Stop).await;
    assert_eq!(house.stats().await.held.patterns, 1);
    let found = house.find(id).await.unwrap().pattern;
    assert_eq!((found.uses, found.used_at_ms), (9, 30 * DAY_MS));
    assert_eq!(found.confidence.value(), 0.7);
}

#[tokio::test]
async fn what_is_acknowledged_is_there_whichever_way_the_actor_dies() {
    let house = house(Floor::default()).await;
    let mut known = Vec::new();
    for (number, fault) in (1..).zip([Fault::Panic, Fault::Error, Fault::Stop, Fault::Kill]) {
        known.push(house.learned(lesson(&text(number), &[], "a")).await.pattern.id);
        drill(&house.root, pattern_memory::NAME, fault).await;
        for (at, id) in (1..).zip(&known) {
            assert_eq!(house.find(*id).await.unwrap().content, text(at), "{fault:?}");
            let near = house.near(&text(at), none()).await;
            assert_eq!(near[0].pattern.id, *id, "{fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recall_does_not_wait_for_a_batch_that_is_being_written() {
    let house = Arc::new(house(Floor::default()).await);
    house.learned(lesson("a text to keep", &[], "a")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (house, stop) = (Arc::clone(&house), Arc::clone(&stop));
        async move {
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                let lessons = (number..number + 64).map(|it| lesson(&text(it), &[], "w"));
                house.learn(lessons.collect()).await.unwrap();
                number += 64;
            }
            number
        }
    });
    // Whatever is recalled meanwhile is whole: what was acknowledged, with its text.
    for _ in 0..200 {
        let found = house.near("a text to keep", none()).await;
        assert_eq!(found[0].content, "a text to keep");
    }
    stop.store(true, Ordering::SeqCst);
    let written = writer.await.unwrap();
    assert_eq!(house.stats().await.held.patterns, written + 1);
}

/// What one writer was told.
#[derive(Default)]
struct Told {
    held: BTreeMap<PatternId, (String, u64)>,
    gone: Vec<PatternId>,
    /// What may or may not have been done: its answer did not come.
    unknown: Vec<PatternId>,
}

async fn write(
    house: Arc<House>,
    writer: u64,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Told {
    let mut told = Told::default();
    let mut random = Random(writer + 1);
    let source = format!("writer{writer}");
    let mut number = writer << 32;
    while !stop.load(Ordering::SeqCst) {
        let some = told.held.keys().nth(usize::try_from(random.below(5)).unwrap()).copied();
        match (random.below(8), some) {
            (0, Some(id)) => {
                let ask = |reply| PatternMemoryMsg::Forget { id, reply };
                told.held.remove(&id);
                match house.memory.call(soon(), ask).await {
                    Ok(Ok(_)) => told.gone.push(id),
                    // Its actor died over it; it was done or not.
                    _ => told.unknown.push(id),
                }
            }
            (1 | 2, Some(id)) => {
                let opinion = Opinion::unsigned(true);
                let ask = |reply| PatternMemoryMsg::Feedback { id, opinion, reply };
                if let Ok(Ok(changed)) = house.memory.call(soon(), ask).await {
                    told.held.get_mut(&id).unwrap().1 = changed.pattern.positives;
                }
            }
            (3, _) => {
                let near = house.near(&text(number), Filter::default()).await;
                assert!(near.iter().all(|it| !told.gone.contains(&it.pattern.id)));
            }
            _ => {
                let lessons =
                    (0..=random.below(4)).map(|it| lesson(&text(number + it), &[], &source));
                for learned in house.learn(lessons.collect()).await.unwrap() {
                    let id = learned.unwrap().pattern.id;
                    told.held.insert(id, (text(number), 0));
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    number += 1;
                }
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_store_agree_while_the_actor_is_killed_all_the_time() {
    let house = Arc::new(house(Floor::default()).await);
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(write(Arc::clone(&house), writer, stop, acknowledged))
        })
        .collect();
    let mut drills = 0;
    while drills < 40 {
        let fault = [Fault::Kill, Fault::Panic, Fault::Error, Fault::Stop][drills % 4];
        let name = pattern_memory::NAME.to_owned();
        let ask = |reply| SupervisorMsg::Drill { name: name.clone(), fault, reply };
        // Refused while the actor is between two incarnations.
        if house.root.addr().call(soon(), ask).await.unwrap().is_ok() {
            drills += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // However slow the machine is, something was learned that could be lost.
    until(|| acknowledged.load(Ordering::SeqCst) >= 60).await;
    stop.store(true, Ordering::SeqCst);
    let mut all = Vec::new();
    for writer in writers {
        all.push(writer.await.unwrap());
    }
    let held: usize = all.iter().map(|told| told.held.len()).sum();
    assert!(held > 0, "{held}");
    for told in &all {
        for (id, (content, positives)) in &told.held {
            let found = house.find(*id).await.unwrap_or_else(|| panic!("{id} was lost"));
            assert_eq!(found.content, *content);
            assert!(found.pattern.positives >= *positives);
            let near = house.near(content, Filter::default()).await;
            assert!(near.iter().any(|it| it.pattern.id == *id), "{id} is not found");
        }
        for id in &told.gone {
            assert_eq!(house.find(*id).await, None, "{id} came back");
        }
    }
    // Work whose actor died is done in turn: what comes last is answered when nothing else waits.
    house.learned(lesson("the last of all", &[], "z")).await;
    // What memory has is what the disk has.
    let in_memory = house.stats().await.held.patterns;
    let house = Arc::into_inner(house).unwrap();
    let dir = house.stopped().await;
    let store = Store::open(dir.path(), 0).unwrap();
    let mut on_disk = 0;
    let loaded = store.load_patterns(|_, _| {
        on_disk += 1;
        Ok(())
    });
    assert!(loaded.unwrap().is_whole);
    assert_eq!(on_disk, in_memory);
}

#[tokio::test]
async fn what_is_on_disk_and_not_whole_is_put_right_at_the_start() {
    let first = house(Floor::default()).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(first.learned(lesson(&text(number), &[], "a")).await.pattern.id);
    }
    let dir = first.stopped().await;
    let file = dir.path().join("node.redb");
    let db = redb::Database::open(&file).unwrap();
    let write = db.begin_write().unwrap();
    let texts: redb::TableDefinition<'_, &[u8; 16], &str> =
        redb::TableDefinition::new("pattern_texts");
    write.open_table(texts).unwrap().remove(&ids[1].0).unwrap().unwrap();
    write.commit().unwrap();
    drop(db);
    let house = house(Floor { dir, ..Floor::default() }).await;
    assert_eq!(house.stats().await.held.patterns, 2);
    assert_eq!(house.find(ids[1]).await, None);
    assert!(house.near(&text(1), none()).await.is_empty());
    assert_eq!(house.learned(lesson(&text(1), &[], "a")).await.learning, Learning::New);
}
