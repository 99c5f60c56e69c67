//! Golden values: what existing nodes sign and hash comes out here bit for bit, and what they
//! wrongly accept is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bizra_omega::domain::bytes::from_hex;
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::envelope::{Options, Report, verify};
use bizra_omega::domain::identity::{
    Claim, KeyUse, NodeKey, PublicKey, Signature, verify_claim, verify_claims,
};
use bizra_omega::domain::json::{JsonProblem, canonical, parse};
use bizra_omega::domain::reject::RejectCode;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::Value;

#[path = "vectors/jcs.rs"]
mod jcs;

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

/// RFC 8032, 7.1: secret, public key, message, signature.
const RFC_8032: [[&str; 4]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf\
         9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f\
         11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984\
         dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3f\
         eebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c6643\
         1e0303dca179c138ac17ad9bef1177331a704",
    ],
];

#[test]
fn signatures_are_those_of_rfc_8032_over_the_bytes_of_their_use() {
    for [secret, public_key, message, signature] in RFC_8032 {
        let secret = from_hex(secret).unwrap();
        let plain = SigningKey::from_bytes(&secret);
        let message = base16ct::lower::decode_vec(message).unwrap();
        assert_eq!(base16ct::lower::encode_string(&plain.sign(&message).to_bytes()), signature);

        let key = NodeKey::from_secret(&secret);
        assert_eq!(key.public_key().to_hex(), public_key);
        let digest = domain_separated_digest(&message).to_hex();
        let tagged = [b"bizra-pci-env-v2:", &message[..]].concat();
        for (key_use, bytes) in
            [(KeyUse::Message, digest.as_bytes()), (KeyUse::Envelope, &tagged[..])]
        {
            let signed = key.sign(key_use, &message);
            assert_eq!(signed.signature.0, plain.sign(bytes).to_bytes());
        }
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

/// When the old envelopes were made, by their own clock.
const OLD_MS: i64 = 4_070_908_800_000;

fn old(now_ms: i64, vector: &Value, accept_v1: bool) -> Report {
    let options = Options { accept_v1, ..Options::default() };
    verify(text(vector, "envelope_utf8").as_bytes(), now_ms, &options)
}

#[test]
fn envelopes_of_the_old_form_are_refused_by_their_version() {
    for vector in vectors("old_envelopes") {
        let report = old(OLD_MS, &vector, false);
        // Some have an integer that the strict reader does not take.
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

#[test]
fn old_envelopes_are_read_when_asked_and_what_was_wrongly_accepted_is_refused() {
    let vectors = vectors("old_envelopes");
    assert_eq!(vectors.len(), 26);
    for vector in vectors {
        let case = text(&vector, "case");
        let report = old(OLD_MS, &vector, true);
        assert_eq!(report.code.map(RejectCode::as_str), vector["code"].as_str(), "{case}");
        if report.is_valid() {
            let signature = report.checks.iter().find(|it| it.check == "signature").unwrap();
            let note = signature.detail.as_deref().unwrap();
            assert!(note.contains("first half") && note.contains("signed as this node"), "{note}");
            // Seventy years early, as a reader of today has it.
            let today = old(1_790_000_000_000, &vector, true);
            assert_eq!(today.code, Some(RejectCode::RejectFuture), "{case}");
        }
        // What existing nodes refuse is not accepted here, but for floats that they misread.
        if vector["code"].is_null() && !case.starts_with("exact float") {
            assert_eq!(text(&vector, "predecessor"), "valid", "{case}");
        }
    }
}

#[test]
fn no_bit_of_an_old_envelope_can_be_changed() {
    let vector = vectors("old_envelopes").remove(0);
    let options = Options { accept_v1: true, ..Options::default() };
    let value = parse(text(&vector, "envelope_utf8").as_bytes()).unwrap();
    let bytes = value.to_string().into_bytes();
    assert!(verify(&bytes, OLD_MS, &options).is_valid());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let report = verify(&flipped, OLD_MS, &options);
        assert!(!report.is_valid(), "bit {bit}: {}", String::from_utf8_lossy(&flipped));
    }
}

/// The text between the quotes of every literal that is a domain tag.
fn tags() -> BTreeSet<String> {
    let mut tags = BTreeSet::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let literals = source.split("b\"bizra-").skip(1);
            tags.extend(literals.map(|rest| format!("bizra-{}", rest.split('"').next().unwrap())));
        }
    }
    tags
}

#[test]
fn no_domain_tag_begins_another() {
    let tags = tags();
    for known in ["bizra-pci-v1:", "bizra-pci-env-v2:"] {
        assert!(tags.contains(known), "{known} is not among {tags:?}");
    }
    for tag in &tags {
        // A tag ends where the message begins, and no message of `identity.sign`, which is hex,
        // can begin like one.
        assert!(tag.ends_with(':') && tag.matches(':').count() == 1, "{tag:?}");
        assert!(!tag.bytes().all(|byte| byte.is_ascii_hexdigit()), "{tag:?}");
        for other in tags.iter().filter(|other| *other != tag) {
            assert!(!other.starts_with(tag.as_str()), "{tag:?} begins {other:?}");
        }
    }
}
