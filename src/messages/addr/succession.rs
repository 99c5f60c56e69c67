//! Which incarnation serves an address, and which ended how. Knows generations, not actors.

/// Who serves an address at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Serving {
    /// Nobody yet, or nobody for the moment.
    #[default]
    Nobody,
    /// The incarnation of this generation.
    Live(u64),
    /// Nobody, and nobody is about to: the actor is failed, fenced or shut down.
    Gone,
}

/// [`Serving`], and the last generation that is known to have ended: one that ended before it
/// could be bound must not be bound after.
#[derive(Debug, Default)]
pub(super) struct Succession {
    pub(super) serving: Serving,
    ended: u64,
}

impl Succession {
    /// Whether `generation` serves from now on.
    pub(super) fn bind(&mut self, generation: u64) -> bool {
        let is_newer = match self.serving {
            Serving::Live(live) => live < generation,
            Serving::Nobody | Serving::Gone => true,
        };
        let is_due = is_newer && self.ended < generation;
        if is_due {
            self.serving = Serving::Live(generation);
        }
        is_due
    }

    /// Whether the end of `generation` changes who serves. After `is_gone` nobody is about to.
    pub(super) fn unbind(&mut self, generation: u64, is_gone: bool) -> bool {
        self.ended = self.ended.max(generation);
        let is_current = match self.serving {
            Serving::Live(live) => live <= generation,
            Serving::Nobody => is_gone,
            Serving::Gone => !is_gone,
        };
        if is_current {
            self.serving = if is_gone { Serving::Gone } else { Serving::Nobody };
        }
        is_current
    }
}

/// Which of the last 64 generations were ended from outside, so that no message is to blame.
#[derive(Debug, Default)]
pub(super) struct Killed {
    newest: u64,
    /// The lowest bit is the newest generation, the next the one before it.
    bits: u64,
}

impl Killed {
    pub(super) fn add(&mut self, generation: u64) {
        if let Some(ahead) = generation.checked_sub(self.newest) {
            let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.bits = self.bits.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = generation;
        } else {
            let behind = u32::try_from(self.newest - generation).unwrap_or(u32::MAX);
            self.bits |= 1_u64.checked_shl(behind).unwrap_or(0);
        }
    }

    pub(super) fn has(&self, generation: u64) -> bool {
        let behind = self.newest.checked_sub(generation).and_then(|by| u32::try_from(by).ok());
        behind.and_then(|by| self.bits.checked_shr(by)).is_some_and(|bits| bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_incarnation_that_ended_before_it_was_bound_never_serves() {
        for is_gone in [false, true] {
            let mut succession = Succession::default();
            succession.unbind(1, is_gone);
            assert!(!succession.bind(1), "it is dead");
            assert_ne!(succession.serving, Serving::Live(1));
            assert!(succession.bind(2));
            assert_eq!(succession.serving, Serving::Live(2));
        }
    }

    #[test]
    fn a_late_end_of_a_predecessor_changes_nothing() {
        let mut succession = Succession::default();
        assert!(succession.bind(1) && succession.bind(2));
        assert!(!succession.unbind(1, true) && !succession.bind(1));
        assert_eq!(succession.serving, Serving::Live(2));
    }

    proptest! {
        #[test]
        fn the_killed_are_known_and_nobody_else(
            killed in proptest::collection::vec(0..70_u64, 0..20),
        ) {
            let mut known = Killed::default();
            killed.iter().for_each(|generation| known.add(*generation));
            let newest = killed.iter().copied().max().unwrap_or(0);
            let killed: BTreeSet<_> = killed.into_iter().collect();
            for generation in newest.saturating_sub(63)..80 {
                prop_assert_eq!(known.has(generation), killed.contains(&generation));
            }
        }
    }
}
