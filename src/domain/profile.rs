//! Which gates there are, which of them judge what, and how long each may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// The content can be read as what it is said to be.
    Schema,
    /// Its sender signed it.
    Signature,
    /// Its sender has trust left and is in no cooldown.
    Rate,
    /// The harm found in it is at most the constitution's ceiling: a veto.
    Harm,
    /// The Ihsan score reaches the constitution's threshold, and harm is no veto.
    Ihsan,
    /// The signal-to-noise score reaches the constitution's threshold.
    Snr,
    /// The FATE predicates hold.
    Fate,
}

impl Gate {
    /// Every gate, in the order of the enum.
    pub const ALL: [Self; 7] =
        [Self::Schema, Self::Signature, Self::Rate, Self::Harm, Self::Ihsan, Self::Snr, Self::Fate];

    /// Its name on the wire and in the constitution.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Signature => "signature",
            Self::Rate => "rate",
            Self::Harm => "harm",
            Self::Ihsan => "ihsan",
            Self::Snr => "snr",
            Self::Fate => "fate",
        }
    }

    /// How long it may take over `bytes` of content.
    pub const fn tier(self, bytes: usize) -> Tier {
        match self {
            // Up to a mebibyte of JSON is read, which is not cheap.
            Self::Schema if bytes > CHEAP_BYTES_MAX => Tier::Medium,
            Self::Schema | Self::Signature | Self::Rate => Tier::Cheap,
            Self::Harm | Self::Snr => Tier::Medium,
            Self::Ihsan | Self::Fate => Tier::Expensive,
        }
    }
}

/// Content that is read in a small part of the cheap tier's time.
const CHEAP_BYTES_MAX: usize = 64 * 1024;

/// How dear a gate is, which says how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Comparisons, and reading what is short.
    Cheap,
    /// One pass over the content.
    Medium,
    /// More than that.
    Expensive,
}

impl Tier {
    /// The time after which the gate is given up.
    pub const fn limit(self) -> Duration {
        match self {
            Self::Cheap => Duration::from_millis(10),
            Self::Medium => Duration::from_millis(150),
            Self::Expensive => Duration::from_secs(2),
        }
    }
}

/// A fixed list of gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Given scores and what can be measured; the default of `/pci/gates/check`.
    Check,
    /// What a peer sent in an envelope, before it is accepted.
    PeerMessage,
    /// Before a prompt goes to a model.
    InferenceInput,
    /// Before an answer leaves the node.
    InferenceOutput,
    /// What is put to the vote.
    Proposal,
}

impl Profile {
    /// Every profile, in the order of the enum.
    pub const ALL: [Self; 5] = [
        Self::Check,
        Self::PeerMessage,
        Self::InferenceInput,
        Self::InferenceOutput,
        Self::Proposal,
    ];

    /// Its name on the wire and in the constitution.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::PeerMessage => "peer-message",
            Self::InferenceInput => "inference-input",
            Self::InferenceOutput => "inference-output",
            Self::Proposal => "proposal",
        }
    }

    /// Reads a name of [`Profile::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == name)
    }

    /// Its gates, in the order in which they judge: cheap ones first, and the veto before scores.
    pub const fn gates(self) -> &'static [Gate] {
        use Gate::{Fate, Harm, Ihsan, Rate, Schema, Signature, Snr};
        match self {
            Self::Check => &[Schema, Ihsan, Snr],
            Self::PeerMessage => &[Schema, Signature, Rate, Harm, Ihsan, Snr],
            Self::InferenceInput => &[Schema, Harm, Ihsan, Snr],
            Self::InferenceOutput => &[Schema, Harm, Snr, Ihsan, Fate],
            Self::Proposal => &[Schema, Signature, Rate, Harm, Ihsan, Snr, Fate],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_its_name_and_begins_with_the_schema() {
        for profile in Profile::ALL {
            assert_eq!(Profile::from_name(profile.as_str()), Some(profile));
            assert_eq!(profile.gates()[0], Gate::Schema);
            assert_eq!(Profile::ALL[profile as usize], profile);
        }
        assert_eq!(Profile::from_name("Check"), None);
    }

    #[test]
    fn no_profile_has_a_gate_twice() {
        for profile in Profile::ALL {
            let mut gates = profile.gates().to_vec();
            gates.sort_unstable();
            gates.dedup();
            assert_eq!(gates.len(), profile.gates().len(), "{}", profile.as_str());
        }
        for gate in Gate::ALL {
            assert_eq!(Gate::ALL[gate as usize], gate);
        }
    }

    #[test]
    fn dearer_tiers_have_more_time() {
        assert!(Tier::Cheap.limit() < Tier::Medium.limit());
        assert!(Tier::Medium.limit() < Tier::Expensive.limit());
        assert_eq!(Gate::Schema.tier(100), Tier::Cheap);
        assert_eq!(Gate::Schema.tier(1 << 20), Tier::Medium);
    }
}
