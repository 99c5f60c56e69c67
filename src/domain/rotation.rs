//! Rotation records: the holder of one key says which key takes its place.
//!
//! A record is a JSON object with exactly these members, each of them text:
//!
//! | member | value |
//! |---|---|
//! | `type` | `bizra-key-rotation-v1` |
//! | `old_public_key` | the key that signs no more, 64 lower-case hex digits |
//! | `new_public_key` | the key in its place, another one, 64 lower-case hex digits |
//! | `at` | when, as its holder says: RFC 3339, UTC, milliseconds, `Z` |
//! | `signature` | by the old key, 128 lower-case hex digits |
//! | `proof` | by the new key, 128 lower-case hex digits |
//!
//! `signature` is over `bizra-pci-rotation-v1:` and the canonical form (RFC 8785) of the first four
//! members; `proof` is over `bizra-pci-rotation-proof-v1:` and the canonical form of the first five,
//! so that nobody can name a key as his successor that he does not hold. Whoever trusts the old key
//! can check a record with nothing but the record. It says nothing of the time before `at`: a key
//! that was stolen can name a successor too, so the first record that was seen counts.

use serde_json::{Map, Value};

use crate::domain::envelope::{timestamp_ms, timestamp_text};
use crate::domain::identity::{KeyUse, NodeKey, PublicKey, Signature, VerifyError};
use crate::domain::json::{self, JsonError};

/// What `type` says.
pub const TYPE: &str = "bizra-key-rotation-v1";

/// Every member, in the order in which they are written.
const MEMBERS: [&str; 6] = ["type", "old_public_key", "new_public_key", "at", "signature", "proof"];

/// A record that holds: both keys signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    old: PublicKey,
    new: PublicKey,
    at: String,
    signature: Signature,
    proof: Signature,
}

/// Why something is no rotation record that holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// Not strict JSON.
    #[error("not a rotation record: {0}")]
    Json(#[from] JsonError),
    /// Not an object with its six members.
    #[error("a rotation record is an object of {}, each a text", MEMBERS.join(", "))]
    Members,
    /// Of another type or version.
    #[error("type is not {TYPE}")]
    Type,
    /// A key or signature has no form of one, or the key is weak.
    #[error("{member}: {error}")]
    Form {
        /// Which one.
        member: &'static str,
        /// What is wrong with it.
        error: VerifyError,
    },
    /// Not a time in its one spelling.
    #[error("at is not a time such as 2026-01-31T12:00:00.000Z")]
    Time,
    /// A key cannot take its own place.
    #[error("the old and the new key are the same")]
    SameKey,
    /// The old key did not sign it.
    #[error("the old key did not sign this record")]
    Signature,
    /// The new key did not sign it.
    #[error("the new key did not sign this record")]
    Proof,
}

impl Rotation {
    /// Says that `new` takes the place of `old` at `at_ms`, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When the time is not representable, or both are one key.
    pub fn make(old: &NodeKey, new: &NodeKey, at_ms: i64) -> Result<Self, RotationError> {
        let at = timestamp_text(at_ms).ok_or(RotationError::Time)?;
        let (old_key, new_key) = (*old.public_key(), *new.public_key());
        if old_key == new_key {
            return Err(RotationError::SameKey);
        }
        let statement = statement(&old_key, &new_key, &at, None)?;
        let signature = old.sign(KeyUse::Rotation, &statement).signature;
        let statement = self::statement(&old_key, &new_key, &at, Some(&signature))?;
        let proof = new.sign(KeyUse::RotationProof, &statement).signature;
        Ok(Self { old: old_key, new: new_key, at, signature, proof })
    }

    /// Reads a record and checks both signatures.
    ///
    /// # Errors
    /// [`RotationError`], for whatever is not a record that holds.
    pub fn parse(bytes: &[u8]) -> Result<Self, RotationError> {
        Self::from_json(&json::parse(bytes)?)
    }

    /// As [`Rotation::parse`], of a value that was read already.
    ///
    /// # Errors
    /// As [`Rotation::parse`].
    pub fn from_json(record: &Value) -> Result<Self, RotationError> {
        let members = record.as_object().ok_or(RotationError::Members)?;
        let text = |member: &&str| members.get(*member).and_then(Value::as_str);
        let texts: Vec<&str> = MEMBERS.iter().filter_map(text).collect();
        let [kind, old, new, at, signature, proof] = texts[..] else {
            return Err(RotationError::Members);
        };
        if members.len() != MEMBERS.len() {
            return Err(RotationError::Members);
        }
        if kind != TYPE {
            return Err(RotationError::Type);
        }
        let at_ms = timestamp_ms(at).ok_or(RotationError::Time)?;
        let form = |member| move |error| RotationError::Form { member, error };
        let signature = Signature::from_hex(signature).map_err(form("signature"))?;
        let proof = Signature::from_hex(proof).map_err(form("proof"))?;
        let old = PublicKey::admit_hex(old).map_err(form("old_public_key"))?;
        let new = PublicKey::admit_hex(new).map_err(form("new_public_key"))?;
        if old == new {
            return Err(RotationError::SameKey);
        }
        let at = timestamp_text(at_ms).ok_or(RotationError::Time)?;
        old.verify(KeyUse::Rotation, &statement(&old, &new, &at, None)?, &signature)
            .map_err(|_| RotationError::Signature)?;
        new.verify(KeyUse::RotationProof, &statement(&old, &new, &at, Some(&signature))?, &proof)
            .map_err(|_| RotationError::Proof)?;
        Ok(Self { old, new, at, signature, proof })
    }

    /// The key that signs no more.
    pub fn old(&self) -> &PublicKey {
        &self.old
    }

    /// The key in its place.
    pub fn new_key(&self) -> &PublicKey {
        &self.new
    }

    /// When, as its holder says.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The record as an object.
    pub fn to_json(&self) -> Value {
        let mut record = members(&self.old, &self.new, &self.at, Some(&self.signature));
        record.insert("proof".to_owned(), Value::String(self.proof.to_hex()));
        Value::Object(record)
    }

    /// The record in its canonical form.
    ///
    /// # Errors
    /// None: text always has one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RotationError> {
        Ok(json::canonical(&self.to_json())?)
    }
}

/// The bytes that are signed: with the signature of the old key for the new one.
fn statement(
    old: &PublicKey,
    new: &PublicKey,
    at: &str,
    signature: Option<&Signature>,
) -> Result<Vec<u8>, JsonError> {
    json::canonical(&Value::Object(members(old, new, at, signature)))
}

fn members(
    old: &PublicKey,
    new: &PublicKey,
    at: &str,
    signature: Option<&Signature>,
) -> Map<String, Value> {
    let all = [
        ("type", Some(TYPE.to_owned())),
        ("old_public_key", Some(old.to_hex())),
        ("new_public_key", Some(new.to_hex())),
        ("at", Some(at.to_owned())),
        ("signature", signature.map(Signature::to_hex)),
    ];
    let present = all.into_iter().filter_map(|(member, text)| Some((member, text?)));
    present.map(|(member, text)| (member.to_owned(), Value::String(text))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const AT_MS: i64 = 1_767_225_600_123;

    fn keys() -> [NodeKey; 3] {
        [1, 2, 3].map(|byte| NodeKey::from_secret(&[byte; 32]))
    }

    fn record() -> Value {
        let [old, new, _] = keys();
        Rotation::make(&old, &new, AT_MS).unwrap().to_json()
    }

    #[test]
    fn a_record_is_read_as_it_was_made() {
        let [old, new, _] = keys();
        let made = Rotation::make(&old, &new, AT_MS).unwrap();
        assert_eq!(Rotation::parse(&made.to_bytes().unwrap()), Ok(made.clone()));
        assert_eq!((made.old(), made.new_key()), (old.public_key(), new.public_key()));
        assert_eq!(made.at(), "2026-01-01T00:00:00.123Z");
    }

    #[test]
    fn the_bytes_of_a_record_never_change() {
        // Other implementations verify these.
        let bytes = domain_hash(&record());
        assert_eq!(bytes, "a3c3828d20b1b70d35af0526e365f4edf0a99ba34c7566fee3992fd9d494855a");
    }

    fn domain_hash(record: &Value) -> String {
        let bytes = json::canonical(record).unwrap();
        crate::domain::digest::domain_separated_digest(&bytes).to_hex()
    }

    #[test]
    fn whatever_is_changed_breaks_the_record() {
        let [_, _, third] = keys();
        let other = third.public_key().to_hex();
        for (member, value, error) in [
            ("type", json!("bizra-key-rotation-v2"), RotationError::Type),
            ("old_public_key", json!(other), RotationError::Signature),
            ("new_public_key", json!(other), RotationError::Signature),
            ("at", json!("2026-01-01T00:00:00.124Z"), RotationError::Signature),
            ("at", json!("2026-01-01T00:00:00Z"), RotationError::Time),
            ("at", json!("2026-01-01T00:00:00.123+00:00"), RotationError::Time),
            ("at", json!(1), RotationError::Members),
            ("signature", json!("00".repeat(64)), RotationError::Signature),
            ("proof", json!("00".repeat(64)), RotationError::Proof),
            ("more", json!(""), RotationError::Members),
        ] {
            let mut changed = record();
            changed[member] = value;
            assert_eq!(Rotation::from_json(&changed), Err(error), "{member}");
        }
        for member in MEMBERS {
            let mut less = record();
            less.as_object_mut().unwrap().remove(member);
            assert_eq!(Rotation::from_json(&less), Err(RotationError::Members), "{member}");
        }
        let mut weak = record();
        weak["new_public_key"] = json!(format!("01{}", "00".repeat(31)));
        let error = VerifyError::WeakKey;
        assert_eq!(
            Rotation::from_json(&weak),
            Err(RotationError::Form { member: "new_public_key", error })
        );
        let twice = record().to_string().replacen('{', "{\"at\":\"x\",", 1);
        assert!(matches!(Rotation::parse(twice.as_bytes()), Err(RotationError::Json(_))));
    }

    #[test]
    fn nobody_names_a_key_that_he_does_not_hold() {
        let [old, new, _] = keys();
        let at = timestamp_text(AT_MS).unwrap();
        let (old_key, new_key) = (old.public_key(), new.public_key());
        let first = statement(old_key, new_key, &at, None).unwrap();
        let signature = old.sign(KeyUse::Rotation, &first).signature;
        let second = statement(old_key, new_key, &at, Some(&signature)).unwrap();
        let mut record = record();
        // By the old key in the new one's place, and by the new key for another use.
        for proof in [
            old.sign(KeyUse::RotationProof, &second),
            new.sign(KeyUse::Rotation, &second),
            new.sign(KeyUse::Message, &second),
            new.sign(KeyUse::Envelope, &second),
            new.sign(KeyUse::RotationProof, &first),
        ] {
            record["proof"] = json!(proof.signature.to_hex());
            assert_eq!(Rotation::from_json(&record), Err(RotationError::Proof));
        }
    }

    #[test]
    fn a_key_does_not_take_its_own_place() {
        let [old, new, _] = keys();
        assert_eq!(Rotation::make(&old, &old, AT_MS), Err(RotationError::SameKey));
        assert_eq!(Rotation::make(&old, &new, -1), Err(RotationError::Time));
        let mut same = record();
        same["new_public_key"] = same["old_public_key"].clone();
        assert_eq!(Rotation::from_json(&same), Err(RotationError::SameKey));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Rotation::parse(&bytes).is_err());
        }

        #[test]
        fn a_flipped_bit_is_noticed(bit in any::<prop::sample::Index>()) {
            let [old, new, _] = keys();
            let made = Rotation::make(&old, &new, AT_MS).unwrap();
            let mut bytes = made.to_bytes().unwrap();
            let bit = bit.index(8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Rotation::parse(&bytes).is_err());
        }
    }
}
