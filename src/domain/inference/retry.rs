//! Whether the same backend is asked again, and when.
//!
//! Only what may pass by itself is asked again ([`BackendError::is_passing`]), only while the caller
//! has seen nothing of the answer, and only as often as a budget allows: when a server is down,
//! retries must not be what keeps it down. Time and chance come in as arguments.

use std::time::Duration;

use crate::domain::inference::BackendError;

/// When to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How often one request may ask one tier again.
    pub repeats_max: u32,
    /// The first pause is a random part of this; it doubles with each repeat.
    pub pause: Duration,
    /// The longest pause, and the longest that a server may ask for. One that asks for more is not
    /// asked again.
    pub pause_max: Duration,
}

impl Default for Rules {
    /// Two repeats find out whether a failure has passed; a tenth of a second is what a server needs
    /// to take a breath, and for more than five seconds another backend is the better answer.
    fn default() -> Self {
        let (pause, pause_max) = (Duration::from_millis(100), Duration::from_secs(5));
        Self { repeats_max: 2, pause, pause_max }
    }
}

impl Rules {
    /// How long to wait before the same backend is asked again after `error`, if it may be.
    ///
    /// `repeats` is how often that was done for this request, `chance` is in [0, 1), and `remaining`
    /// is the time until the caller's deadline.
    pub fn pause(
        &self,
        error: &BackendError,
        repeats: u32,
        chance: f64,
        remaining: Duration,
    ) -> Option<Duration> {
        if !error.is_passing() || repeats >= self.repeats_max {
            return None;
        }
        let doubled = self.pause.saturating_mul(2_u32.saturating_pow(repeats));
        // Full jitter: callers who failed together do not come back together.
        let jitter = doubled.min(self.pause_max).mul_f64(chance.clamp(0.0, 1.0));
        let asked = match error {
            BackendError::TurnedAway { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let is_over = asked > self.pause_max;
        let pause = asked.saturating_add(jitter);
        (!is_over && pause < remaining).then_some(pause)
    }
}

/// How many extra calls there may be: a share of the requests, and a few beside for quiet times.
#[derive(Clone, Debug)]
pub struct Budget {
    percent: u64,
    /// In hundredths of a call.
    held: u64,
    held_max: u64,
}

/// What one call costs.
const CALL: u64 = 100;

impl Budget {
    /// Extra calls for `percent` of a hundred requests; at most `reserve` are saved up, and there
    /// are so many at the start.
    pub fn new(percent: u32, reserve: u32) -> Self {
        let held_max = u64::from(reserve) * CALL;
        Self { percent: percent.into(), held: held_max, held_max }
    }

    /// A request came.
    pub fn earn(&mut self) {
        self.held = self.held.saturating_add(self.percent).min(self.held_max);
    }

    /// Takes an extra call, if there is one.
    pub fn spend(&mut self) -> bool {
        let left = self.held.checked_sub(CALL);
        self.held = left.unwrap_or(self.held);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::inference::Stage;

    const LONG: Duration = Duration::from_secs(120);

    fn away(retry_after_s: Option<u64>) -> BackendError {
        let retry_after = retry_after_s.map(Duration::from_secs);
        BackendError::TurnedAway { backend: "b".into(), status: 503, retry_after }
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        let rules = Rules::default();
        let late = |stage| BackendError::Timeout { backend: "b".into(), stage };
        for (error, is_asked) in [
            (BackendError::Unreachable("refused".into()), true),
            (away(None), true),
            (late(Stage::FirstToken), true),
            (late(Stage::BetweenTokens), false),
            (late(Stage::Total), false),
            (BackendError::Unavailable("no model".into()), false),
            (BackendError::Busy { backend: "b".into() }, false),
            (BackendError::Failed { backend: "b".into(), reason: "no".into() }, false),
            (BackendError::Cancelled, false),
        ] {
            assert_eq!(rules.pause(&error, 0, 0.5, LONG).is_some(), is_asked, "{error}");
        }
    }

    #[test]
    fn pauses_double_are_a_matter_of_chance_and_end() {
        let rules = Rules { repeats_max: 9, ..Rules::default() };
        let ms = |repeats, chance| {
            rules.pause(&away(None), repeats, chance, LONG).map(|pause| pause.as_millis())
        };
        assert_eq!(
            (ms(0, 0.0), ms(0, 0.5), ms(1, 0.5), ms(2, 0.5)),
            (Some(0), Some(50), Some(100), Some(200))
        );
        assert_eq!((ms(8, 0.999), ms(9, 0.0)), (Some(4995), None));
    }

    #[test]
    fn a_server_is_left_alone_for_as_long_as_it_asks_within_the_deadline() {
        let rules = Rules::default();
        let s = Duration::from_secs;
        for (asks, remaining, expected) in [
            (Some(2), LONG, Some(s(2))),
            (Some(2), s(2), None),
            (Some(5), LONG, Some(s(5))),
            (Some(6), LONG, None),
            (Some(u64::MAX), Duration::MAX, None),
            (None, Duration::ZERO, None),
        ] {
            assert_eq!(rules.pause(&away(asks), 0, 0.0, remaining), expected, "{asks:?}");
        }
        let pause = rules.pause(&away(Some(2)), 0, 0.5, LONG).unwrap();
        assert_eq!(pause, s(2) + Duration::from_millis(50), "never before it asked for");
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing() {
        for mut budget in [Budget::new(0, 0), Budget::new(100, 0)] {
            budget.earn();
            assert!(!budget.spend());
        }
    }

    proptest! {
        /// In no stretch of requests are there more extra calls than their share and the reserve.
        #[test]
        fn extra_calls_stay_within_their_share(
            wants in proptest::collection::vec(0..4_u32, 1..500),
            percent in 0..50_u32,
            reserve in 0..20_u32,
        ) {
            let mut budget = Budget::new(percent, reserve);
            let spent: Vec<u32> = wants
                .iter()
                .map(|wanted| {
                    budget.earn();
                    (0..*wanted).map(|_| u32::from(budget.spend())).sum()
                })
                .collect();
            for from in 0..spent.len() {
                let mut extra = 0;
                for (requests, calls) in spent[from..].iter().enumerate() {
                    extra += calls;
                    let allowed = reserve * 100 + percent * u32::try_from(requests + 1).unwrap();
                    prop_assert!(extra * 100 <= allowed);
                }
            }
        }

        #[test]
        fn no_pause_reaches_the_deadline(
            repeats in 0..5_u32,
            chance in 0.0..1.0_f64,
            remaining_ms in 0..10_000_u64,
            asks in proptest::option::of(0..10_u64),
        ) {
            let remaining = Duration::from_millis(remaining_ms);
            let pause = Rules::default().pause(&away(asks), repeats, chance, remaining);
            prop_assert!(pause.is_none_or(|pause| pause < remaining));
        }
    }
}
