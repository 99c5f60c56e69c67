//! Keys that were admitted of late. Admission is a function of the bytes alone, so remembering its
//! answer changes none; it is dear, and most messages come from few senders.
//!
//! Each key has one place, and a later key takes the place of an earlier. Whoever makes keys that
//! meet another in its place makes it be examined again, which is what it cost without a memory.

use std::sync::{Mutex, PoisonError};

use super::PublicKey;

/// Places: 100 KB, and more senders than speak to a node within a second.
const PLACES: usize = 512;

static KNOWN: [Mutex<Option<PublicKey>>; PLACES] = [const { Mutex::new(None) }; PLACES];

pub(super) fn find(bytes: &[u8; 32]) -> Option<PublicKey> {
    let place = place(bytes).lock().unwrap_or_else(PoisonError::into_inner);
    place.filter(|key| key.as_bytes() == bytes)
}

pub(super) fn keep(key: PublicKey) {
    *place(key.as_bytes()).lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
}

fn place(bytes: &[u8; 32]) -> &'static Mutex<Option<PublicKey>> {
    let number = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    &KNOWN[number % PLACES]
}
