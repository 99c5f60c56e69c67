//! The rules against a model of OTP's, over random groups, failures and orders of events.

use super::*;

const ALL_EXITS: [ExitClass; 6] = [
    ExitClass::Normal,
    ExitClass::Killed,
    ExitClass::Panic,
    ExitClass::Error,
    ExitClass::Frozen,
    ExitClass::StartFailed,
];
const ALL_RESTARTS: [Restart; 4] =
    [Restart::Permanent, Restart::Transient, Restart::Temporary, Restart::FailStop];
const ALL_STRATEGIES: [Strategy; 3] =
    [Strategy::OneForOne, Strategy::RestForOne, Strategy::OneForAll];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// xorshift64*: the order of everything follows from the seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Dead,
    Starting,
    Running,
    Stopping,
}

/// The world a group lives in: carries effects out in any order that could really happen.
struct World {
    group: Group,
    rules: GroupRules,
    children: Vec<ChildRules>,
    now: Duration,
    lives: Vec<(Life, u64)>,
    timers: Vec<(Duration, usize, u64)>,
    starts: Vec<(Duration, usize)>,
    ready: usize,
    ended: Option<Outcome>,
    unit: f64,
}

impl World {
    fn new(rules: GroupRules, children: Vec<ChildRules>) -> Self {
        let group = Group::new(rules, children.iter().map(|child| (*child, 0)));
        let lives = vec![(Life::Dead, 0); children.len()];
        let mut world = Self {
            group,
            rules,
            children,
            now: Duration::ZERO,
            lives,
            timers: Vec::new(),
            starts: Vec::new(),
            ready: 0,
            ended: None,
            unit: 0.5,
        };
        world.tell(Event::Begin);
        world
    }

    fn tell(&mut self, event: Event) {
        for effect in self.group.step(self.now, event, self.unit) {
            assert_eq!(self.ended, None, "{effect:?} after the end");
            match effect {
                Effect::Start { child, generation } => {
                    let (life, before) = self.lives[child];
                    assert_eq!(life, Life::Dead, "two incarnations of {child}");
                    assert_eq!(generation, before + 1, "generations of {child}");
                    assert!(!self.group.is_ending(), "started {child} on the way down");
                    self.lives[child] = (Life::Starting, generation);
                    self.starts.push((self.now, child));
                }
                Effect::Stop { child, generation } => {
                    let (life, at) = self.lives[child];
                    assert!(matches!(life, Life::Starting | Life::Running), "stop of dead {child}");
                    assert_eq!(generation, at, "stop of another incarnation of {child}");
                    let stopping = self.lives.iter().any(|(life, _)| *life == Life::Stopping);
                    assert!(!stopping, "two stops at once");
                    self.lives[child].0 = Life::Stopping;
                }
                Effect::Wait { child, generation, pause } => {
                    self.timers.push((self.now + pause, child, generation));
                }
                Effect::Ready => self.ready += 1,
                Effect::Ended(outcome) => {
                    assert!(self.lives.iter().all(|(life, _)| *life == Life::Dead));
                    self.ended = Some(outcome);
                }
            }
        }
    }

    /// A running or starting child ends.
    fn fail(&mut self, child: usize, class: ExitClass) {
        let generation = self.lives[child].1;
        self.lives[child].0 = Life::Dead;
        self.tell(Event::Exited { child, generation, class });
    }

    /// One thing that is under way comes to its end; false when nothing is.
    fn advance(&mut self, random: &mut Random, may_fail_starts: bool) -> bool {
        let under_way: Vec<_> = (0..self.lives.len())
            .filter(|child| matches!(self.lives[*child].0, Life::Starting | Life::Stopping))
            .collect();
        if under_way.is_empty() {
            self.timers.sort();
            if self.timers.is_empty() {
                return false;
            }
            let (at, child, generation) = self.timers.remove(0);
            self.now = self.now.max(at);
            self.tell(Event::Elapsed { child, generation });
            return true;
        }
        let child = random.of(&under_way);
        let (life, generation) = self.lives[child];
        self.now += Duration::from_millis(random.below(20) as u64);
        if life == Life::Stopping {
            // A fail-stop child that fails over a stop is fenced, which the model does not know.
            let is_orderly = !may_fail_starts && self.children[child].restart == Restart::FailStop;
            let class = if is_orderly { ExitClass::Normal } else { random.of(&ALL_EXITS) };
            self.fail(child, class);
        } else if may_fail_starts && random.below(4) == 0 {
            self.fail(child, ExitClass::StartFailed);
        } else {
            self.lives[child].0 = Life::Running;
            self.tell(Event::Started { child, generation });
        }
        true
    }

    /// Lets everything come to rest without further failures.
    fn settle(&mut self, random: &mut Random) {
        for _ in 0..10_000 {
            if self.ended.is_some() || !self.advance(random, false) {
                return;
            }
        }
        panic!("does not come to rest");
    }

    fn generations(&self) -> Vec<u64> {
        self.lives.iter().map(|(_, generation)| *generation).collect()
    }
}

fn generous(strategy: Strategy) -> GroupRules {
    GroupRules {
        strategy,
        allowance: Allowance { restarts_max: 1_000_000, window: seconds(60) },
        backoff: Backoff {
            first: Duration::from_millis(10),
            longest: seconds(10),
            stable: seconds(30),
        },
        retry: seconds(30),
    }
}

fn child(restart: Restart) -> ChildRules {
    let allowance = Allowance { restarts_max: 1_000_000, window: seconds(10) };
    ChildRules { restart, is_critical: false, allowance }
}

/// OTP's rules for one failure in a group at rest: who gets a new incarnation.
fn model(
    strategy: Strategy,
    children: &[ChildRules],
    failed: usize,
    class: ExitClass,
) -> Vec<bool> {
    let restarts = |rules: &ChildRules| match rules.restart {
        Restart::Permanent => true,
        Restart::Transient => class != ExitClass::Normal,
        Restart::Temporary | Restart::FailStop => false,
    };
    let concerns_siblings = restarts(&children[failed]);
    let is_concerned = |child: usize| match strategy {
        _ if child == failed => concerns_siblings,
        _ if !concerns_siblings => false,
        Strategy::OneForOne => false,
        Strategy::RestForOne => child > failed && children[child].restart != Restart::Temporary,
        Strategy::OneForAll => children[child].restart != Restart::Temporary,
    };
    (0..children.len()).map(is_concerned).collect()
}

#[test]
fn one_failure_restarts_exactly_whom_otp_restarts() {
    let mut random = Random(42);
    for strategy in ALL_STRATEGIES {
        for class in ALL_EXITS {
            for _ in 0..50 {
                let count = 1 + random.below(6);
                let children: Vec<_> =
                    (0..count).map(|_| child(random.of(&ALL_RESTARTS))).collect();
                let mut world = World::new(generous(strategy), children.clone());
                world.settle(&mut random);
                assert_eq!(world.ready, 1);
                let before = world.generations();
                let failed = random.below(count);
                world.now += seconds(60);
                world.fail(failed, class);
                world.settle(&mut random);
                let after = world.generations();
                let restarted: Vec<_> =
                    before.iter().zip(&after).map(|(before, after)| after > before).collect();
                let expected = model(strategy, &children, failed, class);
                assert_eq!(restarted, expected, "{strategy:?} {children:?} {failed} {class:?}");
                let last: Vec<_> =
                    world.starts[before.len()..].iter().map(|(_, child)| *child).collect();
                assert!(last.is_sorted(), "restarted in the order {last:?}");
            }
        }
    }
}

#[test]
fn failures_at_the_same_time_restart_each_sibling_once() {
    for seed in 1..=1_000 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let count = 2 + random.below(6);
        let children = vec![child(Restart::Permanent); count];
        let mut world = World::new(generous(Strategy::OneForAll), children);
        world.settle(&mut random);
        world.now += seconds(60);
        // One fails, and some more before anything that follows from it is carried out.
        world.fail(0, ExitClass::Panic);
        for child in 1..count {
            if random.below(2) == 0 {
                world.fail(child, random.of(&ALL_EXITS[1..5]));
            }
        }
        world.settle(&mut random);
        assert_eq!(world.generations(), vec![2; count], "seed {seed}");
    }
}

#[test]
fn random_groups_keep_their_promises() {
    for seed in 1..=2_000 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let strategy = random.of(&ALL_STRATEGIES);
        let restarts_max = 1 + random.below(30) as u32;
        let mut rules = generous(strategy);
        rules.allowance = Allowance { restarts_max, window: seconds(10) };
        let count = 1 + random.below(7);
        let children: Vec<_> = (0..count)
            .map(|_| ChildRules {
                restart: random.of(&ALL_RESTARTS),
                is_critical: random.below(4) == 0,
                allowance: Allowance {
                    restarts_max: 1 + random.below(6) as u32,
                    window: seconds(10),
                },
            })
            .collect();
        let mut world = World::new(rules, children);
        for _ in 0..random.below(200) {
            if world.ended.is_some() {
                break;
            }
            world.unit = random.below(100) as f64 / 100.0;
            match random.below(10) {
                0..6 => {
                    world.advance(&mut random, true);
                }
                6 => world.now += Duration::from_millis(random.below(5_000) as u64),
                _ => {
                    let child = random.below(count);
                    if world.lives[child].0 != Life::Dead {
                        world.fail(child, random.of(&ALL_EXITS));
                    }
                }
            }
            // Reports about incarnations that are gone change nothing.
            let (_, generation) = world.lives[random.below(count)];
            if generation > 0 {
                let stale = generation - 1;
                let child = random.below(count);
                if world.lives[child].1 != stale {
                    world.tell(Event::Exited { child, generation: stale, class: ExitClass::Panic });
                    world.tell(Event::Started { child, generation: stale });
                }
            }
        }
        world.settle(&mut random);
        check_at_rest(&world, seed);
        world.tell(Event::Shutdown);
        world.settle(&mut random);
        assert!(world.ended.is_some(), "seed {seed}: did not end");
    }
}

fn check_at_rest(world: &World, seed: u64) {
    if world.ended.is_some() {
        return;
    }
    assert_eq!(world.ready, 1, "seed {seed}: ready once");
    for (index, rules) in world.children.iter().enumerate() {
        let standing = world.group.standing(index);
        let is_fine = match rules.restart {
            Restart::Permanent => matches!(standing, Some(Standing::Running { .. })),
            Restart::Transient | Restart::Temporary => {
                matches!(standing, Some(Standing::Running { .. } | Standing::Done))
            }
            Restart::FailStop => matches!(
                standing,
                Some(Standing::Running { .. } | Standing::Done | Standing::Fenced)
            ),
        };
        assert!(is_fine, "seed {seed}: child {index} {rules:?} is {standing:?}");
    }
    if world.rules.strategy != Strategy::OneForOne {
        return;
    }
    for (index, rules) in world.children.iter().enumerate() {
        let starts: Vec<_> =
            world.starts.iter().filter(|(_, child)| *child == index).map(|(at, _)| *at).collect();
        for first in &starts {
            let window = *first..*first + rules.allowance.window;
            let within = starts.iter().filter(|at| window.contains(at)).count();
            // Beside the restarts: the first start, and one slow retry.
            let starts_max = rules.allowance.restarts_max as usize + 2;
            assert!(within <= starts_max, "seed {seed}: child {index} started {within} times");
        }
    }
}

#[test]
fn a_budget_allows_its_number_within_its_window_and_no_more() {
    let mut budget = Budget::new(Allowance { restarts_max: 3, window: seconds(10) });
    for now in [0, 1, 2] {
        assert!(budget.spend(seconds(now)));
    }
    assert!(!budget.spend(Duration::from_millis(9_999)));
    assert!(budget.spend(seconds(10)), "the first has left the window");
    assert!(!budget.spend(Duration::from_millis(10_500)));
    assert!(budget.spend(seconds(11)));
}

#[test]
fn a_child_that_never_comes_up_spends_its_budget_however_slowly_it_fails() {
    let allowance = Allowance { restarts_max: 3, window: seconds(10) };
    let critical = ChildRules { is_critical: true, allowance, ..child(Restart::Permanent) };
    let mut random = Random(11);
    let mut world = World::new(generous(Strategy::OneForOne), vec![critical]);
    for start in 1..=4 {
        assert_eq!((world.starts.len(), world.ended), (start, None));
        // Given up after half a minute, which is three times the window.
        world.now += seconds(30);
        world.fail(0, ExitClass::StartFailed);
        while world.lives[0].0 == Life::Dead && world.advance(&mut random, false) {}
    }
    assert_eq!(world.ended, Some(Outcome::ChildBudget { child: 0 }));

    // One that comes up in between begins anew.
    let mut world = World::new(generous(Strategy::OneForOne), vec![critical]);
    for _ in 0..4 {
        for _ in 0..3 {
            world.now += seconds(30);
            world.fail(0, ExitClass::StartFailed);
            while world.lives[0].0 == Life::Dead && world.advance(&mut random, false) {}
        }
        let generation = world.lives[0].1;
        world.lives[0].0 = Life::Running;
        world.tell(Event::Started { child: 0, generation });
        world.now += seconds(60);
        world.fail(0, ExitClass::Panic);
    }
    assert_eq!(world.ended, None);
}

#[test]
fn a_first_failure_costs_no_pause_and_later_quick_ones_ever_longer_ones() {
    let backoff = generous(Strategy::OneForOne).backoff;
    assert_eq!(backoff.pause(0, 0.5), Duration::ZERO);
    assert_eq!(backoff.pause(1, 0.5), Duration::ZERO);
    assert_eq!(backoff.pause(2, 0.5), Duration::from_millis(10));
    assert_eq!(backoff.pause(3, 0.5), Duration::from_millis(20));
    assert_eq!(backoff.pause(12, 0.5), seconds(10));
    assert_eq!(backoff.pause(u32::MAX, 0.5), seconds(10));
    assert_eq!(backoff.pause(2, 0.0), Duration::from_millis(8));
    assert!(backoff.pause(2, 1.0) <= Duration::from_millis(12));
}

#[test]
fn a_child_that_was_stable_starts_over_without_a_pause() {
    let mut random = Random(7);
    let mut world = World::new(generous(Strategy::OneForOne), vec![child(Restart::Permanent)]);
    world.settle(&mut random);
    let quick = |world: &mut World| {
        world.now += Duration::from_millis(1);
        world.fail(0, ExitClass::Panic);
        world.timers.len()
    };
    assert_eq!(quick(&mut world), 0, "no pause after a first failure");
    world.settle(&mut random);
    assert_eq!(quick(&mut world), 1, "a pause after a second quick one");
    world.settle(&mut random);
    world.now += seconds(5);
    world.fail(0, ExitClass::Panic);
    assert_eq!(world.timers.len(), 0, "a late failure is not a quick one");
    world.settle(&mut random);
    world.now += seconds(31);
    world.fail(0, ExitClass::Panic);
    world.settle(&mut random);
    assert_eq!(quick(&mut world), 0, "forgotten after a stable time");
}

#[test]
fn a_fenced_child_stays_fenced_through_the_restarts_of_its_siblings() {
    let mut random = Random(9);
    let children = vec![child(Restart::Permanent), child(Restart::FailStop)];
    let mut world = World::new(generous(Strategy::OneForAll), children);
    world.settle(&mut random);
    world.fail(1, ExitClass::Error);
    world.settle(&mut random);
    assert_eq!(world.group.standing(1), Some(Standing::Fenced));
    world.fail(0, ExitClass::Panic);
    world.settle(&mut random);
    assert_eq!(world.group.standing(1), Some(Standing::Fenced));
    assert_eq!(world.generations(), [2, 1]);
}

#[test]
fn a_fail_stop_child_that_fails_over_a_stop_is_fenced() {
    for class in ALL_EXITS {
        let mut random = Random(11);
        let children = vec![child(Restart::Permanent), child(Restart::FailStop)];
        let mut world = World::new(generous(Strategy::OneForAll), children);
        world.settle(&mut random);
        world.fail(0, ExitClass::Panic);
        assert_eq!(world.lives[1].0, Life::Stopping);
        world.fail(1, class);
        world.settle(&mut random);
        let is_fenced = world.group.standing(1) == Some(Standing::Fenced);
        assert_eq!(is_fenced, class != ExitClass::Normal, "{class:?}");
        assert_eq!(world.generations(), [2, if is_fenced { 1 } else { 2 }], "{class:?}");
    }
}

#[test]
fn a_child_that_was_fenced_under_a_former_supervisor_is_not_started() {
    let mut group = Group::new(
        generous(Strategy::OneForAll),
        [(child(Restart::FailStop), 3), (child(Restart::Permanent), 1)],
    );
    group.fence(0);
    let effects = group.step(Duration::ZERO, Event::Begin, 0.5);
    assert_eq!(effects, [Effect::Start { child: 1, generation: 2 }]);
    assert_eq!(group.standing(0), Some(Standing::Fenced));
}
