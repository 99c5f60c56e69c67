use proptest::prelude::*;

use super::*;
use crate::domain::consensus::{Decision, Vote};
use crate::domain::identity::{KeyUse, NodeKey};

pub(crate) const NOW_MS: i64 = 1_767_225_600_123;

pub(crate) fn draft() -> Draft {
    Draft {
        pattern_id: "pat_0123456789abcdef".into(),
        pattern_embedding: vec![0.25, -1.0, 1e-7, 0.1],
        source_node: "79b5562e8fe654f94078b112e8a98ba7".into(),
        confidence: 0.97,
        content: Some("Ask before you act: \u{6f22}.".into()),
    }
}

fn key() -> NodeKey {
    NodeKey::from_secret(&[7; 32])
}

fn constitution() -> Digest {
    domain_separated_digest(b"constitution")
}

/// A record that waits, as the gates passed it.
pub(crate) fn pending(proposal: Proposal) -> Record {
    let signed = key().sign(KeyUse::Proposal, proposal.statement());
    let judged = proposal.judged().unwrap();
    Record {
        proposer: signed.public_key,
        signature: signed.signature,
        at_ms: NOW_MS,
        constitution: constitution(),
        gates: json!({
            "passed": true,
            "constitution": constitution().to_hex(),
            "input_hash": domain_separated_digest(&judged).to_hex(),
        }),
        outcome: Outcome::Pending,
        proposal,
    }
}

/// The same, decided by this node alone.
pub(crate) fn decided(record: Record, height: u64) -> Record {
    let key = key();
    let validators = vec![*key.public_key()];
    let id = record.id();
    let decision = Decision::new(height, id, constitution(), NOW_MS + 5, validators).unwrap();
    let signed = key.sign(KeyUse::Vote, &decision.statement().unwrap());
    let vote = Vote { public_key: signed.public_key, signature: signed.signature };
    let certificate = Box::new(decision.certify(vec![vote]).unwrap());
    Record { outcome: Outcome::Committed(certificate), ..record }
}

pub(crate) fn committed(height: u64) -> Record {
    decided(pending(Proposal::new(draft()).unwrap()), height)
}

#[test]
fn the_same_proposal_is_the_same_however_it_is_written() {
    let first = Proposal::new(draft()).unwrap();
    assert_eq!(Proposal::new(draft()).unwrap(), first);
    // 1.0 and 1, 0.0 and -0.0: one number, one proposal.
    let zero = Draft { pattern_embedding: vec![0.0, 1.0], ..draft() };
    let negative = Draft { pattern_embedding: vec![-0.0, 1.0], ..draft() };
    assert_eq!(Proposal::new(zero), Proposal::new(negative));
    assert_eq!(ProposalId::from_text(&first.id().to_string()), Some(first.id()));
    // The id is part of the protocol: another one here would be another proposal everywhere.
    let expected = "prop_5bb7d6669d21a517fb2320c1c4c3e32f2c77f5d8892c0b11b72df19d11b17f26";
    assert_eq!(first.id().to_string(), expected);
    let text = String::from_utf8(first.statement().to_vec()).unwrap();
    assert!(text.starts_with("{\"confidence\":0.97,\"content_hash\":\"") && text.contains(TYPE));
}

#[test]
fn every_part_of_a_proposal_is_in_its_id() {
    let id = |draft: Draft| Proposal::new(draft).unwrap().id();
    let mut ids = vec![
        id(draft()),
        id(Draft { pattern_id: "pat_1".into(), ..draft() }),
        id(Draft { pattern_embedding: vec![0.25, -1.0, 1e-7], ..draft() }),
        id(Draft { pattern_embedding: vec![0.25, 1e-7, -1.0, 0.1], ..draft() }),
        id(Draft { source_node: "0".repeat(32), ..draft() }),
        id(Draft { confidence: 0.98, ..draft() }),
        id(Draft { content: None, ..draft() }),
        id(Draft { content: Some(String::new()), ..draft() }),
    ];
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn what_breaks_a_rule_is_refused_with_its_member() {
    let long = "x".repeat(CONTENT_BYTES_MAX + 1);
    let many = |count, value| Draft { pattern_embedding: vec![value; count], ..draft() };
    let wide = 0.123_456_789_012_345_67;
    for (draft, field) in [
        (Draft { pattern_id: String::new(), ..draft() }, Some("pattern_id")),
        (Draft { pattern_id: "a b".into(), ..draft() }, Some("pattern_id")),
        (Draft { pattern_id: "\u{6f22}".into(), ..draft() }, Some("pattern_id")),
        (Draft { pattern_id: "x".repeat(129), ..draft() }, Some("pattern_id")),
        (many(0, 1.0), Some("pattern_embedding")),
        (many(DIMENSIONS_MAX + 1, 1.0), Some("pattern_embedding")),
        (many(3, f64::NAN), Some("pattern_embedding")),
        (many(3, f64::INFINITY), Some("pattern_embedding")),
        (many(3, -1.1e6), Some("pattern_embedding")),
        (Draft { source_node: String::new(), ..draft() }, Some("source_node")),
        (Draft { source_node: "79B5562E".repeat(4), ..draft() }, Some("source_node")),
        (Draft { source_node: "\u{e9}".repeat(16), ..draft() }, Some("source_node")),
        (Draft { confidence: f64::NAN, ..draft() }, Some("confidence")),
        (Draft { confidence: 1e9, ..draft() }, Some("confidence")),
        (Draft { confidence: -0.0, ..draft() }, Some("confidence")),
        (Draft { confidence: 0.949_999, ..draft() }, Some("confidence")),
        (Draft { content: Some(long), ..draft() }, Some("content")),
        (many(DIMENSIONS_MAX, wide), None),
    ] {
        let error = Proposal::new(draft).unwrap_err();
        assert_eq!(error.field(), field, "{error}");
        assert!(!error.to_string().is_empty());
    }
    assert!(Proposal::new(many(DIMENSIONS_MAX, 0.5)).is_ok());
    assert!(Proposal::new(many(1, 0.0)).is_ok());
    assert!(Proposal::new(Draft { confidence: 0.95, ..draft() }).is_ok());
    for text in ["", "prop_", "prop_12", &format!("prop_{}", "A".repeat(64)), "\u{e9}"] {
        assert_eq!(ProposalId::from_text(text), None, "{text}");
    }
}

#[test]
fn a_record_is_read_as_it_was_written_in_every_state() {
    let waiting = pending;
    let pending = waiting(Proposal::new(draft()).unwrap());
    let refused = Outcome::Rejected { code: "RejectGateIhsan".into(), reason: "why".into() };
    let sure = Draft { confidence: 1.0, pattern_embedding: vec![1.0, 0.0, 5e-324], ..draft() };
    let sure = waiting(Proposal::new(sure).unwrap());
    for record in [sure.clone(), decided(sure, 1)] {
        let bytes = record.to_bytes().unwrap();
        assert_eq!(Record::from_json(&json::parse(&bytes).unwrap()), Ok(record));
    }
    for record in [
        pending.clone(),
        committed(9),
        Record { outcome: Outcome::Expired, ..pending.clone() },
        Record {
            proposal: pending.proposal.clone().withheld(),
            outcome: refused,
            ..pending.clone()
        },
    ] {
        let bytes = record.to_bytes().unwrap();
        let read = Record::from_json(&json::parse(&bytes).unwrap()).unwrap();
        assert_eq!(read, record);
        assert_eq!((read.id(), read.status()), (pending.id(), record.status()));
    }
    assert!(!pending.is_over(NOW_MS + record::LIFE_MS - 1));
    assert!(pending.is_over(NOW_MS + record::LIFE_MS));
    assert!(!committed(1).is_over(i64::MAX), "what is decided stays decided");
}

#[test]
fn a_record_holds_until_anything_in_it_is_changed() {
    let record = committed(3).to_json();
    let checked = |value: &Value| -> Result<u64, String> {
        let record = Record::from_json(value).map_err(|error| error.to_string())?;
        record.verify().map(|it| it.height()).map_err(|error| error.to_string())
    };
    assert_eq!(checked(&record), Ok(3));
    for (pointer, value) in [
        ("/proposal_id", json!(format!("prop_{}", "0".repeat(64)))),
        ("/status", json!("pending")),
        ("/status", json!("rejected")),
        ("/status", json!("done")),
        ("/height", json!(4)),
        ("/votes_received", json!(3)),
        ("/quorum_needed", json!(3)),
        ("/mode", json!("federated")),
        ("/pattern_id", json!("other")),
        ("/proposed_at", json!("2026-01-01T00:00:00")),
        ("/expires_at", json!("2027-01-01T00:00:00.000Z")),
        ("/proposal/pattern_id", json!("other")),
        ("/proposal/pattern_embedding/0", json!(0.5)),
        ("/proposal/source_node", json!("0".repeat(32))),
        ("/proposal/confidence", json!(0.99)),
        ("/proposal/content", json!("other")),
        ("/proposal/content", json!(1)),
        ("/proposal/content_hash", json!("0".repeat(64))),
        ("/proposer/public_key", json!(NodeKey::from_secret(&[8; 32]).public_key().to_hex())),
        ("/proposer/node_id", json!("0".repeat(32))),
        ("/proposer/signature", json!("0".repeat(128))),
        ("/constitution", json!("0".repeat(64))),
        ("/gates/passed", json!(false)),
        ("/gates/constitution", json!("0".repeat(64))),
        ("/gates/input_hash", json!("0".repeat(64))),
        ("/gates", json!(null)),
        ("/certificate", json!(null)),
        ("/certificate/height", json!(4)),
    ] {
        let mut changed = record.clone();
        let place = changed.pointer_mut(pointer).unwrap();
        assert_ne!(*place, value, "{pointer}");
        *place = value;
        assert!(checked(&changed).is_err(), "{pointer} {changed}");
    }
    // The certificate of another proposal is none for this one.
    let other = Proposal::new(Draft { confidence: 1.0, ..draft() }).unwrap();
    let other = decided(pending(other), 3).to_json();
    let mut swapped = record.clone();
    swapped["certificate"] = other["certificate"].clone();
    assert_eq!(checked(&swapped), Err(RecordError::OtherProposal.to_string()));
    // A proposer's signature is no vote, and a vote no proposal.
    let mut swapped = record.clone();
    swapped["certificate"]["votes"][0]["signature"] = record["proposer"]["signature"].clone();
    assert!(checked(&swapped).is_err());
    for value in [json!(null), json!([]), json!({}), json!({ "proposal": {} })] {
        assert!(checked(&value).is_err(), "{value}");
    }
}

proptest! {
    #[test]
    fn the_id_follows_from_what_is_said_and_from_nothing_else(
        embedding in proptest::collection::vec(-1e6..1e6_f64, 1..40),
        confidence in 0.95..=1.0_f64,
        content in proptest::option::of("\\PC{0,40}"),
    ) {
        let draft = Draft { pattern_embedding: embedding, confidence, content, ..draft() };
        let proposal = Proposal::new(draft).unwrap();
        // Through JSON and back, as peers and the store read it.
        let bytes = json::canonical(&proposal.to_json()).unwrap();
        let read = Proposal::from_json(&json::parse(&bytes).unwrap()).unwrap();
        prop_assert_eq!(&read, &proposal);
        // Without its content it is the same proposal.
        let withheld = proposal.clone().withheld();
        let bytes = json::canonical(&withheld.to_json()).unwrap();
        let read = Proposal::from_json(&json::parse(&bytes).unwrap()).unwrap();
        prop_assert_eq!(read.id(), proposal.id());
        prop_assert_eq!(read.statement(), proposal.statement());
    }

    #[test]
    fn nothing_that_is_read_panics(text in "\\PC{0,60}") {
        let value = json!({ "proposal": { "pattern_id": text }, "status": text });
        prop_assert!(Record::from_json(&value).is_err());
        ProposalId::from_text(&text);
    }
}
