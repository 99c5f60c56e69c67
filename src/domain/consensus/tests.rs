use proptest::prelude::*;

use super::*;
use crate::domain::digest::domain_separated_digest;
use crate::domain::identity::NodeKey;

const NOW_MS: i64 = 1_767_225_600_123;

fn key(secret: u8) -> NodeKey {
    NodeKey::from_secret(&[secret; 32])
}

fn decision(members: u8) -> Decision {
    let validators = (1..=members).map(|secret| *key(secret).public_key()).collect();
    let constitution = domain_separated_digest(b"constitution");
    Decision::new(7, ProposalId([3; 32]), constitution, NOW_MS, validators).unwrap()
}

fn vote(secret: u8, decision: &Decision) -> Vote {
    let signed = key(secret).sign(KeyUse::Vote, &decision.statement().unwrap());
    Vote { public_key: signed.public_key, signature: signed.signature }
}

fn votes(secrets: impl IntoIterator<Item = u8>, decision: &Decision) -> Vec<Vote> {
    secrets.into_iter().map(|secret| vote(secret, decision)).collect()
}

fn checked(value: &Value) -> Result<(), CertificateError> {
    Certificate::from_json(value)?.verify()
}

#[test]
fn the_numbers_are_those_of_the_theory() {
    for (members, faulty, votes) in [
        (0, 0, 1),
        (1, 0, 1),
        (2, 0, 2),
        (3, 0, 3),
        (4, 1, 3),
        (5, 1, 4),
        (6, 1, 5),
        (7, 2, 5),
        (10, 3, 7),
        (100, 33, 67),
    ] {
        assert_eq!((fault_tolerance(members), needed(members)), (faulty, votes), "{members}");
    }
}

#[test]
fn a_decision_stands_on_enough_votes_and_not_on_fewer() {
    for members in 1..=7 {
        let decision = decision(members);
        let needed = needed(usize::from(members));
        for count in 0..=members {
            let certified = decision.clone().certify(votes(1..=count, &decision));
            assert_eq!(certified.is_ok(), usize::from(count) >= needed, "{count} of {members}");
            if let Ok(certificate) = certified {
                let read = Certificate::from_json(&certificate.to_json()).unwrap();
                assert_eq!((&read, read.verify()), (&certificate, Ok(())));
            }
        }
    }
}

#[test]
fn nobody_votes_twice_and_no_stranger_votes() {
    let decision = decision(4);
    let twice = votes([1, 2, 2], &decision);
    assert_eq!(decision.clone().certify(twice), Err(CertificateError::Votes));
    let stranger = votes([1, 2, 9], &decision);
    let expected = CertificateError::Stranger(key(9).public_key().node_id());
    assert_eq!(decision.clone().certify(stranger), Err(expected));
    // One key under several names is one validator.
    let same = vec![*key(1).public_key(); 3];
    let constitution = domain_separated_digest(b"constitution");
    let made = Decision::new(1, ProposalId([3; 32]), constitution, NOW_MS, same);
    assert_eq!(made, Err(CertificateError::Validators));
}

#[test]
fn what_no_decision_can_be_is_not_made() {
    let constitution = domain_separated_digest(b"constitution");
    let validators = || vec![*key(1).public_key()];
    let make = |height, at_ms, validators| {
        Decision::new(height, ProposalId([3; 32]), constitution, at_ms, validators)
    };
    assert_eq!(make(0, NOW_MS, validators()), Err(CertificateError::Height));
    assert_eq!(make(1 << 53, NOW_MS, validators()), Err(CertificateError::Height));
    assert_eq!(make(1, i64::MAX, validators()), Err(CertificateError::Time));
    assert_eq!(make(1, NOW_MS, Vec::new()), Err(CertificateError::Validators));
    assert!(make(INTEGER_MAX.unsigned_abs(), NOW_MS, validators()).is_ok());
}

#[test]
fn a_certificate_holds_until_any_field_is_changed() {
    for members in [1, 4] {
        let decision = decision(members);
        let certificate = decision.clone().certify(votes(1..=members, &decision)).unwrap();
        let whole = certificate.to_json();
        assert_eq!(checked(&whole), Ok(()));
        let mut changes = vec![
            ("/type", json!("bizra-decision-v2")),
            ("/mode", json!(if members == 1 { "federated" } else { "solo" })),
            ("/height", json!(8)),
            ("/height", json!(0)),
            ("/height", json!("7")),
            ("/height", json!(7.5)),
            ("/proposal", json!(format!("prop_{}", "4".repeat(64)))),
            ("/proposal", json!("x")),
            ("/constitution", json!("0".repeat(64))),
            ("/constitution", json!(1)),
            ("/decided_at", json!("2026-01-01T00:00:00.124Z")),
            ("/decided_at", json!("2026-01-01T00:00:00.123+00:00")),
            ("/validators", json!([])),
            ("/validators", json!("x")),
            ("/validators/0", json!(key(9).public_key().to_hex())),
            ("/validators/0", json!("0".repeat(64))),
            ("/validators/0", json!("\u{e9}")),
            ("/quorum", json!(0)),
            ("/quorum", json!(members)),
            ("/votes", json!([])),
            ("/votes", json!({})),
            ("/votes/0", json!("x")),
            ("/votes/0/public_key", json!(key(9).public_key().to_hex())),
            ("/votes/0/signature", json!("0".repeat(128))),
            ("/votes/0/signature", json!("\u{6f22}")),
        ];
        if members == 1 {
            // One of one is right; nothing else is.
            changes.retain(|(pointer, value)| *pointer != "/quorum" || *value != json!(1));
        }
        for (pointer, value) in changes {
            let mut changed = whole.clone();
            let place = changed.pointer_mut(pointer).unwrap();
            assert_ne!(*place, value, "{pointer}");
            *place = value;
            assert!(checked(&changed).is_err(), "{pointer}: {changed}");
        }
        for name in whole.as_object().unwrap().keys() {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(name);
            assert!(checked(&less).is_err(), "without {name}");
        }
        let mut more = whole.clone();
        more["note"] = json!("x");
        assert!(checked(&more).is_err(), "what nobody signed is not in it");
    }
    assert!(checked(&json!(null)).is_err() && checked(&json!([1])).is_err());
}

#[test]
fn another_order_is_another_certificate() {
    let decision = decision(4);
    let whole = decision.clone().certify(votes(1..=4, &decision)).unwrap().to_json();
    for list in ["validators", "votes"] {
        let mut changed = whole.clone();
        changed[list].as_array_mut().unwrap().reverse();
        assert!(checked(&changed).is_err(), "{list}");
    }
}

#[test]
fn a_signature_for_anything_else_is_no_vote() {
    let decision = decision(1);
    let statement = decision.statement().unwrap();
    for key_use in [KeyUse::Message, KeyUse::Envelope, KeyUse::Proposal, KeyUse::Rotation] {
        let signed = key(1).sign(key_use, &statement);
        let vote = Vote { public_key: signed.public_key, signature: signed.signature };
        let expected = CertificateError::Signature(signed.public_key.node_id());
        assert_eq!(decision.clone().certify(vec![vote]), Err(expected), "{key_use:?}");
    }
}

proptest! {
    #[test]
    fn two_quorums_share_more_members_than_can_lie(members in 1_usize..10_000) {
        let (faulty, votes) = (fault_tolerance(members), needed(members));
        prop_assert!(members > 3 * faulty, "n >= 3f + 1");
        // Two quorums have at least 2q - n members in common.
        prop_assert!(2 * votes - members > faulty);
        // Those who do not lie are enough by themselves.
        prop_assert!(members - faulty >= votes);
        // It is the strict two thirds, and no vote more.
        prop_assert!(3 * votes > 2 * members);
        prop_assert!(3 * (votes - 1) <= 2 * members);
    }

    #[test]
    fn any_two_certificates_of_one_height_share_a_voter_who_does_not_lie(
        members in 1_u8..8,
        first in any::<u8>(),
        second in any::<u8>(),
    ) {
        let decision = decision(members);
        let certify = |mask: u8| {
            let secrets = (1..=members).filter(|secret| mask & (1 << (secret - 1)) != 0);
            let secrets: Vec<u8> = secrets.collect();
            decision.clone().certify(votes(secrets, &decision))
        };
        if let (Ok(first), Ok(second)) = (certify(first), certify(second)) {
            let shared = first.votes().iter().filter(|vote| second.votes().contains(vote)).count();
            prop_assert!(shared > fault_tolerance(usize::from(members)));
        }
    }

    #[test]
    fn no_flipped_bit_leaves_a_certificate_that_holds(at in any::<prop::sample::Index>()) {
        let decision = decision(1);
        let whole = decision.clone().certify(votes([1], &decision)).unwrap();
        let mut bytes = json::canonical(&whole.to_json()).unwrap();
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let holds = json::parse(&bytes).is_ok_and(|value| checked(&value).is_ok());
        prop_assert!(!holds, "bit {bit}");
    }
}
