//! Shapes of answers that the node builds as JSON, described for those who read them. The contract
//! test holds the answers of a live node to them.
#![expect(dead_code, reason = "these describe values that are made elsewhere")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use crate::http::openapi::forms::{
    AnyJson, ComparatorName, DigestHex, EnforcementName, EnvelopeIdText, GateName, NodeIdHex,
    ProfileName, PublicKeyHex, RejectCodeName, RequestIdText, ScoreNumber, SignatureHex,
    SourceName, TimeText,
};

/// Every error. Some endpoints add keys.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "error": "missing field `prompt`",
    "code": "INVALID_FIELD",
    "details": "$.prompt",
    "request_id": "5f0c9a1e7b3d4c2890ab12cd34ef5678",
})))]
pub(in crate::http) struct ApiError {
    /// What is wrong, in words.
    error: String,
    /// What is wrong, for programs: a stable code word.
    #[schema(pattern = "^[A-Z][A-Z0-9_]*$")]
    code: String,
    /// Where it is wrong (a path into the request's JSON) or what else there is to say.
    details: Option<String>,
    /// Id of the request, as in the header x-request-id and in the node's log.
    #[schema(value_type = RequestIdText)]
    request_id: String,
}

/// Every error below `/v1`, as OpenAI's clients read it.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct OpenAiError {
    /// What is wrong.
    error: OpenAiErrorBody,
}

/// What is wrong.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "message": "n is 2; one answer is made for each request",
    "type": "invalid_request_error",
    "param": "n",
    "code": "unsupported_value",
})))]
pub(in crate::http) struct OpenAiErrorBody {
    /// In words.
    message: String,
    /// The family of the error.
    #[schema(pattern = "^[a-z_]+_error$")]
    r#type: String,
    /// The parameter at fault.
    #[schema(required)]
    param: Option<String>,
    /// For programs: OpenAI's code where it has one, otherwise the code word of this node.
    #[schema(pattern = "^[A-Za-z][A-Za-z0-9_]*$")]
    code: String,
    /// Of a refusal of the gates: their receipt. Absent otherwise.
    #[schema(value_type = AnyJson, required = false)]
    bizra: serde_json::Value,
}

/// An envelope of version 2.0: a header, the signature over it, and the payload that the header
/// names by its hash.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "id": "pci_79b5562e8fe654f94078b112e8a98ba7",
    "version": "2.0",
    "sender": "2152f8d19b791d24453242e15f2eab6c",
    "public_key": "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12",
    "timestamp": "2026-01-31T12:00:00.000Z",
    "ttl": 3600,
    "audience": null,
    "content_hash": "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
    "provenance": [],
    "constitution": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "gates": null,
    "signature": "5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d\
                  5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d",
    "payload": { "answer": 42 },
})))]
pub(in crate::http) struct Envelope {
    /// Its id, the random half of its nonce.
    #[schema(value_type = EnvelopeIdText)]
    id: String,
    /// The version of its format.
    #[schema(pattern = "^2\\.0$")]
    version: String,
    /// The node that sealed it.
    #[schema(value_type = NodeIdHex)]
    sender: String,
    /// The key that signed it.
    #[schema(value_type = PublicKeyHex)]
    public_key: String,
    /// When it was sealed.
    #[schema(value_type = TimeText)]
    timestamp: String,
    /// Seconds it is valid.
    #[schema(minimum = 1)]
    ttl: u32,
    /// The only node that may consume it; null for any.
    #[schema(value_type = Option<NodeIdHex>, required)]
    audience: Option<String>,
    /// Digest of the payload's canonical form.
    #[schema(value_type = DigestHex)]
    content_hash: String,
    /// What it was made from.
    provenance: Vec<Parent>,
    /// Digest of the constitution it was made under.
    #[schema(value_type = DigestHex)]
    constitution: String,
    /// What the gates said, where they judged.
    #[schema(required)]
    gates: Option<Receipts>,
    /// Over the canonical form of everything but payload and signature.
    #[schema(value_type = SignatureHex)]
    signature: String,
    /// What is proven.
    #[schema(value_type = AnyJson)]
    payload: serde_json::Value,
}

/// An envelope that another was made from.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "id": "pci_79b5562e8fe654f94078b112e8a98ba7",
    "content_hash": "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
})))]
pub(in crate::http) struct Parent {
    /// Its id.
    #[schema(value_type = EnvelopeIdText)]
    id: String,
    /// Digest of its payload.
    #[schema(value_type = DigestHex)]
    content_hash: String,
}

/// What the gates said of what was asked and of what was answered.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "input": null, "system": null, "output": null })))]
pub(in crate::http) struct Receipts {
    /// Of the prompt.
    input: Option<Receipt>,
    /// Of the system text.
    system: Option<Receipt>,
    /// Of what was said before the prompt; absent if nothing was.
    #[schema(required = false)]
    history: Option<Receipt>,
    /// Of the answer.
    output: Option<Receipt>,
}

/// What a run of gates leaves in an envelope.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "profile": "inference-output",
    "passed": true,
    "constitution": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "input_hash": "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
    "gates": [],
})))]
pub(in crate::http) struct Receipt {
    /// Which gates judged.
    #[schema(value_type = ProfileName)]
    profile: String,
    /// Whether no strict gate refused.
    passed: bool,
    /// Digest of the constitution they judged by.
    #[schema(value_type = DigestHex)]
    constitution: String,
    /// Digest of what was judged.
    #[schema(value_type = DigestHex)]
    input_hash: String,
    /// Of the first strict gate that failed; absent if none did.
    #[schema(value_type = RejectCodeName, required = false)]
    code: String,
    /// Why it failed; absent if none did.
    #[schema(required = false)]
    reason: String,
    /// What each gate said, in order.
    gates: Vec<ReceiptGate>,
}

/// What one gate said.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "gate": "schema",
    "passed": true,
    "code": null,
    "score": null,
    "threshold": null,
    "source": "measured",
    "enforcement": "strict",
    "scorer": null,
    "version": null,
    "evidence": null,
})))]
pub(in crate::http) struct ReceiptGate {
    /// Its name.
    #[schema(value_type = GateName)]
    gate: String,
    /// Whether the content passed it.
    passed: bool,
    /// Why not.
    #[schema(value_type = Option<RejectCodeName>, required)]
    code: Option<String>,
    /// What was compared.
    #[schema(value_type = Option<ScoreNumber>, required)]
    score: Option<f64>,
    /// With what.
    #[schema(value_type = Option<ScoreNumber>, required)]
    threshold: Option<f64>,
    /// Who vouches for the score.
    #[schema(value_type = SourceName)]
    source: String,
    /// What not passing means.
    #[schema(value_type = EnforcementName)]
    enforcement: String,
    /// What measured the score.
    #[schema(required)]
    scorer: Option<String>,
    /// Its version.
    #[schema(required)]
    version: Option<String>,
    /// What the verdict rests on; never holds content.
    #[schema(value_type = Option<AnyJson>, required)]
    evidence: Option<serde_json::Value>,
}

/// An envelope that was made here: all its fields, and the whole once more.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Sealed {
    /// The fields of the envelope.
    #[serde(flatten)]
    fields: Envelope,
    /// The envelope, byte for byte what was signed.
    envelope: Envelope,
}

/// Whether an envelope is valid.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "valid": false,
    "code": "RejectExpired",
    "error": "expired 12 s ago",
    "checks": [{ "check": "time", "passed": false, "detail": "expired 12 s ago" }],
})))]
pub(in crate::http) struct Report {
    /// Whether every check held.
    valid: bool,
    /// Why not; null when valid.
    #[schema(value_type = Option<RejectCodeName>, required)]
    code: Option<String>,
    /// The same in words.
    #[schema(required)]
    error: Option<String>,
    /// The checks in order, up to the first that failed.
    checks: Vec<ReportCheck>,
}

/// One step of verification.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "check": "signature", "passed": true, "detail": null })))]
pub(in crate::http) struct ReportCheck {
    /// Its name.
    check: String,
    /// Whether it held.
    passed: bool,
    /// What was seen.
    #[schema(required)]
    detail: Option<String>,
}

/// What the log knows of an envelope.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "id": "pci_79b5562e8fe654f94078b112e8a98ba7",
    "at": "2026-01-31T12:00:00.000Z",
    "sender": "2152f8d19b791d24453242e15f2eab6c",
    "content_hash": "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
    "constitution": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
})))]
pub(in crate::http) struct Head {
    /// Its id.
    #[schema(value_type = EnvelopeIdText)]
    id: String,
    /// When it was sealed.
    #[schema(value_type = TimeText)]
    at: String,
    /// The identity that sealed it.
    #[schema(value_type = NodeIdHex)]
    sender: String,
    /// Digest of its payload.
    #[schema(value_type = DigestHex)]
    content_hash: String,
    /// Digest of the constitution it was made under.
    #[schema(value_type = DigestHex)]
    constitution: String,
}

/// An envelope that this node made.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Found {
    /// What the log knows of it.
    #[serde(flatten)]
    head: Head,
    /// True: this node made it.
    issued: bool,
    /// The envelope itself.
    envelope: Envelope,
}

/// A page of the log, newest first.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "envelopes": [], "next": null })))]
pub(in crate::http) struct LogPage {
    /// As many as were asked for, or fewer at the end.
    envelopes: Vec<Head>,
    /// What to give as `after` for the next page; null at the end.
    #[schema(value_type = Option<EnvelopeIdText>, required)]
    next: Option<String>,
}

/// By this record one key took the place of another. Both signed it.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "type": "bizra-key-rotation-v1",
    "old_public_key": "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12",
    "new_public_key": "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
    "at": "2026-01-31T12:00:00.000Z",
    "signature": "5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d\
                  5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d",
    "proof": "5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d\
              5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d",
})))]
pub(in crate::http) struct RotationRecord {
    /// The form of the record.
    r#type: String,
    /// The key that signs no more.
    #[schema(value_type = PublicKeyHex)]
    old_public_key: String,
    /// The key in its place.
    #[schema(value_type = PublicKeyHex)]
    new_public_key: String,
    /// When.
    #[schema(value_type = TimeText)]
    at: String,
    /// Of the old key, over the above.
    #[schema(value_type = SignatureHex)]
    signature: String,
    /// Of the new key, over the above with the signature.
    #[schema(value_type = SignatureHex)]
    proof: String,
}

/// That the node is there.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "status": "alive" })))]
pub(in crate::http) struct Signal {
    /// alive or ready, as was asked.
    status: String,
}

/// What may be done without a person.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "risk_max": [0.0, 0.0, 0.0, 0.0, 0.0], "approval_above": 0.5 })))]
pub(in crate::http) struct AutonomyTerms {
    /// The most risk at each level, from 0 (a person does it) to 4 (nobody looks); it never rises.
    #[schema(value_type = Vec<ScoreNumber>, min_items = 5, max_items = 5)]
    risk_max: Vec<f64>,
    /// Above this risk an action is reversible, or approved by a person's key.
    #[schema(value_type = ScoreNumber)]
    approval_above: f64,
}

/// What is asked of the standing of a sender.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "minimum": 0.5, "recovery_per_day": 0.1 })))]
pub(in crate::http) struct TrustTerms {
    /// Below it nothing is taken from a sender.
    #[schema(value_type = ScoreNumber)]
    minimum: f64,
    /// How much trust comes back in a day.
    #[schema(value_type = ScoreNumber)]
    recovery_per_day: f64,
}

/// One rule: metric of target, comparator, threshold.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "id": "IHSAN_OUTPUT",
    "name": "Answers are excellent",
    "target": "output",
    "metric": "ihsan",
    "comparator": ">=",
    "threshold": 0.95,
    "enforcement": "advisory",
    "penalty": { "kind": "none" },
})))]
pub(in crate::http) struct RuleTerms {
    /// Unique among the rules.
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Z0-9_]+$")]
    id: String,
    /// For people.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// What is judged: input, output, envelope, message or proposal.
    target: String,
    /// What is compared: ihsan, snr, harm, signature, provenance or quorum.
    metric: String,
    /// How.
    #[schema(value_type = ComparatorName)]
    comparator: String,
    /// With what.
    #[schema(value_type = ScoreNumber)]
    threshold: f64,
    /// What a breach means for the judged.
    #[schema(value_type = EnforcementName)]
    enforcement: String,
    /// What a breach means for the one who sent it.
    penalty: PenaltyTerms,
}

/// What a breach costs its author.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "kind": "cooldown", "seconds": 60 })))]
pub(in crate::http) struct PenaltyTerms {
    /// reject, trust, cooldown or none.
    kind: String,
    /// Trust that is lost; of kind trust only.
    #[schema(value_type = ScoreNumber, required = false)]
    amount: f64,
    /// Seconds in which nothing more is taken from it; of kind cooldown only.
    #[schema(minimum = 1, required = false)]
    seconds: u32,
}

/// The terms of one profile.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({
    "gates": { "schema": "strict", "ihsan": "strict", "snr": "strict" },
    "must_verify": [],
    "coverage_min": 0.0,
})))]
pub(in crate::http) struct ProfileTerms {
    /// How each of its gates is enforced, by the gate's name.
    #[schema(value_type = BTreeMap<String, EnforcementName>)]
    gates: BTreeMap<String, String>,
    /// Dimensions of Ihsan without which it counts as not measured.
    must_verify: Vec<String>,
    /// The least weight of verified dimensions with which Ihsan counts as measured.
    #[schema(value_type = ScoreNumber)]
    coverage_min: f64,
}
