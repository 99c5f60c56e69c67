//! Actors that generate text: one file per kind, one message enum for all.

pub mod edge;
pub mod remote;

use tokio::sync::mpsc;

use crate::domain::inference::{BackendError, Generated, Stage};
use crate::messages::addr::{Deadline, Reply};

/// Waits until nobody wants the answer any more, and says why.
async fn until_unwanted(
    backend: &str,
    reply: &mut Reply<Result<Generated, BackendError>>,
    tokens: Option<&mpsc::Sender<String>>,
    deadline: Deadline,
) -> BackendError {
    let listener_left = async {
        match tokens {
            Some(tokens) => tokens.closed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = reply.closed() => BackendError::Cancelled,
        () = listener_left => BackendError::Cancelled,
        () = tokio::time::sleep_until(deadline.instant()) => {
            BackendError::Timeout { backend: backend.to_owned(), stage: Stage::Total }
        }
    }
}

/// Does `work` and answers with its outcome, unless nobody wants it before.
async fn answer(
    backend: &str,
    mut reply: Reply<Result<Generated, BackendError>>,
    tokens: Option<mpsc::Sender<String>>,
    deadline: Deadline,
    work: impl Future<Output = Result<Generated, BackendError>>,
) {
    let outcome = tokio::select! {
        biased;
        error = until_unwanted(backend, &mut reply, tokens.as_ref(), deadline) => Err(error),
        outcome = work => outcome,
    };
    // Before the answer, so that whoever listens knows that no more text follows it.
    drop(tokens);
    reply.send(outcome);
}
