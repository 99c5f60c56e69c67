use proptest::prelude::*;

use super::*;

fn score(value: f64) -> Score {
    Score::try_from(value).unwrap()
}

fn draft(context: &str) -> Draft {
    Draft {
        timestamp_s: 1_700_000_000,
        context: context.to_owned(),
        graph_hash: "ab".repeat(32),
        graph_nodes: 3,
        actions: vec![Action {
            kind: "inference".into(),
            description: "d".into(),
            is_success: true,
            duration_us: 5,
        }],
        snr: score(0.9),
        ihsan: score(0.96),
        is_snr_ok: true,
        embedding: None,
        summary: None,
    }
}

#[test]
fn hashes_are_those_of_existing_nodes() {
    let mut ledger = Ledger::default();
    assert_eq!((ledger.chain_head(), ledger.next_sequence()), ("genesis", 0));
    let first = ledger.commit(draft("ctx one")).unwrap();
    assert_eq!(
        first.episode_hash,
        "a33d9906a643ab462e66140632b59f7adab9b5a6ecec39d933e078de98595609"
    );
    assert_eq!(
        first.chain_hash,
        "bb083c26cfcca147f1731810bddf36f4452cd011a75a8769dab712990cba9b60"
    );
    let second = Draft {
        timestamp_s: 1_700_000_001,
        context: "\u{633}\u{64a}\u{627}\u{642}".into(),
        graph_hash: String::new(),
        graph_nodes: 0,
        actions: Vec::new(),
        snr: score(0.5),
        ihsan: score(0.123_456_789),
        is_snr_ok: false,
        ..draft("")
    };
    let second = ledger.commit(second).unwrap();
    assert_eq!(
        second.chain_hash,
        "ccdc97328ef1b4a3779e05a159dda4a4c97d43339f41de260b6497d1c93b9a54"
    );
    assert!(ledger.is_intact());
}

#[test]
fn whatever_is_changed_is_noticed() {
    let mut whole = Ledger::default();
    for context in ["one", "two", "three"] {
        whole.commit(draft(context)).unwrap();
    }
    let spoil = |change: fn(&mut Ledger)| {
        let mut ledger = whole.clone();
        change(&mut ledger);
        ledger.is_intact()
    };
    assert!(spoil(|_| ()));
    assert!(!spoil(|ledger| ledger.links[1].content.as_mut().unwrap().context.push('!')));
    assert!(!spoil(|ledger| ledger.links[1].content.as_mut().unwrap().snr = Score::ONE));
    assert!(!spoil(|ledger| ledger.links[1].episode_hash = ledger.links[0].episode_hash.clone()));
    assert!(!spoil(|ledger| ledger.links[2].chain_hash = ledger.links[0].chain_hash.clone()));
    assert!(!spoil(|ledger| drop(ledger.links.remove(1))));
    assert!(!spoil(|ledger| ledger.links.swap(0, 1)));
    assert!(!spoil(|ledger| ledger.base = "other".into()));
}

#[test]
fn a_full_ledger_stays_bounded_and_intact() {
    let mut ledger = Ledger::with_limits(20, 400);
    for number in 0..1000_u32 {
        let matters = score(if number % 10 == 0 { 1.0 } else { 0.5 });
        ledger.commit(Draft { snr: matters, ..draft(&format!("number {number}")) }).unwrap();
        assert!(ledger.len() <= 20 && ledger.links.len() <= 400);
        assert_eq!(ledger.len(), ledger.episodes().count());
    }
    assert!(ledger.is_intact());
    assert!(ledger.distillations() > 10);
    assert_eq!(ledger.next_sequence(), 1000);
    let last = ledger.episodes().last().unwrap().1;
    assert_eq!(last.context, "number 999");
    // What mattered outlives its neighbours.
    let kept: Vec<_> = ledger.episodes().map(|(episode, _)| episode.sequence).collect();
    let older = &kept[..kept.len() / 4];
    assert!(older.iter().all(|sequence| sequence % 10 == 0), "{kept:?}");
}

#[test]
fn what_fits_best_comes_first() {
    let mut ledger = Ledger::default();
    let with = |context: &str, age_s: u64, embedding: [f32; 2]| Draft {
        timestamp_s: 1_700_000_000 - age_s,
        embedding: Some(embedding.to_vec()),
        ..draft(context)
    };
    ledger.commit(with("the cat sat on the mat", 3000, [1.0, 0.0])).unwrap();
    ledger.commit(with("a dog in the fog", 3000, [0.0, 1.0])).unwrap();
    ledger.commit(with("the cat and the dog", 0, [0.7, 0.7])).unwrap();
    let search = |text, embedding, limit| {
        let query = Query { text, embedding, now_s: 1_700_000_000, limit };
        let found = ledger.retrieve(&query).unwrap();
        found.into_iter().map(|(episode, _)| episode.sequence).collect::<Vec<_>>()
    };
    assert_eq!(search("fog dog", None, 3), [2, 1, 0]);
    assert_eq!(search("FOG dog the", None, 1), [2]);
    assert_eq!(search("", Some(&[0.0, 1.0][..]), 3), [2, 1, 0]);
    // A vector of another length says nothing, so words do.
    assert_eq!(search("cat sat mat", Some(&[1.0][..]), 3), [2, 0, 1]);
    for (limit, embedding) in
        [(0, None), (EPISODES_MAX + 1, None), (1, Some(&[][..])), (1, Some(&[f32::NAN][..]))]
    {
        let query = Query { text: "x", embedding, now_s: 0, limit };
        assert!(ledger.retrieve(&query).is_err());
    }
    let query = Query { text: "x", embedding: None, now_s: 0, limit: 1 };
    assert_eq!(Ledger::default().retrieve(&query), Ok(Vec::new()));
}

#[test]
fn what_is_too_large_is_no_episode() {
    let mut ledger = Ledger::default();
    let long = "x".repeat(EPISODE_BYTES_MAX);
    for (wrong, error) in [
        (draft(&long), LedgerError::TooLong(EPISODE_BYTES_MAX + 74)),
        (
            Draft { actions: vec![draft("").actions[0].clone(); 257], ..draft("") },
            LedgerError::Actions(257),
        ),
        (Draft { embedding: Some(Vec::new()), ..draft("") }, LedgerError::Embedding),
        (Draft { embedding: Some(vec![0.0; 3]), ..draft("") }, LedgerError::Embedding),
        (Draft { embedding: Some(vec![f32::INFINITY]), ..draft("") }, LedgerError::Embedding),
        (Draft { embedding: Some(vec![1.0; 4097]), ..draft("") }, LedgerError::Embedding),
    ] {
        assert_eq!(ledger.commit(wrong), Err(error));
    }
    assert!(ledger.is_empty());
}

proptest! {
    #[test]
    fn no_two_episodes_have_the_same_bytes(
        context in "[ab]{0,4}", graph in "[ab]{0,4}", other_context in "[ab]{0,4}",
        other_graph in "[ab]{0,4}",
    ) {
        let bytes = |context: &str, graph: &str| {
            preimage(0, &Draft { graph_hash: graph.into(), ..draft(context) })
        };
        let is_same = (&context, &graph) == (&other_context, &other_graph);
        let bytes_are_same = bytes(&context, &graph) == bytes(&other_context, &other_graph);
        prop_assert_eq!(is_same, bytes_are_same);
    }
}
