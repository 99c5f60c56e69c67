//! Looks up the parents of an envelope.

use crate::adapters::store::{Store, StoreError};
use crate::domain::envelope::{Report, Verified};
use crate::domain::reject::RejectCode;

/// Adds the check of the parents, if there are any.
pub(super) fn add_provenance(report: &mut Report, store: &Store, verified: &Verified) {
    if verified.parents() == 0 {
        return;
    }
    match resolve(store, verified) {
        Ok(found) => report.pass("provenance", Some(found)),
        Err((code, error)) => report.refuse("provenance", code, error),
    }
}

/// Looks the parents up among the envelopes that were made here, and those that were consumed here
/// and have not expired. Any other stays unresolved, which is no fault; one that was made here with
/// other content is a lie. Parents of parents were looked at when those were verified, so that one
/// envelope costs at most [`PARENTS_MAX`](crate::domain::envelope::PARENTS_MAX) looks.
fn resolve(store: &Store, verified: &Verified) -> Result<String, (RejectCode, String)> {
    let internal = |error: StoreError| (RejectCode::RejectInternal, error.to_string());
    let mut unresolved = verified.parents_by_id;
    for parent in &verified.provenance {
        match store.find_head(parent.id).map_err(internal)? {
            Some(head) if head.content_hash == parent.content_hash => (),
            Some(_) => {
                let error = format!("parent {} was made here with another content hash", parent.id);
                return Err((RejectCode::RejectHashMismatch, error));
            }
            None => {
                let known = store.is_consumed(parent.id, &parent.content_hash);
                unresolved += usize::from(!known.map_err(internal)?);
            }
        }
    }
    let all = verified.parents();
    Ok(match unresolved {
        0 => format!("resolved: {all} of {all} parents"),
        _ => format!("unresolved: {unresolved} of {all} parents"),
    })
}
