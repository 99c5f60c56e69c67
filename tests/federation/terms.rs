//! What decides over decisions: the constitution, the keys, limits, the disk, the clock.

use std::sync::atomic::AtomicI64;

use bizra_omega::domain::constitution::DEFAULT_TOML;

use super::*;

#[tokio::test]
async fn what_waited_while_the_constitution_changed_is_judged_by_the_one_in_force() {
    let stricter = DEFAULT_TOML
        .replace("version = \"1.0.0\"", "version = \"1.1.0\"")
        .replace("fate = \"advisory\"\n", "fate = \"strict\"\n");
    let stricter = Constitution::parse("stricter", &stricter).unwrap();
    let newer = DEFAULT_TOML.replace("version = \"1.0.0\"", "version = \"1.1.0\"");
    let newer = Constitution::parse("newer", &newer).unwrap();
    for (in_force, status) in [(newer, "committed"), (stricter, "rejected")] {
        let floor = Floor { constitution: in_force.clone(), ..Floor::default() };
        let store = Store::open(floor.dir.path(), 0).unwrap();
        let record = left_behind(proposal(1), NOW_MS, &Constitution::default());
        store.keep_proposal(&record, Bounds::default()).await.unwrap();
        drop(store);
        let node = node(floor).await;
        let decided = node.until_decided(&proposal(1)).await;
        assert_eq!((decided.status(), decided.constitution), (status, in_force.digest()));
        assert_eq!(decided.verify().is_ok(), status == "committed");
    }
}

#[tokio::test]
async fn a_rule_about_votes_that_no_vote_satisfies_decides_nothing() {
    let odd = DEFAULT_TOML.replace("version = \"1.0.0\"", "version = \"1.1.0\"").replace(
        "comparator = \">\"\nthreshold = 0.6666666666666666",
        "comparator = \">\"\nthreshold = 1.0",
    );
    let constitution = Constitution::parse("odd", &odd).unwrap();
    let node = node(Floor { constitution, ..Floor::default() }).await;
    let record = node.propose(&proposal(1)).await.unwrap();
    let Outcome::Rejected { code, .. } = &record.outcome else { panic!("{record:?}") };
    assert_eq!((code.as_str(), node.standing().await.height), ("BFT_001", 0));
}

#[tokio::test]
async fn another_key_votes_from_when_it_is_active() {
    let node = node(Floor::default()).await;
    let first = node.propose(&proposal(1)).await.unwrap();
    let ask = |reply| IdentityMsg::Generate { label: None, activate: true, reply };
    let new = node.identity.call(soon(), ask).await.unwrap().unwrap();
    let second = node.propose(&proposal(2)).await.unwrap();
    assert_eq!(second.verify().unwrap().validators(), [new.public_key]);
    assert_ne!(first.verify().unwrap().validators(), [new.public_key]);
}

#[tokio::test]
async fn limits_are_kept_and_told() {
    let none = Bounds { pending_max: 0, ..Bounds::default() };
    let crowded = node(Floor { bounds: none, ..Floor::default() }).await;
    let refused = crowded.propose(&proposal(1)).await;
    assert_eq!(refused, Err(ConsensusError::Crowded { max: 0 }));
    assert_eq!(crowded.find(&proposal(1)).await, None);
    assert!(crowded.metrics().contains("consensus_proposals_total{outcome=\"failed\"} 1"));

    let two = Bounds { kept_max: 2, ..Bounds::default() };
    let small = node(Floor { bounds: two, ..Floor::default() }).await;
    for number in 1..=4 {
        assert_eq!(small.propose(&proposal(number)).await.unwrap().height(), Some(number));
    }
    let heights: Vec<_> = small.list().await.iter().map(Record::height).collect();
    assert_eq!(heights, [Some(4), Some(3)]);

    let full = node(Floor { free_bytes_min: u64::MAX, ..Floor::default() }).await;
    let refused = full.propose(&proposal(1)).await;
    assert!(matches!(refused, Err(ConsensusError::DiskFull(_))), "{refused:?}");
    assert_eq!(full.standing().await.pending, 0);
}

#[tokio::test]
async fn nothing_is_promised_when_the_store_cannot_write() {
    let node = node(Floor::default()).await;
    let first = node.propose(&proposal(1)).await.unwrap();
    node.store.stop_writing();
    let refused = node.propose(&proposal(2)).await;
    assert!(matches!(refused, Err(ConsensusError::Unavailable(_))), "{refused:?}");
    // What is known is still told.
    assert_eq!(node.propose(&proposal(1)).await.unwrap(), first);
}

#[tokio::test]
async fn a_clock_that_stands_still_or_goes_back_changes_no_height() {
    static CLOCK: AtomicI64 = AtomicI64::new(NOW_MS);
    let node = node(Floor { now_ms: || CLOCK.load(Ordering::SeqCst), ..Floor::default() }).await;
    for (number, now_ms) in [(1, NOW_MS), (2, NOW_MS), (3, NOW_MS - LIFE_MS), (4, 0)] {
        CLOCK.store(now_ms, Ordering::SeqCst);
        let record = node.propose(&proposal(number)).await.unwrap();
        assert_eq!(record.height(), Some(number));
        record.verify().unwrap();
    }
}
