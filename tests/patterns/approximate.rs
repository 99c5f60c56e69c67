//! The approximate index: what it finds, what it must not find, and what becomes of its file.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bizra_omega::actors::pattern_memory;
use bizra_omega::domain::embedding::EmbedderId;
use bizra_omega::domain::pattern::view::{Filter, Near, Query};
use bizra_omega::domain::pattern::{BATCH_MAX, Bounds, Lesson, PatternId, Position, Source, Tags};
use bizra_omega::messages::pattern_memory::Recalled;
use bizra_omega::messages::supervisor::{Fault, SupervisorMsg};
use bizra_omega::node;
use serde_json::json;

use crate::house::{Floor, House, house, text};
use crate::live::{self, Client};
use crate::random::Random;
use crate::support::{soon, until};

const DIMENSION: usize = 32;

/// Enough for a graph of several levels.
const PATTERNS: usize = 3000;

fn number(random: &mut Random) -> f64 {
    random.below(2001) as f64 / 1000.0 - 1.0
}

/// Near one of a few dozen centres, as texts on so many subjects would be.
fn position(random: &mut Random) -> Position {
    let mut centre = Random(random.below(40) + 1);
    let numbers: Vec<f64> =
        (0..DIMENSION).map(|_| number(&mut centre) + 0.7 * number(random)).collect();
    let embedder = EmbedderId { name: "own".into(), version: 1, dimension: DIMENSION };
    Position::new(embedder, &numbers).unwrap()
}

fn lesson(random: &mut Random, number: usize) -> Lesson {
    let tags = Tags::new(vec![format!("t{}", number % 2), format!("of500-{}", number % 500)]);
    let source = Source::new(&format!("s{}", number % 3)).unwrap();
    let content = format!("what was learned as number {number}");
    Lesson::new(&content, tags.unwrap(), source, Some(position(random))).unwrap()
}

fn floor(above: u64) -> Floor {
    let mut floor = Floor::default();
    floor.approximate_above(above);
    floor
}

async fn fill(
    house: &House,
    random: &mut Random,
    numbers: std::ops::Range<usize>,
) -> Vec<PatternId> {
    let lessons: Vec<Lesson> = numbers.map(|number| lesson(random, number)).collect();
    let mut ids = Vec::new();
    for batch in lessons.chunks(BATCH_MAX) {
        let learned = house.learn(batch.to_vec()).await.unwrap();
        ids.extend(learned.into_iter().map(|it| it.unwrap().pattern.id));
    }
    ids
}

fn query(position: &Position, limit: usize, least: f64, filter: Filter) -> Query {
    Query::new(Near::Position(position.clone()), limit, Some(least), filter).unwrap()
}

fn count(house: &House, series: &str) -> u64 {
    let metrics = house.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
    line.map_or(0, |value| value.parse().unwrap())
}

fn answers(house: &House, index: &str) -> u64 {
    count(house, &format!("pattern_answers_total{{index=\"{index}\"}}"))
}

fn made(house: &House, origin: &str) -> u64 {
    count(house, &format!("pattern_indexes_made_total{{origin=\"{origin}\"}}"))
}

fn ids(found: &[Recalled]) -> HashSet<PatternId> {
    found.iter().map(|it| it.pattern.id).collect()
}

/// Of the ten that are nearest in the exact house, the share that the other finds.
async fn recall_at_10(house: &House, exact: &House, random: &mut Random) -> f64 {
    let (mut found, mut expected) = (0, 0);
    for _ in 0..100 {
        let query = query(&position(random), 10, -1.0, Filter::default());
        let (own, all) = (house.recall(query.clone()).await, exact.recall(query).await);
        assert_eq!(own.len(), 10);
        assert!(own.is_sorted_by(|a, b| a.similarity >= b.similarity));
        for one in &own {
            // Whatever is found has the similarity that it has.
            if let Some(same) = all.iter().find(|it| it.pattern.id == one.pattern.id) {
                assert_eq!(one.similarity, same.similarity);
            }
        }
        expected += all.len();
        found += ids(&all).intersection(&ids(&own)).count();
    }
    f64::from(u32::try_from(found).unwrap()) / f64::from(u32::try_from(expected).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_patterns_are_found_by_the_approximate_index() {
    let (house, exact) = (house(floor(1000)).await, house(Floor::default()).await);
    let (mut random, mut same) = (Random(1), Random(1));
    fill(&house, &mut random, 0..PATTERNS).await;
    fill(&exact, &mut same, 0..PATTERNS).await;
    until(|| made(&house, "absent") == 1).await;
    let share = recall_at_10(&house, &exact, &mut random).await;
    assert!(share >= 0.95, "{share}");
    assert_eq!((answers(&house, "approximate"), answers(&house, "exact")), (100, 0));
    assert_eq!((answers(&exact, "approximate"), answers(&exact, "exact")), (0, 100));
}

#[tokio::test]
async fn below_its_threshold_there_is_none() {
    let house = house(floor(1000)).await;
    let mut random = Random(2);
    fill(&house, &mut random, 0..1000).await;
    let found = house.recall(query(&position(&mut random), 10, -1.0, Filter::default())).await;
    assert_eq!(found.len(), 10);
    let graphs = graphs(&house);
    let house = house.stopped().await;
    assert!(!graphs.exists(), "{house:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_learned_is_found_at_once_and_what_is_forgotten_never_again() {
    let house = house(floor(200)).await;
    let mut random = Random(3);
    fill(&house, &mut random, 0..1000).await;
    until(|| made(&house, "absent") == 1).await;
    for number in 1000..1200 {
        let lesson = lesson(&mut random, number);
        let query = query(lesson.position().unwrap(), 5, -1.0, Filter::default());
        let id = house.learned(lesson).await.pattern.id;
        let found = house.recall(query.clone()).await;
        assert_eq!(found[0].pattern.id, id, "{number} was not found");
        house.forget(id).await.unwrap();
        let found = house.recall(query.clone()).await;
        assert!(found.len() == 5 && !ids(&found).contains(&id), "{number} came back");
        // The nearest that is left goes as well.
        house.forget(found[0].pattern.id).await.unwrap();
        let left = house.recall(query).await;
        assert_eq!(left[0].pattern.id, found[1].pattern.id);
    }
    assert!(answers(&house, "approximate") > 500, "{}", house.metrics());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_evicted_is_not_found_and_whoever_came_for_him_is() {
    let bounds = Bounds { patterns_max: 600, source_patterns_max: 600, ..Bounds::default() };
    let house = house(Floor { bounds, ..floor(200) }).await;
    let mut random = Random(4);
    fill(&house, &mut random, 0..600).await;
    until(|| made(&house, "absent") == 1).await;
    let mut gone = HashSet::new();
    for number in 600..1400 {
        let lesson = lesson(&mut random, number);
        let near = query(lesson.position().unwrap(), 20, -1.0, Filter::default());
        let learned = house.learned(lesson).await;
        gone.extend(learned.evicted.iter().copied());
        let found = house.recall(near).await;
        assert_eq!((found.len(), found[0].pattern.id), (20, learned.pattern.id));
        assert!(ids(&found).is_disjoint(&gone));
    }
    assert_eq!(gone.len(), 800);
    assert!(answers(&house, "approximate") > 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_give_full_answers() {
    let (house, exact) = (house(floor(1000)).await, house(Floor::default()).await);
    let (mut random, mut same) = (Random(5), Random(5));
    let own = fill(&house, &mut random, 0..PATTERNS).await;
    assert_eq!(own, fill(&exact, &mut same, 0..PATTERNS).await);
    until(|| made(&house, "absent") == 1).await;
    let tagged =
        |tag: &str| Filter { tags: Tags::new(vec![tag.into()]).unwrap(), ..Filter::default() };
    let of =
        |source: &str| Filter { source: Some(Source::new(source).unwrap()), ..Filter::default() };
    let elevated = Filter { is_elevated: Some(true), ..Filter::default() };
    let (mut found, mut expected) = (0, 0);
    for turn in 0..40 {
        let at = position(&mut random);
        // Six of three thousand; the scan finds them whatever the index would.
        let rare = query(&at, 10, -1.0, tagged(&format!("of500-{turn}")));
        let all = exact.recall(rare.clone()).await;
        assert_eq!((all.len(), ids(&house.recall(rare).await)), (6, ids(&all)));
        assert!(house.recall(query(&at, 10, -1.0, elevated.clone())).await.is_empty());
        for filter in [tagged("t1"), of("s2")] {
            let wanted = query(&at, 10, -1.0, filter.clone());
            let (all, own) = (exact.recall(wanted.clone()).await, house.recall(wanted).await);
            assert!(own.len() == 10 && own.iter().all(|it| filter.takes(&it.pattern)));
            expected += all.len();
            found += ids(&all).intersection(&ids(&own)).count();
        }
        // What is near enough and no more, however few that are.
        for least in [0.6, 0.8, 0.95] {
            let near = query(&at, 100, least, Filter::default());
            let (all, own) = (exact.recall(near.clone()).await, house.recall(near).await);
            assert!(own.iter().all(|it| f64::from(it.similarity) >= least));
            expected += all.len();
            found += ids(&all).intersection(&ids(&own)).count();
        }
    }
    assert!(found * 100 >= expected * 95, "{found} of {expected}");
    assert!(answers(&house, "fallback") >= 80 && answers(&house, "approximate") > 40);
}

fn graphs(house: &House) -> PathBuf {
    house.dir.path().join("graphs")
}

/// The only file of a folder.
fn only_file(dir: &tempfile::TempDir) -> PathBuf {
    let files = fs::read_dir(dir.path().join("graphs")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.pop().unwrap()
}

/// A new house on the same floor.
async fn again(dir: tempfile::TempDir) -> House {
    let mut floor = Floor { dir, ..Floor::default() };
    floor.approximate_above(500);
    house(floor).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_reads_the_file_and_one_that_is_of_no_use_is_made_anew() {
    let first = house(floor(500)).await;
    let exact = house(Floor::default()).await;
    let (mut random, mut same) = (Random(6), Random(6));
    fill(&first, &mut random, 0..1000).await;
    fill(&exact, &mut same, 0..1000).await;
    until(|| made(&first, "absent") == 1).await;
    let mut dir = first.stopped().await;
    let file = only_file(&dir);
    let whole = fs::read(&file).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let other_version = {
        let mut bytes = whole.clone();
        let owner = bytes.len() - 64;
        bytes[owner] ^= 1;
        bytes
    };
    let bit = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    };
    let cases: Vec<(&str, Option<Vec<u8>>)> = vec![
        ("file", Some(whole.clone())),
        ("absent", None),
        ("damaged", Some(whole[..whole.len() - 1].to_vec())),
        ("damaged", Some(whole[..whole.len() / 2].to_vec())),
        ("damaged", Some(Vec::new())),
        ("damaged", Some(bit(whole.len() / 2))),
        ("damaged", Some(bit(0))),
        ("damaged", Some(bit(whole.len() - 1))),
        ("damaged", Some([&whole[..], b"x"].concat())),
        ("foreign", Some(other_version)),
    ];
    for (turn, (origin, bytes)) in cases.into_iter().enumerate() {
        match bytes {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let house = again(dir).await;
        // Right from the first moment, whatever there is of it.
        let at = query(&position(&mut random), 10, -1.0, Filter::default());
        assert_eq!(house.recall(at).await.len(), 10);
        until(|| made(&house, origin) == 1).await;
        let share = recall_at_10(&house, &exact, &mut random).await;
        assert!(share >= 0.95, "{turn}: {share}");
        assert!(answers(&house, "approximate") >= 100);
        dir = house.stopped().await;
        assert!(only_file(&dir) == file && fs::metadata(&file).unwrap().len() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_older_than_the_store_is_brought_up_to_it() {
    let first = house(floor(500)).await;
    let mut random = Random(7);
    let known = fill(&first, &mut random, 0..1000).await;
    until(|| made(&first, "absent") == 1).await;
    let dir = first.stopped().await;
    let old = fs::read(only_file(&dir)).unwrap();
    // While another memory was at work some came and some went.
    let second = again(dir).await;
    let added = fill(&second, &mut random, 1000..1100).await;
    for id in &known[..100] {
        second.forget(*id).await.unwrap();
    }
    let dir = second.stopped().await;
    fs::write(only_file(&dir), &old).unwrap();
    let third = again(dir).await;
    until(|| made(&third, "file") == 1).await;
    let mut same = Random(7);
    for number in 0..1100 {
        let lesson = lesson(&mut same, number);
        let near = query(lesson.position().unwrap(), 3, -1.0, Filter::default());
        let found = third.recall(near).await;
        let own = if number < 1000 { known[number] } else { added[number - 1000] };
        assert_eq!(ids(&found).contains(&own), number >= 100, "{number}");
    }
    assert_eq!(answers(&third, "exact"), 0);
    // Of one that has little to do with what is held nothing is kept.
    for id in &known[100..700] {
        third.forget(*id).await.unwrap();
    }
    fill(&third, &mut random, 2000..2600).await;
    let dir = third.stopped().await;
    fs::write(only_file(&dir), &old).unwrap();
    let fourth = again(dir).await;
    until(|| made(&fourth, "stale") == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_its_index_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for (turn, origin) in ["absent", "file"].into_iter().enumerate() {
        let mut config = live::config(folder.path());
        config.patterns.approximate_above = 300;
        let node = node::start(config).await.unwrap();
        let client = Client::new(node.address(), folder.path());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/api/v1/metrics", node.address());
        let batches: u64 = if turn == 0 { 2 } else { 0 };
        for batch in 0..batches {
            let lesson = |number| json!({ "content": text(256 * batch + number) });
            let patterns: Vec<_> = (0..256).map(lesson).collect();
            let (status, told) =
                client.post("/patterns/batch", &json!({ "patterns": patterns })).await;
            assert_eq!(status, 200, "{told}");
        }
        // The approximate index answers as soon as there is one.
        let made = format!("pattern_indexes_made_total{{origin=\"{origin}\"}} 1");
        let answers = "pattern_answers_total{index=\"approximate\"} ";
        loop {
            let (_, near) = client.post("/patterns/recall", &json!({ "query": text(7) })).await;
            assert_eq!(near["patterns"][0]["content"], json!(text(7)), "{near}");
            let metrics = http.get(&url).send().await.unwrap().text().await.unwrap();
            if metrics.contains(&made) && metrics.contains(answers) {
                break;
            }
        }
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_which_most_went_is_made_anew() {
    let house = house(floor(100)).await;
    let mut random = Random(8);
    let known = fill(&house, &mut random, 0..1000).await;
    until(|| made(&house, "absent") == 1).await;
    for id in &known[..700] {
        house.forget(*id).await.unwrap();
    }
    until(|| made(&house, "worn") >= 1).await;
    let found = house.recall(query(&position(&mut random), 100, -1.0, Filter::default())).await;
    assert_eq!(found.len(), 100);
    for id in &known[700..] {
        house.forget(*id).await.unwrap();
    }
    let nothing = house.recall(query(&position(&mut random), 100, -1.0, Filter::default())).await;
    assert!(nothing.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_found_while_the_actor_is_killed_all_the_time() {
    let house = Arc::new(house(floor(100)).await);
    let mut random = Random(9);
    fill(&house, &mut random, 0..300).await;
    until(|| made(&house, "absent") == 1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2_usize)
        .map(|writer| {
            let (house, stop) = (Arc::clone(&house), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut random = Random(100 + writer as u64);
                let mut held = Vec::new();
                for number in (writer + 1) * 100_000.. {
                    let lesson = lesson(&mut random, number);
                    let at = query(lesson.position().unwrap(), 3, -1.0, Filter::default());
                    let id = house.learned(lesson).await.pattern.id;
                    assert_eq!(house.recall(at.clone()).await[0].pattern.id, id, "{number}");
                    held.push((id, at));
                    // Enough of them, whenever the last kill comes.
                    if stop.load(Ordering::SeqCst) && held.len() > 50 {
                        return held;
                    }
                }
                held
            })
        })
        .collect();
    for turn in 0..30 {
        let fault = [Fault::Kill, Fault::Panic, Fault::Error, Fault::Stop][turn % 4];
        let name = pattern_memory::NAME.to_owned();
        let ask = |reply| SupervisorMsg::Drill { name: name.clone(), fault, reply };
        // Refused while the actor is between two incarnations.
        let _ = house.root.addr().call(soon(), ask).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        for (id, at) in writer.await.unwrap() {
            assert_eq!(house.recall(at).await[0].pattern.id, id);
        }
    }
    // It outlived all of them.
    assert_eq!(made(&house, "absent") + made(&house, "file"), 1);
    assert!(answers(&house, "approximate") > 100);
}
