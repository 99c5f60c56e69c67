//! The clock of this machine, which the domain is handed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970; nothing for a clock that is set before.
fn since() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(since().as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    since().as_secs()
}
