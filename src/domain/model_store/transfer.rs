//! The rules of a download: what an answer means, whether to try again, and when a server is too
//! slow to wait for.

use std::time::Duration;

/// Failures in a row, without a byte between them, after which a download is given up.
pub const FAILURES_MAX: u32 = 6;
/// The longest that a server may ask to wait (`Retry-After`); beyond that a person decides.
pub const WAIT_MAX: Duration = Duration::from_secs(120);
/// Redirects of one request. A hub needs one or two.
pub const REDIRECTS_MAX: usize = 5;
/// The first pause; it doubles.
pub const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause that is not asked for.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Bytes that are here; more than none were asked for with `Range`.
    pub from: u64,
    /// Bytes of the whole file.
    pub total: u64,
    /// Whether a token was sent.
    pub with_token: bool,
}

/// The head of an answer, as far as it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// `Content-Length`, if it is a number.
    pub length: Option<u64>,
    /// `Content-Range`.
    pub range: Option<String>,
    /// `Content-Encoding`.
    pub encoding: Option<String>,
    /// `Retry-After`, in seconds or as the time until its date.
    pub retry_after: Option<Duration>,
    /// Whether there is a `Location`.
    pub has_location: bool,
}

/// What to do about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its body goes on where the bytes here end.
    Append,
    /// Its body is the whole file: what is here is thrown away.
    Overwrite,
    /// What is here is worth nothing: ask for the whole file.
    Restart,
    /// Ask where it points to.
    Follow,
    /// Ask again after a while.
    Retry {
        /// Why.
        reason: String,
        /// As long as the server asked for.
        after: Option<Duration>,
    },
    /// Asking again would change nothing.
    GiveUp(Refusal),
}

/// Why a download ends without the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The hub wants to know who asks.
    #[error(
        "the hub wants a token (HTTP {0}): set HF_TOKEN, and accept the model's licence on its page \
         if it asks for that"
    )]
    TokenMissing(u16),
    /// The hub does not let this token have the file.
    #[error(
        "the hub refuses the token (HTTP {0}): check HF_TOKEN, and accept the model's licence on its \
         page if it asks for that"
    )]
    TokenRefused(u16),
    /// There is no such file.
    #[error("the hub does not have the file (HTTP {0}); the catalogue's entry may be outdated")]
    Absent(u16),
    /// Another refusal.
    #[error("the hub refuses (HTTP {0})")]
    Status(u16),
    /// The server asks to wait too long.
    #[error("the hub asks to come back in {} s", .0.as_secs())]
    TooLong(Duration),
    /// The file has another size.
    #[error("the hub offers {found} bytes where the catalogue has {expected}")]
    Size {
        /// Bytes offered.
        found: u64,
        /// Bytes in the catalogue.
        expected: u64,
    },
    /// A part that was not asked for.
    #[error("the hub sent a part that was not asked for (Content-Range {0:?})")]
    Range(Option<String>),
    /// Compressed, although it was asked not to.
    #[error("the hub sent it as {0}, which was not asked for")]
    Encoding(String),
}

/// What to do about an answer.
pub fn judge(asked: &Asked, head: &Head) -> Step {
    let retry = || match head.retry_after {
        Some(after) if after > WAIT_MAX => Step::GiveUp(Refusal::TooLong(after)),
        after => Step::Retry { reason: format!("HTTP {}", head.status), after },
    };
    match head.status {
        200 | 206 => whole_or_part(asked, head),
        301 | 302 | 303 | 307 | 308 if head.has_location => Step::Follow,
        401 | 403 if asked.with_token => Step::GiveUp(Refusal::TokenRefused(head.status)),
        401 | 403 => Step::GiveUp(Refusal::TokenMissing(head.status)),
        404 | 410 => Step::GiveUp(Refusal::Absent(head.status)),
        // What is here reaches beyond the end of what the server has.
        416 if asked.from > 0 => Step::Restart,
        408 | 425 | 429 | 500..=599 => retry(),
        status => Step::GiveUp(Refusal::Status(status)),
    }
}

fn whole_or_part(asked: &Asked, head: &Head) -> Step {
    if let Some(encoding) = &head.encoding
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Step::GiveUp(Refusal::Encoding(encoding.chars().take(32).collect()));
    }
    let expected = asked.total;
    if head.status == 200 {
        return match head.length {
            Some(found) if found != expected => Step::GiveUp(Refusal::Size { found, expected }),
            _ => Step::Overwrite,
        };
    }
    let range = head.range.as_deref().and_then(parse_range);
    match range {
        _ if asked.from == 0 => Step::GiveUp(Refusal::Range(shown(head))),
        Some((_, _, Some(found))) if found != expected => {
            Step::GiveUp(Refusal::Size { found, expected })
        }
        // A part that ends early is taken: the next request goes on from there.
        Some((from, to, _)) if from == asked.from && to < expected => match head.length {
            Some(length) if length != to - from + 1 => Step::Restart,
            _ => Step::Append,
        },
        _ => Step::Restart,
    }
}

fn shown(head: &Head) -> Option<String> {
    head.range.as_ref().map(|range| range.chars().take(64).collect())
}

/// `bytes 5-9/10`: first, last, and the whole length if it is told.
fn parse_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (span, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = span.split_once('-')?;
    let (from, to) = (number(from)?, number(to)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    (from <= to).then_some((from, to, total))
}

fn number(text: &str) -> Option<u64> {
    // `parse` alone takes a sign.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// How long to wait after so many failures in a row, `first` after the first; `None` when it is time
/// to give up. `chance` is random in [0, 1): pauses differ, so that many clients do not come back at
/// once. What the server asked for is waited for at least.
pub fn pause(
    failures: u32,
    first: Duration,
    chance: f64,
    asked: Option<Duration>,
) -> Option<Duration> {
    if failures >= FAILURES_MAX {
        return None;
    }
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let jittered = doubled.min(PAUSE_MAX).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    Some(jittered.max(asked.unwrap_or_default()))
}

/// Finds a server that sends, but so slowly that the end would never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    window: Duration,
    bytes_min: u64,
    began: Duration,
    bytes: u64,
}

impl Pace {
    /// At least `bytes_min` bytes are to come in each `window`, the first of which begins at `now`.
    pub fn new(window: Duration, bytes_min: u64, now: Duration) -> Self {
        Self { window, bytes_min, began: now, bytes: 0 }
    }

    /// Counts `bytes` that came at `now`; false when too few came in a window.
    pub fn count(&mut self, bytes: u64, now: Duration) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        if now.saturating_sub(self.began) < self.window {
            return true;
        }
        let is_fast = self.bytes >= self.bytes_min;
        (self.began, self.bytes) = (now, 0);
        is_fast
    }
}

/// Whether a body may be fetched from `target` for a request that began at `endpoint`: over TLS, or
/// in clear on this machine if the endpoint is there too. So a public hub cannot have this machine's
/// own services asked, and nobody on the way can.
pub fn may_follow(
    endpoint_is_loopback: bool,
    target_is_tls: bool,
    target_is_loopback: bool,
) -> bool {
    if endpoint_is_loopback {
        target_is_tls || target_is_loopback
    } else {
        target_is_tls && !target_is_loopback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: u64) -> Asked {
        Asked { from, total: 100, with_token: false }
    }

    fn head(status: u16) -> Head {
        Head { status, ..Head::default() }
    }

    fn part(range: &str, length: Option<u64>) -> Head {
        Head { range: Some(range.into()), length, ..head(206) }
    }

    #[test]
    fn a_whole_file_is_taken_if_it_has_its_size() {
        for from in [0, 40] {
            assert_eq!(judge(&asked(from), &head(200)), Step::Overwrite);
            let right = Head { length: Some(100), ..head(200) };
            assert_eq!(judge(&asked(from), &right), Step::Overwrite);
            for found in [0, 99, 101, u64::MAX] {
                let wrong = Head { length: Some(found), ..head(200) };
                let size = Refusal::Size { found, expected: 100 };
                assert_eq!(judge(&asked(from), &wrong), Step::GiveUp(size));
            }
        }
    }

    #[test]
    fn a_part_is_taken_only_where_it_belongs() {
        for (range, length, step) in [
            ("bytes 40-99/100", Some(60), Step::Append),
            ("bytes 40-99/100", None, Step::Append),
            ("bytes 40-49/100", Some(10), Step::Append),
            ("bytes 40-99/*", Some(60), Step::Append),
            ("bytes 40-99/100", Some(61), Step::Restart),
            ("bytes 39-99/100", None, Step::Restart),
            ("bytes 0-99/100", None, Step::Restart),
            ("bytes 41-99/100", None, Step::Restart),
            ("bytes 40-100/*", None, Step::Restart),
            ("bytes 99-40/100", None, Step::Restart),
            ("bytes +40-99/100", None, Step::Restart),
            ("40-99/100", None, Step::Restart),
            ("bytes */100", None, Step::Restart),
            ("", None, Step::Restart),
        ] {
            assert_eq!(judge(&asked(40), &part(range, length)), step, "{range}");
        }
        assert_eq!(judge(&asked(40), &head(206)), Step::Restart);
        let other = judge(&asked(40), &part("bytes 40-98/99", None));
        assert_eq!(other, Step::GiveUp(Refusal::Size { found: 99, expected: 100 }));
        let unasked = judge(&asked(0), &part("bytes 0-99/100", Some(100)));
        assert!(matches!(unasked, Step::GiveUp(Refusal::Range(_))), "{unasked:?}");
    }

    #[test]
    fn what_is_compressed_is_refused() {
        for (encoding, is_taken) in [("identity", true), ("gzip", false), ("br, gzip", false)] {
            let head = Head { encoding: Some(encoding.into()), ..head(200) };
            assert_eq!(judge(&asked(0), &head) == Step::Overwrite, is_taken, "{encoding}");
        }
    }

    #[test]
    fn every_status_has_its_step() {
        let retry = |status: u16| Step::Retry { reason: format!("HTTP {status}"), after: None };
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(judge(&asked(0), &head(status)), retry(status));
        }
        for status in [400, 402, 405, 418, 100, 204, 304, 302] {
            assert_eq!(judge(&asked(0), &head(status)), Step::GiveUp(Refusal::Status(status)));
        }
        for status in [404, 410] {
            assert_eq!(judge(&asked(0), &head(status)), Step::GiveUp(Refusal::Absent(status)));
        }
        for status in [301, 302, 303, 307, 308] {
            let head = Head { has_location: true, ..head(status) };
            assert_eq!(judge(&asked(0), &head), Step::Follow);
        }
        for status in [401, 403] {
            let with = Asked { with_token: true, ..asked(0) };
            assert_eq!(judge(&with, &head(status)), Step::GiveUp(Refusal::TokenRefused(status)));
            assert_eq!(
                judge(&asked(0), &head(status)),
                Step::GiveUp(Refusal::TokenMissing(status))
            );
        }
        assert_eq!(judge(&asked(40), &head(416)), Step::Restart);
        assert_eq!(judge(&asked(0), &head(416)), Step::GiveUp(Refusal::Status(416)));
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_or_refused() {
        let after = |seconds| Head { retry_after: Some(Duration::from_secs(seconds)), ..head(429) };
        let step = judge(&asked(0), &after(7));
        assert!(matches!(step, Step::Retry { after: Some(wait), .. } if wait.as_secs() == 7));
        let step = judge(&asked(0), &after(3600));
        assert_eq!(step, Step::GiveUp(Refusal::TooLong(Duration::from_secs(3600))));
        assert_eq!(
            pause(1, PAUSE_FIRST, 0.0, Some(Duration::from_secs(60))),
            Some(Duration::from_secs(60))
        );
    }

    #[test]
    fn pauses_double_differ_and_end() {
        for chance in [0.0, 0.5, 0.999] {
            let pauses: Vec<_> =
                (1..FAILURES_MAX).map(|n| pause(n, PAUSE_FIRST, chance, None)).collect();
            for (at, pause) in pauses.iter().enumerate() {
                let full = Duration::from_secs(1 << at).min(PAUSE_MAX);
                let pause = pause.unwrap();
                assert!(pause >= full / 2 && pause <= full, "{at} {chance}: {pause:?}");
            }
        }
        assert_ne!(pause(3, PAUSE_FIRST, 0.1, None), pause(3, PAUSE_FIRST, 0.9, None));
        assert_eq!(pause(FAILURES_MAX, PAUSE_FIRST, 0.5, None), None);
        assert_eq!(pause(u32::MAX, PAUSE_FIRST, 0.5, Some(Duration::ZERO)), None);
        assert!(pause(2, PAUSE_FIRST, 7.0, None).is_some());
    }

    #[test]
    fn a_trickle_is_found_and_a_slow_line_is_not() {
        let at = Duration::from_secs;
        let mut pace = Pace::new(at(60), 1000, at(0));
        assert!(pace.count(1, at(30)) && pace.count(1, at(59)));
        assert!(!pace.count(1, at(60)), "3 bytes in a minute");
        let mut pace = Pace::new(at(60), 1000, at(0));
        for minute in 1..10 {
            assert!(pace.count(1000, at(60 * minute)));
        }
    }

    #[test]
    fn only_tls_is_followed_or_this_machine_from_this_machine() {
        for (endpoint_is_here, is_tls, is_here, may) in [
            (false, true, false, true),
            (false, false, false, false),
            (false, false, true, false),
            (false, true, true, false),
            (true, false, true, true),
            (true, true, false, true),
            (true, false, false, false),
        ] {
            assert_eq!(may_follow(endpoint_is_here, is_tls, is_here), may);
        }
    }
}
