//! Golden values: what existing nodes sign and hash comes out here bit for bit, and what they
//! wrongly accept is refused.

use bizra_omega::domain::bytes::from_hex;
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::envelope::{Options, verify};
use bizra_omega::domain::identity::{
    Claim, KeyUse, NodeKey, PublicKey, Signature, verify_claim, verify_claims,
};
use bizra_omega::domain::json::{JsonProblem, canonical, parse};
use bizra_omega::domain::reject::RejectCode;
use serde_json::Value;

fn vectors(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors/pci.json")).unwrap();
    let section = all[section].as_array().unwrap().clone();
    assert!(!section.is_empty());
    section
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap()
}

fn bytes(vector: &Value, name: &str) -> Vec<u8> {
    base16ct::lower::decode_vec(text(vector, name)).unwrap()
}

fn key(vector: &Value) -> NodeKey {
    NodeKey::from_secret(&from_hex(text(vector, "secret")).unwrap())
}

#[test]
fn digests_are_those_of_existing_nodes() {
    for vector in vectors("digests") {
        let digest = domain_separated_digest(&bytes(&vector, "message"));
        assert_eq!(digest.to_hex(), text(&vector, "digest"));
    }
}

#[test]
fn identities_are_those_of_existing_nodes() {
    for vector in vectors("identities") {
        let key = key(&vector);
        let public = key.public_key();
        assert_eq!(public.to_hex(), text(&vector, "public_key"));
        assert_eq!(public.node_id().to_hex(), text(&vector, "node_id"));
        assert_eq!(public.node_id().short(), text(&vector, "node_id_str"));
        assert_eq!(PublicKey::admit(public.as_bytes()), Ok(*public), "a made key is admitted");
    }
}

#[test]
fn signatures_are_those_of_existing_nodes() {
    for vector in vectors("signatures") {
        let message = bytes(&vector, "message");
        let key = key(&vector);
        let signed = key.sign(KeyUse::Message, &message);
        assert_eq!(signed.signature.to_hex(), text(&vector, "signature"));
        let signature = Signature::from_hex(text(&vector, "signature")).unwrap();
        assert_eq!(key.public_key().verify(KeyUse::Message, &message, &signature), Ok(()));
    }
}

#[test]
fn what_was_wrongly_accepted_is_refused_one_by_one_and_in_a_batch() {
    let vectors = vectors("claims");
    let claims: Vec<Claim> = vectors
        .iter()
        .map(|vector| Claim {
            message: bytes(vector, "message").into(),
            signature: text(vector, "signature").to_owned(),
            public_key: text(vector, "public_key").to_owned(),
        })
        .collect();
    let batch = verify_claims(&claims);
    for ((vector, claim), in_batch) in vectors.iter().zip(&claims).zip(batch) {
        let single = verify_claim(claim);
        let expected = vector["valid"].as_bool().unwrap();
        assert_eq!(single.is_ok(), expected, "{}: {single:?}", text(vector, "case"));
        assert_eq!(single, in_batch);
    }
}

#[test]
fn canonical_json_is_that_of_the_standard() {
    for vector in vectors("canonical") {
        let case = text(&vector, "case");
        let parsed = parse(text(&vector, "json_utf8").as_bytes());
        if vector["refused"] == true {
            // In canonical form these are integers that doubles do not hold exactly.
            assert_eq!(parsed.unwrap_err().problem, JsonProblem::UnsafeInteger, "{case}");
            continue;
        }
        let value = parsed.unwrap();
        let bytes = canonical(&value).unwrap();
        assert_eq!(bytes, text(&vector, "canonical_utf8").as_bytes(), "{case}");
        assert_eq!(domain_separated_digest(&bytes).to_hex(), text(&vector, "digest"), "{case}");
    }
}

#[test]
fn envelopes_of_the_old_form_are_refused_by_their_version() {
    for vector in vectors("old_envelopes") {
        let bytes = text(&vector, "envelope_utf8").as_bytes();
        let report = verify(bytes, 4_070_908_800_000, &Options::default());
        // One of them has an integer that the strict reader does not take.
        let refused =
            matches!(report.code, Some(RejectCode::RejectVersion | RejectCode::RejectSchema));
        assert!(refused, "{}: {report:?}", text(&vector, "case"));
    }
}

/// The twelve published edge cases. Strict verification alone accepts one of them, which is why a
/// key is checked when it is admitted.
#[test]
fn every_published_edge_case_is_refused() {
    let all: Value = serde_json::from_str(include_str!("vectors/ed25519_edge_cases.json")).unwrap();
    let cases = all["cases"].as_array().unwrap();
    let told: Vec<(bool, bool)> = cases
        .iter()
        .map(|case| {
            let key = from_hex::<32>(text(case, "pub_key")).unwrap();
            let signature = from_hex::<64>(text(case, "signature")).unwrap();
            let is_admitted = PublicKey::admit(&key).is_ok();
            let is_strict = ed25519_dalek::VerifyingKey::from_bytes(&key).is_ok_and(|key| {
                let signature = ed25519_dalek::Signature::from_bytes(&signature);
                key.verify_strict(&bytes(case, "message"), &signature).is_ok()
            });
            let claim = Claim {
                message: bytes(case, "message").into(),
                signature: text(case, "signature").to_owned(),
                public_key: text(case, "pub_key").to_owned(),
            };
            assert!(verify_claim(&claim).is_err());
            (is_admitted, is_strict)
        })
        .collect();
    // Whether the key is admitted, and whether strict verification alone takes the signature.
    let mut expected = [(false, false); 12];
    // A key and a nonce with torsion parts, for which the equation holds: the key is refused.
    expected[3] = (false, true);
    // An honest key, and S not below the group order: the signature is refused.
    expected[6] = (true, false);
    expected[7] = (true, false);
    assert_eq!(told, expected);
    assert!(told.iter().all(|(is_admitted, is_strict)| !(*is_admitted && *is_strict)));
}
