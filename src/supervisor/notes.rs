//! What a supervisor tells itself, now or after a pause, so that everything happens in its turn.

use std::time::Duration;

use ractor::ActorRef;

use super::child::Live;
use crate::messages::addr::Mail;
use crate::messages::supervisor::SupervisorMsg;

/// A supervisor's reference to itself.
pub(super) type Myself = ActorRef<Mail<SupervisorMsg>>;

/// What a supervisor tells itself.
#[derive(Debug)]
pub(super) enum Note {
    Launched { child: usize, generation: u64, live: Result<Live, String> },
    Elapsed { child: usize, generation: u64 },
    StopDue { child: usize, generation: u64, was_killed: bool },
    Heartbeat,
    Shutdown,
}

pub(super) fn note(myself: &Myself, note: Note) {
    // Fails only when the supervisor has ended, and then there is nothing left to do.
    let _ = myself.send_message(Mail::Note(Box::new(note)));
}

pub(super) fn note_after(myself: &Myself, pause: Duration, later: Note) {
    let myself = myself.clone();
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        note(&myself, later);
    });
}
