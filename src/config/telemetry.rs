//! `[telemetry]`: where traces go.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The OpenTelemetry collector, `http://host:port`; `None` (written as an empty string) is no
    /// traces.
    #[serde(with = "super::empty_is_none")]
    pub endpoint: Option<String>,
    /// Which share of the traces that begin here is kept.
    pub sampling_ratio: Ratio,
    /// What the node is called in traces.
    pub service_name: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { endpoint: None, sampling_ratio: Ratio::WHOLE, service_name: "bizra-node".to_owned() }
    }
}

/// A share, from 0 to 1, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(u32);

const MILLION: u32 = 1_000_000;

impl Ratio {
    /// All of it.
    pub const WHOLE: Self = Self(MILLION);

    /// As a number from 0 to 1.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(MILLION)
    }

    fn new(share: f64) -> Option<Self> {
        // Not a number is within no range.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10^6")]
        let millionths = || (share * f64::from(MILLION)).round() as u32;
        (0.0..=1.0).contains(&share).then(|| Self(millionths()))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_f64().fmt(f)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        Self::new(share)
            .ok_or_else(|| serde::de::Error::custom(format!("is {share}, not within 0..=1")))
    }
}
