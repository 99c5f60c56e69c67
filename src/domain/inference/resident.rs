//! Which models stay in memory: as many as fit, and the ones used last.

use std::collections::BTreeMap;

/// The models in memory, each under a key, and how much they may take together.
#[derive(Clone, Debug)]
pub struct Residents<K> {
    budget_bytes: u64,
    models: BTreeMap<K, Resident>,
    /// Grows with every use, so that it orders them.
    uses: u64,
}

/// A model in memory, or on its way there.
#[derive(Clone, Copy, Debug)]
struct Resident {
    bytes: u64,
    /// Requests that use it now, and its own loading.
    users: usize,
    last_use: u64,
}

/// Why a model is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// It would not fit if it were alone.
    #[error("its weights have {bytes} bytes, and all models together may have {budget_bytes}")]
    Never {
        /// Its size.
        bytes: u64,
        /// The most that all may have.
        budget_bytes: u64,
    },
    /// It will fit when models that are in use now are no longer.
    #[error("its weights have {bytes} bytes, and {used_bytes} of {budget_bytes} are in use")]
    Now {
        /// Its size.
        bytes: u64,
        /// Bytes of the models in use.
        used_bytes: u64,
        /// The most that all may have.
        budget_bytes: u64,
    },
}

impl<K: Ord + Clone> Residents<K> {
    /// None so far; together they may have so many bytes.
    pub fn new(budget_bytes: u64) -> Self {
        Self { budget_bytes, models: BTreeMap::new(), uses: 0 }
    }

    /// Begins a use of a model that is here. Answers whether it is.
    pub fn take(&mut self, key: &K) -> bool {
        self.uses += 1;
        let Some(model) = self.models.get_mut(key) else { return false };
        model.users += 1;
        model.last_use = self.uses;
        true
    }

    /// Takes in a model of so many bytes and begins a use of it. Answers which models make room for
    /// it: they are no longer here. None of them is in use, and none goes if that does not help.
    ///
    /// # Errors
    /// When there is no room, and there cannot be without models that are in use.
    pub fn admit(&mut self, key: K, bytes: u64) -> Result<Vec<K>, NoRoom> {
        if self.take(&key) {
            return Ok(Vec::new());
        }
        let budget_bytes = self.budget_bytes;
        if bytes > budget_bytes {
            return Err(NoRoom::Never { bytes, budget_bytes });
        }
        let of = |models: &BTreeMap<K, Resident>, is_counted: fn(&Resident) -> bool| {
            models.values().filter(|m| is_counted(m)).map(|m| m.bytes).sum::<u64>()
        };
        let used_bytes = of(&self.models, |model| model.users > 0);
        if bytes > budget_bytes.saturating_sub(used_bytes) {
            return Err(NoRoom::Now { bytes, used_bytes, budget_bytes });
        }
        let mut gone = Vec::new();
        while bytes > budget_bytes.saturating_sub(of(&self.models, |_| true)) {
            let idle = self.models.iter().filter(|(_, model)| model.users == 0);
            let oldest = idle.min_by_key(|(_, model)| model.last_use).map(|(key, _)| key.clone());
            // There is one: those in use leave room enough.
            let Some(oldest) = oldest else { break };
            self.models.remove(&oldest);
            gone.push(oldest);
        }
        self.models.insert(key, Resident { bytes, users: 1, last_use: self.uses });
        Ok(gone)
    }

    /// Ends a use.
    pub fn release(&mut self, key: &K) {
        if let Some(model) = self.models.get_mut(key) {
            model.users = model.users.saturating_sub(1);
        }
    }

    /// Forgets a model that could not be loaded, whoever waits for it.
    pub fn remove(&mut self, key: &K) {
        self.models.remove(key);
    }

    /// Bytes of all that are here.
    pub fn bytes(&self) -> u64 {
        self.models.values().map(|model| model.bytes).sum()
    }

    /// The most that all may have.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A set with room for 10, and models that are here and not in use, in the order of their use.
    fn with(models: &[(char, u64)]) -> Residents<char> {
        let mut residents = Residents::new(10);
        for (key, bytes) in models {
            assert_eq!(residents.admit(*key, *bytes), Ok(vec![]));
            residents.release(key);
        }
        residents
    }

    #[test]
    fn the_one_not_used_for_longest_makes_room() {
        let mut residents = with(&[('a', 3), ('b', 3), ('c', 3)]);
        assert!(residents.take(&'a'));
        residents.release(&'a');
        assert_eq!(residents.admit('d', 4), Ok(vec!['b']));
        assert_eq!(residents.admit('e', 6), Ok(vec!['c', 'a']));
        assert_eq!(residents.bytes(), 10);
    }

    #[test]
    fn one_in_use_stays_and_none_goes_in_vain() {
        let mut residents = with(&[('a', 5), ('b', 3)]);
        assert!(residents.take(&'a'));
        let refused = NoRoom::Now { bytes: 6, used_bytes: 5, budget_bytes: 10 };
        assert_eq!(residents.admit('c', 6), Err(refused));
        assert!(residents.take(&'b'), "it would not have helped");
        residents.release(&'b');
        assert_eq!(residents.admit('d', 5), Ok(vec!['b']));
        residents.release(&'a');
        residents.release(&'d');
        assert_eq!(residents.admit('c', 6), Ok(vec!['a', 'd']));
    }

    #[test]
    fn one_that_can_never_fit_is_refused_with_the_numbers() {
        let mut residents = with(&[('a', 1)]);
        let refused = residents.admit('b', 11).unwrap_err();
        assert_eq!(refused, NoRoom::Never { bytes: 11, budget_bytes: 10 });
        assert!(
            refused.to_string().contains("11 bytes") && refused.to_string().contains("have 10")
        );
        assert_eq!(residents.admit('b', 10), Ok(vec!['a']));
    }

    #[test]
    fn every_use_must_end() {
        let mut residents = with(&[('a', 10)]);
        assert!(residents.take(&'a') && residents.take(&'a'));
        residents.release(&'a');
        assert!(residents.admit('b', 1).is_err());
        residents.release(&'a');
        assert_eq!(residents.admit('b', 1), Ok(vec!['a']));
    }

    #[test]
    fn one_that_could_not_be_loaded_takes_no_room() {
        let mut residents = Residents::new(10);
        assert_eq!(residents.admit('a', 10), Ok(vec![]));
        residents.remove(&'a');
        residents.release(&'a');
        assert_eq!(residents.admit('b', 10), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_nothing_in_use_goes(
            steps in proptest::collection::vec((0u8..3, 0u8..6, 0u64..14), 0..60),
        ) {
            let mut residents = Residents::new(10);
            let mut uses = [0usize; 6];
            for (step, key, bytes) in steps {
                let index = usize::from(key);
                match step {
                    0 => if let Ok(gone) = residents.admit(key, bytes) {
                        prop_assert!(gone.iter().all(|key| uses[usize::from(*key)] == 0));
                        uses[index] += 1;
                    },
                    1 => uses[index] += usize::from(residents.take(&key)),
                    _ => if uses[index] > 0 {
                        residents.release(&key);
                        uses[index] -= 1;
                    },
                }
                prop_assert!(residents.bytes() <= 10);
            }
        }
    }
}
