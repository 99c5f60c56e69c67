//! What was observed of one subject, and how sure the node is of it.
//!
//! Each value has a confidence of its own. It begins at 0.5; each time that it is observed a tenth of
//! what is missing to 1 is added; each time that another value of the same place is, it is multiplied by
//! 0.9. A value is active from 0.7 on, which takes six observations in a row. Of several the incumbent
//! counts, which is the first that became active; another one takes its place only when it is active
//! itself and ahead by 0.1. So a single contrary observation turns nothing around.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::envelope::timestamp_text;
use crate::domain::json::{self, INTEGER_MAX};
use crate::domain::preference::choice::{Choice, Kind, Slot};

/// Confidence of a value that is observed for the first time.
pub const FIRST: f64 = 0.5;

/// Part of what is missing to 1 that an observation adds.
const GROWTH: f64 = 0.1;

/// What is left of the others' confidence.
const DECAY: f64 = 0.9;

/// From here on a value is active.
pub const ACTIVE: f64 = 0.7;

/// How far ahead of the incumbent a challenger must be.
pub const LEAD: f64 = 0.1;

/// Values of one place that are remembered; the weakest makes room. With more than a few, none of them
/// is on its way to become active.
pub const VALUES_MAX: usize = 8;

/// The form in which profiles are kept.
const VERSION: u32 = 1;

/// What was observed of one subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    slots: BTreeMap<Slot, Evidence>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Evidence {
    /// The value that counts while it is active.
    incumbent: Option<String>,
    values: BTreeMap<String, Weight>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Weight {
    confidence: f64,
    observations: u64,
    at_ms: i64,
}

/// A value and how sure the node is of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The value.
    pub choice: Choice,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// How often it was observed.
    pub observations: u64,
    /// When it last was, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Whether models are told.
    pub is_active: bool,
}

impl Entry {
    /// When it was observed last, as it is told; empty if the clock was before 1970 or after 9999.
    pub fn observed_at(&self) -> String {
        timestamp_text(self.at_ms).unwrap_or_default()
    }
}

/// What an observation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The value was not known.
    New,
    /// It was, and the node is surer of it.
    Confirmed,
    /// Models are told from now on.
    Activated,
    /// The same, and it took the place of another value.
    Switched,
}

impl Effect {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Confirmed => "confirmed",
            Self::Activated => "activated",
            Self::Switched => "switched",
        }
    }
}

/// The value after an observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// As it stands.
    pub entry: Entry,
    /// What changed.
    pub effect: Effect,
}

/// There is as much as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Of notes of one subject.
    #[error("the subject has {max} custom preferences, as many as may be; forget one")]
    Notes {
        /// The limit.
        max: usize,
    },
    /// Of subjects.
    #[error("{max} subjects have preferences, as many as may be; forget one")]
    Subjects {
        /// The limit.
        max: u64,
    },
}

/// What to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything of the subject.
    All,
    /// Everything of this kind.
    Kind(Kind),
    /// Everything of this place.
    Slot(Slot),
}

impl Selection {
    fn has(&self, slot: &Slot) -> bool {
        match self {
            Self::All => true,
            Self::Kind(kind) => slot.kind() == *kind,
            Self::Slot(one) => slot == one,
        }
    }
}

impl Profile {
    /// Takes in that the subject chose this value.
    ///
    /// # Errors
    /// [`Full::Notes`] if it would be a note more than may be; nothing changed then.
    pub fn observe(
        &mut self,
        choice: &Choice,
        at_ms: i64,
        notes_max: usize,
    ) -> Result<Observed, Full> {
        let slot = choice.slot();
        let is_note = slot.kind() == Kind::Custom;
        if is_note && !self.slots.contains_key(slot) && self.notes() >= notes_max {
            return Err(Full::Notes { max: notes_max });
        }
        let evidence = self.slots.entry(slot.clone()).or_default();
        let (effect, weight) = evidence.observe(choice.value(), at_ms);
        let is_active = evidence.active() == Some(choice.value());
        Ok(Observed { entry: weight.entry(choice.clone(), is_active), effect })
    }

    fn notes(&self) -> usize {
        self.slots.keys().filter(|slot| slot.kind() == Kind::Custom).count()
    }

    /// Forgets what is selected; tells how many values that were.
    pub fn forget(&mut self, selection: &Selection) -> usize {
        let before = self.len();
        self.slots.retain(|slot, _| !selection.has(slot));
        before - self.len()
    }

    /// Values that are known, active or not.
    pub fn len(&self) -> usize {
        self.slots.values().map(|evidence| evidence.values.len()).sum()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every value: by place, and there the one that counts first, then the surest.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (slot, evidence) in &self.slots {
            let active = evidence.active();
            let entry = |(value, weight): (&String, &Weight)| {
                weight.entry(Choice::again(slot, value), active == Some(value))
            };
            let mut own: Vec<Entry> = evidence.values.iter().map(entry).collect();
            let key = |entry: &Entry| (entry.is_active, entry.confidence);
            own.sort_by(|a, b| key(b).0.cmp(&key(a).0).then(key(b).1.total_cmp(&key(a).1)));
            entries.append(&mut own);
        }
        entries
    }

    /// Those that models are told.
    pub fn active(&self) -> Vec<Entry> {
        let told = |(slot, evidence): (&Slot, &Evidence)| {
            let value = evidence.active()?;
            Some(evidence.values.get(value)?.entry(Choice::again(slot, value), true))
        };
        self.slots.iter().filter_map(told).collect()
    }

    /// As it is kept.
    ///
    /// # Errors
    /// None that a profile could cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ProfileError> {
        let slots = self.slots.iter().map(|(slot, evidence)| Place {
            r#type: slot.kind().as_str().to_owned(),
            key: slot.key().map(str::to_owned),
            incumbent: evidence.incumbent.clone(),
            values: evidence.values.iter().map(|(value, weight)| weight.kept(value)).collect(),
        });
        let kept = Kept { version: VERSION, slots: slots.collect() };
        serde_json::to_vec(&kept).map_err(|error| ProfileError(error.to_string()))
    }

    /// Reads what was kept. Every value is checked again as if a caller had sent it.
    ///
    /// # Errors
    /// [`ProfileError`] for whatever is no profile.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProfileError> {
        let value = json::parse(bytes).map_err(|error| ProfileError(error.to_string()))?;
        let kept: Kept =
            serde_json::from_value(value).map_err(|error| ProfileError(error.to_string()))?;
        if kept.version != VERSION {
            return Err(ProfileError(format!("version {} is not {VERSION}", kept.version)));
        }
        let mut profile = Self::default();
        for place in kept.slots {
            let (slot, evidence) = place.read()?;
            if profile.slots.insert(slot, evidence).is_some() {
                return Err(ProfileError("a place is there twice".to_owned()));
            }
        }
        Ok(profile)
    }
}

impl Evidence {
    fn observe(&mut self, value: &str, at_ms: i64) -> (Effect, Weight) {
        let was_active = self.active() == Some(value);
        for (other, weight) in &mut self.values {
            if other != value {
                weight.confidence *= DECAY;
            }
        }
        let known = self.values.get(value).copied();
        if known.is_none() {
            self.make_room();
        }
        let weight = match known {
            None => Weight { confidence: FIRST, observations: 1, at_ms },
            Some(known) => Weight {
                confidence: known.confidence + GROWTH * (1.0 - known.confidence),
                observations: (known.observations + 1).min(INTEGER_MAX.unsigned_abs()),
                at_ms,
            },
        };
        self.values.insert(value.to_owned(), weight);
        let has_replaced = self.choose(value, weight.confidence);
        let effect = match self.active() == Some(value) {
            true if has_replaced => Effect::Switched,
            true if !was_active => Effect::Activated,
            _ if known.is_none() => Effect::New,
            _ => Effect::Confirmed,
        };
        (effect, weight)
    }

    /// Makes the value the incumbent if it may be; tells whether it took another's place. Only the value
    /// that was observed gains on the incumbent, so no other one is to be looked at.
    fn choose(&mut self, value: &str, confidence: f64) -> bool {
        if confidence < ACTIVE || self.incumbent.as_deref() == Some(value) {
            return false;
        }
        let incumbent = self.incumbent.as_ref().and_then(|it| self.values.get(it));
        let has_replaced = match incumbent {
            Some(incumbent) if confidence - incumbent.confidence < LEAD => return false,
            Some(_) => true,
            None => false,
        };
        self.incumbent = Some(value.to_owned());
        has_replaced
    }

    /// The incumbent, while the node is sure enough of it.
    fn active(&self) -> Option<&str> {
        let incumbent = self.incumbent.as_deref()?;
        let weight = self.values.get(incumbent)?;
        (weight.confidence >= ACTIVE).then_some(incumbent)
    }

    /// Lets the weakest go if there are as many as may be. The incumbent stays.
    fn make_room(&mut self) {
        if self.values.len() < VALUES_MAX {
            return;
        }
        let others =
            self.values.iter().filter(|(value, _)| Some(*value) != self.incumbent.as_ref());
        let weakest = others.min_by(|(_, a), (_, b)| {
            a.confidence.total_cmp(&b.confidence).then(a.at_ms.cmp(&b.at_ms))
        });
        if let Some(weakest) = weakest.map(|(value, _)| value.clone()) {
            self.values.remove(&weakest);
        }
    }
}

impl Weight {
    fn entry(&self, choice: Choice, is_active: bool) -> Entry {
        let Self { confidence, observations, at_ms } = *self;
        Entry { choice, confidence, observations, at_ms, is_active }
    }

    fn kept(&self, value: &str) -> KeptValue {
        let Self { confidence, observations, at_ms } = *self;
        KeptValue { value: value.to_owned(), confidence, observations, at_ms }
    }
}

/// What was kept is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a profile: {0}")]
pub struct ProfileError(String);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    slots: Vec<Place>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    r#type: String,
    key: Option<String>,
    incumbent: Option<String>,
    values: Vec<KeptValue>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptValue {
    value: String,
    confidence: f64,
    observations: u64,
    at_ms: i64,
}

impl Place {
    fn read(self) -> Result<(Slot, Evidence), ProfileError> {
        let damaged = |error: &dyn std::fmt::Display| ProfileError(error.to_string());
        let kind = Kind::parse(&self.r#type).map_err(|error| damaged(&error))?;
        let slot = Slot::parse(kind, self.key.as_deref()).map_err(|error| damaged(&error))?;
        if !(1..=VALUES_MAX).contains(&self.values.len()) {
            return Err(damaged(&"a place has no values, or too many"));
        }
        let mut evidence = Evidence { incumbent: self.incumbent, ..Evidence::default() };
        for KeptValue { value, confidence, observations, at_ms } in self.values {
            let choice = Choice::parse(slot.clone(), &value).map_err(|error| damaged(&error))?;
            if choice.value() != value || !(0.0..=1.0).contains(&confidence) {
                return Err(damaged(&"a value or its confidence is none"));
            }
            let weight = Weight { confidence, observations, at_ms };
            if evidence.values.insert(value, weight).is_some() {
                return Err(damaged(&"a value is there twice"));
            }
        }
        let has_its_incumbent =
            evidence.incumbent.as_ref().is_none_or(|it| evidence.values.contains_key(it));
        if has_its_incumbent { Ok((slot, evidence)) } else { Err(damaged(&"no such incumbent")) }
    }
}
