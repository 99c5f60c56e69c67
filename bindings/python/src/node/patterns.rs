//! What a node has learned, found by meaning.

use bizra_omega::domain::bytes::from_hex;
use bizra_omega::domain::embedding::EmbedderId;
use bizra_omega::domain::identity::{KeyUse, PublicKey, Signature};
use bizra_omega::domain::pattern::feedback::{Opinion, statement};
use bizra_omega::domain::pattern::ledger::{Learned, Learning};
use bizra_omega::domain::pattern::view::{Figures, Filter, Near, Query};
use bizra_omega::domain::pattern::{
    BATCH_MAX, Elevation, Lesson, PAGE_MAX, Page, Pattern, PatternError, PatternId, Position,
    Source, Tags,
};
use bizra_omega::messages::identity::IdentityMsg;
use bizra_omega::messages::pattern_memory::{MemoryError, PatternMemoryMsg};
use bytes::Bytes;
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::answers::Json;
use super::call::Call;
use super::failure::{unknown, wrong};
use super::federation::decided;
use super::input::{checked_batch, page_limit};
use super::running::{Running, deadline};
use crate::clock::now_ms;
use crate::error::{Error, Family, Result};

/// The way to the pattern-memory actor. Internal to this package: `bizra.Node.patterns` wraps it.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct PatternsPort(pub(super) Running);

/// Something to learn, as a dictionary with all of these keys.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Taught {
    content: String,
    tags: Vec<String>,
    source: String,
    embedding: Option<Vec<f64>>,
    embedder: Option<(String, u32, usize)>,
}

/// What to recall, as a dictionary with all of these keys.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Asked {
    text: Option<String>,
    embedding: Option<Vec<f64>>,
    embedder: Option<(String, u32, usize)>,
    limit: usize,
    min_similarity: Option<f64>,
    tags: Vec<String>,
    source: Option<String>,
    elevated: Option<bool>,
}

#[pymethods]
impl PatternsPort {
    /// Learns lessons.
    fn learn(&self, lessons: Vec<Taught>, timeout: Option<f64>) -> PyResult<Call> {
        checked_batch("lessons", lessons.len(), BATCH_MAX)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            let lessons = lessons.into_iter().map(Taught::read).collect::<Result<Vec<_>>>()?;
            let ask = |reply| PatternMemoryMsg::Learn { lessons: lessons.clone(), reply };
            let learned = addr.call(until, ask).await??;
            let now = now_ms();
            Ok(Json(learned.iter().map(|learned| outcome(learned, now)).collect()))
        })?)
    }

    /// Finds the patterns nearest to something.
    fn recall(&self, asked: Asked, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            let query = Box::new(asked.read()?);
            let ask = |reply| PatternMemoryMsg::Recall { query: query.clone(), reply };
            let recalled = addr.call(until, ask).await??;
            let now = now_ms();
            let told = recalled.into_iter().map(|it| {
                let mut told = shown(&it.pattern, Some(it.content), now);
                told["similarity"] = json!(rounded(it.similarity));
                told
            });
            Ok(Json(told.collect()))
        })?)
    }

    /// Looks up a pattern; None if it is not held.
    fn get(&self, id: &str, timeout: Option<f64>) -> PyResult<Call> {
        let id = pattern_id("id", id)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            let found = addr.call(until, |reply| PatternMemoryMsg::Find { id, reply }).await??;
            let now = now_ms();
            let told = found.map(|found| shown(&found.pattern, Some(found.content), now));
            Ok(Json(told.unwrap_or(Value::Null)))
        })?)
    }

    /// Lists patterns, newest first.
    fn list(&self, limit: i64, after: Option<&str>, timeout: Option<f64>) -> PyResult<Call> {
        let limit = page_limit(limit, PAGE_MAX)?;
        let after = after.map(|after| pattern_id("after", after)).transpose()?;
        let page = Page { limit, after };
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            let listed = addr.call(until, |reply| PatternMemoryMsg::List { page, reply }).await??;
            let now = now_ms();
            let told = listed.into_iter().map(|it| shown(&it.pattern, Some(it.content), now));
            Ok(Json(told.collect()))
        })?)
    }

    /// Counts what is held.
    fn stats(&self, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            let figures = addr.call(until, |reply| PatternMemoryMsg::Stats { reply }).await??;
            Ok(Json(counted(&figures)))
        })?)
    }

    /// Signs a feedback with the node's key, to be given here or at any other node.
    fn sign_feedback(&self, id: &str, positive: bool, timeout: Option<f64>) -> PyResult<Call> {
        let id = pattern_id("id", id)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.identity.clone();
        Ok(self.0.begin(&self.0.lanes.identity, until, async move {
            // Rises with every feedback of this key.
            let number = u64::try_from(now_ms()).unwrap_or_default();
            let message = Bytes::from(statement(id, positive, number)?);
            let ask = |reply| IdentityMsg::Sign {
                key_use: KeyUse::Feedback,
                messages: vec![message.clone()],
                reply,
            };
            let signed = addr.call(until, ask).await??.pop();
            let signed = signed.ok_or_else(|| Error::internal("one message had no signature"))?;
            Ok(Json(json!([signed.public_key.to_hex(), number, signed.signature.to_hex()])))
        })?)
    }

    /// Takes in what somebody says of a pattern: who signed it, with which number, or nobody.
    fn feedback(
        &self,
        id: &str,
        positive: bool,
        signed: Option<(String, u64, String)>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let id = pattern_id("id", id)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            let opinion = match signed {
                None => Opinion::unsigned(positive),
                Some(signed) => proven(id, positive, &signed)?,
            };
            let ask = |reply| PatternMemoryMsg::Feedback { id, opinion, reply };
            let changed = addr.call(until, ask).await??;
            Ok(Json(shown(&changed.pattern, None, now_ms())))
        })?)
    }

    /// Keeps a pattern from being let go, or no longer.
    fn pin(&self, id: &str, is_pinned: bool, timeout: Option<f64>) -> PyResult<Call> {
        let id = pattern_id("id", id)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            let ask = |reply| PatternMemoryMsg::Pin { id, is_pinned, reply };
            let changed = addr.call(until, ask).await??;
            Ok(Json(shown(&changed.pattern, None, now_ms())))
        })?)
    }

    /// Removes a pattern with all that belongs to it.
    fn forget(&self, id: &str, timeout: Option<f64>) -> PyResult<Call> {
        let id = pattern_id("id", id)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            addr.call(until, |reply| PatternMemoryMsg::Forget { id, reply }).await??;
            Ok(())
        })?)
    }

    /// Puts a candidate to the vote.
    fn elevate(&self, id: &str, timeout: Option<f64>) -> PyResult<Call> {
        let id = pattern_id("id", id)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.pattern_memory.clone();
        Ok(self.0.begin(&self.0.lanes.patterns, until, async move {
            let ask = |reply| PatternMemoryMsg::Elevate { id, reply };
            let elevated = addr.call(until, ask).await??;
            if let Some(record) = &elevated.record {
                // What the gates refused is an exception, as for proposals.
                decided(record)?;
            }
            Ok(Json(shown(&elevated.pattern, None, now_ms())))
        })?)
    }
}

impl Taught {
    fn read(self) -> Result<Lesson> {
        let position = position(self.embedding, self.embedder)?;
        Ok(Lesson::new(&self.content, Tags::new(self.tags)?, Source::new(&self.source)?, position)?)
    }
}

impl Asked {
    fn read(self) -> Result<Query> {
        let near = match (self.text, position(self.embedding, self.embedder)?) {
            (Some(text), None) => Near::Text(text.into()),
            (None, Some(position)) => Near::Position(position),
            _ => return Err(PatternError::Either.into()),
        };
        let filter = Filter {
            tags: Tags::new(self.tags)?,
            source: self.source.as_deref().map(Source::new).transpose()?,
            is_elevated: self.elevated,
        };
        Ok(Query::new(near, self.limit, self.min_similarity, filter)?)
    }
}

/// An opinion whose signature holds.
fn proven(id: PatternId, positive: bool, signed: &(String, u64, String)) -> Result<Opinion> {
    let (public_key, number, signature) = signed;
    let form = |error: String| wrong("signed", "INVALID_HEX", error);
    let signature = Signature::from_hex(signature).map_err(|error| form(error.to_string()))?;
    let key = from_hex::<32>(public_key).map_err(|error| form(error.to_string()))?;
    let key = PublicKey::admit(&key).map_err(|_| PatternError::Signature)?;
    Ok(Opinion::signed(id, positive, *number, key, &signature)?)
}

fn position(
    embedding: Option<Vec<f64>>,
    embedder: Option<(String, u32, usize)>,
) -> Result<Option<Position>> {
    match (embedding, embedder) {
        (None, None) => Ok(None),
        (Some(numbers), Some((name, version, dimension))) => {
            Ok(Some(Position::new(EmbedderId { name, version, dimension }, &numbers)?))
        }
        (Some(_), None) | (None, Some(_)) => Err(PatternError::Either.into()),
    }
}

/// What became of a lesson.
fn outcome(learned: &Result<Learned, PatternError>, now_ms: i64) -> Value {
    let learned = match learned {
        Ok(learned) => learned,
        Err(error) => return json!({ "outcome": "refused", "error": error.to_string() }),
    };
    let (outcome, similarity) = match learned.learning {
        Learning::New => ("new", None),
        Learning::Known => ("known", None),
        Learning::Merged { similarity } => ("merged", Some(rounded(similarity))),
    };
    let evicted = learned.evicted.iter().map(PatternId::to_string);
    json!({
        "id": learned.pattern.id.to_string(),
        "outcome": outcome,
        "similarity": similarity,
        "confidence": learned.pattern.confidence_at(now_ms).value(),
        "evidence": learned.pattern.evidence,
        "evicted": evicted.collect::<Vec<_>>(),
        "error": null,
    })
}

/// A pattern, as the HTTP interface tells it.
fn shown(pattern: &Pattern, content: Option<String>, now_ms: i64) -> Value {
    let (signed_positive, signers) = pattern.signed_positives();
    let age_ms = now_ms.saturating_sub(pattern.learned_at_ms).max(0);
    json!({
        "id": pattern.id.to_string(),
        "content": content,
        "tags": pattern.tags.iter().collect::<Vec<_>>(),
        "source": pattern.source.as_str(),
        "embedder": embedder(&pattern.embedder),
        "confidence": pattern.confidence_at(now_ms).value(),
        "evidence": pattern.evidence,
        "positive": pattern.positives,
        "negative": pattern.negatives,
        "signed_positive": signed_positive,
        "signers": signers,
        "uses": pattern.uses,
        "age_seconds": age_ms.unsigned_abs() / 1000,
        "pinned": pattern.is_pinned,
        "candidate": pattern.is_candidate(now_ms),
        "is_elevated": pattern.elevation.is_some(),
        "elevation": pattern.elevation.as_ref().map(elevation),
    })
}

fn embedder(id: &EmbedderId) -> Value {
    json!([id.name, id.version, id.dimension])
}

fn elevation(elevation: &Elevation) -> Value {
    json!({
        "proposal_id": elevation.proposal.to_string(),
        "height": elevation.height,
        "mode": elevation.mode(),
        "validators": elevation.validators,
    })
}

fn counted(figures: &Figures) -> Value {
    let embedders = figures
        .embedders
        .iter()
        .map(|(id, patterns)| json!({ "embedder": embedder(id), "patterns": patterns }));
    json!({
        "patterns": figures.held.patterns,
        "patterns_max": figures.bounds.patterns_max,
        "bytes": figures.held.bytes,
        "bytes_max": figures.bounds.bytes_max,
        "sources": figures.sources,
        "source_patterns_max": figures.bounds.source_patterns_max,
        "source_bytes_max": figures.bounds.source_bytes_max,
        "elevated": figures.elevated,
        "pinned": figures.pinned,
        "candidates": figures.candidates,
        "index_bytes": figures.index_bytes,
        "embedders": embedders.collect::<Value>(),
    })
}

/// Without the digits that single precision does not have.
fn rounded(similarity: f32) -> f64 {
    (f64::from(similarity) * 1e6).round() / 1e6 + 0.0
}

fn pattern_id(argument: &str, text: &str) -> Result<PatternId> {
    let form = "a pattern id is pat_ and 32 lower-case hex digits";
    PatternId::from_text(text).ok_or_else(|| wrong(argument, "INVALID_HEX", form))
}

impl From<PatternError> for Error {
    fn from(error: PatternError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        let family = match error {
            PatternError::Unknown(_) => return unknown(code, message),
            PatternError::Signature => Some(Family::Forbidden),
            PatternError::Embedders { .. }
            | PatternError::Full { .. }
            | PatternError::Signers { .. }
            | PatternError::Waiting { .. } => Some(Family::Unavailable),
            PatternError::Stale { .. }
            | PatternError::NoCandidate { .. }
            | PatternError::Content { .. }
            | PatternError::Tags { .. }
            | PatternError::Tag
            | PatternError::Source
            | PatternError::Embedder
            | PatternError::Dimension { .. }
            | PatternError::Number { .. }
            | PatternError::Zero
            | PatternError::Either
            | PatternError::Limit
            | PatternError::Similarity
            | PatternError::FeedbackNumber
            | PatternError::TooLarge { .. }
            | PatternError::Json(_) => None,
        };
        if let Some(family) = family {
            return Error::new(family, message).code(code);
        }
        match error.field() {
            Some(argument) => wrong(argument, code, message),
            None => Error::invalid(message).code(code),
        }
    }
}

impl From<MemoryError> for Error {
    fn from(error: MemoryError) -> Self {
        let message = error.to_string();
        match error {
            MemoryError::Pattern(error) => error.into(),
            MemoryError::Proposal(_) => Error::invalid(message).code("NOT_PROPOSABLE"),
            MemoryError::Consensus(error) => error.into(),
            MemoryError::Embedding(_) => Error::invalid(message).code("TEXT_NOT_EMBEDDED"),
            MemoryError::DiskFull(_) => Error::unavailable(message).code("DISK_FULL"),
            MemoryError::Unavailable(_) => Error::unavailable(message).code("PATTERNS_UNAVAILABLE"),
        }
    }
}
