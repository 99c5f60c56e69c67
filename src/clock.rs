//! The wall clock. Rules in `domain` are given the time; only the edges of the node read it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch by the system's clock; negative before it.
pub fn now_ms() -> i64 {
    let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    }
}

/// Milliseconds since the Unix epoch, for what is only shown; zero before it.
pub fn shown_ms() -> u64 {
    u64::try_from(now_ms()).unwrap_or(0)
}
