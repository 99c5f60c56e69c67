//! How often one client may do something: token buckets, for a bounded number of clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Who counts as one client: an IPv4 address, or the /64 network of an IPv6 address, which is what
/// one subscriber has all the addresses of (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// An IPv4 address.
    V4(u32),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

/// A bucket: so many at once, then so many a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Nanoseconds that one takes to come back.
    interval_ns: u64,
    /// Nanoseconds that a whole bucket takes to come back.
    whole_ns: u64,
}

impl Rule {
    /// `count` in every `period` in the long run, and at most `burst` (at least 1) at once. `None`
    /// for a count of zero, which stands for no limit.
    pub fn new(count: u32, period: Duration, burst: u32) -> Option<Self> {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let interval_ns = period_ns.checked_div(u64::from(count))?.max(1);
        Some(Self { interval_ns, whole_ns: interval_ns.saturating_mul(u64::from(burst.max(1))) })
    }
}

/// When a bucket is whole again, in nanoseconds of the caller's clock (the "theoretical arrival
/// time" of the generic cell rate algorithm, ITU-T I.371). Zero is a whole bucket.
type WholeAt = u64;

/// The buckets of all clients, `KINDS` for each. When there are too many clients, those that come
/// new share one set of buckets, so that nobody who is known has less because of them.
#[derive(Debug)]
pub struct Buckets<const KINDS: usize> {
    rules: [Option<Rule>; KINDS],
    clients: HashMap<Client, [WholeAt; KINDS]>,
    clients_max: usize,
    newcomers: [WholeAt; KINDS],
    /// No look for clients to forget before this.
    sweep_at_ns: u64,
}

/// Time between two looks through all clients, which takes a millisecond or so.
const SWEEP_PAUSE_NS: u64 = 1_000_000_000;

impl<const KINDS: usize> Buckets<KINDS> {
    /// Buckets by these rules, all whole; a kind without a rule has no limit.
    pub fn new(rules: [Option<Rule>; KINDS], clients_max: usize) -> Self {
        let newcomers = [0; KINDS];
        Self { rules, clients: HashMap::new(), clients_max, newcomers, sweep_at_ns: 0 }
    }

    /// Takes one from a bucket. `now_ns` does not go back.
    ///
    /// # Errors
    /// How long it takes until there is one, when there is none.
    pub fn take(&mut self, client: Client, kind: usize, now_ns: u64) -> Result<(), Duration> {
        let Some(rule) = self.rules.get(kind).copied().flatten() else { return Ok(()) };
        let bucket = &mut self.buckets(client, now_ns)[kind];
        let taken = (*bucket).max(now_ns).saturating_add(rule.interval_ns);
        wait(taken, rule, now_ns)?;
        *bucket = taken;
        Ok(())
    }

    /// Whether one could be taken.
    ///
    /// # Errors
    /// As [`Buckets::take`].
    pub fn look(&self, client: Client, kind: usize, now_ns: u64) -> Result<(), Duration> {
        let Some(rule) = self.rules.get(kind).copied().flatten() else { return Ok(()) };
        let Some(buckets) = self.clients.get(&client) else {
            let is_known = self.clients.len() < self.clients_max;
            let newcomer = if is_known { 0 } else { self.newcomers[kind] };
            return wait(newcomer.max(now_ns).saturating_add(rule.interval_ns), rule, now_ns);
        };
        wait(buckets[kind].max(now_ns).saturating_add(rule.interval_ns), rule, now_ns)
    }

    /// Clients that are remembered.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn buckets(&mut self, client: Client, now_ns: u64) -> &mut [WholeAt; KINDS] {
        if self.clients.len() >= self.clients_max && !self.clients.contains_key(&client) {
            if now_ns >= self.sweep_at_ns {
                // Whose buckets are whole is as good as unknown.
                self.clients.retain(|_, buckets| buckets.iter().any(|whole| *whole > now_ns));
                self.sweep_at_ns = now_ns.saturating_add(SWEEP_PAUSE_NS);
            }
            if self.clients.len() >= self.clients_max {
                return &mut self.newcomers;
            }
        }
        self.clients.entry(client).or_insert([0; KINDS])
    }
}

/// Whether a bucket may be whole as late as `taken`.
fn wait(taken: u64, rule: Rule, now_ns: u64) -> Result<(), Duration> {
    let over = (taken - now_ns).saturating_sub(rule.whole_ns);
    if over == 0 { Ok(()) } else { Err(Duration::from_nanos(over)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const A: Client = Client::V4(1);
    const B: Client = Client::V4(2);

    fn buckets(per_second: u32, burst: u32, clients_max: usize) -> Buckets<2> {
        let rule = Rule::new(per_second, Duration::from_secs(1), burst);
        Buckets::new([rule, None], clients_max)
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let mut buckets = buckets(10, 3, 100);
        let now = 5 * SECOND;
        for _ in 0..3 {
            assert_eq!(buckets.take(A, 0, now), Ok(()));
        }
        assert_eq!(buckets.take(A, 0, now), Err(Duration::from_millis(100)));
        assert_eq!(buckets.look(A, 0, now), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take(A, 0, now + SECOND / 10), Ok(()));
        assert!(buckets.take(A, 0, now + SECOND / 10).is_err());
        // Time without a request fills the bucket, and no more than that.
        let passed = (0..100).filter(|_| buckets.take(A, 0, now + 3600 * SECOND).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn clients_and_kinds_have_buckets_of_their_own() {
        let mut buckets = buckets(1, 1, 100);
        assert_eq!(buckets.take(A, 0, 0), Ok(()));
        assert!(buckets.take(A, 0, 0).is_err());
        assert_eq!(buckets.take(B, 0, 0), Ok(()));
        for _ in 0..1000 {
            assert_eq!(buckets.take(A, 1, 0), Ok(()), "a kind without a rule");
            assert_eq!(buckets.take(A, 9, 0), Ok(()), "a kind that does not exist");
        }
    }

    #[test]
    fn looking_takes_nothing() {
        let mut buckets = buckets(1, 1, 1);
        for _ in 0..10 {
            assert_eq!(buckets.look(A, 0, 0), Ok(()));
        }
        assert_eq!(buckets.clients(), 0);
        assert_eq!(buckets.take(A, 0, 0), Ok(()));
    }

    #[test]
    fn too_many_clients_share_and_those_known_lose_nothing() {
        let mut buckets = buckets(1, 2, 10);
        for client in 0..10 {
            assert_eq!(buckets.take(Client::V4(client), 0, 0), Ok(()));
        }
        let newcomers = (10..10_000).filter(|&it| buckets.take(Client::V4(it), 0, 0).is_ok());
        assert_eq!(newcomers.count(), 2);
        assert!(buckets.look(Client::V4(77), 0, 0).is_err());
        assert_eq!(buckets.clients(), 10);
        assert_eq!(buckets.take(Client::V4(5), 0, 0), Ok(()));
        // Later they are forgotten, and there is room for others.
        assert_eq!(buckets.take(Client::V4(77), 0, 9 * SECOND), Ok(()));
        assert_eq!(buckets.clients(), 1);
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        let client = |text: &str| Client::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::9"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(Rule::new(0, Duration::from_secs(1), 5), None);
        assert!(Rule::new(u32::MAX, Duration::from_nanos(1), 0).is_some());
    }

    proptest! {
        /// In no window of time does more pass than a burst and what comes back in it.
        #[test]
        fn no_window_lets_more_pass(
            pauses in proptest::collection::vec(0..3 * SECOND, 1..200),
            per_second in 1..20_u32,
            burst in 1..20_u32,
        ) {
            let mut buckets = buckets(per_second, burst, 4);
            let (mut now, mut passed) = (0, Vec::new());
            for pause in pauses {
                now += pause / u64::from(per_second);
                if buckets.take(A, 0, now).is_ok() {
                    passed.push(now);
                }
            }
            for (from, start) in passed.iter().enumerate() {
                for (to, end) in passed.iter().enumerate().skip(from) {
                    let back = (end - start) as f64 / SECOND as f64 * f64::from(per_second);
                    let count = (to - from + 1) as f64;
                    prop_assert!(count <= f64::from(burst) + back + 1e-3, "{} in {}", count, back);
                }
            }
        }
    }
}
