//! The replay window: which nonces were consumed and must not be accepted again.
//!
//! A nonce is remembered until its envelope would be refused as too old anyway. The window is
//! bounded, per sender and in all, and a full one refuses: it never forgets a live nonce. Time that
//! it once forgot nonces for stays closed, so that a clock set back does not reopen it.

use std::collections::{BTreeSet, HashMap};

use crate::domain::envelope::EnvelopeId;

/// What is accepted once: an envelope id under a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce {
    /// The sender's key.
    pub public_key: [u8; 32],
    /// The envelope.
    pub id: EnvelopeId,
}

/// How much a window remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayLimits {
    /// Nonces in all. One takes about 200 bytes of memory.
    pub nonces_max: usize,
    /// Nonces of one sender, so that no single one can fill the window.
    pub per_sender_max: usize,
}

impl Default for ReplayLimits {
    /// 20 MB at the most; a sender may have ten thousand envelopes alive, three a second for an
    /// hour.
    fn default() -> Self {
        Self { nonces_max: 100_000, per_sender_max: 10_000 }
    }
}

/// Why a nonce was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It was taken before.
    #[error("this envelope was consumed before")]
    Seen,
    /// The window no longer knows what was consumed at that time.
    #[error("too old for the replay window")]
    Closed,
    /// The sender has as many live nonces as it may.
    #[error("the sender has {max} live envelopes, which is the most")]
    SenderFull {
        /// The limit.
        max: usize,
    },
    /// The window holds as many as it may.
    #[error("{max} live envelopes are remembered, which is the most")]
    Full {
        /// The limit.
        max: usize,
    },
}

/// The nonces that are alive.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    limits: ReplayLimits,
    expires_ms: HashMap<Nonce, i64>,
    by_expiry: BTreeSet<(i64, Nonce)>,
    per_sender: HashMap<[u8; 32], usize>,
    /// Nonces that expire up to here may have been forgotten.
    closed_until_ms: i64,
}

impl ReplayWindow {
    /// A window that remembers nothing yet, closed up to and including `closed_until_ms`.
    pub fn new(limits: ReplayLimits, closed_until_ms: i64) -> Self {
        Self {
            limits,
            expires_ms: HashMap::new(),
            by_expiry: BTreeSet::new(),
            per_sender: HashMap::new(),
            closed_until_ms,
        }
    }

    /// Nonces remembered.
    pub fn len(&self) -> usize {
        self.expires_ms.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.expires_ms.is_empty()
    }

    /// Up to which expiry nonces may have been forgotten.
    pub fn closed_until_ms(&self) -> i64 {
        self.closed_until_ms
    }

    /// Takes a nonce that is to be remembered until `expires_ms`.
    ///
    /// # Errors
    /// [`ReplayError`]; the window is then unchanged.
    pub fn record(&mut self, nonce: Nonce, expires_ms: i64) -> Result<(), ReplayError> {
        if self.expires_ms.contains_key(&nonce) {
            return Err(ReplayError::Seen);
        }
        if expires_ms <= self.closed_until_ms {
            return Err(ReplayError::Closed);
        }
        if self.len() >= self.limits.nonces_max {
            return Err(ReplayError::Full { max: self.limits.nonces_max });
        }
        let of_sender = self.per_sender.get(&nonce.public_key).copied().unwrap_or(0);
        if of_sender >= self.limits.per_sender_max {
            return Err(ReplayError::SenderFull { max: self.limits.per_sender_max });
        }
        self.restore(nonce, expires_ms);
        Ok(())
    }

    /// Remembers a nonce that was taken by an earlier window, over the limits if need be.
    pub fn restore(&mut self, nonce: Nonce, expires_ms: i64) {
        if self.expires_ms.insert(nonce, expires_ms).is_none() {
            self.by_expiry.insert((expires_ms, nonce));
            *self.per_sender.entry(nonce.public_key).or_default() += 1;
        }
    }

    /// Gives back a nonce that could not be written down, so that it may be tried again.
    pub fn forget(&mut self, nonce: &Nonce) {
        if let Some(expires_ms) = self.expires_ms.remove(nonce) {
            self.by_expiry.remove(&(expires_ms, *nonce));
            if let Some(count) = self.per_sender.get_mut(&nonce.public_key) {
                *count -= 1;
                if *count == 0 {
                    self.per_sender.remove(&nonce.public_key);
                }
            }
        }
    }

    /// Forgets every nonce that expired before `now_ms`, and closes the window up to the last of
    /// them. Not up to `now_ms`: a clock that was wrong by years once must not close it for years.
    pub fn expire(&mut self, now_ms: i64) {
        while let Some((expires_ms, nonce)) = self.by_expiry.first().copied()
            && expires_ms < now_ms
        {
            self.closed_until_ms = self.closed_until_ms.max(expires_ms);
            self.forget(&nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn nonce(sender: u8, id: u8) -> Nonce {
        Nonce { public_key: [sender; 32], id: EnvelopeId([id; 16]) }
    }

    fn window() -> ReplayWindow {
        ReplayWindow::new(ReplayLimits { nonces_max: 4, per_sender_max: 2 }, i64::MIN)
    }

    #[test]
    fn a_nonce_is_taken_once() {
        let mut window = window();
        assert_eq!(window.record(nonce(1, 1), 10), Ok(()));
        assert_eq!(window.record(nonce(1, 1), 10), Err(ReplayError::Seen));
        // Another time does not make it another nonce, another sender does.
        assert_eq!(window.record(nonce(1, 1), 99), Err(ReplayError::Seen));
        assert_eq!(window.record(nonce(2, 1), 10), Ok(()));
    }

    #[test]
    fn a_full_window_refuses_and_keeps_what_it_has() {
        let mut window = window();
        assert_eq!(window.record(nonce(1, 1), 10), Ok(()));
        assert_eq!(window.record(nonce(1, 2), 10), Ok(()));
        assert_eq!(window.record(nonce(1, 3), 10), Err(ReplayError::SenderFull { max: 2 }));
        assert_eq!(window.record(nonce(2, 1), 10), Ok(()));
        assert_eq!(window.record(nonce(3, 1), 10), Ok(()));
        assert_eq!(window.record(nonce(4, 1), 10), Err(ReplayError::Full { max: 4 }));
        assert_eq!(window.record(nonce(1, 1), 10), Err(ReplayError::Seen));
        window.expire(11);
        assert!(window.is_empty());
        assert_eq!(window.record(nonce(4, 1), 12), Ok(()));
    }

    #[test]
    fn a_clock_set_back_does_not_reopen_the_window() {
        let mut window = window();
        assert_eq!(window.record(nonce(1, 1), 10), Ok(()));
        window.expire(10);
        assert_eq!(window.len(), 1, "alive to its last millisecond");
        window.expire(11);
        window.expire(5);
        assert_eq!(window.record(nonce(1, 1), 10), Err(ReplayError::Closed));
        assert_eq!(window.closed_until_ms(), 10);
    }

    #[test]
    fn a_clock_that_was_wrong_by_years_closes_no_more_than_was_forgotten() {
        let mut window = window();
        assert_eq!(window.record(nonce(1, 1), 10), Ok(()));
        window.expire(i64::MAX);
        assert_eq!(window.record(nonce(1, 2), 11), Ok(()));
    }

    #[test]
    fn what_could_not_be_written_down_may_be_tried_again() {
        let mut window = window();
        assert_eq!(window.record(nonce(1, 1), 10), Ok(()));
        window.forget(&nonce(1, 1));
        assert_eq!(window.record(nonce(1, 1), 10), Ok(()));
    }

    proptest! {
        /// Against a memory that never forgets.
        #[test]
        fn nothing_is_ever_taken_twice(
            steps in prop::collection::vec((0_u8..3, 0_u8..4, 0_i64..20), 0..60)
        ) {
            let mut window = window();
            let mut taken = HashSet::new();
            // An envelope's expiry is signed, so it is the same whenever the envelope comes.
            for (sender, id, now) in steps {
                window.expire(now);
                let expires_ms = i64::from(sender) * 5 + i64::from(id);
                if window.record(nonce(sender, id), expires_ms).is_ok() {
                    prop_assert!(taken.insert((sender, id)));
                }
                prop_assert!(window.len() <= 4);
                let live: usize = window.per_sender.values().sum();
                prop_assert_eq!(live, window.len());
                prop_assert_eq!(window.by_expiry.len(), window.len());
            }
        }
    }
}
