//! Tells subscribers and metrics what becomes of a generation.

use crate::domain::inference::InferenceError;
use crate::messages::event::{Event, Events, InferenceEvent};
use crate::messages::inference_router::Answer;
use crate::metrics::InferenceMeter;

/// A generation that was told to have begun. Dropped without an end, it was cancelled.
#[derive(Debug)]
pub(super) struct Teller {
    events: Option<Events>,
    meter: Option<InferenceMeter>,
    request_id: String,
}

impl Teller {
    pub(super) fn begin(
        events: Option<Events>,
        meter: Option<InferenceMeter>,
        request_id: &str,
    ) -> Self {
        let teller = Self { events, meter, request_id: request_id.to_owned() };
        teller.tell(InferenceEvent::Began { request_id: request_id.to_owned() });
        teller
    }

    pub(super) fn end(mut self, outcome: &Result<Answer, InferenceError>) {
        let request_id = self.request_id.clone();
        self.count(outcome.as_ref().map_or_else(word, |_| "ok"));
        self.tell(match outcome {
            Ok(answer) => InferenceEvent::Finished {
                request_id,
                tier: answer.tier.as_str(),
                model: answer.generated.model.clone(),
                ms: u64::try_from(answer.elapsed.as_millis()).unwrap_or(u64::MAX),
                tokens: answer.generated.completion_tokens,
            },
            Err(InferenceError::Refused { code, .. }) => {
                InferenceEvent::Refused { request_id, code: code.as_str() }
            }
            Err(error) => InferenceEvent::Failed { request_id, code: word(error) },
        });
        (self.events, self.meter) = (None, None);
    }

    fn count(&self, outcome: &'static str) {
        if let Some(meter) = &self.meter {
            meter.ended(outcome);
        }
    }

    fn tell(&self, event: InferenceEvent) {
        if let Some(events) = &self.events {
            events.publish(Event::Inference(event));
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let request_id = std::mem::take(&mut self.request_id);
        self.count(word(&InferenceError::Cancelled));
        self.tell(InferenceEvent::Failed { request_id, code: word(&InferenceError::Cancelled) });
    }
}

fn word(error: &InferenceError) -> &'static str {
    match error {
        InferenceError::Unavailable(_) => "unavailable",
        InferenceError::PoolUnavailable(_) => "pool_unavailable",
        InferenceError::Busy { .. } => "busy",
        InferenceError::TooLong { .. } => "too_long",
        InferenceError::UnknownModel { .. } => "unknown_model",
        InferenceError::Refused { .. } => "refused",
        InferenceError::Timeout => "timeout",
        InferenceError::Cancelled => "cancelled",
        InferenceError::Failed(_) => "failed",
    }
}
