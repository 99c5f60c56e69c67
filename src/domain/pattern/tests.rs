use proptest::prelude::*;

use super::*;
use crate::domain::federation::ProposalId;
use crate::domain::identity::NodeKey;

pub(crate) fn embedder(dimension: usize) -> EmbedderId {
    EmbedderId { name: "test".to_owned(), version: 1, dimension }
}

pub(crate) fn position(numbers: &[f64]) -> Position {
    Position::new(embedder(numbers.len()), numbers).unwrap()
}

pub(crate) fn lesson(content: &str, tags: &[&str], source: &str, numbers: &[f64]) -> Lesson {
    let tags = Tags::new(tags.iter().map(|&tag| tag.to_owned()).collect()).unwrap();
    let source = Source::new(source).unwrap();
    Lesson::new(content, tags, source, Some(position(numbers))).unwrap()
}

/// A pattern with something in every member.
pub(crate) fn full() -> Pattern {
    let key = *NodeKey::from_secret(&[3; 32]).public_key();
    Pattern {
        id: PatternId([1; 16]),
        number: 7,
        embedder: Arc::new(embedder(3)),
        tags: Tags::new(vec!["b".into(), "\u{6f22}".into(), "a".into()]).unwrap(),
        source: Source::new("node:1").unwrap(),
        content_bytes: 12,
        learned_at_ms: 1_767_225_600_123,
        used_at_ms: 1_767_225_600_124,
        uses: 3,
        evidence: 2,
        confidence: Confidence::from_millionths(950_001),
        positives: 9,
        negatives: 1,
        signers: vec![Signer { key, last: 5, is_last_positive: true, positives: 4 }],
        is_pinned: true,
        elevation: Some(Elevation {
            proposal: ProposalId([9; 32]),
            height: 4,
            validators: 1,
            at_ms: 1_767_225_600_125,
        }),
        proposed: Some(ProposalId([8; 32])),
        observations: vec![Observation([2; 16]), Observation([3; 16])],
    }
}

#[test]
fn an_id_is_of_what_is_said_with_its_tags_and_embedder_and_not_of_who_says_it() {
    let id = |lesson: &Lesson, embedder: &EmbedderId| lesson.ids(embedder).unwrap();
    let first = lesson("a", &["x", "y"], "one", &[1.0, 0.0]);
    let same = id(&first, &embedder(2));
    assert_eq!(same, id(&lesson("a", &["y", "x", "x"], "one", &[0.0, 1.0]), &embedder(2)));
    let other_source = id(&lesson("a", &["x", "y"], "two", &[1.0, 0.0]), &embedder(2));
    assert_eq!(other_source.0, same.0);
    assert_ne!(other_source.1, same.1, "another one says so");
    for other in [
        id(&lesson("b", &["x", "y"], "one", &[1.0, 0.0]), &embedder(2)),
        id(&lesson("a", &["x"], "one", &[1.0, 0.0]), &embedder(2)),
        id(&first, &embedder(3)),
        id(&first, &EmbedderId { version: 2, ..embedder(2) }),
        id(&first, &EmbedderId { name: "other".into(), ..embedder(2) }),
    ] {
        assert_ne!(other.0, same.0);
    }
    let text = same.0.to_string();
    assert_eq!(text.len(), 36);
    assert_eq!(PatternId::from_text(&text), Some(same.0));
    for text in ["", "pat_", "pat_x", &text[4..], &text.to_uppercase(), "pat_\u{e9}"] {
        assert_eq!(PatternId::from_text(text), None, "{text}");
    }
}

#[test]
fn each_value_has_its_bounds() {
    let source = || Source::new("s").unwrap();
    let of_content = |len| Lesson::new(&"x".repeat(len), Tags::default(), source(), None);
    assert_eq!(of_content(0).unwrap_err(), PatternError::Content { found: 0 });
    assert!(of_content(1).is_ok() && of_content(CONTENT_BYTES_MAX).is_ok());
    let found = CONTENT_BYTES_MAX + 1;
    assert_eq!(of_content(found).unwrap_err(), PatternError::Content { found });

    let tags = |tags: Vec<String>| Tags::new(tags).map(drop);
    assert_eq!(tags(vec!["a".into(); TAGS_MAX]), Ok(()));
    assert_eq!(tags(vec!["a".into(); 17]), Err(PatternError::Tags { found: 17 }));
    assert_eq!(tags(vec!["\u{6f22}".repeat(TAG_CHARS_MAX)]), Ok(()));
    for tag in ["", "a\nb", &"x".repeat(TAG_CHARS_MAX + 1), "\u{7f}"] {
        assert_eq!(tags(vec![tag.to_owned()]), Err(PatternError::Tag), "{tag:?}");
    }
    for name in ["a", "node:1.b-c_d", &"x".repeat(SOURCE_CHARS_MAX)] {
        assert!(Source::new(name).is_ok(), "{name}");
    }
    for name in ["", "a b", "a/b", "\u{e9}", &"x".repeat(SOURCE_CHARS_MAX + 1)] {
        assert_eq!(Source::new(name), Err(PatternError::Source), "{name}");
    }
}

#[test]
fn a_position_has_a_direction_and_the_dimension_that_it_says() {
    let new = |dimension, numbers: &[f64]| Position::new(embedder(dimension), numbers);
    let unit = new(2, &[3.0, -4.0]).unwrap();
    assert_eq!(unit.unit()[..], [0.6, -0.8]);
    let wrong = PatternError::Dimension { found: 2, expected: 3 };
    assert_eq!(new(3, &[1.0, 2.0]), Err(wrong));
    assert_eq!(new(2, &[1.0, f64::NAN]), Err(PatternError::Number { at: 1 }));
    assert_eq!(new(2, &[f64::INFINITY, 1.0]), Err(PatternError::Number { at: 0 }));
    assert_eq!(new(2, &[0.0, -0.0]), Err(PatternError::Zero));
    assert_eq!(new(0, &[]), Err(PatternError::Embedder));
    assert_eq!(new(4097, &vec![1.0; 4097]), Err(PatternError::Embedder));
    for name in ["", "a\u{0}", &"x".repeat(EMBEDDER_CHARS_MAX + 1)] {
        let embedder = EmbedderId { name: name.to_owned(), ..embedder(1) };
        assert_eq!(Position::new(embedder, &[1.0]), Err(PatternError::Embedder), "{name:?}");
    }
    // The length is that of 1 however large or small the numbers are.
    for size in [f64::MAX, f64::MIN_POSITIVE, 5e-324] {
        assert_eq!(new(2, &[size, 0.0]).unwrap().unit()[..], [1.0, 0.0]);
    }
}

#[test]
fn what_is_kept_is_read_back_and_what_is_damaged_is_not() {
    let pattern = full();
    let bytes = pattern.to_bytes().unwrap();
    assert_eq!(Pattern::from_bytes(&bytes), Ok(pattern));
    for len in 0..bytes.len() {
        assert!(Pattern::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    assert!(Pattern::from_bytes(b"{}").is_err());
}

#[test]
fn a_candidate_is_sure_and_spoken_for_nine_times_by_three_keys() {
    let signers = |positives: &[u64]| {
        let key = |at| *NodeKey::from_secret(&[at; 32]).public_key();
        let signer = |(at, &positives)| Signer {
            key: key(u8::try_from(at).unwrap() + 1),
            last: 1,
            is_last_positive: true,
            positives,
        };
        positives.iter().enumerate().map(signer).collect::<Vec<_>>()
    };
    let new = Pattern { elevation: None, proposed: None, used_at_ms: 0, ..full() };
    let check = |confidence: u32, positives: &[u64]| {
        let confidence = Confidence::from_millionths(confidence);
        let pattern = Pattern { confidence, signers: signers(positives), ..new.clone() };
        pattern.check_candidate(0).is_ok()
    };
    assert!(check(950_000, &[3, 3, 3]) && check(1_000_000, &[7, 1, 1, 0]));
    assert!(!check(949_999, &[3, 3, 3]), "not sure enough");
    assert!(!check(950_000, &[3, 3, 2]), "eight");
    assert!(!check(950_000, &[8, 8]), "of two");
    assert!(!check(950_000, &[9, 0, 0]), "who said nothing for it does not count");
    // What was sure once fades.
    let confidence = Confidence::from_millionths(950_000);
    let pattern = Pattern { confidence, signers: signers(&[3, 3, 3]), ..new.clone() };
    assert!(pattern.check_candidate(86_400_000).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Pattern::from_bytes(&bytes);
    }

    #[test]
    fn any_change_of_what_is_kept_is_read_or_refused(at in 0_usize..400, to: u8) {
        let mut bytes = full().to_bytes().unwrap();
        let len = bytes.len();
        bytes[at % len] = to;
        if let Ok(read) = Pattern::from_bytes(&bytes) {
            prop_assert!(read.confidence.value() <= 1.0);
        }
    }

    #[test]
    fn a_position_has_length_1(numbers in proptest::collection::vec(-1e300..1e300_f64, 1..64)) {
        if let Ok(position) = Position::new(embedder(numbers.len()), &numbers) {
            let length: f64 = position.unit().iter().map(|it| f64::from(*it).powi(2)).sum();
            prop_assert!((length - 1.0).abs() < 1e-5);
        }
    }
}
