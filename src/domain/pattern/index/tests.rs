use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::pattern::tests::full;
use crate::domain::pattern::{PatternId, TWIN_SIMILARITY, Tags};

/// Numbers that a seed repeats (xorshift64*), evenly from -1 to 1.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32;
        bits / 8_388_608.0 - 1.0
    }

    pub(crate) fn unit(&mut self, dimension: usize) -> Vec<f32> {
        normal((0..dimension).map(|_| self.next()).collect())
    }

    /// Near another one, at this distance or so.
    fn near(&mut self, unit: &[f32], distance: f32) -> Vec<f32> {
        let other = self.unit(unit.len());
        normal(unit.iter().zip(other).map(|(a, b)| a + distance * b).collect())
    }
}

fn normal(numbers: Vec<f32>) -> Vec<f32> {
    let length: f32 = numbers.iter().map(|it| it * it).sum::<f32>().sqrt();
    numbers.into_iter().map(|number| number / length).collect()
}

pub(crate) fn pattern(number: u32) -> Arc<Pattern> {
    let mut id = [0; 16];
    // Ids in another order than rows.
    id[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    let tags = Tags::new(vec![format!("t{}", number % 3)]).unwrap();
    Arc::new(Pattern { id: PatternId(id), tags, number: u64::from(number), ..full() })
}

/// A plain scan in double precision.
fn plain(rows: &BTreeMap<PatternId, Vec<f32>>, unit: &[f32]) -> Vec<(PatternId, f64)> {
    let product = |row: &[f32]| -> f64 {
        row.iter().zip(unit).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut all: Vec<_> = rows.iter().map(|(id, row)| (*id, product(row))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

fn search(index: &Index, unit: &[f32], limit: usize, similarity_min: f32) -> Vec<Hit> {
    index.search(&Search { unit, limit, similarity_min, is_wanted: &|_| true })
}

/// Every hit is where a plain scan has it, but for what rounding exchanges.
fn assert_exact(hits: &[Hit], plain: &[(PatternId, f64)], limit: usize, similarity_min: f64) {
    let expected = plain.iter().take(limit).filter(|(_, it)| *it >= similarity_min + 1e-5).count();
    assert!(hits.len() >= expected, "{} of {expected}", hits.len());
    for (hit, (_, similarity)) in hits.iter().zip(plain) {
        assert!((f64::from(hit.similarity) - similarity).abs() < 2e-5, "{hit:?} {similarity}");
        let own = plain.iter().find(|(id, _)| *id == hit.pattern.id).unwrap().1;
        assert!((own - similarity).abs() < 2e-5, "{hit:?} in the place of {similarity}");
    }
}

#[test]
fn a_search_finds_what_a_plain_scan_finds() {
    let mut numbers = Numbers(7);
    for dimension in [1, 3, 64, 100, 384] {
        let mut index = Index::new(dimension);
        let mut rows = BTreeMap::new();
        let heart = numbers.unit(dimension);
        for number in 0..1500 {
            // Some anywhere, some in a heap, which is harder.
            let unit = match number % 2 {
                0 => numbers.unit(dimension),
                _ => numbers.near(&heart, 0.3),
            };
            let pattern = pattern(number);
            rows.insert(pattern.id, unit.clone());
            assert_eq!(index.push(pattern, &unit), Some(number as usize));
        }
        assert_eq!(index.push(pattern(9999), &vec![1.0; dimension + 1]), None);
        for turn in 0..30 {
            let unit = match turn % 2 {
                0 => numbers.unit(dimension),
                _ => numbers.near(&heart, 0.3),
            };
            let plain = plain(&rows, &unit);
            for (limit, least) in [(1, -1.0), (10, -1.0), (100, 0.5), (10, 0.97)] {
                let hits = search(&index, &unit, limit, least);
                assert!(hits.iter().all(|hit| hit.similarity >= least));
                assert_exact(&hits, &plain, limit, f64::from(least));
            }
        }
    }
}

#[test]
fn the_equally_near_come_by_id_whatever_their_rows() {
    let unit = normal(vec![1.0; 32]);
    let mut ids = Vec::new();
    for order in [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]] {
        let mut index = Index::new(32);
        for number in order {
            index.push(pattern(number), &unit);
        }
        let hits = search(&index, &unit, 3, 0.5);
        ids.push(hits.iter().map(|hit| hit.pattern.id).collect::<Vec<_>>());
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].is_sorted() && ids[0].len() == 3);
}

#[test]
fn more_of_the_same_than_fit_on_the_shortlist_are_sorted_all_the_same() {
    let mut numbers = Numbers(5);
    let unit = numbers.unit(16);
    let mut index = Index::new(16);
    for number in 0..20_000 {
        index.push(pattern(number), &unit);
    }
    let hits = search(&index, &unit, 10, 0.9);
    let mut ids: Vec<_> = (0..20_000).map(|number| pattern(number).id).collect();
    ids.sort_unstable();
    assert!(hits.iter().map(|hit| hit.pattern.id).eq(ids.into_iter().take(10)));
}

#[test]
fn only_what_is_wanted_is_found_however_far_it_is() {
    let mut numbers = Numbers(9);
    let mut index = Index::new(24);
    let mut rows = BTreeMap::new();
    for number in 0..900 {
        let (pattern, unit) = (pattern(number), numbers.unit(24));
        if number % 3 == 1 {
            rows.insert(pattern.id, unit.clone());
        }
        index.push(pattern, &unit);
    }
    let tags = Tags::new(vec!["t1".into()]).unwrap();
    let is_wanted = |pattern: &Pattern| pattern.tags.hold(&tags);
    let unit = numbers.unit(24);
    let hits = index.search(&Search {
        unit: &unit,
        limit: 50,
        similarity_min: -1.0,
        is_wanted: &is_wanted,
    });
    assert_eq!(hits.len(), 50);
    assert_exact(&hits, &plain(&rows, &unit), 50, -1.0);
}

#[test]
fn a_twin_is_found_and_what_is_only_alike_or_has_other_tags_is_not() {
    let mut numbers = Numbers(3);
    for (dimension, kinds) in [(2, 3), (40, 3), (384, 1), (384, 3), (384, 40)] {
        let mut index = Index::new(dimension);
        let tagged = |number: u32| Tags::new(vec![format!("t{}", number % kinds)]).unwrap();
        let mut rows = Vec::new();
        for number in 0..600 {
            let (unit, tags) = (numbers.unit(dimension), tagged(number));
            let pattern = Pattern { tags: tags.clone(), ..(*pattern(number)).clone() };
            index.push(Arc::new(pattern), &unit);
            rows.push((unit, tags));
        }
        // Some go, so that others lie in their rows.
        for row in (0..300).step_by(7) {
            index.swap_remove(row).unwrap();
            rows.swap_remove(row);
        }
        let mut found = 0;
        for turn in 0..400 {
            let (of, own) = &rows[turn % rows.len()];
            let distance = [0.05, 0.15, 0.2, 0.25, 0.6][turn % 5];
            let unit = numbers.near(of, distance);
            let other = tagged(turn as u32);
            for tags in [own, &other] {
                let similar = rows.iter().filter(|(_, it)| it == tags);
                let similar = similar.map(|(it, _)| super::super::quantise::dot(it, &unit));
                let best = similar.max_by(f32::total_cmp).unwrap();
                let twin = index.twin(&unit, tags);
                assert_eq!(twin.is_some(), best >= TWIN_SIMILARITY, "{dimension} {best}");
                if let Some(twin) = twin {
                    found += 1;
                    assert!((twin.similarity - best).abs() < 1e-6 && twin.pattern.tags == *tags);
                }
            }
        }
        assert!(found > 50, "{found}");
        assert!(index.twin(&rows[0].0, &Tags::default()).is_none());
        assert!(index.twin(&[1.0], &rows[0].1).is_none() || dimension == 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_added_and_removed_the_index_has_what_is_left(
        steps in proptest::collection::vec((0_u32..700, any::<bool>(), any::<bool>()), 1..900),
        seed in 1_u64..u64::MAX,
    ) {
        let mut numbers = Numbers(seed);
        let mut index = Index::new(8);
        let mut rows: BTreeMap<PatternId, Vec<f32>> = BTreeMap::new();
        let mut places: Vec<PatternId> = Vec::new();
        let mut seen: Option<(Index, usize)> = None;
        for (number, is_added, is_seen) in steps {
            if is_added {
                let unit = numbers.unit(8);
                let pattern = pattern(number);
                if rows.contains_key(&pattern.id) {
                    continue;
                }
                rows.insert(pattern.id, unit.clone());
                places.push(pattern.id);
                index.push(pattern, &unit);
            } else if !places.is_empty() {
                let row = number as usize % places.len();
                let removed = index.swap_remove(row).unwrap();
                let id = places.swap_remove(row);
                prop_assert_eq!(removed.pattern.id, id);
                let unit = rows.remove(&id);
                prop_assert_eq!(unit.as_deref(), Some(&*removed.unit));
                prop_assert_eq!(removed.moved.map(|it| it.id), places.get(row).copied());
            }
            if is_seen {
                seen = Some((index.clone(), index.len()));
            }
        }
        prop_assert_eq!(index.len(), rows.len());
        prop_assert!(index.patterns().map(|it| it.id).eq(places.iter().copied()));
        for (row, id) in places.iter().enumerate() {
            prop_assert_eq!(index.unit(row), rows.get(id).map(Vec::as_slice));
        }
        prop_assert_eq!(index.swap_remove(places.len()).is_some(), false);
        // What somebody has seen does not change under his eyes.
        if let Some((seen, len)) = seen {
            prop_assert_eq!(seen.patterns().count(), len);
        }
        let unit = numbers.unit(8);
        assert_exact(&search(&index, &unit, 20, -1.0), &plain(&rows, &unit), 20, -1.0);
    }
}
