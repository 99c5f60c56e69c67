//! Keeps the record of privileged calls: on disk before they take effect. The chain is in
//! `domain::audit`, the files in `adapters::audit`.
//!
//! The writer belongs to the node and outlives every incarnation, so a restart loses nothing that
//! was acknowledged.

use std::sync::Arc;

use crate::actor::{Actor, Failure, Turn};
use crate::adapters::audit::AuditLog;
use crate::messages::audit::{AuditMsg, NotRecorded};
use crate::metrics::AuditMeter;

/// The actor's name.
pub const NAME: &str = "audit";

/// The audit actor.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Shared by all incarnations, so that two never write at once.
    pub log: Arc<AuditLog>,
    /// Counts what was recorded and what was not.
    pub meter: AuditMeter,
}

impl Actor for Audit {
    type Msg = AuditMsg;
    /// The log knows everything.
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        let log = Arc::clone(&self.log);
        tokio::task::spawn_blocking(move || log.start()).await??;
        Ok(())
    }

    async fn handle(&self, message: AuditMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        match message {
            AuditMsg::Record { call, reply } => {
                let (log, meter) = (Arc::clone(&self.log), self.meter.clone());
                turn.spawn(async move {
                    let recorded = log.append(call).await;
                    meter.ended(recorded.is_ok());
                    reply.send(recorded.map_err(|error| NotRecorded(error.to_string())));
                });
            }
        }
        Ok(())
    }

    async fn check(&self, (): &mut ()) -> Result<(), Failure> {
        if self.log.has_ended() {
            return Err("the writer of the audit record ended".into());
        }
        Ok(())
    }

    /// What was recorded is on disk already.
    async fn stop(&self, (): &mut (), is_told: bool) {
        if is_told {
            let log = Arc::clone(&self.log);
            let _ = tokio::task::spawn_blocking(move || log.close()).await;
        }
    }
}
