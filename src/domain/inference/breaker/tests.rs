//! Breakers by table, and against a model that keeps everything.

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    failed_percent: 50,
    calls_min: 20,
    window: Duration::from_secs(30),
    in_a_row: 5,
    open: Duration::from_secs(30),
    open_max: Duration::from_secs(300),
};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn call(breaker: &mut Breaker, blame: Blame, now: Duration) -> Option<Change> {
    let pass = breaker.enter(now).expect("it is not open");
    breaker.leave(pass, blame, now, &RULES)
}

fn fail_in_a_row(breaker: &mut Breaker, now: Duration) -> Option<Change> {
    (0..RULES.in_a_row).map(|_| call(breaker, Blame::Fails, now)).last().flatten()
}

#[test]
fn it_opens_at_the_fifth_failure_in_a_row_and_not_before() {
    let mut breaker = Breaker::default();
    for _ in 0..4 {
        assert_eq!(call(&mut breaker, Blame::Fails, at(0)), None);
    }
    assert_eq!(call(&mut breaker, Blame::Works, at(0)), None);
    for _ in 0..4 {
        assert_eq!(call(&mut breaker, Blame::Fails, at(1)), None);
    }
    assert_eq!(call(&mut breaker, Blame::Fails, at(1)), Some(Change::Opened(at(30))));
    assert_eq!(breaker.stand(at(30)), Stand::Open);
    assert!(breaker.enter(at(30)).is_none());
    assert_eq!(breaker.stand(at(31)), Stand::HalfOpen);
}

#[test]
fn it_opens_at_half_of_twenty_calls_of_one_window() {
    // Three of four work, then the share grows: never five in a row.
    let opens_after = |works: usize, step: Duration| {
        let mut breaker = Breaker::default();
        let mut now = Duration::ZERO;
        (1..200).find(|n| {
            now += step;
            let blame = if n % works == 0 { Blame::Works } else { Blame::Fails };
            call(&mut breaker, blame, now).is_some()
        })
    };
    assert_eq!(opens_after(2, Duration::from_millis(100)), Some(21), "half of twenty failed");
    assert_eq!(opens_after(3, Duration::from_millis(100)), Some(20), "two thirds of twenty");
    assert_eq!(opens_after(3, at(2)), None, "there are never twenty in a window");
}

#[test]
fn what_says_nothing_of_the_backend_does_not_count() {
    let mut breaker = Breaker::default();
    for _ in 0..4 {
        assert_eq!(call(&mut breaker, Blame::Fails, at(0)), None);
    }
    for _ in 0..100 {
        assert_eq!(call(&mut breaker, Blame::None, at(0)), None);
    }
    assert_eq!(breaker.stand(at(0)), Stand::Closed);
    // Nor does it end the row.
    assert!(call(&mut breaker, Blame::Fails, at(0)).is_some());
}

#[test]
fn exactly_one_probe_passes_and_its_outcome_decides() {
    let mut breaker = Breaker::default();
    fail_in_a_row(&mut breaker, at(0));
    let probe = breaker.enter(at(30)).unwrap();
    for _ in 0..100 {
        assert!(breaker.enter(at(30)).is_none(), "there is a probe on its way");
    }
    assert_eq!(breaker.stand(at(30)), Stand::HalfOpen);
    // Its caller left: it found out nothing, and the next call is the probe.
    assert_eq!(breaker.leave(probe, Blame::None, at(31), &RULES), None);
    let probe = breaker.enter(at(31)).unwrap();
    assert!(breaker.enter(at(31)).is_none());
    assert_eq!(breaker.leave(probe, Blame::Works, at(32), &RULES), Some(Change::Closed));
    assert_eq!(breaker.stand(at(32)), Stand::Closed);
    assert_eq!(fail_in_a_row(&mut breaker, at(33)), Some(Change::Opened(at(30))), "as new");
}

#[test]
fn the_open_time_doubles_up_to_its_limit() {
    let mut breaker = Breaker::default();
    let mut now = at(0);
    let mut times = vec![fail_in_a_row(&mut breaker, now)];
    for pause in [30, 60, 120, 240, 300, 300] {
        now += at(pause);
        times.push(call(&mut breaker, Blame::Fails, now));
    }
    let expected = [30, 60, 120, 240, 300, 300, 300].map(|s| Some(Change::Opened(at(s))));
    assert_eq!(times, expected);
}

#[test]
fn calls_from_before_it_opened_say_nothing_after() {
    let mut breaker = Breaker::default();
    let early: Vec<_> = (0..9).map(|_| breaker.enter(at(0)).unwrap()).collect();
    let (first, rest) = early.split_at(5);
    for pass in first {
        breaker.leave(*pass, Blame::Fails, at(1), &RULES);
    }
    assert_eq!(breaker.stand(at(1)), Stand::Open);
    for pass in &rest[..2] {
        assert_eq!(breaker.leave(*pass, Blame::Works, at(2), &RULES), None);
    }
    let probe = breaker.enter(at(31)).unwrap();
    assert_eq!(breaker.leave(rest[2], Blame::Works, at(32), &RULES), None, "it is not the probe");
    assert_eq!(breaker.stand(at(32)), Stand::HalfOpen);
    assert_eq!(breaker.leave(probe, Blame::Fails, at(33), &RULES), Some(Change::Opened(at(60))));
}

#[test]
fn breakers_are_apart_by_endpoint_and_model_and_bounded() {
    let mut breakers = Breakers::new(RULES);
    let fail = |breakers: &mut Breakers, endpoint, model: Option<&str>| {
        for _ in 0..5 {
            let entry = breakers.enter(endpoint, model, at(0)).unwrap();
            breakers.leave(&entry, Blame::Fails, at(0));
        }
    };
    fail(&mut breakers, 0, Some("a:latest"));
    for (endpoint, model, passes) in
        [(0, Some("a"), false), (0, Some("b"), true), (0, None, true), (1, Some("a"), true)]
    {
        assert_eq!(breakers.would_pass(endpoint, model, at(1)), passes, "{endpoint} {model:?}");
    }
    assert_eq!((breakers.stand(0, at(1)), breakers.stand(1, at(1))), (Stand::Open, Stand::Closed));
    // Names that callers choose fill nothing, and what is open is not forgotten for them.
    for number in 0..10 * BREAKERS_MAX {
        breakers.enter(0, Some(&format!("m{number}")), at(2)).unwrap();
    }
    assert_eq!(breakers.count(), BREAKERS_MAX);
    assert!(!breakers.would_pass(0, Some("a"), at(3)));
    // When all are open, the others go by their endpoint's, which is one more.
    for number in 0..BREAKERS_MAX {
        fail(&mut breakers, 1, Some(&format!("n{number}")));
        if breakers.count() > BREAKERS_MAX {
            break;
        }
    }
    assert!(breakers.count() <= BREAKERS_MAX + 2);
}

/// What is done to a breaker in one step of a run.
#[derive(Clone, Debug)]
enum Act {
    Wait(u64),
    Enter,
    /// The call with this number, of those on their way, ends like this.
    Leave(usize, Blame),
}

fn act() -> impl Strategy<Value = Act> {
    let blame = prop_oneof![
        3 => Just(Blame::Fails), 2 => Just(Blame::Works), 1 => Just(Blame::None)
    ];
    prop_oneof![
        1 => (1..40_000_u64).prop_map(Act::Wait),
        6 => Just(Act::Enter),
        6 => (0..8_usize, blame).prop_map(|(which, blame)| Act::Leave(which, blame)),
    ]
}

/// The rules said plainly: every outcome is kept, and every call knows whether it is a probe.
#[derive(Default)]
struct Model {
    ended: Vec<(Duration, bool)>,
    open_until: Option<Duration>,
    has_probe: bool,
    openings: u32,
    changes: u64,
}

impl Model {
    /// Whether a call passes, and whether it is the probe.
    fn enter(&mut self, now: Duration) -> Option<bool> {
        match self.open_until {
            None => Some(false),
            Some(until) if now < until || self.has_probe => None,
            Some(_) => {
                self.has_probe = true;
                self.changes += 1;
                Some(true)
            }
        }
    }

    fn leave(&mut self, begun: u64, is_probe: bool, blame: Blame, now: Duration) {
        if begun != self.changes {
            return;
        }
        if is_probe {
            self.has_probe = false;
            self.changes += 1;
            match blame {
                Blame::None => self.open_until = Some(now),
                Blame::Works => *self = Self { changes: self.changes, ..Self::default() },
                Blame::Fails => self.open(now),
            }
            return;
        }
        if blame == Blame::None || self.open_until.is_some() {
            return;
        }
        self.ended.push((now, blame == Blame::Fails));
        let row = self.ended.iter().rev().take_while(|(_, failed)| *failed).count();
        let window: Vec<_> =
            self.ended.iter().filter(|(at, _)| *at >= now.saturating_sub(RULES.window)).collect();
        let failed = window.iter().filter(|(_, failed)| *failed).count();
        if row >= 5 || (row > 0 && window.len() >= 20 && failed * 2 >= window.len()) {
            self.changes += 1;
            self.open(now);
        }
    }

    fn open(&mut self, now: Duration) {
        let seconds = (30_u64 << self.openings.min(10)).min(300);
        self.openings += 1;
        self.ended.clear();
        self.open_until = Some(now + at(seconds));
    }
}

proptest! {
    #[test]
    fn every_run_is_that_of_the_model(acts in proptest::collection::vec(act(), 0..400)) {
        let mut breaker = Breaker::default();
        let mut model = Model::default();
        let mut now = Duration::ZERO;
        let mut calls: Vec<(Pass, u64, bool)> = Vec::new();
        for act in acts {
            match act {
                Act::Wait(ms) => now += Duration::from_millis(ms),
                Act::Enter => {
                    let (pass, is_probe) = (breaker.enter(now), model.enter(now));
                    prop_assert_eq!(pass.is_some(), is_probe.is_some());
                    if let Some((pass, is_probe)) = pass.zip(is_probe) {
                        calls.push((pass, model.changes, is_probe));
                    }
                }
                Act::Leave(which, blame) if which < calls.len() => {
                    let (pass, begun, is_probe) = calls.swap_remove(which);
                    breaker.leave(pass, blame, now, &RULES);
                    model.leave(begun, is_probe, blame, now);
                }
                Act::Leave(..) => {}
            }
            let stand = match model.open_until {
                None => Stand::Closed,
                Some(until) if now < until => Stand::Open,
                Some(_) => Stand::HalfOpen,
            };
            prop_assert_eq!(breaker.stand(now), stand);
            let probes = calls.iter().filter(|(_, begun, is_probe)| {
                *is_probe && *begun == model.changes
            });
            prop_assert!(probes.count() <= 1);
        }
    }
}
