//! Verification of envelopes: the checks in order, cheap ones first, and what they found.

use serde_json::{Map, Value};

use super::{
    ENVELOPE_BYTES_MAX, EnvelopeId, GATES_BYTES_MAX, PARENTS_MAX, PAYLOAD_BYTES_MAX, Parent,
    TTL_S_MAX, VERSION, timestamp_ms, v1,
};
use crate::domain::bytes;
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::id::NodeId;
use crate::domain::identity::{KeyUse, PublicKey, Signature};
use crate::domain::json::{DEPTH_MAX, canonical, parse_nested};
use crate::domain::reject::RejectCode;

/// How far ahead of the reader's clock an envelope may be dated: clocks differ.
pub const FUTURE_MS_MAX: i64 = 30_000;

/// A payload may be [`DEPTH_MAX`] deep; an envelope and an answer around it add a level each.
pub(super) const DOCUMENT_DEPTH_MAX: usize = DEPTH_MAX + 2;

/// Every field but `payload`, which may be withheld.
pub(super) const FIELDS: [&str; 12] = [
    "id",
    "version",
    "sender",
    "public_key",
    "timestamp",
    "ttl",
    "audience",
    "content_hash",
    "provenance",
    "constitution",
    "gates",
    "signature",
];

/// What a reader asks of an envelope beyond its being genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most milliseconds an envelope may be dated ahead.
    pub future_ms_max: i64,
    /// The longest time to live that is accepted, in seconds.
    pub ttl_s_max: u32,
    /// Who reads it: with `Some`, an envelope for anybody else is refused. Checking needs no
    /// audience, consuming does.
    pub readers: Option<Vec<NodeId>>,
    /// Whether envelopes of version "1.0" are read as well; see [`super::v1`].
    pub accept_v1: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { future_ms_max: FUTURE_MS_MAX, ttl_s_max: TTL_S_MAX, readers: None, accept_v1: false }
    }
}

/// One step of verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub check: &'static str,
    /// Whether it held.
    pub passed: bool,
    /// What was seen.
    pub detail: Option<String>,
}

/// The outcome of verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `None` when valid.
    pub code: Option<RejectCode>,
    /// Why not valid.
    pub error: Option<String>,
    /// The checks in order, up to the first that failed.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether every check held. A report without checks is not valid.
    pub fn is_valid(&self) -> bool {
        self.code.is_none() && !self.checks.is_empty()
    }

    /// Adds a check that held.
    pub fn pass(&mut self, check: &'static str, detail: Option<String>) {
        self.checks.push(Check { check, passed: true, detail });
    }

    /// Adds the check that failed.
    pub fn refuse(&mut self, check: &'static str, code: RejectCode, error: String) {
        self.checks.push(Check { check, passed: false, detail: Some(error.clone()) });
        self.code = Some(code);
        self.error = Some(error);
    }

    /// As the HTTP interface and the command line answer it.
    pub fn to_json(&self) -> Value {
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|check| {
                serde_json::json!({
                    "check": check.check,
                    "passed": check.passed,
                    "detail": check.detail,
                })
            })
            .collect();
        serde_json::json!({
            "valid": self.is_valid(),
            "code": self.code.map(RejectCode::as_str),
            "error": self.error,
            "checks": checks,
        })
    }
}

/// An envelope whose checks held.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Its id. One of version "1.0" is shorter and ends in zeros here.
    pub id: EnvelopeId,
    /// Who signed it.
    pub public_key: PublicKey,
    /// When it was made, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Seconds it is valid.
    pub ttl_s: u32,
    /// Who may consume it.
    pub audience: Option<NodeId>,
    /// Digest of the payload.
    pub content_hash: Digest,
    /// What it says it was made from.
    pub provenance: Vec<Parent>,
    /// Parents named by id only, as version "1.0" does: nothing to compare, so never resolved.
    pub parents_by_id: usize,
    /// The constitution it was made under; version "1.0" names none.
    pub constitution: Option<Digest>,
    /// `None` if withheld.
    pub payload: Option<Value>,
}

impl Verified {
    /// The last millisecond at which a reader whose clock is behind by the most that is tolerated
    /// would accept it; its nonce is kept until then.
    pub fn expires_ms(&self) -> i64 {
        self.timestamp_ms + i64::from(self.ttl_s) * 1000 + FUTURE_MS_MAX
    }

    /// How many parents it names.
    pub fn parents(&self) -> usize {
        self.provenance.len() + self.parents_by_id
    }
}

/// Checks an envelope as it came; see [`examine`].
pub fn verify(bytes: &[u8], now_ms: i64, options: &Options) -> Report {
    let (mut report, verified) = examine(bytes, now_ms, options);
    if let Some(verified) = verified
        && verified.parents() > 0
    {
        let parents = verified.parents();
        report.pass("provenance", Some(format!("unresolved: {parents} of {parents} parents")));
    }
    report
}

/// As [`verify`] for each in order: a batch is as strict as its items one by one.
pub fn verify_many<B: AsRef<[u8]>>(items: &[B], now_ms: i64, options: &Options) -> Vec<Report> {
    items.iter().map(|bytes| verify(bytes.as_ref(), now_ms, options)).collect()
}

/// Checks an envelope as it came: size, parse, version, form, sender, key, ttl, time, content hash,
/// signature, audience. Replay and provenance need a memory and are the caller's to add.
///
/// The bytes are an envelope, or an object that has one as its member `envelope`. In that case the
/// members beside it that the envelope or its payload also have must be equal to those: what is
/// read beside a proof is then what was proven.
pub fn examine(bytes: &[u8], now_ms: i64, options: &Options) -> (Report, Option<Verified>) {
    let mut report = Report::default();
    let verified = match run(bytes, now_ms, options, &mut report) {
        Ok(verified) => Some(verified),
        Err(Refusal(check, code, error)) => {
            report.refuse(check, code, error);
            None
        }
    };
    (report, verified)
}

/// The envelope in a document: the document itself, or its member `envelope`.
///
/// # Errors
/// The code and the text for bytes that are too many or no strict JSON object.
pub fn read(bytes: &[u8]) -> Result<Value, (RejectCode, String)> {
    let mut report = Report::default();
    document(bytes, &mut report)
        .map(|document| Value::Object(document.envelope))
        .map_err(|Refusal(_, code, error)| (code, error))
}

/// As [`read`], of an envelope whose fields have their form. Nothing is compared, and nothing proven.
///
/// # Errors
/// As [`read`]; also when a field is missing, unknown or of another form.
pub fn read_form(bytes: &[u8], accept_v1: bool) -> Result<Value, (RejectCode, String)> {
    let options = Options { accept_v1, ..Options::default() };
    let formed =
        document(bytes, &mut Report::default()).and_then(|Document { envelope, .. }| {
            let is_v1 = version(&envelope, &options)?;
            if is_v1 { v1::read(&envelope) } else { Form::read(&envelope) }?;
            Ok(Value::Object(envelope))
        });
    formed.map_err(|Refusal(_, code, error)| (code, error))
}

pub(super) struct Refusal(pub(super) &'static str, pub(super) RejectCode, pub(super) String);

pub(super) fn schema(check: &'static str, error: impl Into<String>) -> Refusal {
    Refusal(check, RejectCode::RejectSchema, error.into())
}

struct Document {
    envelope: Map<String, Value>,
    /// What stood beside it.
    beside: Map<String, Value>,
}

fn document(bytes: &[u8], report: &mut Report) -> Result<Document, Refusal> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(schema("size", format!("{} bytes, at most {ENVELOPE_BYTES_MAX}", bytes.len())));
    }
    report.pass("size", None);
    let value = parse_nested(bytes, DOCUMENT_DEPTH_MAX)
        .map_err(|error| schema("parse", error.to_string()))?;
    let Value::Object(mut fields) = value else {
        return Err(schema("parse", "not a JSON object"));
    };
    let document = match fields.remove("envelope") {
        None => Document { envelope: fields, beside: Map::new() },
        Some(Value::Object(envelope)) => Document { envelope, beside: fields },
        Some(_) => return Err(schema("parse", "envelope is not a JSON object")),
    };
    report.pass("parse", None);
    Ok(document)
}

fn run(
    bytes: &[u8],
    now_ms: i64,
    options: &Options,
    report: &mut Report,
) -> Result<Verified, Refusal> {
    let Document { mut envelope, beside } = document(bytes, report)?;
    let is_v1 = version(&envelope, options)?;
    report.pass("version", is_v1.then(|| "the old form, which promises less".to_owned()));

    let form = if is_v1 { v1::read(&envelope)? } else { Form::read(&envelope)? };
    report.pass("form", None);

    if form.sender != NodeId::of_key(&form.key) {
        let error = "sender is not the first half of public_key".to_owned();
        return Err(Refusal("sender", RejectCode::RejectSenderMismatch, error));
    }
    report.pass("sender", None);
    let public_key = PublicKey::admit(&form.key)
        .map_err(|error| Refusal("key", RejectCode::RejectWeakKey, error.to_string()))?;
    report.pass("key", None);

    let ttl_s = u32::try_from(form.ttl).ok().filter(|ttl| (1..=options.ttl_s_max).contains(ttl));
    let Some(ttl_s) = ttl_s else {
        return Err(schema("ttl", format!("{} is not in 1..={} s", form.ttl, options.ttl_s_max)));
    };
    report.pass("ttl", None);
    in_time(&form, ttl_s, now_ms, options.future_ms_max)?;
    report.pass("time", None);

    let payload = envelope.remove("payload");
    let hash = form.content_hash;
    let hashed =
        if is_v1 { v1::content(payload.as_ref(), hash) } else { content(payload.as_ref(), hash) };
    report.pass("content_hash", hashed?);

    let signature = envelope.remove("signature");
    let header = Value::Object(envelope);
    let (key_use, signed) = if is_v1 {
        (KeyUse::Message, v1::signed_bytes(&header)?)
    } else {
        let signed = canonical(&header);
        (KeyUse::Envelope, signed.map_err(|error| schema("signature", format!("header: {error}")))?)
    };
    public_key
        .verify(key_use, &signed, &form.signature)
        .map_err(|error| Refusal("signature", RejectCode::RejectSignature, error.to_string()))?;
    report.pass("signature", is_v1.then(|| v1::SIGNATURE_NOTE.to_owned()));

    if let (Some(readers), Some(audience)) = (&options.readers, form.audience)
        && !readers.contains(&audience)
    {
        let error = format!("it is for node {audience}");
        return Err(Refusal("audience", RejectCode::RejectAudience, error));
    }
    report.pass("audience", form.audience.map(|node| format!("for node {node}")));

    if !beside.is_empty() {
        beside_agrees(&beside, |name| match name {
            "payload" => payload.as_ref(),
            "signature" => signature.as_ref(),
            _ => header.get(name).or_else(|| payload.as_ref()?.get(name)),
        })?;
        report.pass("beside", None);
    }

    Ok(Verified {
        id: form.id,
        public_key,
        timestamp_ms: form.timestamp_ms,
        ttl_s,
        audience: form.audience,
        content_hash: form.content_hash,
        provenance: form.provenance,
        parents_by_id: form.parents_by_id,
        constitution: form.constitution,
        payload,
    })
}

/// Whether it is the old version, if that one is read at all.
fn version(envelope: &Map<String, Value>, options: &Options) -> Result<bool, Refusal> {
    match field(envelope, "version", "version")? {
        Value::String(version) if version == VERSION => Ok(false),
        Value::String(version) if version == v1::VERSION && options.accept_v1 => Ok(true),
        Value::String(version) => {
            // Not longer than a version: the text may be anything.
            let version: String = version.chars().take(16).collect();
            let error = format!("version {version:?}, not {VERSION:?}");
            Err(Refusal("version", RejectCode::RejectVersion, error))
        }
        _ => Err(schema("version", "version is not text")),
    }
}

/// The header's fields in their types; nothing is compared yet.
pub(super) struct Form {
    pub(super) id: EnvelopeId,
    pub(super) sender: NodeId,
    pub(super) key: [u8; 32],
    pub(super) timestamp_ms: i64,
    pub(super) ttl: i64,
    pub(super) audience: Option<NodeId>,
    pub(super) content_hash: Digest,
    pub(super) provenance: Vec<Parent>,
    pub(super) parents_by_id: usize,
    pub(super) constitution: Option<Digest>,
    pub(super) signature: Signature,
}

impl Form {
    fn read(envelope: &Map<String, Value>) -> Result<Self, Refusal> {
        for name in FIELDS {
            field(envelope, "form", name)?;
        }
        let is_known = |name: &str| name == "payload" || FIELDS.contains(&name);
        if let Some(name) = envelope.keys().find(|name| !is_known(name)) {
            let name: String = name.chars().take(32).collect();
            return Err(schema("form", format!("unknown field {name:?}")));
        }
        gates(&envelope["gates"])?;
        let audience = match &envelope["audience"] {
            Value::Null => None,
            _ => Some(from_field(envelope, "audience", |text| NodeId::from_hex(text).ok())?),
        };
        let ttl = envelope["ttl"].as_i64().ok_or_else(|| schema("form", "ttl is no integer"))?;
        Ok(Self {
            id: from_field(envelope, "id", EnvelopeId::from_text)?,
            sender: from_field(envelope, "sender", |text| NodeId::from_hex(text).ok())?,
            key: from_field(envelope, "public_key", |text| bytes::from_hex(text).ok())?,
            timestamp_ms: from_field(envelope, "timestamp", timestamp_ms)?,
            ttl,
            audience,
            content_hash: from_field(envelope, "content_hash", |text| Digest::from_hex(text).ok())?,
            provenance: parents(&envelope["provenance"])?,
            parents_by_id: 0,
            constitution: Some(from_field(envelope, "constitution", |text| {
                Digest::from_hex(text).ok()
            })?),
            signature: from_field(envelope, "signature", |text| Signature::from_hex(text).ok())?,
        })
    }
}

pub(super) fn field<'a>(
    envelope: &'a Map<String, Value>,
    check: &'static str,
    name: &str,
) -> Result<&'a Value, Refusal> {
    let missing = || Refusal(check, RejectCode::RejectMissingField, format!("{name} is missing"));
    envelope.get(name).ok_or_else(missing)
}

pub(super) fn from_field<T>(
    envelope: &Map<String, Value>,
    name: &str,
    from_text: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Refusal> {
    let value = envelope.get(name).and_then(Value::as_str).and_then(from_text);
    value.ok_or_else(|| schema("form", format!("{name} has the wrong form")))
}

fn parents(provenance: &Value) -> Result<Vec<Parent>, Refusal> {
    let wrong = || schema("form", "provenance is not a list of {id, content_hash}");
    let parents = provenance.as_array().ok_or_else(wrong)?;
    if parents.len() > PARENTS_MAX {
        let error = format!("{} parents, at most {PARENTS_MAX}", parents.len());
        return Err(schema("form", error));
    }
    let parent = |parent: &Value| {
        let fields = parent.as_object().filter(|fields| fields.len() == 2)?;
        let id = EnvelopeId::from_text(fields.get("id")?.as_str()?)?;
        let content_hash = bytes::from_hex(fields.get("content_hash")?.as_str()?).ok()?;
        Some(Parent { id, content_hash })
    };
    parents.iter().map(|value| parent(value).ok_or_else(wrong)).collect()
}

fn gates(gates: &Value) -> Result<(), Refusal> {
    match gates {
        Value::Null => Ok(()),
        Value::Object(_) => match canonical(gates) {
            Ok(bytes) if bytes.len() <= GATES_BYTES_MAX => Ok(()),
            Ok(_) => Err(schema("form", format!("gates has more than {GATES_BYTES_MAX} bytes"))),
            Err(error) => Err(schema("form", format!("gates: {error}"))),
        },
        _ => Err(schema("form", "gates is neither an object nor null")),
    }
}

fn in_time(form: &Form, ttl_s: u32, now_ms: i64, future_ms_max: i64) -> Result<(), Refusal> {
    let age_ms = now_ms.saturating_sub(form.timestamp_ms);
    if age_ms > i64::from(ttl_s) * 1000 {
        let error = format!("{} s old, valid for {ttl_s} s", age_ms / 1000);
        return Err(Refusal("time", RejectCode::RejectExpired, error));
    }
    if age_ms < -future_ms_max {
        let error = format!("dated {} s ahead", -(age_ms / 1000));
        return Err(Refusal("time", RejectCode::RejectFuture, error));
    }
    Ok(())
}

/// Compares the payload with its hash; the detail says so if there is none to compare.
fn content(payload: Option<&Value>, hash: Digest) -> Result<Option<String>, Refusal> {
    let Some(payload) = payload else {
        return Ok(Some("payload withheld: its hash is signed, but nothing was hashed".to_owned()));
    };
    let bytes =
        canonical(payload).map_err(|error| schema("content_hash", format!("payload: {error}")))?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        let error = format!("payload has {} bytes, at most {PAYLOAD_BYTES_MAX}", bytes.len());
        return Err(schema("content_hash", error));
    }
    if domain_separated_digest(&bytes) != hash {
        let error = "content_hash is not the digest of the payload".to_owned();
        return Err(Refusal("content_hash", RejectCode::RejectHashMismatch, error));
    }
    Ok(None)
}

/// Compares what stands beside an envelope with what is `proven` under the same name.
fn beside_agrees<'a>(
    beside: &Map<String, Value>,
    proven: impl Fn(&str) -> Option<&'a Value>,
) -> Result<(), Refusal> {
    for (name, value) in beside {
        // Compared in canonical form, since 1.0 and 1 are one number.
        if proven(name).is_some_and(|proven| canonical(proven) != canonical(value)) {
            let name: String = name.chars().take(32).collect();
            let error = format!("{name:?} beside the envelope is not the one inside");
            return Err(Refusal("beside", RejectCode::RejectHashMismatch, error));
        }
    }
    Ok(())
}
