//! Metrics of envelopes and of the audit record.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::metrics::Metrics;

/// Label: why an envelope was not made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NotMadeLabel {
    /// `invalid`, `unavailable` or `disk_full`.
    pub reason: &'static str,
}

/// Label: what an envelope was checked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CheckLabel {
    /// `verify`, or `consume` if it was also to be accepted.
    pub check: &'static str,
}

/// Labels: what an envelope was checked for, and why it was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// As in [`CheckLabel`].
    pub check: &'static str,
    /// The reject code.
    pub code: &'static str,
}

/// Label: whether a call is on record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RecordLabel {
    /// `recorded` or `failed`.
    pub outcome: &'static str,
}

#[derive(Debug)]
pub(super) struct Families {
    envelopes: EnvelopeMeter,
    records: Family<RecordLabel, Counter>,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let envelope = registry.sub_registry_with_prefix("envelope");
        let made = Counter::default();
        envelope.register("made", "Envelopes sealed and logged", made.clone());
        let not_made = Family::default();
        envelope.register("not_made", "Envelopes that could not be made", not_made.clone());
        let verified = Family::default();
        envelope.register("verified", "Envelopes found valid", verified.clone());
        let refused = Family::default();
        envelope.register("refused", "Envelopes refused, by the first check", refused.clone());
        let envelopes = EnvelopeMeter { made, not_made, verified, refused };
        let audit = registry.sub_registry_with_prefix("audit");
        let records = Family::default();
        audit.register("records", "Privileged calls put on record, or not", records.clone());
        Self { envelopes, records }
    }
}

impl Metrics {
    /// The counters of envelopes.
    pub fn envelopes(&self) -> EnvelopeMeter {
        self.0.proofs.envelopes.clone()
    }

    /// The counters of the audit record.
    pub fn audit(&self) -> AuditMeter {
        let records = &self.0.proofs.records;
        let of = |outcome| records.get_or_create_owned(&RecordLabel { outcome });
        AuditMeter { recorded: of("recorded"), failed: of("failed") }
    }
}

/// The counters of envelopes.
#[derive(Clone, Debug)]
pub struct EnvelopeMeter {
    made: Counter,
    not_made: Family<NotMadeLabel, Counter>,
    verified: Family<CheckLabel, Counter>,
    refused: Family<RefusalLabels, Counter>,
}

impl EnvelopeMeter {
    /// Counts an envelope that was made.
    pub(crate) fn made(&self) {
        self.made.inc();
    }

    /// Counts one that was not; for the reasons see [`NotMadeLabel`].
    pub(crate) fn not_made(&self, reason: &'static str) {
        self.not_made.get_or_create(&NotMadeLabel { reason }).inc();
    }

    /// Counts an envelope that was checked, and the code it was refused with.
    pub(crate) fn judged(&self, check: &'static str, code: Option<&'static str>) {
        match code {
            None => self.verified.get_or_create(&CheckLabel { check }).inc(),
            Some(code) => self.refused.get_or_create(&RefusalLabels { check, code }).inc(),
        };
    }
}

/// The counters of the audit record.
#[derive(Clone, Debug)]
pub struct AuditMeter {
    recorded: Counter,
    failed: Counter,
}

impl AuditMeter {
    /// Counts a call that was to be put on record.
    pub(crate) fn ended(&self, is_recorded: bool) {
        if is_recorded {
            self.recorded.inc()
        } else {
            self.failed.inc()
        };
    }
}
