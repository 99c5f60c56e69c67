//! The constitution as it is written, and the rules a document must keep.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::ihsan::Dimension;
use crate::domain::profile::{Gate, Profile};
use crate::domain::score::Score;

/// Rules in one document: each is checked per call, and nobody reads more.
const RULES_MAX: usize = 64;

/// Characters of a rule's id.
const ID_CHARS_MAX: usize = 32;

/// Characters of a rule's name.
const NAME_CHARS_MAX: usize = 128;

/// A cooldown of more than thirty days is an exclusion, which is not a penalty of this document.
const COOLDOWN_S_MAX: u32 = 30 * 24 * 3600;

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Three numbers with dots, raised with every change.
    pub version: String,
    /// Excellence.
    pub ihsan: Ihsan,
    /// Signal to noise.
    pub snr: Snr,
    /// Harm.
    pub harm: Harm,
    /// What may be done without a person.
    pub autonomy: Autonomy,
    /// The trust in those who send.
    pub trust: Trust,
    /// What is compared with what.
    pub rules: Vec<Rule>,
    /// How gates are enforced.
    pub profiles: Profiles,
}

/// What is asked of the Ihsan score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ihsan {
    /// The least that passes.
    pub threshold: Score,
    /// What to strive for.
    pub target: Score,
}

/// What is asked of the signal-to-noise score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snr {
    /// The least that passes.
    pub threshold: Score,
}

/// What is asked of the harm in a content.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Harm {
    /// The most that passes. More is a veto, whatever the other scores.
    pub ceiling: Score,
}

/// What may be done without a person.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autonomy {
    /// The most risk at each level, from 0 (a person does it) to 4 (nobody looks); it never rises.
    pub risk_max: [Score; 5],
    /// Above this risk an action is reversible, or approved by a person's key.
    pub approval_above: Score,
}

/// What is asked of the standing of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Below it nothing is taken from a sender.
    pub minimum: Score,
    /// How much trust comes back in a day.
    pub recovery_per_day: Score,
}

/// One rule: `metric` of `target` `comparator` `threshold`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique within the document: upper-case letters, digits and underscores.
    pub id: String,
    /// For people.
    pub name: String,
    /// What is judged.
    pub target: Target,
    /// What is compared.
    pub metric: Metric,
    /// How.
    pub comparator: Comparator,
    /// With what.
    pub threshold: Score,
    /// What a breach means for the judged.
    pub enforcement: Enforcement,
    /// What a breach means for the one who sent it.
    pub penalty: Penalty,
}

/// What a rule judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// What goes to a model.
    Input,
    /// What a model said.
    Output,
    /// A sealed envelope.
    Envelope,
    /// A message of a peer.
    Message,
    /// What peers vote on.
    Proposal,
}

/// What a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The excellence score.
    Ihsan,
    /// The signal-to-noise score.
    Snr,
    /// The harm found in a content.
    Harm,
    /// 1 with a valid signature, else 0.
    Signature,
    /// 1 with provenance, else 0.
    Provenance,
    /// The share of votes in favour.
    Quorum,
}

/// How a value is compared with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparator {
    /// At least the threshold.
    #[serde(rename = ">=")]
    AtLeast,
    /// More than the threshold.
    #[serde(rename = ">")]
    Above,
    /// At most the threshold.
    #[serde(rename = "<=")]
    AtMost,
    /// Less than the threshold.
    #[serde(rename = "<")]
    Below,
}

impl Comparator {
    /// Whether `value` stands to `threshold` as it should.
    pub fn holds(self, value: Score, threshold: Score) -> bool {
        match self {
            Self::AtLeast => value >= threshold,
            Self::Above => value > threshold,
            Self::AtMost => value <= threshold,
            Self::Below => value < threshold,
        }
    }

    /// Its sign.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::Above => ">",
            Self::AtMost => "<=",
            Self::Below => "<",
        }
    }
}

/// What a breach means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// Refuses.
    Strict,
    /// Passes, and says so.
    Advisory,
    /// Passes, and is counted.
    Monitoring,
}

impl Enforcement {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Advisory => "advisory",
            Self::Monitoring => "monitoring",
        }
    }
}

/// What a breach costs its author.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Penalty {
    /// The refusal itself.
    Reject,
    /// Trust.
    Trust {
        /// How much of it, above 0.
        amount: Score,
    },
    /// Time in which nothing more is taken from it.
    Cooldown {
        /// How long, at least 1.
        seconds: u32,
    },
    /// Nothing.
    None,
}

/// How the gates of every profile are enforced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profiles {
    /// The default of a gate check.
    pub check: Terms,
    /// What a peer sends.
    pub peer_message: Terms,
    /// Before a prompt goes to a model.
    pub inference_input: Terms,
    /// Before an answer leaves the node.
    pub inference_output: Terms,
    /// What peers vote on.
    pub proposal: Terms,
}

/// The terms of one profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// How each gate of the profile is enforced; no other gates.
    pub gates: BTreeMap<Gate, Enforcement>,
    /// Dimensions of Ihsan without which it counts as not measured.
    pub must_verify: Vec<Dimension>,
    /// The least weight of verified dimensions with which Ihsan counts as measured.
    pub coverage_min: Score,
}

impl Profiles {
    /// The terms of `profile`.
    pub fn terms(&self, profile: Profile) -> &Terms {
        match profile {
            Profile::Check => &self.check,
            Profile::PeerMessage => &self.peer_message,
            Profile::InferenceInput => &self.inference_input,
            Profile::InferenceOutput => &self.inference_output,
            Profile::Proposal => &self.proposal,
        }
    }
}

/// A key, as a path, and what is wrong with its value.
type Fault = (String, String);

impl Document {
    /// Checks what types cannot say.
    pub(super) fn validate(&self) -> Result<(), Fault> {
        if !is_version(&self.version) {
            return Err(fault("version", "is three numbers with dots, such as 1.0.0"));
        }
        if self.ihsan.target < self.ihsan.threshold {
            return Err(fault("ihsan.target", "is not below ihsan.threshold"));
        }
        if self.rules.is_empty() || self.rules.len() > RULES_MAX {
            return Err(fault("rules", &format!("has 1 to {RULES_MAX} entries")));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let path = |key: &str| format!("rules[{index}].{key}");
            if self.rules[..index].iter().any(|other| other.id == rule.id) {
                return Err(fault(path("id"), &format!("{} is there twice", rule.id)));
            }
            self.validate_rule(rule).map_err(|(key, reason)| (path(&key), reason))?;
        }
        if self.autonomy.risk_max.is_sorted_by(|more, less| more >= less) {
            Profile::ALL.into_iter().try_for_each(|profile| self.validate_profile(profile))
        } else {
            Err(fault("autonomy.risk_max", "does not rise from one level to the next"))
        }
    }

    fn validate_profile(&self, profile: Profile) -> Result<(), Fault> {
        let path = |key: &str| format!("profiles.{}.{key}", profile.as_str());
        let terms = self.profiles.terms(profile);
        for gate in profile.gates() {
            if !terms.gates.contains_key(gate) {
                return Err(fault(path("gates"), &format!("lacks {}", gate.as_str())));
            }
        }
        if let Some(gate) = terms.gates.keys().find(|gate| !profile.gates().contains(gate)) {
            let reason = format!("has {}, which is no gate of this profile", gate.as_str());
            return Err(fault(path("gates"), &reason));
        }
        if terms.gates.get(&Gate::Schema) != Some(&Enforcement::Strict) {
            let reason = "is always strict: content that cannot be read cannot be judged";
            return Err(fault(path("gates.schema"), reason));
        }
        for (index, dimension) in terms.must_verify.iter().enumerate() {
            if terms.must_verify[..index].contains(dimension) {
                let reason = format!("has {} twice", dimension.as_str());
                return Err(fault(path("must_verify"), &reason));
            }
        }
        Ok(())
    }

    fn validate_rule(&self, rule: &Rule) -> Result<(), Fault> {
        let is_id_char = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if !(1..=ID_CHARS_MAX).contains(&rule.id.len()) || !rule.id.chars().all(is_id_char) {
            let form = "upper-case letters, digits and underscores";
            return Err(fault("id", &format!("has 1 to {ID_CHARS_MAX} {form}")));
        }
        let name_chars = rule.name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&name_chars) || rule.name.chars().any(char::is_control) {
            let form = "characters, none of them a control character";
            return Err(fault("name", &format!("has 1 to {NAME_CHARS_MAX} {form}")));
        }
        let section = match rule.metric {
            Metric::Ihsan => Some(("ihsan.threshold", self.ihsan.threshold)),
            Metric::Snr => Some(("snr.threshold", self.snr.threshold)),
            Metric::Harm => Some(("harm.ceiling", self.harm.ceiling)),
            Metric::Signature | Metric::Provenance | Metric::Quorum => None,
        };
        if let Some((key, threshold)) = section.filter(|(_, score)| *score != rule.threshold) {
            let (rule, section) = (rule.threshold.value(), threshold.value());
            return Err(fault("threshold", &format!("is {rule}, and {key} is {section}")));
        }
        match rule.penalty {
            Penalty::Trust { amount } if amount == Score::ZERO => {
                Err(fault("penalty.amount", "is above 0"))
            }
            Penalty::Cooldown { seconds } if !(1..=COOLDOWN_S_MAX).contains(&seconds) => {
                Err(fault("penalty.seconds", &format!("is 1 to {COOLDOWN_S_MAX}")))
            }
            _ => Ok(()),
        }
    }
}

fn fault(key: impl Into<String>, reason: &str) -> Fault {
    (key.into(), reason.to_owned())
}

/// Three decimal numbers of at most four digits, without leading zeros.
fn is_version(text: &str) -> bool {
    let is_number = |part: &str| {
        (1..=4).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    text.split('.').count() == 3 && text.split('.').all(is_number)
}
