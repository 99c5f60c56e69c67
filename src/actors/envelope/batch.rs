//! Many envelopes at once, over all cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::available_parallelism;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::domain::envelope::Report;

struct Work<F> {
    items: Vec<Bytes>,
    judge: F,
    next: AtomicUsize,
    is_given_up: AtomicBool,
}

/// Tells the threads when the caller has left.
struct Given<F>(Arc<Work<F>>);

impl<F> Drop for Given<F> {
    fn drop(&mut self) {
        self.0.is_given_up.store(true, Ordering::Relaxed);
    }
}

/// Judges each item, on as many blocking threads as there are cores, and answers in order. `None` if
/// a thread was lost to a panic. Dropped, it ends after the items that are being judged.
pub(super) async fn judge_all<F>(items: Vec<Bytes>, judge: F) -> Option<Vec<Report>>
where
    F: Fn(&Bytes) -> Report + Send + Sync + 'static,
{
    let count = items.len();
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, is_given_up) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = Given(Arc::new(Work { items, judge, next, is_given_up }));
    let mut threads = JoinSet::new();
    for _ in 0..cores.min(count) {
        let work = Arc::clone(&work.0);
        threads.spawn_blocking(move || one_by_one(&work));
    }
    let mut judged = Vec::with_capacity(count);
    while let Some(done) = threads.join_next().await {
        judged.extend(done.ok()?);
    }
    judged.sort_unstable_by_key(|(at, _): &(usize, Report)| *at);
    Some(judged.into_iter().map(|(_, report)| report).collect())
}

/// Takes the next item until none is left, so that a few large ones do not keep the others waiting.
fn one_by_one<F: Fn(&Bytes) -> Report>(work: &Work<F>) -> Vec<(usize, Report)> {
    let mut judged = Vec::new();
    while !work.is_given_up.load(Ordering::Relaxed) {
        let at = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(item) = work.items.get(at) else { break };
        judged.push((at, (work.judge)(item)));
    }
    judged
}
