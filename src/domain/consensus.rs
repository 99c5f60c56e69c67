//! Quorums, decisions, and the certificates that prove them.
//!
//! A certificate is a JSON object with exactly these members:
//!
//! | member | value |
//! |---|---|
//! | `type` | `bizra-decision-v1` |
//! | `mode` | `solo` if there was one validator, else `federated` |
//! | `height` | the number of the decision: 1, 2, 3 and so on |
//! | `proposal` | the id of what was decided, which is the digest of what it says |
//! | `constitution` | digest of the constitution that it was judged under |
//! | `decided_at` | when: RFC 3339, UTC, milliseconds, `Z` |
//! | `validators` | the public keys that could vote, sorted, each once |
//! | `quorum` | how many of them had to |
//! | `votes` | `public_key` and `signature` of those that did, sorted, each once |
//!
//! Each signature is over `bizra-fed-vote-v1:` and the canonical form (RFC 8785) of all members but
//! `votes`. Whoever trusts the validators can check a certificate with nothing but the certificate.

use serde_json::{Map, Value, json};

use crate::domain::digest::Digest;
use crate::domain::envelope::{timestamp_ms, timestamp_text};
use crate::domain::federation::ProposalId;
use crate::domain::id::NodeId;
use crate::domain::identity::{KeyUse, PublicKey, Signature, VerifyError};
use crate::domain::json::{self, INTEGER_MAX, JsonError};

/// What `type` says.
pub const TYPE: &str = "bizra-decision-v1";

/// Members of a certificate.
const MEMBERS: usize = 9;

/// Validators of one decision: each vote of each is checked.
pub const VALIDATORS_MAX: usize = 128;

/// How many of `members` may lie, at most, without two quorums ever deciding differently.
pub const fn fault_tolerance(members: usize) -> usize {
    members.saturating_sub(1) / 3
}

/// Votes needed so that any two quorums of `members` share at least one that does not lie, and so
/// that those who lie can be done without. Nobody decides where there is nobody.
pub const fn needed(members: usize) -> usize {
    if members == 0 { 1 } else { members - fault_tolerance(members) }
}

/// What validators sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    height: u64,
    proposal: ProposalId,
    constitution: Digest,
    at: String,
    /// Sorted, each once.
    validators: Vec<PublicKey>,
}

/// A vote: who, and the signature over the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The validator.
    pub public_key: PublicKey,
    /// Its signature.
    pub signature: Signature,
}

/// A decision with the votes that made it. It may be a lie until [`Certificate::verify`] said
/// otherwise, unless [`Decision::certify`] made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    decision: Decision,
    votes: Vec<Vote>,
}

/// Why something is no certificate that holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not an object with exactly its members, each of its type.
    #[error("{0} is missing, of another type, or too much")]
    Member(&'static str),
    /// Of another type or version.
    #[error("type is not {TYPE}")]
    Type,
    /// Heights are counted from 1, and exact in JSON.
    #[error("height is not a whole number from 1 on")]
    Height,
    /// Not a time in its one spelling.
    #[error("decided_at is not a time such as 2026-01-31T12:00:00.000Z")]
    Time,
    /// A key or signature has no form of one, or the key is weak.
    #[error("{member}: {error}")]
    Form {
        /// Which one.
        member: &'static str,
        /// What is wrong with it.
        error: VerifyError,
    },
    /// None, too many, not sorted, or one of them twice.
    #[error("validators are 1 to {VALIDATORS_MAX} keys, sorted, each once")]
    Validators,
    /// Not how many of these validators are needed.
    #[error("quorum is not the {0} that these validators need")]
    Quorum(usize),
    /// Not how many validators there are.
    #[error("mode is not {0}")]
    Mode(&'static str),
    /// Not sorted, or somebody voted twice.
    #[error("votes are sorted by key, and each validator has one")]
    Votes,
    /// Somebody voted who may not.
    #[error("{0} voted and is no validator")]
    Stranger(NodeId),
    /// A signature is not by this key over this decision.
    #[error("the vote of {0} is not signed by it")]
    Signature(NodeId),
    /// Too few voted.
    #[error("{votes} votes, and {needed} are needed")]
    TooFew {
        /// How many voted.
        votes: usize,
        /// How many must.
        needed: usize,
    },
    /// It has no canonical form.
    #[error("not a certificate: {0}")]
    Json(#[from] JsonError),
}

impl Decision {
    /// That `proposal` is decided at `height` by `validators`, in whatever order they come.
    ///
    /// # Errors
    /// [`CertificateError`] for a height, time or set of validators that none can have.
    pub fn new(
        height: u64,
        proposal: ProposalId,
        constitution: Digest,
        at_ms: i64,
        mut validators: Vec<PublicKey>,
    ) -> Result<Self, CertificateError> {
        if !(1..=INTEGER_MAX.unsigned_abs()).contains(&height) {
            return Err(CertificateError::Height);
        }
        let at = timestamp_text(at_ms).ok_or(CertificateError::Time)?;
        validators.sort_unstable_by_key(|key| *key.as_bytes());
        let decision = Self { height, proposal, constitution, at, validators };
        decision.check_validators()?;
        Ok(decision)
    }

    fn check_validators(&self) -> Result<(), CertificateError> {
        let is_sorted = is_sorted(self.validators.iter());
        let is_some = (1..=VALIDATORS_MAX).contains(&self.validators.len());
        if is_some && is_sorted { Ok(()) } else { Err(CertificateError::Validators) }
    }

    /// The bytes that each validator signs with [`KeyUse::Vote`].
    ///
    /// # Errors
    /// None: texts and a whole number always have a canonical form.
    pub fn statement(&self) -> Result<Vec<u8>, CertificateError> {
        Ok(json::canonical(&Value::Object(self.members()))?)
    }

    /// Puts the votes to it, in whatever order they come, if they are enough and hold.
    ///
    /// # Errors
    /// As [`Certificate::verify`].
    pub fn certify(self, mut votes: Vec<Vote>) -> Result<Certificate, CertificateError> {
        votes.sort_unstable_by_key(|vote| *vote.public_key.as_bytes());
        let certificate = Certificate { decision: self, votes };
        certificate.verify()?;
        Ok(certificate)
    }

    fn mode(&self) -> &'static str {
        if self.validators.len() == 1 { "solo" } else { "federated" }
    }

    fn members(&self) -> Map<String, Value> {
        let keys: Vec<Value> = self.validators.iter().map(|key| key.to_hex().into()).collect();
        let mut members = Map::new();
        for (name, value) in [
            ("type", json!(TYPE)),
            ("mode", json!(self.mode())),
            ("height", json!(self.height)),
            ("proposal", json!(self.proposal.to_string())),
            ("constitution", json!(self.constitution.to_hex())),
            ("decided_at", json!(self.at)),
            ("validators", Value::Array(keys)),
            ("quorum", json!(needed(self.validators.len()))),
        ] {
            members.insert(name.to_owned(), value);
        }
        members
    }
}

impl Certificate {
    /// The number of the decision.
    pub fn height(&self) -> u64 {
        self.decision.height
    }

    /// What was decided.
    pub fn proposal(&self) -> ProposalId {
        self.decision.proposal
    }

    /// Digest of the constitution that it was judged under.
    pub fn constitution(&self) -> Digest {
        self.decision.constitution
    }

    /// Who could vote, sorted.
    pub fn validators(&self) -> &[PublicKey] {
        &self.decision.validators
    }

    /// Those who did.
    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// Checks everything that a certificate must keep: who may vote, who did, and each signature.
    ///
    /// # Errors
    /// [`CertificateError`]; forms before signatures.
    pub fn verify(&self) -> Result<(), CertificateError> {
        let Self { decision, votes } = self;
        decision.check_validators()?;
        if !is_sorted(votes.iter().map(|vote| &vote.public_key)) {
            return Err(CertificateError::Votes);
        }
        let is_stranger = |vote: &&Vote| !decision.validators.contains(&vote.public_key);
        if let Some(vote) = votes.iter().find(is_stranger) {
            return Err(CertificateError::Stranger(vote.public_key.node_id()));
        }
        let needed = needed(decision.validators.len());
        if votes.len() < needed {
            return Err(CertificateError::TooFew { votes: votes.len(), needed });
        }
        let statement = decision.statement()?;
        for Vote { public_key, signature } in votes {
            let verified = public_key.verify(KeyUse::Vote, &statement, signature);
            verified.map_err(|_| CertificateError::Signature(public_key.node_id()))?;
        }
        Ok(())
    }

    /// As an object.
    pub fn to_json(&self) -> Value {
        let mut members = self.decision.members();
        let vote = |vote: &Vote| {
            json!({
                "public_key": vote.public_key.to_hex(),
                "signature": vote.signature.to_hex(),
            })
        };
        members.insert("votes".to_owned(), self.votes.iter().map(vote).collect());
        Value::Object(members)
    }

    /// Reads an object of exactly the members of a certificate, without believing it.
    ///
    /// # Errors
    /// [`CertificateError`] for whatever has another form.
    pub fn from_json(value: &Value) -> Result<Self, CertificateError> {
        use CertificateError::Member;
        let members = value.as_object().ok_or(Member("the certificate"))?;
        if members.len() != MEMBERS {
            return Err(Member("a member"));
        }
        let text =
            |name: &'static str| members.get(name).and_then(Value::as_str).ok_or(Member(name));
        if text("type")? != TYPE {
            return Err(CertificateError::Type);
        }
        let height = members.get("height").and_then(Value::as_u64);
        let height = height.ok_or(CertificateError::Height)?;
        let proposal = ProposalId::from_text(text("proposal")?).ok_or(Member("proposal"))?;
        let constitution = Digest::from_hex(text("constitution")?);
        let constitution = constitution.map_err(|_| Member("constitution"))?;
        let at = text("decided_at")?;
        let at_ms = timestamp_ms(at).ok_or(CertificateError::Time)?;
        let validators = keys(array(members, "validators", VALIDATORS_MAX)?)?;
        let is_sorted = is_sorted(validators.iter());
        let decision = Decision::new(height, proposal, constitution, at_ms, validators)?;
        // Making it sorts them; somebody else signed another order.
        if !is_sorted {
            return Err(CertificateError::Validators);
        }
        if decision.at != at {
            return Err(CertificateError::Time);
        }
        if text("mode")? != decision.mode() {
            return Err(CertificateError::Mode(decision.mode()));
        }
        let needed = needed(decision.validators.len());
        let quorum = members.get("quorum").and_then(Value::as_u64);
        if quorum != u64::try_from(needed).ok() {
            return Err(CertificateError::Quorum(needed));
        }
        let votes = array(members, "votes", VALIDATORS_MAX)?;
        let votes = votes.iter().map(vote).collect::<Result<_, _>>()?;
        Ok(Self { decision, votes })
    }
}

/// Whether keys are in order and none is there twice.
fn is_sorted<'k>(keys: impl Iterator<Item = &'k PublicKey>) -> bool {
    keys.map(PublicKey::as_bytes).is_sorted_by(|before, after| before < after)
}

fn array<'m>(
    members: &'m Map<String, Value>,
    name: &'static str,
    max: usize,
) -> Result<&'m [Value], CertificateError> {
    let items = members.get(name).and_then(Value::as_array);
    let items = items.filter(|items| items.len() <= max);
    items.map(Vec::as_slice).ok_or(CertificateError::Member(name))
}

fn keys(items: &[Value]) -> Result<Vec<PublicKey>, CertificateError> {
    let member = "validators";
    let key = |item: &Value| {
        let text = item.as_str().ok_or(CertificateError::Member(member))?;
        PublicKey::admit_hex(text).map_err(|error| CertificateError::Form { member, error })
    };
    items.iter().map(key).collect()
}

fn vote(item: &Value) -> Result<Vote, CertificateError> {
    let member = "votes";
    let form = |error| CertificateError::Form { member, error };
    let members = item.as_object().filter(|members| members.len() == 2);
    let text = |name| {
        let text = members.and_then(|members| members.get(name)).and_then(Value::as_str);
        text.ok_or(CertificateError::Member(member))
    };
    Ok(Vote {
        public_key: PublicKey::admit_hex(text("public_key")?).map_err(form)?,
        signature: Signature::from_hex(text("signature")?).map_err(form)?,
    })
}

#[cfg(test)]
pub(crate) mod tests;
