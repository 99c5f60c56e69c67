//! Making room: who is let go when there are as many patterns as may be.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::sync::Arc;

use super::Ledger;
use crate::domain::pattern::view::Held;
use crate::domain::pattern::{Pattern, PatternError, PatternId, Source};

/// The weakest that are looked for at once. To look for them is to look at every pattern, so a batch
/// that needs room for each of its lessons does it once.
const LOT: usize = 256;

/// The weakest patterns, as they were found: of one source, or of all.
#[derive(Debug)]
pub(super) struct Weakest {
    source: Option<Source>,
    ids: VecDeque<PatternId>,
}

/// A pattern and what it is worth, in the order of who stays.
#[derive(PartialEq)]
struct Weighed {
    worth: f64,
    /// Of the equally worthy the older goes first.
    number: u64,
    id: PatternId,
}

impl Eq for Weighed {}

impl PartialOrd for Weighed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Weighed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.worth.total_cmp(&other.worth).then(self.number.cmp(&other.number))
    }
}

impl Ledger {
    /// Lets go what must for one more pattern of so many bytes; tells which. Either there is room
    /// afterwards or nothing was let go.
    ///
    /// # Errors
    /// [`PatternError::Full`] if what is left may not be let go, [`PatternError::TooLarge`] if it
    /// would not fit into an empty memory.
    pub(super) fn make_room(
        &mut self,
        source: &Source,
        bytes: u64,
        now_ms: i64,
    ) -> Result<Vec<PatternId>, PatternError> {
        let bounds = self.view.bounds;
        for (max, what) in
            [(bounds.bytes_max, "all patterns"), (bounds.source_bytes_max, "one source")]
        {
            if bytes > max {
                return Err(PatternError::TooLarge { bytes, max, what });
            }
        }
        let mut own = self.sources.get(source).copied().unwrap_or_default();
        let mut all = self.view.held;
        let mut gone = Vec::new();
        let mut chosen = HashSet::new();
        let is_over = |held: Held, patterns_max, bytes_max| {
            held.patterns + 1 > patterns_max || held.bytes + bytes > bytes_max
        };
        loop {
            // Its own source comes first: nobody's patterns drive out those of others before their own.
            let scope = if is_over(own, bounds.source_patterns_max, bounds.source_bytes_max) {
                Some(source)
            } else if is_over(all, bounds.patterns_max, bounds.bytes_max) {
                None
            } else {
                break;
            };
            let what = if scope.is_some() { "the patterns of this source" } else { "all patterns" };
            let weakest = self.weakest(scope, now_ms, &chosen);
            let id = weakest.ok_or(PatternError::Full { what })?;
            let pattern = self.pattern(id)?;
            let size = pattern.bytes();
            if pattern.source == *source {
                (own.patterns, own.bytes) = (own.patterns - 1, own.bytes - size);
            }
            (all.patterns, all.bytes) = (all.patterns - 1, all.bytes - size);
            chosen.insert(id);
            gone.push(id);
        }
        for id in &gone {
            self.forget(*id)?;
        }
        Ok(gone)
    }

    /// The weakest that may be let go and is not chosen yet.
    fn weakest(
        &mut self,
        source: Option<&Source>,
        now_ms: i64,
        chosen: &HashSet<PatternId>,
    ) -> Option<PatternId> {
        loop {
            let Some(at) = self.weakest.iter().position(|it| it.source.as_ref() == source) else {
                let found = self.weigh(source, now_ms, chosen);
                if found.ids.is_empty() {
                    return None;
                }
                self.weakest.push(found);
                continue;
            };
            while let Some(id) = self.weakest[at].ids.pop_front() {
                let may_go = self.pattern(id).is_ok_and(|pattern| !pattern.is_exempt());
                if may_go && !chosen.contains(&id) {
                    return Some(id);
                }
            }
            // Those that came or became weaker since are found anew.
            self.weakest.swap_remove(at);
        }
    }

    fn weigh(&self, source: Option<&Source>, now_ms: i64, chosen: &HashSet<PatternId>) -> Weakest {
        let may_go = |pattern: &&Arc<Pattern>| {
            !pattern.is_exempt()
                && source.is_none_or(|source| pattern.source == *source)
                && !chosen.contains(&pattern.id)
        };
        let mut weakest = BinaryHeap::with_capacity(LOT + 1);
        for pattern in self.view.patterns().filter(may_go) {
            let worth = pattern.worth_at(now_ms);
            weakest.push(Weighed { worth, number: pattern.number, id: pattern.id });
            if weakest.len() > LOT {
                weakest.pop();
            }
        }
        let ids = weakest.into_sorted_vec().into_iter().map(|it| it.id).collect();
        Weakest { source: source.cloned(), ids }
    }
}
