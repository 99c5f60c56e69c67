//! How prompts are shared out between backends: `[inference.queue]`, `breaker`, `retry`, `hedge`.

use serde::{Deserialize, Serialize};

/// `[inference.queue]`: requests that wait for a backend with as much to do as it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Requests that wait for one backend.
    pub waiting_max: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting_max: 64 }
    }
}

/// `[inference.breaker]`: when a backend that fails is left alone, each of its models by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Failed calls of a hundred...
    pub failed_percent: u32,
    /// ...if there were so many...
    pub calls_min: usize,
    /// ...in this time.
    pub window_seconds: u64,
    /// Failures in a row that are enough by themselves.
    pub in_a_row: u32,
    /// How long it is left alone at first; it doubles.
    pub open_seconds: u64,
    /// The longest that it is left alone.
    pub open_seconds_max: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failed_percent: 50,
            calls_min: 20,
            window_seconds: 30,
            in_a_row: 5,
            open_seconds: 30,
            open_seconds_max: 300,
        }
    }
}

/// `[inference.retry]`: when a backend is asked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// How often one request may ask one tier again.
    pub repeats_max: u32,
    /// The first pause is a random part of this; it doubles.
    pub pause_ms: u64,
    /// The longest pause, also if the server asks for one.
    pub pause_ms_max: u64,
    /// Repeats for a hundred requests.
    pub budget_percent: u32,
    /// Repeats that are saved up.
    pub budget_reserve: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            repeats_max: 2,
            pause_ms: 100,
            pause_ms_max: 5000,
            budget_percent: 10,
            budget_reserve: 10,
        }
    }
}

/// `[inference.hedge]`: when a second backend is asked for the same answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hedge {
    /// Second calls for a hundred requests; 0 is none.
    pub percent: u32,
}
