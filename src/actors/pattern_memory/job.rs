//! What is asked of the ledger, and how each is answered once it is on disk.

use crate::domain::federation::ProposalId;
use crate::domain::pattern::feedback::Opinion;
use crate::domain::pattern::ledger::{Learned, Learning, Ledger};
use crate::domain::pattern::{Elevation, Lesson, PatternError, PatternId};
use crate::messages::addr::Reply;
use crate::messages::event::{Event, Events, PatternEvent};
use crate::messages::pattern_memory::{Changed, MemoryError};
use crate::metrics::PatternMeter;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Learns lessons, each by itself.
    Learn { lessons: Vec<Lesson>, reply: Reply<Result<Lessons, MemoryError>> },
    /// Changes one pattern.
    Change { id: PatternId, change: Change, reply: Reply<Result<Changed, MemoryError>> },
    /// Notes which patterns were recalled, how often, and when last.
    NoteUses(Vec<(PatternId, u64, i64)>),
}

/// What became of each lesson.
type Lessons = Vec<Result<Learned, PatternError>>;

/// A change to one pattern.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Feedback(Box<Opinion>),
    Pin(bool),
    Forget,
    Propose(ProposalId),
    Decided { proposal: ProposalId, elevation: Option<Elevation> },
}

/// What a job came to, before it is on disk.
#[derive(Debug)]
pub(super) enum Outcome {
    Learned(Lessons),
    Changed(Result<Changed, PatternError>),
    Noted,
}

impl Job {
    /// Lessons in it.
    pub(super) fn lessons(&self) -> usize {
        match self {
            Self::Learn { lessons, .. } => lessons.len(),
            Self::Change { .. } | Self::NoteUses(_) => 0,
        }
    }

    /// Whether there is more afterwards than before.
    pub(super) fn is_growth(&self) -> bool {
        matches!(self, Self::Learn { .. })
    }

    /// Does it in memory.
    pub(super) fn apply(&self, ledger: &mut Ledger, now_ms: i64) -> Outcome {
        match self {
            Self::Learn { lessons, .. } => {
                let learn = |lesson| ledger.learn(lesson, now_ms);
                Outcome::Learned(lessons.iter().map(learn).collect())
            }
            Self::Change { id, change, .. } => {
                let counted = |pattern| Changed { pattern, is_counted: true };
                Outcome::Changed(match change {
                    Change::Feedback(opinion) => ledger
                        .feedback(*id, opinion, now_ms)
                        .map(|(pattern, is_counted)| Changed { pattern, is_counted }),
                    Change::Pin(is_pinned) => ledger.pin(*id, *is_pinned).map(counted),
                    Change::Forget => ledger.forget(*id).map(counted),
                    Change::Propose(proposal) => {
                        ledger.propose(*id, *proposal, now_ms).map(counted)
                    }
                    Change::Decided { proposal, elevation } => {
                        let was_open = ledger
                            .pattern(*id)
                            .is_ok_and(|pattern| pattern.proposed == Some(*proposal));
                        let decided = ledger.decided(*id, *proposal, *elevation);
                        decided.map(|pattern| Changed { pattern, is_counted: was_open })
                    }
                })
            }
            Self::NoteUses(uses) => {
                ledger.note_uses(uses.iter().copied());
                Outcome::Noted
            }
        }
    }

    /// Tells what became of it, now that it is on disk.
    pub(super) fn answer(self, outcome: Outcome, meter: &PatternMeter, events: &Events) {
        match (self, outcome) {
            (Self::Learn { reply, .. }, Outcome::Learned(lessons)) => {
                lessons.iter().for_each(|learned| tell_learned(learned, meter, events));
                reply.send(Ok(lessons));
            }
            (Self::Change { change, reply, .. }, Outcome::Changed(changed)) => {
                tell_changed(&change, &changed, meter, events);
                reply.send(changed.map_err(MemoryError::from));
            }
            (Self::Learn { .. } | Self::Change { .. } | Self::NoteUses(_), _) => {}
        }
    }

    /// Tells that it was not done.
    pub(super) fn fail(self, error: MemoryError, meter: &PatternMeter) {
        match self {
            Self::Learn { lessons, reply } => {
                lessons.iter().for_each(|_| meter.lesson("failed"));
                reply.send(Err(error));
            }
            Self::Change { change, reply, .. } => {
                if matches!(change, Change::Feedback(_)) {
                    meter.feedback("failed");
                }
                reply.send(Err(error));
            }
            // How often something was recalled is an estimate, of which some may be lost.
            Self::NoteUses(_) => {}
        }
    }
}

fn tell_learned(learned: &Result<Learned, PatternError>, meter: &PatternMeter, events: &Events) {
    let Ok(Learned { pattern, learning, evicted }) = learned else {
        return meter.lesson("refused");
    };
    let publish = |event| events.publish(Event::Pattern(event));
    for id in evicted {
        meter.removed("evicted");
        publish(PatternEvent::Evicted { id: id.to_string() });
    }
    let id = pattern.id.to_string();
    match learning {
        Learning::New => {
            meter.lesson("new");
            publish(PatternEvent::Learned { id, source: pattern.source.as_str().to_owned() });
        }
        Learning::Merged { .. } => {
            meter.lesson("merged");
            publish(PatternEvent::Merged { id, evidence: pattern.evidence });
        }
        Learning::Known => meter.lesson("known"),
    }
}

fn tell_changed(
    change: &Change,
    changed: &Result<Changed, PatternError>,
    meter: &PatternMeter,
    events: &Events,
) {
    let publish = |event| events.publish(Event::Pattern(event));
    match (change, changed) {
        (Change::Feedback(_), Err(_)) => meter.feedback("refused"),
        (Change::Feedback(_), Ok(Changed { is_counted: false, .. })) => meter.feedback("repeated"),
        (Change::Feedback(opinion), Ok(Changed { pattern, .. })) => {
            let positive = opinion.is_positive();
            meter.feedback(if positive { "positive" } else { "negative" });
            let (id, confidence) = (pattern.id.to_string(), pattern.confidence.score());
            publish(PatternEvent::Feedback { id, positive, confidence });
        }
        (Change::Forget, Ok(Changed { pattern, .. })) => {
            meter.removed("forgotten");
            publish(PatternEvent::Forgotten { id: pattern.id.to_string() });
        }
        (
            Change::Decided { elevation: Some(elevation), .. },
            Ok(Changed { pattern, is_counted: true }),
        ) => {
            meter.elevated();
            publish(PatternEvent::Elevated {
                id: pattern.id.to_string(),
                proposal_id: elevation.proposal.to_string(),
                height: elevation.height,
                mode: elevation.mode(),
            });
        }
        (Change::Pin(_) | Change::Forget | Change::Propose(_) | Change::Decided { .. }, _) => {}
    }
}

/// Does every job in memory, in order.
pub(super) fn apply_all(jobs: &[(u64, Job)], ledger: &mut Ledger, now_ms: i64) -> Vec<Outcome> {
    jobs.iter().map(|(_, job)| job.apply(ledger, now_ms)).collect()
}
