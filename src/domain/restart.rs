//! Restart rules: what a supervisor does when a child ends. After Erlang/OTP's `supervisor`
//! behaviour, with back-off, slow retry and a fail-stop class added.
//!
//! [`Group`] is a state machine without a clock, randomness or actors: events go in, effects come
//! out, and whoever drives it carries them out and reports what happened. Every incarnation of a
//! child has a generation; reports about any other generation than the present one are stale and
//! change nothing.

use std::time::Duration;

use rules::Budget;
pub use rules::{Allowance, Backoff, ChildRules, ExitClass, GroupRules, QUICK, Restart, Strategy};

mod rules;

/// Where a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not running, to be started in its turn.
    Idle,
    /// Being started.
    Starting,
    /// Running since this time.
    Running {
        /// When it came up.
        since: Duration,
    },
    /// Told to stop.
    Stopping,
    /// To be started after a pause.
    Pausing,
    /// Budget spent; tried again slowly.
    Failed,
    /// Failed in a way that must not be repeated.
    Fenced,
    /// Ended, not to be started again.
    Done,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The group is to come up.
    Begin,
    /// A child came up.
    Started {
        /// Its place in the group.
        child: usize,
        /// Its generation.
        generation: u64,
    },
    /// A child ended, or did not come up.
    Exited {
        /// Its place in the group.
        child: usize,
        /// Its generation.
        generation: u64,
        /// How.
        class: ExitClass,
    },
    /// The pause asked for by [`Effect::Wait`] is over.
    Elapsed {
        /// Its place in the group.
        child: usize,
        /// The generation that the pause followed.
        generation: u64,
    },
    /// The group is to go down.
    Shutdown,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a child; report [`Event::Started`] or [`Event::Exited`].
    Start {
        /// Its place in the group.
        child: usize,
        /// The generation it gets.
        generation: u64,
    },
    /// Stop a child, by force when it takes too long; report [`Event::Exited`].
    Stop {
        /// Its place in the group.
        child: usize,
        /// Its generation.
        generation: u64,
    },
    /// Report [`Event::Elapsed`] after a pause.
    Wait {
        /// Its place in the group.
        child: usize,
        /// The generation that ended.
        generation: u64,
        /// How long.
        pause: Duration,
    },
    /// Every child has come up, or will not for now. Once per group.
    Ready,
    /// Every child has ended. The last effect of a group.
    Ended(Outcome),
}

/// Why a group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to.
    Shutdown,
    /// The budget of a critical child was spent.
    ChildBudget {
        /// Its place in the group.
        child: usize,
    },
    /// The budget of the group was spent, last by this child.
    GroupBudget {
        /// Its place in the group.
        child: usize,
    },
}

#[derive(Clone, Debug)]
struct Slot {
    rules: ChildRules,
    standing: Standing,
    generation: u64,
    budget: Budget,
    /// Failures in a row within [`QUICK`] of the start.
    quick: u32,
    /// Incarnations in a row that did not come up.
    unborn: u32,
    /// Came from [`Standing::Failed`] and has not been stable since: one more failure suffices.
    on_probation: bool,
    /// Starts only when those before it have come up: first start, and restarts of a whole group.
    in_order: bool,
    /// Is to be stopped in its turn.
    must_stop: bool,
}

impl Slot {
    fn is_alive(&self) -> bool {
        matches!(self.standing, Standing::Starting | Standing::Running { .. } | Standing::Stopping)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    Ending(Outcome),
    Ended,
}

/// The children of one supervisor and the rules they live by.
#[derive(Clone, Debug)]
pub struct Group {
    rules: GroupRules,
    slots: Vec<Slot>,
    budget: Budget,
    phase: Phase,
    was_ready: bool,
}

impl Group {
    /// A group that has not begun. Each child comes with the generation its last incarnation had
    /// under a former supervisor, 0 if there was none.
    pub fn new(rules: GroupRules, children: impl IntoIterator<Item = (ChildRules, u64)>) -> Self {
        let slots = children.into_iter().map(|(rules, generation)| Slot {
            rules,
            standing: Standing::Idle,
            generation,
            budget: Budget::new(rules.allowance),
            quick: 0,
            unborn: 0,
            on_probation: false,
            in_order: true,
            must_stop: false,
        });
        Self {
            rules,
            slots: slots.collect(),
            budget: Budget::new(rules.allowance),
            phase: Phase::Up,
            was_ready: false,
        }
    }

    /// Keeps a child down for ever: it failed under a former supervisor in a way that must not be
    /// repeated. Said before [`Event::Begin`].
    pub fn fence(&mut self, child: usize) {
        if let Some(slot) = self.slots.get_mut(child) {
            slot.standing = Standing::Fenced;
        }
    }

    /// Where a child stands.
    pub fn standing(&self, child: usize) -> Option<Standing> {
        self.slots.get(child).map(|slot| slot.standing)
    }

    /// The generation of a child's present or last incarnation.
    pub fn generation(&self, child: usize) -> u64 {
        self.slots.get(child).map_or(0, |slot| slot.generation)
    }

    /// Whether the group is going down or has gone.
    pub fn is_ending(&self) -> bool {
        self.phase != Phase::Up
    }

    /// Takes one event at time `now` (since any fixed start) and says what to do, in order. `unit`
    /// is a random number in [0, 1) for jitter.
    pub fn step(&mut self, now: Duration, event: Event, unit: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.phase == Phase::Ended {
            return effects;
        }
        match event {
            Event::Begin => {}
            Event::Started { child, generation } => self.started(now, child, generation),
            Event::Exited { child, generation, class } => {
                self.exited(now, child, generation, class, unit, &mut effects);
            }
            Event::Elapsed { child, generation } => self.elapsed(child, generation),
            Event::Shutdown => self.end(Outcome::Shutdown),
        }
        self.proceed(&mut effects);
        effects
    }

    fn present(&mut self, child: usize, generation: u64) -> Option<&mut Slot> {
        self.slots.get_mut(child).filter(|slot| slot.generation == generation)
    }

    fn started(&mut self, now: Duration, child: usize, generation: u64) {
        if let Some(slot) = self.present(child, generation)
            && slot.standing == Standing::Starting
        {
            slot.standing = Standing::Running { since: now };
            slot.in_order = false;
            slot.unborn = 0;
        }
    }

    fn elapsed(&mut self, child: usize, generation: u64) {
        if let Some(slot) = self.present(child, generation) {
            match slot.standing {
                Standing::Pausing => slot.standing = Standing::Idle,
                Standing::Failed => {
                    slot.standing = Standing::Idle;
                    slot.on_probation = true;
                }
                _ => {}
            }
        }
    }

    fn exited(
        &mut self,
        now: Duration,
        child: usize,
        generation: u64,
        class: ExitClass,
        unit: f64,
        effects: &mut Vec<Effect>,
    ) {
        let is_ending = self.is_ending();
        let stable = self.rules.backoff.stable;
        let Some(slot) = self.present(child, generation).filter(|slot| slot.is_alive()) else {
            return;
        };
        let was_expected = slot.must_stop || slot.standing == Standing::Stopping;
        slot.must_stop = false;
        if slot.rules.restart == Restart::FailStop && class != ExitClass::Normal {
            // Also one that was told to stop and failed over it.
            slot.standing = Standing::Fenced;
            return;
        }
        if is_ending || was_expected {
            let is_over = is_ending || slot.rules.restart == Restart::Temporary;
            slot.standing = if is_over { Standing::Done } else { Standing::Idle };
            return;
        }
        let age = match slot.standing {
            Standing::Running { since } => now.saturating_sub(since),
            _ => {
                slot.unborn = slot.unborn.saturating_add(1);
                Duration::ZERO
            }
        };
        if age < QUICK {
            slot.quick = slot.quick.saturating_add(1);
        } else if age >= stable {
            slot.quick = 0;
            slot.on_probation = false;
        }
        match (slot.rules.restart, class) {
            // A fail-stop child that failed was fenced above.
            (Restart::Temporary | Restart::FailStop, _)
            | (Restart::Transient, ExitClass::Normal) => {
                slot.standing = Standing::Done;
            }
            (Restart::Permanent | Restart::Transient, _) => {
                self.restart(now, child, age, unit, effects);
            }
        }
    }

    fn restart(
        &mut self,
        now: Duration,
        child: usize,
        age: Duration,
        unit: f64,
        effects: &mut Vec<Effect>,
    ) {
        let GroupRules { strategy, backoff, retry, .. } = self.rules;
        let slot = &mut self.slots[child];
        let generation = slot.generation;
        // A start that hangs takes longer than the window, which would then never fill.
        let comes_up = slot.unborn <= slot.rules.allowance.restarts_max;
        let is_within_budget = slot.budget.spend(now) && !slot.on_probation && comes_up;
        if !is_within_budget {
            if slot.rules.is_critical {
                slot.standing = Standing::Done;
                self.end(Outcome::ChildBudget { child });
                return;
            }
            slot.standing = Standing::Failed;
            slot.in_order = false;
            effects.push(Effect::Wait { child, generation, pause: retry });
            return;
        }
        if !self.budget.spend(now) {
            self.slots[child].standing = Standing::Done;
            self.end(Outcome::GroupBudget { child });
            return;
        }
        let slot = &mut self.slots[child];
        let pause = if age < QUICK { backoff.pause(slot.quick, unit) } else { Duration::ZERO };
        slot.standing = if pause.is_zero() { Standing::Idle } else { Standing::Pausing };
        if !pause.is_zero() {
            effects.push(Effect::Wait { child, generation, pause });
        }
        let siblings = match strategy {
            Strategy::OneForOne => return,
            Strategy::RestForOne => child + 1..self.slots.len(),
            Strategy::OneForAll => 0..self.slots.len(),
        };
        self.slots[child].in_order = true;
        for slot in &mut self.slots[siblings] {
            match slot.standing {
                Standing::Starting | Standing::Running { .. } | Standing::Stopping => {
                    slot.must_stop = true;
                    slot.in_order = true;
                }
                Standing::Idle | Standing::Pausing => slot.in_order = true,
                Standing::Failed | Standing::Fenced | Standing::Done => {}
            }
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if self.phase != Phase::Up {
            return;
        }
        self.phase = Phase::Ending(outcome);
        for slot in &mut self.slots {
            if slot.is_alive() {
                slot.must_stop = true;
            } else if slot.standing != Standing::Fenced {
                slot.standing = Standing::Done;
            }
        }
    }

    /// Whatever can go on goes on: stops in reverse order one after another, then starts in order.
    fn proceed(&mut self, effects: &mut Vec<Effect>) {
        let is_stopping = self.slots.iter().any(|slot| slot.standing == Standing::Stopping);
        let next = self.slots.iter().rposition(|slot| slot.must_stop && slot.is_alive());
        if let (false, Some(child)) = (is_stopping, next) {
            let slot = &mut self.slots[child];
            slot.standing = Standing::Stopping;
            slot.must_stop = false;
            effects.push(Effect::Stop { child, generation: slot.generation });
        }
        let is_stopping = is_stopping || next.is_some();
        if let Phase::Ending(outcome) = self.phase {
            if !is_stopping {
                self.phase = Phase::Ended;
                effects.push(Effect::Ended(outcome));
            }
            return;
        }
        let mut may_start_in_order = !is_stopping;
        for (child, slot) in self.slots.iter_mut().enumerate() {
            if slot.standing == Standing::Idle && (!slot.in_order || may_start_in_order) {
                slot.standing = Standing::Starting;
                slot.generation += 1;
                effects.push(Effect::Start { child, generation: slot.generation });
            }
            let is_up = matches!(slot.standing, Standing::Running { .. });
            let is_out =
                matches!(slot.standing, Standing::Failed | Standing::Fenced | Standing::Done);
            may_start_in_order &= !slot.in_order || is_up || is_out;
        }
        if may_start_in_order && !self.was_ready {
            self.was_ready = true;
            effects.push(Effect::Ready);
        }
    }
}

#[cfg(test)]
mod tests;
