//! Forms of single values that many schemas share: hex, scores, times, names from closed lists.
//!
//! Bounds come from where they are enforced.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{ArrayBuilder, KnownFormat, ObjectBuilder, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::constitution::Verdict;
use crate::domain::constitution::document::{Comparator, Enforcement};
use crate::domain::embedding::TEXT_BYTES_MAX;
use crate::domain::federation::VALUE_MAX;
use crate::domain::gossip::Mode;
use crate::domain::identity::LABEL_CHARS_MAX;
use crate::domain::inference::request::{STOP_CHARS_MAX, STOP_STRINGS_MAX};
use crate::domain::inference::{FinishReason, Tier};
use crate::domain::json::INTEGER_MAX;
use crate::domain::model_store::Presence;
use crate::domain::pattern::{SOURCE_CHARS_MAX, TAG_CHARS_MAX};
use crate::domain::preference::{Effect, Kind, SUBJECT_CHARS_MAX};
use crate::domain::profile::{Gate, Profile};
use crate::domain::reject::RejectCode;
use crate::domain::score::Source;
use crate::http::openai::embeddings::INPUTS_MAX;
use crate::http::request_id;
use crate::messages::supervisor::{ActorState, Fault};

/// Declares types that stand for a form in `#[schema(value_type = ...)]`. Their description is their
/// doc comment.
macro_rules! forms {
    ($($(#[doc = $doc:literal])+ $name:ident: $form:expr;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub(in crate::http) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let form: ObjectBuilder = $form;
                form.description(Some(concat!($($doc),+).trim())).build().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

forms! {
    /// Id of a node: the first 16 bytes of its public key, 32 lower-case hex digits.
    NodeIdHex: hex(16, "2152f8d19b791d24453242e15f2eab6c");
    /// Ed25519 public key, 64 lower-case hex digits.
    PublicKeyHex:
        hex(32, "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12");
    /// Ed25519 signature, 128 lower-case hex digits.
    SignatureHex: hex(64, &"5d".repeat(64));
    /// BLAKE3 digest with a domain tag, 64 lower-case hex digits.
    DigestHex: hex(32, "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664");
    /// Id of an envelope: pci_ and 32 lower-case hex digits, drawn at random.
    EnvelopeIdText: text()
        .pattern(Some("^pci_[0-9a-f]{32}$"))
        .examples(["pci_79b5562e8fe654f94078b112e8a98ba7"]);
    /// Id of a proposal: prop_ and 64 lower-case hex digits, the digest of what it says.
    ProposalIdText: text()
        .pattern(Some("^prop_[0-9a-f]{64}$"))
        .examples(["prop_79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664"]);
    /// Id of a pattern: pat_ and 32 lower-case hex digits, the digest of what it says.
    PatternIdText: text()
        .pattern(Some("^pat_[0-9a-f]{32}$"))
        .examples(["pat_79b5562e8fe654f94078b112e8a98ba7"]);
    /// What a pattern is about.
    TagText: text()
        .min_length(Some(1))
        .max_length(Some(TAG_CHARS_MAX))
        .pattern(Some(NO_CONTROLS))
        .examples(["style"]);
    /// Who teaches a pattern: a name, such as the id of a node.
    SourceText: text()
        .pattern(Some(format!("^[A-Za-z0-9._:-]{{1,{SOURCE_CHARS_MAX}}}$")))
        .examples(["laptop"]);
    /// Cosine of two embeddings, -1 to 1.
    SimilarityNumber: number().minimum(Some(-1.0)).maximum(Some(1.0)).examples([json!(0.93)]);
    /// What became of a lesson: it is a new pattern, known word for word, or further evidence for one
    /// that is as good as the same; refused in a batch if there was no room for it.
    LessonOutcomeName: one_of(["new", "known", "merged", "refused"]);
    /// How a node takes part in the federation. A node that is solo is alone.
    ModeName: one_of([Mode::Solo.as_str()]);
    /// What became of a proposal.
    ProposalStatusName: one_of(["pending", "committed", "rejected", "expired"]);
    /// A number of an embedding.
    EmbeddingNumber: number()
        .minimum(Some(-VALUE_MAX))
        .maximum(Some(VALUE_MAX))
        .examples([json!(0.25)]);
    /// A score, 0 to 1, without unit.
    ScoreNumber: number().minimum(Some(0.0)).maximum(Some(1.0)).examples([json!(0.97)]);
    /// A time in UTC (RFC 3339).
    TimeText: text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2026-01-31T12:00:00.000Z"]);
    /// Name of a reject code.
    RejectCodeName: one_of(
        RejectCode::ALL.into_iter().filter(|it| *it != RejectCode::Success).map(RejectCode::as_str),
    );
    /// Where a model runs: in the node, on a server of this site, on other nodes.
    TierName: one_of([Tier::Edge, Tier::Local, Tier::Pool].map(Tier::as_str));
    /// Why a text ended: the model or a stop string ended it, or there was no room for more.
    FinishReasonName: one_of([FinishReason::Stop, FinishReason::Length].map(FinishReason::as_str));
    /// State of an actor.
    ActorStateName: one_of(
        [
            ActorState::Running,
            ActorState::Waiting,
            ActorState::Starting,
            ActorState::Stopping,
            ActorState::Restarting,
            ActorState::Failed,
            ActorState::Fenced,
            ActorState::Stopped,
        ]
        .map(ActorState::as_str),
    );
    /// How an actor is made to fail.
    FaultName: one_of(Fault::ALL.map(Fault::as_str));
    /// Name of a gate.
    GateName: one_of(Gate::ALL.map(Gate::as_str));
    /// Name of a profile: a list of gates with their enforcement.
    ProfileName: one_of(Profile::ALL.map(Profile::as_str));
    /// What a breach means: it refuses, it passes and says so, or it passes and is counted.
    EnforcementName: one_of(
        [Enforcement::Strict, Enforcement::Advisory, Enforcement::Monitoring]
            .map(Enforcement::as_str),
    );
    /// Who vouches for a score: this node computed it, a scorer signed it, the caller said so, or
    /// nobody.
    SourceName: one_of(
        [Source::Measured, Source::Attested, Source::Claimed, Source::Unavailable]
            .map(Source::as_str),
    );
    /// How a value is compared with a threshold.
    ComparatorName: one_of(
        [Comparator::AtLeast, Comparator::Above, Comparator::AtMost, Comparator::Below]
            .map(Comparator::as_str),
    );
    /// What the rules say of given facts. Missing facts are indeterminate, never compliant.
    VerdictName: one_of(
        [Verdict::Compliant, Verdict::Violation, Verdict::Indeterminate].map(Verdict::as_str),
    );
    /// SHA-256 of a file, 64 lower-case hex digits.
    Sha256Hex: hex(32, "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db");
    /// Name of a model on disk.
    ModelNameText: text()
        .pattern(Some("^[a-z0-9][a-z0-9._-]{0,63}$"))
        .examples(["qwen2.5-0.5b-instruct"]);
    /// How far a model is on its way to this machine.
    PresenceName: one_of(
        [
            Presence::Available,
            Presence::Partial,
            Presence::Installed,
            Presence::Loaded,
            Presence::Missing,
        ]
        .map(Presence::as_str),
    );
    /// Id of a pull.
    PullIdText: text().pattern(Some("^pull_[0-9a-f]+_[0-9]+$")).examples(["pull_19b7e2c1f7b_1"]);
    /// How a pull stands.
    PullStateName: one_of(["running", "queued", "done", "failed", "cancelled"]);
    /// What is being done with a model.
    StageName: one_of(["downloading", "waiting", "checking", "pausing"]);
    /// Whose preferences: a name that the caller gives to a person or a program.
    SubjectText: text()
        .pattern(Some(format!("^[A-Za-z0-9][A-Za-z0-9._-]{{0,{}}}$", SUBJECT_CHARS_MAX - 1)))
        .examples(["ann"]);
    /// What a preference is about.
    PreferenceTypeName: one_of(Kind::ALL.map(Kind::as_str));
    /// What an observation changed: the value was not known; it was; models are told from now on; the
    /// same, in the place of another value.
    PreferenceEffectName: one_of(
        [Effect::New, Effect::Confirmed, Effect::Activated, Effect::Switched].map(Effect::as_str),
    );
    /// How the file of a model was found.
    ConditionName: one_of(["ok", "damaged", "missing"]);
    /// A name that its owner gives to a key: no control characters.
    LabelText: text()
        .min_length(Some(1))
        .max_length(Some(LABEL_CHARS_MAX))
        .pattern(Some(NO_CONTROLS))
        .examples(["laptop"]);
    /// Base64 with padding, the alphabet of RFC 4648, section 4.
    Base64Text: text()
        .pattern(Some(BASE64))
        .content_encoding("base64")
        .examples(["aGVsbG8="]);
    /// Id of a request, its caller's or made by the node.
    RequestIdText: text()
        .pattern(Some(format!("^[A-Za-z0-9._-]{{1,{}}}$", request_id::LENGTH_MAX)))
        .examples(["5f0c9a1e7b3d4c2890ab12cd34ef5678"]);
    /// Milliseconds since the Unix epoch.
    EpochMs: integer().minimum(Some(0)).maximum(Some(INTEGER_MAX)).examples([1_767_225_600_123_u64]);
}

/// At least one character, and none of Unicode's category Cc.
const NO_CONTROLS: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$";

/// One character that is neither white space nor of Unicode's category Cc.
const NOT_BLANK: &str = "[^\\s\\u0000-\\u001f\\u007f-\\u009f]";

/// The last group has no bits that mean nothing.
const BASE64: &str =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn number() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Number)
}

fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

fn hex(bytes: usize, example: &str) -> ObjectBuilder {
    let pattern = format!("^[0-9a-f]{{{}}}$", 2 * bytes);
    text().pattern(Some(pattern)).examples([example])
}

fn one_of(names: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    let names: Vec<&str> = names.into_iter().collect();
    let example: Vec<Value> = names.first().map(|name| json!(name)).into_iter().collect();
    text().enum_values(Some(names)).examples(example)
}

/// Any JSON that the node reads: I-JSON (RFC 7493). Keys of an object differ, integers are exact in
/// a double, text has no lone surrogates, and nothing is nested deeper than 64.
#[derive(Debug)]
pub(in crate::http) enum AnyJson {}

impl PartialSchema for AnyJson {
    fn schema() -> RefOr<Schema> {
        let safe = number().minimum(Some(-INTEGER_MAX)).maximum(Some(INTEGER_MAX));
        let itself = || Ref::from_schema_name(Self::name());
        AnyOfBuilder::new()
            .description(Some(
                "Any JSON that the node reads: I-JSON (RFC 7493). Keys of an object differ, \
                 integers are exact in a double (at most 2^53 - 1 from 0), text has no lone \
                 surrogates, and nothing is nested deeper than 64.",
            ))
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .item(ObjectBuilder::new().schema_type(Type::Boolean))
            .item(safe)
            .item(text())
            .item(ArrayBuilder::new().items(itself()))
            .item(
                ObjectBuilder::new()
                    .schema_type(Type::Object)
                    .additional_properties(Some(AdditionalProperties::RefOr(itself().into()))),
            )
            .examples([json!({ "answer": 42 })])
            .into()
    }
}

impl ToSchema for AnyJson {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("AnyJson")
    }
}

/// An envelope as somebody sent it: any JSON, since whether it is one is the question.
#[derive(Debug)]
pub(in crate::http) enum Anything {}

impl PartialSchema for Anything {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some(
                "An envelope as somebody sent it, or an object that has it under `envelope`: any \
                 JSON, since whether it is one is the question.",
            ))
            .examples([json!({ "envelope": { "version": "2.0" } })])
            .build()
            .into()
    }
}

impl ToSchema for Anything {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Anything")
    }
}

/// Strings that end an answer: one, or several.
#[derive(Debug)]
pub(in crate::http) enum StopTexts {}

impl PartialSchema for StopTexts {
    fn schema() -> RefOr<Schema> {
        let one = || text().min_length(Some(1)).max_length(Some(STOP_CHARS_MAX));
        AnyOfBuilder::new()
            .description(Some("Strings that end an answer: one, or several."))
            .item(one())
            .item(ArrayBuilder::new().items(one()).max_items(Some(STOP_STRINGS_MAX)))
            .examples([json!([".", "\n"])])
            .into()
    }
}

impl ToSchema for StopTexts {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("StopTexts")
    }
}

/// A text to embed, or several.
#[derive(Debug)]
pub(in crate::http) enum EmbeddingInput {}

impl PartialSchema for EmbeddingInput {
    fn schema() -> RefOr<Schema> {
        let one = || text().max_length(Some(TEXT_BYTES_MAX)).pattern(Some(NOT_BLANK));
        AnyOfBuilder::new()
            .description(Some(
                "A text, or several; each is not blank, and has as many bytes of UTF-8 as characters \
                 are allowed here.",
            ))
            .item(one())
            .item(
                ArrayBuilder::new()
                    .items(one())
                    .min_items(Some(1))
                    .max_items(Some(INPUTS_MAX)),
            )
            .examples([json!("ask before you act")])
            .into()
    }
}

impl ToSchema for EmbeddingInput {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("OpenAiEmbeddingInput")
    }
}
