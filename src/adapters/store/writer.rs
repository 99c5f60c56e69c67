//! The thread that writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};

use redb::Database;
use tokio::sync::oneshot;

use super::log::Log;
use super::patterns::{Mended, PatternBatch, Patterns, Written};
use super::preferences::{Observation, Preferences, Taken};
use super::proposals::{Placed, Proposals, Row};
use super::replay::Window;
use super::{
    Appended, BATCH_BYTES_MAX, BATCH_MAX, Floor, Recorded, StoreError, durable, standings,
};
use crate::domain::envelope::Head;
use crate::domain::federation::Bounds;
use crate::domain::preference::{Selection, Subject};
use crate::domain::replay::Nonce;
use crate::domain::trust::Change;

#[derive(Debug)]
pub(super) enum Op {
    Append { head: Head, json: Vec<u8> },
    Record { nonce: Nonce, content_hash: [u8; 32], expires_ms: i64, closed_until_ms: i64 },
    Stand(Change),
    Keep { row: Row, bounds: Bounds },
    Decide(Row),
    Prefer(Box<Observation>),
    Unprefer { subject: Subject, selection: Selection },
    Patterns(PatternBatch),
    MendPatterns,
    Flush,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Appended(Appended),
    Recorded(Recorded),
    Stood,
    Placed(Placed),
    Preferred(Taken),
    Patterns(Written),
    Mended(Mended),
    Flushed,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) op: Op,
    pub(super) reply: oneshot::Sender<Result<Outcome, StoreError>>,
    pub(super) _waiting: Waiting,
}

/// Counts an operation for as long as it waits or is being written.
#[derive(Debug)]
pub(super) struct Waiting(Arc<AtomicU64>);

impl Waiting {
    pub(super) fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Job {
    /// Who waited may have left; what is written is written.
    fn answer(self, outcome: Result<Outcome, StoreError>) {
        let _ = self.reply.send(outcome);
    }
}

pub(super) fn write_all(
    db: &Database,
    jobs: &Receiver<Job>,
    broken: &OnceLock<String>,
    floor: &Floor,
) {
    while let Ok(first) = jobs.recv() {
        let mut bytes = size(&first.op);
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && bytes < BATCH_BYTES_MAX
            && let Ok(job) = jobs.try_recv()
        {
            bytes += size(&job.op);
            batch.push(job);
        }
        if bytes > 0
            && broken.get().is_none()
            && let Err(error) = floor.check()
        {
            let is_growth = |job: &Job| match &job.op {
                Op::Append { .. } | Op::Keep { .. } | Op::Prefer(_) => true,
                Op::Patterns(batch) => batch.is_growth,
                _ => false,
            };
            let (refused, rest) = batch.into_iter().partition(is_growth);
            batch = rest;
            let refused: Vec<Job> = refused;
            refused.into_iter().for_each(|job| job.answer(Err(error.clone())));
            if batch.is_empty() {
                continue;
            }
        }
        if broken.get().is_none() {
            match write(db, batch.iter().map(|job| &job.op)) {
                Ok(outcomes) => {
                    for (job, outcome) in batch.into_iter().zip(outcomes) {
                        job.answer(Ok(outcome));
                    }
                    continue;
                }
                Err(error) => _ = broken.set(error.to_string()),
            }
        }
        let reason = broken.get().cloned().unwrap_or_default();
        for job in batch {
            job.answer(Err(StoreError::ReadOnly(reason.clone())));
        }
    }
}

/// What a profile takes, more or less.
const PROFILE_BYTES: usize = 1024;

fn size(op: &Op) -> usize {
    match op {
        Op::Append { json, .. } => json.len(),
        Op::Keep { row, .. } | Op::Decide(row) => row.json.len(),
        Op::Prefer(_) => PROFILE_BYTES,
        Op::Patterns(batch) => batch.bytes,
        Op::Record { .. } | Op::Stand(_) | Op::MendPatterns | Op::Unprefer { .. } | Op::Flush => 0,
    }
}

fn write<'a>(
    db: &Database,
    ops: impl Iterator<Item = &'a Op>,
) -> Result<Vec<Outcome>, redb::Error> {
    let write = durable(db)?;
    let mut outcomes = Vec::new();
    {
        // Opening a table costs as much as writing a row.
        let (mut log, mut window, mut proposals) = (None, None, None);
        let (mut patterns, mut preferences) = (None, None);
        let mut closed = None;
        for op in ops {
            outcomes.push(match op {
                Op::Append { head, json } => {
                    let log = or_open(&mut log, || Log::open(&write))?;
                    Outcome::Appended(match log.append(head, json)? {
                        Some(existing) => Appended::Existing(existing),
                        None => Appended::New,
                    })
                }
                Op::Record { nonce, content_hash, expires_ms, closed_until_ms } => {
                    closed = closed.max(Some(*closed_until_ms));
                    let window = or_open(&mut window, || Window::open(&write))?;
                    Outcome::Recorded(window.record(nonce, content_hash, *expires_ms)?)
                }
                Op::Stand(change) => {
                    standings::write(&write, change)?;
                    Outcome::Stood
                }
                Op::Keep { row, bounds } => {
                    let proposals = or_open(&mut proposals, || Proposals::open(&write))?;
                    Outcome::Placed(proposals.keep(row, *bounds)?)
                }
                Op::Decide(row) => {
                    let proposals = or_open(&mut proposals, || Proposals::open(&write))?;
                    Outcome::Placed(proposals.decide(row)?)
                }
                Op::Prefer(observation) => {
                    let preferences = or_open(&mut preferences, || Preferences::open(&write))?;
                    Outcome::Preferred(preferences.observe(observation)?)
                }
                Op::Unprefer { subject, selection } => {
                    let preferences = or_open(&mut preferences, || Preferences::open(&write))?;
                    Outcome::Preferred(preferences.forget(subject, selection)?)
                }
                Op::Patterns(batch) => {
                    let patterns = or_open(&mut patterns, || Patterns::open(&write))?;
                    Outcome::Patterns(patterns.write(batch)?)
                }
                Op::MendPatterns => {
                    let patterns = or_open(&mut patterns, || Patterns::open(&write))?;
                    Outcome::Mended(patterns.mend()?)
                }
                Op::Flush => Outcome::Flushed,
            });
        }
        if let (Some(closed), Some(mut window)) = (closed, window) {
            window.close(closed)?;
        }
    }
    write.commit()?;
    Ok(outcomes)
}

fn or_open<T>(
    table: &mut Option<T>,
    open: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<&mut T, redb::Error> {
    match table {
        Some(table) => Ok(table),
        None => Ok(table.insert(open()?)),
    }
}
