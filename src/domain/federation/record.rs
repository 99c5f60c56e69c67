//! What is kept of a proposal: who made it, what the gates said, and what became of it.

use serde_json::{Value, json};

use crate::domain::consensus::{Certificate, CertificateError, needed};
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::envelope::{timestamp_ms, timestamp_text};
use crate::domain::federation::{Proposal, ProposalId};
use crate::domain::gate::Receipt;
use crate::domain::identity::{KeyUse, PublicKey, Signature};
use crate::domain::json::{self, JsonError};

/// How long a proposal may wait for its decision: an hour, which is many times what any takes. What
/// a node finds undecided after a longer time is no longer what its proposer wants to hear of.
pub const LIFE_MS: i64 = 3_600_000;

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// Enough validators voted for it.
    Committed(Box<Certificate>),
    /// It was refused.
    Rejected {
        /// The gate's reject code, or the id of the rule.
        code: String,
        /// In words.
        reason: String,
    },
    /// Nothing was decided in its time.
    Expired,
}

/// A proposal with its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What was proposed. Refused content is not in it.
    pub proposal: Proposal,
    /// Whose proposal it is.
    pub proposer: PublicKey,
    /// The proposer's, over the proposal's canonical form.
    pub signature: Signature,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Digest of the constitution it was judged under.
    pub constitution: Digest,
    /// The receipt of the gates.
    pub gates: Value,
    /// What became of it.
    pub outcome: Outcome,
}

/// Why a record does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It has another form.
    #[error("not a proposal's record: {0}")]
    Form(String),
    /// The id is not that of the proposal.
    #[error("proposal_id is not the digest of the proposal")]
    Id,
    /// Its proposer did not sign it.
    #[error("the proposer did not sign this proposal")]
    Proposer,
    /// The receipt is that of something else, or no pass.
    #[error("the gates did not pass this proposal under this constitution")]
    Gates,
    /// The certificate is that of another proposal.
    #[error("the certificate is of another proposal")]
    OtherProposal,
    /// The certificate names another constitution.
    #[error("the certificate names another constitution")]
    OtherConstitution,
    /// The certificate does not hold.
    #[error("the certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// It has not been decided.
    #[error("nothing was decided: the proposal is {0}")]
    Undecided(&'static str),
}

/// A receipt of the gates as it is kept: numbers as they are read back, so that a record that was
/// just made equals the one that was read.
///
/// # Errors
/// None: receipts have a canonical form.
pub fn receipt(receipt: &Receipt) -> Result<Value, JsonError> {
    json::parse(&json::canonical(&receipt.to_json())?)
}

impl Record {
    /// The proposal's id.
    pub fn id(&self) -> ProposalId {
        self.proposal.id()
    }

    /// What became of it, in one word.
    pub fn status(&self) -> &'static str {
        match self.outcome {
            Outcome::Pending => "pending",
            Outcome::Committed(_) => "committed",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Expired => "expired",
        }
    }

    /// Whether nothing has become of it yet.
    pub fn is_pending(&self) -> bool {
        matches!(self.outcome, Outcome::Pending)
    }

    /// Whether its time was over at `now_ms` without a decision.
    pub fn is_over(&self, now_ms: i64) -> bool {
        self.is_pending() && now_ms >= self.at_ms.saturating_add(LIFE_MS)
    }

    /// The certificate, if it was committed.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.outcome {
            Outcome::Committed(certificate) => Some(certificate),
            Outcome::Pending | Outcome::Rejected { .. } | Outcome::Expired => None,
        }
    }

    /// Its number among the decisions, if it was committed.
    pub fn height(&self) -> Option<u64> {
        self.certificate().map(Certificate::height)
    }

    /// Votes that it needs: those of its certificate, or of a node that is alone.
    pub fn quorum_needed(&self) -> usize {
        needed(self.certificate().map_or(1, |it| it.validators().len()))
    }

    /// Votes that it has.
    pub fn votes_received(&self) -> usize {
        self.certificate().map_or(0, |certificate| certificate.votes().len())
    }

    /// The record without what only the whole has: the embedding, the content, the receipt and the
    /// certificate.
    pub fn head_json(&self) -> Value {
        let proposal = self.proposal.to_json();
        let (code, reason) = match &self.outcome {
            Outcome::Rejected { code, reason } => (Some(code), Some(reason)),
            Outcome::Pending | Outcome::Committed(_) | Outcome::Expired => (None, None),
        };
        json!({
            "proposal_id": self.id().to_string(),
            "status": self.status(),
            "pattern_id": proposal["pattern_id"],
            "source_node": proposal["source_node"],
            "confidence": proposal["confidence"],
            "proposed_at": timestamp_text(self.at_ms),
            "expires_at": timestamp_text(self.at_ms.saturating_add(LIFE_MS)),
            "mode": "solo",
            "height": self.height(),
            "quorum_needed": self.quorum_needed(),
            "votes_received": self.votes_received(),
            "code": code,
            "reason": reason,
        })
    }

    /// All of it, as the HTTP interface answers it and the store keeps it.
    pub fn to_json(&self) -> Value {
        let mut record = self.head_json();
        record["proposal"] = self.proposal.to_json();
        record["proposer"] = json!({
            "node_id": self.proposer.node_id().to_hex(),
            "public_key": self.proposer.to_hex(),
            "signature": self.signature.to_hex(),
        });
        record["constitution"] = json!(self.constitution.to_hex());
        record["gates"] = self.gates.clone();
        record["certificate"] = self.certificate().map_or(Value::Null, Certificate::to_json);
        record
    }

    /// All of it in its canonical form, for the store.
    ///
    /// # Errors
    /// None for what was made here: it is built from what has a canonical form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(&self.to_json())
    }

    /// Reads what [`Record::to_json`] wrote. Nothing is believed before [`Record::verify`].
    ///
    /// # Errors
    /// [`RecordError`] for whatever has another form, or names the proposal wrongly.
    pub fn from_json(value: &Value) -> Result<Self, RecordError> {
        let form = |what: &str| RecordError::Form(what.to_owned());
        let text = |value: &Value, name: &str| {
            let text = value.get(name).and_then(Value::as_str);
            text.map(str::to_owned).ok_or_else(|| form(&format!("{name} is missing")))
        };
        let proposal = value.get("proposal").ok_or_else(|| form("proposal is missing"))?;
        let proposal = Proposal::from_json(proposal).map_err(RecordError::Form)?;
        if ProposalId::from_text(&text(value, "proposal_id")?) != Some(proposal.id()) {
            return Err(RecordError::Id);
        }
        let proposer = value.get("proposer").unwrap_or(&Value::Null);
        let key = PublicKey::admit_hex(&text(proposer, "public_key")?);
        let signature = Signature::from_hex(&text(proposer, "signature")?);
        let constitution = Digest::from_hex(&text(value, "constitution")?);
        let outcome = match text(value, "status")?.as_str() {
            "pending" => Outcome::Pending,
            "expired" => Outcome::Expired,
            "rejected" => {
                Outcome::Rejected { code: text(value, "code")?, reason: text(value, "reason")? }
            }
            "committed" => {
                let certificate = value.get("certificate").unwrap_or(&Value::Null);
                Outcome::Committed(Box::new(Certificate::from_json(certificate)?))
            }
            _ => return Err(form("status is none")),
        };
        let read = Self {
            proposal,
            proposer: key.map_err(|error| form(&error.to_string()))?,
            signature: signature.map_err(|error| form(&error.to_string()))?,
            at_ms: timestamp_ms(&text(value, "proposed_at")?)
                .ok_or_else(|| form("proposed_at is no time"))?,
            constitution: constitution.map_err(|error| form(&error.to_string()))?,
            gates: value.get("gates").cloned().unwrap_or(Value::Null),
            outcome,
        };
        // What is said twice must be said alike: 1 and 1.0 are one number.
        let again = read.to_json();
        let is_same = |said, own| json::canonical(said).ok() == json::canonical(own).ok();
        let is_alike = |name: &str| value.get(name).is_none_or(|said| is_same(said, &again[name]));
        match MEMBERS.iter().find(|name| !is_alike(name)) {
            Some(name) => Err(form(&format!("{name} contradicts the rest"))),
            None => Ok(read),
        }
    }

    /// Checks without a node and without the network that this was proposed by whom it names, passed
    /// the gates and was decided: the signatures, the receipt and the certificate.
    ///
    /// # Errors
    /// [`RecordError`] with the first thing that does not hold, also if it was not committed.
    pub fn verify(&self) -> Result<&Certificate, RecordError> {
        let statement = self.proposal.statement();
        let signed = self.proposer.verify(KeyUse::Proposal, statement, &self.signature);
        signed.map_err(|_| RecordError::Proposer)?;
        let certificate = self.certificate().ok_or(RecordError::Undecided(self.status()))?;
        let judged =
            self.proposal.judged().map_err(|error| RecordError::Form(error.to_string()))?;
        let is_of_this = self.gates["passed"] == true
            && self.gates["constitution"] == self.constitution.to_hex()
            && self.gates["input_hash"] == domain_separated_digest(&judged).to_hex();
        if !is_of_this {
            return Err(RecordError::Gates);
        }
        if certificate.proposal() != self.id() {
            return Err(RecordError::OtherProposal);
        }
        if certificate.constitution() != self.constitution {
            return Err(RecordError::OtherConstitution);
        }
        certificate.verify()?;
        Ok(certificate)
    }
}

/// Members that repeat what others say.
const MEMBERS: [&str; 12] = [
    "pattern_id",
    "source_node",
    "confidence",
    "proposed_at",
    "expires_at",
    "mode",
    "height",
    "quorum_needed",
    "votes_received",
    "code",
    "reason",
    "proposer",
];
