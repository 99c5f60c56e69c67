//! Tells subscribers and metrics what becomes of envelopes.

use crate::actors::envelope::Desk;
use crate::domain::envelope::{EnvelopeId, Report, SealError, Sealed};
use crate::domain::reject::RejectCode;
use crate::messages::event::{EnvelopeEvent, Event};

impl Desk {
    pub(super) fn tell_created(&self, outcome: &Result<Sealed, SealError>) {
        match outcome {
            Ok(sealed) => {
                self.meter.made();
                self.tell(EnvelopeEvent::Made { id: sealed.id.to_string() });
            }
            Err(error) => self.meter.not_made(match error {
                SealError::Invalid(_) => "invalid",
                SealError::Unavailable(_) => "unavailable",
                SealError::Full(_) => "disk_full",
            }),
        }
    }

    pub(super) fn tell_judged(&self, report: &Report, id: Option<EnvelopeId>, consumed: bool) {
        let check = if consumed { "consume" } else { "verify" };
        // Without an id its own checks did not hold, whatever the report lacks.
        let code = report.code.or(id.is_none().then_some(RejectCode::RejectInternal));
        self.meter.judged(check, code.map(RejectCode::as_str));
        self.tell(match (code, id) {
            (None, Some(id)) => EnvelopeEvent::Verified { id: id.to_string(), consumed },
            (code, _) => {
                EnvelopeEvent::Refused { code: code.unwrap_or(RejectCode::RejectInternal).as_str() }
            }
        });
    }

    /// Counts a batch. It is told to nobody: a subscriber would fall behind over a single one.
    pub(super) fn count_verified(&self, reports: &[Report]) {
        for report in reports {
            self.meter.judged("verify", report.code.map(RejectCode::as_str));
        }
    }

    fn tell(&self, event: EnvelopeEvent) {
        self.events.publish(Event::Envelope(event));
    }
}
