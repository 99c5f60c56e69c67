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
mod tests {
    use super::*;

    fn score(value: f64) -> Score {
        Score::try_from(value).unwrap()
    }

    fn good() -> ConstitutionCheck {
        ConstitutionCheck {
            ihsan: Some(score(0.97)),
            snr: Some(score(0.9)),
            has_signature: true,
            has_provenance: true,
        }
    }

    fn refusal(text: &str) -> String {
        Constitution::parse("site.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn the_default_document_has_the_published_values() {
        let constitution = Constitution::default();
        assert_eq!(constitution.version(), "1.0.0");
        assert_eq!(constitution.ihsan_threshold(), score(0.95));
        assert_eq!(constitution.document().ihsan.target, score(0.99));
        assert_eq!(constitution.snr_threshold(), score(0.85));
        let ids: Vec<_> = constitution.rules().iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids, ["IHSAN_001", "SNR_001", "CRYPTO_001", "PROV_001", "BFT_001", "HARM_001"]);
        assert_eq!(constitution.harm_ceiling(), score(0.3));
        assert_eq!(constitution.document().autonomy.risk_max, [1.0, 0.9, 0.7, 0.5, 0.3].map(score));
        assert_eq!(constitution.rules()[3].enforcement, Enforcement::Advisory);
    }

    #[test]
    fn the_digest_depends_on_the_values_and_not_on_the_text() {
        let default = Constitution::default();
        let reworded = DEFAULT_TOML.replace("0.85\n", "0.850 # same number\n");
        assert_ne!(reworded, DEFAULT_TOML);
        assert_eq!(Constitution::parse("x", &reworded).unwrap().digest(), default.digest());
        let tightened = DEFAULT_TOML.replace("0.85\n", "0.86\n");
        assert_ne!(Constitution::parse("x", &tightened).unwrap().digest(), default.digest());
        let relaxed = DEFAULT_TOML.replacen("ihsan = \"advisory\"", "ihsan = \"strict\"", 1);
        assert_ne!(Constitution::parse("x", &relaxed).unwrap().digest(), default.digest());
    }

    #[test]
    fn good_facts_are_compliant() {
        assert_eq!(Constitution::default().check(&good()).verdict, Verdict::Compliant);
        let unsourced = ConstitutionCheck { has_provenance: false, ..good() };
        let compliance = Constitution::default().check(&unsourced);
        assert_eq!(compliance.verdict, Verdict::Compliant, "provenance is advisory");
        assert_eq!(compliance.checks[3].passed, Some(false));
    }

    #[test]
    fn a_missing_input_is_never_compliant() {
        let constitution = Constitution::default();
        for facts in [
            ConstitutionCheck { ihsan: None, ..good() },
            ConstitutionCheck { snr: None, ..good() },
            ConstitutionCheck { ihsan: None, snr: None, ..good() },
        ] {
            assert_eq!(constitution.check(&facts).verdict, Verdict::Indeterminate, "{facts:?}");
        }
        let nothing = constitution.check(&ConstitutionCheck::default());
        assert_eq!(nothing.verdict, Verdict::Violation, "the signature is missing for certain");
        assert_eq!(nothing.checks[0].passed, None);
    }

    #[test]
    fn a_strict_rule_broken_is_a_violation_whatever_else_is_missing() {
        let constitution = Constitution::default();
        for facts in [
            ConstitutionCheck { ihsan: Some(score(0.949)), ..good() },
            ConstitutionCheck { snr: Some(score(0.849)), ihsan: None, ..good() },
            ConstitutionCheck { ihsan: Some(score(0.1)), snr: None, ..good() },
            ConstitutionCheck { has_signature: false, ..good() },
        ] {
            assert_eq!(constitution.check(&facts).verdict, Verdict::Violation, "{facts:?}");
        }
    }

    #[test]
    fn a_document_about_proposals_only_finds_nothing_compliant() {
        let other = |target: &str| DEFAULT_TOML.replace(target, "target = \"proposal\"");
        let text = other("target = \"output\"").replace("\"envelope\"", "\"proposal\"");
        assert!(text.contains("target = \"message\""), "which no facts are judged by");
        let constitution = Constitution::parse("x", &text).unwrap();
        assert_eq!(constitution.check(&good()).verdict, Verdict::Indeterminate);
    }

    #[test]
    fn unknown_missing_and_mistyped_keys_are_refused_with_file_and_key() {
        let unknown = refusal(&format!("{DEFAULT_TOML}\n[extra]\nkey = 1\n"));
        assert!(unknown.contains("site.toml") && unknown.contains("extra"), "{unknown}");
        let missing = refusal(&DEFAULT_TOML.replace("target = 0.99", ""));
        assert!(missing.contains("target"), "{missing}");
        let mistyped = refusal(&DEFAULT_TOML.replace("\"1.0.0\"", "1"));
        assert!(mistyped.contains("version"), "{mistyped}");
        let word = refusal(&DEFAULT_TOML.replace("\"monitoring\"", "x").replace("advisory", "lax"));
        assert!(word.contains("lax") && word.contains("strict"), "{word}");
        assert!(refusal("").contains("version"));
        assert!(refusal(&" ".repeat(DOCUMENT_BYTES_MAX + 1)).contains("at most"));
    }

    #[test]
    fn bad_values_are_refused_with_file_key_and_reason() {
        let cases = [
            ("threshold = 0.85", "threshold = nan", "finite"),
            ("threshold = 0.85", "threshold = 1.5", "between 0 and 1"),
            ("threshold = 0.85", "threshold = -0.0", "between 0 and 1"),
            ("threshold = 0.85", "threshold = inf", "finite"),
            ("\"1.0.0\"", "\"1.0\"", "version: "),
            ("\"1.0.0\"", "\"1.0.x\"", "version: "),
            ("target = 0.99", "target = 0.9", "ihsan.target: "),
            ("\"SNR_001\"", "\"IHSAN_001\"", "rules[1].id: "),
            ("\"SNR_001\"", "\"snr 1\"", "rules[1].id: "),
            ("name = \"Excellence\"", "name = \"\"", "rules[0].name: "),
            ("kind = \"none\"", "kind = \"cooldown\", seconds = 0", "rules[3].penalty.seconds: "),
            ("kind = \"none\"", "kind = \"trust\", amount = 0.0", "rules[3].penalty.amount: "),
            ("kind = \"none\"", "kind = \"exile\"", "exile"),
            ("schema = \"strict\"", "schema = \"advisory\"", "profiles.check.gates.schema: "),
            ("snr = \"strict\" }", "harm = \"strict\" }", "profiles.check.gates: lacks snr"),
            ("snr = \"strict\" }", "snr = \"strict\", rate = \"strict\" }", "has rate, which"),
            ("rate = \"strict\"\n", "", "profiles.peer-message.gates: lacks rate"),
            ("[\"safety\"]", "[\"safety\", \"safety\"]", "profiles.check.must_verify: "),
            ("[\"safety\"]", "[\"beauty\"]", "beauty"),
            ("0.9, 0.7", "0.7, 0.9", "autonomy.risk_max: "),
            ("ceiling = 0.3", "ceiling = 0.2", "rules[5].threshold: "),
        ];
        let is_key = |line: &&str| !line.starts_with('#');
        let plain = DEFAULT_TOML.lines().filter(is_key).collect::<Vec<_>>().join("\n");
        for (from, to, expected) in cases {
            let text = plain.replacen(from, to, 1);
            assert_ne!(text, plain, "{from}");
            let said = refusal(&text);
            assert!(said.starts_with("site.toml: ") && said.contains(expected), "{to}: {said}");
        }
    }

    #[test]
    fn only_a_higher_version_may_follow() {
        let default = Constitution::default();
        let other = |version: &str, snr: &str| {
            let text = DEFAULT_TOML.replace("\"1.0.0\"", &format!("\"{version}\""));
            Constitution::parse("x", &text.replace("0.85\n", &format!("{snr}\n"))).unwrap()
        };
        for (version, snr, may_follow) in [
            ("1.0.0", "0.850", true),
            ("1.0.0", "0.86", false),
            ("0.9.9", "0.86", false),
            ("1.0.1", "0.86", true),
            ("1.0.1", "0.85", true),
            ("2.0.0", "0.86", true),
            ("1.10.0", "0.86", true),
        ] {
            let follows = other(version, snr).succeeds(&default, "site.toml");
            assert_eq!(follows.is_ok(), may_follow, "{version} {snr}: {follows:?}");
        }
        let ten = other("1.10.0", "0.86");
        let error = other("1.9.0", "0.87").succeeds(&ten, "site.toml").unwrap_err().to_string();
        assert_eq!(error, "site.toml: version: is 1.9.0; a changed document has one above 1.10.0");
    }

    #[test]
    fn only_strict_rules_about_what_was_judged_punish() {
        let constitution = Constitution::default();
        let penalties = |constitution: &Constitution, profile, gate| {
            constitution.penalties(profile, gate).collect::<Vec<_>>()
        };
        let trust = Penalty::Trust { amount: score(0.25) };
        assert_eq!(penalties(&constitution, Profile::PeerMessage, Gate::Harm), [trust]);
        assert_eq!(
            penalties(&constitution, Profile::InferenceOutput, Gate::Ihsan),
            [Penalty::Reject]
        );
        for (profile, gate) in [
            (Profile::Check, Gate::Harm),
            (Profile::PeerMessage, Gate::Ihsan),
            (Profile::PeerMessage, Gate::Rate),
            (Profile::Proposal, Gate::Harm),
        ] {
            assert_eq!(penalties(&constitution, profile, gate), [], "{profile:?} {gate:?}");
        }
        let at = DEFAULT_TOML.find("HARM_001").unwrap();
        let (before, after) = DEFAULT_TOML.split_at(at);
        let text = format!("{before}{}", after.replacen("\"strict\"", "\"advisory\"", 1));
        let advisory = Constitution::parse("x", &text).unwrap();
        assert_eq!(penalties(&advisory, Profile::PeerMessage, Gate::Harm), []);
    }

    #[test]
    fn a_document_that_contradicts_itself_is_refused() {
        let said = refusal(&DEFAULT_TOML.replacen("threshold = 0.95", "threshold = 0.9", 1));
        assert!(said.contains("rules[0].threshold: ") && said.contains("0.9"), "{said}");
    }
}
