use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::pattern::index::tests::{Numbers, pattern};
use crate::domain::pattern::{Bounds, Pattern, PatternId, Tags};

const DIMENSION: usize = 12;

/// Finds what is nearest, by looking at all; what it is told to overlook it does not find.
#[derive(Debug, Default)]
struct Plain {
    units: BTreeMap<u64, Vec<f32>>,
    overlooked: Vec<u64>,
    added: usize,
}

impl Nearest for Plain {
    fn add(&mut self, key: u64, unit: &[f32]) -> Result<(), NearestError> {
        self.added += 1;
        match self.units.insert(key, unit.to_vec()) {
            None => Ok(()),
            Some(_) => Err(NearestError(format!("{key} is there"))),
        }
    }

    fn remove(&mut self, key: u64) -> Result<(), NearestError> {
        self.units.remove(&key).map(drop).ok_or(NearestError(format!("{key} is not there")))
    }

    fn nearest(&self, unit: &[f32], count: usize) -> Result<Vec<u64>, NearestError> {
        let product = |own: &[f32]| own.iter().zip(unit).map(|(a, b)| a * b).sum::<f32>();
        let mut all: Vec<_> = self
            .units
            .iter()
            .filter(|(key, _)| !self.overlooked.contains(key))
            .map(|(key, own)| (product(own), *key))
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        Ok(all.into_iter().take(count).map(|(_, key)| key).collect())
    }
}

fn embedder() -> Arc<EmbedderId> {
    Arc::new(EmbedderId { name: "own".into(), version: 1, dimension: DIMENSION })
}

fn view(index: &Index) -> Arc<View> {
    let mut view = View::empty(Bounds::default());
    view.indexes.push((embedder(), index.clone()));
    Arc::new(view)
}

fn filled(numbers: &mut Numbers, patterns: std::ops::Range<u32>) -> Index {
    let mut index = Index::new(DIMENSION);
    for number in patterns {
        index.push(pattern(number), &numbers.unit(DIMENSION));
    }
    index
}

fn ids(hits: &[Hit]) -> Vec<PatternId> {
    hits.iter().map(|hit| hit.pattern.id).collect()
}

const ALWAYS: &dyn Fn() -> bool = &|| true;

/// How a search ends: with what the exact index gives, or with nothing.
fn search(
    mirror: &Mirror<Plain>,
    index: &Index,
    unit: &[f32],
    limit: usize,
    similarity_min: f32,
    is_wanted: &dyn Fn(&Pattern) -> bool,
) -> Option<Vec<Hit>> {
    let search = Search { unit, limit, similarity_min, is_wanted };
    let found = mirror.search(&search, &embedder(), &|| view(index));
    if let Some(found) = &found {
        assert_eq!(ids(found), ids(&index.search(&search)));
    }
    found
}

/// A mirror that has all that the index has.
fn following(index: &Index) -> Mirror<Plain> {
    let mirror = Mirror::new(Plain::default(), []);
    mirror.follow(index, ALWAYS).unwrap();
    mirror
}

#[test]
fn a_mirror_that_misses_nothing_gives_what_the_exact_index_gives() {
    let mut numbers = Numbers(11);
    let index = filled(&mut numbers, 0..500);
    let mirror = Mirror::new(Plain::default(), []);
    let followed = mirror.follow(&index, ALWAYS).unwrap();
    assert_eq!(followed, Followed { added: 500, removed: 0, is_whole: true });
    for limit in [1, 10, 100] {
        for similarity_min in [-1.0, 0.3, 0.9] {
            let unit = numbers.unit(DIMENSION);
            let found = search(&mirror, &index, &unit, limit, similarity_min, &|_| true);
            assert!(found.is_some());
        }
    }
}

#[test]
fn a_filter_has_more_candidates_asked_for_and_one_that_is_too_narrow_a_scan() {
    let mut numbers = Numbers(13);
    let index = filled(&mut numbers, 0..3000);
    let mirror = following(&index);
    let tags = Tags::new(vec!["t1".into()]).unwrap();
    let unit = numbers.unit(DIMENSION);
    // A third: ten of them are among 160 candidates.
    let third = |pattern: &Pattern| pattern.tags.hold(&tags);
    assert_eq!(search(&mirror, &index, &unit, 10, -1.0, &third).unwrap().len(), 10);
    // Two in a thousand: not among as many as may be asked for, unless the rest is too far away.
    let few = |pattern: &Pattern| pattern.number % 500 == 7;
    assert!(search(&mirror, &index, &unit, 10, -1.0, &few).is_none());
    assert!(search(&mirror, &index, &unit, 10, 0.7, &few).is_some());
    assert!(search(&mirror, &index, &unit, 10, -1.0, &|_| false).is_none());
}

#[test]
fn what_the_mirror_has_not_followed_yet_is_found_and_what_is_gone_is_not() {
    let mut numbers = Numbers(17);
    let mut index = filled(&mut numbers, 0..400);
    let mirror = following(&index);
    let unit = numbers.unit(DIMENSION);
    index.push(pattern(1000), &unit);
    let first = search(&mirror, &index, &unit, 3, -1.0, &|_| true).unwrap();
    assert_eq!(first[0].pattern.number, 1000);
    // The nearest old one goes, and the newest takes its row.
    let gone = first[1].pattern.number;
    index.swap_remove(first[1].row).unwrap();
    let second = search(&mirror, &index, &unit, 100, -1.0, &|_| true).unwrap();
    assert_eq!(second[0].pattern.number, 1000);
    assert!(second.iter().all(|hit| hit.pattern.number != gone));
    let followed = mirror.follow(&index, ALWAYS).unwrap();
    assert_eq!(followed, Followed { added: 1, removed: 1, is_whole: true });
    assert!(search(&mirror, &index, &unit, 100, -1.0, &|_| true).is_some());
    assert_eq!(mirror.follow(&index, ALWAYS).unwrap().added, 0);
}

#[test]
fn an_index_that_loses_its_way_is_not_believed() {
    let mut numbers = Numbers(19);
    let index = filled(&mut numbers, 0..50);
    let overlooked = (0..45).collect();
    let mirror = Mirror::new(Plain { overlooked, ..Plain::default() }, []);
    mirror.follow(&index, ALWAYS).unwrap();
    let unit = numbers.unit(DIMENSION);
    assert!(search(&mirror, &index, &unit, 10, -1.0, &|_| true).is_none());
}

#[test]
fn what_is_too_new_is_left_to_the_scan() {
    let mut numbers = Numbers(23);
    let mut index = filled(&mut numbers, 0..10);
    let mirror = following(&index);
    for number in 10..10 + u32::try_from(NEWER_MAX).unwrap() {
        index.push(pattern(number), &numbers.unit(DIMENSION));
    }
    let unit = numbers.unit(DIMENSION);
    assert!(search(&mirror, &index, &unit, 2, -1.0, &|_| true).is_some());
    index.push(pattern(100_000), &numbers.unit(DIMENSION));
    assert!(search(&mirror, &index, &unit, 2, -1.0, &|_| true).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_mirror_follows_whatever_happens_and_however_often_it_is_stopped(
        steps in proptest::collection::vec((0_u32..500, 0_u8..8), 1..600),
        known in proptest::collection::btree_set(0_u64..500, 0..50),
        seed in 1_u64..u64::MAX,
    ) {
        let mut numbers = Numbers(seed);
        let mut index = Index::new(DIMENSION);
        let mut held: BTreeMap<u64, Vec<f32>> = BTreeMap::new();
        // What a file had of these, right or gone since.
        let mut plain = Plain::default();
        for key in &known {
            plain.units.insert(*key, numbers.unit(DIMENSION));
        }
        let mirror = Mirror::new(plain, known.iter().copied());
        // A number names one pattern and no other.
        let mut fresh = 500;
        for (number, what) in steps {
            match what {
                0..4 => {
                    let unit = numbers.unit(DIMENSION);
                    index.push(pattern(fresh), &unit);
                    held.insert(u64::from(fresh), unit);
                    fresh += 1;
                }
                4 | 5 if !index.is_empty() => {
                    let removed = index.swap_remove(number as usize % index.len()).unwrap();
                    held.remove(&removed.pattern.number);
                }
                6 => {
                    let left = Cell::new(number % 20);
                    let goes_on = || left.replace(left.get().saturating_sub(1)) > 0;
                    mirror.follow(&index, &goes_on).unwrap();
                }
                _ => {
                    let unit = numbers.unit(DIMENSION);
                    search(&mirror, &index, &unit, 5, -1.0, &|_| true);
                }
            }
        }
        prop_assert!(mirror.follow(&index, ALWAYS).unwrap().is_whole);
        mirror.look(|plain, keys| {
            let mut keys: Vec<u64> = keys.collect();
            keys.sort_unstable();
            assert_eq!(keys, held.keys().copied().collect::<Vec<_>>());
            assert_eq!(plain.units, held);
        });
        let unit = numbers.unit(DIMENSION);
        let found = search(&mirror, &index, &unit, 5, -1.0, &|_| true);
        prop_assert_eq!(found.map(|it| it.len()), Some(held.len().min(5)));
    }
}
