//! Arguments of Python, as the messages of the node take them.

use bizra_omega::domain::score::Score;
use bytes::Bytes;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

use super::failure::wrong;
use crate::error::Result;
use crate::input::{Data, score};

/// Up to here it costs less to copy bytes than to hold on to Python's own.
const COPIED_BYTES_MAX: usize = 4096;

/// Python's own bytes, which do not change.
struct Held(Data);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that a message takes along. Long ones are not copied.
pub(super) fn owned(data: Data) -> Bytes {
    match data.len() {
        ..=COPIED_BYTES_MAX => Bytes::copy_from_slice(&data),
        _ => Bytes::from_owner(Held(data)),
    }
}

/// A whole number that is not negative.
pub(super) fn unsigned(argument: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<u64>> {
    let Some(value) = value else { return Ok(None) };
    match value.extract::<u64>() {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            let message = format!("{argument} is negative or too large");
            Err(wrong(argument, "OUT_OF_RANGE", message).into())
        }
        Err(error) => Err(error),
    }
}

/// One score for each of `count` contents: the same for all, or a list.
pub(super) fn scores(
    argument: &str,
    value: Option<&Bound<'_, PyAny>>,
    count: usize,
) -> PyResult<Vec<Option<Score>>> {
    let Some(value) = value else { return Ok(vec![None; count]) };
    if let Ok(one) = value.extract::<f64>() {
        return Ok(vec![score(argument, Some(one))?; count]);
    }
    let each = value.extract::<Vec<Option<f64>>>()?;
    if each.len() != count {
        let message = format!("{argument} has {} items for {count} contents", each.len());
        return Err(wrong(argument, "OUT_OF_RANGE", message).into());
    }
    let each = each.into_iter().map(|one| score(argument, one));
    Ok(each.collect::<Result<_>>()?)
}

/// The length of a page, from 1 to `max`.
pub(super) fn page_limit(limit: i64, max: usize) -> Result<usize> {
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| wrong("limit", "OUT_OF_RANGE", format!("limit is 1 to {max}")))
}

/// That a batch of `count` items is at most `max` long.
pub(super) fn checked_batch(argument: &str, count: usize, max: usize) -> Result<()> {
    if count <= max {
        return Ok(());
    }
    let message = format!("{argument} has {count} items; a batch has at most {max}");
    Err(wrong(argument, "BATCH_TOO_LARGE", message))
}
