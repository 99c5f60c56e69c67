//! The incarnations that a supervisor may still hear of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::{ActorCell, ActorId};

type Cells = HashMap<ActorId, (usize, u64, ActorCell)>;

/// Entered before a child can raise its first event, taken out with its last, so that an event of
/// any other is stale.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<Mutex<Cells>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, Cells> {
        // The map is whole after every statement, so a panic elsewhere cannot have spoiled it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, child: usize, generation: u64, cell: ActorCell) {
        self.lock().insert(cell.get_id(), (child, generation, cell));
    }

    /// Takes out the incarnation that raised its last event; its child and generation.
    pub(super) fn remove(&self, cell: &ActorCell) -> Option<(usize, u64)> {
        self.lock().remove(&cell.get_id()).map(|(child, generation, _)| (child, generation))
    }

    /// Takes an incarnation out, so that nothing more is heard of it.
    pub(super) fn forget(&self, child: usize, generation: u64) -> Option<ActorCell> {
        let mut known = self.lock();
        let id = known
            .iter()
            .find(|(_, (of, at, _))| (*of, *at) == (child, generation))
            .map(|(id, _)| *id)?;
        known.remove(&id).map(|(_, _, cell)| cell)
    }

    pub(super) fn kill_all(&self) {
        for (_, _, cell) in self.lock().values() {
            cell.kill();
        }
    }

    pub(super) fn kill(&self, child: usize, generation: u64) {
        for (of, at, cell) in self.lock().values() {
            if (*of, *at) == (child, generation) {
                cell.kill();
            }
        }
    }
}
