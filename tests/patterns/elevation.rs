//! Elevation: what speaks for it, who decides, and what a death in between leaves.

use bizra_omega::actors::{consensus, pattern_memory};
use bizra_omega::domain::federation::Outcome;
use bizra_omega::domain::identity::{KeyUse, NodeKey};
use bizra_omega::domain::pattern::feedback::{Opinion, statement};
use bizra_omega::domain::pattern::view::Filter;
use bizra_omega::domain::pattern::{PatternError, PatternId};
use bizra_omega::messages::consensus::ConsensusMsg;
use bizra_omega::messages::event::{Event, Heard, PatternEvent, Topic};
use bizra_omega::messages::pattern_memory::{Elevated, MemoryError};
use bizra_omega::messages::supervisor::Fault;

use crate::house::{Floor, House, house, lesson};
use crate::support::{drill, soon};

fn signed(id: PatternId, key: u8, number: u64) -> Opinion {
    let key = NodeKey::from_secret(&[key; 32]);
    let signed = key.sign(KeyUse::Feedback, &statement(id, true, number).unwrap());
    Opinion::signed(id, true, number, *key.public_key(), &signed.signature).unwrap()
}

async fn candidate(house: &House, content: &str) -> PatternId {
    let id = house.learned(lesson(content, &[], "a")).await.pattern.id;
    for number in 1..=3 {
        for key in 1..=3 {
            house.feedback(id, signed(id, key, number)).await.unwrap();
        }
    }
    id
}

#[tokio::test]
async fn a_candidate_is_elevated_by_a_decision_and_the_record_says_the_node_was_alone() {
    let house = house(Floor::default()).await;
    let mut heard = house.settings.events.subscribe(Topic::Patterns);
    let id = candidate(&house, "Ask before you act.").await;
    let Elevated { pattern, record } = house.elevate(id).await.unwrap();
    let record = record.unwrap();
    assert_eq!(record.status(), "committed");
    assert_eq!(record.verify().unwrap().to_json()["mode"], "solo");
    assert_eq!(record.proposal.pattern_id(), id.to_string());
    assert_eq!(record.to_json()["proposal"]["content"], "Ask before you act.");
    let elevation = pattern.elevation.unwrap();
    assert_eq!((elevation.proposal, elevation.height), (record.id(), 1));
    assert_eq!((elevation.validators, elevation.mode()), (1, "solo"));
    // Asked again, it is the same decision.
    let again = house.elevate(id).await.unwrap();
    assert_eq!((again.pattern.elevation, again.record), (Some(elevation), Some(record)));
    let only = Filter { is_elevated: Some(true), ..Filter::default() };
    assert_eq!(house.near("Ask before you act.", only).await.len(), 1);
    assert_eq!(house.stats().await.elevated, 1);
    let told = loop {
        let Some(Heard::Told(next)) = heard.next().await else { panic!("nothing") };
        if let Event::Pattern(event @ PatternEvent::Elevated { .. }) = next.event {
            break event;
        }
    };
    let proposal_id = elevation.proposal.to_string();
    let expected =
        PatternEvent::Elevated { id: id.to_string(), proposal_id, height: 1, mode: "solo" };
    assert_eq!(told, expected);
    assert!(house.metrics().contains("pattern_elevated_total 1"));
}

#[tokio::test]
async fn without_nine_signed_voices_of_three_nobody_asks_for_a_decision() {
    let house = house(Floor::default()).await;
    let id = house.learned(lesson("Ask before you act.", &[], "a")).await.pattern.id;
    for _ in 0..20 {
        house.feedback(id, Opinion::unsigned(true)).await.unwrap();
    }
    let refused = |elevated: Result<Elevated, MemoryError>| {
        let is_it = matches!(elevated, Err(MemoryError::Pattern(PatternError::NoCandidate { .. })));
        assert!(is_it, "{elevated:?}");
    };
    refused(house.elevate(id).await);
    // The same voices again and again are no more voices.
    for _ in 0..9 {
        for key in 1..=3 {
            house.feedback(id, signed(id, key, 1)).await.unwrap();
        }
    }
    refused(house.elevate(id).await);
    for number in 2..=10 {
        house.feedback(id, signed(id, 1, number)).await.unwrap();
    }
    let elevated = house.elevate(id).await.unwrap();
    assert!(elevated.pattern.elevation.is_some(), "three keys, more than nine");
    let standing = house.consensus.call(soon(), |reply| ConsensusMsg::Standing { reply });
    assert_eq!(standing.await.unwrap().unwrap().height, 1);
}

#[tokio::test]
async fn what_the_gates_refuse_is_not_elevated() {
    let house = house(Floor::default()).await;
    let id = candidate(&house, "The key is AKIAQX7C5WTRB3DKM2LF.").await;
    let elevated = house.elevate(id).await.unwrap();
    let record = elevated.record.unwrap();
    assert!(matches!(record.outcome, Outcome::Rejected { .. }), "{record:?}");
    assert_eq!((elevated.pattern.elevation, elevated.pattern.proposed), (None, None));
    assert_eq!(house.stats().await.elevated, 0);
}

#[tokio::test]
async fn a_long_content_cannot_be_proposed_and_says_so() {
    let house = house(Floor::default()).await;
    let id = candidate(&house, &"word ".repeat(5000)).await;
    let refused = house.elevate(id).await;
    assert!(matches!(refused, Err(MemoryError::Proposal(_))), "{refused:?}");
}

#[tokio::test]
async fn a_decision_that_was_made_while_the_actor_died_is_heard_of() {
    let house = house(Floor::default()).await;
    for (turn, fault) in [Fault::Kill, Fault::Panic, Fault::Error].into_iter().enumerate() {
        let id =
            candidate(&house, &format!("Rule {turn}: {}", crate::house::text(turn as u64))).await;
        let (elevated, ()) = tokio::join!(house.elevate(id), async {
            tokio::task::yield_now().await;
            drill(&house.root, pattern_memory::NAME, fault).await;
            drill(&house.root, consensus::NAME, fault).await;
        });
        // Now, or when the next incarnation has asked.
        drop(elevated);
        let is_elevated = async {
            while house.find(id).await.unwrap().pattern.elevation.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                // Asked again it is the same proposal.
                let _ = house.elevate(id).await;
            }
        };
        let in_time = tokio::time::timeout(60 * crate::support::SECOND, is_elevated).await;
        assert!(in_time.is_ok(), "{fault:?}");
        let found = house.find(id).await.unwrap().pattern;
        assert_eq!((found.elevation.unwrap().height, found.proposed), (turn as u64 + 1, None));
    }
}
