//! What backends offer: asked for, and remembered for when one does not say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::actors::inference_router::Backend;
use crate::domain::inference::ModelInfo;
use crate::domain::inference::route::is_same_model;
use crate::messages::addr::{CallError, Deadline};
use crate::messages::backend::BackendMsg;

/// How long a backend may take to list its models: one that looks for its server takes two
/// seconds, and a list is not worth more.
const LIST_WAIT: Duration = Duration::from_secs(3);

/// Age up to which a list is taken for what there is, so that a busy node does not ask every backend
/// for every request. A model that has gone since is found out when it is asked.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The lists of all backends; all incarnations of a router share them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    backends: Arc<[Backend]>,
    seen: Arc<[Mutex<Seen>]>,
}

#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    models: Vec<ModelInfo>,
}

impl Listing {
    pub(super) fn new(backends: Arc<[Backend]>) -> Self {
        let seen = backends.iter().map(|_| Mutex::default()).collect();
        Self { backends, seen }
    }

    /// The names of `model` by which each backend has it, by lists of which none is old; nothing if
    /// there is an old one or nobody has it, which has to be asked for then.
    pub(super) fn known(&self, model: &str) -> Option<Vec<Vec<String>>> {
        let now = Instant::now();
        let names = |seen: &Mutex<Seen>| {
            let seen = lock(seen);
            let is_recent = seen.at.is_some_and(|at| now.duration_since(at) <= AGE_MAX);
            let names = seen.models.iter().map(|it| &it.name);
            let same = names.filter(|name| is_same_model(name, model));
            is_recent.then(|| same.cloned().collect::<Vec<_>>())
        };
        let names: Option<Vec<_>> = self.seen.iter().map(names).collect();
        names.filter(|all| all.iter().any(|names| !names.is_empty()))
    }

    /// What each backend offers, in their order. Of one that does not answer, what it was last seen
    /// to offer: that it has no time does not mean that it has no models.
    pub(super) async fn ask(&self, deadline: Deadline) -> Vec<Vec<ModelInfo>> {
        let deadline = deadline.at_most(LIST_WAIT);
        let asked = self.backends.iter().zip(self.seen.iter()).map(async |(backend, seen)| {
            let answer = backend.addr.call(deadline, |reply| BackendMsg::Models { reply }).await;
            note(&mut lock(seen), answer)
        });
        join_all(asked).await
    }
}

fn note(seen: &mut Seen, answer: Result<Vec<ModelInfo>, CallError>) -> Vec<ModelInfo> {
    match answer {
        Ok(models) => {
            seen.at = Some(Instant::now());
            seen.models.clone_from(&models);
            models
        }
        Err(CallError::Busy { .. }) => seen.models.clone(),
        Err(error @ (CallError::Late { .. } | CallError::Down { .. })) => {
            let mut models = seen.models.clone();
            for model in &mut models {
                (model.is_available, model.is_loaded) = (false, false);
                model.note = Some(error.to_string());
            }
            models
        }
    }
}

/// A list is replaced as a whole, so a panic leaves none half made.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
