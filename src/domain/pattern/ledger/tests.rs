use super::*;
use crate::domain::identity::{KeyUse, NodeKey};
use crate::domain::pattern::feedback::statement;
use crate::domain::pattern::index::tests::Numbers;
use crate::domain::pattern::tests::lesson;
use crate::domain::pattern::{Lesson, Source};
use proptest::prelude::*;

const DAY_MS: i64 = 86_400_000;

fn bounds(patterns_max: u64, source_patterns_max: u64) -> Bounds {
    Bounds { patterns_max, source_patterns_max, ..Bounds::default() }
}

/// A lesson that is like no other of another number.
fn nth(number: usize, source: &str) -> Lesson {
    let numbers: Vec<f64> =
        Numbers(number as u64 + 1).unit(32).iter().map(|&it| it.into()).collect();
    lesson(&format!("lesson {number}"), &[], source, &numbers)
}

fn learn(ledger: &mut Ledger, lesson: &Lesson, now_ms: i64) -> Learned {
    ledger.learn(lesson, now_ms).unwrap()
}

fn opinion(id: PatternId, key: u8, is_positive: bool, number: u64) -> Opinion {
    let key = NodeKey::from_secret(&[key; 32]);
    let signed = key.sign(KeyUse::Feedback, &statement(id, is_positive, number).unwrap());
    Opinion::signed(id, is_positive, number, *key.public_key(), &signed.signature).unwrap()
}

/// What a ledger holds, in words that can be compared.
fn held(ledger: &Ledger) -> Vec<String> {
    let mut all: Vec<String> =
        ledger.view().patterns().map(|pattern| format!("{pattern:?}")).collect();
    all.sort();
    all.push(format!("{:?} {}", ledger.view().held, ledger.view().sources));
    let mut observed: Vec<_> = ledger.observations.iter().map(|it| format!("{it:?}")).collect();
    observed.sort();
    let mut proposed: Vec<_> = ledger.proposed().iter().map(|it| format!("{it:?}")).collect();
    proposed.sort();
    all.into_iter().chain(observed).chain(proposed).collect()
}

#[test]
fn learning_the_same_again_changes_nothing() {
    let mut ledger = Ledger::new(Bounds::default());
    let first = learn(&mut ledger, &nth(1, "a"), 5);
    assert_eq!((first.learning, first.pattern.evidence), (Learning::New, 1));
    ledger.take_rows();
    let again = learn(&mut ledger, &nth(1, "a"), 9);
    assert_eq!((again.learning, again.pattern), (Learning::Known, first.pattern));
    assert!(ledger.take_rows().0.is_empty());
}

#[test]
fn what_is_as_good_as_the_same_is_evidence_and_says_so() {
    let mut ledger = Ledger::new(Bounds::default());
    let first = learn(&mut ledger, &lesson("one", &["x"], "a", &[1.0, 0.0]), 0);
    let twin = lesson("two", &["x"], "b", &[1.0, 0.1]);
    for turn in 0..2 {
        let merged = learn(&mut ledger, &twin, 1);
        assert_eq!(merged.pattern.id, first.pattern.id);
        assert_eq!(merged.pattern.evidence, 2, "turn {turn}: said again it is no further evidence");
        match (turn, merged.learning) {
            (0, Learning::Merged { similarity }) => assert!((0.98..1.0).contains(&similarity)),
            (1, Learning::Known) => {}
            other => panic!("{other:?}"),
        }
    }
    // The same words by another one.
    let same = learn(&mut ledger, &lesson("one", &["x"], "c", &[0.0, 1.0]), 2);
    assert_eq!(same.learning, Learning::Merged { similarity: 1.0 });
    assert_eq!(same.pattern.evidence, 3);
    // Other tags, less alike, another embedder: each is another pattern.
    for other in [
        lesson("two", &["y"], "b", &[1.0, 0.1]),
        lesson("three", &["x"], "b", &[1.0, 0.25]),
        lesson("two", &["x"], "b", &[1.0, 0.1, 0.0]),
    ] {
        assert_eq!(learn(&mut ledger, &other, 3).learning, Learning::New, "{other:?}");
    }
    assert_eq!(ledger.view().indexes.len(), 2);
    assert_eq!(ledger.view().held.patterns, 4);
}

#[test]
fn only_the_latest_sayings_are_remembered() {
    let mut ledger = Ledger::new(Bounds::default());
    for number in 0..100 {
        learn(&mut ledger, &lesson("one", &[], &format!("s{number}"), &[1.0, 0.0]), 0);
    }
    let pattern = ledger.view().patterns().next().unwrap().clone();
    assert_eq!((pattern.evidence, pattern.observations.len()), (100, OBSERVATIONS_MAX));
    assert_eq!(ledger.observations.len(), OBSERVATIONS_MAX);
    let known = learn(&mut ledger, &lesson("one", &[], "s99", &[1.0, 0.0]), 0);
    assert_eq!(known.learning, Learning::Known);
}

#[test]
fn signed_feedback_counts_once_and_in_its_order() {
    let mut ledger = Ledger::new(Bounds::default());
    let id = learn(&mut ledger, &nth(1, "a"), 0).pattern.id;
    let (pattern, is_counted) = ledger.feedback(id, &opinion(id, 1, true, 5), 0).unwrap();
    assert_eq!((pattern.confidence.value(), pattern.positives, is_counted), (0.55, 1, true));
    // Sent again, it is the same one.
    let (same, is_counted) = ledger.feedback(id, &opinion(id, 1, true, 5), 0).unwrap();
    assert_eq!((same, is_counted), (pattern, false));
    for replayed in [opinion(id, 1, false, 5), opinion(id, 1, true, 4)] {
        let refused = ledger.feedback(id, &replayed, 0);
        assert_eq!(refused, Err(PatternError::Stale { last: 5 }));
    }
    let (pattern, _) = ledger.feedback(id, &opinion(id, 1, false, 6), 0).unwrap();
    assert_eq!((pattern.confidence.value(), pattern.negatives), (0.52, 1));
    assert_eq!(pattern.signed_positives(), (1, 1));
    let (pattern, _) = ledger.feedback(id, &Opinion::unsigned(true), 0).unwrap();
    assert_eq!((pattern.positives, pattern.signed_positives()), (2, (1, 1)), "nobody signed it");
    for key in 2..=32 {
        ledger.feedback(id, &opinion(id, key, true, 1), 0).unwrap();
    }
    let refused = ledger.feedback(id, &opinion(id, 40, true, 1), 0);
    assert_eq!(refused, Err(PatternError::Signers { max: SIGNERS_MAX }));
    let unknown = PatternId([0; 16]);
    let refused = ledger.feedback(unknown, &Opinion::unsigned(true), 0);
    assert_eq!(refused, Err(PatternError::Unknown(unknown)));
}

#[test]
fn confidence_fades_before_it_rises_again() {
    let mut ledger = Ledger::new(Bounds::default());
    let id = learn(&mut ledger, &nth(1, "a"), 0).pattern.id;
    for _ in 0..4 {
        ledger.feedback(id, &Opinion::unsigned(true), 0).unwrap();
    }
    let (pattern, _) = ledger.feedback(id, &Opinion::unsigned(true), 30 * DAY_MS).unwrap();
    assert_eq!(pattern.confidence.value(), 0.65, "0.7 faded to 0.6");
    // A recall is a use, from which on it fades anew.
    ledger.note_uses([(id, 2, 60 * DAY_MS), (PatternId([9; 16]), 1, 0)]);
    let pattern = ledger.pattern(id).unwrap();
    assert_eq!(pattern.confidence_at(60 * DAY_MS).value(), 0.575);
    assert_eq!((pattern.uses, pattern.used_at_ms), (7, 60 * DAY_MS));
}

fn elevated(ledger: &mut Ledger, id: PatternId) -> Arc<Pattern> {
    for number in 1..=3 {
        for key in 1..=3 {
            ledger.feedback(id, &opinion(id, key, true, number), 0).unwrap();
        }
    }
    let proposal = ProposalId([1; 32]);
    ledger.propose(id, proposal, 0).unwrap();
    let elevation = Elevation { proposal, height: 1, validators: 1, at_ms: 0 };
    ledger.decided(id, proposal, Some(elevation)).unwrap()
}

#[test]
fn only_a_candidate_is_proposed_and_only_its_decision_elevates_it() {
    let mut ledger = Ledger::new(Bounds::default());
    let id = learn(&mut ledger, &nth(1, "a"), 0).pattern.id;
    let (first, second) = (ProposalId([1; 32]), ProposalId([2; 32]));
    let refused = ledger.propose(id, first, 0);
    assert!(matches!(refused, Err(PatternError::NoCandidate { .. })), "{refused:?}");
    let elevation = Elevation { proposal: first, height: 1, validators: 1, at_ms: 0 };
    // A decision about what was not proposed changes nothing.
    assert_eq!(ledger.decided(id, first, Some(elevation)).unwrap().elevation, None);
    for number in 1..=3 {
        for key in 1..=3 {
            ledger.feedback(id, &opinion(id, key, true, number), 0).unwrap();
        }
    }
    ledger.propose(id, first, 0).unwrap();
    assert_eq!(ledger.proposed(), [(id, first)]);
    ledger.propose(id, second, 0).unwrap();
    assert_eq!(ledger.decided(id, first, Some(elevation)).unwrap().elevation, None);
    assert_eq!(ledger.decided(id, second, None).unwrap().proposed, None);
    ledger.propose(id, first, 0).unwrap();
    let pattern = ledger.decided(id, first, Some(elevation)).unwrap();
    assert_eq!((pattern.elevation, pattern.proposed), (Some(elevation), None));
    assert_eq!(elevation.mode(), "solo");
    assert!(ledger.proposed().is_empty());
}

#[test]
fn the_least_worthy_goes_first_and_pinned_and_elevated_ones_stay() {
    let mut ledger = Ledger::new(bounds(4, 4));
    let ids: Vec<_> = (0..4).map(|n| learn(&mut ledger, &nth(n, "a"), 0).pattern.id).collect();
    ledger.pin(ids[0], true).unwrap();
    elevated(&mut ledger, ids[1]);
    ledger.note_uses([(ids[2], 5, 1)]);
    let fifth = learn(&mut ledger, &nth(4, "a"), 2);
    assert_eq!(fifth.evicted, [ids[3]], "it was not used");
    ledger.note_uses([(fifth.pattern.id, 50, 3)]);
    let sixth = learn(&mut ledger, &nth(5, "a"), 3);
    assert_eq!(sixth.evicted, [ids[2]]);
    ledger.pin(fifth.pattern.id, true).unwrap();
    ledger.pin(sixth.pattern.id, true).unwrap();
    let full = ledger.learn(&nth(6, "a"), 4);
    assert!(matches!(full, Err(PatternError::Full { .. })), "{full:?}");
    assert_eq!(ledger.view().held.patterns, 4);
    ledger.pin(ids[0], false).unwrap();
    assert_eq!(learn(&mut ledger, &nth(6, "a"), 5).evicted, [ids[0]]);
}

#[test]
fn no_source_drives_out_another_before_its_own() {
    let mut ledger = Ledger::new(bounds(6, 3));
    let of_a: Vec<_> = (0..2).map(|n| learn(&mut ledger, &nth(n, "a"), 0).pattern.id).collect();
    for number in 10..30 {
        learn(&mut ledger, &nth(number, "b"), 1);
    }
    assert!(of_a.iter().all(|id| ledger.pattern(*id).is_ok()));
    assert_eq!(ledger.view().held.patterns, 5);
    assert_eq!(ledger.view().sources, 2);
    for number in 30..40 {
        learn(&mut ledger, &nth(number, "c"), 2);
    }
    assert_eq!(ledger.view().held.patterns, 6);
}

#[test]
fn bytes_have_their_limits_too() {
    let size = record::bytes("lesson 0".len(), 32);
    let room = Bounds { bytes_max: 3 * size, source_bytes_max: 2 * size, ..Bounds::default() };
    let mut ledger = Ledger::new(room);
    for number in 0..5 {
        learn(&mut ledger, &nth(number, "a"), 0);
    }
    assert_eq!(ledger.view().held, Held { patterns: 2, bytes: 2 * size });
    for number in 5..9 {
        learn(&mut ledger, &nth(number, "b"), 0);
    }
    assert_eq!(ledger.view().held, Held { patterns: 3, bytes: 3 * size });
    let large = lesson(&"x".repeat(3000), &[], "c", &[1.0; 32]);
    let refused = ledger.learn(&large, 0);
    assert!(matches!(refused, Err(PatternError::TooLarge { .. })), "{refused:?}");
    assert_eq!(ledger.view().held.patterns, 3, "nothing went for it");
}

#[test]
fn a_batch_that_needs_room_for_each_of_its_lessons_finds_it() {
    let mut ledger = Ledger::new(bounds(300, 300));
    for number in 0..1000 {
        let learned = learn(&mut ledger, &nth(number, "a"), number as i64);
        assert_eq!(learned.evicted.len(), usize::from(number >= 300), "{number}");
    }
    assert_eq!(ledger.view().held.patterns, 300);
    // The oldest went: all were used alike.
    let least = ledger.view().patterns().map(|pattern| pattern.number).min();
    assert_eq!(least, Some(701));
}

#[test]
fn embedders_have_a_limit_and_an_empty_one_makes_room() {
    let mut ledger = Ledger::new(Bounds::default());
    let of = |dimension: usize| lesson("x", &[], "a", &vec![1.0; dimension]);
    let ids: Vec<_> =
        (1..=EMBEDDERS_MAX).map(|it| learn(&mut ledger, &of(it), 0).pattern.id).collect();
    let refused = ledger.learn(&of(100), 0);
    assert_eq!(refused, Err(PatternError::Embedders { max: EMBEDDERS_MAX }));
    ledger.forget(ids[3]).unwrap();
    assert_eq!(learn(&mut ledger, &of(100), 0).learning, Learning::New);
}

#[derive(Clone, Debug)]
enum Step {
    Learn(usize, usize),
    Feedback(usize, bool),
    Use(usize),
    Pin(usize, bool),
    Forget(usize),
    Settle,
    Undo,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..40, 0_usize..3).prop_map(|(lesson, source)| Step::Learn(lesson, source)),
        2 => (0_usize..40, any::<bool>()).prop_map(|(at, it)| Step::Feedback(at, it)),
        1 => (0_usize..40).prop_map(Step::Use),
        1 => (0_usize..40, any::<bool>()).prop_map(|(at, it)| Step::Pin(at, it)),
        3 => (0_usize..40).prop_map(Step::Forget),
        2 => Just(Step::Settle),
        2 => Just(Step::Undo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_taken_back_never_was_and_what_is_written_is_what_is_held(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let mut ledger = Ledger::new(bounds(12, 7));
        let mut settled = held(&ledger);
        let mut disk: HashMap<PatternId, (Arc<Pattern>, Arc<[f32]>)> = HashMap::new();
        let mut observed: HashMap<Observation, PatternId> = HashMap::new();
        for (now_ms, step) in (0..).zip(steps) {
            let id = |at: usize| ledger.view().patterns().nth(at).map(|pattern| pattern.id);
            match step {
                Step::Learn(number, source) => {
                    let source = Source::new(["a", "b", "c"][source]).unwrap();
                    let _ = ledger.learn(&nth(number, source.as_str()), now_ms);
                }
                Step::Feedback(at, is_positive) => if let Some(id) = id(at) {
                    ledger.feedback(id, &Opinion::unsigned(is_positive), now_ms).unwrap();
                },
                Step::Use(at) => ledger.note_uses(id(at).map(|id| (id, 1, now_ms))),
                Step::Pin(at, is_pinned) => if let Some(id) = id(at) {
                    ledger.pin(id, is_pinned).unwrap();
                },
                Step::Forget(at) => if let Some(id) = id(at) {
                    ledger.forget(id).unwrap();
                    prop_assert!(ledger.pattern(id).is_err());
                },
                Step::Settle => {
                    let (rows, revision) = ledger.take_rows();
                    for row in rows {
                        match row {
                            Row::Add { pattern, unit, .. } => {
                                disk.insert(pattern.id, (pattern, unit));
                            }
                            Row::Change(pattern) => {
                                let id = pattern.id;
                                disk.get_mut(&id).unwrap().0 = pattern;
                            }
                            Row::Observe(observation, id) => {
                                observed.insert(observation, id);
                            }
                            Row::Overlook(observation) => {
                                observed.remove(&observation);
                            }
                            Row::Remove(pattern) => {
                                disk.remove(&pattern.id);
                                for observation in &pattern.observations {
                                    observed.remove(observation);
                                }
                            }
                        }
                    }
                    ledger.settle(revision);
                    settled = held(&ledger);
                    let mut again = Ledger::new(bounds(12, 7));
                    for (pattern, unit) in disk.values() {
                        again.restore((**pattern).clone(), unit).unwrap();
                    }
                    prop_assert_eq!(held(&again), settled.clone(), "as it is read from disk");
                    prop_assert_eq!(&observed, &ledger.observations);
                }
                Step::Undo => {
                    ledger.undo();
                    prop_assert_eq!(held(&ledger), settled.clone());
                }
            }
            prop_assert!(ledger.view().held.patterns <= 12);
            let count = ledger.view().patterns().count() as u64;
            prop_assert_eq!(count, ledger.view().held.patterns);
        }
    }
}
