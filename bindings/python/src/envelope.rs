//! Envelopes: made and verified without a node.

use bizra_omega::domain::bytes;
use bizra_omega::domain::constitution;
use bizra_omega::domain::envelope::{
    Draft, EnvelopeId, Options, Parent, SealError, Sealed, TTL_S_MAX, verify,
};
use bizra_omega::domain::identity::KeyUse;
use bizra_omega::domain::json::{canonical, parse};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use serde_json::Value;

use crate::clock::now_ms;
use crate::constitution::Constitution;
use crate::error::{Error, Result, apart, to_python};
use crate::id::{Named, NodeId, hash_of};
use crate::identity::NodeIdentity;
use crate::input::{Data, json_text, random, text};
use crate::verification::Verification;

/// A payload, its hash, and a signed header that anybody can check, version "2.0".
///
/// Made by create() or read by from_json(); what was read is proven by verify() only. Two envelopes
/// are equal when every field is.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct PCIEnvelope {
    fields: Value,
    /// All of it in one line of JSON.
    json: String,
}

impl PCIEnvelope {
    /// One that was just sealed.
    pub(crate) fn made(sealed: &Sealed) -> Self {
        Self { fields: Value::clone(&sealed.json), json: sealed.json.to_string() }
    }
}

#[pymethods]
impl PCIEnvelope {
    /// Seals a payload.
    ///
    /// ``payload`` is JSON text, or any object that JSON can say (I-JSON: no repeated keys, integers
    /// within 2**53 - 1; at most 1 MiB, 64 levels). ``ttl`` is the time it is valid, 1 to 3600
    /// seconds. ``provenance`` names up to 64 parents: envelopes, or pairs of id and content hash.
    /// ``audience`` is the only node that may consume it. ``constitution`` is what it is made under,
    /// the built-in one unless told otherwise.
    ///
    /// Raises InvalidInput for what breaks a rule of the format.
    #[staticmethod]
    #[pyo3(signature = (identity, payload, ttl=3600, provenance=None, *, audience=None, constitution=None))]
    fn create(
        py: Python<'_>,
        identity: &NodeIdentity,
        payload: &Bound<'_, PyAny>,
        ttl: i64,
        provenance: Option<&Bound<'_, PyAny>>,
        audience: Option<Named>,
        constitution: Option<&Constitution>,
    ) -> PyResult<Self> {
        let payload = json_text(payload)?;
        let provenance = provenance.map(parents).transpose()?.unwrap_or_default();
        let constitution = constitution.map(|constitution| constitution.inner.digest());
        let ttl_s = u32::try_from(ttl)
            .map_err(|_| Error::invalid(format!("ttl {ttl} is not in 1..={TTL_S_MAX} seconds")))?;
        Ok(apart(py, || {
            let payload = parse(&payload).map_err(|error| {
                Error::invalid(format!("Invalid JSON: {error}")).code("INVALID_JSON")
            })?;
            let draft = Draft {
                id: EnvelopeId(random()?),
                timestamp_ms: now_ms(),
                ttl_s,
                audience: audience.map(|node| node.0),
                provenance,
                constitution: constitution
                    .unwrap_or_else(|| constitution::Constitution::default().digest()),
                gates: None,
                payload,
            };
            seal(identity, draft)
        })?)
    }

    /// Reads an envelope: JSON text, bytes, or a dictionary. Nothing is proven by that.
    ///
    /// With ``accept_v1`` envelopes of version "1.0" are read as well. Raises InvalidInput, with the
    /// reject code as its code, for what has not the form of an envelope.
    #[staticmethod]
    #[pyo3(signature = (data, *, accept_v1=false))]
    fn from_json(py: Python<'_>, data: &Bound<'_, PyAny>, accept_v1: bool) -> PyResult<Self> {
        let data = json_text(data)?;
        Ok(apart(py, || read(&data, accept_v1))?)
    }

    /// Checks it: form, sender and key, time to live, time, content hash, signature, and the audience
    /// if one is given.
    ///
    /// ``now`` is the time to check it at, in seconds since 1970; the clock's, unless told otherwise.
    /// Replays are not seen here: a node remembers what it consumed.
    #[pyo3(signature = (*, now=None, audience=None, accept_v1=false))]
    fn verify(
        &self,
        py: Python<'_>,
        now: Option<f64>,
        audience: Option<Named>,
        accept_v1: bool,
    ) -> Result<Verification> {
        check(py, self.json.as_bytes(), now, audience, accept_v1)
    }

    /// As verify(), of bytes as they came: an envelope, or an object with one as its "envelope",
    /// whose other members must then agree with what is proven. Never raises for bad data.
    #[staticmethod]
    #[pyo3(signature = (data, *, now=None, audience=None, accept_v1=false))]
    fn verify_json(
        py: Python<'_>,
        data: Data,
        now: Option<f64>,
        audience: Option<Named>,
        accept_v1: bool,
    ) -> Result<Verification> {
        check(py, &data, now, audience, accept_v1)
    }

    /// All of it in one line of JSON.
    fn to_json(&self) -> &str {
        &self.json
    }

    /// All of it as a dictionary.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?.call_method1("loads", (&self.json,))
    }

    /// Its id: ``pci_`` and 32 hex digits. Also its replay nonce.
    #[getter]
    fn id(&self) -> String {
        text(&self.fields["id"])
    }

    /// "2.0", or "1.0" for one of the old form.
    #[getter]
    fn version(&self) -> String {
        text(&self.fields["version"])
    }

    /// Who says to have sent it.
    #[getter]
    fn sender(&self) -> PyResult<NodeId> {
        let id = self.fields["sender"].as_str().and_then(|text| text.parse().ok());
        Ok(NodeId(id.ok_or_else(|| Error::internal("an envelope without a sender"))?))
    }

    /// The key it is signed with, 64 hex digits.
    #[getter]
    fn public_key(&self) -> String {
        text(&self.fields["public_key"])
    }

    /// When it was made, RFC 3339 in UTC.
    #[getter]
    fn timestamp(&self) -> String {
        text(&self.fields["timestamp"])
    }

    /// Seconds it is valid from then on.
    #[getter]
    fn ttl(&self) -> i64 {
        self.fields["ttl"].as_i64().unwrap_or_default()
    }

    /// The only node that may consume it, or None.
    #[getter]
    fn audience(&self) -> Option<NodeId> {
        self.fields["audience"].as_str().and_then(|text| text.parse().ok()).map(NodeId)
    }

    /// The domain-separated digest of the payload's canonical form (RFC 8785), 64 hex digits.
    #[getter]
    fn content_hash(&self) -> String {
        text(&self.fields["content_hash"])
    }

    /// What it was made from: pairs of id and content hash. Version "1.0" has ids only, with None.
    #[getter]
    fn provenance(&self) -> Vec<(String, Option<String>)> {
        let parents = self.fields["provenance"].as_array();
        let parent = |parent: &Value| match parent {
            Value::Object(fields) => (text(&fields["id"]), Some(text(&fields["content_hash"]))),
            id => (text(id), None),
        };
        parents.into_iter().flatten().map(parent).collect()
    }

    /// Digest of the constitution it was made under; version "1.0" names none.
    #[getter]
    fn constitution(&self) -> Option<&str> {
        self.fields.get("constitution").and_then(Value::as_str)
    }

    /// The receipt of the gates that judged the payload, as a dictionary, or None.
    #[getter]
    fn gates<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, self.fields.get("gates").unwrap_or(&Value::Null))
    }

    /// The payload in canonical JSON; None if it was withheld.
    #[getter]
    fn payload(&self, py: Python<'_>) -> Result<Option<String>> {
        let Some(payload) = self.fields.get("payload") else { return Ok(None) };
        apart(py, || {
            let bytes = canonical(payload).map_err(|error| Error::invalid(error.to_string()))?;
            String::from_utf8(bytes).map(Some).map_err(|error| Error::internal(error.to_string()))
        })
    }

    /// The signature, 128 hex digits.
    #[getter]
    fn signature(&self) -> String {
        text(&self.fields["signature"])
    }

    fn __repr__(&self) -> String {
        let sender = self.sender().map(|node| node.0.short()).unwrap_or_default();
        format!("PCIEnvelope(id='{}', sender={sender})", self.id())
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.fields == other.fields
    }

    fn __hash__(&self) -> u64 {
        hash_of(&(self.fields["id"].as_str(), self.fields["signature"].as_str()))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let read = py.get_type::<Self>().getattr("_from_pickle")?;
        PyTuple::new(py, [read, PyTuple::new(py, [&self.json])?.into_any()])
    }

    #[staticmethod]
    fn _from_pickle(py: Python<'_>, json: &str) -> Result<Self> {
        apart(py, || read(json.as_bytes(), true))
    }
}

fn read(data: &[u8], accept_v1: bool) -> Result<PCIEnvelope> {
    let fields = verify::read_form(data, accept_v1)
        .map_err(|(code, error)| Error::invalid(error).code(code.as_str()))?;
    Ok(PCIEnvelope { json: fields.to_string(), fields })
}

fn seal(identity: &NodeIdentity, draft: Draft) -> Result<PCIEnvelope> {
    let refused = |error: SealError| Error::invalid(error.to_string());
    let unsigned = draft.prepare(identity.public()).map_err(refused)?;
    let signed = identity.signed(KeyUse::Envelope, unsigned.signing_bytes());
    let sealed = unsigned.finish(&signed).map_err(refused)?;
    let json = sealed.json.to_string();
    let fields = std::sync::Arc::unwrap_or_clone(sealed.json);
    Ok(PCIEnvelope { fields, json })
}

fn check(
    py: Python<'_>,
    data: &[u8],
    now: Option<f64>,
    audience: Option<Named>,
    accept_v1: bool,
) -> Result<Verification> {
    let now_ms = match now {
        None => now_ms(),
        // Far more than the years that a timestamp can say; doubles hold these exactly.
        Some(seconds) if seconds.abs() < 1e12 => (seconds * 1e3) as i64,
        Some(seconds) => return Err(Error::invalid(format!("now: {seconds} is no time"))),
    };
    let readers = audience.map(|node| vec![node.0]);
    let options = Options { readers, accept_v1, ..Options::default() };
    apart(py, || Ok(Verification::new(verify::verify(data, now_ms, &options))))
}

/// Parents as callers name them.
fn parents(given: &Bound<'_, PyAny>) -> PyResult<Vec<Parent>> {
    given.try_iter()?.map(|item| parent(&item?)).collect()
}

fn parent(item: &Bound<'_, PyAny>) -> PyResult<Parent> {
    let (id, content_hash) = match item.cast::<PCIEnvelope>() {
        Ok(envelope) => (envelope.get().id(), envelope.get().content_hash()),
        Err(_) => match item.extract::<(String, String)>() {
            Ok(pair) => pair,
            Err(_) => {
                let wrong = "a parent is an envelope, or a pair of its id and its content hash";
                return Err(Error::invalid(wrong).into());
            }
        },
    };
    let hash = bytes::from_hex(&content_hash)
        .map_err(|error| Error::invalid(format!("content hash of a parent: {error}")))?;
    let id = EnvelopeId::from_text(&id)
        .ok_or_else(|| Error::invalid("the id of a parent is pci_ and 32 hex digits"))?;
    Ok(Parent { id, content_hash: hash })
}
