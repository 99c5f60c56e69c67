//! The constitution: thresholds, rules and profiles, with a digest that names them.

pub mod document;

use std::sync::LazyLock;

use crate::domain::constitution::document::{
    Comparator, Document, Enforcement, Metric, Penalty, Rule, Target, Terms,
};
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::ihsan;
use crate::domain::json;
use crate::domain::profile::{Gate, Profile};
use crate::domain::score::Score;

/// The document that holds when the operator gives no other.
pub const DEFAULT_TOML: &str = include_str!("../../config/constitution.toml");

/// A document of a few rules has a few kilobytes; anything near this limit is not one.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// The document the gates enforce. It is valid, and it does not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Constitution {
    document: Document,
    digest: Digest,
    /// By profile and gate, so that a gate need not search.
    enforcements: [[Enforcement; Gate::ALL.len()]; Profile::ALL.len()],
    /// By profile, the Ihsan of what is only known to do no harm, if that counts as measured.
    harmless: [Option<Score>; Profile::ALL.len()],
}

/// Why a text is no constitution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstitutionError {
    /// It is too long to be one.
    #[error("{origin}: {bytes} bytes, and a constitution has at most {DOCUMENT_BYTES_MAX}")]
    TooLong {
        /// Where the text came from.
        origin: String,
        /// Its length.
        bytes: usize,
    },
    /// It is not TOML, lacks a key, has an unknown one, or one of the wrong type.
    #[error("{origin}: {reason}")]
    Form {
        /// Where the text came from.
        origin: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A value breaks a rule.
    #[error("{origin}: {key}: {reason}")]
    Value {
        /// Where the text came from.
        origin: String,
        /// The key, as a path.
        key: String,
        /// What is wrong with its value.
        reason: String,
    },
}

impl Constitution {
    /// Reads and validates a document. `origin` (a file name) goes into the errors.
    ///
    /// # Errors
    /// When the text is not a valid document; says where and why.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ConstitutionError> {
        if text.len() > DOCUMENT_BYTES_MAX {
            return Err(ConstitutionError::TooLong { origin: origin.into(), bytes: text.len() });
        }
        let form = |reason: String| ConstitutionError::Form { origin: origin.into(), reason };
        let document: Document =
            toml::from_str(text).map_err(|error| form(error.to_string().trim_end().to_owned()))?;
        document.validate().map_err(|(key, reason)| ConstitutionError::Value {
            origin: origin.into(),
            key,
            reason,
        })?;
        // Neither step can fail for this type: it has text keys and finite numbers only.
        let value = serde_json::to_value(&document).map_err(|error| form(error.to_string()))?;
        let canonical = json::canonical(&value).map_err(|error| form(error.to_string()))?;
        let enforcements = Profile::ALL.map(|profile| {
            let gates = &document.profiles.terms(profile).gates;
            Gate::ALL.map(|gate| gates.get(&gate).copied().unwrap_or(Enforcement::Strict))
        });
        let harmless = Profile::ALL.map(|profile| {
            let terms = document.profiles.terms(profile);
            ihsan::harmless().reading(&terms.must_verify, terms.coverage_min).ok()
        });
        let digest = domain_separated_digest(&canonical);
        Ok(Self { digest, document, enforcements, harmless })
    }

    /// The document as it was read.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The domain digest of the document's canonical JSON (RFC 8785).
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its version, as three numbers with dots.
    pub fn version(&self) -> &str {
        &self.document.version
    }

    /// The least Ihsan score that passes.
    pub fn ihsan_threshold(&self) -> Score {
        self.document.ihsan.threshold
    }

    /// The least signal-to-noise score that passes.
    pub fn snr_threshold(&self) -> Score {
        self.document.snr.threshold
    }

    /// The most harm that passes.
    pub fn harm_ceiling(&self) -> Score {
        self.document.harm.ceiling
    }

    /// The rules, in the order of the document.
    pub fn rules(&self) -> &[Rule] {
        &self.document.rules
    }

    /// The terms of `profile`.
    pub fn terms(&self, profile: Profile) -> &Terms {
        self.document.profiles.terms(profile)
    }

    /// How `gate` is enforced in `profile`. A gate that is none of the profile's is strict.
    pub fn enforcement(&self, profile: Profile, gate: Gate) -> Enforcement {
        self.enforcements[profile as usize][gate as usize]
    }

    /// The Ihsan that `profile` takes as measured where nothing is known but that no harm was found;
    /// `None` where that is too little.
    pub fn harmless(&self, profile: Profile) -> Option<Score> {
        self.harmless[profile as usize]
    }

    /// What a breach at `gate` costs whoever sent the content, by the rules about what `profile`
    /// judges. Only strict rules punish; the others warn or count.
    pub fn penalties(&self, profile: Profile, gate: Gate) -> impl Iterator<Item = Penalty> {
        let judged = target(profile).zip(metric(gate));
        self.rules()
            .iter()
            .filter(move |rule| judged == Some((rule.target, rule.metric)))
            .filter(|rule| rule.enforcement == Enforcement::Strict)
            .map(|rule| rule.penalty)
    }

    /// The first strict rule about proposals that so many votes of so many validators do not satisfy.
    pub fn broken_by_votes(&self, votes: usize, validators: usize) -> Option<&Rule> {
        // A few hundred at most, which doubles hold exactly.
        #[expect(clippy::cast_precision_loss, reason = "counts of votes are small")]
        let share = votes as f64 / validators.max(1) as f64;
        let share = Score::try_from(share.min(1.0)).unwrap_or(Score::ZERO);
        self.rules().iter().find(|rule| {
            rule.target == Target::Proposal
                && rule.metric == Metric::Quorum
                && rule.enforcement == Enforcement::Strict
                && !rule.comparator.holds(share, rule.threshold)
        })
    }

    /// Whether this document may follow `before`: its version is higher, or it is the same.
    ///
    /// # Errors
    /// [`ConstitutionError::Value`] with both versions.
    pub fn succeeds(&self, before: &Self, origin: &str) -> Result<(), ConstitutionError> {
        if self.digest == before.digest || self.numbers() > before.numbers() {
            return Ok(());
        }
        let (new, old) = (self.version(), before.version());
        Err(ConstitutionError::Value {
            origin: origin.into(),
            key: "version".into(),
            reason: format!("is {new}; a changed document has one above {old}"),
        })
    }

    fn numbers(&self) -> Vec<u16> {
        self.version().split('.').filter_map(|number| number.parse().ok()).collect()
    }

    /// Judges given facts by the rules about outputs and envelopes.
    ///
    /// A rule without its input is undecided, and a verdict over an undecided rule is never
    /// compliant. Rules about proposals are judged where votes are counted, not here.
    pub fn check(&self, facts: &ConstitutionCheck) -> Compliance {
        let mut checks = Vec::with_capacity(self.document.rules.len());
        let mut verdict = Verdict::Compliant;
        for rule in &self.document.rules {
            if !matches!(rule.target, Target::Output | Target::Envelope) {
                continue;
            }
            let value = match rule.metric {
                Metric::Ihsan => facts.ihsan,
                Metric::Snr => facts.snr,
                Metric::Signature => Some(one_if(facts.has_signature)),
                Metric::Provenance => Some(one_if(facts.has_provenance)),
                Metric::Harm | Metric::Quorum => None,
            };
            let passed = value.map(|value| rule.comparator.holds(value, rule.threshold));
            verdict = match passed {
                Some(false) if rule.enforcement == Enforcement::Strict => Verdict::Violation,
                None if verdict == Verdict::Compliant => Verdict::Indeterminate,
                _ => verdict,
            };
            checks.push(RuleCheck {
                rule: rule.id.clone(),
                passed,
                value,
                threshold: rule.threshold,
                comparator: rule.comparator,
                enforcement: rule.enforcement,
            });
        }
        // Nothing was judged, so nothing was found compliant.
        if checks.is_empty() {
            verdict = Verdict::Indeterminate;
        }
        Compliance { verdict, checks }
    }
}

/// The default document; a test holds that the one in the repository is valid.
impl Default for Constitution {
    fn default() -> Self {
        static DEFAULT: LazyLock<Constitution> = LazyLock::new(|| {
            #[expect(clippy::expect_used, reason = "the text is compiled in and tested")]
            Constitution::parse("the default constitution", DEFAULT_TOML).expect("is valid")
        });
        DEFAULT.clone()
    }
}

/// What the rules call that which `profile` judges. A check judges nothing that anybody sent.
fn target(profile: Profile) -> Option<Target> {
    match profile {
        Profile::Check => None,
        Profile::PeerMessage => Some(Target::Message),
        Profile::InferenceInput => Some(Target::Input),
        Profile::InferenceOutput => Some(Target::Output),
        Profile::Proposal => Some(Target::Proposal),
    }
}

/// What the rules call that which `gate` compares.
fn metric(gate: Gate) -> Option<Metric> {
    match gate {
        Gate::Harm => Some(Metric::Harm),
        Gate::Ihsan => Some(Metric::Ihsan),
        Gate::Snr => Some(Metric::Snr),
        Gate::Signature => Some(Metric::Signature),
        Gate::Schema | Gate::Rate | Gate::Fate => None,
    }
}

fn one_if(statement: bool) -> Score {
    if statement { Score::ONE } else { Score::ZERO }
}

/// Facts to be judged by the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConstitutionCheck {
    /// The Ihsan score, if there is one.
    pub ihsan: Option<Score>,
    /// The signal-to-noise score, if there is one.
    pub snr: Option<Score>,
    /// Whether it is signed.
    pub has_signature: bool,
    /// Whether it says what it was made from.
    pub has_provenance: bool,
}

/// What the rules say of some facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every strict rule holds, and nothing was missing.
    Compliant,
    /// A strict rule is broken.
    Violation,
    /// No strict rule is broken, and an input is missing.
    Indeterminate,
}

impl Verdict {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Violation => "violation",
            Self::Indeterminate => "indeterminate",
        }
    }
}

/// One rule and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleCheck {
    /// The rule's id.
    pub rule: String,
    /// Whether it holds; `None` when its input is missing.
    pub passed: Option<bool>,
    /// The value it was held against.
    pub value: Option<Score>,
    /// Its threshold.
    pub threshold: Score,
    /// How the two are compared.
    pub comparator: Comparator,
    /// How it is enforced.
    pub enforcement: Enforcement,
}

/// The outcome of [`Constitution::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct Compliance {
    /// In one word.
    pub verdict: Verdict,
    /// Rule by rule.
    pub checks: Vec<RuleCheck>,
}

#[cfg(test)]
mod tests;
