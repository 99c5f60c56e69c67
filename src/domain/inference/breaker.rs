//! Whether a backend is asked at all: a circuit breaker for each endpoint and model.
//!
//! A breaker is closed while its backend works. It opens when too many calls fail, and then nobody
//! waits for a backend that does not answer. When its time is over it is half open: one call, the
//! probe, finds out how the backend does. Time is what has passed since any fixed instant.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::inference::Blame;

/// Outcomes that one breaker remembers: more than this many calls in a window are judged by the
/// latest of them.
const OUTCOMES_MAX: usize = 256;

/// Breakers of one node: endpoints are few, and so are the models that are asked for.
pub const BREAKERS_MAX: usize = 256;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Failed calls of a hundred at which it opens...
    pub failed_percent: u32,
    /// ...if there were so many calls...
    pub calls_min: usize,
    /// ...in this time.
    pub window: Duration,
    /// Failures in a row at which it opens, however few calls there were.
    pub in_a_row: u32,
    /// How long it is open the first time. It doubles with every probe that fails.
    pub open: Duration,
    /// The longest that it is open.
    pub open_max: Duration,
}

impl Default for Rules {
    /// Half of at least 20 calls in half a minute, or five in a row: chance does not do that to a
    /// backend that works. Half a minute is what a restart takes; five minutes is how long people
    /// who mended a server may have to wait for it to be used.
    fn default() -> Self {
        Self {
            failed_percent: 50,
            calls_min: 20,
            window: Duration::from_secs(30),
            in_a_row: 5,
            open: Duration::from_secs(30),
            open_max: Duration::from_secs(300),
        }
    }
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    /// Calls pass.
    Closed,
    /// One call may find out whether the backend works again, or is finding out.
    HalfOpen,
    /// No call passes.
    Open,
}

impl Stand {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What a call did to its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It opened, for this long.
    Opened(Duration),
    /// The probe came back well.
    Closed,
}

/// The right to make one call. It must be given back with the call's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// How often the breaker had opened or closed when the call began.
    era: u64,
}

/// One breaker.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: State,
    /// When calls ended and whether they failed, oldest first.
    outcomes: VecDeque<(Duration, bool)>,
    in_a_row: u32,
    /// Counts changes, so that a call that began before one says nothing after it.
    era: u64,
    /// How often it opened without having closed between.
    openings: u32,
    touched: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    /// The probe is on its way.
    Probing,
}

impl Breaker {
    /// How it stands.
    pub fn stand(&self, now: Duration) -> Stand {
        match self.state {
            State::Closed => Stand::Closed,
            State::Open { until } if now < until => Stand::Open,
            State::Open { .. } | State::Probing => Stand::HalfOpen,
        }
    }

    /// Whether a call would pass.
    pub fn would_pass(&self, now: Duration) -> bool {
        self.stand(now) != Stand::Open && self.state != State::Probing
    }

    /// Lets a call pass, or not. After the open time that is one call: the probe.
    pub fn enter(&mut self, now: Duration) -> Option<Pass> {
        if !self.would_pass(now) {
            return None;
        }
        if self.state != State::Closed {
            self.state = State::Probing;
            // Whoever began before must not speak for the probe.
            self.era += 1;
        }
        Some(Pass { era: self.era })
    }

    /// Takes the outcome of a call that had `pass`.
    pub fn leave(
        &mut self,
        pass: Pass,
        blame: Blame,
        now: Duration,
        rules: &Rules,
    ) -> Option<Change> {
        if pass.era != self.era {
            return None;
        }
        match (self.state, blame) {
            // The probe found out nothing; the next call is one.
            (State::Probing, Blame::None) => {
                self.state = State::Open { until: now };
                self.era += 1;
                None
            }
            (State::Probing, Blame::Works) => {
                *self = Self { era: self.era + 1, touched: now, ..Self::default() };
                Some(Change::Closed)
            }
            (State::Probing, Blame::Fails) => Some(self.open(now, rules)),
            (State::Closed, Blame::Works | Blame::Fails) => {
                self.note(blame == Blame::Fails, now, rules);
                self.is_too_much(rules).then(|| self.open(now, rules))
            }
            (State::Closed, Blame::None) | (State::Open { .. }, _) => None,
        }
    }

    fn note(&mut self, failed: bool, now: Duration, rules: &Rules) {
        self.in_a_row = if failed { self.in_a_row.saturating_add(1) } else { 0 };
        let since = now.saturating_sub(rules.window);
        while self.outcomes.front().is_some_and(|(at, _)| *at < since) {
            self.outcomes.pop_front();
        }
        if self.outcomes.len() == OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((now, failed));
    }

    fn is_too_much(&self, rules: &Rules) -> bool {
        let calls = self.outcomes.len();
        let failed = self.outcomes.iter().filter(|(_, failed)| *failed).count();
        let percent = usize::try_from(rules.failed_percent).unwrap_or(usize::MAX);
        let is_half = calls >= rules.calls_min && failed * 100 >= calls.saturating_mul(percent);
        // A call that went well opens nothing, whatever was before it.
        self.in_a_row > 0 && (is_half || self.in_a_row >= rules.in_a_row)
    }

    fn open(&mut self, now: Duration, rules: &Rules) -> Change {
        let doubled = 2_u32.saturating_pow(self.openings);
        let pause = rules.open.saturating_mul(doubled).min(rules.open_max);
        let state = State::Open { until: now.saturating_add(pause) };
        let (era, openings) = (self.era + 1, self.openings.saturating_add(1));
        *self = Self { state, era, openings, touched: now, ..Self::default() };
        Change::Opened(pause)
    }
}

/// An endpoint, by number, and the model that was asked for there, if one was named.
type Key = (usize, Option<String>);

/// Every breaker of a node. There are never more than [`BREAKERS_MAX`], beside one for each
/// endpoint: models that find no room share that of their endpoint.
#[derive(Debug)]
pub struct Breakers {
    rules: Rules,
    breakers: HashMap<Key, Breaker>,
}

/// The right to make one call at an endpoint.
#[derive(Debug)]
pub struct Entry {
    key: Key,
    pass: Pass,
}

impl Breakers {
    /// None yet: all are closed.
    pub fn new(rules: Rules) -> Self {
        Self { rules, breakers: HashMap::new() }
    }

    /// Whether a call for `model` at `endpoint` would pass.
    pub fn would_pass(&self, endpoint: usize, model: Option<&str>, now: Duration) -> bool {
        let breaker = self.breakers.get(&self.known(endpoint, model));
        breaker.is_none_or(|breaker| breaker.would_pass(now))
    }

    /// Lets a call for `model` at `endpoint` pass, or not.
    pub fn enter(&mut self, endpoint: usize, model: Option<&str>, now: Duration) -> Option<Entry> {
        let mut key = self.known(endpoint, model);
        if !self.breakers.contains_key(&key) && self.breakers.len() >= BREAKERS_MAX {
            self.forget_one();
            if self.breakers.len() >= BREAKERS_MAX {
                key.1 = None;
            }
        }
        let breaker = self.breakers.entry(key.clone()).or_default();
        breaker.touched = now;
        Some(Entry { pass: breaker.enter(now)?, key })
    }

    /// Takes the outcome of a call.
    pub fn leave(&mut self, entry: &Entry, blame: Blame, now: Duration) -> Option<Change> {
        self.breakers.get_mut(&entry.key)?.leave(entry.pass, blame, now, &self.rules)
    }

    /// How the breakers of `endpoint` stand: the worst of them.
    pub fn stand(&self, endpoint: usize, now: Duration) -> Stand {
        let of_it = self.breakers.iter().filter(|((at, _), _)| *at == endpoint);
        of_it.map(|(_, breaker)| breaker.stand(now)).max().unwrap_or(Stand::Closed)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.breakers.len()
    }

    /// The breaker's key. A model that has none while there is no room goes by its endpoint's.
    fn known(&self, endpoint: usize, model: Option<&str>) -> Key {
        // Ollama lists a model without tag as `:latest`.
        let model = model.map(|name| name.strip_suffix(":latest").unwrap_or(name).to_owned());
        (endpoint, model)
    }

    /// Makes room: what is closed says least, and least what was used longest ago.
    fn forget_one(&mut self) {
        let closed = self.breakers.iter().filter(|(_, breaker)| breaker.state == State::Closed);
        let oldest = closed.min_by_key(|(_, breaker)| breaker.touched).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.breakers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
