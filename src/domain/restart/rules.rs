//! The numbers of the restart rules: who is restarted, how often, after which pause.

use std::collections::VecDeque;
use std::time::Duration;

/// A child that ends sooner than this after its start failed at once, and is paused before the next
/// try if it does so again.
pub const QUICK: Duration = Duration::from_millis(100);

/// Whether a child that ended is started again (OTP's `restart`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless it ended normally.
    Transient,
    /// Never.
    Temporary,
    /// Never, and an abnormal end fences it: for an actor that might do harm when repeated.
    FailStop,
}

/// Which siblings are restarted with a child (OTP's `strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// None.
    OneForOne,
    /// Those that start after it.
    RestForOne,
    /// All.
    OneForAll,
}

/// How an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitClass {
    /// It stopped by itself, or was told to.
    Normal,
    /// It was killed.
    Killed,
    /// Its handler panicked.
    Panic,
    /// Its handler returned an error.
    Error,
    /// It gave no sign of life.
    Frozen,
    /// It did not come up.
    StartFailed,
}

impl ExitClass {
    /// One word, for labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "stop",
            Self::Killed => "kill",
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Frozen => "frozen",
            Self::StartFailed => "start",
        }
    }
}

/// How many restarts are allowed in how long (OTP's intensity and period).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Restarts allowed within the window; one more is too many.
    pub restarts_max: u32,
    /// Length of the sliding window.
    pub window: Duration,
}

/// Pauses before a child that keeps failing at once is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// A child that ran this long is no longer held to have failed before.
    pub stable: Duration,
}

impl Backoff {
    /// The pause after `quick` failures in a row within [`QUICK`] of the start: none after the
    /// first, then doubling, with a jitter of 20 % either way. `unit` is a random number in [0, 1).
    pub fn pause(&self, quick: u32, unit: f64) -> Duration {
        let Some(doublings) = quick.checked_sub(2) else { return Duration::ZERO };
        let factor = 2_u32.saturating_pow(doublings.min(31));
        let pause = self.first.saturating_mul(factor).min(self.longest);
        pause.mul_f64(0.8 + 0.4 * unit.clamp(0.0, 1.0))
    }
}

/// Rules for one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildRules {
    /// Whether it is started again.
    pub restart: Restart,
    /// Whether the group cannot go on without it.
    pub is_critical: bool,
    /// Its own budget.
    pub allowance: Allowance,
}

/// Rules for a group of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRules {
    /// Who is restarted together.
    pub strategy: Strategy,
    /// The budget of the group as a whole; spent, the group ends.
    pub allowance: Allowance,
    /// Pauses.
    pub backoff: Backoff,
    /// Pause between tries of a child whose budget is spent.
    pub retry: Duration,
}

/// Restarts in a sliding window.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    allowance: Allowance,
    spent: VecDeque<Duration>,
}

impl Budget {
    pub(super) fn new(allowance: Allowance) -> Self {
        Self { allowance, spent: VecDeque::new() }
    }

    /// Spends one restart at `now`; false when none is left.
    pub(super) fn spend(&mut self, now: Duration) -> bool {
        let window = self.allowance.window;
        while self.spent.front().is_some_and(|at| now.saturating_sub(*at) >= window) {
            self.spent.pop_front();
        }
        if self.spent.len() >= self.allowance.restarts_max as usize {
            return false;
        }
        self.spent.push_back(now);
        true
    }
}
